//! One connection: its state machine, and every change of it.
//!
//! ```text
//!  accepted
//!     |     +------------------------------ answered, kept alive ------------------------------+
//!     v     v                                                                                  |
//!   +---------+  short body  +---------+  complete  +--------------+                           |
//!   |  Head   | -----------> | Collect | ---------> | handed out,  | --------------------------+
//!   +---------+              +---------+            | reads go on  |                           |
//!     |  |  |                  ^  |                 +--------------+                           |
//!     |  |  |   collect_body() |  | too long: a chunked body                                   |
//!     |  |  | long body, Expect|  v                                                            |
//!     |  |  +----------------> +--------+  answered, body   +---------+      rest read         |
//!     |  |                              | Stream | ----------------> | Discard | --------------+
//!     |  |                              +--------+  not read to end  +---------+
//!     |  +-- upgrade() --> Upgraded ------- dropped ----------+
//!     |                                                       v
//!     +-- rejected, last request, end of input:            +--------+
//!         once all is answered and written --> Linger -->  | Closed |
//!                 (write side shut)                        +--------+
//! ```
//!
//! Orthogonal to the phase: `last` (no further request will be read), `output` (bytes the client did not take yet),
//! `parked` (answers that came before their turn), and the sequence numbers: requests `written..handed_out` are in hands.
//!
//! Invariants: bytes are written under the lock and in the order of sequence numbers. Input is read only by the holder of
//! the lock, in the phases Stream and Upgraded only for the request that owns the body. Readiness is edge-triggered:
//! `readable` is cleared by a read that came back short and by nothing else, so whoever stops reading early finds it set.
//!
//! What it does not do: it starts no thread, and it blocks only in [`turn`] and [`body`], on its own socket, with a deadline.

mod answer;
mod body;
mod input;
mod timer;
mod turn;

pub(crate) use turn::TurnWriter;

use std::collections::VecDeque;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, MutexGuard};
use std::time::Instant;

use crate::budget::Charge;
use crate::engine::Engine;
use crate::framing::BodyDecoder;
use crate::head::{Head, HeadScan};
use crate::request::Request;
use crate::slab::Key;
use crate::socket::Socket;
use crate::sync::Lock;
use body::BodyStream;
use timer::Timer;

/// What the poller saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The client ended its side: a short read does not mean that there is no more to learn.
    pub(crate) read_closed: bool,
}

/// A connection. The slab holds it while it can get events, each unanswered request holds it until its answer.
pub(crate) struct Connection {
    engine: Arc<Engine>,
    key: Key,
    socket: Socket,
    peer: Option<SocketAddr>,
    state: Lock<State>,
    /// Signalled when an answer has been written and the next may be.
    turn: Condvar,
}

/// See the diagram above.
enum Phase {
    Head(HeadScan),
    Collect(Box<Collect>),
    Stream(Box<BodyStream>),
    /// The rest of a body nobody reads, and how many bytes of it are put up with.
    Discard(BodyDecoder, u64),
    Upgraded,
    /// How many more bytes are put up with.
    Linger(u64),
    Closed,
}

/// A request whose body is being collected.
struct Collect {
    of: Collected,
    is_head: bool,
    head_len: usize,
    /// The head and what there is of the body.
    raw: Vec<u8>,
    decoder: BodyDecoder,
    /// What it takes of the memory for bodies.
    charge: Charge,
    /// How long the body may get here before it is streamed instead, or refused if it was in hands already.
    limit: usize,
    /// The client waits for `100 Continue`.
    must_continue: bool,
    /// When collecting began: for a new request, when its head was there.
    since: Instant,
}

/// Where a request that is being collected was before.
enum Collected {
    /// Nowhere: this is its head.
    New(Head),
    /// In hands: the handler gave it back to wait for its body. It is the newest, and its place in the order is kept.
    Returned(Box<Request>),
}

#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other and of the phase")]
struct State {
    phase: Phase,
    /// Input that was read and belongs to nobody yet.
    carry: Vec<u8>,
    readable: bool,
    read_closed: bool,
    /// The client has ended its side.
    eof: bool,
    /// No further request will be read.
    last: bool,
    /// Nothing is read behind the newest request until it is answered.
    barrier: bool,
    handed_out: u64,
    written: u64,
    /// A responder is writing the answer `written` piece by piece.
    writing: bool,
    parked: VecDeque<Parked>,
    output: Output,
    timer: Timer,
    /// When the wheel will ask; `u64::MAX` if it will not.
    scheduled_ms: u64,
}

/// An answer that came before its turn.
struct Parked {
    seq: u64,
    bytes: Vec<u8>,
    /// What it takes of the memory for answers.
    _charge: Charge,
}

/// Bytes that the client did not take yet.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// When the client must have taken them, or a good part of them.
    deadline_ms: u64,
    /// Taken since the deadline was set.
    taken: usize,
    /// What it takes of the memory for answers.
    charge: Option<Charge>,
    /// The poller was asked to tell when the socket is writable.
    watched: bool,
}

impl Output {
    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }
}

impl State {
    fn in_hands(&self) -> u64 {
        self.handed_out - self.written
    }

    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether the request that is coming in is a HEAD, as far as can be told.
    fn is_head(&self) -> bool {
        match &self.phase {
            Phase::Collect(collect) => collect.is_head,
            _ => begins_as_head(&self.carry),
        }
    }

    /// Whether a request that is read now can be handed out.
    fn may_hand_out(&self, engine: &Engine) -> bool {
        !self.last
            && !self.barrier
            && self.output.is_empty()
            && self.in_hands() < engine.limits().pipelined_requests as u64
    }

    /// Whether input is to be read, and by whoever has the lock.
    fn wants_input(&self, engine: &Engine) -> bool {
        !self.eof
            && match self.phase {
                Phase::Head(_) => self.may_hand_out(engine),
                Phase::Collect(_) | Phase::Discard(..) | Phase::Linger(_) => true,
                Phase::Stream(_) | Phase::Upgraded | Phase::Closed => false,
            }
    }
}

/// Whether a head, which may be cut short or malformed, begins as that of a HEAD: then even a refusal has no body.
fn begins_as_head(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HEAD ")
}

impl Connection {
    pub(crate) fn new(engine: Arc<Engine>, key: Key, socket: Socket, peer: Option<SocketAddr>) -> Arc<Self> {
        engine.counters.open.fetch_add(1, Relaxed);
        let state = State {
            phase: Phase::Head(HeadScan::default()),
            carry: Vec::new(),
            readable: false,
            read_closed: false,
            eof: false,
            last: false,
            barrier: false,
            handed_out: 0,
            written: 0,
            writing: false,
            parked: VecDeque::new(),
            output: Output::default(),
            timer: Timer::None,
            scheduled_ms: u64::MAX,
        };
        Arc::new(Self { engine, key, socket, peer, state: Lock::new(state), turn: Condvar::new() })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Starts the clock of a connection that was just accepted.
    pub(crate) fn begin(&self) {
        self.settle(&mut self.state.lock());
    }

    /// Acts on what the poller saw.
    pub(crate) fn on_ready(self: &Arc<Self>, readiness: Readiness, requests: &mut Vec<Request>) {
        let mut state = self.state.lock();
        state.readable |= readiness.readable;
        state.read_closed |= readiness.read_closed;
        if readiness.writable || readiness.read_closed {
            self.flush(&mut state);
        }
        self.pump(&mut state, requests);
    }

    /// Goes on with a connection whose turn was over before its input was.
    pub(crate) fn on_again(self: &Arc<Self>, requests: &mut Vec<Request>) {
        self.pump(&mut self.state.lock(), requests);
    }

    /// The server starts to drain: an idle connection is given a moment for a request that is on its way.
    pub(crate) fn on_drain(self: &Arc<Self>, requests: &mut Vec<Request>) {
        self.pump(&mut self.state.lock(), requests);
        self.idle_anew();
    }

    /// The time for which a connection may be idle has changed, and counts from now.
    pub(crate) fn idle_anew(&self) {
        let mut state = self.state.lock();
        if let Timer::Idle(_) = state.timer {
            state.timer = Timer::None;
        }
        self.settle(&mut state);
    }

    /// The server is gone: what is in hands may still be answered, nothing else is read.
    pub(crate) fn on_server_gone(&self) {
        let mut state = self.state.lock();
        state.last = true;
        let is_idle = state.in_hands() == 0;
        match state.phase {
            Phase::Upgraded | Phase::Stream(_) => {}
            Phase::Collect(_) => self.close(&mut state),
            _ if is_idle => self.close(&mut state),
            _ => self.socket.shutdown(Shutdown::Read),
        }
    }

    /// Ends the connection at once, whatever is unanswered or unsent.
    pub(crate) fn abort(&self) {
        self.close(&mut self.state.lock());
    }

    /// Ends the connection because the server has to end; counted if there was something left to do on it.
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock();
        let is_reading = matches!(&state.phase, Phase::Collect(_) | Phase::Stream(_));
        if state.in_hands() > 0 || is_reading || !state.output.is_empty() {
            self.engine.counters.cut.fetch_add(1, Relaxed);
        }
        self.close(&mut state);
    }

    /// Ends the connection. The descriptor goes with the last request that is still in hands.
    fn close(&self, state: &mut State) {
        if state.is_closed() {
            return;
        }
        state.phase = Phase::Closed;
        state.last = true;
        state.carry = Vec::new();
        state.output = Output::default();
        state.parked = VecDeque::new();
        if state.in_hands() > 0 {
            self.socket.shutdown(Shutdown::Both);
        }
        self.turn.notify_all();
        self.engine.forget(self.key);
    }

    /// Brings everything that follows from the state up to date: called after each change. True if there is input to
    /// read that there was not before.
    fn settle(&self, state: &mut State) -> bool {
        let is_answered = state.last && state.in_hands() == 0 && !state.writing && state.output.is_empty();
        let mut lingers = false;
        if is_answered && matches!(state.phase, Phase::Head(_) | Phase::Discard(..)) {
            lingers = self.linger(state);
        }
        self.set_timer(state);
        lingers
    }

    /// Begins the staged close (RFC 9112, section 9.6): a socket that is closed with unread input is reset, and the
    /// answer with it. True if there is still something to read.
    fn linger(&self, state: &mut State) -> bool {
        state.carry = Vec::new();
        if state.eof {
            self.close(state);
            return false;
        }
        self.socket.shutdown(Shutdown::Write);
        state.phase = Phase::Linger(self.engine.limits().unread_body_bytes);
        if self.engine.is_gone() {
            self.drain_and_close(state);
            return false;
        }
        state.readable
    }

    /// Without a poller: reads what is there and closes.
    fn drain_and_close(&self, state: &mut State) {
        let mut sink = [0; 4096];
        for _ in 0..64 {
            match self.socket.read(&mut sink) {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        self.close(state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.engine.connection_ended();
    }
}
