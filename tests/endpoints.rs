//! The API's table, row by row, over real sockets: what is asked in which way, and the answer's status, fields and body.
//!
//! What is not here: what may be wrong with a body (`validation.rs`), pages and entity tags (`products.rs`), limits.

mod support;

use support::{Connection, Response, Tollgate};

const PRODUCT: &str = r#"{"name":"Pencil","description":"HB","price":0.5}"#;
const UNKNOWN_ID: &str = "/api/products/00000000-0000-4000-8000-000000000000";
const JSON: Option<&str> = Some("application/json");
const PROBLEM: Option<&str> = Some("application/problem+json");

/// A server with one product, and that product's path.
fn server_with_a_product() -> (Tollgate, String) {
    let server = Tollgate::start(&[("RATE_LIMIT", "1000")]);
    let created = server.post("/api/products", PRODUCT);
    let path = created.header("Location").expect("a new product has a place").to_owned();
    (server, path)
}

/// What must not change from one answer to the next: the fields less those that differ by nature.
fn lasting_fields(response: &Response) -> Vec<(&str, &str)> {
    let differ = ["Date", "X-Request-Id", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit"];
    let fields = response.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    fields.filter(|(name, _)| !differ.contains(name)).collect()
}

/// Method, target and body of a request; status, `Content-Type` and, where it is known, body of the answer.
type Row<'r> = (&'r str, &'r str, &'r str, u16, Option<&'r str>, Option<&'r str>);

#[test]
fn each_row_of_the_table_is_answered_as_it_says() {
    let (server, product) = server_with_a_product();
    let id = product.strip_prefix("/api/products/").expect("the place is the collection's path and the id");
    let shown = format!(r#"{{"name":"Pencil","description":"HB","price":0.5,"id":"{id}"}}"#);
    let listed = format!("[{shown}]");
    let cases: &[Row<'_>] = &[
        ("GET", "/api/status", "", 200, JSON, Some(r#"{"status":"healthy"}"#)),
        (
            "GET",
            "/api/ready",
            "",
            200,
            JSON,
            Some(
                r#"{"status":"ready","limiter":"embedded","redis":"not configured","breaker":"none","draining":false}"#,
            ),
        ),
        ("GET", "/api/products", "", 200, JSON, Some(&listed)),
        ("GET", &product, "", 200, JSON, Some(&shown)),
        ("GET", UNKNOWN_ID, "", 404, PROBLEM, None),
        ("GET", "/api/products/42", "", 404, PROBLEM, None),
        ("DELETE", UNKNOWN_ID, "", 404, PROBLEM, None),
        ("DELETE", &product, "", 204, None, Some("")),
        ("DELETE", &product, "", 404, PROBLEM, None),
        ("GET", &product, "", 404, PROBLEM, None),
        ("GET", "/api/products", "", 200, JSON, Some("[]")),
        ("POST", "/api/products", PRODUCT, 201, JSON, None),
        (
            "POST",
            "/api/protected-action",
            r#"{"b":1.0}"#,
            200,
            JSON,
            Some(r#"{"message":"Action performed successfully","data":{"b":1.0}}"#),
        ),
        ("GET", "/metrics", "", 200, Some("text/plain; version=0.0.4; charset=utf-8"), None),
    ];
    let mut connection = server.connect();
    for &(method, target, body, status, content_type, expected) in cases {
        let response = connection.request(method, target, &[], body.as_bytes());
        assert_eq!(response.status, status, "{method} {target}: {response:?}");
        assert_eq!(response.header("Content-Type"), content_type, "{method} {target}");
        if let Some(expected) = expected {
            assert_eq!(response.text(), expected, "{method} {target}");
        }
    }
}

#[test]
fn head_is_answered_like_get_without_the_body() {
    let (server, product) = server_with_a_product();
    // One connection: a body after an answer to HEAD would be read as the next answer.
    let mut connection = server.connect();
    for target in ["/api/status", "/api/ready", "/api/products", "/api/products?limit=x", &product, UNKNOWN_ID, "/no"] {
        let head = connection.request("HEAD", target, &[], b"");
        let get = connection.request("GET", target, &[], b"");
        assert_eq!(head.status, get.status, "{target}");
        assert_eq!(lasting_fields(&head), lasting_fields(&get), "{target}");
        assert_eq!(head.number("Content-Length"), get.body.len() as u64, "{target}");
    }
    // The text grows with every answer, so its length is only about the same.
    let head = connection.request("HEAD", "/metrics", &[], b"");
    assert!(head.status == 200 && head.number("Content-Length") > 1_000, "{head:?}");
}

#[test]
fn options_says_what_a_resource_answers_to_and_everything_else_is_405_with_the_same_list() {
    let (server, product) = server_with_a_product();
    let cases = [
        ("/api/status", "GET, HEAD, OPTIONS"),
        ("/api/ready", "GET, HEAD, OPTIONS"),
        ("/metrics", "GET, HEAD, OPTIONS"),
        ("/api/products", "GET, HEAD, POST, OPTIONS"),
        (&product, "GET, HEAD, DELETE, OPTIONS"),
        (UNKNOWN_ID, "GET, HEAD, DELETE, OPTIONS"),
        ("/api/protected-action", "POST, OPTIONS"),
    ];
    for (target, allow) in cases {
        let mut connection = server.connect();
        let options = connection.request("OPTIONS", target, &[], b"");
        assert_eq!((options.status, options.header("Allow")), (204, Some(allow)), "{target}");
        assert_eq!((options.header("Content-Length"), options.header("Content-Type")), (None, None), "{target}");
        // DELETE comes last: it takes the product away.
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "TRACE", "DELETE"] {
            let response = connection.request(method, target, &[], b"");
            let is_listed = allow.split(", ").any(|listed| listed == method);
            assert_eq!(response.status != 405, is_listed, "{method} {target}: {response:?}");
            if !is_listed {
                assert_eq!(response.header("Allow"), Some(allow), "{method} {target}");
                assert_eq!(response.header("Content-Type"), PROBLEM, "{method} {target}");
            }
        }
    }
    // An absolute target without a path is the whole server too (RFC 9112, section 3.2.4).
    for whole_server in ["*", "http://other.test"] {
        let options = server.request("OPTIONS", whole_server, &[], b"");
        assert_eq!((options.status, options.header("Allow")), (204, Some("GET, HEAD, POST, DELETE, OPTIONS")));
    }
}

#[test]
fn methods_are_known_by_their_exact_names() {
    let server = Tollgate::start(&[]);
    for method in ["get", "Get", "BREW", "GET2", "M-SEARCH", "PROPFIND"] {
        for target in ["/api/status", "/nowhere"] {
            let response = server.request(method, target, &[], b"");
            assert_eq!((response.status, response.header("Content-Type")), (501, PROBLEM), "{method} {target}");
        }
    }
}

#[test]
fn one_resource_has_many_spellings() {
    let (server, product) = server_with_a_product();
    let id = product.rsplit('/').next().expect("a path has segments");
    let mut connection = server.connect();
    let status = connection.request("GET", "/api/status", &[], b"");
    for target in [
        "/api/status/",
        "/api/status?",
        "/api/status?x=%zz&/api/ready?#",
        "/api/status/?a=b&c",
        "/%61pi/%73tatus",
        "/api/stat%75s/",
        "http://other.test/api/status",
        "http://other.test:80/api/status/?q",
        "HTTP://OTHER.test/%61pi/status",
    ] {
        let response = connection.request("GET", target, &[], b"");
        assert_eq!((response.status, response.text()), (200, status.text()), "{target}");
    }
    let encoded_id = id.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    for target in [
        format!("/api/products/{id}/"),
        format!("/api/products/{id}?x"),
        format!("/api/products/{encoded_id}"),
        format!("/api/products/{}", id.to_uppercase()),
        format!("http://[::1]:80/api/products/{id}"),
    ] {
        let response = connection.request("GET", &target, &[], b"");
        assert_eq!(response.json()["id"], id, "{target}");
    }
    for target in ["/api/protected-action/", "/api/protected-action?x=1", "/api/protected%2Daction"] {
        assert_eq!(connection.request("POST", target, &[], b"1").status, 200, "{target}");
    }
}

#[test]
fn what_is_no_resource_is_not_found() {
    let server = Tollgate::start(&[]);
    let mut connection = server.connect();
    for target in [
        "//",
        "/api",
        "/api/",
        "/api//status",
        "/api/status//",
        "/api/statuss",
        "/api%2Fstatus",
        "/API/status",
        "/api/%zztatus",
        "/api/status%",
        "/api/%ff",
        "/api/../api/status",
        "/api/products/1/2",
        "/metrics/x",
        "/nowhere?/api/status",
        "http://other.test/nowhere",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let response = connection.request(method, target, &[], b"");
            assert_eq!((response.status, response.header("Content-Type")), (404, PROBLEM), "{method} {target}");
            assert_eq!(response.header("Allow"), None, "{method} {target}");
        }
    }
}

#[test]
fn a_request_id_that_is_short_and_safe_comes_back_and_any_other_is_replaced() {
    let server = Tollgate::start(&[]);
    let mut connection = server.connect();
    let longest = "x".repeat(64);
    for id in ["a", "A-1_b.c:d", "0190a5c4-0000-7000-8000-000000000000", &longest] {
        let response = connection.request("GET", "/api/status", &[("X-Request-Id", id)], b"");
        assert_eq!(response.header("X-Request-Id"), Some(id));
    }
    let too_long = "x".repeat(65);
    let mut generated = Vec::new();
    for id in ["", "a b", "a\"b", "<script>", "a;b", "a,b", "caf\u{e9}", "{}", "%0d%0a", &too_long] {
        let response = connection.request("GET", "/api/status", &[("X-Request-Id", id)], b"");
        let replaced = response.header("X-Request-Id").expect("every answer has an id").to_owned();
        assert!(replaced != id && replaced.len() == 36 && replaced.is_ascii(), "{id:?} became {replaced:?}");
        generated.push(replaced);
    }
    let count = generated.len();
    generated.sort();
    generated.dedup();
    assert_eq!(generated.len(), count, "each request has an id of its own");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = Tollgate::start(&[]);
    let mut connection = server.connect();
    let requests = |n: u32| {
        let target = ["/api/status", "/nowhere", "/metrics", "/api/products"][n as usize % 4];
        format!("GET {target} HTTP/1.1\r\nHost: tollgate.test\r\nX-Request-Id: r{n}\r\n\r\n")
    };
    connection.send((0..100).map(requests).collect::<String>().as_bytes());
    for n in 0..100 {
        let response = connection.receive("GET").expect("every request has an answer");
        assert_eq!(response.header("X-Request-Id"), Some(format!("r{n}").as_str()));
    }
}

#[test]
fn clients_that_stop_in_the_middle_of_their_upload_hold_up_nobody() {
    let server = Tollgate::start(&[("WORKERS", "2"), ("BODY_TIMEOUT_S", "3600")]);
    let stopped = |fields: &str| {
        let mut connection = server.connect();
        let head = format!("POST /api/products HTTP/1.1\r\nHost: tollgate.test\r\n{fields}\r\n\r\n{{");
        connection.send(head.as_bytes());
        connection
    };
    // More than there are workers, of every kind: short, long, chunked, and waiting to be told to go on.
    let kinds = [
        "Content-Length: 20",
        "Content-Length: 100000",
        "Transfer-Encoding: chunked",
        "Content-Length: 20\r\nExpect: 100-continue",
    ];
    let held: Vec<Connection> = kinds.iter().cycle().take(16).map(|kind| stopped(kind)).collect();
    for _ in 0..20 {
        assert_eq!(server.get("/api/status").status, 200);
    }
    drop(held);
}

#[test]
fn a_large_answer_behind_one_that_takes_a_token_holds_no_worker_up() {
    let server = Tollgate::start(&[("WORKERS", "1")]);
    let description = "x".repeat(60_000);
    for _ in 0..6 {
        let product = format!(r#"{{"name":"large","description":"{description}","price":1}}"#);
        assert_eq!(server.post("/api/products", &product).status, 201);
    }
    // They are one batch, in which the list is ready before the action.
    let mut connection = server.connect();
    connection.send(
        b"POST /api/protected-action HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1\
          GET /api/products HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(
        connection.receive("POST").expect("the first answer").text(),
        r#"{"message":"Action performed successfully","data":1}"#
    );
    assert!(connection.receive("GET").expect("the second answer").text().len() > 360_000);
    assert_eq!(server.get("/api/status").status, 200);
}
