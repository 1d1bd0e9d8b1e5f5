//! The limiter without the server around it, with its metrics at hand.

use std::net::Ipv4Addr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tollgate::client::ClientId;
use tollgate::limiter::{Limiter, LimiterSettings, OnRedisFailure, Policy};
use tollgate::metrics::Metrics;
use tollgate::redis_client::{RedisClient, RedisSettings};

use super::GENEROUS;

/// The name of every policy in these tests.
pub const POLICY: &str = "test";

/// The `n`th client.
pub fn client(n: u32) -> ClientId {
    ClientId::V4(Ipv4Addr::from_bits(0x0a00_0000 + n))
}

/// A policy whose requests cost one token.
#[track_caller]
pub fn policy(capacity: u32, refill_per_second: f64) -> Policy {
    Policy::new(POLICY, capacity, refill_per_second, 1).expect("the test's own numbers are in range")
}

/// How a limiter under test is made.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What it allows.
    pub policy: Policy,
    /// Where its Redis is, if it has one.
    pub redis: Option<RedisSettings>,
    /// What decides when Redis fails.
    pub on_redis_failure: OnRedisFailure,
    /// How many processes share the limit.
    pub replicas: u32,
}

impl Setup {
    /// In this process alone.
    pub fn embedded(policy: Policy) -> Self {
        Self { policy, redis: None, on_redis_failure: OnRedisFailure::Local, replicas: 1 }
    }

    /// On the Redis at `url`, as the server is by default.
    pub fn on_redis(policy: Policy, url: &str) -> Self {
        let redis = RedisSettings {
            url: url.to_owned(),
            pool_size: 2,
            connect_timeout: Duration::from_millis(200),
            command_timeout: Duration::from_millis(100),
            pool_wait: Duration::from_millis(50),
        };
        Self { redis: Some(redis), ..Self::embedded(policy) }
    }

    /// With time-outs that a busy machine does not reach, for tests where nothing fails.
    pub fn patient(mut self) -> Self {
        if let Some(redis) = &mut self.redis {
            (redis.connect_timeout, redis.command_timeout, redis.pool_wait) = (GENEROUS, GENEROUS, GENEROUS);
        }
        self
    }

    /// Asked by this many threads, with a connection for each.
    pub fn workers(mut self, workers: u8) -> Self {
        if let Some(redis) = &mut self.redis {
            redis.pool_size = workers.into();
        }
        self
    }

    /// The way to its Redis.
    ///
    /// # Panics
    /// When it has none.
    #[track_caller]
    pub fn redis_client(&self, metrics: &Arc<Metrics>) -> Arc<RedisClient> {
        let redis = self.redis.as_ref().expect("there is a Redis in this setup");
        let client = RedisClient::open(redis, "the test goes on".to_owned(), metrics.clone());
        Arc::new(client.expect("the test's own URL is one of Redis"))
    }

    /// The limiter, with metrics of its own.
    #[track_caller]
    pub fn build(&self) -> LimiterUnderTest {
        let metrics = Arc::new(Metrics::new(POLICY));
        let settings = LimiterSettings {
            policy: self.policy,
            max_buckets: 100_000,
            on_redis_failure: self.on_redis_failure,
            replicas: self.replicas.try_into().expect("there is one replica at least"),
        };
        let client = self.redis.is_some().then(|| self.redis_client(&metrics));
        LimiterUnderTest { limiter: Limiter::new(&settings, client, metrics.clone()), metrics }
    }
}

/// A limiter that counts into metrics of its own.
pub struct LimiterUnderTest {
    limiter: Limiter,
    metrics: Arc<Metrics>,
}

impl LimiterUnderTest {
    /// The value of one series, spelled as in `/metrics`.
    #[track_caller]
    pub fn metric(&self, series: &str) -> f64 {
        metric(&self.metrics, series)
    }

    /// How many decisions have been counted under this label.
    #[track_caller]
    pub fn decisions(&self, decision: &str) -> f64 {
        self.metric(&format!(r#"rate_limit_decisions_total{{decision="{decision}",policy="{POLICY}"}}"#))
    }
}

impl Deref for LimiterUnderTest {
    type Target = Limiter;
    fn deref(&self) -> &Limiter {
        &self.limiter
    }
}

/// The value of one series, spelled as in `/metrics`.
#[track_caller]
pub fn metric(metrics: &Metrics, series: &str) -> f64 {
    sample(&String::from_utf8(metrics.render()).expect("metrics are text"), series)
}

/// The value of one series in the text exposition.
///
/// # Panics
/// When it is not there.
#[track_caller]
pub fn sample(exposition: &str, series: &str) -> f64 {
    let line = exposition.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = line.unwrap_or_else(|| panic!("no series {series} in\n{exposition}"));
    value.parse().unwrap_or_else(|_| panic!("{series} is {value}"))
}
