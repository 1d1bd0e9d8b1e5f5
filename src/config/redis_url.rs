//! The address of a Redis: a URL that is checked before anything connects, and that is only shown redacted.
//!
//! Accepted are `redis://` and `rediss://` (with TLS), as `[user:password@]host[:port][/db][?protocol=resp3]`, and
//! `unix://` (also `redis+unix://`), as `/path[?db=&user=&pass=&protocol=]`. Names are not looked up.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::os::unix::net::SocketAddr as UnixAddr;

use super::problems::Expected;
use super::redaction::redacted;

/// The URL of a Redis, with its password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// The whole URL, password included: for connecting, never for showing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Checks a URL as far as that goes without connecting.
    pub(super) fn parse(text: &str) -> Result<Self, Expected> {
        let (scheme, rest) = text.split_once("://").ok_or(SCHEMES)?;
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Cow::Borrowed("a URL without spaces (%20 stands for one)"));
        }
        if rest.contains('#') {
            return Err(Cow::Borrowed("a URL without # (%23 in a password; a certificate is always verified)"));
        }
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        match scheme {
            "redis" | "rediss" => check_tcp(address, query)?,
            "unix" | "redis+unix" => check_unix(address, query)?,
            _ => return Err(Cow::Borrowed(SCHEMES)),
        }
        Ok(Self(text.to_owned()))
    }

    /// The URL of a Redis that needs no password, from a host (a name or an address, of IPv6 also without brackets).
    pub(super) fn from_host_and_port(host: &str, port: u16) -> Result<Self, Expected> {
        let bracketed = match host.parse::<Ipv6Addr>() {
            Ok(_) => Cow::Owned(format!("[{host}]")),
            Err(_) => Cow::Borrowed(host),
        };
        if !is_host(&bracketed) {
            return Err(Cow::Borrowed(
                "a host name or IP address alone, like redis (a port goes into REDIS_PORT, a URL into REDIS_URL)",
            ));
        }
        Ok(Self(format!("redis://{bracketed}:{port}/")))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

const SCHEMES: &str = "redis://host:6379/0, rediss://host:6379/0 or unix:///path";

fn check_tcp(address: &str, query: &str) -> Result<(), Expected> {
    let (authority, db) = address.split_once('/').unwrap_or((address, ""));
    if db.contains('@') || query.contains('@') {
        return Err(Cow::Borrowed("a user and password with / as %2F, ? as %3F and @ as %40"));
    }
    let host_and_port = match authority.rsplit_once('@') {
        Some((user_info, host_and_port)) => {
            check_user_info(user_info)?;
            host_and_port
        }
        None => authority,
    };
    check_host_and_port(host_and_port)?;
    if !db.trim_end_matches('/').is_empty() {
        check_db(db.trim_end_matches('/'))?;
    }
    check_query(query, &["protocol"])
}

fn check_user_info(user_info: &str) -> Result<(), Expected> {
    if user_info.contains('@') {
        return Err(Cow::Borrowed("one @, before the host (%40 in a password)"));
    }
    match percent_decoded(user_info) {
        Some(_) => Ok(()),
        None => Err(Cow::Borrowed("a user and password whose % starts the code of a byte (%25 stands for %)")),
    }
}

fn check_host_and_port(text: &str) -> Result<(), Expected> {
    let port_at = match text.rfind(']') {
        Some(bracket) => bracket + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(port_at);
    if !is_host(host) {
        return Err(Cow::Borrowed("a host name, an IPv4 address or an IPv6 address in brackets to connect to"));
    }
    let port_is_right = match port.strip_prefix(':') {
        Some(digits) => is_digits(digits) && digits.parse().is_ok_and(|port: u16| port > 0),
        None => port.is_empty(),
    };
    if port_is_right { Ok(()) } else { Err(Cow::Borrowed("a port from 1 to 65535 after the host")) }
}

/// Whether this is a host that can be connected to: the unspecified addresses can only be listened at.
fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|address| !address.is_unspecified());
    }
    let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text != "0.0.0.0" && text.bytes().all(of_a_name)
}

fn check_unix(address: &str, query: &str) -> Result<(), Expected> {
    let path = percent_decoded(address);
    let fits = |path: &str| path.starts_with('/') && UnixAddr::from_pathname(path).is_ok();
    if !path.is_some_and(|path| path.len() > 1 && fits(&path)) {
        return Err(Cow::Borrowed(
            "an absolute path of at most 107 bytes, like unix:///run/redis.sock?db=0&user=name&pass=secret",
        ));
    }
    check_query(query, &["db", "user", "pass", "protocol"])
}

fn check_query(query: &str, known: &[&str]) -> Result<(), Expected> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !known.contains(&key) {
            return Err(Cow::Owned(format!("nothing after ? but {}", known.join("=, ") + "=")));
        }
        match key {
            "db" => check_db(value)?,
            "protocol" if !matches!(value, "2" | "3" | "resp2" | "resp3") => {
                return Err(Cow::Borrowed("the protocol resp2 or resp3"));
            }
            _ if percent_decoded(value).is_none() => {
                return Err(Cow::Borrowed("a user and password whose % starts the code of a byte (%25 stands for %)"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_db(text: &str) -> Result<(), Expected> {
    if is_digits(text) && text.parse::<u32>().is_ok() {
        Ok(())
    } else {
        Err(Cow::Borrowed("the number of a database, like 0"))
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `%41` as `A`; nothing if a `%` starts no code, or if the bytes are not UTF-8 (RFC 3986, section 2.1).
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_can_be_connected_to_is_taken_as_it_is() {
        let urls = [
            "redis://localhost",
            "redis://localhost/",
            "redis://127.0.0.1:6379/15",
            "redis://my-redis_1.example.org:6379",
            "redis://[::1]:6379/0",
            "redis://:secret@host",
            "redis://user:p%40ss%2Fw%3Frd@host/3",
            "redis://user:a:b!$&'()*+,;=@host",
            "redis://host/0?protocol=resp3",
            "redis://host?protocol=2",
            "rediss://user:secret@host:6380/0",
            "unix:///run/redis.sock",
            "unix:///run/my%20redis.sock?db=2&user=me&pass=p%26ss",
            "redis+unix:///run/redis.sock?protocol=3",
        ];
        for url in urls {
            let parsed = RedisUrl::parse(url).unwrap_or_else(|expected| panic!("{url}: {expected}"));
            assert_eq!(parsed.expose(), url);
        }
    }

    #[test]
    fn a_url_that_could_not_be_connected_to_is_refused_with_what_would_be_right() {
        let cases = [
            ("localhost:6379", "redis://host"),
            ("redis:localhost", "redis://host"),
            ("http://localhost", "redis://host"),
            ("REDIS://localhost", "redis://host"),
            ("redis://", "a host"),
            ("redis://:6379", "a host"),
            ("redis:///0", "a host"),
            ("redis://0.0.0.0", "a host"),
            ("redis://[::]:6379", "a host"),
            ("redis://[::1:6379", "a host"),
            ("redis://::1", "a host"),
            ("redis://h\u{f6}st", "a host"),
            ("redis://a,b", "a host"),
            ("redis://host:", "a port"),
            ("redis://host:0", "a port"),
            ("redis://host:+1", "a port"),
            ("redis://host:65536", "a port"),
            ("redis://[::1]6379", "a port"),
            ("redis://user:secret", "a port"),
            ("redis://host/one", "a database"),
            ("redis://host/-1", "a database"),
            ("redis://host/0/1", "a database"),
            ("redis://host/4294967296", "a database"),
            ("redis://:a/b@host", "%2F"),
            ("redis://:a?b@host", "%2F"),
            ("redis://:a@b@host", "%40"),
            ("redis://:a#b@host", "%23"),
            ("rediss://host/#insecure", "certificate"),
            ("redis://:100%@host", "%25"),
            ("redis://:%ff@host", "%25"),
            ("redis://:a b@host", "%20"),
            ("redis://host?timeout=1", "protocol="),
            ("redis://host?protocol=4", "resp3"),
            ("unix://", "absolute path"),
            ("unix:///", "absolute path"),
            ("unix://run/redis.sock", "absolute path"),
            ("unix:///%zz", "absolute path"),
            ("unix:///run/redis.sock?password=x", "pass="),
            ("unix:///run/redis.sock?db=x", "a database"),
        ];
        for (url, hint) in cases {
            let expected = RedisUrl::parse(url).expect_err(url);
            assert!(expected.contains(hint), "{url}: expected {expected}");
        }
    }

    #[test]
    fn a_socket_path_is_at_most_as_long_as_the_system_takes() {
        let url = |path_len: usize| format!("unix:///{}", "x".repeat(path_len - 1));
        assert!(RedisUrl::parse(&url(107)).is_ok());
        assert!(RedisUrl::parse(&url(108)).is_err());
    }

    #[test]
    fn a_host_and_a_port_make_a_url() {
        let cases = [
            ("redis", "redis://redis:6379/"),
            ("10.0.0.1", "redis://10.0.0.1:6379/"),
            ("fd00::1", "redis://[fd00::1]:6379/"),
            ("[fd00::1]", "redis://[fd00::1]:6379/"),
        ];
        for (host, url) in cases {
            let parsed = RedisUrl::from_host_and_port(host, 6379).expect(host);
            assert_eq!(parsed.expose(), url);
        }
        for host in ["redis:6379", "redis://redis", "user@redis", "a b", "::", "0.0.0.0", "h/0"] {
            assert!(RedisUrl::from_host_and_port(host, 6379).is_err(), "{host}");
        }
    }

    #[test]
    fn neither_display_nor_debug_shows_the_password() {
        let url = RedisUrl::parse("redis://user:secret@host:6379/0").expect("a good URL");
        assert_eq!(url.to_string(), "redis://user:***@host:6379/0");
        assert_eq!(format!("{url:?}"), "RedisUrl(redis://user:***@host:6379/0)");
    }
}
