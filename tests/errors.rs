//! Every error is an RFC 9457 problem in the same form, whoever finds it: the engine, the router, a handler, or a panic.
//!
//! What is not here: which bodies are wrong (`validation.rs`), 429 (`rate_limit_headers.rs`), 503 of a server that drains
//! (`signals.rs`) or has lost its Redis.

mod support;

use std::any::Any;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc;
use std::time::Instant;

use serde_json::Value;
use std::sync::Arc;
use support::{Response, Tollgate, sample};

use tollgate::config::{self, Command, Surroundings};
use tollgate::exchange::{BodyError, Exchange, Reply};
use tollgate::log_writer::LogWriter;
use tollgate::metrics::Metrics;
use tollgate::start;

const PRODUCT: &str = r#"{"name":"a","description":"b","price":1}"#;

/// What every answer carries.
#[track_caller]
fn assert_common_fields(response: &Response, what: &str) {
    assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"), "{what}: {response:?}");
    let id = response.header("X-Request-Id").unwrap_or_else(|| panic!("{what}: no id in {response:?}"));
    assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{what}: {id}");
    assert!(response.header("Date").is_some_and(|date| date.ends_with(" GMT")), "{what}: {response:?}");
    assert_eq!(response.header("Server"), Some("tollgate"), "{what}");
}

/// That the answer is a problem of this status and nothing is missing; its `detail`.
#[track_caller]
fn assert_problem(response: &Response, status: u16, what: &str) -> String {
    assert_eq!(response.status, status, "{what}: {response:?}");
    assert_common_fields(response, what);
    assert_eq!(response.header("Content-Type"), Some("application/problem+json"), "{what}");
    let Value::Object(problem) = response.json() else { panic!("{what}: no object in {response:?}") };
    let keys: Vec<&str> = problem.keys().map(String::as_str).collect();
    let known = ["type", "title", "status", "detail", "hint", "errors", "violated-policies"];
    assert!(keys.iter().all(|key| known.contains(key)), "{what}: {keys:?}");
    assert_eq!(problem["status"], status, "{what}");
    assert_eq!(problem["type"], "about:blank", "{what}");
    assert_eq!(problem["title"], title(status), "{what}");
    let detail = problem["detail"].as_str().unwrap_or_else(|| panic!("{what}: no detail in {problem:?}"));
    assert!(!detail.is_empty(), "{what}");
    detail.to_owned()
}

/// The words of RFC 9110, section 15, RFC 6585 and RFC 4918.
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        other => panic!("{other} is not expected in these tests"),
    }
}

#[test]
fn what_the_engine_refuses_is_refused_in_the_form_of_every_other_error() {
    let server = Tollgate::start(&[]);
    let long = "x".repeat(40_000);
    let fields = (0..101).map(|n| format!("X-{n}: y\r\n")).collect::<Vec<_>>().concat();
    let get = "GET /api/status HTTP/1.1\r\n";
    let post = "POST /api/products HTTP/1.1\r\nHost: a\r\n";
    let cases: &[(&str, String, u16)] = &[
        ("no request line", "garbage\r\n\r\n".to_owned(), 400),
        ("no version", "GET /api/status\r\n\r\n".to_owned(), 400),
        ("a space in the target", "GET /api/status /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("a control character in the target", "GET /a\u{1b}[31m HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("a target in no form", "GET api/status HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("* without OPTIONS", "GET * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("a TLS handshake", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n".to_owned(), 400),
        ("no Host", format!("{get}\r\n"), 400),
        ("two Hosts", format!("{get}Host: a\r\nHost: b\r\n\r\n"), 400),
        ("a Host that is none", format!("{get}Host: a b\r\n\r\n"), 400),
        ("a folded field", format!("{get}Host: a\r\nX: y\r\n z\r\n\r\n"), 400),
        ("a space before the colon", format!("{get}Host : a\r\n\r\n"), 400),
        ("a NUL in a value", format!("{get}Host: a\r\nX: \0\r\n\r\n"), 400),
        ("a bare line feed", format!("{get}Host: a\nX: y\r\n\r\n"), 400),
        ("two lengths", format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\n12"), 400),
        ("a length with a sign", format!("{post}Content-Length: +1\r\n\r\n1"), 400),
        ("a length and chunks", format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1"), 400),
        ("a chunk without a size", format!("{post}Transfer-Encoding: chunked\r\n\r\nx\r\n"), 400),
        ("a chunk of endless size", format!("{post}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"), 400),
        ("an unknown coding", format!("{post}Transfer-Encoding: gzip\r\n\r\n"), 501),
        ("an unknown expectation", format!("{post}Expect: a-miracle\r\nContent-Length: 1\r\n\r\n1"), 417),
        ("HTTP/2", "GET /api/status HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
        ("a long target", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        ("a long field", format!("{get}Host: a\r\nX: {long}\r\n\r\n"), 431),
        ("many fields", format!("{get}Host: a\r\n{fields}\r\n"), 431),
    ];
    for (what, request, status) in cases {
        let mut connection = server.connect();
        connection.send(request.as_bytes());
        let response = connection.receive("GET").unwrap_or_else(|error| panic!("{what}: {error}"));
        let detail = assert_problem(&response, *status, what);
        assert!(detail.ends_with('.') && detail != title(*status), "{what}: {detail} is no sentence that helps");
        assert_eq!(response.header("Connection"), Some("close"), "{what}");
        assert!(connection.is_closed(), "{what}: what follows cannot be told from the rest of the bad request");
    }
    assert_eq!(server.get("/api/status").status, 200);
}

#[test]
fn a_request_that_ends_too_early_is_told_so() {
    let server = Tollgate::start(&[]);
    for (sent, what) in [
        ("POST /api/prod", "in the request line"),
        ("POST /api/products HTTP/1.1\r\nHost: a\r\nContent-", "in a field"),
        ("POST /api/products HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{", "in a short body"),
        ("POST /api/products HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{", "in a long body"),
        ("POST /api/products HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{", "in a chunk"),
        ("POST /api/products HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "before the first chunk"),
    ] {
        let mut connection = server.connect();
        connection.send(sent.as_bytes());
        connection.finish_sending();
        let response = connection.receive("POST").unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_problem(&response, 400, what);
    }
}

#[test]
fn a_request_that_takes_too_long_is_told_so() {
    let server = Tollgate::start(&[("HEADER_TIMEOUT_S", "1"), ("BODY_TIMEOUT_S", "1")]);
    let waiting = [
        ("POST /api/prod", "in the request line"),
        ("POST /api/products HTTP/1.1\r\nHost: a\r\nX: y\r\n", "in the head"),
        ("POST /api/products HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{", "in a short body"),
        ("POST /api/products HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{", "in a long body"),
        ("POST /api/products HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "before the first chunk"),
    ]
    .map(|(sent, what)| {
        let mut connection = server.connect();
        connection.send(sent.as_bytes());
        (connection, what)
    });
    for (mut connection, what) in waiting {
        let response = connection.receive("POST").unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_problem(&response, 408, what);
        assert_eq!(response.header("Connection"), Some("close"), "{what}");
        assert!(connection.is_closed(), "{what}");
    }
}

#[test]
fn a_body_may_have_as_many_bytes_as_configured_and_no_more() {
    let server = Tollgate::start(&[("MAX_BODY_BYTES", "40"), ("RATE_LIMIT", "1000")]);
    assert_eq!(PRODUCT.len(), 40);
    let chunked = |body: &str| format!("5\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", &body[..5], body.len() - 5, &body[5..]);
    for target in ["/api/products", "/api/protected-action"] {
        for (body, is_too_long) in [(PRODUCT.to_owned(), false), (format!("{PRODUCT} "), true)] {
            for (headers, sent) in [(&[][..], body.clone()), (&[("Transfer-Encoding", "chunked")], chunked(&body))] {
                let response = server.request("POST", target, headers, sent.as_bytes());
                let what = format!("{target} {headers:?} {}", body.len());
                if is_too_long {
                    let detail = assert_problem(&response, 413, &what);
                    assert_eq!(detail, "The request body is larger than 40 bytes.");
                    assert_eq!(response.header("Connection"), Some("close"), "{what}");
                } else {
                    assert!(matches!(response.status, 200 | 201), "{what}: {response:?}");
                }
            }
        }
    }
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_sent() {
    let server = Tollgate::start(&[]);
    for length in ["1048577", "10485760", "4611686018427387904", "18446744073709551615"] {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let mut connection = server.connect();
            let head = format!("POST /api/products HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{expect}\r\n");
            connection.send(head.as_bytes());
            let response = connection.receive_one("POST").expect("an answer without the body");
            assert_problem(&response, 413, length);
            assert_eq!(response.header("Connection"), Some("close"), "{length} {expect}");
        }
    }
    assert_eq!(server.get("/api/products").text(), "[]");
}

#[test]
fn the_details_of_the_replaced_system_stand_where_it_had_any() {
    let server = Tollgate::start(&[("RATE_LIMIT", "1000"), ("MAX_PRODUCTS", "1")]);
    assert_eq!(server.post("/api/products", PRODUCT).status, 201);
    let json: &[(&str, &str)] = &[("Content-Type", "application/json")];
    let text: &[(&str, &str)] = &[("Content-Type", "text/plain")];
    let cases = [
        ("GET", "/nowhere", json, "", 404, "Not Found"),
        ("GET", "/api/products/42", json, "", 404, "Not Found"),
        ("DELETE", "/api/products/42", json, "", 404, "Not Found"),
        ("PUT", "/api/status", json, "", 405, "Method Not Allowed"),
        ("BREW", "/api/status", json, "", 501, "This server does not know the request's method."),
        ("POST", "/api/products", json, "{}", 422, "Validation failed for the request body."),
        ("GET", "/api/products?limit=x", json, "", 422, "Validation failed for the query."),
        ("POST", "/api/products", text, PRODUCT, 415, "The Content-Type says that the body is not JSON."),
        (
            "POST",
            "/api/products",
            json,
            PRODUCT,
            507,
            "The product store is full: it holds at most 1 products and 64 MiB.",
        ),
        (
            "POST",
            "/api/products",
            json,
            "\"\\ud800\"",
            400,
            "The JSON holds half a surrogate pair; a character beyond U+FFFF is sent as itself or as both halves, the \
             high one (\\ud800 to \\udbff) first.",
        ),
    ];
    for (method, target, headers, body, status, expected) in cases {
        let response = server.request(method, target, headers, body.as_bytes());
        assert_eq!(assert_problem(&response, status, target), expected);
        assert_eq!(response.json().get("errors").is_some(), status == 422, "{target}");
    }
}

#[test]
fn every_answer_has_an_id_and_is_not_to_be_sniffed() {
    let server = Tollgate::start(&[("RATE_LIMIT", "1")]);
    let created = server.post("/api/products", PRODUCT);
    assert_common_fields(&created, "201");
    let product = created.header("Location").expect("a new product has a place").to_owned();
    let cases: &[(&str, &str, (&str, &str), u16)] = &[
        ("GET", "/api/status", ("X", "y"), 200),
        ("HEAD", "/api/status", ("X", "y"), 200),
        ("GET", "/api/ready", ("X", "y"), 200),
        ("GET", "/metrics", ("X", "y"), 200),
        ("GET", "/api/products", ("X", "y"), 200),
        ("GET", "/api/products", ("If-None-Match", "*"), 304),
        ("OPTIONS", "*", ("X", "y"), 204),
        ("OPTIONS", &product, ("X", "y"), 204),
        ("GET", &product, ("X", "y"), 200),
        ("DELETE", &product, ("X", "y"), 204),
        ("DELETE", &product, ("X", "y"), 404),
        ("PATCH", &product, ("X", "y"), 405),
        ("BREW", &product, ("X", "y"), 501),
        ("POST", "/api/protected-action", ("X", "y"), 422),
        ("POST", "/api/protected-action", ("X", "y"), 429),
        ("CONNECT", "other.test:443", ("X", "y"), 404),
    ];
    for &(method, target, header, status) in cases {
        let response = server.request(method, target, &[header], b"");
        assert_eq!(response.status, status, "{method} {target}: {response:?}");
        assert_common_fields(&response, &format!("{method} {target}"));
    }
}

/// A request out of nothing; one without a body panics when it is asked for it.
struct Made {
    target: &'static str,
    body: Option<&'static [u8]>,
    answers: mpsc::Sender<(&'static str, Reply)>,
}

impl Exchange for Made {
    fn method(&self) -> &'static str {
        "POST"
    }

    fn target(&self) -> &str {
        self.target
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(Ipv4Addr::LOCALHOST.into())
    }

    fn received_at(&self) -> Instant {
        Instant::now()
    }

    fn header_values(&self, _name: &'static str) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }

    fn has_body(&self) -> bool {
        true
    }

    fn put_aside(self, _max_bytes: usize, _kept: Box<dyn Any + Send>) -> Option<Self> {
        Some(self)
    }

    fn take_kept(&mut self) -> Option<Box<dyn Any + Send>> {
        None
    }

    fn body(&mut self, _max_bytes: usize) -> Result<Cow<'_, [u8]>, BodyError> {
        Ok(Cow::Borrowed(self.body.expect("the test wants a panic here")))
    }

    fn answer(self, reply: Reply) {
        self.answers.send((self.target, reply)).expect("the test waits for it");
    }
}

#[test]
fn a_panic_in_a_handler_is_that_requests_500_is_counted_and_harms_no_other() {
    let nothing_set = Surroundings { environment: &|_| None, dotenv: Ok(None), cores: 2 };
    let command = config::resolve(["tollgate".into()], &nothing_set);
    let Ok(Command::Serve(config)) = command else { panic!("the defaults are no configuration: {command:?}") };
    let metrics = Arc::new(Metrics::new(start::POLICY));
    let log_writer = LogWriter::start(config.log_format, metrics.clone()).expect("a thread");
    let app = start::app(&config, metrics, log_writer).expect("an app of the defaults");
    let (answers, received) = mpsc::channel();
    let made = |target, body| Made { target, body, answers: answers.clone() };
    let batch = vec![
        made("/api/products", Some(PRODUCT.as_bytes())),
        made("/api/products", None),
        made("/api/protected-action", Some(b"1")),
        made("/api/protected-action", None),
        made("/api/protected-action", Some(b"2")),
        made("/nowhere", None),
    ];
    app.answer(batch.into_iter(), || ());
    drop(answers);
    let mut statuses = Vec::new();
    for (target, reply) in received {
        if reply.status == 500 {
            let problem: Value = serde_json::from_slice(reply.body.bytes()).expect("a problem is JSON");
            assert_eq!((&problem["status"], &problem["title"]), (&500.into(), &title(500).into()), "{target}");
            let id = reply.fields.iter().find(|(name, _)| *name == "X-Request-Id");
            assert!(id.is_some(), "{target}: {:?}", reply.fields);
        }
        statuses.push((target, reply.status));
    }
    statuses.sort_unstable();
    let action = "/api/protected-action";
    let products = "/api/products";
    let expected = [(products, 201), (products, 500), (action, 200), (action, 200), (action, 500), ("/nowhere", 404)];
    assert_eq!(statuses, expected);
    let metrics = String::from_utf8(app.metrics().render()).expect("metrics are text");
    for (series, expected) in [
        ("http_server_worker_panics_total", 2.0),
        (r#"http_requests_total{handler="products",method="POST",status="500"}"#, 1.0),
        (r#"http_requests_total{handler="protected_action",method="POST",status="500"}"#, 1.0),
        ("http_requests_in_progress", 0.0),
    ] {
        assert!((sample(&metrics, series) - expected).abs() < f64::EPSILON, "{series} in\n{metrics}");
    }
}

#[test]
fn a_chunked_body_is_refused_as_soon_as_it_is_too_long() {
    let server = Tollgate::start(&[("MAX_BODY_BYTES", "1000"), ("BODY_TIMEOUT_S", "3600")]);
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut connection = server.connect();
        let head = format!("POST /api/products HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{expect}\r\n");
        // It never ends, and nobody waits for that.
        connection.send(format!("{head}3e9\r\n{}", "x".repeat(1001)).as_bytes());
        let response = connection.receive("POST").expect("an answer without the end of the body");
        assert_problem(&response, 413, expect);
    }
}
