//! What the server writes of requests: which answers, in which form, and what it never writes.
//!
//! Each test reads the log of a server that has ended: by then everything is written.

mod support;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Stdio};
use std::time::SystemTime;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Connection, GENEROUS, TempDir, Tollgate, command, eventually, sample};

type Pairs<'p> = &'p [(&'p str, &'p str)];

const ACTION: &str = "/api/protected-action";
const FAREWELL: &str = "bye";

/// Everything a server with these variables writes to stderr while `requests` are made, up to its end.
#[track_caller]
fn written(variables: Pairs<'_>, requests: impl FnOnce(&Tollgate)) -> String {
    let mut server = Tollgate::start(&[variables, &[("RATE_LIMIT", "2"), ("REFILL_RATE", "0.001")]].concat());
    requests(&server);
    server.signal(Signal::TERM);
    assert!(server.wait_for_exit(GENEROUS).success(), "{}", server.stderr());
    eventually(GENEROUS, "the last words", || Some(server.stderr()).filter(|said| said.contains(FAREWELL)))
}

/// The lines of the access log among what was written as text: those whose third word is a method.
fn access_lines(written: &str) -> Vec<Vec<&str>> {
    let words = written.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    words.filter(|words| words.len() == 8 && words[5].ends_with('B') && words[6].ends_with("us")).collect()
}

/// One of each kind of answer.
fn one_of_each(server: &Tollgate) {
    for (method, target, body) in [
        ("GET", "/api/status", ""),
        ("POST", "/api/products", r#"{"name":"a","description":"b","price":1}"#),
        ("HEAD", "/api/products", ""),
        ("OPTIONS", "/api/products", ""),
        ("GET", "/nowhere", ""),
        ("PUT", "/api/status", ""),
        ("POST", "/api/products", "{}"),
        ("POST", ACTION, "1"),
        ("POST", ACTION, "{"),
        ("POST", ACTION, "1"),
        ("BREW", "/api/status", ""),
    ] {
        server.request(method, target, &[], body.as_bytes());
    }
}

#[test]
fn the_mode_says_which_answers_are_logged() {
    let all = ["200", "201", "200", "204", "404", "405", "422", "200", "422", "429", "501"];
    let errors = ["404", "405", "422", "422", "501"];
    let cases: &[(Pairs<'_>, &[&str])] = &[
        (&[("ACCESS_LOG", "all")], &all),
        (&[("ACCESS_LOG", "errors")], &errors),
        (&[], &errors),
        (&[("ACCESS_LOG", "off")], &[]),
    ];
    for (variables, expected) in cases {
        let written = written(variables, one_of_each);
        let lines = access_lines(&written);
        // Two workers may write in another order than they answered.
        let mut statuses: Vec<&str> = lines.iter().map(|words| words[4]).collect();
        let mut expected = expected.to_vec();
        statuses.sort_unstable();
        expected.sort_unstable();
        assert_eq!(statuses, expected, "{variables:?}:\n{written}");
    }
}

#[test]
fn a_line_of_text_has_eight_words() {
    let written = written(&[("ACCESS_LOG", "all"), ("TRUSTED_PROXIES", "127.0.0.1")], |server| {
        let headers = [("X-Request-Id", "my-id.1"), ("X-Forwarded-For", "2001:db8:1:2:3::4")];
        let response = server.request("POST", ACTION, &headers, b"[1, 2]");
        assert_eq!(response.body.len(), 57);
    });
    let [words] = &access_lines(&written)[..] else { panic!("not one line:\n{written}") };
    let [time, client, method, path, status, bytes, took, id] = words[..] else { panic!("{words:?}") };
    let time: jiff::Timestamp = time.parse().expect("the time is in RFC 3339");
    let age = jiff::Timestamp::try_from(SystemTime::now()).expect("it is the present").duration_since(time);
    assert!((0..600).contains(&age.as_secs()), "{words:?}");
    assert_eq!((client, method, path), ("2001:db8:1:2::/64", "POST", ACTION));
    assert_eq!((status, bytes, id), ("200", "57B", "my-id.1"));
    assert!(took.trim_end_matches("us").parse::<u64>().is_ok(), "{took}");
}

#[test]
fn as_json_every_line_is_an_object() {
    let written = written(&[("ACCESS_LOG", "all"), ("LOG_FORMAT", "json")], |server| {
        server.request("GET", "/now\"here\\?x", &[("X-Request-Id", "my-id.1")], b"");
    });
    let lines: Vec<Value> = written
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect();
    let (access, others): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["log"] == "access");
    let [access] = &access[..] else { panic!("not one line:\n{written}") };
    for (key, expected) in [
        ("request_id", Value::from("my-id.1")),
        ("client", "127.0.0.1".into()),
        ("method", "GET".into()),
        ("path", "/now\"here\\".into()),
        ("status", 404.into()),
    ] {
        assert_eq!(access[key], expected, "{key}");
    }
    assert!(access["took_us"].is_u64() && access["bytes"].as_u64() > Some(100), "{access}");
    assert!(others.iter().all(|line| line["level"] == "INFO" && line["message"].is_string()), "{written}");
    for line in lines {
        let time = line["time"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
        assert!(time.is_some(), "{line}");
    }
}

#[test]
fn what_a_client_sends_in_confidence_is_never_written() {
    for format in ["text", "json"] {
        let variables = [("ACCESS_LOG", "all"), ("LOG_FORMAT", format), ("RUST_LOG", "trace")];
        let written = written(&variables, |server| {
            let fields = [
                ("Authorization", "Bearer hush-1"),
                ("Cookie", "session=hush-2"),
                ("X-Forwarded-For", "hush-3"),
                ("User-Agent", "hush-4"),
                ("Referer", "http://other.test/hush-5"),
                ("X-Request-Id", "hush 6"),
            ];
            let product = br#"{"name":"hush-7","description":"hush-8","price":"hush-9"}"#;
            for target in ["/api/products?token=hush-10", "/nowhere?hush-11#hush-12", ACTION, ACTION, ACTION] {
                server.request("POST", target, &fields, product);
                server.request("POST", target, &fields, b"\"hush-13");
            }
            server.request("GET", "http://hush-14:hush-15@other.test/api/products?after=hush-16", &fields, b"");
            let mut broken = server.connect();
            broken.send(b"GET /?hush-17 HTTP/1.1\r\nhush-18 : hush-19\r\n\r\n");
            broken.receive("GET").expect("an answer");
        });
        assert!(written.contains("/nowhere"), "{written}");
        assert!(!written.contains("hush"), "{written}");
    }
}

#[test]
fn nothing_a_client_sends_makes_a_line_of_its_own_or_moves_the_cursor() {
    for format in ["text", "json"] {
        let variables = [("ACCESS_LOG", "all"), ("LOG_FORMAT", format)];
        let mut answered = 0;
        let written = written(&variables, |server| {
            let long = format!("/{}", "x".repeat(8_000));
            let method = "M".repeat(2_000);
            for (method, target) in [
                ("GET", "/a%0d%0a2026-01-01T00:00:00.000Z%20forged"),
                ("GET", "/%1b[31m%00%7f"),
                ("GET", "/%e2%80%a8"),
                ("GET", "/\\r\\n\"',{}"),
                ("GET", &long),
                (&method, "/a"),
                ("GE|T'`~", "/a"),
            ] {
                server.request(method, target, &[("X-Request-Id", "a\tb")], b"");
                answered += 1;
            }
            for raw in ["GET /a\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a\u{2028} HTTP/1.1\r\nHost: a\r\n\r\n"] {
                let mut broken = server.connect();
                broken.send(raw.as_bytes());
                assert_eq!(broken.receive("GET").expect("an answer").status, 400);
                answered += 1;
            }
        });
        assert!(written.bytes().all(|byte| byte == b'\n' || (b' '..0x7f).contains(&byte)), "{written:?}");
        assert!(!written.contains(" forged") && written.lines().all(|line| !line.starts_with("2026-01-01")));
        let lines = written.lines().filter(|line| line.contains(r#""access""#)).count() + access_lines(&written).len();
        assert_eq!(lines, answered, "{written}");
    }
}

/// A server whose stderr is read up to where it says that it listens, and no further: soon the pipe is full.
struct Unread {
    child: Child,
    address: SocketAddr,
    _stderr: BufReader<ChildStderr>,
}

impl Unread {
    fn start(variables: &[(&str, &str)]) -> Self {
        let dir = TempDir::new();
        let mut command = command(&dir, &[variables, &[("LISTEN", "127.0.0.1:0")]].concat());
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program under test can be run");
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("the first line says where it listens");
        let address = line.rsplit("http://").next().and_then(|address| address.trim_end().parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line}"));
        Self { child, address, _stderr: stderr }
    }

    /// Has so many requests answered, and logged.
    #[track_caller]
    fn answer(&self, requests: usize) {
        let mut connection = Connection::open(self.address);
        for _ in 0..requests.div_ceil(100) {
            connection.send("GET /api/status HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100).as_bytes());
            for _ in 0..100 {
                assert_eq!(connection.receive("GET").expect("an answer").status, 200);
            }
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

/// Connections are closed after a thousand requests by default.
const ENDLESS: (&str, &str) = ("MAX_REQUESTS_PER_CONNECTION", "1000000");

#[test]
fn a_log_that_nobody_reads_holds_up_no_answer_and_what_is_lost_is_counted() {
    let server = Unread::start(&[("ACCESS_LOG", "all"), ENDLESS]);
    let dropped = || {
        let metrics = Connection::open(server.address).request("GET", "/metrics", &[], b"");
        sample(metrics.text(), "log_records_dropped_total")
    };
    assert!(dropped() < 0.5);
    eventually(GENEROUS, "the pipe and the queue are full", || {
        server.answer(1_000);
        dropped() > 0.5
    });
    server.answer(1_000);
}

#[test]
fn a_log_that_nobody_reads_keeps_no_server_from_ending() {
    let mut server = Unread::start(&[("ACCESS_LOG", "all"), ("SHUTDOWN_TIMEOUT_S", "1"), ENDLESS]);
    // More than a pipe takes, 64 KiB on Linux.
    server.answer(3_000);
    kill_process(Pid::from_child(&server.child), Signal::TERM).expect("a child that was not waited for has its pid");
    eventually(GENEROUS, "the server ends", || server.child.try_wait().expect("a child can be waited for"));
}
