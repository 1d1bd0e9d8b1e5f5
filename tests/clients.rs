//! Who counts as one client: nobody gets another's bucket, and nobody gets a second one, by what stands in a header.
//!
//! Each case asks twice and looks at whether both took from the same bucket. The walk through the headers itself has its
//! tests beside it, in the module `client`.

mod support;

use std::io::{Read as _, Write as _};

use socket2::{Domain, Socket, Type};
use support::{RedisServer, Tollgate, UnixTollgate};

type Headers<'h> = &'h [(&'h str, &'h str)];

const ACTION: &str = "/api/protected-action";
/// A limit that no test reaches and no bucket refills to.
const LIMIT: [(&str, &str); 2] = [("RATE_LIMIT", "1000"), ("REFILL_RATE", "0.001")];
const TRUSTED: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8, fd00::/8");

/// Takes a token with these headers; how many there are left.
#[track_caller]
fn left(server: &Tollgate, headers: Headers<'_>) -> u64 {
    let response = server.request("POST", ACTION, headers, b"1");
    assert_eq!(response.status, 200, "{headers:?}: {response:?}");
    response.number("X-RateLimit-Remaining")
}

/// Whether a request with `one` and another with `other` take from the same bucket.
#[track_caller]
fn are_one_client(variables: &[(&str, &str)], one: Headers<'_>, other: Headers<'_>) -> bool {
    let server = Tollgate::start(&[&LIMIT, variables].concat());
    assert_eq!(left(&server, one), 999);
    match left(&server, other) {
        998 => true,
        999 => false,
        left => panic!("{left} tokens left"),
    }
}

#[test]
fn a_peer_that_is_not_trusted_is_itself_whatever_it_says() {
    let spoofed: &[(&str, &str)] = &[
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-For", "127.0.0.2, 203.0.113.9"),
        ("Forwarded", "for=203.0.113.9"),
        ("X-Real-IP", "203.0.113.9"),
        ("X-Client-IP", "203.0.113.9"),
        ("True-Client-IP", "203.0.113.9"),
        ("CF-Connecting-IP", "203.0.113.9"),
        ("Via", "1.1 203.0.113.9"),
        ("Host", "203.0.113.9"),
        ("X-Request-Id", "another"),
        ("User-Agent", "another"),
        ("Cookie", "session=another"),
        ("Authorization", "Bearer another"),
    ];
    for trusted in [&[][..], &[("TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.2, ::1, unix")]] {
        let server = Tollgate::start(&[&LIMIT, trusted].concat());
        for (taken, header) in spoofed.iter().enumerate() {
            assert_eq!(left(&server, &[*header]), 999 - taken as u64, "{header:?}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn peers_with_different_addresses_are_different_clients() {
    let server = Tollgate::start(&LIMIT);
    // All of 127.0.0.0/8 is this machine, so another address of it makes another peer.
    let left_of = |source: &str| {
        let mut socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let source: std::net::SocketAddr = format!("{source}:0").parse().expect("an address");
        socket.bind(&source.into()).expect("an address of the loopback network");
        socket.connect(&server.address().into()).expect("the server takes connections");
        let request = format!("POST {ACTION} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1");
        socket.write_all(request.as_bytes()).expect("the server reads on");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        remaining_in(&answer)
    };
    let left: Vec<u64> = ["127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.1", "127.1.2.3"].map(left_of).to_vec();
    assert_eq!(left, [999, 999, 998, 998, 999]);
}

/// The tokens left, out of an answer as it came.
#[track_caller]
fn remaining_in(answer: &str) -> u64 {
    let value = answer.lines().find_map(|line| line.strip_prefix("X-RateLimit-Remaining: "));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no count in {answer}"))
}

#[test]
fn behind_a_trusted_proxy_the_last_address_it_does_not_trust_is_the_client() {
    let xff = "X-Forwarded-For";
    let cases: &[(Headers<'_>, Headers<'_>, bool)] = &[
        (&[(xff, "203.0.113.9")], &[(xff, "203.0.113.9")], true),
        (&[(xff, "203.0.113.9")], &[(xff, "203.0.113.10")], false),
        // What stands left of the client is the client's own invention.
        (&[(xff, "203.0.113.9")], &[(xff, "198.51.100.1, 203.0.113.9")], true),
        (&[(xff, "203.0.113.9")], &[(xff, "203.0.113.9, 198.51.100.1")], false),
        (&[(xff, "203.0.113.9")], &[(xff, "x, ';--, 10.0.0.1, 203.0.113.9")], true),
        // Trusted hops are passed over.
        (&[(xff, "203.0.113.9")], &[(xff, "198.51.100.1, 203.0.113.9, 10.0.0.2, 10.9.8.7")], true),
        (&[(xff, "203.0.113.9")], &[(xff, "203.0.113.9, fd00::1")], true),
        // Several lines are one list.
        (&[(xff, "203.0.113.9")], &[(xff, "198.51.100.1"), ("x-FORWARDED-for", "203.0.113.9")], true),
        (&[(xff, "203.0.113.9")], &[(xff, "203.0.113.9"), (xff, "10.0.0.2")], true),
        // Spellings.
        (&[(xff, "203.0.113.9")], &[(xff, " ,203.0.113.9:4711 ,, ")], true),
        (&[(xff, "2001:db8:1:2::4")], &[(xff, "[2001:db8:1:2::4]:443")], true),
        // Trusted hops alone: the farthest one asks for itself.
        (&[(xff, "10.0.0.3, 10.0.0.2")], &[(xff, "10.0.0.3")], true),
        (&[(xff, "10.0.0.3, 10.0.0.2")], &[], false),
        // Other headers, and Forwarded beside the older one, name nobody.
        (&[], &[("X-Real-IP", "203.0.113.9")], true),
        (&[(xff, "203.0.113.9")], &[(xff, "203.0.113.9"), ("Forwarded", "for=192.0.2.1")], true),
    ];
    for (one, other, expected) in cases {
        assert_eq!(are_one_client(&[TRUSTED], one, other), *expected, "{one:?} {other:?}");
    }
}

#[test]
fn forwarded_names_the_client_as_well() {
    let cases: &[(Headers<'_>, bool)] = &[
        (&[("Forwarded", "for=203.0.113.9")], true),
        (&[("Forwarded", "For=\"203.0.113.9:4711\";proto=https;by=10.0.0.1")], true),
        (&[("Forwarded", "for=198.51.100.1, for=203.0.113.9, for=10.0.0.2")], true),
        (&[("Forwarded", "for=198.51.100.1"), ("Forwarded", "for=203.0.113.9")], true),
        (&[("Forwarded", "for=\"[::ffff:203.0.113.9]:80\"")], true),
        (&[("Forwarded", "for=203.0.113.10")], false),
        (&[("Forwarded", "by=203.0.113.9")], false),
    ];
    for (headers, expected) in cases {
        let is_the_same = are_one_client(&[TRUSTED], &[("X-Forwarded-For", "203.0.113.9")], headers);
        assert_eq!(is_the_same, *expected, "{headers:?}");
    }
}

#[test]
fn junk_in_a_header_never_makes_a_client_nor_a_key() {
    let redis = RedisServer::start();
    let url = redis.url();
    let server = Tollgate::start(&[&LIMIT[..], &[TRUSTED, ("REDIS_URL", &url)]].concat());
    let long = "9".repeat(8_000);
    let junk = [
        "",
        "unknown",
        "_hidden",
        "-",
        "*",
        "\"\"",
        "203.0.113.9:",
        "203.0.113.9:port",
        "203.0.113",
        "203.0.113.256",
        "0x7f.1",
        "[::1",
        "::g",
        "fe80::1%eth0",
        "localhost",
        "'; DROP TABLE clients; --",
        "tollgate:{protected-action:x}",
        "\u{e9}",
        &long,
    ];
    for (taken, junk) in junk.iter().enumerate() {
        assert_eq!(left(&server, &[("X-Forwarded-For", junk)]), 999 - taken as u64, "{junk}");
    }
    let taken = junk.len() as u64;
    for (more, junk) in (0..).zip(&junk[1..]) {
        assert_eq!(left(&server, &[("Forwarded", &format!("for={junk}"))]), 999 - taken - more, "{junk}");
    }
    assert_eq!(redis.cli(&["KEYS", "*"]), "tollgate:{protected-action:127.0.0.1}");
    // The proxy that passes junk on answers for it.
    assert_eq!(left(&server, &[("X-Forwarded-For", "203.0.113.9, junk, 10.0.0.2")]), 999);
    assert_eq!(left(&server, &[("X-Forwarded-For", "10.0.0.2")]), 998);
}

#[test]
fn a_list_without_end_is_walked_or_refused_but_does_no_harm() {
    let server = Tollgate::start(&[&LIMIT[..], &[TRUSTED]].concat());
    let hops = format!("203.0.113.9{}", ", 10.0.0.2".repeat(2_000));
    assert_eq!(left(&server, &[("X-Forwarded-For", &hops)]), 999);
    assert_eq!(left(&server, &[("X-Forwarded-For", "203.0.113.9")]), 998);
    let lines: Vec<(&str, &str)> = [("X-Forwarded-For", "10.0.0.2")].into_iter().cycle().take(200).collect();
    assert_eq!(server.request("POST", ACTION, &lines, b"1").status, 431);
}

#[test]
fn ipv6_clients_are_told_apart_by_their_network() {
    let xff = "X-Forwarded-For";
    let one = &[(xff, "2001:db8:1:2:3:4:5:6")];
    let cases: &[(Option<&str>, &str, bool)] = &[
        (None, "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
        (None, "2001:DB8:1:2::", true),
        (None, "2001:db8:1:3:3:4:5:6", false),
        (Some("48"), "2001:db8:1:ffff::", true),
        (Some("48"), "2001:db8:2:2:3:4:5:6", false),
        (Some("128"), "2001:db8:1:2:3:4:5:7", false),
        (Some("128"), "2001:db8:1:2:3:4:5:6", true),
        (Some("1"), "7fff::", true),
    ];
    for (prefix, other, expected) in cases {
        let prefix = prefix.map(|bits| ("IPV6_PREFIX", bits));
        let variables: Vec<_> = [TRUSTED].into_iter().chain(prefix).collect();
        assert_eq!(are_one_client(&variables, one, &[(xff, other)]), *expected, "{prefix:?} {other}");
    }
}

#[test]
fn an_ipv4_mapped_address_is_the_ipv4_address() {
    let xff = "X-Forwarded-For";
    for (other, expected) in [
        ("::ffff:203.0.113.9", true),
        ("::ffff:cb00:7109", true),
        ("[::FFFF:203.0.113.9]:80", true),
        ("::ffff:203.0.113.10", false),
        // Hosts of a mapped network must not share a bucket because their first 64 bits are the same.
        ("::203.0.113.9", false),
        // A trusted hop in its mapped form is trusted.
        ("203.0.113.9, ::ffff:10.0.0.2", true),
    ] {
        let is_the_same = are_one_client(&[TRUSTED], &[(xff, "203.0.113.9")], &[(xff, other)]);
        assert_eq!(is_the_same, expected, "{other}");
    }
}

#[test]
fn peers_of_a_unix_socket_are_one_client_unless_they_are_trusted_to_name_others() {
    let ask = |server: &UnixTollgate, field: &str| {
        let head = format!("POST {ACTION} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n{field}");
        remaining_in(&server.exchange(&format!("{head}\r\n1")))
    };
    let fields =
        ["", "X-Forwarded-For: 203.0.113.9\r\n", "X-Forwarded-For: 203.0.113.9\r\n", "Forwarded: for=192.0.2.1\r\n"];
    for (trusted, expected) in [
        ("", [999, 998, 997, 996]),
        ("127.0.0.1, ::1, 0.0.0.0/0, ::/0", [999, 998, 997, 996]),
        ("unix", [999, 999, 998, 999]),
    ] {
        let server = UnixTollgate::start(&[&LIMIT[..], &[("TRUSTED_PROXIES", trusted)]].concat());
        assert_eq!(fields.map(|field| ask(&server, field)), expected, "TRUSTED_PROXIES={trusted}");
    }
}
