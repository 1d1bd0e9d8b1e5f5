//! The poller: one turn of the leader looks at the sockets, the listener and the clock. Edge-triggered: nothing is
//! registered again after an event.
//!
//! It never fails for something that passes: aborted connections are skipped, and when descriptors run out the listener is
//! left alone for a while.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use rustix::io::Errno;

use crate::connection::{Connection, Readiness};
use crate::engine::{Engine, PRESSED_GRACE};
use crate::request::Request;
use crate::slab::Key;
use crate::socket::Acceptor;

/// No key of a slab is as large as these.
pub(crate) const WAKER: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);

/// Sockets looked at in one turn.
const EVENTS: usize = 256;
/// Connections accepted in one turn.
const ACCEPTS: usize = 64;
/// The first and the longest time the listener is left alone when an accept failed, in milliseconds.
const BACKOFF_MS: std::ops::RangeInclusive<u64> = 5..=1_000;

pub(crate) struct Poller {
    poll: mio::Poll,
    events: Events,
    listener: Option<Acceptor>,
    /// There may be connections to accept: the listener told, or had more than one turn takes.
    accepts: bool,
    /// Until when the listener is left alone, in milliseconds.
    accept_at_ms: u64,
    backoff_ms: u64,
    /// Until when those that are idle have been told that others wait for their places, in milliseconds.
    press_at_ms: u64,
    has_drained_listener: bool,
    // Emptied in each turn; here to be used again.
    batch: Vec<(Arc<Connection>, Readiness)>,
    due: Vec<(Key, u64)>,
    again: Vec<Key>,
}

impl Poller {
    pub(crate) fn new(poll: mio::Poll, listener: Acceptor) -> io::Result<Self> {
        poll.registry().register(&mut SourceFd(&listener.as_raw_fd()), LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            listener: Some(listener),
            accepts: false,
            accept_at_ms: 0,
            backoff_ms: *BACKOFF_MS.start(),
            press_at_ms: 0,
            has_drained_listener: false,
            batch: Vec::with_capacity(EVENTS),
            due: Vec::new(),
            again: Vec::new(),
        })
    }

    pub(crate) fn stop_listening(&mut self, engine: &Engine) {
        if let Some(listener) = self.listener.take() {
            let _ = self.poll.registry().deregister(&mut SourceFd(&listener.as_raw_fd()));
        }
        engine.stopped_listening();
    }

    /// Waits for at most `limit`, then acts on everything that is ready and due.
    pub(crate) fn turn(&mut self, engine: &Arc<Engine>, limit: Option<Duration>, requests: &mut Vec<Request>) {
        self.wait(engine, limit);
        let now_ms = engine.begin_turn();
        self.look_up(engine);
        for (connection, readiness) in self.batch.drain(..) {
            connection.on_ready(readiness, requests);
        }
        for key in self.again.drain(..) {
            let connection = engine.connections.lock().get(key).cloned();
            if let Some(connection) = connection {
                connection.on_again(requests);
            }
        }
        self.accept(engine, now_ms);
        self.tell_time(engine, now_ms, requests);
        if engine.is_draining() {
            self.drain(engine, now_ms, requests);
        }
    }

    fn wait(&mut self, engine: &Engine, limit: Option<Duration>) {
        let mut limit = limit;
        let mut at_most = |duration: Duration| limit = Some(limit.map_or(duration, |limit| limit.min(duration)));
        let drains = engine.is_draining() && !self.has_drained_listener;
        if drains {
            at_most(Duration::ZERO);
        }
        if self.listener.is_some() && (self.accepts || self.accept_at_ms > 0) && engine.has_room() {
            at_most(Duration::from_millis(self.accept_at_ms.saturating_sub(engine.now_ms())));
        }
        let limit = engine.begin_poll(limit);
        // What is put on the list from here on interrupts the poll.
        engine.take_again(&mut self.again);
        let limit = if self.again.is_empty() { limit } else { Some(Duration::ZERO) };
        if self.poll.poll(&mut self.events, limit).is_err() {
            // Interrupted by a signal; the events of an earlier turn must not be seen again.
            self.events.clear();
        }
        engine.end_poll();
        engine.take_again(&mut self.again);
    }

    /// Finds the connections of the events, with one lock for all of them.
    fn look_up(&mut self, engine: &Engine) {
        if self.events.is_empty() {
            return;
        }
        let connections = engine.connections.lock();
        for event in &self.events {
            match event.token() {
                WAKER => {}
                LISTENER => self.accepts = true,
                Token(key) => {
                    let Some(connection) = connections.get(Key(key)) else { continue };
                    let readiness = Readiness {
                        readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                        writable: event.is_writable() || event.is_error(),
                        read_closed: event.is_read_closed() || event.is_error(),
                    };
                    self.batch.push((Arc::clone(connection), readiness));
                }
            }
        }
    }

    fn accept(&mut self, engine: &Arc<Engine>, now_ms: u64) {
        self.accepts |= engine.resume_accept();
        if !self.accepts || self.accept_at_ms > now_ms {
            return;
        }
        self.accept_at_ms = 0;
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else { break };
            if !engine.has_room() {
                engine.pause_accept();
                // A connection may have ended just before that was said.
                if !engine.resume_accept() {
                    self.accepts = false;
                    self.press(engine, now_ms);
                    return;
                }
            }
            match listener.accept() {
                Ok((socket, peer)) => {
                    self.backoff_ms = *BACKOFF_MS.start();
                    engine.counters.accepted.fetch_add(1, Relaxed);
                    if engine.adopt(socket, peer).is_err() {
                        engine.counters.accept_errors.fetch_add(1, Relaxed);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accepts = false;
                    if now_ms >= self.press_at_ms {
                        engine.relieve();
                    }
                    return;
                }
                Err(error) => {
                    engine.counters.accept_errors.fetch_add(1, Relaxed);
                    if !concerns_one_connection(&error) {
                        self.accept_at_ms = now_ms + self.backoff_ms;
                        self.backoff_ms = (self.backoff_ms * 2).min(*BACKOFF_MS.end());
                        return;
                    }
                }
            }
        }
    }

    /// There is no room. If somebody waits for it, connections that are idle have to go soon. Told at most once in the time
    /// they get, since it means to look at all of them.
    fn press(&mut self, engine: &Engine, now_ms: u64) {
        if now_ms < self.press_at_ms || !self.listener.as_ref().is_some_and(Acceptor::has_waiting) {
            return;
        }
        self.press_at_ms = engine.after_ms(PRESSED_GRACE);
        engine.press();
        let all: Vec<_> = engine.connections.lock().values().cloned().collect();
        for connection in all {
            connection.idle_anew();
        }
    }

    fn tell_time(&mut self, engine: &Arc<Engine>, now_ms: u64, requests: &mut Vec<Request>) {
        engine.take_due(now_ms, &mut self.due);
        for (key, asked_ms) in self.due.drain(..) {
            let connection = engine.connections.lock().get(key).cloned();
            if let Some(connection) = connection {
                connection.on_timer(asked_ms, now_ms, requests);
            }
        }
    }

    /// Takes in who knocked before the door closed, closes it, and in the end closes everything.
    fn drain(&mut self, engine: &Arc<Engine>, now_ms: u64, requests: &mut Vec<Request>) {
        let all = || -> Vec<Arc<Connection>> { engine.connections.lock().values().cloned().collect() };
        if !self.has_drained_listener {
            self.accepts = true;
            self.accept(engine, now_ms);
            if self.accepts && self.accept_at_ms == 0 && engine.has_room() {
                return;
            }
            self.has_drained_listener = true;
            self.stop_listening(engine);
            for connection in all() {
                connection.on_drain(requests);
            }
        }
        if now_ms >= engine.drain_due_ms() {
            for connection in all() {
                connection.cut();
            }
        }
    }
}

/// Whether an accept failed for a reason that went away with the connection.
fn concerns_one_connection(error: &io::Error) -> bool {
    let Some(errno) = Errno::from_io_error(error) else { return false };
    [
        Errno::INTR,
        Errno::CONNABORTED,
        Errno::PROTO,
        Errno::PERM,
        Errno::NETDOWN,
        Errno::HOSTUNREACH,
        Errno::NETUNREACH,
        Errno::OPNOTSUPP,
    ]
    .contains(&errno)
}
