//! Response heads as bytes. No I/O, and no formatting machinery: every response passes here.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;

use crate::header::Header;
use crate::method::HTTPVersion;
use crate::response::FieldLines;
use crate::status::StatusCode;

/// How the end of a response is marked (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Nothing is said: the status has no body and no length.
    Silent,
    /// By its length.
    Length(u64),
    /// By its last chunk.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// What `Connection` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence<'a> {
    /// Nothing: the version's default holds.
    Default,
    KeepAlive,
    Close,
    /// The connection changes to this protocol.
    Upgrade(&'a str),
}

/// The fields of a response, from either kind of caller.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FieldSource<'a> {
    Owned(&'a [Header]),
    Lines(&'a FieldLines),
}

impl FieldSource<'_> {
    fn has(self, name: &'static str) -> bool {
        match self {
            Self::Owned(headers) => headers.iter().any(|header| header.field.equiv(name)),
            Self::Lines(lines) => lines.has(name),
        }
    }
}

/// All that a response head says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseHead<'a> {
    pub(crate) version: &'a HTTPVersion,
    pub(crate) status: StatusCode,
    pub(crate) server: Option<&'a str>,
    pub(crate) fields: FieldSource<'a>,
    pub(crate) coding: Coding,
    pub(crate) persistence: Persistence<'a>,
}

impl ResponseHead<'_> {
    /// Appends the head with its empty line to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_status_line(out, self.version, self.status);
        if let Some(server) = self.server.filter(|_| !self.fields.has("Server")) {
            put_field(out, b"Server", server.as_bytes());
        }
        if !self.fields.has("Date") {
            out.extend_from_slice(b"Date: ");
            out.extend_from_slice(&date());
            out.extend_from_slice(b"\r\n");
        }
        match self.persistence {
            Persistence::Default => {}
            Persistence::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            Persistence::Close => out.extend_from_slice(b"Connection: close\r\n"),
            Persistence::Upgrade(protocol) => {
                out.extend_from_slice(b"Connection: upgrade\r\n");
                put_field(out, b"Upgrade", protocol.as_bytes());
            }
        }
        match self.fields {
            FieldSource::Lines(lines) => out.extend_from_slice(lines.as_bytes()),
            FieldSource::Owned(headers) => {
                // A field that was not made by `from_bytes` may hold a line end; it is left out rather than sent as two.
                for header in headers.iter().filter(|header| header.is_safe()) {
                    put_field(out, header.field.as_str().as_bytes(), header.value.as_bytes());
                }
            }
        }
        match self.coding {
            Coding::Silent | Coding::UntilClose => {}
            Coding::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Coding::Length(length) => {
                out.extend_from_slice(b"Content-Length: ");
                put_decimal(out, length);
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn put_status_line(out: &mut Vec<u8>, version: &HTTPVersion, status: StatusCode) {
    if *version == HTTPVersion(1, 1) {
        out.extend_from_slice(b"HTTP/1.1 ");
    } else {
        out.extend_from_slice(b"HTTP/");
        put_decimal(out, version.0.into());
        out.push(b'.');
        put_decimal(out, version.1.into());
        out.push(b' ');
    }
    put_decimal(out, status.0.into());
    out.push(b' ');
    out.extend_from_slice(status.default_reason_phrase().as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn put_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10).to_le_bytes()[0];
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends the size line of a chunk.
pub(crate) fn put_chunk_size(out: &mut Vec<u8>, size: usize) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let significant = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..significant).rev() {
        out.push(HEX[size >> (digit * 4) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

/// The current time as `Date` gives it (RFC 9110, section 5.6.7), made once a second by each thread.
fn date() -> [u8; 29] {
    thread_local! {
        static LAST: Cell<(u64, [u8; 29])> = const { Cell::new((u64::MAX, [0; 29])) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (last, bytes) = LAST.get();
    if last == second {
        return bytes;
    }
    let mut bytes = [b' '; 29];
    // Past the year 9999 the text has no fixed length; a clock that says so is told nothing but spaces.
    if let Ok(made) = <[u8; 29]>::try_from(HttpDate::from(now).to_string().as_bytes()) {
        bytes = made;
    }
    LAST.set((second, bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(head: ResponseHead<'_>) -> String {
        let mut out = Vec::new();
        head.encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    const HEAD: ResponseHead<'static> = ResponseHead {
        version: &HTTPVersion(1, 1),
        status: StatusCode(200),
        server: Some("s"),
        fields: FieldSource::Owned(&[]),
        coding: Coding::Length(12),
        persistence: Persistence::Default,
    };

    #[test]
    fn a_head_has_server_date_and_length() {
        let head = text(HEAD);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nServer: s\r\nDate: "), "{head}");
        assert!(head.ends_with(" GMT\r\nContent-Length: 12\r\n\r\n"), "{head}");
    }

    #[test]
    fn fields_of_the_caller_replace_server_and_date() {
        let fields: Vec<Header> = ["server: mine", "DATE: now", "X: y"].map(|line| line.parse().unwrap()).into();
        let head = text(ResponseHead { fields: FieldSource::Owned(&fields), coding: Coding::Silent, ..HEAD });
        assert_eq!(head, "HTTP/1.1 200 OK\r\nserver: mine\r\nDATE: now\r\nX: y\r\n\r\n");
    }

    #[test]
    fn a_field_that_holds_a_line_end_is_not_sent() {
        let mut header: Header = "X: y".parse().unwrap();
        header.value = ascii::AsciiString::from_ascii("y\r\nSet-Cookie: z").unwrap();
        assert!(!text(ResponseHead { fields: FieldSource::Owned(&[header]), ..HEAD }).contains("Cookie"));
    }

    #[test]
    fn numbers_are_written_in_full() {
        for value in [0, 9, 10, 65_535, u64::MAX] {
            let mut out = Vec::new();
            put_decimal(&mut out, value);
            assert_eq!(out, value.to_string().into_bytes());
        }
        for size in [0, 1, 15, 16, 255, 4096, usize::MAX] {
            let mut out = Vec::new();
            put_chunk_size(&mut out, size);
            assert_eq!(out, format!("{size:X}\r\n").into_bytes());
        }
    }

    #[test]
    fn the_date_is_one_that_can_be_read_back() {
        let text = String::from_utf8(date().to_vec()).unwrap();
        assert!(httpdate::parse_http_date(&text).is_ok(), "{text}");
    }
}
