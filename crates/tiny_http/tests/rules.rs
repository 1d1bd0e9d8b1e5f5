//! Every rule of RFC 9112 that the engine keeps, over a socket: what is sent, what is answered, and whether the connection
//! can be used again.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use common::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Kept,
    Closed,
}
use After::{Closed, Kept};

/// What is sent, the status, and what becomes of the connection.
const RULES: &[(&str, u16, After)] = &[
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, Kept),
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, Kept),
    ("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, Kept),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 200, Kept),
    ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 200, Kept),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200, Kept),
    ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 200, Kept),
    ("PURGE / HTTP/1.1\r\nHost: a\r\n\r\n", 200, Kept),
    ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, Kept),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 200, Kept),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 200, Kept),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, Kept),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
        200,
        Kept,
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, Closed),
    ("GET / HTTP/1.0\r\n\r\n", 200, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", 200, Closed),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        200,
        Closed,
    ),
    ("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", 200, Closed),
    ("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", 200, Closed),
    ("GET / HTTP/1.1\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\nHost: [1::2::3]\r\n\r\n", 400, Closed),
    ("GET http://:80/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\nHost: a\n\n", 400, Closed),
    ("GET / HTTP/1.1\rHost: a\r\r", 400, Closed),
    ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\nHost: a\r\nX y: a\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\nHost: a\r\nX{: a\r\n\r\n", 400, Closed),
    ("GET\r\n\r\n", 400, Closed),
    ("GET /\r\n\r\n", 400, Closed),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, Closed),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, Closed),
    ("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400, Closed),
    ("G\u{e9}T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, Closed),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, Closed),
    ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, Closed),
    ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, Closed),
    ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4611686018427387904\r\n\r\n", 413, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400, Closed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno trailer\r\n\r\n", 400, Closed),
    ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 102-processing\r\n\r\n", 417, Closed),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, Closed),
    ("GET / HTTP/0.9\r\n\r\n", 505, Closed),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, Closed),
];

/// Checks the answer, and what the connection is good for afterwards.
fn check(client: &mut Client, sent: &str, status: u16, after: After) {
    let reply = client.reply();
    assert_eq!(reply.status, status, "{sent:?}: {reply:?}");
    assert_eq!(reply.closes(), after == Closed, "{sent:?}: {reply:?}");
    match after {
        Closed => assert!(client.is_closed(), "{sent:?} is not closed"),
        Kept => assert_eq!(client.get("/next").text(), echoed("GET", "/next", ""), "after {sent:?}"),
    }
}

#[test]
fn every_rule_holds_over_a_socket() {
    let server = Running::echo(limits());
    for (sent, status, after) in RULES {
        check(server.client().send(sent), sent, *status, *after);
    }
}

#[test]
fn a_refusal_of_a_head_request_has_no_body() {
    let server = Running::echo(limits());
    for (sent, status, _) in RULES.iter().filter(|(_, status, _)| *status >= 400) {
        let Some(rest) = sent.strip_prefix("GET ").or_else(|| sent.strip_prefix("POST ")) else { continue };
        let mut client = server.client();
        let head = client.send(format!("HEAD {rest}")).head().unwrap();
        assert_eq!(head.status, *status, "{rest:?}");
        assert_eq!(client.rest(), b"", "{rest:?}");
    }
    let cut_off = server.client().send("HEAD / HTTP/1.1\r\nHost: a\r\n").finish().rest();
    assert!(cut_off.starts_with(b"HTTP/1.1 400 ") && cut_off.ends_with(b"\r\n\r\n"), "{}", cut_off.escape_ascii());
}

/// A rule's bytes one at a time, and cut in two at each place: the server reads the pieces by themselves or together, as
/// it happens, and must answer the same. The parser's own tests force each split.
#[test]
fn every_rule_holds_for_bytes_that_come_in_pieces() {
    let server = Running::echo(limits());
    for (sent, status, after) in RULES {
        let mut client = server.client();
        for byte in sent.as_bytes() {
            client.send_while_open([*byte]);
        }
        check(&mut client, sent, *status, *after);
        let mut clients: Vec<_> = (1..sent.len())
            .map(|cut| {
                let mut client = server.client();
                client.send(&sent.as_bytes()[..cut]);
                (cut, client)
            })
            .collect();
        for (cut, client) in &mut clients {
            client.send_while_open(&sent.as_bytes()[*cut..]);
        }
        for (_, mut client) in clients {
            check(&mut client, sent, *status, *after);
        }
    }
}

#[test]
fn rules_hold_on_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("tiny-http-rules-{}.sock", std::process::id()));
    let server = tiny_http::Server::http_unix(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for request in server.incoming_requests() {
                assert_eq!(request.remote_addr(), None);
                echo(request);
            }
        });
        for (sent, status, _) in RULES.iter().filter(|rule| rule.2 == Closed) {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(sent.as_bytes()).unwrap();
            let mut text = Vec::new();
            stream.read_to_end(&mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert_eq!(text.split(' ').nth(1), Some(&*status.to_string()), "{sent:?}: {text}");
        }
        server.unblock();
    });
    assert!(path.exists());
    drop(server);
    assert!(!path.exists(), "the socket is removed with its server");
}

#[test]
fn the_target_is_given_without_its_authority() {
    let server = Running::new(tiny_http::Options::default(), 1, |request| {
        let text = format!("{} {:?}", request.url(), request.authority());
        request.respond(tiny_http::Response::from_string(text)).unwrap();
    });
    let mut client = server.client();
    for (target, expected) in [
        ("/a?b", r#"/a?b Some("h")"#),
        ("http://b.test:81/a?c", r#"/a?c Some("b.test:81")"#),
        ("http://b.test", r#"/ Some("b.test")"#),
        ("http://b.test?c", r#"/?c Some("b.test")"#),
    ] {
        let reply = client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).reply();
        assert_eq!(reply.text(), expected);
    }
    assert_eq!(client.send("OPTIONS http://b HTTP/1.1\r\nHost: h\r\n\r\n").reply().text(), r#"* Some("b")"#);
}

#[test]
fn bytes_beyond_ascii_in_a_value_fail_nothing() {
    let server = Running::new(tiny_http::Options::default(), 1, |request| {
        assert_eq!(request.header_bytes("x-NAME"), Some(&b"caf\xc3\xa9"[..]));
        let header = request.headers().iter().find(|header| header.field.equiv("X-Name")).unwrap();
        assert_eq!(header.value.as_str(), "caf??");
        assert_eq!(request.header_fields().count(), 2);
        request.respond(tiny_http::Response::empty(200)).unwrap();
    });
    assert_eq!(server.client().send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Name: caf\xc3\xa9\r\n\r\n").reply().status, 200);
}

#[test]
fn a_client_that_ends_its_side_in_a_request_is_told_or_let_go() {
    let server = Running::echo(limits());
    for (sent, status) in [
        ("", None),
        ("\r\n", None),
        ("GET / HT", Some(400)),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel", Some(400)),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Some(400)),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Some(200)),
    ] {
        let mut client = server.client();
        client.send(sent).finish();
        assert_eq!(client.head().map(|reply| reply.status), status, "{sent:?}");
    }
}
