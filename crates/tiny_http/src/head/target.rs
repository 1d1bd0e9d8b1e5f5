//! The request target and `Host` (RFC 9112, sections 3.2 and 3.3).

use std::net::Ipv6Addr;
use std::ops::Range;

use crate::method::Method;
use crate::reject::{RejectReason, Rejection};

/// Where the target is, in the bytes of the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Path and query, `*`, or the authority of a CONNECT. What an empty range means is said by `empty`.
    pub(crate) resource: Range<usize>,
    /// What the target is where `resource` is empty: an absolute form without a path.
    pub(crate) empty: &'static str,
    /// The authority of an absolute form, which overrides `Host`.
    pub(crate) authority: Option<Range<usize>>,
    /// Whether a slash must be put before `resource`: the absolute form had a query and no path.
    pub(crate) lacks_slash: bool,
}

/// Tells the four forms apart. `range` is where the target is in `head`.
pub(super) fn parse(method: &Method, head: &[u8], range: Range<usize>) -> Result<Target, Rejection> {
    let refuse = |detail| Err(Rejection::new(RejectReason::RequestLine, detail));
    let bytes = &head[range.clone()];
    let plain = Target { resource: range.clone(), empty: "/", authority: None, lacks_slash: false };
    if *method == Method::Connect {
        return if is_authority(bytes, true) {
            Ok(plain)
        } else {
            refuse("CONNECT needs a host and a port as its target.")
        };
    }
    match bytes {
        [b'/', ..] => Ok(plain),
        b"*" if *method == Method::Options => Ok(plain),
        b"*" => refuse("The target * goes with OPTIONS alone."),
        _ => match scheme_len(bytes) {
            Some(scheme) => parse_absolute(method, head, range.start + scheme..range.end),
            None => refuse("The target is neither a path nor an absolute URI."),
        },
    }
}

/// The length of `http://` or `https://`, if `target` begins so, in whatever case.
fn scheme_len(target: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .map(<[u8]>::len)
}

fn parse_absolute(method: &Method, head: &[u8], rest: Range<usize>) -> Result<Target, Rejection> {
    let bytes = &head[rest.clone()];
    let path_at = bytes.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(bytes.len());
    // RFC 9110, section 4.2.1: an http URI has a host.
    if matches!(bytes[..path_at], [] | [b':', ..]) || !is_authority(&bytes[..path_at], false) {
        return Err(Rejection::new(RejectReason::RequestLine, "The authority of the target is invalid."));
    }
    let split = rest.start + path_at;
    Ok(Target {
        resource: split..rest.end,
        // RFC 9112, section 3.2.4: without a path, OPTIONS asks about the server as a whole.
        empty: if *method == Method::Options { "*" } else { "/" },
        authority: Some(rest.start..split),
        lacks_slash: matches!(bytes.get(path_at), Some(b'?' | b'#')),
    })
}

/// Whether `bytes` is `uri-host [ ":" port ]`; the port may be asked for.
pub(super) fn is_authority(bytes: &[u8], port_required: bool) -> bool {
    let host_end = match bytes {
        [b'[', ..] => match memchr::memchr(b']', bytes) {
            Some(end) if is_ip_literal(&bytes[1..end]) => end + 1,
            _ => return false,
        },
        _ => memchr::memchr(b':', bytes).unwrap_or(bytes.len()),
    };
    let (host, port) = bytes.split_at(host_end);
    let host_is_valid = matches!(host, [b'[', ..]) || is_reg_name(host);
    let port_is_valid = match port {
        [] => !port_required,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit) && !(port_required && digits.is_empty()),
        _ => false,
    };
    host_is_valid && port_is_valid && !(port_required && host.is_empty())
}

/// What stands between the brackets (RFC 3986, section 3.2.2): an IPv6 address, or `v`, a version, a dot and something.
fn is_ip_literal(inner: &[u8]) -> bool {
    if let [b'v' | b'V', future @ ..] = inner {
        let Some(dot) = memchr::memchr(b'.', future) else { return false };
        let (version, address) = (&future[..dot], &future[dot + 1..]);
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|&byte| byte == b':' || is_plain(byte));
    }
    std::str::from_utf8(inner).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// RFC 3986, section 3.2.2, `reg-name`; it may be empty.
fn is_reg_name(host: &[u8]) -> bool {
    let mut rest = host;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if is_plain(*byte) => rest,
            _ => return false,
        };
    }
}

/// RFC 3986, `unreserved` and `sub-delims`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(method: &Method, target: &'static str) -> Result<&'static str, u16> {
        let parsed = parse(method, target.as_bytes(), 0..target.len()).map_err(|rejection| rejection.status.0)?;
        Ok(if parsed.resource.is_empty() { parsed.empty } else { &target[parsed.resource] })
    }

    #[test]
    fn each_form_goes_with_its_methods() {
        let connect = Method::Connect;
        let cases = [
            (Method::Get, "/", Ok("/")),
            (Method::Get, "/a/b?c=d", Ok("/a/b?c=d")),
            (Method::Get, "//x", Ok("//x")),
            (Method::Options, "*", Ok("*")),
            (Method::Get, "*", Err(400)),
            (Method::Get, "http://a.test/b?c", Ok("/b?c")),
            (Method::Get, "HTTPS://a.test:443", Ok("/")),
            (Method::Options, "http://a.test", Ok("*")),
            (Method::Options, "http://a.test/", Ok("/")),
            (Method::Get, "http://", Err(400)),
            (Method::Get, "http:///path", Err(400)),
            (Method::Get, "http://:80/path", Err(400)),
            (Method::Get, "http://user@a.test/", Err(400)),
            (Method::Get, "ftp://a.test/", Err(400)),
            (Method::Get, "a.test:80", Err(400)),
            (Method::Get, "path", Err(400)),
            (connect.clone(), "a.test:443", Ok("a.test:443")),
            (connect.clone(), "[::1]:443", Ok("[::1]:443")),
            (connect.clone(), "a.test", Err(400)),
            (connect.clone(), "/", Err(400)),
            (connect, ":443", Err(400)),
        ];
        for (method, target, expected) in cases {
            assert_eq!(resource(&method, target), expected, "{method} {target}");
        }
    }

    #[test]
    fn a_query_without_a_path_is_given_a_slash() {
        let target = b"http://a.test?b=c";
        let parsed = parse(&Method::Get, target, 0..target.len()).unwrap();
        assert!(parsed.lacks_slash);
        assert_eq!(&target[parsed.resource], b"?b=c");
        assert_eq!(&target[parsed.authority.unwrap()], b"a.test");
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for host in ["", "a", "a.test:80", "127.0.0.1", "[::1]", "[2001:db8::1]:8080", "a:", "x_y", "%41", "[v1.a:b]"] {
            assert!(is_authority(host.as_bytes(), false), "{host}");
        }
        for host in [
            "a b",
            "a/b",
            "a@b",
            "a:b",
            "a:1:2",
            "[::1",
            "::1",
            "[]",
            "[g::]",
            "[::1]x",
            "a\tb",
            "a\\b",
            "é",
            "a%",
            "a%4",
            "a%zz",
            "[12]",
            "[v]",
            "[v1.]",
            "[1::2::3]",
            "[:::::]",
            "[...]",
            "[127.0.0.1]",
        ] {
            assert!(!is_authority(host.as_bytes(), false), "{host}");
        }
    }
}
