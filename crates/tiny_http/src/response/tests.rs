//! What `raw_print` prints.

use super::*;

fn print(response: Response<impl Read>, version: (u8, u8), request: &[&str], head: bool) -> String {
    let headers: Vec<Header> = request.iter().map(|line| line.parse().unwrap()).collect();
    let mut out = Vec::new();
    response.raw_print(&mut out, version.into(), &headers, head, None).unwrap();
    String::from_utf8(out).unwrap()
}

fn unsized_body(text: &'static str) -> Response<&'static [u8]> {
    Response::empty(200).with_data(text.as_bytes(), None)
}

#[test]
fn a_known_length_is_said_and_an_unknown_one_is_chunked() {
    let text = print(Response::from_string("hello"), (1, 1), &[], false);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\nServer: tiny-http (Rust)\r\nDate: "), "{text}");
    assert!(text.ends_with("Content-Type: text/plain; charset=UTF-8\r\nContent-Length: 5\r\n\r\nhello"), "{text}");
    let text = print(unsized_body("hello"), (1, 1), &[], false);
    assert!(text.ends_with("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{text}");
    let text = print(unsized_body("hello"), (1, 0), &[], false);
    assert!(text.starts_with("HTTP/1.0 ") && text.ends_with("Content-Length: 5\r\n\r\nhello"), "{text}");
}

#[test]
fn a_long_body_and_a_client_that_asks_get_chunks() {
    let long = "x".repeat(CHUNKED_THRESHOLD);
    assert!(print(Response::from_string(long.clone()), (1, 1), &[], false).contains("Transfer-Encoding: chunked"));
    assert!(print(Response::from_string(&long[1..]), (1, 1), &[], false).contains("Content-Length: 32767"));
    assert!(print(Response::from_string(long.clone()), (1, 0), &[], false).contains("Content-Length: 32768"));
    assert!(print(Response::from_string(long), (1, 1), &["TE: identity"], false).contains("Content-Length: 32768"));
    for (te, chunked) in [
        ("chunked", true),
        ("trailers, chunked", true),
        ("chunked;q=0", false),
        ("identity;q=0.5, chunked;q=0.9", true),
        ("identity, chunked;q=0.9", false),
        ("trailers", false),
        ("chunked;q=nan", false),
    ] {
        let line = format!("TE: {te}");
        let text = print(Response::from_string("a"), (1, 1), &[&line], false);
        assert_eq!(text.contains("Transfer-Encoding: chunked"), chunked, "{te}");
    }
}

#[test]
fn statuses_without_a_body_have_none() {
    for (status, length) in [(100, false), (101, false), (204, false), (304, true), (200, true)] {
        let text = print(Response::from_string("a").with_status_code(status), (1, 1), &["TE: identity"], false);
        assert_eq!(text.contains("Content-Length: 1\r\n"), length, "{status}");
        assert_eq!(text.ends_with("\r\n\r\na"), status == 200, "{status}");
        assert!(
            !print(unsized_body("a").with_status_code(status), (1, 1), &[], false).ends_with("a\r\n0\r\n\r\n")
                || status == 200
        );
    }
    let text = print(Response::from_string("abc"), (1, 1), &[], true);
    assert!(text.contains("Content-Length: 3") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn fields_of_the_connection_are_the_engines() {
    let fields = ["Connection: close", "Trailer: x", "transfer-encoding: gzip", "Upgrade: x", "X-A: 1", "x-a: 2"];
    let mut response = Response::from_data("abc");
    for line in fields {
        response.add_header(line.parse::<Header>().unwrap());
    }
    assert_eq!(response.headers().len(), 2);
    let response = response.with_header("Content-Length: 2".parse::<Header>().unwrap());
    assert_eq!(response.data_length(), Some(2));
    let typed = response
        .with_header("Content-Type: a".parse::<Header>().unwrap())
        .with_header("content-type: b".parse::<Header>().unwrap());
    assert_eq!(typed.headers().iter().filter(|header| header.field.equiv("Content-Type")).count(), 1);
    assert!(print(typed, (1, 1), &[], false).ends_with("Content-Type: b\r\nContent-Length: 2\r\n\r\nab"));
}

#[test]
fn a_body_shorter_than_its_length_is_an_error() {
    let response = Response::empty(200).with_data(&b"abc"[..], Some(5));
    let error = response.raw_print(Vec::new(), HTTPVersion(1, 1), &[], false, None).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn an_upgrade_is_a_head_alone() {
    let mut out = Vec::new();
    Response::empty(101).raw_print(&mut out, HTTPVersion(1, 1), &[], false, Some("chat")).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    assert!(text.contains("Connection: upgrade\r\nUpgrade: chat\r\n") && !text.contains("Content-Length"), "{text}");
}

#[test]
fn the_parts_of_a_response_come_back() {
    let (send, receive) = std::sync::mpsc::channel();
    send.send("Late: 1".parse().unwrap()).unwrap();
    drop(send);
    let response = Response::new(StatusCode(201), vec!["Early: 1".parse().unwrap()], &b"x"[..], None, Some(receive));
    assert_eq!((response.status_code(), response.data_length(), response.headers().len()), (StatusCode(201), None, 2));
    assert_eq!(response.with_chunked_threshold(42).chunked_threshold(), 42);
    assert_eq!(Response::empty(404).clone().boxed().status_code(), 404);
    assert_eq!(Response::from_data("abc").into_reader().into_inner(), b"abc");
}
