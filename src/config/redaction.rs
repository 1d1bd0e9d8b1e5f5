//! What of a URL may be shown: everything but what is, or by a slip of the pen might be, a password.
//!
//! It works on any text, since the URLs that most need showing are the malformed ones. In doubt it hides. It judges
//! nothing: that is [`super::redis_url`]'s.

const HIDDEN: &str = "***";

/// `redis://user:secret@host:6379/0` as `redis://user:***@host:6379/0`.
pub(super) fn redacted(text: &str) -> String {
    let (scheme, rest) = match text.find("://") {
        Some(at) => text.split_at(at + "://".len()),
        None => ("", text),
    };
    let query_at = rest.find(['?', '#']).unwrap_or(rest.len());
    let (address, query) = rest.split_at(query_at);
    let mut shown = scheme.to_owned();
    let host = match address.rsplit_once('@') {
        Some((user_info, host)) => {
            shown.push_str(&shown_user_info(user_info));
            host
        }
        None => address,
    };
    shown.push_str(&shown_host(host));
    shown.push_str(&shown_query(query));
    shown
}

/// A user alone is hidden: it may be a password whose colon was forgotten.
fn shown_user_info(user_info: &str) -> String {
    match user_info.split_once(':') {
        Some((user, _)) if is_plain(user) => format!("{user}:{HIDDEN}@"),
        Some(_) | None => format!("{HIDDEN}@"),
    }
}

/// What stands for a port and is no number may be a password whose host was forgotten; then the rest goes too.
fn shown_host(host_port_path: &str) -> String {
    let host_len = match (host_port_path.rfind(']'), host_port_path.find([':', '/'])) {
        (Some(bracket), _) if host_port_path.starts_with('[') => bracket + 1,
        (_, Some(end)) => end,
        (_, None) => host_port_path.len(),
    };
    let (host, port_path) = host_port_path.split_at(host_len);
    let Some(port_path) = port_path.strip_prefix(':') else {
        return host_port_path.to_owned();
    };
    let port = port_path.split('/').next().unwrap_or_default();
    if port.bytes().all(|byte| byte.is_ascii_digit()) { host_port_path.to_owned() } else { format!("{host}:{HIDDEN}") }
}

/// A password may hold `?` or `#` by mistake, so only pairs that are known to be harmless are shown.
fn shown_query(query: &str) -> String {
    let Some(mark) = query.chars().next() else {
        return String::new();
    };
    let pairs: Vec<String> = query[mark.len_utf8()..].split('&').map(shown_pair).collect();
    format!("{mark}{}", pairs.join("&"))
}

fn shown_pair(pair: &str) -> String {
    match pair.split_once('=') {
        Some(("db" | "user" | "protocol", value)) if is_plain(value) => pair.to_owned(),
        Some((key @ ("db" | "user" | "protocol" | "pass"), _)) => format!("{key}={HIDDEN}"),
        Some(_) | None => HIDDEN.to_owned(),
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_is_hidden_in_a_good_url() {
        let cases = [
            ("redis://localhost", "redis://localhost"),
            ("redis://[::1]:6379/2?protocol=resp3", "redis://[::1]:6379/2?protocol=resp3"),
            ("redis://user:secret@host:6379/0", "redis://user:***@host:6379/0"),
            ("rediss://:secret@[fd00::1]:6380/", "rediss://:***@[fd00::1]:6380/"),
            ("redis://secret@host", "redis://***@host"),
            ("unix:///run/redis.sock", "unix:///run/redis.sock"),
            ("unix:///run/redis.sock?db=1&user=me&pass=secret", "unix:///run/redis.sock?db=1&user=me&pass=***"),
        ];
        for (url, shown) in cases {
            assert_eq!(redacted(url), shown);
        }
    }

    #[test]
    fn a_url_without_a_password_is_shown_as_it_is_even_if_malformed() {
        for url in ["", "localhost", "localhost:6379", "redis:/host", "http://host:99999/x", "redis://"] {
            assert_eq!(redacted(url), url);
        }
    }

    #[test]
    fn no_malformed_url_lets_a_password_through() {
        let urls = [
            "redis://:secret",
            "redis://user:secret",
            "redis://user:secret:6379",
            "redis://:secret/0@host",
            "redis://:a/secret",
            "redis://:a@secret@host",
            "redis://:a?secret@host",
            "redis://:a#secret@host",
            "redis://:a?db=secret@host",
            "redis://:secret@",
            "redis:secret@host",
            "user:secret@host:6379",
            "redis://host:6379?password=secret",
            "redis://host/0#secret",
            "unix:///run/redis.sock?pass=a@secret",
            "unix:///run/redis.sock?pass=a?secret",
            "unix://:secret@/run/redis.sock",
        ];
        for url in urls {
            assert!(!redacted(url).contains("secret"), "{url} -> {}", redacted(url));
        }
    }
}
