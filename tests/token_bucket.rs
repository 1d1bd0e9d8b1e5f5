//! What the token bucket promises, as properties over policies of every size and clocks that step back.
//!
//! I1: over any window of T seconds at most `capacity + rate * T` tokens are granted. I2: who waits what it was told is
//! granted. I3: nobody is granted appreciably earlier. I4: the remaining count never exceeds what is left.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    clippy::unwrap_used,
    reason = "bits are compared on purpose; a test that panics says where"
)]

use std::num::NonZeroU32;

use proptest::prelude::*;
use tollgate::limiter::bucket::{Bucket, MAX_CAPACITY, MAX_REFILL_PER_SECOND, MAX_WAIT_US, PolicyError, Taken};
use tollgate::limiter::{Outcome, Policy};

mod support;
use support::random::{any_policy, config};
use support::{Setup, client};

/// A moment in 2026, in microseconds since the Unix epoch.
const T0_US: u64 = 1_790_000_000_000_000;
/// Steps are cut to this many microseconds (11 days), so that no history leaves the range of exact microseconds.
const LONGEST_STEP_US: f64 = 1e12;

/// One step of a history: time passes, the clock may be set back, someone asks.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Time that passes, as a multiple of what one request's tokens take to come back.
    refills: f64,
    /// Microseconds on top.
    extra_us: u64,
    /// How far the clock is set back, after the time has passed.
    back_us: u64,
    /// Equal asks at once.
    n: u32,
}

impl Step {
    fn passes_us(&self, policy: &Policy) -> u64 {
        let refill_us = f64::from(policy.cost()) * 1e6 / policy.refill_per_second();
        (self.refills * refill_us).min(LONGEST_STEP_US) as u64 + self.extra_us
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let refills = prop_oneof![2 => Just(0.0), 4 => 0.0..2.0, 1 => Just(1.0), 1 => 0.0..1_000.0];
    let back_us = prop_oneof![6 => Just(0), 1 => 0..10_u64, 1 => 0..10_000_000_000_u64];
    let n = prop_oneof![5 => 1..4_u32, 1 => Just(100), 1 => Just(u32::MAX)];
    (refills, 0..3_u64, back_us, n).prop_map(|(refills, extra_us, back_us, n)| Step { refills, extra_us, back_us, n })
}

fn any_history() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any_step(), 1..60)
}

/// A clock that is set back now and then. It is never set forward: no limiter can tell that from time that has passed.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    passed_us: u64,
    behind_us: u64,
}

impl Clock {
    fn advance(&mut self, step: &Step, policy: &Policy) -> u64 {
        self.passed_us += step.passes_us(policy);
        self.behind_us += step.back_us;
        T0_US + self.passed_us - self.behind_us
    }
}

/// Plays a history from a full bucket; gives the bucket back and each step's clock and answer.
fn play(policy: &Policy, history: &[Step]) -> (Bucket, Vec<(Clock, Taken)>) {
    let (mut bucket, mut clock) = (Bucket::full(policy, T0_US), Clock::default());
    let first = bucket.take(policy, T0_US, 1);
    let mut answers = vec![(clock, first)];
    for step in history {
        let now_us = clock.advance(step, policy);
        answers.push((clock, bucket.take(policy, now_us, step.n)));
    }
    (bucket, answers)
}

/// Microseconds in which as much comes back as 16 roundings of a request's cost may take away.
fn rounding_us(policy: &Policy) -> u64 {
    (16.0 * f64::EPSILON * f64::from(policy.cost()) * 1e6 / policy.refill_per_second()) as u64
}

fn time_to_fill_us(policy: &Policy) -> u64 {
    policy.time_to_us(0.0, f64::from(policy.capacity()))
}

fn bits(bucket: &Bucket) -> (u64, u64) {
    (bucket.tokens.to_bits(), bucket.last_refill_us)
}

proptest! {
    #![proptest_config(config())]

    /// I1. Time is the time that has truly passed, whatever the clock says.
    #[test]
    fn no_window_of_any_history_grants_more_than_capacity_and_refill(policy in any_policy(), history in any_history()) {
        let (_, answers) = play(&policy, &history);
        for (from, (start, _)) in answers.iter().enumerate() {
            let mut granted = 0.0;
            for (end, taken) in &answers[from..] {
                granted += f64::from(taken.granted) * f64::from(policy.cost());
                let window_s = (end.passed_us - start.passed_us) as f64 / 1e6;
                let bound = f64::from(policy.capacity()) + policy.refill_per_second() * window_s;
                // Up to 60 roundings, of at most 2^-53 each, are to be allowed for when a bound is near 1e9.
                prop_assert!(granted <= bound + 1e-6 + bound * 1e-14, "{granted} tokens in {window_s} s, of {bound}");
            }
        }
    }

    /// I2, for every policy and clock: the promise holds at the promised microsecond and from then on.
    #[test]
    fn whoever_waits_what_it_was_told_is_granted(policy in any_policy(), history in any_history(), longer_us in 0..10_000_000_u64) {
        let (mut bucket, answers) = play(&policy, &history);
        let (_, last) = answers[answers.len() - 1];
        let denied = bucket.take(&policy, last.now_us, u32::MAX);
        prop_assert!(denied.wait_us > 0, "u32::MAX asks are never all granted");
        if denied.wait_us < MAX_WAIT_US {
            for waited_us in [denied.wait_us, denied.wait_us + longer_us] {
                let taken = bucket.clone().take(&policy, denied.now_us + waited_us, 1);
                prop_assert_eq!(taken.granted, 1, "told {} us, waited {} us", denied.wait_us, waited_us);
            }
        }
    }

    /// I3. The promise is late by at most 3 us (1 us from rounding up, 1 us of margin, 1 us where the last bit tips it) and
    /// 16 roundings of a request's cost, which is nothing unless the cost is huge and the refill slow.
    #[test]
    fn nobody_is_granted_appreciably_before_the_promise(policy in any_policy(), history in any_history(), part in 0.0..1.0) {
        let (mut bucket, answers) = play(&policy, &history);
        let (_, last) = answers[answers.len() - 1];
        let denied = bucket.take(&policy, last.now_us, u32::MAX);
        let early_us = 3 + rounding_us(&policy);
        if denied.wait_us < MAX_WAIT_US && denied.wait_us > early_us {
            let latest_us = denied.wait_us - early_us;
            for waited_us in [latest_us, (latest_us as f64 * part) as u64] {
                let taken = bucket.clone().take(&policy, denied.now_us + waited_us, 1);
                prop_assert_eq!(taken.granted, 0, "told {} us, granted after {} us", denied.wait_us, waited_us);
            }
        }
    }

    /// I4: what an answer says is left can be had at once, and no more than that.
    #[test]
    fn whole_tokens_left_are_exactly_what_can_still_be_had(policy in any_policy(), history in any_history()) {
        let (bucket, answers) = play(&policy, &history);
        let (_, last) = answers[answers.len() - 1];
        prop_assert!((0.0..=f64::from(policy.capacity())).contains(&last.tokens));
        let more = bucket.clone().take(&policy, last.now_us, u32::MAX);
        let affordable = last.tokens.floor() as u32 / policy.cost();
        prop_assert_eq!(more.granted, affordable);
    }

    /// I2 and I3 where they are hardest: less is missing than the rounding of a large cost, hardly anything comes back, and
    /// some of it has come back already.
    #[test]
    fn the_promise_holds_for_a_bucket_that_is_a_hair_short(
        policy in any_policy(), short_by in (-17.0..0.0).prop_map(|exponent| 10_f64.powf(exponent)), part in 0.0..1.0,
    ) {
        let cost = f64::from(policy.cost());
        let bucket = Bucket { tokens: (cost * (1.0 - short_by)).min(cost.next_down()), last_refill_us: T0_US };
        let ask = |now_us| bucket.clone().take(&policy, now_us, 1);
        let first_wait_us = ask(T0_US).wait_us;
        let later = ask(T0_US + (first_wait_us.min(LONGEST_STEP_US as u64) as f64 * part) as u64);
        prop_assert!(first_wait_us > 0);
        if later.granted == 0 && later.wait_us < MAX_WAIT_US {
            prop_assert_eq!(ask(later.now_us + later.wait_us).granted, 1, "told {} us", later.wait_us);
            let early_us = 3 + rounding_us(&policy);
            if later.wait_us > early_us {
                prop_assert_eq!(ask(later.now_us + later.wait_us - early_us).granted, 0, "told {} us", later.wait_us);
            }
        }
    }

    #[test]
    fn a_denial_changes_nothing(policy in any_policy(), history in any_history(), n in 1..u32::MAX, part in 0.0..1.0) {
        let (mut bucket, answers) = play(&policy, &history);
        let (_, last) = answers[answers.len() - 1];
        let emptied = bucket.take(&policy, last.now_us, u32::MAX);
        let before = bits(&bucket);
        // At some moment of the time it is told to wait, when part of a token has come back.
        let early_us = emptied.wait_us.saturating_sub(4 + rounding_us(&policy)).min(LONGEST_STEP_US as u64);
        let now_us = last.now_us + (early_us as f64 * part) as u64;
        prop_assert_eq!(bucket.take(&policy, now_us, n).granted, 0);
        prop_assert_eq!(bits(&bucket), before);
    }

    #[test]
    fn a_bucket_that_is_full_has_the_same_future_as_none(
        policy in any_policy().prop_filter("fills while a clock can count it", |policy| time_to_fill_us(policy) < LONGEST_STEP_US as u64),
        history in any_history(), beyond_us in 0..1_000_000_u64, future in any_history(),
    ) {
        let (mut used, answers) = play(&policy, &history);
        let (_, last) = answers[answers.len() - 1];
        // One microsecond more, because the last bit of the sum may be rounded down.
        let full_at_us = last.now_us.max(used.last_refill_us) + time_to_fill_us(&policy) + 1 + beyond_us;
        prop_assert!(used.is_full(&policy, full_at_us));
        let mut none = Bucket::full(&policy, full_at_us);
        prop_assert_eq!(used.take(&policy, full_at_us, 1), none.take(&policy, full_at_us, 1));
        let mut clock = Clock { passed_us: full_at_us - T0_US, behind_us: 0 };
        for step in &future {
            let now_us = clock.advance(step, &policy);
            prop_assert_eq!(used.take(&policy, now_us, step.n), none.take(&policy, now_us, step.n));
            prop_assert_eq!(bits(&used), bits(&none));
        }
    }

    #[test]
    fn equal_asks_at_once_are_worth_the_same_as_one_after_the_other(
        policy in any_policy(), history in any_history(), n in 1..40_u32,
    ) {
        let (mut merged, answers) = play(&policy, &history);
        let (_, last) = answers[answers.len() - 1];
        let mut one_by_one = merged;
        let now_us = last.now_us + 1;
        let at_once = merged.take(&policy, now_us, n);
        let each: Vec<Taken> = (0..n).map(|_| one_by_one.take(&policy, now_us, 1)).collect();
        let granted: Vec<u32> = each.iter().map(|taken| taken.granted).collect();
        let (first, rest) = granted.split_at(at_once.granted as usize);
        prop_assert!(first.iter().all(|&each| each == 1) && rest.iter().all(|&each| each == 0), "{:?}", granted);
        let end = each[each.len() - 1];
        prop_assert_eq!(at_once.tokens.to_bits(), end.tokens.to_bits());
        prop_assert_eq!(at_once.wait_us, end.wait_us);
        prop_assert_eq!(bits(&merged), bits(&one_by_one));
    }

    /// A clock at any place before the bucket's own time: nothing is drained, nothing refilled, and the wait includes the
    /// time the clock must first make up.
    #[test]
    fn a_clock_that_steps_back_neither_drains_nor_refills(policy in any_policy(), history in any_history(), back_us in 1..1_000_000_000_u64) {
        let (mut bucket, _) = play(&policy, &history);
        let at_us = bucket.last_refill_us;
        let then = bucket.level(&policy, at_us);
        prop_assert_eq!(bucket.level(&policy, at_us - back_us).to_bits(), then.to_bits());
        let now = bucket.clone().take(&policy, at_us, u32::MAX);
        let back = bucket.take(&policy, at_us - back_us, u32::MAX);
        prop_assert_eq!((now.granted, now.tokens.to_bits()), (back.granted, back.tokens.to_bits()));
        prop_assert_eq!(back.wait_us, (now.wait_us + back_us).min(MAX_WAIT_US));
        prop_assert_eq!(bucket.last_refill_us, at_us, "the bucket's own time never goes back");
    }

    /// I4 through the limiter: equal asks in one batch count down as if they had come one after the other, whatever stands
    /// between them.
    #[test]
    fn a_batch_counts_down_for_each_client_as_if_it_were_alone(
        capacity in 1..8_u32, batches in prop::collection::vec(prop::collection::vec(0..4_u32, 1..20), 1..6),
    ) {
        // A token takes 11 days: none comes back meanwhile.
        let limiter = Setup::embedded(Policy::new("test", capacity, 1e-6, 1).unwrap()).build();
        let mut left = [capacity; 4];
        for batch in batches {
            let clients: Vec<_> = batch.iter().map(|&n| client(n)).collect();
            let decisions = limiter.decide(&clients);
            prop_assert_eq!(decisions.len(), clients.len());
            for (&n, decision) in batch.iter().zip(decisions) {
                let left = &mut left[n as usize];
                let expected = if *left > 0 { Outcome::Allowed } else { Outcome::Denied };
                *left = left.saturating_sub(1);
                prop_assert_eq!((decision.outcome(), decision.remaining), (expected, *left));
            }
        }
    }
}

#[test]
fn a_policy_is_made_of_numbers_in_their_ranges_and_of_no_others() {
    let accepted = [
        (1, 1e-6, 1),
        (5, 0.1, 1),
        (5, 0.1, 5),
        (MAX_CAPACITY, MAX_REFILL_PER_SECOND, MAX_CAPACITY),
        (1, f64::MIN_POSITIVE, 1),
    ];
    for (capacity, rate, cost) in accepted {
        let policy = Policy::new("test", capacity, rate, cost).unwrap();
        assert_eq!((policy.capacity(), policy.refill_per_second(), policy.cost()), (capacity, rate, cost));
    }
    let refused = [
        (0, 1.0, 1, "capacity of 0"),
        (MAX_CAPACITY + 1, 1.0, 1, "capacity of 1000000001"),
        (5, 0.0, 1, "rate of 0"),
        (5, -0.0, 1, "rate of -0"),
        (5, -1.0, 1, "rate of -1"),
        (5, f64::NAN, 1, "rate of NaN"),
        (5, f64::INFINITY, 1, "rate of inf"),
        (5, MAX_REFILL_PER_SECOND + 0.5, 1, "rate of 1000000.5"),
        (5, 1.0, 0, "cost of 0"),
        (5, 1.0, 6, "cost of 6"),
    ];
    for (capacity, rate, cost, said) in refused {
        let error = Policy::new("test", capacity, rate, cost).unwrap_err().to_string();
        assert!(error.contains(said), "{error} does not say {said}");
    }
    assert_eq!(Policy::new("test", 5, 1.0, 6), Err(PolicyError::Cost(6)));
}

#[test]
fn a_replicas_share_is_divided_but_always_enough_for_one_request() {
    let replicas = |n| NonZeroU32::new(n).unwrap();
    let cases = [(5, 1, 1, 5), (5, 1, 2, 2), (5, 1, 5, 1), (5, 1, 6, 1), (100, 30, 3, 33), (100, 30, 4, 30)];
    for (capacity, cost, n, share) in cases {
        let policy = Policy::new("test", capacity, 3.0, cost).unwrap().divided_by(replicas(n));
        assert_eq!((policy.capacity(), policy.cost()), (share, cost), "{capacity} tokens among {n}");
        assert_eq!(policy.refill_per_second().to_bits(), (3.0 / f64::from(n)).to_bits());
    }
}

#[test]
fn the_window_is_the_time_an_empty_bucket_takes_to_fill_in_whole_seconds_rounded_up() {
    for (capacity, rate, window_s) in [(5, 0.1, 50), (1, 3.0, 1), (7, 2.0, 4), (1, 1e6, 1), (10, 1e-6, 10_000_000)] {
        assert_eq!(Policy::new("test", capacity, rate, 1).unwrap().window_s(), window_s);
    }
}

#[test]
fn a_wait_is_told_to_the_microsecond() {
    let policy = Policy::new("test", 5, 0.1, 1).unwrap();
    let mut bucket = Bucket::full(&policy, T0_US);
    assert_eq!(bucket.take(&policy, T0_US, 5), Taken { granted: 5, tokens: 0.0, wait_us: 0, now_us: T0_US });
    let denied = bucket.take(&policy, T0_US + 4_000_000, 1);
    assert_eq!(denied, Taken { granted: 0, tokens: 0.4, wait_us: 6_000_001, now_us: T0_US + 4_000_000 });
    assert_eq!(bucket.take(&policy, T0_US + 9_999_999, 1).granted, 0);
    assert_eq!(bucket.take(&policy, T0_US + 10_000_001, 1).granted, 1);
}

#[test]
fn a_partial_grant_takes_what_there_is_and_tells_the_wait_for_one_more() {
    let policy = Policy::new("test", 10, 1.0, 3).unwrap();
    let mut bucket = Bucket::full(&policy, T0_US);
    let taken = bucket.take(&policy, T0_US, 7);
    assert_eq!(taken, Taken { granted: 3, tokens: 1.0, wait_us: 2_000_001, now_us: T0_US });
}
