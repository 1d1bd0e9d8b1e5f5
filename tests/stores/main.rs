//! Where buckets are kept: one contract that both stores fulfil, and what is Redis's alone.
//!
//! No test here fakes a clock or asserts how long something took: a store's answers carry the clock they were made by, and
//! are held against `bucket.rs` at that very microsecond.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    clippy::unwrap_used,
    reason = "bits are compared on purpose; a test that panics says where"
)]

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tollgate::client::ClientId;
use tollgate::limiter::Policy;
use tollgate::limiter::bucket::Taken;
use tollgate::limiter::memory::MemoryStore;
use tollgate::limiter::redis::RedisStore;
use tollgate::metrics::Metrics;

mod contract;
mod differential;
mod in_redis;
#[path = "../support/mod.rs"]
mod support;

use support::{RedisServer, Setup, metric};

/// A token takes 11 days: none comes back during a test.
const NEVER: f64 = 1e-6;

/// What both stores are: asks in, an answer for each out.
trait Store: Sync {
    fn take(&self, asks: &[(ClientId, u32)]) -> Vec<Taken>;

    fn take_one(&self, client: ClientId, n: u32) -> Taken {
        self.take(&[(client, n)])[0]
    }
}

struct InMemory(MemoryStore);

impl InMemory {
    fn open(policy: Policy) -> Self {
        Self(MemoryStore::new(policy, 100_000))
    }
}

impl Store for InMemory {
    fn take(&self, asks: &[(ClientId, u32)]) -> Vec<Taken> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        let now_us = u64::try_from(now.as_micros()).expect("it is before the year 586,000");
        asks.iter().map(|&(client, n)| self.0.take(client, n, now_us)).collect()
    }
}

/// A store on a Redis of its own, with time-outs that a busy machine does not reach.
struct InRedis {
    store: RedisStore,
    metrics: Arc<Metrics>,
    server: RedisServer,
}

impl InRedis {
    fn open(policy: Policy) -> Self {
        Self::on(RedisServer::start(), policy)
    }

    fn on(server: RedisServer, policy: Policy) -> Self {
        let (store, metrics) = store_at(&server.url(), &policy);
        Self { store, metrics, server }
    }

    #[track_caller]
    fn metric(&self, series: &str) -> f64 {
        metric(&self.metrics, series)
    }
}

fn store_at(url: &str, policy: &Policy) -> (RedisStore, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new(policy.name()));
    let client = Setup::on_redis(*policy, url).patient().redis_client(&metrics);
    (RedisStore::new(client, policy), metrics)
}

impl Store for InRedis {
    #[track_caller]
    fn take(&self, asks: &[(ClientId, u32)]) -> Vec<Taken> {
        let mut answers = Vec::new();
        self.store.take(asks, &mut answers).expect("Redis answers");
        answers
    }
}

/// Makes each function of `contract` a test of each store.
macro_rules! both_stores {
    ($($sentence:ident)*) => {
        mod memory {
            $(#[test] fn $sentence() { super::contract::$sentence(super::InMemory::open); })*
        }
        mod redis {
            $(#[test] fn $sentence() { super::contract::$sentence(super::InRedis::open); })*
        }
    };
}

both_stores! {
    a_client_is_granted_its_capacity_and_then_denied
    more_asks_than_tokens_are_granted_in_part
    a_request_that_costs_several_tokens_takes_them_all_or_none
    clients_do_not_share_a_bucket
    a_batch_is_answered_in_the_order_of_its_asks
    a_batch_of_nobody_is_answered_with_nothing
    waiting_what_a_denial_says_is_honoured
    every_answer_is_what_the_bucket_says_at_the_stores_own_clock
    many_threads_never_get_more_than_capacity_and_refill
}
