//! The first minute: what the binary says, what it takes for an address, and what it says when it cannot have it.
//!
//! What is not here: the configuration's own problems (`configuration.rs`).

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use support::{TempDir, Tollgate, UnixTollgate, command};

/// Runs the program to its end; its exit code and what it wrote to stderr.
#[track_caller]
fn run(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = command(&TempDir::new(), variables).args(args).output().expect("the program under test can be run");
    (output.status.code(), String::from_utf8(output.stderr).expect("stderr is text"))
}

/// The words between quotes of a shell command, quotes and all else as a shell takes it: nothing of ours needs more.
fn shell_words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (at, part) in command.split('\'').enumerate() {
        let is_quoted = at % 2 == 1;
        let mut pieces = if is_quoted { vec![part] } else { part.split(' ').collect() };
        if let (Some(first), Some(word)) = (pieces.first(), words.last_mut()) {
            word.push_str(first);
            pieces.remove(0);
        }
        words.extend(pieces.into_iter().map(str::to_owned));
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

#[test]
fn it_says_where_it_listens_what_limits_it_and_what_to_try() {
    let server = Tollgate::start(&[]);
    let said = server.stderr();
    let url = format!("http://{}", server.address());
    let first = format!("tollgate {} listens on {url}\n", env!("CARGO_PKG_VERSION"));
    assert!(said.starts_with(&first), "{said}");
    for part in ["limiter  embedded", "limit    5 tokens a client, 0.1 back each second", "RATE_LIMIT", "REDIS_URL"] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    assert!(said.lines().count() <= 8, "a few lines:\n{said}");
}

#[test]
fn what_it_says_to_try_works() {
    let server = Tollgate::start(&[]);
    let said = server.stderr();
    let curl = said.lines().find_map(|line| line.split_once("curl ")).expect("a line with curl").1;
    let words = shell_words(curl);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let url = format!("http://{}", server.address());
    let ["-i", "-d", body, "-H", header, target] = words[..] else { panic!("{words:?}") };
    let target = target.strip_prefix(&url).expect("the address of this server");
    let header = header.split_once(": ").expect("a header field");
    let response = server.request("POST", target, &[header], body.as_bytes());
    assert_eq!((response.status, response.header("X-RateLimit-Remaining")), (200, Some("4")), "{curl}");
    let links: Vec<&str> = said.split_ascii_whitespace().filter_map(|word| word.strip_prefix(&url)).collect();
    assert!(links.len() > 3, "{links:?}");
    for target in links.iter().filter(|target| !target.is_empty() && !target.contains("protected")) {
        assert_eq!(server.get(target).status, 200, "{target}");
    }
}

#[test]
fn it_shows_no_password_and_the_limit_that_was_set() {
    let variables = [("REDIS_URL", "redis://me:hush@127.0.0.1:1/3"), ("RATE_LIMIT", "7"), ("REFILL_RATE", "2.5")];
    let server = Tollgate::start(&variables);
    let said = server.stderr();
    assert!(said.contains("7 tokens a client, 2.5 back each second"), "{said}");
    assert!(said.contains("127.0.0.1:1") && !said.contains("hush"), "{said}");
}

#[test]
fn a_port_in_use_is_one_clear_line_and_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    for (args, variables) in [(&[][..], &[("LISTEN", address.as_str())][..]), (&["--listen", &address], &[])] {
        let (code, said) = run(args, variables);
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        let start = format!("tollgate: cannot listen on {address}: ");
        assert!(said.starts_with(&start) && said.to_lowercase().contains("in use"), "{said}");
    }
    // Two servers never share an address.
    let server = Tollgate::start(&[]);
    let (code, _) = run(&[], &[("LISTEN", &server.address().to_string())]);
    assert_eq!(code, Some(1));
}

#[test]
fn an_address_that_cannot_be_had_is_one_clear_line_and_exit_code_1() {
    let dir = TempDir::new();
    let file = dir.path().join("file");
    fs::write(&file, "precious").expect("a file can be made");
    let file = file.display();
    for listen in [
        // A documentation address is nobody's (RFC 5737).
        "192.0.2.1:8080".to_owned(),
        format!("unix:{file}"),
        format!("unix:{file}/below"),
        "unix:/nonexistent/tollgate.sock".to_owned(),
    ] {
        let (code, said) = run(&[], &[("LISTEN", &listen)]);
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{listen}: {said}");
        assert!(said.starts_with(&format!("tollgate: cannot listen on {listen}: ")), "{said}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("file")).expect("it is still there"), "precious");
}

#[test]
fn it_serves_on_a_unix_socket_and_takes_the_socket_away_at_the_end() {
    let mut server = UnixTollgate::start(&[]);
    let answer = server.exchange("GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(r#"{"status":"healthy"}"#), "{answer}");
    assert_eq!(server.terminate().code(), Some(0));
    assert!(!server.path().exists());
}

#[test]
fn a_socket_that_a_server_left_behind_is_replaced_and_one_that_is_served_is_not() {
    let dir = TempDir::new();
    let path = dir.path().join("left.sock");
    drop(UnixListener::bind(&path).expect("a socket can be made"));
    assert!(path.exists(), "nobody listens there, but it is there");
    let server = UnixTollgate::start_at(path.clone(), &[]);
    let (code, said) = run(&[], &[("LISTEN", &format!("unix:{}", path.display()))]);
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.to_lowercase().contains("in use"), "{said}");
    let answer = server.exchange("GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "the first one is served on: {answer}");
}

#[test]
fn a_healthcheck_finds_the_server_where_it_listens() {
    let tcp = Tollgate::start(&[]);
    let unix = UnixTollgate::start(&[]);
    for listen in [tcp.address().to_string(), format!("unix:{}", unix.path().display())] {
        let (code, said) = run(&["healthcheck"], &[("LISTEN", &listen)]);
        assert_eq!(code, Some(0), "{listen}: {said}");
    }
}
