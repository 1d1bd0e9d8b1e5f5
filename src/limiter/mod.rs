//! The limiter: a batch of clients in, a decision for each out, whatever state Redis is in.
//!
//! In reading order: `bucket` is the arithmetic, `memory` and `redis` are where buckets live, `denials` answers without
//! asking. Whether Redis may be asked at all is `redis_client`'s to say. Here they are put together:
//!
//! ```text
//!   clients -> remembered denial? -> merge equal asks -> breaker -> one script call -> decisions
//!                    '-> 429                                |            | failed
//!                                                           '-> refused -'-> what ON_REDIS_FAILURE says
//! ```
//!
//! Invariant: every ask gets a decision; none waits for Redis longer than its time-outs; every degraded decision is counted
//! under a label of its own.

pub mod bucket;
mod client_map;
mod denials;
pub mod memory;
pub mod redis;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use bucket::Policy;

use crate::breaker::BreakerState;
use crate::client::ClientId;
use crate::metrics::Metrics;
use crate::redis_client::{RedisClient, Unavailable};
use bucket::Taken;
use denials::{Denial, Denials};
use memory::MemoryStore;
use redis::RedisStore;

/// Who made a decision, and how it went; its name is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// The configured store granted it.
    Allowed,
    /// The configured store refused it.
    Denied,
    /// An earlier denial still holds.
    DeniedRemembered,
    /// Redis failed; this process's own bucket granted it.
    AllowedLocal,
    /// Redis failed; this process's own bucket refused it.
    DeniedLocal,
    /// Redis failed; the policy lets everything through.
    FailOpen,
    /// Redis failed; the policy lets nothing through.
    FailClosed,
}

impl DecidedBy {
    /// Every way to decide, in the order of their discriminants.
    pub const ALL: [Self; 7] = [
        Self::Allowed,
        Self::Denied,
        Self::DeniedRemembered,
        Self::AllowedLocal,
        Self::DeniedLocal,
        Self::FailOpen,
        Self::FailClosed,
    ];

    /// The name in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::DeniedRemembered => "denied_remembered",
            Self::AllowedLocal => "allowed_local",
            Self::DeniedLocal => "denied_local",
            Self::FailOpen => "fail_open",
            Self::FailClosed => "fail_closed",
        }
    }
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Go on.
    Allowed,
    /// Out of tokens: 429.
    Denied,
    /// Nobody can tell: 503.
    Unavailable,
}

/// The decision on one ask, with what its answer's headers say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Who decided.
    pub by: DecidedBy,
    /// The policy that was applied: in the fallback, this process's share.
    pub policy: Policy,
    /// Whole tokens left.
    pub remaining: u32,
    /// Microseconds until a token is there: the next one when allowed, the first one when denied.
    pub wait_us: u64,
    /// Unix seconds, rounded up: when the bucket is full again if allowed, when a token is there if denied.
    pub reset_unix_s: u64,
}

impl Decision {
    /// What the request may do.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.by {
            DecidedBy::Allowed | DecidedBy::AllowedLocal | DecidedBy::FailOpen => Outcome::Allowed,
            DecidedBy::Denied | DecidedBy::DeniedRemembered | DecidedBy::DeniedLocal => Outcome::Denied,
            DecidedBy::FailClosed => Outcome::Unavailable,
        }
    }

    /// The decision for the ask at `place` (from 0) among the equal asks that `taken` answers; `unix_us` is now by the clock
    /// that clients are told.
    fn of(policy: &Policy, by: (DecidedBy, DecidedBy), taken: &Taken, place: u32, unix_us: u64) -> Self {
        if place >= taken.granted {
            return Self::denied(policy, by.1, taken.tokens, taken.wait_us, unix_us + taken.wait_us);
        }
        // As if the asks had been answered one after the other.
        let tokens = taken.tokens + f64::from(taken.granted - 1 - place) * f64::from(policy.cost());
        let remaining = whole(tokens);
        Self {
            by: by.0,
            policy: *policy,
            remaining,
            wait_us: policy.time_to_us(tokens, f64::from(remaining.saturating_add(1).min(policy.capacity()))),
            reset_unix_s: (unix_us + policy.time_to_us(tokens, f64::from(policy.capacity()))).div_ceil(1_000_000),
        }
    }

    fn denied(policy: &Policy, by: DecidedBy, tokens: f64, wait_us: u64, until_unix_us: u64) -> Self {
        let reset_unix_s = until_unix_us.div_ceil(1_000_000);
        Self { by, policy: *policy, remaining: whole(tokens), wait_us, reset_unix_s }
    }

    /// A decision no bucket stands behind: nothing is promised, so no token is claimed to remain.
    fn without_a_bucket(policy: &Policy, by: DecidedBy, wait: Duration) -> Self {
        let wait_us = us(wait);
        Self::denied(policy, by, 0.0, wait_us, unix_us() + wait_us)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= tokens <= capacity, which is a u32")]
fn whole(tokens: f64) -> u32 {
    tokens.max(0.0).floor() as u32
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn unix_us() -> u64 {
    us(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// What answers when Redis cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRedisFailure {
    /// This process's own buckets, at its share of the policy.
    Local,
    /// Let everything through.
    Allow,
    /// Let nothing through.
    Deny,
}

/// What the limiter is made of.
#[derive(Debug, Clone)]
pub struct LimiterSettings {
    /// Capacity, refill rate and cost.
    pub policy: Policy,
    /// Buckets and denials kept in this process, at most, each.
    pub max_buckets: usize,
    /// What answers when Redis cannot.
    pub on_redis_failure: OnRedisFailure,
    /// How many processes share the limit, for the fallback's share.
    pub replicas: NonZeroU32,
}

impl LimiterSettings {
    /// The policy of this process when it has to decide alone.
    #[must_use]
    pub fn share(&self) -> Policy {
        self.policy.divided_by(self.replicas)
    }

    /// What happens while Redis fails, in words.
    #[must_use]
    pub fn meanwhile(&self) -> String {
        match self.on_redis_failure {
            OnRedisFailure::Local => {
                let share = self.share();
                let (capacity, refill) = (share.capacity(), share.refill_per_second());
                format!("this process limits by itself, {capacity} tokens a client and {refill} back each second,")
            }
            OnRedisFailure::Allow => "every request is let through".to_owned(),
            OnRedisFailure::Deny => "rate-limited requests are refused with 503".to_owned(),
        }
    }
}

/// What the limiter knows of its own health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// There is no Redis to depend on.
    Embedded,
    /// Redis is configured.
    Redis {
        /// It answered when last asked.
        up: bool,
        /// The breaker's state.
        breaker: BreakerState,
        /// What happens meanwhile, when it is not up.
        on_failure: OnRedisFailure,
    },
}

/// The limiter of one policy; shared by all workers.
pub struct Limiter {
    policy: Policy,
    backend: Backend,
    metrics: Arc<Metrics>,
    clock: SteadyClock,
}

enum Backend {
    Embedded(MemoryStore),
    Shared(Box<Shared>),
}

struct Shared {
    redis: RedisStore,
    denials: Denials,
    fallback: MemoryStore,
    on_failure: OnRedisFailure,
}

/// Unix time at start plus monotonic time since: steps of the machine's clock move no bucket.
struct SteadyClock {
    started: Instant,
    started_unix_us: u64,
}

impl SteadyClock {
    fn now_us(&self) -> u64 {
        self.started_unix_us + us(self.started.elapsed())
    }
}

impl Limiter {
    /// Puts the limiter together, on the Redis behind `client` if there is one; it need not be there yet.
    #[must_use]
    pub fn new(settings: &LimiterSettings, client: Option<Arc<RedisClient>>, metrics: Arc<Metrics>) -> Self {
        let policy = settings.policy;
        metrics.set_policy(policy.name(), policy.capacity(), policy.refill_per_second());
        let backend = match client {
            None => Backend::Embedded(MemoryStore::new(policy, settings.max_buckets)),
            Some(client) => Backend::Shared(Box::new(Shared {
                redis: RedisStore::new(client, &policy),
                denials: Denials::new(settings.max_buckets),
                fallback: MemoryStore::new(settings.share(), settings.max_buckets),
                on_failure: settings.on_redis_failure,
            })),
        };
        let clock = SteadyClock { started: Instant::now(), started_unix_us: unix_us() };
        Self { policy, backend, metrics, clock }
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes a token for each of `clients`, in one call, and decides on each; decisions are in the clients' order.
    pub fn decide(&self, clients: &[ClientId]) -> Vec<Decision> {
        self.decide_telling(clients, || ())
    }

    /// The same; `before_waiting` is called if Redis has to be asked, before this thread waits for it.
    pub fn decide_telling(&self, clients: &[ClientId], before_waiting: impl FnOnce()) -> Vec<Decision> {
        let started = Instant::now();
        let mut batch = Batch::new(clients);
        match &self.backend {
            Backend::Embedded(store) => {
                self.decide_in_memory(store, (DecidedBy::Allowed, DecidedBy::Denied), &mut batch);
            }
            Backend::Shared(shared) => {
                batch.settle_remembered(&self.policy, &shared.denials, started);
                if !batch.is_settled() {
                    before_waiting();
                    self.decide_by_redis(shared, &mut batch, started);
                }
            }
        }
        let decisions = batch.into_decisions();
        for by in DecidedBy::ALL {
            let n = decisions.iter().filter(|decision| decision.by == by).count();
            if n > 0 {
                self.metrics.decided(by, n as u64);
            }
        }
        self.metrics.check_duration.observe(started.elapsed().as_secs_f64());
        decisions
    }

    /// Asks Redis whether it is there, unless it has said so a moment ago; the breaker is obeyed and told.
    pub fn health(&self) -> Health {
        let Backend::Shared(shared) = &self.backend else { return Health::Embedded };
        let client = shared.redis.client();
        let up = client.answered_just_now() || shared.redis.take(&[], &mut Vec::new()).is_ok();
        Health::Redis { up, breaker: client.breaker_state(), on_failure: shared.on_failure }
    }

    /// Brings the gauges that are read, not counted, up to date, and forgets what is over.
    pub fn refresh_gauges(&self) {
        let buckets = match &self.backend {
            Backend::Embedded(store) => store,
            Backend::Shared(shared) => {
                let pool = shared.redis.client().pool_state();
                self.metrics.pool_idle.set(i64::from(pool.idle));
                self.metrics.pool_used.set(i64::from(pool.used));
                shared.denials.sweep(Instant::now());
                self.metrics.remembered_denials.set(gauge(shared.denials.len()));
                &shared.fallback
            }
        };
        buckets.sweep(self.clock.now_us());
        self.metrics.tracked_buckets.set(gauge(buckets.tracked_buckets()));
    }

    fn decide_in_memory(&self, store: &MemoryStore, by: (DecidedBy, DecidedBy), batch: &mut Batch<'_>) {
        let (now_us, unix_us) = (self.clock.now_us(), unix_us());
        for (client, n) in batch.asks() {
            let taken = store.take(client, n, now_us);
            batch.settle(store.policy(), by, client, &taken, unix_us);
        }
    }

    fn decide_by_redis(&self, shared: &Shared, batch: &mut Batch<'_>, sent_at: Instant) {
        let asks = batch.asks();
        let mut answers = Vec::with_capacity(asks.len());
        match shared.redis.take(&asks, &mut answers) {
            Ok(()) => {
                for (&(client, n), taken) in asks.iter().zip(&answers) {
                    if taken.granted < n {
                        let until_unix_us = taken.now_us + taken.wait_us;
                        let until = sent_at + Duration::from_micros(taken.wait_us);
                        shared.denials.remember(client, Denial { until, until_unix_us, tokens: taken.tokens }, sent_at);
                    }
                    batch.settle(&self.policy, (DecidedBy::Allowed, DecidedBy::Denied), client, taken, taken.now_us);
                }
            }
            Err(Unavailable { retry_in, .. }) => self.decide_without_redis(shared, batch, retry_in),
        }
    }

    fn decide_without_redis(&self, shared: &Shared, batch: &mut Batch<'_>, probe_due_in: Duration) {
        match shared.on_failure {
            OnRedisFailure::Local => {
                self.decide_in_memory(&shared.fallback, (DecidedBy::AllowedLocal, DecidedBy::DeniedLocal), batch);
            }
            OnRedisFailure::Allow => {
                batch.settle_rest(Decision::without_a_bucket(&self.policy, DecidedBy::FailOpen, Duration::ZERO));
            }
            OnRedisFailure::Deny => {
                batch.settle_rest(Decision::without_a_bucket(&self.policy, DecidedBy::FailClosed, probe_due_in));
            }
        }
    }
}

fn gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A batch on its way to its decisions: equal asks merged, each merged ask settled once.
struct Batch<'c> {
    clients: &'c [ClientId],
    /// Positions of the asks, equal clients side by side, earlier askers first.
    order: Vec<usize>,
    decisions: Vec<Option<Decision>>,
}

impl<'c> Batch<'c> {
    fn new(clients: &'c [ClientId]) -> Self {
        let mut order: Vec<usize> = (0..clients.len()).collect();
        order.sort_by_key(|&at| clients[at]);
        Self { clients, order, decisions: vec![None; clients.len()] }
    }

    /// The merged asks that have no decision yet: who asks, and how often.
    fn asks(&self) -> Vec<(ClientId, u32)> {
        let mut asks: Vec<(ClientId, u32)> = Vec::with_capacity(self.order.len());
        for &at in self.order.iter().filter(|&&at| self.decisions[at].is_none()) {
            match asks.last_mut() {
                Some((client, n)) if *client == self.clients[at] => *n += 1,
                _ => asks.push((self.clients[at], 1)),
            }
        }
        asks
    }

    fn is_settled(&self) -> bool {
        self.decisions.iter().all(Option::is_some)
    }

    fn settle_remembered(&mut self, policy: &Policy, denials: &Denials, now: Instant) {
        for (client, decision) in self.clients.iter().zip(&mut self.decisions) {
            *decision = denials.recall(client, now).map(|denial| {
                // Rounded up: a client is never told less than it has to wait.
                let wait_us = us(denial.until - now) + 1;
                Decision::denied(policy, DecidedBy::DeniedRemembered, denial.tokens, wait_us, denial.until_unix_us)
            });
        }
    }

    /// Settles all asks of `client` by what its bucket answered.
    fn settle(&mut self, policy: &Policy, by: (DecidedBy, DecidedBy), client: ClientId, taken: &Taken, unix_us: u64) {
        let from = self.order.partition_point(|&at| self.clients[at] < client);
        let equal = self.order[from..].iter().take_while(|&&at| self.clients[at] == client);
        for (place, &at) in (0..).zip(equal) {
            self.decisions[at] = Some(Decision::of(policy, by, taken, place, unix_us));
        }
    }

    fn settle_rest(&mut self, decision: Decision) {
        for each in self.decisions.iter_mut().filter(|each| each.is_none()) {
            *each = Some(decision);
        }
    }

    fn into_decisions(self) -> Vec<Decision> {
        let decided = self.decisions.into_iter().map(|decision| decision.expect("every ask has been settled"));
        decided.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const S: u64 = 1_000_000;
    const NOW_US: u64 = 1_790_000_000 * S;
    const BY: (DecidedBy, DecidedBy) = (DecidedBy::Allowed, DecidedBy::Denied);

    fn client(n: u32) -> ClientId {
        ClientId::V4(Ipv4Addr::from_bits(n))
    }

    fn policy(capacity: u32, refill_per_second: f64, cost: u32) -> Policy {
        Policy::new("test", capacity, refill_per_second, cost).unwrap()
    }

    fn taken(granted: u32, tokens: f64, wait_us: u64) -> Taken {
        Taken { granted, tokens, wait_us, now_us: NOW_US }
    }

    #[test]
    fn each_of_several_equal_asks_is_told_what_is_left_after_its_own() {
        let policy = policy(20, 1.0, 3);
        // Three of five were granted, and 2.5 tokens are left.
        let taken = taken(3, 2.5, 500_001);
        let told: Vec<_> = (0..5)
            .map(|place| Decision::of(&policy, BY, &taken, place, NOW_US))
            .map(|decision| (decision.by, decision.remaining, decision.wait_us))
            .collect();
        let (half_a_token, until_affordable) = (500_000, 500_001);
        assert_eq!(
            told,
            [
                (DecidedBy::Allowed, 8, half_a_token),
                (DecidedBy::Allowed, 5, half_a_token),
                (DecidedBy::Allowed, 2, half_a_token),
                (DecidedBy::Denied, 2, until_affordable),
                (DecidedBy::Denied, 2, until_affordable),
            ]
        );
    }

    #[test]
    fn the_reset_is_when_the_bucket_is_full_or_on_a_denial_when_a_token_is_there() {
        let policy = policy(5, 0.1, 1);
        let reset_in_s = |taken: Taken| Decision::of(&policy, BY, &taken, 0, NOW_US).reset_unix_s - NOW_US / S;
        assert_eq!(reset_in_s(taken(1, 4.0, 0)), 10);
        assert_eq!(reset_in_s(taken(1, 0.0, 0)), 50);
        assert_eq!(reset_in_s(taken(1, 3.95, 0)), 11, "rounded up");
        assert_eq!(reset_in_s(taken(0, 0.5, 5 * S + 1)), 6, "rounded up");
    }

    #[test]
    fn a_decision_that_no_bucket_stands_behind_claims_no_token() {
        let decision =
            Decision::without_a_bucket(&policy(5, 0.1, 1), DecidedBy::FailClosed, Duration::from_millis(250));
        assert_eq!((decision.remaining, decision.wait_us, decision.outcome()), (0, 250_000, Outcome::Unavailable));
    }

    #[test]
    fn equal_asks_are_merged_and_settled_in_the_order_they_came() {
        use DecidedBy::{Allowed, Denied};
        let policy = policy(9, 1.0, 1);
        let clients = [2, 1, 2, 2, 3].map(client);
        let mut batch = Batch::new(&clients);
        assert_eq!(batch.asks(), [(client(1), 1), (client(2), 3), (client(3), 1)]);
        batch.settle(&policy, BY, client(2), &taken(2, 0.0, S), NOW_US);
        assert_eq!(batch.asks(), [(client(1), 1), (client(3), 1)], "who is settled is not asked about again");
        batch.settle(&policy, BY, client(3), &taken(0, 0.5, S), NOW_US);
        batch.settle(&policy, BY, client(1), &taken(1, 7.0, 0), NOW_US);
        assert!(batch.is_settled());
        let told: Vec<_> = batch.into_decisions().iter().map(|decision| (decision.by, decision.remaining)).collect();
        assert_eq!(told, [(Allowed, 1), (Allowed, 7), (Allowed, 0), (Denied, 0), (Denied, 0)]);
    }

    #[test]
    fn what_is_remembered_is_not_asked_about_and_never_told_shorter_than_it_is() {
        let (policy, denials, now) = (policy(9, 1.0, 1), Denials::new(10), Instant::now());
        let until = now + Duration::from_nanos(1_500_000_999);
        denials.remember(client(2), Denial { until, until_unix_us: NOW_US, tokens: 0.25 }, now);
        let clients = [2, 1, 2].map(client);
        let mut batch = Batch::new(&clients);
        batch.settle_remembered(&policy, &denials, now);
        assert_eq!(batch.asks(), [(client(1), 1)]);
        batch.settle_rest(Decision::without_a_bucket(&policy, DecidedBy::FailOpen, Duration::ZERO));
        let decisions = batch.into_decisions();
        let by: Vec<_> = decisions.iter().map(|decision| decision.by).collect();
        assert_eq!(by, [DecidedBy::DeniedRemembered, DecidedBy::FailOpen, DecidedBy::DeniedRemembered]);
        assert_eq!(
            (decisions[0].wait_us, decisions[0].reset_unix_s, decisions[0].remaining),
            (1_500_001, NOW_US / S, 0)
        );
    }
}
