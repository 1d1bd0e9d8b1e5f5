//! `/metrics` as a scraper sees it: the format, the families, that what is counted adds up, and that no client can make a
//! series.

mod exposition;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use exposition::Exposition;
use support::{GENEROUS, RedisServer, Tollgate, eventually};
use tollgate::route::{Handler, Method};

const PRODUCT: &str = r#"{"name":"a","description":"b","price":1}"#;

#[track_caller]
fn scrape(server: &Tollgate) -> Exposition {
    let response = server.get("/metrics");
    assert_eq!((response.status, response.header("Cache-Control")), (200, Some("no-store")));
    assert_eq!(response.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Exposition::parse(response.text())
}

/// Scrapes until this is true: an answer is counted once it is written, a moment after the client may have it.
#[track_caller]
fn scrape_until(server: &Tollgate, what: &str, is_true: impl Fn(&Exposition) -> bool) -> Exposition {
    eventually(GENEROUS, what, || Some(scrape(server)).filter(|scraped| is_true(scraped)))
}

#[track_caller]
fn assert_is(value: f64, expected: f64, what: &str) {
    assert!((value - expected).abs() < f64::EPSILON, "{what} is {value}, not {expected}");
}

#[test]
fn every_family_is_there_from_the_start_with_its_type_and_labels() {
    let redis = RedisServer::start();
    let url = redis.url();
    let families: &[(&str, &str, &[&str])] = &[
        ("http_requests_total", "counter", &["handler", "method", "status"]),
        ("http_request_duration_seconds", "histogram", &["handler", "method"]),
        ("http_requests_in_progress", "gauge", &[]),
        ("http_request_batch_size", "histogram", &[]),
        ("http_server_workers", "gauge", &[]),
        ("http_server_workers_busy", "gauge", &[]),
        ("http_server_connections", "gauge", &[]),
        ("http_server_connections_max", "gauge", &[]),
        ("http_server_rejected_total", "counter", &["reason"]),
        ("http_server_worker_panics_total", "counter", &[]),
        ("rate_limit_decisions_total", "counter", &["decision", "policy"]),
        ("rate_limit_check_duration_seconds", "histogram", &[]),
        ("rate_limit_capacity", "gauge", &["policy"]),
        ("rate_limit_refill_per_second", "gauge", &["policy"]),
        ("rate_limit_tracked_buckets", "gauge", &[]),
        ("rate_limit_remembered_denials", "gauge", &[]),
        ("redis_client_up", "gauge", &[]),
        ("redis_pool_connections", "gauge", &["state"]),
        ("redis_pool_connections_max", "gauge", &[]),
        ("redis_pool_timeouts_total", "counter", &[]),
        ("redis_command_duration_seconds", "histogram", &["command"]),
        ("redis_errors_total", "counter", &["kind"]),
        ("redis_script_reloads_total", "counter", &[]),
        ("circuit_breaker_state", "gauge", &["state"]),
        ("circuit_breaker_transitions_total", "counter", &["to"]),
        ("products_stored", "gauge", &[]),
        ("log_records_dropped_total", "counter", &[]),
        ("tollgate_build_info", "gauge", &["commit", "rustc", "version"]),
        ("process_cpu_seconds_total", "counter", &[]),
        ("process_open_fds", "gauge", &[]),
        ("process_max_fds", "gauge", &[]),
        ("process_resident_memory_bytes", "gauge", &[]),
        ("process_virtual_memory_bytes", "gauge", &[]),
        ("process_start_time_seconds", "gauge", &[]),
        ("process_threads", "gauge", &[]),
    ];
    for variables in [&[][..], &[("REDIS_URL", url.as_str())]] {
        let scraped = scrape(&Tollgate::start(variables));
        for (name, kind, labels) in families {
            let family = scraped.0.get(*name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(&family.kind, kind, "{name}");
            for sample in &family.samples {
                let expected = labels.iter().copied().chain(sample.name.ends_with("_bucket").then_some("le"));
                let names: BTreeSet<&str> = sample.labels.keys().map(String::as_str).collect();
                assert_eq!(names, expected.collect(), "{sample:?}");
            }
        }
        let unknown: Vec<_> =
            scraped.0.keys().filter(|name| !families.iter().any(|family| family.0 == *name)).collect();
        assert!(unknown.is_empty(), "the tables of the documentation lack {unknown:?}");
    }
}

#[test]
fn label_values_are_the_ones_there_are_and_no_others() {
    let server = Tollgate::start(&[]);
    server.get("/nowhere");
    server.request("BREW", "/api/status", &[], b"");
    let scraped = scrape(&server);
    let (handlers, methods) = (Handler::ALL.map(Handler::as_str), Method::ALL.map(Method::as_str));
    let tables: &[(&str, &str, &[&str])] = &[
        ("http_requests_total", "handler", &handlers),
        ("http_requests_total", "method", &methods),
        ("http_request_duration_seconds_bucket", "handler", &handlers),
        ("http_request_duration_seconds_bucket", "method", &methods),
        (
            "http_request_duration_seconds_bucket",
            "le",
            &[
                "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25",
                "0.5", "1", "2.5", "+Inf",
            ],
        ),
        ("http_request_batch_size_bucket", "le", &["1", "2", "4", "8", "16", "32", "64", "+Inf"]),
        ("rate_limit_decisions_total", "policy", &["protected-action"]),
        (
            "rate_limit_decisions_total",
            "decision",
            &["allowed", "denied", "denied_remembered", "allowed_local", "denied_local", "fail_open", "fail_closed"],
        ),
        ("redis_pool_connections", "state", &["idle", "used"]),
        ("redis_errors_total", "kind", &["timeout", "io", "script", "other"]),
        ("circuit_breaker_state", "state", &["closed", "open", "half_open"]),
        ("circuit_breaker_transitions_total", "to", &["closed", "open", "half_open"]),
    ];
    for (name, label, expected) in tables {
        let values: BTreeSet<&str> = scraped.samples(name).map(|sample| sample.labels[*label].as_str()).collect();
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        let partly = *label == "method";
        assert!(if partly { values.is_subset(&expected) } else { values == expected }, "{name} {label}: {values:?}");
    }
    let mut statuses = scraped.samples("http_requests_total").map(|sample| sample.labels["status"].as_str());
    assert!(statuses.all(|status| status.len() == 3 && status.parse::<u16>().is_ok()));
}

#[test]
fn what_is_answered_adds_up() {
    let server = Tollgate::start(&[("RATE_LIMIT", "3"), ("REFILL_RATE", "0.001"), ("WORKERS", "3")]);
    let fresh = scrape(&server);
    assert_is(fresh.sum("http_requests_total", &[]), 0.0, "answers before the first");
    let asked: &[(usize, &str, &str, &str, &str, &str, &str)] = &[
        (4, "GET", "/api/status", "", "GET", "status", "200"),
        (2, "HEAD", "/api/ready", "", "HEAD", "ready", "200"),
        (3, "POST", "/api/products", PRODUCT, "POST", "products", "201"),
        (2, "POST", "/api/products", "{}", "POST", "products", "422"),
        (2, "GET", "/api/products", "", "GET", "products", "200"),
        (2, "GET", "/api/products/42", "", "GET", "product", "404"),
        (3, "POST", "/api/protected-action", "1", "POST", "protected_action", "200"),
        (5, "POST", "/api/protected-action", "1", "POST", "protected_action", "429"),
        (2, "PUT", "/metrics", "", "PUT", "metrics", "405"),
        (2, "GET", "/nowhere", "", "GET", "none", "404"),
        (1, "BREW", "/nowhere", "", "_OTHER", "none", "501"),
        (1, "get", "/api/status", "", "_OTHER", "status", "501"),
    ];
    let mut answered = 0.0;
    for &(times, method, target, body, ..) in asked {
        for _ in 0..times {
            server.request(method, target, &[], body.as_bytes());
            answered += 1.0;
        }
    }
    let is_scrape = [("handler", "metrics"), ("method", "GET")];
    let others = |scraped: &Exposition, name: &str| scraped.sum(name, &[]) - scraped.sum(name, &is_scrape);
    let scraped = scrape_until(&server, "all answers are counted", |scraped| {
        others(scraped, "http_request_duration_seconds_count") >= answered
            && scraped.sum("http_requests_in_progress", &[]) < 1.5
    });
    assert_is(others(&scraped, "http_requests_total"), answered, "all answers");
    assert_is(others(&scraped, "http_request_duration_seconds_count"), answered, "all durations");
    for &(times, _, _, _, method, handler, status) in asked {
        let labels = [("method", method), ("handler", handler), ("status", status)];
        let expected = f64::from(u32::try_from(times).expect("a few"));
        assert_is(scraped.sum("http_requests_total", &labels), expected, &format!("{labels:?}"));
    }
    let scrapes = scraped.sum("http_requests_total", &is_scrape);
    for (name, labels, expected) in [
        // The scrape that is under way has been taken, and is not answered yet.
        ("http_request_batch_size_sum", &[][..], answered + scrapes + 1.0),
        ("http_requests_in_progress", &[], 1.0),
        ("http_server_workers", &[], 3.0),
        ("http_server_worker_panics_total", &[], 0.0),
        ("rate_limit_decisions_total", &[("decision", "allowed")], 3.0),
        ("rate_limit_decisions_total", &[("decision", "denied")], 5.0),
        ("rate_limit_decisions_total", &[], 8.0),
        ("rate_limit_capacity", &[], 3.0),
        ("rate_limit_refill_per_second", &[], 0.001),
        ("rate_limit_tracked_buckets", &[], 1.0),
        ("products_stored", &[], 3.0),
        ("circuit_breaker_state", &[], 1.0),
        ("circuit_breaker_state", &[("state", "closed")], 1.0),
        ("tollgate_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
        ("log_records_dropped_total", &[], 0.0),
    ] {
        assert_is(scraped.sum(name, labels), expected, &format!("{name}{labels:?}"));
    }
    assert!(scraped.sum("http_server_workers_busy", &[]) >= 1.0, "whoever answers the scrape is busy");
    assert!(scraped.sum("http_server_connections", &[]) >= 1.0, "the scrape has a connection");
}

#[test]
fn the_shared_limiter_counts_what_redis_and_the_memory_of_denials_decide() {
    let redis = RedisServer::start();
    let url = redis.url();
    let server = Tollgate::start(&[("RATE_LIMIT", "2"), ("REFILL_RATE", "0.001"), ("REDIS_URL", &url)]);
    for status in [200, 200, 429, 429, 429] {
        assert_eq!(server.post("/api/protected-action", "1").status, status);
    }
    let scraped = scrape(&server);
    for (name, labels, expected) in [
        ("rate_limit_decisions_total", &[("decision", "allowed")][..], 2.0),
        ("rate_limit_decisions_total", &[("decision", "denied")], 1.0),
        ("rate_limit_decisions_total", &[("decision", "denied_remembered")], 2.0),
        ("rate_limit_remembered_denials", &[], 1.0),
        ("redis_client_up", &[], 1.0),
        ("redis_script_reloads_total", &[], 1.0),
        ("redis_errors_total", &[], 0.0),
    ] {
        assert_is(scraped.sum(name, labels), expected, &format!("{name}{labels:?}"));
    }
}

#[test]
fn what_the_engine_refuses_is_counted_by_its_reason_and_as_an_answer() {
    let server = Tollgate::start(&[]);
    let cases = [
        ("garbage\r\n\r\n", "request_line", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "host", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "header_field", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "framing", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "chunk", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer_coding", "501"),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", "expectation", "417"),
        ("GET / HTTP/2.0\r\n\r\n", "version", "505"),
    ];
    for (request, reason, status) in cases {
        let mut connection = server.connect();
        connection.send(request.as_bytes());
        assert_eq!(connection.receive("GET").expect("an answer").status.to_string(), status, "{reason}");
    }
    let scraped = scrape(&server);
    for (_, reason, _) in cases {
        assert_is(scraped.sum("http_server_rejected_total", &[("reason", reason)]), 1.0, reason);
    }
    for (status, expected) in [("400", 5.0), ("501", 1.0), ("417", 1.0), ("505", 1.0)] {
        let labels = [("handler", "none"), ("method", "_OTHER"), ("status", status)];
        assert_is(scraped.sum("http_requests_total", &labels), expected, status);
    }
}

#[test]
fn no_client_can_make_a_series() {
    let server = Tollgate::start(&[("RATE_LIMIT", "1000"), ("TRUSTED_PROXIES", "127.0.0.1")]);
    // The same kinds of request each time, every name in them new.
    let attack = |round: u32| {
        for n in 0..20 {
            let odd = format!("x{round}-{n}\"}}");
            let address = format!("203.0.113.{}", round * 20 + n);
            let headers = [
                ("X-Forwarded-For", address.as_str()),
                ("Host", "another.test"),
                ("X-Request-Id", &odd),
                ("User-Agent", &odd),
                ("Referer", &odd),
            ];
            let method = format!("BREW-{round}-{n}");
            for (method, target) in [
                ("GET", format!("/{odd}")),
                ("GET", format!("/api/products/{odd}")),
                ("GET", format!("/api/products?limit={odd}")),
                ("GET", format!("/metrics?{odd}")),
                ("POST", format!("/api/protected-action?{odd}")),
                (&method, format!("/api/status?{odd}")),
            ] {
                server.request(method, &target, &headers, b"");
            }
            let mut broken = server.connect();
            broken.send(format!("{odd} / HTTP/1.{n}\r\n\r\n").as_bytes());
            broken.receive("GET").expect("an answer");
        }
    };
    attack(0);
    let count = |scraped: &Exposition| scraped.sum("http_request_duration_seconds_count", &[("method", "_OTHER")]);
    let before = scrape_until(&server, "all answers are counted", |scraped| count(scraped) > 39.5);
    attack(1);
    let after = scrape_until(&server, "all answers are counted", |scraped| count(scraped) > 79.5);
    let made: Vec<_> = after.series().difference(&before.series()).cloned().collect();
    assert!(made.is_empty(), "{made:?}");
}
