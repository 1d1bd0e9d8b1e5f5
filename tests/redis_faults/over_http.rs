//! The same from outside: what a client and an orchestrator see of the server while Redis is away.

use super::support::{GENEROUS, KeptPort, RedisServer, Response, Tollgate, eventually};

/// A server for two replicas, four tokens a client, which do not come back during a test.
fn tollgate(url: &str, on_redis_failure: &str) -> Tollgate {
    Tollgate::start(&[
        ("REDIS_URL", url),
        ("ON_REDIS_FAILURE", on_redis_failure),
        ("REPLICAS", "2"),
        ("RATE_LIMIT", "4"),
        ("REFILL_RATE", "0.001"),
        ("TRUSTED_PROXIES", "127.0.0.1/32"),
    ])
}

/// The protected action, by the client at this address.
#[track_caller]
fn act(tollgate: &Tollgate, client: &str) -> Response {
    tollgate.request("POST", "/api/protected-action", &[("X-Forwarded-For", client)], b"{}")
}

fn decisions(tollgate: &Tollgate, decision: &str) -> f64 {
    tollgate.metric(&format!(r#"rate_limit_decisions_total{{decision="{decision}",policy="protected-action"}}"#))
}

/// Waits until Redis decides: a client never seen before has all but one of the whole limit's tokens left.
#[track_caller]
fn redis_decides(tollgate: &Tollgate, network: &str) {
    let mut hosts = 1..255;
    eventually(GENEROUS, "Redis decides", || {
        let answer =
            act(tollgate, &format!("{network}.{}", hosts.next().expect("it heals before the addresses are used up")));
        answer.status == 200 && answer.header("X-RateLimit-Remaining") == Some("3")
    });
    eventually(GENEROUS, "it is ready", || {
        let ready = tollgate.get("/api/ready");
        ready.status == 200 && ready.json()["status"] == "ready"
    });
}

/// Runs `meanwhile` on a server whose Redis was there, is killed, and comes back.
#[track_caller]
fn while_redis_is_away(on_redis_failure: &str, meanwhile: impl FnOnce(&Tollgate)) {
    let mut redis = RedisServer::start();
    let tollgate = tollgate(&redis.url(), on_redis_failure);
    redis_decides(&tollgate, "198.51.100");
    redis.kill();
    meanwhile(&tollgate);
    redis.restart();
    redis_decides(&tollgate, "203.0.113");
}

#[test]
fn local_limits_by_this_process_alone_at_its_share() {
    while_redis_is_away("local", |tollgate| {
        let answers = [1, 2, 3].map(|_| act(tollgate, "192.0.2.1"));
        assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 429]);
        assert_eq!(answers.each_ref().map(|answer| answer.number("X-RateLimit-Limit")), [2; 3]);
        assert_eq!(answers.each_ref().map(|answer| answer.number("X-RateLimit-Remaining")), [1, 0, 0]);
        for answer in &answers {
            assert_eq!(answer.header("RateLimit-Policy"), Some(r#""protected-action";q=2;w=4000"#));
        }
        // Half of a token in a thousand seconds.
        let wait_s = answers[2].number("Retry-After");
        assert!((1_900..=2_000).contains(&wait_s), "{wait_s}");
        assert_eq!([decisions(tollgate, "allowed_local"), decisions(tollgate, "denied_local")], [2.0, 1.0]);
        let ready = tollgate.get("/api/ready");
        assert_eq!((ready.status, &ready.json()["limiter"]), (200, &"local".into()), "it can still judge");
    });
}

#[test]
fn allow_lets_everybody_through_and_promises_nothing() {
    while_redis_is_away("allow", |tollgate| {
        for _ in 0..10 {
            let answer = act(tollgate, "192.0.2.1");
            assert_eq!((answer.status, answer.number("X-RateLimit-Remaining")), (200, 0));
            assert_eq!((answer.number("X-RateLimit-Limit"), answer.header("Retry-After")), (4, None));
        }
        assert_eq!(decisions(tollgate, "fail_open"), 10.0);
        let ready = tollgate.get("/api/ready");
        assert_eq!((ready.status, &ready.json()["limiter"]), (200, &"allow".into()));
    });
}

#[test]
fn deny_refuses_with_503_and_says_when_to_come_again() {
    while_redis_is_away("deny", |tollgate| {
        for _ in 0..10 {
            let answer = act(tollgate, "192.0.2.1");
            assert_eq!(answer.status, 503);
            assert!((1..=2).contains(&answer.number("Retry-After")), "{answer:?}");
            assert_eq!(answer.header("Cache-Control"), Some("no-store"));
            assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
            let problem = answer.json();
            assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");
            assert_eq!(problem["status"], 503);
        }
        assert_eq!(decisions(tollgate, "fail_closed"), 10.0);
        let ready = tollgate.get("/api/ready");
        assert_eq!((ready.status, &ready.json()["redis"]), (503, &"down".into()));
        assert_eq!(tollgate.get("/api/products").status, 200, "what needs no token goes on");
    });
}

#[test]
fn the_server_starts_without_redis_and_finds_it_when_it_comes() {
    let kept = KeptPort::any();
    let tollgate = tollgate(&format!("redis://127.0.0.1:{}", kept.number()), "local");
    let answer = act(&tollgate, "192.0.2.1");
    assert_eq!((answer.status, answer.number("X-RateLimit-Limit")), (200, 2));
    assert_eq!(tollgate.get("/api/ready").json()["status"], "degraded");
    let _redis = RedisServer::start_at(kept);
    redis_decides(&tollgate, "203.0.113");
}

#[test]
fn every_request_is_answered_while_redis_hangs() {
    let redis = RedisServer::start();
    let tollgate = tollgate(&redis.url(), "local");
    redis_decides(&tollgate, "198.51.100");
    redis.stop();
    let mut connection = tollgate.connect();
    for n in 0..250 {
        let client = format!("192.0.2.{n}");
        let answer = connection.request("POST", "/api/protected-action", &[("X-Forwarded-For", &client)], b"{}");
        assert_eq!((answer.status, answer.number("X-RateLimit-Remaining")), (200, 1));
    }
    assert_eq!(decisions(&tollgate, "allowed_local"), 250.0);
    redis.cont();
    redis_decides(&tollgate, "203.0.113");
}

#[test]
fn a_change_that_redis_did_not_confirm_is_not_said_to_have_failed() {
    let redis = RedisServer::start();
    let tollgate = Tollgate::start(&[("REDIS_URL", &redis.url()), ("PRODUCT_STORE", "redis")]);
    let product = r#"{"name":"n","description":"d","price":1}"#;
    let made = tollgate.post("/api/products", product);
    let location = made.header("Location").expect("a new product has a place").to_owned();
    // So that Redis has the script, and is not asked twice.
    assert_eq!(tollgate.request("DELETE", "/api/products/0190a5c4-0000-7000-8000-000000000000", &[], b"").status, 404);
    let delete = || tollgate.request("DELETE", &location, &[], b"");
    let create = || tollgate.post("/api/products", product);
    for change in [&delete as &dyn Fn() -> Response, &create] {
        // What only reads goes on, the question whether a connection lives included.
        redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]);
        let answer = change();
        redis.cli(&["CLIENT", "UNPAUSE"]);
        assert_eq!(answer.status, 504, "{answer:?}");
        assert!(answer.number("Retry-After") >= 1);
        eventually(GENEROUS, "Redis is asked again", || tollgate.get("/api/products").status == 200);
    }
}
