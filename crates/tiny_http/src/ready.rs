//! Requests that wait for a worker, and whose turn it is to poll.
//!
//! Workers are leader and followers: of the threads in [`Ready::receive`] one has the poller, the others sleep. The
//! leader takes what it polled and leaves. Who polls next depends on how it leaves:
//!
//! - A *single* receiver may be gone for long, so it wakes a follower that takes the poller.
//! - A *batch* receiver comes back soon, or says that it does not ([`Ready::hand_over`]). It wakes nobody unless its
//!   absences have been long; under load one thread polls and answers and the others cost nothing. A follower naps
//!   meanwhile: if nobody received anything for a whole nap while the poller was free, the leader is stuck and the
//!   follower takes over.
//!
//! Invariant: while followers sleep without a limit, either a thread is polling or one of them has been woken.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, MutexGuard};
use std::time::{Duration, Instant};

use crate::request::Request;
use crate::sync::{Lock, wait};

/// How long a free poller may go unused while a batch receiver is away.
const NAP: Duration = Duration::from_millis(2);
/// The mean absence, in microseconds, from which on a thread that leaves wakes another. Measured on two cores: with answers
/// from Redis in 0.1 to 0.3 ms, one worker at a time takes a third more than two in turns.
const LONG_ABSENCE_US: u64 = 1_000;
/// Naps without any request after which a follower sleeps soundly.
const QUIET_NAPS: u32 = 50;
/// Requests taken from the queue after which the sockets are looked at again, so that a connection whose requests feed
/// the queue from its buffer does not keep the others out.
const TAKEN_PER_POLL: usize = 64;

#[expect(clippy::large_enum_variant, reason = "nearly all are requests")]
enum Item {
    Request(Request),
    Unblock,
}

thread_local! {
    /// When this thread said that it would be away.
    static LEFT_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How long a receiver waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    None,
    Until(Instant),
    Forever,
}

impl Patience {
    /// What is left of it; `None` is for ever.
    fn left(self) -> Option<Duration> {
        match self {
            Self::None => Some(Duration::ZERO),
            Self::Until(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
            Self::Forever => None,
        }
    }
}

/// Who receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiver {
    Single,
    Batch,
}

/// What became of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    Requests,
    Unblocked,
    TimedOut,
    Drained,
}

/// What is polled, so that this module polls nothing itself.
pub(crate) trait Poll {
    /// Makes a poll that is waiting return.
    fn interrupt(&self);
    /// Whether there will never be a request again.
    fn is_drained(&self) -> bool;
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    polling: bool,
    /// The poller is free and a follower was woken to take it.
    handed_over: bool,
    followers: usize,
    nappers: usize,
    /// Counts receives, for a napper to see whether anybody came by.
    receives: u64,
    taken_since_poll: usize,
    /// Lent to the leader, to be filled.
    polled: Vec<Request>,
}

#[derive(Default)]
pub(crate) struct Ready {
    state: Lock<State>,
    signal: Condvar,
    /// Requests handed to the queue or about to be, for the bound.
    backlog: AtomicUsize,
    /// A copy of `State::followers` that costs no lock.
    followers: AtomicUsize,
    /// The mean of the latest absences, in microseconds.
    absence_us: AtomicU64,
}

impl Ready {
    /// Requests received and not taken.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.load(Relaxed)
    }

    /// Counts a request that will be queued; false if there are `limit` already.
    pub(crate) fn admit(&self, limit: usize) -> bool {
        if self.backlog() >= limit {
            return false;
        }
        self.backlog.fetch_add(1, Relaxed);
        true
    }

    /// Queues admitted requests that did not come from the leader's poll.
    pub(crate) fn submit(&self, requests: Vec<Request>, poll: &impl Poll) {
        if requests.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        state.items.extend(requests.into_iter().map(Item::Request));
        self.wake_one(&state, poll);
    }

    /// Makes one receiver return without a request: one that waits, or the next to come.
    pub(crate) fn unblock(&self, poll: &impl Poll) {
        let mut state = self.state.lock();
        state.items.push_back(Item::Unblock);
        self.wake_one(&state, poll);
    }

    fn wake_one(&self, state: &State, poll: &impl Poll) {
        if state.followers > 0 {
            self.signal.notify_one();
        } else if state.polling {
            poll.interrupt();
        }
    }

    /// Wakes everybody, to look around.
    pub(crate) fn wake_all(&self, poll: &impl Poll) {
        let _state = self.state.lock();
        self.signal.notify_all();
        poll.interrupt();
    }

    /// Says that the calling thread, a batch receiver, will be away. If that has been for long of late, a follower is
    /// woken to poll; a short absence costs less than the wake-up, and a napper sees to one that turns out long.
    pub(crate) fn hand_over(&self) {
        if self.followers.load(Relaxed) == 0 {
            return;
        }
        LEFT_AT.set(Some(Instant::now()));
        if self.absence_us.load(Relaxed) < LONG_ABSENCE_US {
            return;
        }
        let mut state = self.state.lock();
        if !state.polling && !state.handed_over && state.followers > 0 {
            state.handed_over = true;
            self.signal.notify_one();
        }
    }

    /// Keeps a running mean of absences, for the next one.
    fn come_back(&self) {
        if let Some(left_at) = LEFT_AT.take() {
            let absence_us = u64::try_from(left_at.elapsed().as_micros()).unwrap_or(u64::MAX);
            let mean = self.absence_us.load(Relaxed);
            self.absence_us.store(mean - mean / 8 + absence_us / 8, Relaxed);
        }
    }

    /// Takes everything out of the queue.
    pub(crate) fn clear(&self) -> Vec<Request> {
        let items = std::mem::take(&mut self.state.lock().items);
        items
            .into_iter()
            .filter_map(|item| match item {
                Item::Request(request) => Some(request),
                Item::Unblock => None,
            })
            .collect()
    }

    /// Waits for a request and appends up to `max` that are there. `turn` polls once, for at most so long, and appends the
    /// requests that are complete.
    pub(crate) fn receive(
        &self,
        out: &mut Vec<Request>,
        max: usize,
        patience: Patience,
        receiver: Receiver,
        poll: &impl Poll,
        turn: impl Fn(Option<Duration>, &mut Vec<Request>),
    ) -> Received {
        self.come_back();
        let mut state = self.state.lock();
        state.receives += 1;
        let mut has_polled = false;
        loop {
            let must_poll = !state.polling && state.taken_since_poll >= TAKEN_PER_POLL && !has_polled;
            if !must_poll && let Some(received) = self.take(&mut state, out, max) {
                self.leave(&mut state, receiver, poll);
                return received;
            }
            if poll.is_drained() {
                self.signal.notify_all();
                return Received::Drained;
            }
            if !state.polling {
                let limit = if state.items.is_empty() { patience.left() } else { Some(Duration::ZERO) };
                if has_polled && limit.is_some_and(|limit| limit.is_zero()) {
                    self.leave(&mut state, receiver, poll);
                    return Received::TimedOut;
                }
                state = self.lead(state, limit, &turn);
                has_polled = true;
            } else if patience.left().is_some_and(|left| left.is_zero()) {
                return Received::TimedOut;
            } else {
                state = self.follow(state, patience, poll);
            }
        }
    }

    fn take(&self, state: &mut State, out: &mut Vec<Request>, max: usize) -> Option<Received> {
        let before = out.len();
        while out.len() - before < max {
            match state.items.pop_front() {
                Some(Item::Request(request)) => out.push(request),
                Some(Item::Unblock) if out.len() == before => return Some(Received::Unblocked),
                Some(Item::Unblock) => {
                    state.items.push_front(Item::Unblock);
                    break;
                }
                None => break,
            }
        }
        let taken = out.len() - before;
        if taken == 0 {
            return None;
        }
        state.taken_since_poll += taken;
        self.backlog.fetch_sub(taken, Relaxed);
        Some(Received::Requests)
    }

    /// Sees to it that what is left behind is looked after.
    fn leave(&self, state: &mut State, receiver: Receiver, poll: &impl Poll) {
        if !state.items.is_empty() {
            self.wake_one(state, poll);
        } else if state.followers > 0 && !state.polling && !state.handed_over {
            match receiver {
                Receiver::Single => {
                    state.handed_over = true;
                    self.signal.notify_one();
                }
                Receiver::Batch if state.nappers == 0 => self.signal.notify_one(),
                Receiver::Batch => {}
            }
        }
    }

    fn lead<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        limit: Option<Duration>,
        turn: &impl Fn(Option<Duration>, &mut Vec<Request>),
    ) -> MutexGuard<'a, State> {
        state.polling = true;
        state.handed_over = false;
        state.taken_since_poll = 0;
        let mut polled = std::mem::take(&mut state.polled);
        drop(state);
        let guard = LeaderGuard(self);
        turn(limit, &mut polled);
        std::mem::forget(guard);
        let mut state = self.state.lock();
        state.polling = false;
        state.items.extend(polled.drain(..).map(Item::Request));
        state.polled = polled;
        state
    }

    /// Sleeps until there is something to look at: requests, the poller, or the end of patience.
    fn follow<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        patience: Patience,
        poll: &impl Poll,
    ) -> MutexGuard<'a, State> {
        let mut quiet_naps = 0;
        state.followers += 1;
        self.followers.store(state.followers, Relaxed);
        loop {
            // One that naps is enough; when it has gone, whoever leaves the poller next wakes another.
            let naps = quiet_naps < QUIET_NAPS && state.nappers == 0;
            let left = patience.left();
            let limit = if naps { Some(left.map_or(NAP, |left| left.min(NAP))) } else { left };
            let receives = state.receives;
            let asleep_at = Instant::now();
            state.nappers += usize::from(naps);
            state = wait(&self.signal, state, limit);
            state.nappers -= usize::from(naps);

            let rested = limit.is_some_and(|limit| asleep_at.elapsed() >= limit);
            let nobody_came = state.receives == receives;
            let may_lead = !state.polling && (state.handed_over || naps && rested && nobody_came);
            if !state.items.is_empty()
                || may_lead
                || poll.is_drained()
                || patience.left().is_some_and(|left| left.is_zero())
            {
                break;
            }
            quiet_naps = if naps && rested && nobody_came { quiet_naps + 1 } else { 0 };
        }
        state.followers -= 1;
        self.followers.store(state.followers, Relaxed);
        state
    }
}

/// Frees the poller if a poll unwinds, so that another thread can have it.
struct LeaderGuard<'a>(&'a Ready);

impl Drop for LeaderGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.polling = false;
        state.handed_over = state.followers > 0;
        self.0.signal.notify_one();
    }
}
