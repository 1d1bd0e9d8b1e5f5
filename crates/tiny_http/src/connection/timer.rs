//! What a connection may be waited for, and what happens when that takes too long.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Connection, Phase, State};
use crate::head::HeadScan;
use crate::reject::{RejectReason, Rejection};
use crate::request::Request;

/// What is waited for, and until when, in milliseconds of the engine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// For nothing: the next move is a worker's.
    None,
    /// For the next request.
    Idle(u64),
    /// For the rest of a head.
    Head(u64),
    /// For the rest of a body.
    Body(u64),
    /// For the client to close.
    Linger(u64),
}

impl Timer {
    fn due_ms(self) -> u64 {
        match self {
            Self::None => u64::MAX,
            Self::Idle(due) | Self::Head(due) | Self::Body(due) | Self::Linger(due) => due,
        }
    }
}

impl State {
    fn due_ms(&self) -> u64 {
        let output = if self.output.is_empty() { u64::MAX } else { self.output.deadline_ms };
        self.timer.due_ms().min(output)
    }
}

impl Connection {
    /// Keeps a timer that is right, and starts the right one otherwise.
    pub(super) fn set_timer(&self, state: &mut State) {
        let engine = &self.engine;
        let limits = engine.limits();
        state.timer = match (&state.phase, state.timer) {
            (Phase::Head(scan), timer) if state.may_hand_out(engine) => {
                let has_begun = *scan != HeadScan::default() || !state.carry.is_empty();
                match timer {
                    Timer::Head(_) if has_begun => timer,
                    _ if has_begun => Timer::Head(engine.after_ms(limits.head_timeout)),
                    Timer::Idle(_) => timer,
                    _ if state.in_hands() == 0 => Timer::Idle(engine.after_ms(engine.idle_timeout())),
                    _ => Timer::None,
                }
            }
            (Phase::Collect(_) | Phase::Discard(..), Timer::Body(_)) | (Phase::Linger(_), Timer::Linger(_)) => {
                state.timer
            }
            (Phase::Collect(_) | Phase::Discard(..), _) => Timer::Body(engine.after_ms(limits.body_timeout)),
            (Phase::Linger(_), _) => Timer::Linger(engine.after_ms(limits.linger_timeout)),
            (Phase::Head(_) | Phase::Stream(_) | Phase::Upgraded | Phase::Closed, _) => Timer::None,
        };
        self.schedule(state);
    }

    /// Has the wheel ask in time.
    pub(super) fn schedule(&self, state: &mut State) {
        let due = state.due_ms();
        if due < state.scheduled_ms {
            state.scheduled_ms = self.engine.schedule(self.key, due);
        }
    }

    /// The wheel asks, as it was told to for `asked_ms`.
    pub(crate) fn on_timer(self: &Arc<Self>, asked_ms: u64, now_ms: u64, requests: &mut Vec<Request>) {
        let mut state = self.lock();
        if state.scheduled_ms != asked_ms {
            return;
        }
        state.scheduled_ms = u64::MAX;
        if state.is_closed() {
            return;
        }
        if state.due_ms() <= now_ms {
            self.expire(&mut state, now_ms);
            self.pump(&mut state, requests);
        } else {
            self.schedule(&mut state);
        }
    }

    fn expire(self: &Arc<Self>, state: &mut State, now_ms: u64) {
        if !state.output.is_empty() && state.output.deadline_ms <= now_ms {
            self.engine.counters.timed_out.fetch_add(1, Relaxed);
            self.close(state);
            return;
        }
        match std::mem::replace(&mut state.timer, Timer::None) {
            Timer::None => {}
            Timer::Idle(_) => {
                self.engine.counters.timed_out.fetch_add(1, Relaxed);
                self.close(state);
            }
            Timer::Linger(_) => self.close(state),
            Timer::Head(_) => {
                let is_head = state.is_head();
                self.reject(state, HEAD_TIMEOUT, is_head);
            }
            Timer::Body(_) => match state.phase {
                Phase::Collect(ref collect) => {
                    let is_head = collect.is_head;
                    self.reject(state, BODY_TIMEOUT, is_head);
                }
                _ if state.in_hands() == 0 => self.close(state),
                _ => {
                    state.last = true;
                    state.phase = Phase::Head(HeadScan::default());
                }
            },
        }
    }
}

const HEAD_TIMEOUT: Rejection = Rejection::new(RejectReason::HeadTimeout, "The head of the request took too long.");
const BODY_TIMEOUT: Rejection = Rejection::new(RejectReason::BodyTimeout, "The body of the request took too long.");
