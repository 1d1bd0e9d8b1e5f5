//! What is Redis's alone: the keys, their form and their end, the script's loading, and a cluster.

use std::net::Ipv6Addr;

use tollgate::client::ClientId;
use tollgate::limiter::Policy;

use super::support::{GENEROUS, RedisServer, client, eventually, policy};
use super::{InRedis, NEVER, Store as _};

fn key(client: ClientId) -> String {
    format!("tollgate:{{test:{client}}}")
}

#[test]
fn a_bucket_is_a_hash_named_by_policy_and_client_with_two_fields() {
    let store = InRedis::open(policy(5, 0.1));
    let network = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 0);
    let clients = [client(1), ClientId::V6 { network, prefix: 64 }, ClientId::Local];
    let taken = store.take(&clients.map(|client| (client, 2)));
    let mut keys: Vec<String> = store.server.cli(&["KEYS", "*"]).lines().map(str::to_owned).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["tollgate:{test:10.0.0.1}", "tollgate:{test:2001:db8:1:2::/64}", "tollgate:{test:local}"]);
    for key in keys {
        let hash = store.server.cli(&["HGETALL", &key]);
        assert_eq!(hash.lines().collect::<Vec<_>>(), ["tokens", "3", "last_refill", &taken[0].now_us.to_string()]);
    }
}

#[test]
fn numbers_are_stored_to_their_last_digit() {
    let third = Policy::new("test", 10, 1e5 / 3.0, 1).unwrap();
    let store = InRedis::open(third);
    for _ in 0..200 {
        let taken = store.take_one(client(1), 1);
        let stored = |field| store.server.cli(&["HGET", &key(client(1)), field]);
        if taken.granted == 1 {
            assert_eq!(stored("last_refill"), taken.now_us.to_string());
            assert_eq!(stored("tokens").parse::<f64>().unwrap().to_bits(), taken.tokens.to_bits());
        }
    }
}

impl InRedis {
    /// When the key of a client's bucket ends, in microseconds since the Unix epoch.
    fn end_us(&self, client: ClientId) -> u64 {
        self.server.cli(&["PEXPIRETIME", &key(client)]).parse::<u64>().unwrap() * 1_000
    }
}

#[test]
fn a_key_lives_until_its_bucket_is_full_and_one_or_two_seconds_longer() {
    let cases =
        [(5, 0.1, 1, 1), (5, 0.1, 1, 5), (10, 1.0 / 3.0, 3, 2), (1_000_000, 1e6, 1, 7), (1_000_000_000, 1e-3, 1, 1)];
    for (capacity, rate, cost, n) in cases {
        let policy = Policy::new("test", capacity, rate, cost).unwrap();
        let store = InRedis::open(policy);
        // The key's end is set anew only where it has to be, so a later ask is as good a test as the first.
        for _ in 0..5 {
            let taken = store.take_one(client(1), n);
            if taken.granted > 0 {
                let full_at_us = taken.now_us + policy.time_to_us(taken.tokens, f64::from(capacity));
                let end_us = store.end_us(client(1));
                // A rounding may tip a bucket that is full at a whole second into the next.
                let allowed = full_at_us + 999_999..=full_at_us + 2_000_001;
                assert!(allowed.contains(&end_us), "{policy:?}: full at {full_at_us}, gone at {end_us}");
            }
        }
    }
}

#[test]
fn a_key_whose_end_stays_what_it_is_is_not_told_so_with_every_request() {
    let store = InRedis::open(policy(1_000_000, 1_000_000.0));
    let first = store.take_one(client(1), 1);
    let last = (0..200).map(|_| store.take_one(client(1), 1)).last().unwrap();
    let calls = store.server.cli(&["INFO", "commandstats"]);
    let calls = calls.lines().find_map(|line| line.strip_prefix("cmdstat_expireat:calls=")).unwrap();
    let calls: u64 = calls.split(',').next().unwrap().parse().unwrap();
    assert!((1..=2 + (last.now_us - first.now_us) / 1_000_000).contains(&calls), "{calls} of 201");
    assert!(store.end_us(client(1)) > last.now_us + 999_999);
}

#[test]
fn no_key_lives_longer_than_31_years_however_slow_its_refill() {
    let store = InRedis::open(policy(1_000_000_000, NEVER));
    let taken = store.take_one(client(1), 1_000_000_000);
    let life_us = store.end_us(client(1)) - taken.now_us;
    assert!((999_999_998_000_000..=1_000_000_002_000_000).contains(&life_us), "{life_us}");
}

#[test]
fn the_life_of_a_key_includes_the_time_a_clock_that_stepped_back_must_make_up() {
    let store = InRedis::open(policy(5, 1.0));
    let ahead_us = store.take_one(client(1), 1).now_us + 3_600_000_000;
    store.server.cli(&["HSET", &key(client(1)), "last_refill", &ahead_us.to_string()]);
    let taken = store.take_one(client(1), 1);
    assert_eq!((taken.granted, taken.tokens), (1, 3.0), "neither drained nor refilled");
    let end_us = store.end_us(client(1));
    assert!((ahead_us + 2_999_999..=ahead_us + 4_000_001).contains(&end_us), "{end_us}");
}

#[test]
fn a_denial_writes_nothing_not_even_a_longer_life() {
    let store = InRedis::open(policy(3, 0.1));
    store.take_one(client(1), 3);
    let state = || [["HGETALL", &key(client(1))], ["PEXPIRETIME", &key(client(1))]].map(|ask| store.server.cli(&ask));
    let before = state();
    assert_eq!(store.take_one(client(1), 1).granted, 0);
    assert_eq!(state(), before);
    // Nor does it make a key.
    store.server.cli(&["HSET", &key(client(2)), "tokens", "0.5", "last_refill", "9999999999999999"]);
    assert_eq!(store.take_one(client(2), 1).granted, 0);
    assert_eq!(store.server.cli(&["PTTL", &key(client(2))]), "-1");
}

#[test]
fn the_key_of_a_bucket_that_is_full_again_is_gone_and_nothing_is_lost() {
    let store = InRedis::open(policy(5, 1_000.0));
    store.take_one(client(1), 5);
    eventually(GENEROUS, "the key is gone", || store.server.cli(&["EXISTS", &key(client(1))]) == "0");
    assert_eq!(store.take_one(client(1), 5).granted, 5);
}

#[test]
fn a_script_that_redis_does_not_have_is_loaded_once() {
    let store = InRedis::open(policy(5, NEVER));
    assert_eq!(store.metric("redis_script_reloads_total"), 0.0);
    let remaining: Vec<f64> = (0..2).map(|_| store.take_one(client(1), 1).tokens.floor()).collect();
    assert_eq!(store.metric("redis_script_reloads_total"), 1.0, "a Redis that is new has no script");
    store.server.cli(&["SCRIPT", "FLUSH"]);
    assert_eq!(store.take_one(client(1), 1).tokens.floor(), 2.0);
    assert_eq!(remaining, [4.0, 3.0], "the ask that was repeated was counted once");
    assert_eq!(store.metric("redis_script_reloads_total"), 2.0);
    assert_eq!(store.metric(r#"redis_command_duration_seconds_count{command="script_load"}"#), 2.0);
    assert_eq!(
        store.metric(r#"redis_command_duration_seconds_count{command="evalsha"}"#),
        5.0,
        "3 asks, 2 of them twice"
    );
}

#[test]
fn asking_for_nobody_leaves_no_trace() {
    let store = InRedis::open(policy(5, 0.1));
    store.take(&[]);
    assert_eq!(store.server.cli(&["DBSIZE"]), "0");
    assert_eq!(store.metric("redis_client_up"), 1.0);
}

#[test]
fn the_password_and_the_database_of_the_url_are_used() {
    let mut store = InRedis::on(RedisServer::with_args(&["--requirepass", "s3cret"]), policy(5, NEVER));
    let url = format!("{}3", store.server.url());
    (store.store, store.metrics) = super::store_at(&url, &policy(5, NEVER));
    store.take_one(client(1), 1);
    let mut resp = store.server.connect();
    assert_eq!(resp.call(&["DBSIZE"]), Ok("0".to_owned()));
    resp.call(&["SELECT", "3"]).unwrap();
    assert_eq!(resp.call(&["DBSIZE"]), Ok("1".to_owned()));
}

#[test]
fn a_cluster_takes_a_batch_as_one_call_for_each_key_in_one_round_trip() {
    let store = InRedis::on(RedisServer::cluster(), policy(100, NEVER));
    let asks: Vec<(ClientId, u32)> = (1..=100).map(|n| (client(n), n)).collect();
    let left = |n: u32| f64::from(100 - n);
    for (n, taken) in (1..=100).zip(store.take(&asks)) {
        assert_eq!((taken.granted, taken.tokens.floor()), (n, left(n)));
    }
    let round_trips = || store.metric(r#"redis_command_duration_seconds_count{command="evalsha"}"#);

    let before = round_trips();
    let again: Vec<(ClientId, u32)> = (1..=50).map(|n| (client(n), n)).collect();
    for (n, taken) in (1..=50).zip(store.take(&again)) {
        assert_eq!((taken.granted, taken.tokens.floor()), (n, left(2 * n)));
    }
    assert_eq!(round_trips() - before, 1.0, "it has been learned that keys are called for one by one");

    store.server.cli(&["SCRIPT", "FLUSH"]);
    let reloads = store.metric("redis_script_reloads_total");
    let once_more: Vec<(ClientId, u32)> = (1..=30).map(|n| (client(n), 1)).collect();
    for (n, taken) in (1..=30).zip(store.take(&once_more)) {
        assert_eq!((taken.granted, taken.tokens.floor()), (1, left(2 * n + 1)), "each ask is counted once");
    }
    assert_eq!(store.metric("redis_script_reloads_total") - reloads, 1.0);
    assert_eq!(store.take_one(client(99), 1).granted, 1, "a lone ask, and nobody's, go through as ever");
    assert_eq!(store.take(&[]), []);
}
