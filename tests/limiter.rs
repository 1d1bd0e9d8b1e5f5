//! The limiter in front of a Redis that is well: equal asks share a call, denials are remembered, health costs next to
//! nothing.

#![allow(clippy::float_cmp, clippy::unwrap_used, reason = "counters are whole; a test that panics says where")]

use std::thread;
use std::time::Duration;

use tollgate::breaker::BreakerState;
use tollgate::limiter::{DecidedBy, Health, OnRedisFailure};

mod support;
use support::{GENEROUS, LimiterUnderTest, RedisServer, Setup, client, eventually, policy};

/// A limiter whose time-outs a busy machine does not reach.
fn limiter(server: &RedisServer, capacity: u32, refill_per_second: f64) -> LimiterUnderTest {
    let limiter = Setup::on_redis(policy(capacity, refill_per_second), &server.url()).patient().build();
    // The first call of all finds that Redis does not have the script.
    assert_eq!(
        limiter.health(),
        Health::Redis { up: true, breaker: BreakerState::Closed, on_failure: OnRedisFailure::Local }
    );
    limiter
}

fn calls(limiter: &LimiterUnderTest) -> f64 {
    limiter.metric(r#"redis_command_duration_seconds_count{command="evalsha"}"#)
}

#[test]
fn a_batch_is_one_call_and_every_ask_in_it_has_a_decision_in_its_place() {
    use DecidedBy::{Allowed, Denied};
    let server = RedisServer::start();
    let limiter = limiter(&server, 3, 1e-6);
    let before = calls(&limiter);
    let asks = [7, 1, 7, 7, 2, 7, 1];
    let decisions = limiter.decide(&asks.map(client));
    assert_eq!(calls(&limiter) - before, 1.0);
    let got: Vec<_> = decisions.iter().map(|decision| (decision.by, decision.remaining)).collect();
    assert_eq!(got, [(Allowed, 2), (Allowed, 2), (Allowed, 1), (Allowed, 0), (Allowed, 2), (Denied, 0), (Allowed, 1)]);
    assert_eq!([limiter.decisions("allowed"), limiter.decisions("denied")], [6.0, 1.0]);
    assert_eq!(limiter.metric("rate_limit_check_duration_seconds_count"), 1.0, "one check, however large");
}

#[test]
fn a_flood_that_is_denied_costs_redis_nothing() {
    let server = RedisServer::start();
    let limiter = limiter(&server, 5, 1e-6);
    let told = limiter.decide(&[client(1); 6])[5];
    assert_eq!(told.by, DecidedBy::Denied);
    let before = calls(&limiter);
    let mut wait_us = told.wait_us;
    for _ in 0..100 {
        for decision in limiter.decide(&[client(1); 10]) {
            assert_eq!((decision.by, decision.remaining), (DecidedBy::DeniedRemembered, 0));
            assert_eq!(decision.reset_unix_s, told.reset_unix_s, "the promise stays what it was");
            assert!(decision.wait_us <= wait_us, "and comes nearer");
            wait_us = decision.wait_us;
        }
    }
    assert_eq!(calls(&limiter), before);
    assert_eq!([limiter.decisions("denied"), limiter.decisions("denied_remembered")], [1.0, 1_000.0]);

    let mixed = limiter.decide(&[client(1), client(2)]);
    assert_eq!([mixed[0].by, mixed[1].by], [DecidedBy::DeniedRemembered, DecidedBy::Allowed]);
    limiter.refresh_gauges();
    assert_eq!(limiter.metric("rate_limit_remembered_denials"), 1.0);
}

#[test]
fn a_remembered_denial_ends_when_it_said_it_would() {
    let server = RedisServer::start();
    let limiter = limiter(&server, 1, 20.0);
    for _ in 0..5 {
        let told = limiter.decide(&[client(1); 2])[1];
        assert_eq!(told.by, DecidedBy::Denied);
        // Counted from when the answer came, which is after Redis counted from.
        thread::sleep(Duration::from_micros(told.wait_us));
        assert_eq!(limiter.decide(&[client(1)])[0].by, DecidedBy::Allowed);
    }
}

#[test]
fn a_denial_by_one_process_binds_another_only_through_redis() {
    let server = RedisServer::start();
    let (one, other) = (limiter(&server, 1, 1e-6), limiter(&server, 1, 1e-6));
    assert_eq!(one.decide(&[client(1)])[0].by, DecidedBy::Allowed);
    assert_eq!(other.decide(&[client(1)])[0].by, DecidedBy::Denied, "the bucket is shared");
    assert_eq!(one.decide(&[client(1)])[0].by, DecidedBy::Denied, "what is remembered is not");
    assert_eq!(one.decide(&[client(1)])[0].by, DecidedBy::DeniedRemembered);
}

#[test]
fn questions_for_health_are_no_load_on_a_redis_that_has_just_answered() {
    let server = RedisServer::start();
    let limiter = limiter(&server, 5, 0.1);
    let before = calls(&limiter);
    for _ in 0..1_000 {
        assert!(matches!(limiter.health(), Health::Redis { up: true, .. }));
    }
    // An answer counts for a second; a machine may take that long for a thousand questions, or a few times that.
    assert!(calls(&limiter) - before < 100.0);
    assert_eq!(server.cli(&["DBSIZE"]), "0");
}

#[test]
fn a_limiter_without_redis_has_none_to_be_healthy_with() {
    let limiter = Setup::embedded(policy(5, 0.1)).build();
    assert_eq!(limiter.health(), Health::Embedded);
    limiter.decide(&[client(1), client(2), client(2)]);
    limiter.refresh_gauges();
    assert_eq!(limiter.metric("rate_limit_tracked_buckets"), 2.0);
}

#[test]
fn connections_that_died_in_the_pool_cost_no_request_its_answer() {
    let server = RedisServer::start();
    let limiter = Setup::on_redis(policy(5, 1e-6), &server.url()).patient().workers(4).build();
    for n in 0..10 {
        eventually(GENEROUS, "the pool is full", || {
            limiter.refresh_gauges();
            limiter.metric(r#"redis_pool_connections{state="idle"}"#) == 4.0
        });
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert_eq!(limiter.decide(&[client(n)])[0].by, DecidedBy::Allowed);
    }
    assert_eq!(limiter.metric(r#"redis_errors_total{kind="io"}"#), 0.0);
    assert_eq!(limiter.metric(r#"circuit_breaker_transitions_total{to="open"}"#), 0.0);
}
