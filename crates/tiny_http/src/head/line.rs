//! The request line: `method SP request-target SP HTTP-version` (RFC 9112, section 3).

use std::ops::Range;

use ascii::AsciiString;

use crate::header::is_token;
use crate::method::{HTTPVersion, Method};
use crate::reject::{RejectReason, Rejection};

/// What the engine speaks. A minor version above 1 is spoken to as 1.1 (RFC 9110, section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

impl From<Version> for HTTPVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::Http10 => Self(1, 0),
            Version::Http11 => Self(1, 1),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestLine {
    pub(super) method: Method,
    pub(super) target: Range<usize>,
    pub(super) version: Version,
}

/// Reads a request line, given without its line end.
pub(super) fn parse(line: &[u8]) -> Result<RequestLine, Rejection> {
    let malformed = |detail| Rejection::new(RejectReason::RequestLine, detail);
    let method_end = memchr::memchr(b' ', line).ok_or(malformed("The request line has no target."))?;
    let target_end = memchr::memrchr(b' ', line).filter(|&end| end > method_end);
    let target_end = target_end.ok_or(malformed("The request line has no version."))?;

    let method = parse_method(&line[..method_end]).ok_or(malformed("The method is not a token."))?;
    let target = method_end + 1..target_end;
    if target.is_empty() || !line[target.clone()].iter().all(u8::is_ascii_graphic) {
        return Err(malformed("The request target is empty or holds characters that are not allowed."));
    }
    let version = parse_version(&line[target_end + 1..])?;
    Ok(RequestLine { method, target, version })
}

fn parse_method(name: &[u8]) -> Option<Method> {
    Some(match name {
        b"GET" => Method::Get,
        b"POST" => Method::Post,
        name if is_token(name) => {
            let name = AsciiString::from_ascii(name).ok()?;
            name.as_str().parse().ok()?
        }
        _ => return None,
    })
}

fn parse_version(version: &[u8]) -> Result<Version, Rejection> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            if *major == b'1' {
                Ok(Version::Http11)
            } else {
                Err(Rejection::new(RejectReason::Version, "Only HTTP/1 is spoken here."))
            }
        }
        _ => Err(Rejection::new(RejectReason::RequestLine, "The version is malformed.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_three_words_with_one_space_between() {
        let line = parse(b"GET /a?b=c HTTP/1.1").unwrap();
        assert_eq!(line, RequestLine { method: Method::Get, target: 4..10, version: Version::Http11 });
        assert_eq!(parse(b"PURGE * HTTP/1.0").unwrap().method.as_str(), "PURGE");
        assert_eq!(parse(b"GET / HTTP/1.7").unwrap().version, Version::Http11);
    }

    #[test]
    fn anything_else_is_refused() {
        let lines: &[(&[u8], u16)] = &[
            (b"", 400),
            (b"GET", 400),
            (b"GET /", 400),
            (b"GET / ", 400),
            (b"GET  / HTTP/1.1", 400),
            (b"GET /  HTTP/1.1", 400),
            (b"GET /a b HTTP/1.1", 400),
            (b"GET /\t HTTP/1.1", 400),
            (b"GET /\0 HTTP/1.1", 400),
            (b"GET /\x7f HTTP/1.1", 400),
            (b"GET /\xc3\xa9 HTTP/1.1", 400),
            (b" GET / HTTP/1.1", 400),
            (b"GET\t/ HTTP/1.1", 400),
            (b"G(T / HTTP/1.1", 400),
            (b"GET / http/1.1", 400),
            (b"GET / HTTP/11", 400),
            (b"GET / HTTP/1.1x", 400),
            (b"GET / HTTP/1,1", 400),
            (b"GET / HTTP/0.9", 505),
            (b"GET / HTTP/2.0", 505),
            (b"GET / HTTP/9.9", 505),
            (b"PRI * HTTP/2.0", 505),
        ];
        for (line, status) in lines {
            let rejection = parse(line).unwrap_err();
            assert_eq!(rejection.status, *status, "{}", line.escape_ascii());
        }
    }
}
