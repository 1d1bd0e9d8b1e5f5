//! The rules for heads, as a table; each row at every split of its bytes.

use super::*;
use crate::limits::Limits;
use proptest::prelude::*;

/// What becomes of `bytes` if they come in pieces that end at `cuts`.
fn outcome(bytes: &[u8], cuts: impl IntoIterator<Item = usize>, limits: &Limits) -> Result<Option<Head>, u16> {
    let mut scan = HeadScan::default();
    for end in cuts.into_iter().chain([bytes.len()]) {
        match scan.resume(&bytes[..end], limits) {
            Ok(None) => {}
            Ok(Some(head)) => return Ok(Some(head)),
            Err(rejection) => return Err(rejection.status.0),
        }
    }
    Ok(None)
}

const OK: Result<bool, u16> = Ok(true);

/// Bytes of a head, and its status if it is refused.
const RULES: &[(&str, Result<bool, u16>)] = &[
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", OK),
    ("GET / HTTP/1.1\r\nhOsT:\t a.test:80 \t\r\n\r\n", OK),
    ("GET / HTTP/1.0\r\n\r\n", OK),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", OK),
    ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", OK),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n", OK),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", OK),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", OK),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", OK),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", OK),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n", OK),
    ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n", OK),
    ("GET / HTTP/1.0\r\nExpect: something\r\n\r\n", OK),
    ("GET / HTTP/1.1\r\nHost: a\r\n", Ok(false)),
    ("GET / HTTP/1.1\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Err(400)),
    ("GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tfolded\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\nHost: a\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\n\n", Err(400)),
    ("GET / HTTP/1.1\rHost: a\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\n\rX: a\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(: a\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\n\u{e9}: a\r\n\r\n", Err(400)),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Err(505)),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Err(505)),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
    ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", Err(400)),
    ("GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", Err(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", Err(501)),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err(501)),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", Err(501)),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", Err(501)),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", Err(501)),
    ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", Err(417)),
];

#[test]
fn every_rule_holds_at_every_split() {
    let limits = Limits::default();
    for (head, expected) in RULES {
        let bytes = head.as_bytes();
        let whole = outcome(bytes, [], &limits);
        assert_eq!(whole.as_ref().map(Option::is_some).map_err(|status| *status), *expected, "{head:?}");
        for cut in 0..bytes.len() {
            assert_eq!(outcome(bytes, [cut], &limits), whole, "{head:?} cut at {cut}");
        }
        assert_eq!(outcome(bytes, 0..bytes.len(), &limits), whole, "{head:?} byte by byte");
    }
}

#[test]
fn a_head_says_what_its_fields_say() {
    let parse = |head: &str| outcome(head.as_bytes(), [], &Limits::default()).unwrap().unwrap();
    let head = parse("POST /a HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade\r\nContent-Length: 12\r\n\r\nrest");
    assert_eq!((head.method, head.framing), (Method::Post, Framing::Length(12)));
    assert!(!head.keep_alive && head.upgrade && !head.expects_continue);
    assert!(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
    assert!(!parse("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").keep_alive);
    assert!(!parse("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expects_continue);
    assert!(parse("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").expects_continue);
}

/// A head whose request line, fields or total length are as asked for.
fn sized(line_bytes: usize, head_bytes: usize, fields: usize) -> String {
    let mut head = format!("GET /{} HTTP/1.1\r\nHost: a\r\n", "a".repeat(line_bytes - "GET / HTTP/1.1".len()));
    for _ in 0..fields.saturating_sub(2) {
        head.push_str("x:\r\n");
    }
    let filler = head_bytes.saturating_sub(head.len() + "f:\r\n\r\n".len());
    head + "f:" + &"f".repeat(filler) + "\r\n\r\n"
}

#[test]
fn each_limit_holds_to_the_byte() {
    let limits = Limits { request_line_bytes: 64, head_bytes: 256, headers: 5, ..Limits::default() };
    let cases = [
        (sized(63, 0, 0), Ok(true)),
        (sized(64, 0, 0), Ok(true)),
        (sized(65, 0, 0), Err(414)),
        (sized(20, 255, 0), Ok(true)),
        (sized(20, 256, 0), Ok(true)),
        (sized(20, 257, 0), Err(431)),
        (sized(20, 0, 4), Ok(true)),
        (sized(20, 0, 5), Ok(true)),
        (sized(20, 0, 6), Err(431)),
        ("a".repeat(66), Err(414)),
        (sized(20, 300, 0), Err(431)),
    ];
    for (head, expected) in cases {
        let whole = outcome(head.as_bytes(), [], &limits);
        assert_eq!(whole.as_ref().map(Option::is_some).map_err(|status| *status), expected, "{} bytes", head.len());
        assert_eq!(outcome(head.as_bytes(), 0..head.len(), &limits), whole, "{} bytes, byte by byte", head.len());
    }
}

#[test]
fn empty_lines_before_a_request_are_counted() {
    assert_eq!(empty_lines(b"\r\n\r\nGET"), 4);
    assert_eq!(empty_lines(b"\r"), 0);
    assert_eq!(empty_lines(b"\n"), 0);
}

/// Pieces that heads are made of, sound and broken.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"Host: a\r\n".to_vec()),
        Just(b"Content-Length: 5\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"X: ".to_vec()),
        Just(b" \t".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ]
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_what_the_whole_gives(
        pieces in prop::collection::vec(piece(), 0..8),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let bytes = pieces.concat();
        let limits = Limits { request_line_bytes: 20, head_bytes: 60, headers: 3, ..Limits::default() };
        let whole = outcome(&bytes, [], &limits);
        prop_assert_eq!(&outcome(&bytes, 0..bytes.len(), &limits), &whole);
        if !bytes.is_empty() {
            let mut ends: Vec<_> = cuts.drain(..).map(|cut| cut.index(bytes.len())).collect();
            ends.sort_unstable();
            prop_assert_eq!(&outcome(&bytes, ends, &limits), &whole);
        }
    }
}
