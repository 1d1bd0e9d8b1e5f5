//! A circuit breaker: after a few consecutive failures nothing waits for Redis until a probe has found it well.
//!
//! ```text
//!       a time-out, or failures at the threshold
//!   Closed ------------------------------> Open(until) <-----------.
//!     ^                                      | until has passed:    | the probe failed:
//!     |        the probe succeeded           v one caller probes    | wait twice as long
//!     '---------------------------------- HalfOpen ----------------'
//! ```
//!
//! Invariant: while open, at most one caller at a time is let through. Pure: it reads no clock and draws no random number;
//! both are arguments.

use std::time::{Duration, Instant};

/// What the breaker may be tuned by.
#[derive(Debug, Clone, Copy)]
pub struct BreakerSettings {
    /// Consecutive failures that open it; at least 1.
    pub failures_to_open: u32,
    /// How long it stays open at first; each probe that fails doubles that.
    pub first_pause: Duration,
    /// The longest pause between two probes.
    pub longest_pause: Duration,
    /// How long a probe may take before another caller is let through in its place.
    pub probe_timeout: Duration,
}

/// The state's name, as it is shown in `/api/ready` and in metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused.
    Open,
    /// One probe is under way; all other calls are refused.
    HalfOpen,
}

impl BreakerState {
    /// Every state, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name in labels and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The answer to "may I call?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Go on; report how it went.
    Call,
    /// Go on as the one probe; report how it went.
    Probe,
    /// Do not call; the next probe is due in this long.
    Refused(Duration),
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration },
    HalfOpen { expires: Instant, pause: Duration },
}

/// The breaker itself; share it behind a lock.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed { failures: 0 } }
    }

    /// The state's name at this moment.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Asks to call at `now`. Whoever is given `Call` or `Probe` reports back with [`Breaker::succeeded`] or [`Breaker::failed`].
    pub fn permit(&mut self, now: Instant) -> Permit {
        let (due, pause) = match self.state {
            State::Closed { .. } => return Permit::Call,
            State::Open { until, pause } => (until, pause),
            // A probe whose caller never came back must not keep the breaker open for good.
            State::HalfOpen { expires, pause } => (expires, pause),
        };
        if now < due {
            return Permit::Refused(due - now);
        }
        self.state = State::HalfOpen { expires: now + self.settings.probe_timeout, pause };
        Permit::Probe
    }

    /// Reports that the call made under `permit` was answered.
    pub fn succeeded(&mut self, permit: Permit) {
        match (permit, self.state) {
            (Permit::Probe, _) | (Permit::Call, State::Closed { .. }) => self.state = State::Closed { failures: 0 },
            // A late success of a call made before the breaker opened proves nothing about now.
            (Permit::Call, State::Open { .. } | State::HalfOpen { .. }) | (Permit::Refused(_), _) => {}
        }
    }

    /// Reports that the call made under `permit` failed at once, at `now`; `jitter` in `0.0..=1.0` spreads the replicas' probes.
    pub fn failed(&mut self, permit: Permit, now: Instant, jitter: f64) {
        match (permit, self.state) {
            (Permit::Call, State::Closed { failures }) if failures + 1 < self.settings.failures_to_open => {
                self.state = State::Closed { failures: failures + 1 };
            }
            (Permit::Call, State::Closed { .. }) => self.open(now, self.settings.first_pause, jitter),
            (Permit::Probe, State::Open { pause, .. } | State::HalfOpen { pause, .. }) => {
                self.open(now, (pause * 2).min(self.settings.longest_pause), jitter);
            }
            // Another probe has found Redis well meanwhile, or the breaker is open already.
            (Permit::Probe, State::Closed { .. })
            | (Permit::Call, State::Open { .. } | State::HalfOpen { .. })
            | (Permit::Refused(_), _) => {}
        }
    }

    /// Reports that the call made under `permit` was waited for in vain. One is enough to open the breaker: each further one
    /// would cost its caller the whole time-out.
    pub fn timed_out(&mut self, permit: Permit, now: Instant, jitter: f64) {
        match (permit, self.state) {
            (Permit::Call, State::Closed { .. }) => self.open(now, self.settings.first_pause, jitter),
            (Permit::Call | Permit::Probe | Permit::Refused(_), _) => self.failed(permit, now, jitter),
        }
    }

    fn open(&mut self, now: Instant, pause: Duration, jitter: f64) {
        // Between half of the pause and all of it.
        let wait = pause.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        self.state = State::Open { until: now + wait, pause };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: BreakerSettings =
        BreakerSettings { failures_to_open: 3, first_pause: ms(100), longest_pause: ms(1_000), probe_timeout: ms(50) };
    /// No jitter: the whole pause.
    const WHOLE: f64 = 1.0;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A breaker that has just opened, and when.
    fn opened() -> (Breaker, Instant) {
        let (mut breaker, t0) = (Breaker::new(SETTINGS), Instant::now());
        for _ in 0..SETTINGS.failures_to_open {
            breaker.failed(Permit::Call, t0, WHOLE);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        (breaker, t0)
    }

    #[test]
    fn one_time_out_opens_it_and_those_that_follow_change_nothing() {
        let (mut breaker, t0) = (Breaker::new(SETTINGS), Instant::now());
        breaker.timed_out(Permit::Call, t0, WHOLE);
        breaker.timed_out(Permit::Call, t0 + ms(50), WHOLE);
        assert_eq!(breaker.permit(t0 + ms(99)), Permit::Refused(ms(1)));
        assert_eq!(breaker.permit(t0 + ms(100)), Permit::Probe);
        breaker.timed_out(Permit::Probe, t0 + ms(100), WHOLE);
        assert_eq!(breaker.permit(t0 + ms(100)), Permit::Refused(ms(200)), "the pause grows as for any failed probe");
    }

    #[test]
    fn it_opens_at_exactly_as_many_failures_in_a_row_as_it_is_told() {
        for failures_to_open in 1..=5 {
            let (mut breaker, t0) = (Breaker::new(BreakerSettings { failures_to_open, ..SETTINGS }), Instant::now());
            for failures in 1..=failures_to_open {
                assert_eq!(breaker.permit(t0), Permit::Call);
                breaker.failed(Permit::Call, t0, WHOLE);
                assert_eq!(breaker.state() == BreakerState::Open, failures == failures_to_open);
            }
        }
    }

    #[test]
    fn a_success_makes_the_count_start_again() {
        let (mut breaker, t0) = (Breaker::new(SETTINGS), Instant::now());
        for _ in 0..10 {
            breaker.failed(Permit::Call, t0, WHOLE);
            breaker.failed(Permit::Call, t0, WHOLE);
            breaker.succeeded(Permit::Call);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn while_open_it_refuses_and_says_how_long_until_the_probe() {
        let (mut breaker, t0) = opened();
        for passed in [0, 1, 50, 99] {
            assert_eq!(breaker.permit(t0 + ms(passed)), Permit::Refused(ms(100 - passed)));
        }
        assert_eq!(breaker.permit(t0 + ms(100)), Permit::Probe);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }

    #[test]
    fn one_caller_probes_and_the_others_are_refused_meanwhile() {
        let (mut breaker, t0) = opened();
        assert_eq!(breaker.permit(t0 + ms(100)), Permit::Probe);
        assert_eq!(breaker.permit(t0 + ms(100)), Permit::Refused(ms(50)));
        assert_eq!(breaker.permit(t0 + ms(149)), Permit::Refused(ms(1)));
        breaker.succeeded(Permit::Probe);
        assert_eq!((breaker.state(), breaker.permit(t0 + ms(149))), (BreakerState::Closed, Permit::Call));
    }

    #[test]
    fn a_probe_that_never_reports_is_replaced_by_one_other() {
        let (mut breaker, t0) = opened();
        assert_eq!(breaker.permit(t0 + ms(100)), Permit::Probe);
        assert_eq!(breaker.permit(t0 + ms(150)), Permit::Probe);
        assert_eq!(breaker.permit(t0 + ms(150)), Permit::Refused(ms(50)));
    }

    #[test]
    fn each_probe_that_fails_doubles_the_pause_up_to_the_longest() {
        let (mut breaker, mut now) = opened();
        for pause in [100, 200, 400, 800, 1_000, 1_000] {
            assert_eq!(breaker.permit(now), Permit::Refused(ms(pause)));
            now += ms(pause);
            assert_eq!(breaker.permit(now), Permit::Probe);
            breaker.failed(Permit::Probe, now, WHOLE);
        }
        now += ms(1_000);
        assert_eq!(breaker.permit(now), Permit::Probe);
        breaker.succeeded(Permit::Probe);
        for _ in 0..SETTINGS.failures_to_open {
            breaker.failed(Permit::Call, now, WHOLE);
        }
        assert_eq!(
            breaker.permit(now),
            Permit::Refused(ms(100)),
            "once it was closed, the first pause is the first again"
        );
    }

    #[test]
    fn jitter_spreads_the_probe_over_the_second_half_of_the_pause() {
        for (jitter, pause) in [(0.0, 50), (0.5, 75), (1.0, 100), (-7.0, 50), (7.0, 100)] {
            let (mut breaker, t0) = (Breaker::new(BreakerSettings { failures_to_open: 1, ..SETTINGS }), Instant::now());
            breaker.failed(Permit::Call, t0, jitter);
            assert_eq!(breaker.permit(t0), Permit::Refused(ms(pause)), "jitter {jitter}");
        }
    }

    #[test]
    fn what_was_called_before_it_opened_changes_nothing_when_it_reports_late() {
        let (mut breaker, t0) = opened();
        breaker.succeeded(Permit::Call);
        breaker.failed(Permit::Call, t0 + ms(60), WHOLE);
        assert_eq!(breaker.permit(t0 + ms(99)), Permit::Refused(ms(1)), "neither closed nor open for longer");
        assert_eq!(breaker.permit(t0 + ms(100)), Permit::Probe);
        breaker.succeeded(Permit::Call);
        breaker.failed(Permit::Call, t0 + ms(101), WHOLE);
        assert_eq!(breaker.permit(t0 + ms(149)), Permit::Refused(ms(1)), "the probe is still waited for");
    }

    #[test]
    fn a_probe_that_fails_after_another_found_all_well_changes_nothing() {
        let (mut breaker, t0) = opened();
        assert_eq!([breaker.permit(t0 + ms(100)), breaker.permit(t0 + ms(150))], [Permit::Probe; 2]);
        breaker.succeeded(Permit::Probe);
        breaker.failed(Permit::Probe, t0 + ms(160), WHOLE);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Passes(Duration),
        Asks,
        Reports { who: usize, succeeded: bool, jitter: f64 },
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..200_u64).prop_map(|passed| Event::Passes(ms(passed))),
            Just(Event::Asks),
            Just(Event::Asks),
            (0..4_usize, any::<bool>(), 0.0..=1.0).prop_map(|(who, succeeded, jitter)| Event::Reports {
                who,
                succeeded,
                jitter
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_happens_nobody_calls_while_it_is_open_but_one_probe(events in prop::collection::vec(any_event(), 1..200)) {
            let (mut breaker, mut now) = (Breaker::new(SETTINGS), Instant::now());
            let mut under_way: Vec<(Permit, Instant)> = Vec::new();
            for event in events {
                let was = breaker.state();
                match event {
                    Event::Passes(passed) => now += passed,
                    Event::Asks => {
                        let permit = breaker.permit(now);
                        prop_assert_eq!(permit == Permit::Call, was == BreakerState::Closed);
                        if let Permit::Refused(due) = permit {
                            prop_assert!(Duration::ZERO < due && due <= SETTINGS.longest_pause);
                            let mut undisturbed = Breaker { ..breaker };
                            prop_assert_eq!(undisturbed.permit(now + due), Permit::Probe, "the promised probe");
                        }
                        if permit == Permit::Probe && was == BreakerState::HalfOpen {
                            let in_time = |since: &Instant| now - *since < SETTINGS.probe_timeout;
                            let rival = under_way.iter().find(|(permit, since)| *permit == Permit::Probe && in_time(since));
                            prop_assert_eq!(rival, None, "two probes at once");
                        }
                        under_way.push((permit, now));
                    }
                    Event::Reports { who, succeeded, jitter } if who < under_way.len() => {
                        let (permit, _) = under_way.remove(who);
                        if succeeded { breaker.succeeded(permit) } else { breaker.failed(permit, now, jitter) }
                        let closed = was != BreakerState::Closed && breaker.state() == BreakerState::Closed;
                        prop_assert_eq!(closed, was != BreakerState::Closed && succeeded && permit == Permit::Probe);
                    }
                    Event::Reports { .. } => {}
                }
            }
        }
    }
}
