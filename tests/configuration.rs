//! The configuration as its users meet it: the built binary, its exit codes and what it prints.
//!
//! Every run gets an empty environment and a working directory of its own, so that nothing of the machine's leaks in.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// A working directory that goes away with its test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("configuration-{}-{count}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }

    fn with_dotenv(text: &str) -> Self {
        let directory = Self::new();
        fs::write(directory.0.join(".env"), text).expect("a .env for the test");
        directory
    }

    fn run(&self, args: &[&str], environment: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(args)
            .env_clear()
            .envs(environment.iter().copied())
            .current_dir(&self.0)
            .output()
            .expect("the binary runs")
    }

    /// What `tollgate config` tells: of each setting its value and its source.
    fn configuration(&self, args: &[&str], environment: &[(&str, &str)]) -> BTreeMap<String, (String, String)> {
        let output = self.run(&[&["config"], args].concat(), environment);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let rows = stdout(&output);
        rows.lines()
            .map(|row| {
                let mut cells = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
                let mut cell = || cells.next().expect("three columns").to_owned();
                (cell(), (cell(), cell()))
            })
            .collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn row(value: &str, source: &str) -> (String, String) {
    (value.to_owned(), source.to_owned())
}

/// The assignments of `.env.example` that are the server's; those for Docker Compose alone stand under a heading of their own.
fn example_assignments() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example");
    let text = fs::read_to_string(path).expect(".env.example");
    let assignment = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let is_name = name.starts_with(|c: char| c.is_ascii_uppercase());
        is_name.then(|| (name.to_owned(), value.to_owned()))
    };
    text.lines().take_while(|line| !line.starts_with("# --- Docker Compose")).filter_map(assignment).collect()
}

#[test]
fn a_flag_wins_over_the_environment_over_dotenv_over_the_default() {
    let directory = Directory::with_dotenv("# the limit\nRATE_LIMIT=6\n");
    let rate_limit =
        |args: &[&str], environment: &[(&str, &str)]| directory.configuration(args, environment)["RATE_LIMIT"].clone();
    let environment = [("RATE_LIMIT", "7")];
    assert_eq!(rate_limit(&["--rate-limit", "8"], &environment), row("8", "flag"));
    assert_eq!(rate_limit(&[], &environment), row("7", "environment"));
    assert_eq!(rate_limit(&[], &[("RATE_LIMIT", "")]), row("6", ".env line 2"));
    let elsewhere = Directory::new();
    assert_eq!(elsewhere.configuration(&[], &[])["RATE_LIMIT"], row("5", "default"));
}

#[test]
fn dotenv_is_read_in_the_working_directory_and_not_above_it() {
    let directory = Directory::with_dotenv("RATE_LIMIT=6\n");
    let below = directory.0.join("below");
    fs::create_dir(&below).expect("a directory below");
    let configuration = Directory(below).configuration(&[], &[]);
    assert_eq!(configuration["RATE_LIMIT"], row("5", "default"));
}

#[test]
fn all_problems_are_told_at_once_and_end_every_command_with_2() {
    let directory = Directory::with_dotenv("MAX_BODY_BYTES=1MB\nWORKERS='4\n");
    let environment = [("REFILL_RATE", "0"), ("TRUSTED_PROXIES", "10.0.0.0/8, proxy")];
    for command in [&["config"][..], &["healthcheck"], &[]] {
        let args = [command, &["--listen", "8080"]].concat();
        let output = directory.run(&args, &environment);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert_eq!(stdout(&output), "");
        let expected = "\
tollgate: 5 problems in the configuration:
  .env line 2: got no assignment, expected NAME=value, a comment or nothing (quotes closed; a value with spaces, # or $ in single quotes)
  LISTEN (flag --listen): got \"8080\", expected 127.0.0.1:8080 for this machine alone, 0.0.0.0:8080 or [::]:8080 for every interface
  REFILL_RATE (environment): got \"0\", expected a number above 0 and at most 1000000 (tokens per second)
  TRUSTED_PROXIES (environment): got \"10.0.0.0/8, proxy\", expected addresses, CIDR blocks or unix, like 10.0.0.0/8, fd00::/8 (\"proxy\" is none)
  MAX_BODY_BYTES (.env line 1): got \"1MB\", expected a whole number from 1 to 1073741824 (bytes)
";
        assert_eq!(stderr(&output), expected);
    }
}

#[test]
fn a_dotenv_that_is_no_file_is_a_problem() {
    let directory = Directory::new();
    fs::create_dir(directory.0.join(".env")).expect("a directory named .env");
    let output = directory.run(&["config"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("\n  .env: "), "{}", stderr(&output));
}

#[test]
fn a_password_is_shown_neither_in_the_configuration_nor_in_a_problem() {
    let directory = Directory::with_dotenv("REDIS_URL='redis://me:secret@host:6379/0'\n");
    let configuration = directory.configuration(&[], &[]);
    assert_eq!(configuration["REDIS_URL"], row("redis://me:***@host:6379/0", ".env line 1"));
    for url in ["redis://me:secret@host/x", "redis://:secret", "redis://me:se/secret@host"] {
        let output = directory.run(&["--redis-url", url], &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("REDIS_URL (flag --redis-url)"), "{}", stderr(&output));
        assert!(!stderr(&output).contains("secret"), "{}", stderr(&output));
    }
}

#[test]
fn an_unknown_flag_ends_with_2_and_a_hint() {
    let output = Directory::new().run(&["--rate-limits", "5"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--rate-limit"), "{}", stderr(&output));
}

#[test]
fn the_version_is_one_line() {
    let output = Directory::new().run(&["--version"], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), concat!("tollgate ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn the_help_names_every_variable_and_its_default() {
    let directory = Directory::new();
    let output = directory.run(&["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let help = stdout(&output);
    for (variable, (value, source)) in directory.configuration(&[], &[]) {
        let described = help.lines().find(|line| line.contains(&format!("[env: {variable}]")));
        let described = described.unwrap_or_else(|| panic!("{variable} in\n{help}"));
        let default = source.strip_prefix("default: ").unwrap_or(&value);
        assert!(default == "(unset)" || described.ends_with(&format!("[default: {default}]")), "{variable} in\n{help}");
    }
}

#[test]
fn the_example_lists_exactly_the_settings_with_their_defaults() {
    let directory = Directory::new();
    let configuration = directory.configuration(&[], &[]);
    let defaults: BTreeMap<String, String> = configuration
        .into_iter()
        .map(|(variable, (value, source))| match source.as_str() {
            "default" if value != "(unset)" => (variable, value),
            _ => (variable, String::new()),
        })
        .collect();
    let example = example_assignments();
    assert_eq!(example.len(), defaults.len(), "no setting stands twice");
    assert_eq!(example.into_iter().collect::<BTreeMap<_, _>>(), defaults);
}

#[test]
fn the_example_as_it_is_changes_nothing() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example");
    let example = fs::read_to_string(path).expect(".env.example");
    let values = |dotenv: &str| {
        let configuration = Directory::with_dotenv(dotenv).configuration(&[], &[]);
        configuration.into_iter().map(|(variable, (value, _))| (variable, value)).collect::<Vec<_>>()
    };
    assert_eq!(values(&example), values(""));
}

#[test]
fn a_healthcheck_of_no_server_fails_in_one_line() {
    let listen = "unix:/nonexistent/tollgate.sock";
    let output = Directory::new().run(&["healthcheck"], &[("LISTEN", listen)]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.starts_with(&format!("unhealthy: {listen} can't be reached: ")), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn a_healthcheck_succeeds_or_fails_with_the_status_of_the_answer() {
    for (status_line, code) in [("HTTP/1.1 200 OK", 0), ("HTTP/1.1 500 Internal Server Error", 1)] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = thread::spawn(move || {
            let (client, _) = listener.accept().expect("the binary connects");
            let head = BufReader::new(&client).lines().map_while(Result::ok);
            let head: Vec<_> = head.take_while(|line| !line.is_empty()).collect();
            write!(&client, "{status_line}\r\nContent-Length: 0\r\n\r\n").expect("it reads");
            head
        });
        let output = Directory::new().run(&["healthcheck", "--listen", &address], &[]);
        let head = server.join().expect("the server ends");
        assert_eq!(head.first().map(String::as_str), Some("GET /api/status HTTP/1.1"));
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    }
}
