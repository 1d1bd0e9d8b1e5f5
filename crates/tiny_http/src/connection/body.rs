//! Bodies that are read by the handler while they arrive. This is where a worker may block, until the body's deadline.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::{Connection, Phase, State};
use crate::framing::{BodyDecoder, Piece};
use crate::head::HeadScan;
use crate::scratch::with_read_buffer;
use crate::socket::Direction;

/// A body that belongs to a request.
pub(super) struct BodyStream {
    decoder: BodyDecoder,
    /// The client waits for `100 Continue`.
    must_continue: bool,
    deadline: Instant,
    /// Why there will be no more of it.
    failed: Option<Failure>,
}

#[derive(Debug, Clone, Copy)]
struct Failure(io::ErrorKind, &'static str);

impl From<Failure> for io::Error {
    fn from(Failure(kind, message): Failure) -> Self {
        Self::new(kind, message)
    }
}

const CUT_SHORT: Failure = Failure(io::ErrorKind::UnexpectedEof, "the request ended before its body was complete");
const TIMED_OUT: Failure = Failure(io::ErrorKind::TimedOut, "the body of the request took too long");
const GONE: Failure = Failure(io::ErrorKind::ConnectionAborted, "the connection is closed");

impl BodyStream {
    pub(super) fn new(decoder: BodyDecoder, must_continue: bool, deadline: Instant) -> Self {
        Self { decoder, must_continue, deadline, failed: None }
    }
}

impl State {
    /// The body is lost, and with it the place where a next request would begin.
    fn fail(&mut self, failure: Failure) -> io::Error {
        self.last = true;
        if let Phase::Stream(stream) = &mut self.phase {
            stream.failed = Some(failure);
        }
        failure.into()
    }

    /// Takes a body that is worth waiting for from its reader; with whether the client waits for `100 Continue`.
    pub(super) fn take_stream(&mut self) -> Option<(BodyDecoder, bool)> {
        match &self.phase {
            Phase::Stream(stream) if stream.failed.is_none() && !stream.decoder.is_done() => {
                let taken = (stream.decoder.clone(), stream.must_continue);
                self.phase = Phase::Head(HeadScan::default());
                Some(taken)
            }
            _ => None,
        }
    }
}

/// What one look at the connection gave a reader.
enum Look {
    Read(usize),
    /// Nothing yet: wait for the socket until then.
    Wait(Instant),
}

impl Connection {
    /// Reads on in the body of the newest request; 0 is its end.
    ///
    /// # Errors
    /// If the body ends early, is malformed or too long, or takes too long. The error stays.
    pub(crate) fn read_body(&self, seq: u64, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let look = {
                let mut state = self.lock();
                if state.written == seq {
                    self.send_continue(&mut state);
                }
                self.look(&mut state, out)?
            };
            match look {
                Look::Read(len) => return Ok(len),
                Look::Wait(deadline) => {
                    if !self.socket.wait(Direction::Read, Some(deadline))? {
                        return Err(self.lock().fail(TIMED_OUT));
                    }
                }
            }
        }
    }

    /// Sends `100 Continue` if the client waits for it and all earlier answers are written (RFC 9110, section 10.1.1).
    pub(super) fn send_continue(&self, state: &mut State) {
        let is_turn = state.in_hands() == 1 && !state.writing;
        let has_input = !state.carry.is_empty();
        let must_continue = match &mut state.phase {
            Phase::Stream(stream) => &mut stream.must_continue,
            Phase::Collect(collect) => &mut collect.must_continue,
            _ => return,
        };
        if is_turn && std::mem::take(must_continue) && !has_input {
            // A client that has begun to send does not wait.
            self.send(state, b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    fn look(&self, state: &mut State, out: &mut [u8]) -> io::Result<Look> {
        loop {
            let State { phase: Phase::Stream(stream), carry, eof, .. } = &mut *state else { return Err(GONE.into()) };
            if let Some(failure) = stream.failed {
                return Err(failure.into());
            }
            let (took, len) = match decode(&mut stream.decoder, carry, out, self) {
                Ok(progress) => progress,
                Err(failure) => return Err(state.fail(failure)),
            };
            carry.drain(..took);
            if carry.is_empty() {
                *carry = Vec::new();
            }
            if len > 0 || stream.decoder.is_done() {
                return Ok(Look::Read(len));
            }
            if *eof {
                return Err(state.fail(CUT_SHORT));
            }
            let deadline = stream.deadline;
            if Instant::now() >= deadline {
                return Err(state.fail(TIMED_OUT));
            }
            if !self.fill(state)? {
                return Ok(Look::Wait(deadline));
            }
        }
    }

    /// Reads what there is into `carry`; false if there is nothing.
    fn fill(&self, state: &mut State) -> io::Result<bool> {
        let result = with_read_buffer(|buffer| {
            let len = self.socket.read(buffer)?;
            state.carry.extend_from_slice(&buffer[..len]);
            io::Result::Ok(len)
        });
        match result {
            Ok(0) => {
                state.eof = true;
                Ok(true)
            }
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Ok(false),
                io::ErrorKind::Interrupted => Ok(true),
                _ => {
                    self.close(state);
                    Err(error)
                }
            },
        }
    }

    /// The handler is done with the body of its request, read or not. True if the connection has to end after the answer.
    pub(crate) fn leave_body(self: &Arc<Self>) -> bool {
        let mut requests = Vec::new();
        let mut state = self.lock();
        let has_input = !state.carry.is_empty();
        let Phase::Stream(stream) = &mut state.phase else { return state.last };
        let limit = self.engine.limits().unread_body_bytes;
        let is_done = stream.decoder.is_done();
        let is_hopeless = stream.failed.is_some()
            // Whether the client sends a body that nobody asked for can't be known (RFC 9110, section 10.1.1).
            || stream.must_continue && !has_input
            || stream.decoder.known_left() > limit;
        let decoder = stream.decoder.clone();
        state.phase =
            if is_done || is_hopeless { Phase::Head(HeadScan::default()) } else { Phase::Discard(decoder, limit) };
        state.last |= is_hopeless && !is_done;
        // The reader took what there was without telling whether there was more.
        state.readable = true;
        let is_last = state.last;
        if !is_done && !is_last {
            self.pump(&mut state, &mut requests);
        }
        drop(state);
        self.engine.submit(requests);
        is_last
    }
}

/// Decodes `input` into `out` up to the first content; how much was taken and how much was given.
fn decode(
    decoder: &mut BodyDecoder,
    input: &[u8],
    out: &mut [u8],
    connection: &Connection,
) -> Result<(usize, usize), Failure> {
    let mut at = 0;
    while at < input.len() && !decoder.is_done() {
        let piece = decoder.next(&input[at..], out.len(), connection.engine.limits());
        match piece.map_err(|rejection| Failure(io::ErrorKind::InvalidData, rejection.detail))? {
            Piece::Data(range) => {
                let content = &input[at..][range.clone()];
                out[..content.len()].copy_from_slice(content);
                return Ok((at + range.end, content.len()));
            }
            Piece::More => at = input.len(),
            Piece::End(end) => {
                at += end;
                break;
            }
        }
    }
    Ok((at, 0))
}
