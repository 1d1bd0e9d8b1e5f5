//! Hands to the build the commit and the compiler's version, for `tollgate_build_info`, and the files that the server
//! serves, compressed; Swagger UI's come out of the crate that ships them. Nothing is downloaded.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

fn first_line_of(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}

/// A folder of compressed files, to be embedded by `src/api/assets.rs`: `OUT_DIR/<folder>/<name>.gz`.
struct Folder(PathBuf);

impl Folder {
    fn create(name: &str) -> Self {
        let path = Path::new(&env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Writes `name.gz`; the CRC-32 of the content, with which the server tells versions apart.
    fn add(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(format!("{name}.gz"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).expect("memory takes all that is written");
        let compressed = encoder.finish().expect("memory takes all that is written");
        fs::write(&path, &compressed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // RFC 1952, section 2.3.1: a gzip member ends in the CRC-32 and the size, each of four bytes.
        let trailer = compressed.last_chunk::<8>().expect("a gzip member has a trailer");
        format!("{:08x}", u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]))
    }
}

fn source(path: &Path) -> Vec<u8> {
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The console's page and all that belongs to it.
fn console() {
    let folder = Folder::create("console");
    for name in
        ["index.html", "console.css", "console.js", "bucket.js", "chart.js", "metrics.js", "products.js", "icon.svg"]
    {
        folder.add(name, &source(&Path::new("src/console").join(name)));
    }
}

/// The documentation's page, with the versions of its files in their addresses; and the description itself.
#[cfg(feature = "docs")]
fn docs() {
    let folder = Folder::create("docs");
    let shipped = ["swagger-ui.css", "swagger-ui-bundle.js"].map(|name| (name, swagger_ui(name)));
    let own = ["docs.css", "docs.js"].map(|name| (name, source(&Path::new("src/docs").join(name))));
    let page = source(Path::new("src/docs/index.html"));
    let mut page = String::from_utf8(page).expect("the page is UTF-8");
    for (name, content) in shipped.into_iter().chain(own) {
        page = page.replace(&format!("{name}?v="), &format!("{name}?v={}", folder.add(name, &content)));
    }
    folder.add("index.html", page.as_bytes());
    folder.add("openapi.json", &source(Path::new("src/api/openapi.json")));
}

/// A file of Swagger UI's distribution.
#[cfg(feature = "docs")]
fn swagger_ui(name: &str) -> Vec<u8> {
    use std::io::Read as _;
    let archive =
        rawzip::ZipArchive::from_slice(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED).expect("the crate ships a zip");
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry().expect("the zip's directory can be read") {
        let path = entry.file_path().try_normalize().expect("the zip's paths are plain");
        let in_folder = path.as_ref().split_once('/').map(|(_version, path)| path);
        if in_folder != Some(&format!("dist/{name}")) {
            continue;
        }
        let packed = archive.get_entry(entry.wayfinder()).expect("the zip's entries can be read");
        let mut content = Vec::new();
        let unpacked = flate2::bufread::DeflateDecoder::new(packed.data());
        packed.verifying_reader(unpacked).read_to_end(&mut content).expect("the entry is whole");
        return content;
    }
    panic!("the crate that ships Swagger UI has no dist/{name} any more");
}

fn main() {
    // An image is built without the repository: there the commit comes in by the variable.
    println!("cargo::rerun-if-env-changed=TOLLGATE_COMMIT");
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/logs/HEAD");
    let given = env::var("TOLLGATE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| first_line_of("git", &["rev-parse", "--short=12", "HEAD"]));
    let compiler = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = first_line_of(&compiler, &["--version"]);
    println!("cargo::rustc-env=TOLLGATE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=TOLLGATE_RUSTC={}", version.as_deref().unwrap_or("unknown"));
    console();
    #[cfg(feature = "docs")]
    docs();
}
