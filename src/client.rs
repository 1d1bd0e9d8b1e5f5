//! Who is asking: the peer's address, or the one a trusted proxy says it forwards for.
//!
//! Invariant: only an address ever becomes a [`ClientId`], and only a hop that is trusted may name another. What stands in a
//! header and is no address is never kept, shown or used as a key. Pure: no I/O.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The client a bucket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientId {
    /// One IPv4 address; an IPv4-mapped IPv6 address is this too.
    V4(Ipv4Addr),
    /// All IPv6 addresses that share the first `prefix` bits; the others are zero.
    V6 {
        /// The network's address.
        network: Ipv6Addr,
        /// How many bits name the client, 1..=128.
        prefix: u8,
    },
    /// A peer without an address: the other end of a Unix socket.
    Local,
}

impl ClientId {
    /// The client that `address` belongs to, IPv6 addresses grouped by their first `ipv6_prefix` bits.
    #[must_use]
    pub fn of(address: IpAddr, ipv6_prefix: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => {
                let prefix = ipv6_prefix.clamp(1, 128);
                let network = Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - prefix)));
                Self::V6 { network, prefix }
            }
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(v4) => v4.fmt(f),
            Self::V6 { network, prefix: 128 } => network.fmt(f),
            Self::V6 { network, prefix } => write!(f, "{network}/{prefix}"),
            Self::Local => f.write_str("local"),
        }
    }
}

/// The header fields in which proxies say whom they forward for.
///
/// Each is an iterator over the values of all lines of that name, in the order they arrived.
#[derive(Debug, Clone)]
pub struct Forwarding<X, F> {
    /// `X-Forwarded-For`.
    pub x_forwarded_for: X,
    /// `Forwarded` (RFC 7239); read only where there is no `X-Forwarded-For`.
    pub forwarded: F,
}

/// Which hops may name the client, and how IPv6 clients are grouped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identify {
    /// The networks whose hosts are believed.
    pub trusted: Vec<IpNet>,
    /// Whether the peer of a Unix socket is believed.
    pub trust_unix: bool,
    /// Bits of an IPv6 address that name a client, 1..=128.
    pub ipv6_prefix: u8,
}

impl Identify {
    /// The client behind `peer` (`None` on a Unix socket).
    ///
    /// From a trusted peer the forwarding field is walked from the right, past trusted hops; the first address that is not
    /// trusted is the client. Where the walk meets something that is no address, or its end, the last good hop is the client.
    pub fn client<'h, X, F>(&self, peer: Option<IpAddr>, headers: Forwarding<X, F>) -> ClientId
    where
        X: Iterator<Item = &'h [u8]>,
        F: Iterator<Item = &'h [u8]>,
    {
        let peer = peer.map(|address| address.to_canonical());
        let believed = peer.map_or(self.trust_unix, |address| self.is_trusted(address));
        let mut client = peer;
        if believed {
            // Collected, because the walk starts at the last line.
            let lines: Vec<&[u8]> = headers.x_forwarded_for.collect();
            if lines.is_empty() {
                // Where quotes are not closed nobody can tell one element from the next: the line as a whole is junk.
                let elements = |line| split_unquoted(line, b',').unwrap_or_else(|| vec![line]);
                let elements: Vec<&[u8]> = headers.forwarded.flat_map(elements).collect();
                self.walk(&mut client, elements.into_iter().rev(), forwarded_for);
            } else {
                self.walk(
                    &mut client,
                    lines.into_iter().rev().flat_map(|line| line.rsplit(|&b| b == b',')),
                    address_of,
                );
            }
        }
        client.map_or(ClientId::Local, |address| ClientId::of(address, self.ipv6_prefix))
    }

    /// Walks along `hops`, the nearest first, until one is not trusted or makes no sense.
    fn walk<'h>(
        &self,
        client: &mut Option<IpAddr>,
        hops: impl Iterator<Item = &'h [u8]>,
        parse: impl Fn(&[u8]) -> Option<IpAddr>,
    ) {
        for hop in hops {
            // An empty element is allowed in any list (RFC 9110 5.6.1) and names nobody.
            let hop = hop.trim_ascii();
            if hop.is_empty() {
                continue;
            }
            let Some(address) = parse(hop) else { return };
            *client = Some(address);
            if !self.is_trusted(address) {
                return;
            }
        }
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }
}

/// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address_of(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (inside, port) = rest.split_once(']')?;
        if !(port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
            return None;
        }
        IpAddr::V6(inside.parse().ok()?)
    } else if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else {
        let (host, port) = text.split_once(':')?;
        if !is_port(port) {
            return None;
        }
        IpAddr::V4(host.parse().ok()?)
    };
    Some(address.to_canonical())
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Reads the `for` parameter of one `Forwarded` element (RFC 7239, section 4), if there is one, and only one.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in split_unquoted(element, b';')? {
        let pair = pair.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let at = pair.iter().position(|&b| b == b'=')?;
        if pair[..at].eq_ignore_ascii_case(b"for") && found.replace(address_of(&unquoted(&pair[at + 1..])?)?).is_some()
        {
            return None;
        }
    }
    found
}

/// The parts of `text` between separators that stand outside of quoted strings (RFC 9110, section 5.6.4); `None` if a quoted
/// string is not closed.
fn split_unquoted(text: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut parts, mut part_at, mut at, mut is_quoted) = (Vec::new(), 0, 0, false);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\\' if is_quoted => at += 1,
            _ if byte == separator && !is_quoted => {
                parts.push(&text[part_at..at]);
                part_at = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    parts.push(&text[part_at..]);
    (!is_quoted).then_some(parts)
}

/// A value that is a token, or what a quoted string stands for.
fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let Some(inner) = value.strip_prefix(b"\"") else {
        return (!value.contains(&b'"')).then(|| value.to_vec());
    };
    let (mut bytes, mut plain) = (inner.iter(), Vec::with_capacity(inner.len()));
    loop {
        match bytes.next()? {
            b'"' => return bytes.as_slice().is_empty().then_some(plain),
            b'\\' => plain.push(*bytes.next()?),
            byte => plain.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identify(trusted: &[&str]) -> Identify {
        Identify {
            trusted: trusted.iter().map(|net| net.parse().unwrap()).collect(),
            trust_unix: false,
            ipv6_prefix: 64,
        }
    }

    fn client(identify: &Identify, peer: &str, xff: &[&str], forwarded: &[&str]) -> String {
        let headers = Forwarding {
            x_forwarded_for: xff.iter().map(|value| value.as_bytes()),
            forwarded: forwarded.iter().map(|value| value.as_bytes()),
        };
        identify.client(peer.parse().ok(), headers).to_string()
    }

    #[test]
    fn a_peer_that_is_not_trusted_names_nobody_but_itself() {
        let trusting_nobody = identify(&[]);
        assert_eq!(client(&trusting_nobody, "198.51.100.7", &["203.0.113.9"], &["for=203.0.113.9"]), "198.51.100.7");
        let trusting_another = identify(&["10.0.0.0/8"]);
        assert_eq!(client(&trusting_another, "198.51.100.7", &["203.0.113.9"], &[]), "198.51.100.7");
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_is_the_client() {
        let identify = identify(&["10.0.0.0/8", "fd00::/8"]);
        let cases: &[(&[&str], &str)] = &[
            (&["203.0.113.9"], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (&["203.0.113.9", "10.0.0.2"], "203.0.113.9"),
            (&["203.0.113.9,,  ,10.0.0.2 ,"], "203.0.113.9"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["[2001:db8:1:2:3::4]:443, fd00::1"], "2001:db8:1:2::/64"),
            (&["2001:db8:1:2:3::4"], "2001:db8:1:2::/64"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ];
        for (xff, expected) in cases {
            assert_eq!(&client(&identify, "10.0.0.1", xff, &[]), expected, "{xff:?}");
        }
    }

    #[test]
    fn junk_is_never_a_client_and_ends_the_walk_at_the_last_good_hop() {
        let identify = identify(&["10.0.0.0/8"]);
        let long = "9".repeat(10_000);
        for junk in [
            "unknown",
            "_hidden",
            "203.0.113.9:",
            "203.0.113.9:port",
            "1.2.3",
            "[::1",
            "\u{fffd}",
            "'; DROP",
            long.as_str(),
        ] {
            assert_eq!(client(&identify, "10.0.0.1", &[junk], &[]), "10.0.0.1", "{junk}");
            let behind_a_hop = format!("203.0.113.9, {junk}, 10.0.0.2");
            assert_eq!(client(&identify, "10.0.0.1", &[&behind_a_hop], &[]), "10.0.0.2", "{junk}");
        }
    }

    #[test]
    fn forwarded_is_read_where_there_is_no_x_forwarded_for() {
        let identify = identify(&["10.0.0.0/8"]);
        let cases = [
            ("for=203.0.113.9", "203.0.113.9"),
            ("For=\"[2001:db8:1:2::4]:80\";proto=https", "2001:db8:1:2::/64"),
            ("proto=https; for=203.0.113.9:80 ;by=10.0.0.1", "203.0.113.9"),
            ("for=1.1.1.1, for=203.0.113.9, for=10.0.0.2", "203.0.113.9"),
            ("for=unknown", "10.0.0.1"),
            ("for=\"_secret\"", "10.0.0.1"),
            ("by=10.0.0.9", "10.0.0.1"),
            ("for=1.1.1.1,, for=203.0.113.9;, ", "203.0.113.9"),
            ("for=\"203.0.113\\.9\"", "203.0.113.9"),
        ];
        for (value, expected) in cases {
            assert_eq!(client(&identify, "10.0.0.1", &[], &[value]), expected, "{value}");
        }
        assert_eq!(client(&identify, "10.0.0.1", &["203.0.113.9"], &["for=192.0.2.1"]), "203.0.113.9");
    }

    #[test]
    fn what_stands_in_quotes_names_nobody() {
        let identify = identify(&["10.0.0.0/8"]);
        // A proxy quotes the client's own Host, in which nearly anything may stand.
        for value in [
            r#"proto=http;host="x,for=6.6.6.6;y";for=203.0.113.9"#,
            r#"for=203.0.113.9;host="x,for=6.6.6.6;y""#,
            r#"host="x;for=6.6.6.6;y";for=203.0.113.9"#,
            r#"for="203.0.113.9";host="a,b""#,
            r#"for=6.6.6.6, for=203.0.113.9;host="\",for=6.6.6.6;x=\"""#,
        ] {
            assert_eq!(client(&identify, "10.0.0.1", &[], &[value]), "203.0.113.9", "{value}");
        }
        // What a client left open swallows what the proxy added; no part of it is believed.
        for value in [
            r#"for=6.6.6.6;x=", for=203.0.113.9"#,
            r#"for=6.6.6.6;x=", for="203.0.113.9";host="a""#,
            r#"for="6.6.6.6"x"#,
            r#"for=6.6.6.6"x""#,
            "for=6.6.6.6;for=203.0.113.9",
            "for=6.6.6.6;junk",
        ] {
            assert_eq!(client(&identify, "10.0.0.1", &[], &[value]), "10.0.0.1", "{value}");
        }
    }

    #[test]
    fn a_unix_peer_is_one_client_unless_it_is_trusted_to_name_others() {
        let mut identify = identify(&["10.0.0.0/8"]);
        assert_eq!(client(&identify, "-", &["203.0.113.9"], &[]), "local");
        identify.trust_unix = true;
        assert_eq!(client(&identify, "-", &["203.0.113.9"], &[]), "203.0.113.9");
        assert_eq!(client(&identify, "-", &[], &[]), "local");
    }

    #[test]
    fn ipv6_clients_are_grouped_by_the_configured_prefix() {
        let address = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        for (prefix, expected) in
            [(1, "::/1"), (48, "2001:db8:1::/48"), (64, "2001:db8:1:2::/64"), (128, "2001:db8:1:2:3:4:5:6")]
        {
            assert_eq!(ClientId::of(address, prefix).to_string(), expected);
        }
        assert_eq!(ClientId::of("::ffff:192.0.2.1".parse().unwrap(), 64).to_string(), "192.0.2.1");
    }
}
