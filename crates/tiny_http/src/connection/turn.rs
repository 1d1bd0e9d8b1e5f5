//! Answers that are written piece by piece, and raw streams. This is where a responder may block, on a client that is
//! slow to read, until the write time-out.

use std::io::{self, Read, Write};
use std::sync::Arc;

use super::{Connection, Phase};
use crate::socket::Direction;
use crate::sync::wait;

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the connection is closed")
}

impl Connection {
    /// Waits until the answers before `seq` are written, and takes the turn.
    fn take_turn(&self, seq: u64) -> io::Result<()> {
        let mut state = self.lock();
        while !state.is_closed() && (state.written != seq || state.writing) {
            state = wait(&self.turn, state, None);
        }
        if state.is_closed() {
            return Err(gone());
        }
        state.writing = true;
        Ok(())
    }

    /// Sends, and waits while too much is waiting already.
    fn send_in_turn(&self, bytes: &[u8]) -> io::Result<()> {
        let engine = &self.engine;
        let mut state = self.lock();
        self.send(&mut state, bytes);
        loop {
            if state.is_closed() {
                return Err(gone());
            }
            let bound = if engine.is_gone() { 0 } else { engine.limits().pending_output_bytes };
            if state.output.len() <= bound {
                return Ok(());
            }
            let deadline = engine.instant(state.output.deadline_ms);
            drop(state);
            if !self.socket.wait(Direction::Write, Some(deadline))? {
                self.abort();
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read"));
            }
            state = self.lock();
            self.flush(&mut state);
        }
    }

    fn end_turn(self: &Arc<Self>) {
        let mut state = self.lock();
        state.writing = false;
        if !state.is_closed() {
            self.answered(state);
        }
    }

    /// Takes the socket out of the engine's hands for good.
    fn detach(&self) {
        let mut state = self.lock();
        if !state.is_closed() {
            state.phase = Phase::Upgraded;
            state.last = true;
        }
        self.settle(&mut state);
    }
}

/// Writes one answer as raw bytes. The turn is taken by the first byte, and given on when this is dropped.
pub(crate) struct TurnWriter {
    connection: Arc<Connection>,
    seq: u64,
    has_turn: bool,
    /// The turn is over, or the connection.
    is_done: bool,
}

impl TurnWriter {
    pub(crate) fn new(connection: Arc<Connection>, seq: u64) -> Self {
        Self { connection, seq, has_turn: false, is_done: false }
    }

    /// Sends `bytes` when it is their turn.
    ///
    /// # Errors
    /// If the connection is gone or the client does not read.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_done {
            return Err(gone());
        }
        let result = if self.has_turn {
            self.connection.send_in_turn(bytes)
        } else {
            self.connection.take_turn(self.seq).and_then(|()| {
                self.has_turn = true;
                self.connection.send_in_turn(bytes)
            })
        };
        self.is_done |= result.is_err();
        result
    }

    /// The answer can't be completed: the client must see that it is cut off.
    pub(crate) fn abort(&mut self) {
        self.is_done = true;
        self.connection.abort();
    }

    /// Turns the connection into a raw stream that begins with `unread`.
    pub(crate) fn upgrade(mut self, unread: Vec<u8>) -> RawStream {
        self.is_done = true;
        self.connection.detach();
        RawStream { connection: Arc::clone(&self.connection), unread, at: 0 }
    }
}

impl Drop for TurnWriter {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        // An answer of no bytes takes its turn all the same.
        if self.has_turn || self.connection.take_turn(self.seq).is_ok() {
            self.connection.end_turn();
        }
    }
}

/// Both directions of a connection that speaks something else now. Closed when dropped; it has no time-outs.
pub(crate) struct RawStream {
    connection: Arc<Connection>,
    unread: Vec<u8>,
    at: usize,
}

impl Read for RawStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.unread.len() {
            let mut state = self.connection.lock();
            self.unread = std::mem::take(&mut state.carry);
            self.at = 0;
        }
        if self.at < self.unread.len() {
            let len = (&self.unread[self.at..]).read(out)?;
            self.at += len;
            return Ok(len);
        }
        loop {
            match self.connection.socket.read(out) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.connection.socket.wait(Direction::Read, None)?;
                }
                result => return result,
            }
        }
    }
}

impl Write for RawStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.connection.send_in_turn(bytes)?;
        Ok(bytes.len())
    }

    /// Waits until the kernel has everything.
    fn flush(&mut self) -> io::Result<()> {
        loop {
            let mut state = self.connection.lock();
            self.connection.flush(&mut state);
            if state.is_closed() {
                return Err(gone());
            }
            if state.output.is_empty() {
                return Ok(());
            }
            drop(state);
            self.connection.socket.wait(Direction::Write, None)?;
        }
    }
}

impl Drop for RawStream {
    fn drop(&mut self) {
        // Errors can't be told to anybody here.
        let _ = self.flush();
        self.connection.abort();
    }
}
