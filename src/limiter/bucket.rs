//! The token bucket: a policy, a bucket, and the arithmetic that joins them.
//!
//! Invariant: over any window of `T` seconds a bucket grants at most `capacity + refill * T` tokens, and a denial changes
//! nothing. The order of the floating-point operations is the order of `token_bucket.lua`, so that the two agree bit for
//! bit; change neither alone.
//!
//! This module reads no clock and keeps no state: time is an argument, in microseconds since the Unix epoch.

use std::fmt;
use std::num::NonZeroU32;

/// The largest capacity a policy may have, in tokens.
pub const MAX_CAPACITY: u32 = 1_000_000_000;
/// The fastest refill a policy may have, in tokens per second.
pub const MAX_REFILL_PER_SECOND: f64 = 1_000_000.0;
/// The longest wait that is promised, in microseconds (31 years): beyond it no number of seconds means anything.
pub const MAX_WAIT_US: u64 = 1_000_000_000_000_000;

const US_PER_SECOND: f64 = 1e6;
const MAX_WAIT: f64 = 1e15;
/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const LONGEST_WINDOW_S: f64 = 999_999_999_999_999.0;

/// How many tokens a client may hold, how fast they come back, and what a request costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    name: &'static str,
    capacity: u32,
    refill_per_second: f64,
    cost: u32,
}

/// Why numbers do not make a [`Policy`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PolicyError {
    /// The capacity is not in `1..=MAX_CAPACITY` tokens.
    Capacity(u32),
    /// The refill rate is not a number in `0 < rate <= MAX_REFILL_PER_SECOND` tokens per second.
    RefillRate(f64),
    /// A request would cost no token, or more than a full bucket holds.
    Cost(u32),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capacity(got) => write!(f, "a capacity of {got} is not in 1..={MAX_CAPACITY} tokens"),
            Self::RefillRate(got) => {
                write!(f, "a refill rate of {got} is not above 0 and at most {MAX_REFILL_PER_SECOND} tokens per second")
            }
            Self::Cost(got) => write!(f, "a cost of {got} is not in 1..=capacity tokens"),
        }
    }
}

impl std::error::Error for PolicyError {}

impl Policy {
    /// A policy of `capacity` tokens, refilled at `refill_per_second`, that takes `cost` tokens for each request.
    ///
    /// `name` stands in headers, keys and metric labels: letters, digits and `-`.
    ///
    /// # Errors
    /// Says which of the three numbers is out of its range.
    pub fn new(name: &'static str, capacity: u32, refill_per_second: f64, cost: u32) -> Result<Self, PolicyError> {
        if capacity == 0 || capacity > MAX_CAPACITY {
            return Err(PolicyError::Capacity(capacity));
        }
        // Written so that NaN fails too.
        if !(refill_per_second > 0.0 && refill_per_second <= MAX_REFILL_PER_SECOND) {
            return Err(PolicyError::RefillRate(refill_per_second));
        }
        if cost == 0 || cost > capacity {
            return Err(PolicyError::Cost(cost));
        }
        Ok(Self { name, capacity, refill_per_second, cost })
    }

    /// This policy's share when `replicas` processes each keep buckets of their own: capacity and refill rate divided, the
    /// capacity never below what one request costs.
    #[must_use]
    pub fn divided_by(self, replicas: NonZeroU32) -> Self {
        Self {
            capacity: (self.capacity / replicas).max(self.cost),
            refill_per_second: self.refill_per_second / f64::from(replicas.get()),
            ..self
        }
    }

    /// The name that headers, keys and metric labels carry.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Tokens in a full bucket.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Tokens that come back each second.
    #[must_use]
    pub fn refill_per_second(&self) -> f64 {
        self.refill_per_second
    }

    /// Tokens one request takes.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// Seconds in which an empty bucket fills, rounded up; at most the 15 digits a structured field may have.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and clamped")]
    pub fn window_s(&self) -> u64 {
        (f64::from(self.capacity) / self.refill_per_second).ceil().min(LONGEST_WINDOW_S) as u64
    }

    /// Microseconds until a bucket that holds `tokens` holds `wanted`, rounded up; 0 when it does already.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=MAX_WAIT")]
    pub fn time_to_us(&self, tokens: f64, wanted: f64) -> u64 {
        ((wanted - tokens) * US_PER_SECOND / self.refill_per_second).ceil().clamp(0.0, MAX_WAIT) as u64
    }
}

/// What is stored of a bucket: how many tokens it held, and when that was true.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Tokens held at `last_refill_us`; a fraction is part of a token on its way.
    pub tokens: f64,
    /// Microseconds since the Unix epoch.
    pub last_refill_us: u64,
}

/// What a bucket answered to `n` equal asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// How many of the asks were granted; the first ones.
    pub granted: u32,
    /// Tokens left in the bucket afterwards.
    pub tokens: f64,
    /// Microseconds from `now_us` until one more ask would be granted, if nobody else takes the token; 0 when all were granted.
    pub wait_us: u64,
    /// The clock the answer was made by, in microseconds since the Unix epoch.
    pub now_us: u64,
}

impl Bucket {
    /// A bucket nobody has taken from; the same as no bucket.
    #[must_use]
    pub fn full(policy: &Policy, now_us: u64) -> Self {
        Self { tokens: f64::from(policy.capacity), last_refill_us: now_us }
    }

    /// Tokens held at `now_us`. A clock that has stepped back neither drains nor refills.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "microseconds of an epoch time stay below 2^53 until the year 2255")]
    pub fn level(&self, policy: &Policy, now_us: u64) -> f64 {
        let elapsed_us = now_us.saturating_sub(self.last_refill_us) as f64;
        let refilled = self.tokens + elapsed_us * policy.refill_per_second / US_PER_SECOND;
        refilled.min(f64::from(policy.capacity))
    }

    /// Whether the bucket is full at `now_us`, and so need not be kept.
    #[must_use]
    pub fn is_full(&self, policy: &Policy, now_us: u64) -> bool {
        self.level(policy, now_us) >= f64::from(policy.capacity)
    }

    /// Takes tokens for as many of `n` equal asks as the bucket can grant; when it can grant none, it is left as it was.
    pub fn take(&mut self, policy: &Policy, now_us: u64, n: u32) -> Taken {
        let cost = f64::from(policy.cost);
        let refilled_at_us = now_us.max(self.last_refill_us);
        let mut tokens = self.level(policy, refilled_at_us);
        let granted = f64::from(n).min((tokens / cost).floor());
        if granted > 0.0 {
            tokens -= granted * cost;
            *self = Self { tokens, last_refill_us: refilled_at_us };
        }
        let wait_us = if granted < f64::from(n) {
            // The margin of 1 us outweighs rounding. The clock may stand before the bucket's own time: it must catch up first.
            (policy.time_to_us(tokens, cost) + 1 + (refilled_at_us - now_us)).min(MAX_WAIT_US)
        } else {
            0
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= granted <= n, and whole")]
        let granted = granted as u32;
        Taken { granted, tokens, wait_us, now_us }
    }
}
