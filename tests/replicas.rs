//! Three processes on one Redis are one limiter: together they give out every token that exists, and not one more.

#![allow(clippy::cast_precision_loss, clippy::unwrap_used, reason = "counts are small; a test that panics says where")]

use std::thread;
use std::time::Instant;

mod support;
use support::{RedisServer, Tollgate};

const CAPACITY: f64 = 2_000.0;
const REFILL_PER_SECOND: f64 = 1.0;
const CONNECTIONS_EACH: usize = 3;
/// So many that all connections together ask for more tokens than there are.
const REQUESTS_EACH: usize = 300;
/// Taken before the hammering: it would need half a minute of nobody asking for tokens to be lost to a full bucket.
const HEAD_START: usize = 30;

fn replica(url: &str) -> Tollgate {
    Tollgate::start(&[
        ("REDIS_URL", url),
        ("RATE_LIMIT", &CAPACITY.to_string()),
        ("REFILL_RATE", &REFILL_PER_SECOND.to_string()),
        // A machine that is busy elsewhere is no outage.
        ("REDIS_TIMEOUT_MS", "20000"),
        ("REDIS_POOL_WAIT_MS", "20000"),
        ("REDIS_CONNECT_TIMEOUT_MS", "20000"),
    ])
}

/// Asks again and again on a connection of its own; gives back how often it was let through.
fn hammer(replica: &Tollgate, requests: usize) -> usize {
    let mut connection = replica.connect();
    let answers = (0..requests).map(|_| connection.request("POST", "/api/protected-action", &[], b"{}"));
    let admitted = |status| match status {
        200 => true,
        429 => false,
        other => panic!("answered {other}"),
    };
    answers.filter(|answer| admitted(answer.status)).count()
}

/// The bucket as it stands in Redis: tokens, and the second since the epoch of which that is true.
fn bucket(redis: &RedisServer) -> (f64, f64) {
    let field = |name| redis.cli(&["HGET", "tollgate:{protected-action:127.0.0.1}", name]).parse::<f64>().unwrap();
    (field("tokens"), field("last_refill") / 1e6)
}

#[test]
fn three_processes_give_out_every_token_there_is_and_no_other() {
    let redis = RedisServer::start();
    let replicas = [(); 3].map(|()| replica(&redis.url()));
    let started = Instant::now();
    let head_start = hammer(&replicas[0], HEAD_START);
    let (tokens_before, before_s) = bucket(&redis);
    assert_eq!(head_start, HEAD_START);

    let hammered: usize = thread::scope(|scope| {
        let connections = replicas.iter().flat_map(|replica| [replica; CONNECTIONS_EACH]);
        let threads: Vec<_> = connections.map(|replica| scope.spawn(|| hammer(replica, REQUESTS_EACH))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let elapsed_s = started.elapsed().as_secs_f64();
    let (tokens_after, after_s) = bucket(&redis);

    let admitted = (head_start + hammered) as f64;
    let bound = CAPACITY + REFILL_PER_SECOND * elapsed_s;
    assert!(admitted <= bound + 1e-6, "{admitted} admitted in {elapsed_s} s, of {bound}");
    assert!(admitted >= CAPACITY, "{admitted} admitted, of {CAPACITY} that were there from the start");

    let came = tokens_before + REFILL_PER_SECOND * (after_s - before_s);
    let went = hammered as f64 + tokens_after;
    assert!((came - went).abs() < 1e-3, "{came} tokens came, {went} were given out or are left");
}
