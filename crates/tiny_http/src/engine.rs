//! What all connections of a server share: its options, the poller, the queue of requests, the clock and the counters.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Token};

use crate::budget::Budget;
use crate::connection::Connection;
use crate::descriptors::connection_cap;
use crate::header::Header;
use crate::limits::{Limits, Options, RejectHandler, SharedRejectHandler};
use crate::method::HTTPVersion;
use crate::poller::{Poller, WAKER};
use crate::ready::{Poll, Ready};
use crate::reject::{RejectReason, Rejection};
use crate::request::Request;
use crate::response::{Coding, FieldSource, Persistence, Response, ResponseBox, ResponseHead};
use crate::slab::{Key, Slab};
use crate::socket::{Acceptor, Socket};
use crate::stats::Counters;
use crate::status::StatusCode;
use crate::sync::Lock;
use crate::wheel::Wheel;

/// An idle connection of a draining server is given this long for a request that is on its way.
const DRAIN_GRACE: Duration = Duration::from_millis(250);
/// And this long where it keeps others from being accepted.
pub(crate) const PRESSED_GRACE: Duration = Duration::from_secs(1);
/// The longest body that is taken from a reject handler.
const REJECTION_BYTES: u64 = 64 * 1024;

/// Lock order: a connection before any lock here; here never more than one at a time.
pub(crate) struct Engine {
    limits: Limits,
    on_reject: SharedRejectHandler,
    server_name: Option<String>,
    /// Open connections beyond which none is accepted.
    pub(crate) connection_cap: usize,
    pub(crate) counters: Counters,
    pub(crate) connections: Lock<Slab<Arc<Connection>>>,
    /// How many there are in the slab.
    listed: AtomicUsize,
    ready: Ready,
    poller: Lock<Poller>,
    registry: mio::Registry,
    waker: mio::Waker,
    budget: Arc<Budget>,
    unsent: Arc<Budget>,
    wheel: Lock<Wheel>,
    /// When the leader that is polling will return by itself; 0 while none is.
    polls_until_ms: AtomicU64,
    again: Lock<Vec<Key>>,
    /// The listener is left alone until a connection ends.
    accept_paused: AtomicBool,
    /// It was seen to have connections waiting meanwhile.
    accept_pressed: AtomicBool,
    listening: AtomicBool,
    gone: AtomicBool,
    /// When draining has to be over, in milliseconds; `u64::MAX` while nobody drains.
    drain_due_ms: AtomicU64,
    start: Instant,
    /// When the leader last returned from its poll, in nanoseconds.
    turn_ns: AtomicU64,
}

impl Engine {
    pub(crate) fn new(acceptor: Acceptor, options: Options) -> io::Result<Arc<Self>> {
        let Options { limits, on_reject, server_name } = options;
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = mio::Waker::new(&registry, WAKER)?;
        Ok(Arc::new(Self {
            connection_cap: connection_cap(limits.connections, limits.reserved_descriptors),
            budget: Budget::new(limits.collected_bytes),
            unsent: Budget::new(limits.unsent_bytes),
            limits,
            on_reject: AssertUnwindSafe(on_reject),
            server_name: server_name.filter(|name| crate::header::is_safe_value(name.as_bytes())),
            counters: Counters::default(),
            connections: Lock::new(Slab::new()),
            listed: AtomicUsize::new(0),
            ready: Ready::default(),
            poller: Lock::new(Poller::new(poll, acceptor)?),
            registry,
            waker,
            wheel: Lock::new(Wheel::new()),
            polls_until_ms: AtomicU64::new(0),
            again: Lock::new(Vec::new()),
            accept_paused: AtomicBool::new(false),
            accept_pressed: AtomicBool::new(false),
            listening: AtomicBool::new(true),
            gone: AtomicBool::new(false),
            drain_due_ms: AtomicU64::new(u64::MAX),
            start: Instant::now(),
            turn_ns: AtomicU64::new(0),
        }))
    }

    /// The memory for answers that are not read.
    pub(crate) fn unsent(&self) -> &Arc<Budget> {
        &self.unsent
    }

    /// The memory for bodies.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    pub(crate) fn ready(&self) -> &Ready {
        &self.ready
    }

    // Time.

    pub(crate) fn now_ms(&self) -> u64 {
        millis(self.start.elapsed())
    }

    pub(crate) fn after_ms(&self, duration: Duration) -> u64 {
        self.now_ms().saturating_add(millis(duration))
    }

    pub(crate) fn deadline_after(&self, duration: Duration) -> Instant {
        self.instant(self.after_ms(duration))
    }

    /// The instant of a time in milliseconds; one that is too far off is a year away.
    pub(crate) fn instant(&self, ms: u64) -> Instant {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.start.checked_add(Duration::from_millis(ms)).unwrap_or_else(|| Instant::now() + YEAR)
    }

    /// When the leader last returned from its poll: what it read came before.
    pub(crate) fn turn_instant(&self) -> Instant {
        self.start + Duration::from_nanos(self.turn_ns.load(Ordering::Relaxed))
    }

    pub(crate) fn begin_turn(&self) -> u64 {
        let elapsed = self.start.elapsed();
        self.turn_ns.store(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        millis(elapsed)
    }

    /// How long a connection may be idle: less when the server drains, or others wait to be accepted.
    pub(crate) fn idle_timeout(&self) -> Duration {
        let longest = if self.is_draining() {
            DRAIN_GRACE
        } else if self.accept_pressed.load(Ordering::Relaxed) {
            PRESSED_GRACE
        } else {
            Duration::MAX
        };
        longest.min(self.limits.idle_timeout)
    }

    /// Has the wheel ask connection `key` at `due_ms`, or before; returns when.
    pub(crate) fn schedule(&self, key: Key, due_ms: u64) -> u64 {
        let asked_ms = self.wheel.lock().insert(key, due_ms);
        if asked_ms < self.polls_until_ms.load(Ordering::SeqCst) {
            self.interrupt();
        }
        asked_ms
    }

    /// How long the leader may poll, and no longer than `limit`.
    pub(crate) fn begin_poll(&self, limit: Option<Duration>) -> Option<Duration> {
        let limit_ms = limit.map_or(u64::MAX, |limit| self.after_ms(limit));
        let wheel = self.wheel.lock();
        let until_ms =
            wheel.next_due_ms().unwrap_or(u64::MAX).min(self.drain_due_ms.load(Ordering::Relaxed)).min(limit_ms);
        self.polls_until_ms.store(until_ms, Ordering::SeqCst);
        drop(wheel);
        if limit.is_some_and(|limit| limit.is_zero()) {
            return limit;
        }
        (until_ms != u64::MAX).then(|| Duration::from_millis(until_ms.saturating_sub(self.now_ms())))
    }

    pub(crate) fn end_poll(&self) {
        self.polls_until_ms.store(0, Ordering::SeqCst);
    }

    /// The connections the wheel was told to ask by now.
    pub(crate) fn take_due(&self, now_ms: u64, due: &mut Vec<(Key, u64)>) {
        self.wheel.lock().advance(now_ms, due);
    }

    // Connections.

    pub(crate) fn has_room(&self) -> bool {
        self.counters.open.load(Ordering::SeqCst) < self.connection_cap
    }

    /// Says that connections wait in the kernel until one here ends.
    pub(crate) fn pause_accept(&self) {
        self.accept_paused.store(true, Ordering::SeqCst);
    }

    /// Says that connections wait in vain: idle ones have to make room for them.
    pub(crate) fn press(&self) {
        self.accept_pressed.store(true, Ordering::Relaxed);
    }

    /// Says that all that waited have been accepted.
    pub(crate) fn relieve(&self) {
        if self.accept_pressed.load(Ordering::Relaxed) {
            self.accept_pressed.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn resume_accept(&self) -> bool {
        self.accept_paused.load(Ordering::Relaxed)
            && self.has_room()
            && self.accept_paused.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn connection_ended(&self) {
        self.counters.open.fetch_sub(1, Ordering::SeqCst);
        if self.accept_paused.load(Ordering::SeqCst) {
            self.interrupt();
        }
    }

    /// Takes a new connection in.
    pub(crate) fn adopt(self: &Arc<Self>, socket: Socket, peer: Option<SocketAddr>) -> io::Result<()> {
        let mut connection = None;
        let key = self.connections.lock().insert_with(|key| {
            let new = Connection::new(Arc::clone(self), key, socket, peer);
            connection = Some(Arc::clone(&new));
            new
        });
        self.listed.fetch_add(1, Ordering::SeqCst);
        let Some(connection) = connection else { return Ok(()) };
        let fd = connection.socket().as_fd().as_raw_fd();
        if let Err(error) = self.registry.register(&mut SourceFd(&fd), Token(key.0), Interest::READABLE) {
            connection.abort();
            return Err(error);
        }
        connection.begin();
        Ok(())
    }

    /// The connection gets no events any more.
    pub(crate) fn forget(&self, key: Key) {
        let connection = self.connections.lock().remove(key);
        if connection.is_some() && self.listed.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_draining() {
            self.ready.wake_all(self);
        }
    }

    pub(crate) fn watch_writable(&self, socket: &Socket, key: Key) -> io::Result<()> {
        let fd = socket.as_fd().as_raw_fd();
        self.registry.reregister(&mut SourceFd(&fd), Token(key.0), Interest::READABLE | Interest::WRITABLE)
    }

    pub(crate) fn go_on_later(&self, key: Key) {
        self.again.lock().push(key);
        // The leader looks at the list before it polls; one that polls already has to be told.
        if self.polls_until_ms.load(Ordering::SeqCst) > 0 {
            self.interrupt();
        }
    }

    pub(crate) fn take_again(&self, keys: &mut Vec<Key>) {
        keys.append(&mut self.again.lock());
    }

    // Requests.

    pub(crate) fn admit(&self) -> bool {
        self.ready.admit(self.limits.ready_requests)
    }

    /// Counts a request that comes back: it had its place.
    pub(crate) fn admit_again(&self) {
        self.ready.admit(usize::MAX);
    }

    pub(crate) fn submit(&self, requests: Vec<Request>) {
        self.ready.submit(requests, self);
    }

    /// The bytes of an answer in the engine's name. `closes` says that the connection ends after it.
    pub(crate) fn rejection(
        &self,
        rejection: &Rejection,
        peer: Option<SocketAddr>,
        is_head: bool,
        closes: bool,
    ) -> Vec<u8> {
        let rejection = &Rejection { peer, ..*rejection };
        self.counters.reject(rejection.reason);
        let made = self.on_reject.as_ref().and_then(|make| made_rejection(make, rejection));
        let (status, mut headers, body) = made.unwrap_or_else(|| plain_rejection(rejection));
        if rejection.reason == RejectReason::QueueFull
            && !headers.iter().any(|header| header.field.equiv("Retry-After"))
        {
            headers.extend("Retry-After: 1".parse::<Header>());
        }
        let mut bytes = Vec::with_capacity(256 + body.len());
        ResponseHead {
            version: &HTTPVersion(1, 1),
            status,
            server: self.server_name(),
            fields: FieldSource::Owned(&headers),
            coding: if status.is_lengthless(body.len()) { Coding::Silent } else { Coding::Length(body.len() as u64) },
            persistence: if closes { Persistence::Close } else { Persistence::Default },
        }
        .encode(&mut bytes);
        if !is_head && !status.is_bodiless() {
            bytes.extend_from_slice(&body);
        }
        bytes
    }

    // The end.

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain_due_ms.load(Ordering::Relaxed) != u64::MAX
    }

    pub(crate) fn drain_due_ms(&self) -> u64 {
        self.drain_due_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_drain(&self, within: Duration) {
        let due_ms = self.after_ms(within).min(u64::MAX - 1);
        self.drain_due_ms.fetch_min(due_ms, Ordering::SeqCst);
        self.ready.wake_all(self);
    }

    pub(crate) fn stopped_listening(&self) {
        self.listening.store(false, Ordering::SeqCst);
    }

    /// The server is dropped: its listener and all idle connections are closed, requests that nobody took are answered.
    pub(crate) fn end(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.poller.lock().stop_listening(self);
        drop(self.ready.clear());
        let connections: Vec<_> = self.connections.lock().values().cloned().collect();
        for connection in connections {
            connection.on_server_gone();
        }
    }

    /// One turn of the leader.
    pub(crate) fn turn(self: &Arc<Self>, limit: Option<Duration>, requests: &mut Vec<Request>) {
        self.poller.lock().turn(self, limit, requests);
    }
}

impl Poll for Engine {
    fn interrupt(&self) {
        // An eventfd that can't be written to is full, and so about to wake the poller anyway.
        let _ = self.waker.wake();
    }

    fn is_drained(&self) -> bool {
        self.is_draining() && !self.listening.load(Ordering::SeqCst) && self.listed.load(Ordering::SeqCst) == 0
    }
}

/// What a server's own handler makes of a rejection; `None` if it panics or its body can't be read.
fn made_rejection(make: &Arc<RejectHandler>, rejection: &Rejection) -> Option<(StatusCode, Vec<Header>, Vec<u8>)> {
    catch_unwind(AssertUnwindSafe(|| {
        let ResponseBox { reader, status_code, headers, .. } = make(rejection);
        let mut body = Vec::new();
        reader.take(REJECTION_BYTES).read_to_end(&mut body).ok()?;
        Some((status_code, headers, body))
    }))
    .ok()
    .flatten()
}

fn plain_rejection(rejection: &Rejection) -> (StatusCode, Vec<Header>, Vec<u8>) {
    let mut response = Response::from_string(rejection.detail);
    response.status_code = rejection.status;
    (response.status_code, response.headers, response.reader.into_inner())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
