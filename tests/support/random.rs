//! Random policies, and how many random cases a property is tried on.

use proptest::prelude::*;
use tollgate::limiter::Policy;
use tollgate::limiter::bucket::{MAX_CAPACITY, MAX_REFILL_PER_SECOND};

use super::limiter::POLICY;

/// How many cases each property is tried on is proptest's default, or what `PROPTEST_CASES` says.
pub fn config() -> ProptestConfig {
    // A failure prints its smallest case; that goes into a test of its own rather than into a file of seeds.
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// Policies of every size: capacities up to 1e9 tokens, rates from 1e-6 to 1e6 tokens a second, costs from one to all.
pub fn any_policy() -> impl Strategy<Value = Policy> {
    let capacity = prop_oneof![1..=10_u32, 1..=1_000_u32, 1..=MAX_CAPACITY, Just(MAX_CAPACITY)];
    let rate = prop_oneof![
        prop::sample::select(vec![0.1, 1.0 / 3.0, 1.0, 1e-3, 1e-6, MAX_REFILL_PER_SECOND]),
        (-6.0..6.0).prop_map(|exponent| 10_f64.powf(exponent)),
    ];
    let share_of_capacity = prop_oneof![3 => Just(0.0), 3 => 0.0..1.0, 1 => Just(1.0)];
    (capacity, rate, share_of_capacity).prop_map(|(capacity, rate, share)| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the capacity less one")]
        let cost = 1 + (f64::from(capacity - 1) * share) as u32;
        Policy::new(POLICY, capacity, rate, cost).expect("the parts are drawn from their ranges")
    })
}
