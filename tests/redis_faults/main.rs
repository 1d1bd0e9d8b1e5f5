//! What happens when Redis fails, in every way it does: the configuration's word holds at once, every decision is counted as
//! what it is, and all heals without a restart.
//!
//! Nothing here is timed: what a fault may cost is read off the counters, and healing is waited for.

#![allow(clippy::float_cmp, clippy::unwrap_used, reason = "counters are whole; a test that panics says where")]

use std::fs;
use std::thread;

use tollgate::limiter::{DecidedBy, Decision, Health, OnRedisFailure, Outcome};

mod over_http;
#[path = "../support/mod.rs"]
mod support;

use support::{GENEROUS, KeptPort, LimiterUnderTest, RedisServer, Setup, client, eventually, policy};

/// Tokens of a client; no test uses them up in Redis.
const CAPACITY: u32 = 100_000;
/// So many that the share of one process is two tokens.
const REPLICAS: u32 = CAPACITY / 2;
/// A token takes a quarter of an hour to come back.
const REFILL: f64 = 1e-3;

fn setup(url: &str, on_redis_failure: OnRedisFailure) -> Setup {
    Setup { on_redis_failure, replicas: REPLICAS, ..Setup::on_redis(policy(CAPACITY, REFILL), url) }
}

/// One limiter of each kind, and one that is never asked anything but its health.
struct Limiters {
    local: LimiterUnderTest,
    allow: LimiterUnderTest,
    deny: LimiterUnderTest,
    watched: LimiterUnderTest,
}

impl Limiters {
    fn at(url: &str) -> Self {
        let of = |on_failure| setup(url, on_failure).build();
        let (local, allow) = (of(OnRedisFailure::Local), of(OnRedisFailure::Allow));
        Self { local, allow, deny: of(OnRedisFailure::Deny), watched: of(OnRedisFailure::Deny) }
    }

    fn all(&self) -> [&LimiterUnderTest; 4] {
        [&self.local, &self.allow, &self.deny, &self.watched]
    }

    /// From the first ask on, each limiter decides as it was told to and says so, and none believes that Redis is up.
    #[track_caller]
    fn decide_without_redis(&self, error_kind: &str) {
        let fresh_clients = 1_000..1_020;
        let expected = [
            (&self.local, DecidedBy::AllowedLocal, Outcome::Allowed),
            (&self.allow, DecidedBy::FailOpen, Outcome::Allowed),
            (&self.deny, DecidedBy::FailClosed, Outcome::Unavailable),
        ];
        for (limiter, by, outcome) in expected {
            let before = limiter.decisions(by.as_str());
            for n in fresh_clients.clone() {
                let decision = one(limiter, n);
                assert_eq!((decision.by, decision.outcome()), (by, outcome));
            }
            assert_eq!(limiter.decisions(by.as_str()) - before, 20.0, "each is counted as {by:?}");
        }
        // What was answered a moment ago is taken as proof, for a moment; after that nobody is told that Redis is up.
        eventually(GENEROUS, "asking for its health alone shows it", || !is_up(&self.watched));
        for limiter in self.all() {
            for _ in 0..5 {
                assert!(!is_up(limiter));
            }
            assert_eq!(limiter.metric(r#"circuit_breaker_state{state="open"}"#), 1.0);
            assert_eq!(limiter.metric("redis_client_up"), 0.0);
            // Connections are made in the background, and so may fail a little later.
            let errors = format!(r#"redis_errors_total{{kind="{error_kind}"}}"#);
            eventually(GENEROUS, &errors, || limiter.metric(&errors) >= 1.0);
        }
        self.say_what_they_can_vouch_for();
    }

    /// What the answers' headers are made of: a share of the limit, no promise at all, or when to come again.
    #[track_caller]
    fn say_what_they_can_vouch_for(&self) {
        let local = [0, 1, 2].map(|_| one(&self.local, 2_000));
        assert_eq!(local.map(|decision| decision.policy.capacity()), [2; 3], "this process's share");
        assert_eq!(local.map(|decision| decision.remaining), [1, 0, 0]);
        assert_eq!(local[2].by, DecidedBy::DeniedLocal);
        let share_of_refill = REFILL / f64::from(REPLICAS);
        assert!(local[2].wait_us > policy(1, share_of_refill).time_to_us(0.0, 0.9), "its own refill: {:?}", local[2]);

        let allowed = one(&self.allow, 2_000);
        assert_eq!((allowed.remaining, allowed.wait_us), (0, 0));

        let refused = one(&self.deny, 2_000);
        assert_eq!(refused.remaining, 0);
        // Until the next probe, which is never further away than the longest pause.
        assert!((1..=2_000_000).contains(&refused.wait_us), "{refused:?}");
    }

    /// Each comes back to Redis by itself, and says so; one of them because of nothing but questions for its health.
    #[track_caller]
    fn heal(&self) {
        for limiter in self.all() {
            let asked_for_health_alone = std::ptr::eq(limiter, &raw const self.watched);
            eventually(GENEROUS, "it is as if nothing had been", || {
                (asked_for_health_alone || one(limiter, 1).by == DecidedBy::Allowed)
                    && is_up(limiter)
                    && limiter.metric(r#"circuit_breaker_state{state="closed"}"#) == 1.0
                    && limiter.metric("redis_client_up") == 1.0
            });
        }
    }
}

fn one(limiter: &LimiterUnderTest, n: u32) -> Decision {
    limiter.decide(&[client(n)])[0]
}

fn is_up(limiter: &LimiterUnderTest) -> bool {
    matches!(limiter.health(), Health::Redis { up: true, .. })
}

/// A whole outage: all is well, something breaks, something mends it.
#[track_caller]
fn outage(error_kind: &str, break_it: impl FnOnce(&mut RedisServer), mend: impl FnOnce(&mut RedisServer)) {
    let mut server = RedisServer::start();
    let limiters = Limiters::at(&server.url());
    limiters.heal();
    break_it(&mut server);
    limiters.decide_without_redis(error_kind);
    mend(&mut server);
    limiters.heal();
}

#[test]
fn redis_is_absent_at_first() {
    let kept = KeptPort::any();
    let limiters = Limiters::at(&format!("redis://127.0.0.1:{}", kept.number()));
    limiters.decide_without_redis("io");
    let _server = RedisServer::start_at(kept);
    limiters.heal();
}

#[test]
fn redis_is_killed_and_started_again() {
    outage("io", RedisServer::kill, RedisServer::restart);
}

#[test]
fn redis_hangs_and_goes_on() {
    outage("timeout", |server| server.stop(), |server| server.cont());
}

#[test]
fn redis_asks_for_a_password_that_nobody_told() {
    let lock = |server: &mut RedisServer| {
        let mut resp = server.connect();
        resp.call(&["CONFIG", "SET", "requirepass", "s3cret"]).unwrap();
        // Who is connected already would stay so.
        resp.call(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
    };
    let unlock = |server: &mut RedisServer| {
        let mut resp = server.connect();
        resp.call(&["AUTH", "s3cret"]).unwrap();
        resp.call(&["CONFIG", "SET", "requirepass", ""]).unwrap();
    };
    outage("other", lock, unlock);
}

#[test]
fn the_password_is_wrong_until_it_is_put_right() {
    let server = RedisServer::with_args(&["--requirepass", "right"]);
    let limiters = Limiters::at(&server.url().replace(":right@", ":wrong@"));
    limiters.decide_without_redis("other");
    server.cli(&["CONFIG", "SET", "requirepass", "wrong"]);
    limiters.heal();
}

#[test]
fn redis_has_become_a_read_only_replica() {
    let primary = KeptPort::any();
    let port = primary.number().to_string();
    let demote = |server: &mut RedisServer| drop(server.cli(&["REPLICAOF", "127.0.0.1", &port]));
    outage("script", demote, |server| drop(server.cli(&["REPLICAOF", "NO", "ONE"])));
}

#[test]
fn redis_cannot_save_and_takes_no_writes() {
    let blocked = |server: &RedisServer| server.dir().join("dump.rdb");
    let save = |server: &RedisServer, status: &str| {
        server.cli(&["CONFIG", "SET", "save", "3600 1"]);
        server.cli(&["BGSAVE"]);
        let line = format!("rdb_last_bgsave_status:{status}");
        eventually(GENEROUS, &line, || {
            let info = server.cli(&["INFO", "persistence"]);
            info.contains(&line) && info.contains("rdb_bgsave_in_progress:0")
        });
    };
    let break_it = |server: &mut RedisServer| {
        // No file can take the place of a directory that is not empty.
        fs::create_dir_all(blocked(server).join("in the way")).unwrap();
        save(server, "err");
    };
    let mend = |server: &mut RedisServer| {
        fs::remove_dir_all(blocked(server)).unwrap();
        save(server, "ok");
    };
    outage("script", break_it, mend);
}

#[test]
fn redis_is_out_of_memory() {
    let limit = |server: &RedisServer, bytes: &str| drop(server.cli(&["CONFIG", "SET", "maxmemory", bytes]));
    outage("script", |server| limit(server, "1"), |server| limit(server, "0"));
}

#[test]
fn a_flushed_script_is_no_outage() {
    let server = RedisServer::start();
    let limiter = setup(&server.url(), OnRedisFailure::Deny).patient().build();
    for n in 1..=10 {
        assert_eq!(one(&limiter, n).by, DecidedBy::Allowed);
        assert_eq!(limiter.metric("redis_script_reloads_total"), f64::from(n), "a new Redis has no script, either");
        server.cli(&["SCRIPT", "FLUSH"]);
    }
}

/// How often somebody waited in vain: for an answer, or for a connection.
fn waits_in_vain(limiter: &LimiterUnderTest) -> f64 {
    limiter.metric(r#"redis_command_duration_seconds_count{command="evalsha"}"#)
        + limiter.metric("redis_pool_timeouts_total")
}

#[test]
fn a_redis_that_hangs_costs_each_worker_one_time_out_and_not_one_a_request() {
    for workers in [1_u8, 2, 6] {
        let server = RedisServer::start();
        let limiter = setup(&server.url(), OnRedisFailure::Local).workers(workers).build();
        eventually(GENEROUS, "Redis decides", || one(&limiter, 1).by == DecidedBy::Allowed);

        let before = waits_in_vain(&limiter);
        server.stop();
        thread::scope(|scope| {
            for worker in 1..=u32::from(workers) {
                let limiter = &limiter;
                scope.spawn(move || {
                    for n in 0..200 {
                        assert_eq!(one(limiter, 1_000 * worker + n).by, DecidedBy::AllowedLocal);
                    }
                });
            }
        });
        let waits = waits_in_vain(&limiter) - before;
        let probes = limiter.metric(r#"circuit_breaker_transitions_total{to="half_open"}"#);
        let most = f64::from(workers) + probes;
        assert!((1.0..=most).contains(&waits), "{waits} waits of {workers} workers, {probes} of them probes");
        server.cont();
    }
}

/// The ids that Redis gave to the connections it has, less the one that asks.
fn connections(server: &RedisServer) -> Vec<String> {
    let mut resp = server.connect();
    let own = resp.call(&["CLIENT", "ID"]).unwrap();
    let list = resp.call(&["CLIENT", "LIST", "TYPE", "normal"]).unwrap();
    let ids = list.lines().filter_map(|line| line.strip_prefix("id=")?.split(' ').next());
    ids.filter(|id| *id != own).map(str::to_owned).collect()
}

#[test]
fn a_connection_that_timed_out_is_closed_and_another_takes_its_place() {
    let server = RedisServer::start();
    let limiter = setup(&server.url(), OnRedisFailure::Local).workers(1).build();
    for fresh in 2..5 {
        eventually(GENEROUS, "Redis decides", || one(&limiter, 1).by == DecidedBy::Allowed);
        let before = connections(&server);
        assert_eq!(before.len(), 1, "one worker, one connection");
        server.stop();
        assert_eq!(one(&limiter, fresh).by, DecidedBy::AllowedLocal);
        server.cont();
        eventually(GENEROUS, "Redis decides again", || one(&limiter, 1).by == DecidedBy::Allowed);
        eventually(GENEROUS, "another connection", || !connections(&server).contains(&before[0]));
    }
}

/// Every client has a level of its own, thousands of tokens from any other's: an answer that was meant for somebody else
/// would show.
#[test]
fn a_late_answer_is_never_taken_for_the_answer_to_another_question() {
    const CLIENTS: u32 = 40;
    const APART: u32 = CAPACITY / CLIENTS;
    let server = RedisServer::start();
    let limiter = setup(&server.url(), OnRedisFailure::Allow).workers(4).build();
    let now_s = server.cli(&["TIME"]).lines().next().unwrap().to_owned();
    for n in 0..CLIENTS {
        let (key, level) = (format!("tollgate:{{test:{}}}", client(n)), ((n + 1) * APART).to_string());
        server.cli(&["HSET", &key, "tokens", &level, "last_refill", &format!("{now_s}000000")]);
    }
    let ask_all = || {
        thread::scope(|scope| {
            for worker in 0..4 {
                let limiter = &limiter;
                scope.spawn(move || {
                    for n in (worker..CLIENTS).step_by(4) {
                        let decision = one(limiter, n);
                        let own = n * APART..(n + 1) * APART;
                        if decision.by == DecidedBy::Allowed {
                            assert!(own.contains(&decision.remaining), "client {n}, of {own:?}: {decision:?}");
                        }
                    }
                });
            }
        });
    };
    for _ in 0..5 {
        ask_all();
        server.stop();
        ask_all();
        server.cont();
        eventually(GENEROUS, "Redis decides again", || one(&limiter, 0).by == DecidedBy::Allowed);
        ask_all();
    }
}
