//! Deadlines in slots of 50 ms. Entries are never moved or taken out: whoever is woken checks its own deadline and
//! asks again, so a deadline that moves later (each answer does that) costs nothing here.
//!
//! It reads no clock: time is an argument, in milliseconds since the engine started.

use crate::slab::Key;

const TICK_MS: u64 = 50;
const SLOTS: u64 = 512;

/// The longest wait an entry can have, in milliseconds; later ones are asked for again after it.
#[cfg(test)]
const HORIZON_MS: u64 = TICK_MS * (SLOTS - 1);

#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<Key>>,
    /// All slots up to this tick are empty.
    done: u64,
    /// No entry is at an earlier tick; `u64::MAX` while there is none.
    next: u64,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), done: 0, next: u64::MAX }
    }

    /// Wakes `key` at `due_ms` rounded up to a tick, or at the horizon if that is earlier. Returns when.
    pub(crate) fn insert(&mut self, key: Key, due_ms: u64) -> u64 {
        let tick = due_ms.div_ceil(TICK_MS).clamp(self.done + 1, self.done + SLOTS - 1);
        self.slots[slot(tick)].push(key);
        self.next = self.next.min(tick);
        tick * TICK_MS
    }

    /// When the first entry is due, in milliseconds.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        (self.next != u64::MAX).then(|| self.next * TICK_MS)
    }

    /// Moves the entries that are due at `now_ms` into `due`, each with the time it was asked for.
    pub(crate) fn advance(&mut self, now_ms: u64, due: &mut Vec<(Key, u64)>) {
        let now = now_ms / TICK_MS;
        while self.next <= now {
            let tick = self.next;
            due.extend(self.slots[slot(tick)].drain(..).map(|key| (key, tick * TICK_MS)));
            self.done = tick;
            self.next = (tick + 1..tick + SLOTS).find(|&t| !self.slots[slot(t)].is_empty()).unwrap_or(u64::MAX);
        }
        self.done = self.done.max(now);
    }
}

fn slot(tick: u64) -> usize {
    (tick % SLOTS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel, now_ms: u64) -> Vec<usize> {
        let mut due = Vec::new();
        wheel.advance(now_ms, &mut due);
        due.into_iter().map(|(key, _)| key.0).collect()
    }

    #[test]
    fn nothing_fires_early_and_everything_fires_within_a_tick() {
        let mut wheel = Wheel::new();
        assert_eq!(wheel.insert(Key(1), 120), 150);
        assert_eq!(wheel.insert(Key(2), 60), 100);
        assert_eq!(wheel.next_due_ms(), Some(100));
        assert!(fired(&mut wheel, 99).is_empty());
        assert_eq!(fired(&mut wheel, 100), [2]);
        assert_eq!(fired(&mut wheel, 1000), [1]);
        assert_eq!(wheel.next_due_ms(), None);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let mut wheel = Wheel::new();
        assert!(fired(&mut wheel, 10_000).is_empty());
        assert_eq!(wheel.insert(Key(7), 5), 10_050);
        assert_eq!(fired(&mut wheel, 10_050), [7]);
    }

    #[test]
    fn a_deadline_beyond_the_horizon_is_asked_about_at_the_horizon() {
        let mut wheel = Wheel::new();
        let asked = wheel.insert(Key(7), 3_600_000);
        assert_eq!(asked, HORIZON_MS);
        assert!(fired(&mut wheel, HORIZON_MS - 1).is_empty());
        assert_eq!(fired(&mut wheel, HORIZON_MS), [7]);
    }

    #[test]
    fn entries_that_were_asked_for_at_once_fire_together_across_the_wrap() {
        let mut wheel = Wheel::new();
        for round in 1..2_000 {
            let now = round * 1_000;
            wheel.insert(Key(1), now + 900);
            wheel.insert(Key(2), now + 900);
            assert_eq!(fired(&mut wheel, now + 950), [1, 2], "round {round}");
        }
    }
}
