//! Addresses: where to listen, and which peers are trusted to name their clients.
//!
//! Pure: no name is looked up and nothing is bound.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};

use super::problems::{Expected, quoted};

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// At an IP address; port 0 lets the system choose one.
    Tcp(SocketAddr),
    /// At a Unix socket, by its absolute path of at most 107 bytes.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listen {
    /// Reads `IP:PORT`, `localhost:PORT` (which is 127.0.0.1) or `unix:/path`.
    ///
    /// A port alone is refused: half of its readers would take it for every interface, the other half for this machine.
    pub(super) fn parse(text: &str) -> Result<Self, Expected> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::parse_unix(path);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        match (host, port.parse::<u16>()) {
            ("localhost", Ok(port)) => Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into())),
            ("" | "*", Ok(port)) => Err(Expected::Owned(format!(
                "127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} or [::]:{port} for every interface"
            ))),
            (_, Ok(_) | Err(_)) => {
                Err(Expected::Borrowed("IP:PORT like 127.0.0.1:8080 or [::1]:8080, localhost:PORT, or unix:/path"))
            }
        }
    }

    fn parse_unix(path: &str) -> Result<Self, Expected> {
        // `unix:///path` is how URLs spell it.
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.len() > 1 && path.starts_with('/') && UnixAddr::from_pathname(path).is_ok() {
            Ok(Self::Unix(PathBuf::from(path)))
        } else {
            Err(Expected::Borrowed("unix: and an absolute path of at most 107 bytes, like unix:/run/tollgate.sock"))
        }
    }
}

/// The peers whose word on who their client is counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Their networks, without host bits; IPv4-mapped ones as IPv4.
    pub nets: Vec<IpNet>,
    /// Whether the peer on a Unix socket is one.
    pub unix: bool,
}

impl TrustedProxies {
    /// Reads addresses, CIDR blocks and the word `unix`, separated by commas or spaces.
    pub(super) fn parse(text: &str) -> Result<Self, Expected> {
        let mut trusted = Self::default();
        let entries = text.split(|c: char| c == ',' || c.is_whitespace());
        for entry in entries.filter(|entry| !entry.is_empty()) {
            if entry == "unix" {
                trusted.unix = true;
            } else if let Some(net) = parse_net(entry) {
                trusted.nets.push(net);
            } else {
                return Err(Expected::Owned(format!(
                    "addresses, CIDR blocks or unix, like 10.0.0.0/8, fd00::/8 ({} is none)",
                    quoted(entry)
                )));
            }
        }
        Ok(trusted)
    }
}

fn parse_net(entry: &str) -> Option<IpNet> {
    let net = match entry.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => IpNet::from(entry.parse::<IpAddr>().ok()?),
    };
    Some(unmapped(net).trunc())
}

/// A peer at an IPv4-mapped address is known by its IPv4 address, so a mapped network must be an IPv4 one
/// (RFC 4291, section 2.5.5.2).
fn unmapped(net: IpNet) -> IpNet {
    const MAPPED_PREFIX: u8 = 96;
    let IpNet::V6(v6) = net else { return net };
    let mapped = v6.addr().to_ipv4_mapped();
    let prefix = v6.prefix_len().checked_sub(MAPPED_PREFIX);
    match mapped.zip(prefix).map(|(addr, prefix)| Ipv4Net::new(addr, prefix)) {
        Some(Ok(v4)) => IpNet::V4(v4),
        Some(Err(_)) | None => net,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_at_is_ip_and_port_or_a_unix_path() {
        let tcp = |text: &str| Listen::Tcp(text.parse().expect("an address"));
        let unix = |path: &str| Listen::Unix(PathBuf::from(path));
        let cases = [
            ("127.0.0.1:8080", tcp("127.0.0.1:8080")),
            ("0.0.0.0:0", tcp("0.0.0.0:0")),
            ("[::1]:8080", tcp("[::1]:8080")),
            ("localhost:81", tcp("127.0.0.1:81")),
            ("unix:/run/a b.sock", unix("/run/a b.sock")),
            ("unix:///run/a.sock", unix("/run/a.sock")),
        ];
        for (text, listen) in cases {
            assert_eq!(Listen::parse(text), Ok(listen), "{text}");
        }
    }

    #[test]
    fn another_address_is_refused_with_what_would_be_right() {
        let long_path = format!("unix:/{}", "x".repeat(107));
        let cases = [
            ("8080", "0.0.0.0:8080"),
            (":8080", "0.0.0.0:8080"),
            ("*:8080", "127.0.0.1:8080"),
            ("127.0.0.1", "IP:PORT"),
            ("127.0.0.1:65536", "IP:PORT"),
            ("::1:8080", "IP:PORT"),
            ("example.org:80", "IP:PORT"),
            ("http://127.0.0.1:80", "IP:PORT"),
            ("unix:", "absolute path"),
            ("unix:/", "absolute path"),
            ("unix:run/a.sock", "absolute path"),
            (&long_path, "107 bytes"),
        ];
        for (text, hint) in cases {
            let expected = Listen::parse(text).expect_err(text);
            assert!(expected.contains(hint), "{text}: expected {expected}");
        }
    }

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        for text in ["127.0.0.1:8080", "[::1]:0", "unix:/run/a.sock"] {
            assert_eq!(Listen::parse(text).map(|listen| listen.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn trusted_proxies_are_addresses_blocks_and_the_word_unix() {
        let cases: [(&str, &[&str], bool); 7] = [
            ("", &[], false),
            ("unix", &[], true),
            ("10.0.0.1", &["10.0.0.1/32"], false),
            ("10.1.2.3/8,fd00::/8", &["10.0.0.0/8", "fd00::/8"], false),
            (" 10.0.0.1,, ::1\tunix ", &["10.0.0.1/32", "::1/128"], true),
            ("::ffff:10.0.0.1", &["10.0.0.1/32"], false),
            ("::ffff:10.0.0.0/104", &["10.0.0.0/8"], false),
        ];
        for (text, nets, unix) in cases {
            let nets = nets.iter().map(|net| net.parse().expect("a net")).collect();
            assert_eq!(TrustedProxies::parse(text), Ok(TrustedProxies { nets, unix }), "{text}");
        }
    }

    #[test]
    fn a_proxy_that_is_neither_is_pointed_at() {
        for entry in ["10.0.0.0/33", "::/129", "proxy.local", "10.0.0.1:80", "Unix", "10.0.0"] {
            let expected = TrustedProxies::parse(&format!("127.0.0.1, {entry}")).expect_err(entry);
            assert!(expected.contains(&format!("{entry:?}")), "{expected}");
        }
    }
}
