//! The script and `bucket.rs` are one arithmetic: random histories through both, equal bit for bit.
//!
//! The script reads Redis's clock and nothing can set that, so time passes the other way round: before each ask the stored
//! moment is moved into the past, or into the future for a clock that was set back. The answer says which microsecond it was
//! made at, and `bucket.rs` is asked about the same one.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tollgate::client::ClientId;
use tollgate::limiter::Policy;
use tollgate::limiter::bucket::{Bucket, Taken};

use super::store_at;
use super::support::random::{any_policy, config};
use super::support::{RedisServer, Resp, client};

/// The shortest life the script gives a key.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

/// What happens to a client before an ask, and how much it then asks for.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Time that passes, as a multiple of what one request's tokens take to come back; below 0 the clock was set back.
    refills: f64,
    /// Microseconds on top.
    extra_us: i64,
    /// Equal asks at once.
    n: u32,
}

fn any_step() -> impl Strategy<Value = Step> {
    let refills = prop_oneof![
        3 => Just(0.0),
        4 => 0.0..2.0,
        2 => a_hair(),
        1 => Just(1.0),
        1 => 0.0..1_000.0,
        1 => -2.0..0.0,
    ];
    let n = prop_oneof![5 => 1..4_u32, 1 => Just(100), 1 => Just(u32::MAX)];
    (refills, -2..3_i64, n).prop_map(|(refills, extra_us, n)| Step { refills, extra_us, n })
}

/// What a bucket may start with, as a multiple of a request's cost: nothing said, so that it is not there; anything; or a
/// hair less than a request costs, where rounding decides.
fn any_start() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![Just(None), (0.0..3.0).prop_map(Some), a_hair().prop_map(|hair| Some(1.0 - hair))]
}

/// A part of one, of any size.
fn a_hair() -> impl Strategy<Value = f64> {
    (-17.0..0.0).prop_map(|exponent| 10_f64.powf(exponent))
}

/// One client's bucket twice: in Redis, and beside it in Rust.
struct Twins {
    client: ClientId,
    key: String,
    bucket: Option<Bucket>,
}

impl Twins {
    /// Both with the same tokens, or with no bucket yet.
    fn new(client: ClientId, tokens: Option<f64>) -> Self {
        let bucket = tokens.map(|tokens| Bucket { tokens, last_refill_us: 0 });
        Self { client, key: format!("tollgate:{{test:{client}}}"), bucket }
    }

    /// Moves both to when they are `step` later than their tokens say; a bucket that is not there yet has no time.
    fn let_time_pass(&mut self, resp: &mut Resp, policy: &Policy, step: &Step) {
        let Some(bucket) = &mut self.bucket else { return };
        let refill_us = f64::from(policy.cost()) * 1e6 / policy.refill_per_second();
        // Within 115 days, so that every moment is an exact number of microseconds after 1970.
        let passes_us = (step.refills * refill_us).clamp(-1e13, 1e13) as i64 + step.extra_us;
        bucket.last_refill_us = now_us().strict_sub_signed(passes_us);
        let (tokens, last_refill) = (bucket.tokens.to_string(), bucket.last_refill_us.to_string());
        resp.call(&["HSET", &self.key, "tokens", &tokens, "last_refill", &last_refill]).unwrap();
        // It must not end by itself while time is being played with.
        resp.call(&["PERSIST", &self.key]).unwrap();
    }

    /// Asks the bucket in Rust what Redis was asked, at the microsecond of its answer.
    fn answer_as(&mut self, policy: &Policy, n: u32, now_us: u64) -> Taken {
        self.bucket.get_or_insert_with(|| Bucket::full(policy, now_us)).take(policy, now_us, n)
    }

    /// The state that Redis has, if its key has not come to its end.
    fn stored(&self, resp: &mut Resp) -> Option<Bucket> {
        let hash = resp.call(&["HGETALL", &self.key]).unwrap();
        match hash.lines().collect::<Vec<_>>()[..] {
            ["tokens", tokens, "last_refill", last_refill] => {
                Some(Bucket { tokens: tokens.parse().unwrap(), last_refill_us: last_refill.parse().unwrap() })
            }
            [] => None,
            ref other => panic!("{} holds {other:?}", self.key),
        }
    }
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(now.as_micros()).expect("it is before the year 586,000")
}

fn bits(bucket: &Bucket) -> (u64, u64) {
    (bucket.tokens.to_bits(), bucket.last_refill_us)
}

#[test]
fn the_script_in_redis_and_the_bucket_in_rust_agree_bit_for_bit() {
    let server = RedisServer::start();
    let clients_so_far = Cell::new(0);
    let history = prop::collection::vec(prop::array::uniform3(any_step()), 1..25);
    let histories = (any_policy(), prop::array::uniform3(any_start()), history);
    let agree = |(policy, starts, history): (Policy, [Option<f64>; 3], Vec<[Step; 3]>)| {
        let (store, mut resp) = (store_at(&server.url(), &policy).0, server.connect());
        let mut twins = starts.map(|start| {
            clients_so_far.set(clients_so_far.get() + 1);
            let tokens = start.map(|requests| (requests * f64::from(policy.cost())).min(f64::from(policy.capacity())));
            Twins::new(client(clients_so_far.get()), tokens)
        });
        for steps in history {
            for (twins, step) in twins.iter_mut().zip(&steps) {
                twins.let_time_pass(&mut resp, &policy, step);
            }
            let asks: Vec<(ClientId, u32)> =
                twins.iter().zip(&steps).map(|(twins, step)| (twins.client, step.n)).collect();
            let asked_at = Instant::now();
            let mut answers = Vec::new();
            store.take(&asks, &mut answers).expect("Redis answers");
            for ((twins, step), by_redis) in twins.iter_mut().zip(&steps).zip(answers) {
                let in_rust = twins.answer_as(&policy, step.n, by_redis.now_us);
                prop_assert_eq!(by_redis, in_rust);
                prop_assert_eq!(by_redis.tokens.to_bits(), in_rust.tokens.to_bits());
                match twins.stored(&mut resp) {
                    Some(stored) => prop_assert_eq!(Some(bits(&stored)), twins.bucket.as_ref().map(bits)),
                    None => prop_assert!(asked_at.elapsed() >= SHORTEST_LIFE, "the key is gone too early"),
                }
            }
        }
        Ok(())
    };
    if let Err(difference) = TestRunner::new(config()).run(&histories, agree) {
        panic!("{difference}");
    }
}
