//! From answers to bytes: in order, at once where the socket takes them, later where it does not.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Collect, Collected, Connection, Output, Parked, Phase, State};
use crate::budget::Charge;
use crate::head::HeadScan;
use crate::reject::Rejection;
use crate::socket::Direction;

/// A client that takes this much of what waits for it gets the whole time-out again.
const PROGRESS_BYTES: usize = 64 * 1024;

impl Connection {
    /// Sends the whole answer to request `seq`, or keeps it until it is its turn. It never waits for that: the answer before
    /// it may be the same thread's to give.
    pub(crate) fn answer(self: &Arc<Self>, seq: u64, bytes: &[u8]) {
        let mut state = self.lock();
        if state.is_closed() {
            return;
        }
        if state.written != seq || state.writing {
            return self.park(&mut state, seq, bytes.to_vec());
        }
        self.send(&mut state, bytes);
        self.answered(state);
    }

    /// Keeps an answer until it is its turn. If there is no memory for it, the connection is closed.
    fn park(&self, state: &mut State, seq: u64, bytes: Vec<u8>) {
        let mut charge = Charge::new(self.engine.unsent());
        if !charge.add(bytes.len()) {
            self.engine.counters.overflowed.fetch_add(1, Relaxed);
            return self.close(state);
        }
        state.parked.push_back(Parked { seq, bytes, _charge: charge });
    }

    /// The answer whose turn it was is written: the next ones follow, and then the input that had to wait.
    pub(super) fn answered(self: &Arc<Self>, mut state: std::sync::MutexGuard<'_, State>) {
        state.written += 1;
        self.send_parked(&mut state);
        if matches!(state.phase, Phase::Collect(_)) {
            self.send_continue(&mut state);
        }
        if state.in_hands() == 0 {
            state.barrier = false;
        } else {
            self.turn.notify_all();
        }
        if self.engine.is_gone() {
            drop(state);
            self.finish_alone();
            return;
        }
        let has_room = state.in_hands() <= self.engine.limits().pipelined_requests as u64 / 2;
        let has_input = state.readable || !state.carry.is_empty();
        if has_room && has_input && state.wants_input(&self.engine) {
            let mut requests = Vec::new();
            self.pump(&mut state, &mut requests);
            drop(state);
            self.engine.submit(requests);
        } else if self.settle(&mut state) {
            self.pump(&mut state, &mut Vec::new());
        }
    }

    pub(super) fn send_parked(&self, state: &mut State) {
        while let Some(at) = state.parked.iter().position(|parked| parked.seq == state.written) {
            let Some(Parked { bytes, .. }) = state.parked.swap_remove_back(at) else { return };
            self.send(state, &bytes);
            state.written += 1;
        }
    }

    /// Without a poller: waits until the client took everything, and ends the connection if nothing is in hands.
    fn finish_alone(&self) {
        let deadline = self.engine.deadline_after(self.engine.limits().write_timeout);
        loop {
            let mut state = self.lock();
            self.flush(&mut state);
            if state.output.is_empty() {
                self.settle(&mut state);
                return;
            }
            drop(state);
            if !matches!(self.socket.wait(Direction::Write, Some(deadline)), Ok(true)) {
                self.abort();
                return;
            }
        }
    }

    /// Writes, or keeps what the socket does not take. A connection that can't be written to is closed.
    pub(super) fn send(&self, state: &mut State, bytes: &[u8]) {
        if state.is_closed() {
            return;
        }
        let mut sent = 0;
        while state.output.is_empty() && sent < bytes.len() {
            match self.socket.write(&bytes[sent..]) {
                Ok(len) => sent += len,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => break,
                    _ => return self.close(state),
                },
            }
        }
        if sent < bytes.len() {
            self.keep_output(state, &bytes[sent..]);
        }
    }

    fn keep_output(&self, state: &mut State, bytes: &[u8]) {
        let output = &mut state.output;
        if output.is_empty() {
            output.bytes.clear();
            output.sent = 0;
            output.taken = 0;
            output.deadline_ms = self.engine.after_ms(self.engine.limits().write_timeout);
        }
        if output.sent > output.bytes.len() / 2 {
            output.bytes.drain(..output.sent);
            output.sent = 0;
        }
        if !output.charge.get_or_insert_with(|| Charge::new(self.engine.unsent())).add(bytes.len()) {
            self.engine.counters.overflowed.fetch_add(1, Relaxed);
            return self.close(state);
        }
        output.bytes.extend_from_slice(bytes);
        if !output.watched {
            output.watched = true;
            if self.engine.watch_writable(&self.socket, self.key).is_err() {
                return self.close(state);
            }
        }
        self.schedule(state);
    }

    /// Writes what was kept.
    pub(super) fn flush(&self, state: &mut State) {
        while !state.output.is_empty() {
            match self.socket.write(&state.output.bytes[state.output.sent..]) {
                Ok(len) => {
                    let output = &mut state.output;
                    output.sent += len;
                    output.taken += len;
                    if output.taken >= PROGRESS_BYTES {
                        output.taken = 0;
                        output.deadline_ms = self.engine.after_ms(self.engine.limits().write_timeout);
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return,
                    _ => return self.close(state),
                },
            }
        }
        if state.output.sent > 0 {
            state.output = Output { watched: state.output.watched, ..Output::default() };
        }
    }

    /// Answers in the engine's name and reads no further request. `is_head` leaves the body out.
    pub(super) fn reject(self: &Arc<Self>, state: &mut State, rejection: Rejection, is_head: bool) {
        if let Phase::Collect(collect) = &state.phase
            && let Collected::Returned(_) = collect.of
        {
            self.return_failed(state, rejection);
            return;
        }
        let bytes = self.engine.rejection(&rejection, self.peer, is_head, true);
        state.last = true;
        state.phase = Phase::Head(HeadScan::default());
        state.carry = Vec::new();
        state.handed_out += 1;
        let seq = state.handed_out - 1;
        if state.written == seq && !state.writing {
            self.send(state, &bytes);
            state.written += 1;
        } else {
            self.park(state, seq, bytes);
        }
    }

    /// A request that was given back to wait for its body goes to its handler without: that knows what to answer.
    fn return_failed(self: &Arc<Self>, state: &mut State, rejection: Rejection) {
        state.last = true;
        state.carry = Vec::new();
        let phase = std::mem::replace(&mut state.phase, Phase::Head(HeadScan::default()));
        if let Phase::Collect(collect) = phase
            && let Collect { of: Collected::Returned(mut request), raw, .. } = *collect
        {
            request.fail(Arc::clone(self), state.handed_out - 1, raw, rejection);
            self.engine.admit_again();
            self.engine.submit(vec![*request]);
        }
    }

    /// Whether the answer to `seq` is the last one because the server drains. Then no further request is read.
    pub(crate) fn ends_with(&self, seq: u64) -> bool {
        let mut state = self.lock();
        let is_newest = seq + 1 == state.handed_out && !matches!(state.phase, Phase::Collect(_));
        state.last |= is_newest;
        is_newest
    }
}
