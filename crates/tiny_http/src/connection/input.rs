//! From bytes to requests.

use std::io;
use std::sync::Arc;

use super::body::BodyStream;
use super::timer::Timer;
use super::{Collect, Collected, Connection, Phase, State, begins_as_head};
use crate::budget::Charge;
use crate::framing::{BODY_TOO_LARGE, BodyDecoder, Piece};
use crate::head::{Framing, Head, HeadScan, empty_lines};
use crate::method::Method;
use crate::reject::{RejectReason, Rejection};
use crate::request::{BodySource, Received, Request};
use crate::scratch::{READ_BYTES, with_read_buffer};

/// Bytes read from one connection before the others get their turn.
const TURN_BYTES: usize = 4 * READ_BYTES;

/// What became of some input.
enum Step {
    /// So much was taken; there may be more to do.
    Took(usize),
    /// So much was taken; the rest has to wait for more input or for its turn.
    Waits(usize),
}

impl Connection {
    /// Reads and hands out what can be, then settles.
    pub(super) fn pump(self: &Arc<Self>, state: &mut State, requests: &mut Vec<Request>) {
        let mut budget = TURN_BYTES;
        loop {
            self.take_carry(state, requests);
            while state.readable && state.wants_input(&self.engine) {
                if budget == 0 {
                    self.engine.go_on_later(self.key);
                    break;
                }
                budget = budget.saturating_sub(self.read_once(state, requests));
            }
            if !self.settle(state) {
                return;
            }
        }
    }

    /// One read, and what follows from it. Returns how much there was.
    fn read_once(self: &Arc<Self>, state: &mut State, requests: &mut Vec<Request>) -> usize {
        with_read_buffer(|buffer| match self.socket.read(buffer) {
            Ok(0) => {
                state.readable = false;
                state.eof = true;
                self.end_of_input(state);
                0
            }
            Ok(len) => {
                // Less than there was room for: the socket is empty, and will tell when it is not (epoll(7)).
                state.readable = len == buffer.len() || state.read_closed;
                self.take(state, &buffer[..len], requests);
                len
            }
            Err(error) => {
                match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => state.readable = false,
                    _ => self.close(state),
                }
                0
            }
        })
    }

    /// The client has ended its side.
    fn end_of_input(self: &Arc<Self>, state: &mut State) {
        match state.phase {
            Phase::Head(ref scan) if *scan == HeadScan::default() && state.carry.is_empty() => state.last = true,
            Phase::Head(_) | Phase::Collect(_) => {
                let is_head = state.is_head();
                self.reject(state, INCOMPLETE, is_head);
            }
            Phase::Discard(..) => {
                state.last = true;
                state.phase = Phase::Head(HeadScan::default());
            }
            Phase::Linger(_) => self.close(state),
            Phase::Stream(_) | Phase::Upgraded | Phase::Closed => {}
        }
    }

    /// Takes input that was kept.
    fn take_carry(self: &Arc<Self>, state: &mut State, requests: &mut Vec<Request>) {
        if state.carry.is_empty() || matches!(state.phase, Phase::Head(_)) && !state.may_hand_out(&self.engine) {
            return;
        }
        let mut carry = std::mem::take(&mut state.carry);
        let took = self.advance(state, &carry, requests);
        carry.drain(..took);
        state.keep(carry);
    }

    /// Takes input that was just read.
    fn take(self: &Arc<Self>, state: &mut State, input: &[u8], requests: &mut Vec<Request>) {
        if state.carry.is_empty() {
            let took = self.advance(state, input, requests);
            if took < input.len() {
                state.keep(input[took..].to_vec());
            }
        } else {
            let mut carry = std::mem::take(&mut state.carry);
            carry.extend_from_slice(input);
            let took = self.advance(state, &carry, requests);
            carry.drain(..took);
            state.keep(carry);
        }
    }

    /// Runs the state machine over `input`; returns how much of it was taken.
    fn advance(self: &Arc<Self>, state: &mut State, input: &[u8], requests: &mut Vec<Request>) -> usize {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let step = match state.phase {
                Phase::Head(_) if state.last => Step::Waits(rest.len()),
                Phase::Head(_) if !state.may_hand_out(&self.engine) => Step::Waits(0),
                Phase::Head(ref mut scan) => {
                    let scan = std::mem::take(scan);
                    self.take_head(state, scan, rest, requests)
                }
                Phase::Collect(_) => self.take_body(state, rest, requests),
                Phase::Discard(..) => self.discard(state, rest),
                Phase::Linger(ref mut left) => {
                    let fewer = left.checked_sub(rest.len() as u64);
                    *left = fewer.unwrap_or(0);
                    if fewer.is_none() {
                        self.close(state);
                    }
                    Step::Waits(rest.len())
                }
                Phase::Stream(_) | Phase::Upgraded => Step::Waits(0),
                Phase::Closed => Step::Waits(rest.len()),
            };
            match step {
                Step::Took(len) => at += len,
                Step::Waits(len) => return at + len,
            }
            if at == input.len() && !matches!(state.phase, Phase::Collect(_) | Phase::Discard(..)) {
                return at;
            }
        }
    }

    fn take_head(
        self: &Arc<Self>,
        state: &mut State,
        mut scan: HeadScan,
        input: &[u8],
        requests: &mut Vec<Request>,
    ) -> Step {
        let skipped = if scan == HeadScan::default() { empty_lines(input) } else { 0 };
        let rest = &input[skipped..];
        if rest.is_empty() {
            return Step::Waits(skipped);
        }
        match scan.resume(rest, self.engine.limits()) {
            Ok(None) => {
                state.phase = Phase::Head(scan);
                Step::Waits(skipped)
            }
            Ok(Some(head)) => {
                state.timer = Timer::None;
                Step::Took(skipped + self.begin_request(state, head, rest, requests))
            }
            Err(rejection) => {
                self.reject(state, rejection, begins_as_head(rest));
                Step::Waits(input.len())
            }
        }
    }

    /// Decides how a request gets its body. `input` begins with the head; returns how much of it was taken.
    fn begin_request(
        self: &Arc<Self>,
        state: &mut State,
        head: Head,
        input: &[u8],
        requests: &mut Vec<Request>,
    ) -> usize {
        let limits = self.engine.limits();
        if !head.keep_alive || state.handed_out + 1 >= limits.requests_per_connection {
            state.last = true;
        }
        state.barrier |= head.upgrade;
        let buffered = limits.buffered_body_bytes as u64;
        let is_head = head.method == Method::Head;
        match head.framing {
            Framing::Length(length) if length > limits.body_bytes => {
                self.reject(state, BODY_TOO_LARGE, is_head);
                input.len()
            }
            Framing::Length(0) => {
                let raw = input[..head.len].to_vec();
                let took = head.len;
                self.hand_out(state, head, raw, BodySource::Complete, requests);
                took
            }
            Framing::Length(length) if length <= buffered && !head.expects_continue => {
                let whole = head.len + usize::try_from(length).unwrap_or(usize::MAX);
                if let Some(raw) = input.get(..whole) {
                    self.hand_out(state, head, raw.to_vec(), BodySource::Complete, requests);
                    return whole;
                }
                self.collect(state, head, input)
            }
            Framing::Chunked if buffered > 0 && !head.expects_continue => self.collect(state, head, input),
            Framing::Length(_) | Framing::Chunked => {
                let raw = input[..head.len].to_vec();
                let took = head.len;
                self.stream(state, head, raw, None, requests);
                took
            }
        }
    }

    fn collect(&self, state: &mut State, head: Head, input: &[u8]) -> usize {
        let took = head.len;
        state.phase = Phase::Collect(Box::new(Collect {
            is_head: head.method == Method::Head,
            head_len: took,
            raw: input[..took].to_vec(),
            decoder: head.framing.into(),
            charge: Charge::new(self.engine.budget()),
            limit: self.engine.limits().buffered_body_bytes,
            must_continue: false,
            since: self.engine.turn_instant(),
            of: Collected::New(head),
        }));
        took
    }

    fn take_body(self: &Arc<Self>, state: &mut State, input: &[u8], requests: &mut Vec<Request>) -> Step {
        let limits = self.engine.limits();
        let Phase::Collect(collect) = &mut state.phase else { return Step::Waits(0) };
        match collect.decoder.next(input, usize::MAX, limits) {
            Err(rejection) => {
                let is_head = collect.is_head;
                self.reject(state, rejection, is_head);
                Step::Waits(input.len())
            }
            Ok(Piece::More) => Step::Waits(input.len()),
            Ok(Piece::Data(range)) => {
                let end = range.end;
                collect.must_continue = false;
                if !collect.charge.add(range.len()) {
                    let is_head = collect.is_head;
                    self.reject(state, BODIES_FULL, is_head);
                    return Step::Waits(input.len());
                }
                collect.raw.extend_from_slice(&input[range]);
                if collect.raw.len() - collect.head_len > collect.limit {
                    return self.outgrown(state, input.len(), end, requests);
                }
                Step::Took(end)
            }
            Ok(Piece::End(end)) => {
                if let Some(collect) = take_collect(state) {
                    let Collect { of, raw, charge, since, .. } = *collect;
                    match of {
                        Collected::New(head) => {
                            let body = BodySource::Collected(charge, since);
                            self.hand_out(state, head, raw, body, requests);
                        }
                        Collected::Returned(request) => self.hand_out_again(state, *request, raw, charge, requests),
                    }
                }
                Step::Took(end)
            }
        }
    }

    /// A body has got longer than is collected: it is streamed, but not to a handler that gave it back to be collected.
    fn outgrown(
        self: &Arc<Self>,
        state: &mut State,
        input_len: usize,
        took: usize,
        requests: &mut Vec<Request>,
    ) -> Step {
        if let Phase::Collect(collect) = &state.phase
            && let Collected::Returned(_) = collect.of
        {
            let is_head = collect.is_head;
            self.reject(state, BODY_TOO_LARGE, is_head);
            return Step::Waits(input_len);
        }
        if let Some(collect) = take_collect(state)
            && let Collect { of: Collected::New(head), raw, decoder, .. } = *collect
        {
            self.stream(state, head, raw, Some(decoder), requests);
        }
        Step::Took(took)
    }

    /// Takes the newest request back until its body is complete. False if its body is not to be waited for: it failed, or
    /// is there already, or the connection is gone.
    pub(crate) fn collect_again(
        self: &Arc<Self>,
        limit: usize,
        give: impl FnOnce() -> (Request, Vec<u8>, usize),
    ) -> bool {
        let mut requests = Vec::new();
        if self.engine.is_gone() {
            return false;
        }
        let mut state = self.lock();
        let Some((decoder, must_continue)) = state.take_stream() else { return false };
        let (request, raw, head_len) = give();
        state.phase = Phase::Collect(Box::new(Collect {
            is_head: *request.method() == Method::Head,
            of: Collected::Returned(Box::new(request)),
            head_len,
            raw,
            decoder,
            charge: Charge::new(self.engine.budget()),
            limit,
            must_continue,
            since: self.engine.turn_instant(),
        }));
        state.readable = true;
        self.send_continue(&mut state);
        self.pump(&mut state, &mut requests);
        drop(state);
        self.engine.submit(requests);
        true
    }

    fn hand_out_again(
        self: &Arc<Self>,
        state: &State,
        mut request: Request,
        raw: Vec<u8>,
        charge: Charge,
        requests: &mut Vec<Request>,
    ) {
        self.engine.admit_again();
        request.complete(Arc::clone(self), state.handed_out - 1, raw, charge);
        requests.push(request);
    }

    /// Hands a request out whose body is still to come.
    fn stream(
        self: &Arc<Self>,
        state: &mut State,
        head: Head,
        raw: Vec<u8>,
        decoder: Option<BodyDecoder>,
        requests: &mut Vec<Request>,
    ) {
        let must_continue = head.expects_continue;
        let deadline = self.engine.deadline_after(self.engine.limits().body_timeout);
        let decoder = decoder.unwrap_or_else(|| head.framing.into());
        if self.hand_out(state, head, raw, BodySource::Stream, requests) {
            state.barrier = true;
            state.phase = Phase::Stream(Box::new(BodyStream::new(decoder, must_continue, deadline)));
        }
    }

    /// Hands a request out, unless too many are waiting.
    fn hand_out(
        self: &Arc<Self>,
        state: &mut State,
        head: Head,
        raw: Vec<u8>,
        body: BodySource,
        requests: &mut Vec<Request>,
    ) -> bool {
        if !self.engine.admit() {
            self.reject(state, QUEUE_FULL, head.method == Method::Head);
            return false;
        }
        let at = match body {
            BodySource::Collected(_, since) => since,
            BodySource::Complete | BodySource::Stream => self.engine.turn_instant(),
        };
        let seq = state.handed_out;
        state.handed_out += 1;
        requests.push(Request::received(Received {
            connection: Arc::clone(self),
            seq,
            head,
            raw,
            body,
            is_last: state.last,
            peer: self.peer,
            at,
        }));
        true
    }

    fn discard(&self, state: &mut State, input: &[u8]) -> Step {
        let limits = self.engine.limits();
        let Phase::Discard(decoder, left) = &mut state.phase else { return Step::Waits(0) };
        let took = match decoder.next(input, usize::MAX, limits) {
            Ok(Piece::End(end)) => {
                state.phase = Phase::Head(HeadScan::default());
                state.timer = Timer::None;
                return Step::Took(end);
            }
            Ok(Piece::Data(range)) => range.end,
            Ok(Piece::More) => input.len(),
            Err(_) => usize::MAX,
        };
        let Some(fewer) = left.checked_sub(took as u64) else {
            state.last = true;
            state.phase = Phase::Head(HeadScan::default());
            return Step::Waits(input.len());
        };
        *left = fewer;
        if took == input.len() && !decoder.is_done() { Step::Waits(took) } else { Step::Took(took) }
    }
}

impl State {
    /// Keeps input for later. An empty buffer is given back: idle connections have none.
    fn keep(&mut self, rest: Vec<u8>) {
        if !rest.is_empty() && !self.is_closed() {
            self.carry = rest;
        }
    }
}

fn take_collect(state: &mut State) -> Option<Box<Collect>> {
    match std::mem::replace(&mut state.phase, Phase::Head(HeadScan::default())) {
        Phase::Collect(collect) => Some(collect),
        other => {
            state.phase = other;
            None
        }
    }
}

const INCOMPLETE: Rejection = Rejection::new(RejectReason::Incomplete, "The request ended before it was complete.");
const BODIES_FULL: Rejection = Rejection::new(
    RejectReason::BodiesFull,
    "The bodies of the requests that are being received take too much memory.",
);
const QUEUE_FULL: Rejection = Rejection::new(RejectReason::QueueFull, "Too many requests are waiting.");
