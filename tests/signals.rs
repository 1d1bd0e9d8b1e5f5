//! The end: what was received is answered, nothing new is taken, and it does not last for ever.
//!
//! A client that has sent a request but for its last bytes holds a server in its drain, so what it does there can be seen.

mod support;

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Connection, GENEROUS, Response, Tollgate, eventually};

/// Time-outs that no test lives to see, and more workers than there are clients that keep one waiting.
const PATIENT: [(&str, &str); 5] = [
    ("SHUTDOWN_TIMEOUT_S", "3600"),
    ("HEADER_TIMEOUT_S", "3600"),
    ("BODY_TIMEOUT_S", "3600"),
    ("IDLE_TIMEOUT_S", "3600"),
    ("WORKERS", "8"),
];
const STATUS: &str = "GET /api/status HTTP/1.1\r\nHost: a\r\n\r\n";

/// Waits until nobody can connect any more: then the server drains.
#[track_caller]
fn await_refusal(server: &Tollgate) {
    eventually(GENEROUS, "new connections are refused", || TcpStream::connect(server.address()).is_err());
}

/// A connection on which this has been sent.
#[track_caller]
fn having_sent(server: &Tollgate, bytes: &str) -> Connection {
    let mut connection = server.connect();
    connection.send(bytes.as_bytes());
    connection
}

/// Waits until the server has taken in what was sent before on other connections: they came first, so they were read first.
#[track_caller]
fn await_receipt(server: &Tollgate) {
    for _ in 0..3 {
        assert_eq!(server.get("/api/status").status, 200);
    }
}

#[test]
fn a_server_that_has_nothing_to_do_ends_with_0_on_either_signal() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut server = Tollgate::start(&PATIENT);
        let mut idle = server.connect();
        assert_eq!(idle.request("GET", "/api/status", &[], b"").status, 200);
        let mut unused = server.connect();
        server.signal(signal);
        assert_eq!(server.wait_for_exit(GENEROUS).code(), Some(0), "{name}");
        assert!(idle.is_closed() && unused.is_closed(), "{name}");
        assert!(server.stderr().contains(name), "{name}: {}", server.stderr());
    }
}

#[test]
fn what_has_been_sent_before_the_signal_is_answered() {
    let mut server = Tollgate::start(&PATIENT);
    let mut connections: Vec<Connection> = (0..64).map(|_| server.connect()).collect();
    for connection in &mut connections {
        // Known to the server, not only to the kernel.
        assert_eq!(connection.request("GET", "/api/status", &[], b"").status, 200);
    }
    for connection in &mut connections {
        connection.send(STATUS.as_bytes());
    }
    server.signal(Signal::TERM);
    for connection in &mut connections {
        assert_eq!(connection.receive("GET").expect("an answer").text(), r#"{"status":"healthy"}"#);
    }
    assert_eq!(server.wait_for_exit(GENEROUS).code(), Some(0));
}

#[test]
fn under_load_no_answer_is_cut() {
    let mut server = Tollgate::start(&[&PATIENT[..], &[("MAX_REQUESTS_PER_CONNECTION", "1000000000")]].concat());
    let answers = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| keep_asking(&server, &answers));
        }
        eventually(GENEROUS, "there is load", || answers.load(Ordering::Relaxed) > 500);
        server.signal(Signal::TERM);
    });
    assert_eq!(server.wait_for_exit(GENEROUS).code(), Some(0));
}

/// Asks again and again on one connection until the server says that it ends it.
fn keep_asking(server: &Tollgate, answers: &AtomicUsize) {
    // An idle connection is closed by a server that drains, which is not to be mistaken for a request that was dropped:
    // this client is idle only if its machine stands still.
    let longest_pause = Duration::from_millis(100);
    let mut connection = server.connect();
    let mut answered_at = Instant::now();
    loop {
        connection.send(STATUS.as_bytes());
        let paused = answered_at.elapsed() > longest_pause;
        match connection.receive("GET") {
            Ok(response) => {
                assert_eq!(response.text(), r#"{"status":"healthy"}"#);
                answers.fetch_add(1, Ordering::Relaxed);
                if response.header("Connection") == Some("close") {
                    return;
                }
            }
            Err(error) => {
                assert!(paused, "a request was dropped: {error}");
                return;
            }
        }
        answered_at = Instant::now();
    }
}

#[test]
fn while_it_drains_a_server_says_so_refuses_work_and_lives() {
    let mut server = Tollgate::start(&[&PATIENT[..], &[("RATE_LIMIT", "1"), ("REFILL_RATE", "0.001")]].concat());
    let product = r#"{"name":"a","description":"b","price":1}"#;
    let cases = [
        ("GET", "/api/ready", "", 503),
        ("HEAD", "/api/ready", "", 503),
        ("POST", "/api/protected-action", "1", 503),
        ("POST", "/api/protected-action", "1", 503),
        ("POST", "/api/products", product, 503),
        ("GET", "/api/products", "", 503),
        ("GET", "/api/products/42", "", 503),
        ("DELETE", "/api/products/42", "", 503),
        ("GET", "/api/status", "", 200),
        ("GET", "/metrics", "", 200),
        ("OPTIONS", "/api/products", "", 204),
        ("PUT", "/api/products", "", 405),
        ("GET", "/nowhere", "", 404),
    ];
    // All but the last byte of each head is there before the signal.
    let mut begun = Vec::new();
    for (method, target, body, _) in cases {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        let (most, last) = head.split_at(head.len() - 1);
        begun.push((having_sent(&server, most), format!("{last}{body}")));
    }
    await_receipt(&server);
    server.signal(Signal::TERM);
    await_refusal(&server);
    for ((mut connection, last), (method, target, _, status)) in begun.into_iter().zip(cases) {
        connection.send(last.as_bytes());
        let response = connection.receive(method).unwrap_or_else(|error| panic!("{method} {target}: {error}"));
        assert_eq!(response.status, status, "{method} {target}: {response:?}");
        assert_eq!(response.header("Connection"), Some("close"), "{method} {target}");
        assert_eq!(response.header("Retry-After").is_some(), status == 503, "{method} {target}: {response:?}");
        if status == 503 {
            assert_refused(method, target, &response);
        }
        assert!(connection.is_closed(), "{method} {target}");
    }
    assert_eq!(server.wait_for_exit(GENEROUS).code(), Some(0));
}

#[track_caller]
fn assert_refused(method: &str, target: &str, response: &Response) {
    assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"), "{target}");
    assert_eq!(response.header("RateLimit"), None, "no token was asked for: {target}");
    if method == "HEAD" {
        return;
    }
    let body = response.json();
    if target == "/api/ready" {
        assert_eq!((&body["status"], &body["draining"]), (&"draining".into(), &true.into()));
    } else {
        assert_eq!(response.header("Content-Type"), Some("application/problem+json"), "{target}");
        assert_eq!((&body["title"], &body["status"]), (&"Service Unavailable".into(), &503.into()), "{target}");
        assert_eq!(body["detail"], "The server is shutting down.", "{target}");
    }
}

#[test]
fn an_upload_that_began_before_the_signal_is_answered_when_it_is_whole() {
    let mut server = Tollgate::start(&PATIENT);
    let product = |name: &str| format!(r#"{{"name":"{name}","description":"b","price":1}}"#);
    let (short, long) = (product("a"), product(&"a".repeat(200_000)));
    let mut uploads = Vec::new();
    for (body, expect) in [(&short, ""), (&long, ""), (&long, "Expect: 100-continue\r\n")] {
        let length = body.len();
        let head = format!("POST /api/products HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: {length}\r\n\r\n");
        let mut connection = having_sent(&server, &head);
        if !expect.is_empty() {
            assert_eq!(connection.receive_one("POST").expect("an interim answer").status, 100);
        }
        connection.send(&body.as_bytes()[..10]);
        uploads.push((connection, body));
    }
    await_receipt(&server);
    server.signal(Signal::TERM);
    await_refusal(&server);
    for (connection, body) in &mut uploads {
        connection.send(&body.as_bytes()[10..]);
        let response = connection.receive("POST").expect("an answer");
        assert_eq!(response.status, 201, "{response:?}");
        assert_eq!(response.header("Connection"), Some("close"));
    }
    assert_eq!(server.wait_for_exit(GENEROUS).code(), Some(0));
}

/// Requests that stop where a server waits for the rest.
const STUCK: [&str; 5] = [
    "GET /api/sta",
    "GET /api/status HTTP/1.1\r\nHost: a\r\n",
    "POST /api/products HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{",
    "POST /api/products HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{",
    "POST /api/protected-action HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
];

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::TERM, Signal::INT), (Signal::INT, Signal::INT)] {
        let mut server = Tollgate::start(&PATIENT);
        let _stuck = STUCK.map(|sent| having_sent(&server, sent));
        await_receipt(&server);
        server.signal(first);
        await_refusal(&server);
        server.signal(second);
        assert_eq!(server.wait_for_exit(GENEROUS).code(), Some(1));
        assert!(server.stderr().contains("ended before all requests in hand were answered"), "{}", server.stderr());
    }
}

#[test]
fn clients_that_are_stuck_hold_it_up_no_longer_than_configured() {
    for timeout_s in ["0", "1"] {
        for stuck in STUCK {
            let variables = [&PATIENT[1..], &[("SHUTDOWN_TIMEOUT_S", timeout_s)]].concat();
            let mut server = Tollgate::start(&variables);
            let mut connection = having_sent(&server, stuck);
            await_receipt(&server);
            server.signal(Signal::TERM);
            let status = server.wait_for_exit(GENEROUS);
            assert!(status.code().is_some(), "{stuck}: {status}");
            connection.finish_sending();
            while connection.receive("POST").is_ok() {}
            assert!(connection.is_closed(), "{stuck}");
        }
    }
}

#[test]
fn a_client_that_reads_too_slowly_holds_it_up_no_longer_than_configured() {
    let variables = [&PATIENT[1..], &[("SHUTDOWN_TIMEOUT_S", "1"), ("WRITE_TIMEOUT_S", "3600")]].concat();
    let mut server = Tollgate::start(&variables);
    let name = "a".repeat(1_000_000);
    for _ in 0..8 {
        let created = server.post("/api/products", &format!(r#"{{"name":"{name}","description":"","price":1}}"#));
        assert_eq!(created.status, 201);
    }
    // More than sockets and the server together keep for one client.
    let request = "GET /api/products HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4);
    let _slow = having_sent(&server, &request);
    await_receipt(&server);
    server.signal(Signal::TERM);
    assert!(server.wait_for_exit(GENEROUS).code().is_some());
}
