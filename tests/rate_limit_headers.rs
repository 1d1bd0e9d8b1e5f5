//! What a client is told of its limit, and that it is true; the same with a Redis and without one.
//!
//! What is not here: who counts as one client (`clients.rs`), what happens when Redis fails.

mod support;

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::{GENEROUS, RedisServer, Response, Tollgate, eventually};

type Headers<'h> = &'h [(&'h str, &'h str)];

const ACTION: &str = "/api/protected-action";
const FIELDS: [&str; 5] =
    ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit"];

fn on_each_kind_of_limiter(variables: &[(&str, &str)], test: impl Fn(&Tollgate)) {
    test(&Tollgate::start(variables));
    let redis = RedisServer::start();
    let url = redis.url();
    test(&Tollgate::start(&[variables, &[("REDIS_URL", &url)]].concat()));
}

/// Unix time in seconds.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_secs_f64()
}

/// What an answer says of the limit.
#[derive(Debug, PartialEq)]
struct Told {
    limit: u64,
    window_s: u64,
    remaining: u64,
    wait_s: u64,
    reset_unix_s: u64,
    retry_after_s: Option<u64>,
}

/// Reads all of it, and holds it against itself.
#[track_caller]
fn told(response: &Response) -> Told {
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text} is no number in {response:?}"));
    let parameters = |name: &str, keys: [&str; 2]| -> [u64; 2] {
        let value = response.header(name).unwrap_or_else(|| panic!("no {name} in {response:?}"));
        let mut parts = value.split(';');
        assert_eq!(parts.next(), Some("\"protected-action\""), "{name}: {value}");
        let values = keys.map(|key| {
            let part = parts.next().and_then(|part| part.strip_prefix(key)).and_then(|part| part.strip_prefix('='));
            number(part.unwrap_or_else(|| panic!("no {key} in {name}: {value}")))
        });
        assert_eq!(parts.next(), None, "{name}: {value}");
        values
    };
    let [quota, window_s] = parameters("RateLimit-Policy", ["q", "w"]);
    let [remaining, wait_s] = parameters("RateLimit", ["r", "t"]);
    assert_eq!(response.number("X-RateLimit-Limit"), quota);
    assert_eq!(response.number("X-RateLimit-Remaining"), remaining);
    let retry_after_s = response.header("Retry-After").map(number);
    assert_eq!(retry_after_s.is_some(), response.status == 429, "{response:?}");
    assert_eq!(response.header("Cache-Control"), (response.status == 429).then_some("no-store"), "{response:?}");
    if let Some(retry_after_s) = retry_after_s {
        assert_eq!((retry_after_s, remaining), (wait_s.max(1), 0));
    }
    let reset_unix_s = response.number("X-RateLimit-Reset");
    Told { limit: quota, window_s, remaining, wait_s, reset_unix_s, retry_after_s }
}

/// Asks once; the status and what is left.
#[track_caller]
fn ask(server: &Tollgate) -> (u16, u64) {
    let response = server.post(ACTION, "1");
    (response.status, told(&response).remaining)
}

#[track_caller]
fn assert_between(value: u64, least: f64, most: f64, what: &str) {
    // The clocks are this machine's; the slack is for how they are rounded.
    let slack_s = 0.05;
    #[expect(clippy::cast_precision_loss, reason = "seconds of an epoch time are far below 2^53")]
    let value = value as f64;
    assert!((least - slack_s).ceil() <= value && value <= (most + slack_s).ceil(), "{what}: {least}..={most}: {value}");
}

#[test]
fn every_answer_says_how_the_limit_stands_and_the_numbers_agree() {
    // So slow that not even a machine that stands still for minutes sees a token come back.
    let (capacity, refill_s) = (5_u32, 1_000.0);
    on_each_kind_of_limiter(&[("RATE_LIMIT", "5"), ("REFILL_RATE", "0.001")], |server| {
        // All follows from when the first token was taken, which is known from both sides.
        let (mut first_after, mut first_before) = (0.0, 0.0);
        for taken in 1..=capacity + 3 {
            let after = now();
            let response = server.post(ACTION, "{}");
            let before = now();
            if taken == 1 {
                (first_after, first_before) = (after, before);
            }
            let told = told(&response);
            let what = format!("request {taken}: {told:?}");
            assert_eq!((told.limit, told.window_s), (5, 5_000), "{what}");
            assert_eq!(told.remaining, u64::from(capacity.saturating_sub(taken)), "{what}");
            let is_granted = taken <= capacity;
            assert_eq!(response.status, if is_granted { 200 } else { 429 }, "{what}");
            // Granted: full again. Denied: one token is there.
            let tokens_to_come = if is_granted { f64::from(taken) } else { 1.0 };
            let until_s = refill_s * tokens_to_come;
            assert_between(told.reset_unix_s, first_after + until_s, first_before + until_s, &what);
            let (least_s, most_s) = (first_after + refill_s - before, first_before + refill_s - after);
            assert_between(told.wait_s, least_s, most_s, &what);
        }
    });
}

#[test]
fn the_policy_is_told_as_it_is_configured() {
    let cases = [("1", "1", 1, 1), ("5", "0.3", 17, 4), ("10", "0.5", 20, 2), ("1000000000", "1000000", 1_000, 1)];
    for (limit, rate, window_s, wait_s) in cases {
        let server = Tollgate::start(&[("RATE_LIMIT", limit), ("REFILL_RATE", rate)]);
        let told = told(&server.post(ACTION, "1"));
        assert_eq!((told.limit.to_string().as_str(), told.window_s), (limit, window_s), "{limit} {rate}");
        assert_eq!((told.remaining + 1, told.wait_s), (told.limit, wait_s), "{limit} {rate}");
    }
}

#[test]
fn a_denial_is_a_problem_that_names_the_policy() {
    on_each_kind_of_limiter(&[("RATE_LIMIT", "1"), ("REFILL_RATE", "0.001")], |server| {
        assert_eq!(ask(server), (200, 0));
        // A denial that is remembered says the same as a new one.
        for _ in 0..2 {
            let denied = server.post(ACTION, "1");
            assert_eq!((denied.status, denied.header("Content-Type")), (429, Some("application/problem+json")));
            let expected = serde_json::json!({
                "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "title": "Request quota exceeded",
                "status": 429,
                "detail": "Too Many Requests",
                "hint": "Retry after the seconds that Retry-After names; a token is there then.",
                "violated-policies": ["protected-action"],
            });
            assert_eq!(denied.json(), expected);
        }
    });
}

#[test]
fn a_request_costs_a_token_whatever_its_body_turns_out_to_be() {
    let variables = [("RATE_LIMIT", "100"), ("REFILL_RATE", "0.001"), ("MAX_BODY_BYTES", "1000")];
    on_each_kind_of_limiter(&variables, |server| {
        let long = "1".repeat(2_000);
        let chunked = format!("7d0\r\n{long}\r\n0\r\n\r\n");
        let cases: &[(Headers<'_>, &str, u16)] = &[
            (&[], "1", 200),
            (&[], "", 422),
            (&[], "{", 422),
            (&[], "NaN", 422),
            (&[], r#""\ud800""#, 400),
            (&[("Content-Type", "text/plain")], "1", 415),
            (&[], &long, 413),
            (&[("Content-Length", "4611686018427387904")], "", 413),
            (&[("Transfer-Encoding", "chunked")], &chunked, 413),
            (&[("Content-Type", "text/plain")], &long, 415),
        ];
        let mut left = 100;
        for &(headers, body, status) in cases {
            let response = server.request("POST", ACTION, headers, body.as_bytes());
            left -= 1;
            let what = format!("{headers:?} {}", &body[..body.len().min(20)]);
            assert_eq!((response.status, told(&response).remaining), (status, left), "{what}");
        }
    });
}

#[test]
fn what_is_no_protected_action_costs_nothing_and_says_nothing_of_limits() {
    let server = Tollgate::start(&[("RATE_LIMIT", "2"), ("REFILL_RATE", "0.001")]);
    assert_eq!(ask(&server), (200, 1));
    let product = r#"{"name":"a","description":"b","price":1}"#;
    for (method, target, body) in [
        ("GET", "/api/status", ""),
        ("GET", "/api/ready", ""),
        ("GET", "/metrics", ""),
        ("GET", "/nowhere", ""),
        ("POST", "/api/products", product),
        ("GET", "/api/products", ""),
        ("GET", ACTION, ""),
        ("HEAD", ACTION, ""),
        ("PUT", ACTION, "1"),
        ("OPTIONS", ACTION, ""),
        ("BREW", ACTION, ""),
        ("POST", "/api/protected-action/1", "1"),
    ] {
        let response = server.request(method, target, &[], body.as_bytes());
        for field in FIELDS {
            assert_eq!(response.header(field), None, "{method} {target}");
        }
    }
    assert_eq!(ask(&server), (200, 0));
}

#[test]
fn requests_in_one_go_on_one_connection_are_counted_one_by_one() {
    on_each_kind_of_limiter(&[("RATE_LIMIT", "5"), ("REFILL_RATE", "0.001")], |server| {
        let mut connection = server.connect();
        let request = format!("POST {ACTION} HTTP/1.1\r\nHost: tollgate.test\r\nContent-Length: 1\r\n\r\n1");
        connection.send(request.repeat(7).as_bytes());
        let mut seen: Vec<(u16, u64)> = Vec::new();
        for _ in 0..7 {
            let response = connection.receive("POST").expect("every request has an answer");
            seen.push((response.status, told(&response).remaining));
        }
        // Two workers may share the seven, so which is first is open; how many there are of each is not.
        seen.sort_unstable_by_key(|&(status, left)| (status, u64::MAX - left));
        assert_eq!(seen, [(200, 4), (200, 3), (200, 2), (200, 1), (200, 0), (429, 0), (429, 0)]);
    });
}

#[test]
fn requests_at_the_same_time_are_counted_one_by_one() {
    on_each_kind_of_limiter(&[("RATE_LIMIT", "20"), ("REFILL_RATE", "0.001")], |server| {
        let mut seen: Vec<(u16, u64)> = thread::scope(|scope| {
            let askers: Vec<_> = (0..32).map(|_| scope.spawn(|| ask(server))).collect();
            askers.into_iter().map(|asker| asker.join().expect("every request has an answer")).collect()
        });
        seen.sort_unstable_by_key(|&(status, left)| (status, u64::MAX - left));
        let granted = (0..20).rev().map(|left| (200, left));
        let expected: Vec<(u16, u64)> = granted.chain((0..12).map(|_| (429, 0))).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn who_waits_as_long_as_retry_after_says_is_served() {
    on_each_kind_of_limiter(&[("RATE_LIMIT", "1"), ("REFILL_RATE", "1")], |server| {
        for _ in 0..2 {
            // On a machine that stands still between the two requests the token is back before the second one.
            let denied = eventually(GENEROUS, "a denial", || {
                let response = server.post(ACTION, "1");
                (response.status == 429).then_some(response)
            });
            assert_eq!(told(&denied).retry_after_s, Some(1));
            thread::sleep(Duration::from_secs(1));
            assert_eq!(ask(server).0, 200);
        }
    });
}

#[test]
fn a_bucket_is_full_again_when_reset_said_so() {
    on_each_kind_of_limiter(&[("RATE_LIMIT", "3"), ("REFILL_RATE", "3")], |server| {
        let responses: Vec<Response> = (0..3).map(|_| server.post(ACTION, "1")).collect();
        let granted = responses.iter().rev().find(|response| response.status == 200).expect("a full bucket grants");
        let reset_unix_s = told(granted).reset_unix_s;
        let left_s = Duration::from_secs(reset_unix_s).as_secs_f64() - now();
        thread::sleep(Duration::from_secs_f64(left_s.max(0.0)));
        assert_eq!(ask(server), (200, 2));
    });
}

#[test]
fn denials_take_nothing_and_put_nothing_off() {
    on_each_kind_of_limiter(&[("RATE_LIMIT", "1"), ("REFILL_RATE", "0.001")], |server| {
        assert_eq!(ask(server), (200, 0));
        let resets: Vec<u64> = (0..50).map(|_| told(&server.post(ACTION, "1")).reset_unix_s).collect();
        assert!(resets.iter().all(|reset| *reset == resets[0]), "the promise stays the same: {resets:?}");
    });
    // Whoever never stops asking is served all the same.
    on_each_kind_of_limiter(&[("RATE_LIMIT", "1"), ("REFILL_RATE", "2")], |server| {
        for _ in 0..2 {
            eventually(GENEROUS, "a token", || server.post(ACTION, "1").status == 200);
        }
    });
}

#[test]
fn a_denied_upload_is_not_asked_for() {
    on_each_kind_of_limiter(&[("RATE_LIMIT", "1"), ("REFILL_RATE", "0.001")], |server| {
        let head = format!(
            "POST {ACTION} HTTP/1.1\r\nHost: tollgate.test\r\nContent-Length: 300000\r\nExpect: 100-continue\r\n\r\n"
        );
        let mut granted = server.connect();
        granted.send(head.as_bytes());
        assert_eq!(granted.receive_one("POST").expect("an interim answer").status, 100);
        granted.send(&b"1".repeat(4_000));
        granted.send(&b" ".repeat(296_000));
        assert_eq!(granted.receive("POST").expect("an answer").status, 200);

        let mut denied = server.connect();
        denied.send(head.as_bytes());
        assert_eq!(denied.receive_one("POST").expect("an answer").status, 429);
        assert!(denied.is_closed(), "nobody knows whether the body comes after all");
    });
}

#[test]
fn a_body_that_turns_out_bad_while_it_comes_is_told_of_the_limit_as_well() {
    let variables = [("RATE_LIMIT", "5"), ("REFILL_RATE", "0.001"), ("MAX_BODY_BYTES", "1000")];
    on_each_kind_of_limiter(&variables, |server| {
        let too_long = format!("7d0\r\n{}\r\n0\r\n\r\n", "1".repeat(2_000));
        for (left, rest, status) in [(4, too_long.as_str(), 413), (3, "x\r\n", 400)] {
            let mut connection = server.connect();
            let head = format!("POST {ACTION} HTTP/1.1\r\nHost: tollgate.test\r\nX-Request-Id: mine\r\n");
            connection.send(format!("{head}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n").as_bytes());
            // Now the token is taken, and the body not yet judged.
            assert_eq!(connection.receive_one("POST").expect("an interim answer").status, 100);
            connection.send(rest.as_bytes());
            let response = connection.receive("POST").expect("an answer");
            assert_eq!(response.status, status, "{response:?}");
            assert_eq!(told(&response).remaining, left, "{status}");
            assert_eq!(response.header("X-Request-Id"), Some("mine"), "{status}");
        }
    });
}
