//! The rules that ARCHITECTURE.md states as absences, read off the sources.

#![allow(clippy::unwrap_used, reason = "a test ends where it finds nothing")]

use std::fs;
use std::path::{Path, PathBuf};

fn sources() -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    collect(&root, &mut all);
    for (path, text) in &mut all {
        *path = path.strip_prefix(&root).unwrap().to_owned();
        *text = code_of(text);
    }
    assert!(all.len() > 20, "found only {} sources", all.len());
    all
}

/// A source without its comments and its unit tests.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every source outside `allowed` (a file, or a folder of that name) that has one of `words`.
fn offenders(words: &[&str], allowed: &[&str]) -> Vec<String> {
    let is_allowed = |path: &Path| allowed.iter().any(|name| path.starts_with(name)) || path.ends_with("tests.rs");
    let found = sources().into_iter().filter(|(path, _)| !is_allowed(path)).flat_map(|(path, code)| {
        let hits: Vec<_> = words
            .iter()
            .filter(|word| code.contains(**word))
            .map(|word| format!("{}: {word}", path.display()))
            .collect();
        hits
    });
    found.collect()
}

#[test]
fn only_the_configuration_reads_the_environment() {
    let words = ["env::var", "env::args", "var_os", "dotenvy::", "env::current_dir"];
    assert_eq!(offenders(&words, &["config.rs", "config"]), Vec::<String>::new());
}

#[test]
fn only_the_redis_files_name_the_redis_crate() {
    let words = ["redis::Client", "redis::cmd(", "redis::Value", "redis::Connection", "{Cmd, ", "r2d2::"];
    assert_eq!(offenders(&words, REDIS_FILES), Vec::<String>::new());
}

const REDIS_FILES: &[&str] = &["redis_client.rs", "limiter/redis.rs", "products/redis.rs"];

#[test]
fn only_the_server_names_the_http_engine() {
    assert_eq!(offenders(&["tiny_http"], &["server.rs", "server"]), Vec::<String>::new());
}

#[test]
fn only_problem_rs_writes_an_error_body() {
    assert_eq!(
        offenders(&["problem+json", "about:blank", "http-problem-types"], &["problem.rs"]),
        Vec::<String>::new()
    );
}

#[test]
fn the_pure_parts_read_no_clock_and_do_no_io() {
    let words =
        ["::now()", "elapsed()", "std::net::Tcp", "std::fs", "std::io", "std::thread", "log::", "Mutex", "println!"];
    let pure = [
        "limiter/bucket.rs",
        "breaker.rs",
        "limiter/denials.rs",
        "route.rs",
        "client.rs",
        "json.rs",
        "validation.rs",
        "problem.rs",
    ];
    let sources = sources();
    for name in pure {
        let (_, code) =
            sources.iter().find(|(path, _)| path == Path::new(name)).unwrap_or_else(|| panic!("{name} is gone"));
        let hits: Vec<_> = words.iter().filter(|word| code.contains(**word)).collect();
        assert!(hits.is_empty(), "{name} uses {hits:?}");
    }
}

#[test]
fn what_is_used_never_points_back_at_its_user() {
    let forbidden: &[(&str, &[&str])] = &[
        ("limiter/bucket.rs", &["crate::", "super::"]),
        ("breaker.rs", &["crate::", "super::"]),
        ("route.rs", &["crate::"]),
        ("client.rs", &["crate::"]),
        ("json.rs", &["crate::"]),
        (
            "redis_client.rs",
            &["crate::limiter", "crate::products", "crate::app", "crate::api", "crate::server", "crate::config"],
        ),
        ("products/redis.rs", &["crate::limiter", "crate::app", "crate::api", "crate::server", "crate::config"]),
        ("limiter/mod.rs", &["crate::app", "crate::api", "crate::server", "crate::config", "crate::exchange"]),
        ("limiter/redis.rs", &["crate::app", "crate::api", "crate::server", "crate::config", "crate::exchange"]),
        ("app.rs", &["crate::server", "crate::config"]),
        ("metrics.rs", &["crate::app", "crate::api", "crate::server", "crate::config"]),
    ];
    let sources = sources();
    for (name, words) in forbidden {
        let (_, code) =
            sources.iter().find(|(path, _)| path == Path::new(name)).unwrap_or_else(|| panic!("{name} is gone"));
        let hits: Vec<_> = words.iter().filter(|word| code.contains(**word)).collect();
        assert!(hits.is_empty(), "{name} uses {hits:?}");
    }
    let api_on_the_server =
        sources.iter().filter(|(path, code)| path.starts_with("api") && code.contains("crate::server"));
    assert_eq!(api_on_the_server.count(), 0);
}

#[test]
fn the_server_has_no_unsafe_code() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""), "the lint is no longer in Cargo.toml");
    assert_eq!(offenders(&["unsafe "], &[]), Vec::<String>::new());
}
