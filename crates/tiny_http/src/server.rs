//! The server: a listener, and the receiving end of everything that comes in by it.

use std::error::Error;
use std::io;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::limits::Options;
use crate::listen::{ConfigListenAddr, ListenAddr, Listener};
use crate::ready::{Patience, Received, Receiver};
use crate::request::Request;
use crate::socket::Acceptor;
use crate::stats::Stats;

type StartError = Box<dyn Error + Send + Sync + 'static>;

/// A server. Requests are taken from it by any number of threads, which poll its sockets in turns: it starts no thread
/// of its own, and does nothing while no thread is receiving.
///
/// Dropped, it closes the listener and the connections that wait for requests. Requests that were received can still be
/// answered.
pub struct Server {
    engine: Arc<Engine>,
    listen_addr: ListenAddr,
}

/// How to build a [`Server`].
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen.
    pub addr: ConfigListenAddr,
    /// Must be `None`: there is no TLS here.
    pub ssl: Option<SslConfig>,
}

/// A certificate and its key. Here for code that names it: [`Server::new`] refuses it.
#[derive(Debug, Clone)]
pub struct SslConfig {
    /// The certificate, for everybody to see.
    pub certificate: Vec<u8>,
    /// The key, for nobody to see.
    pub private_key: Vec<u8>,
}

impl Server {
    /// Listens on the first of these addresses that can be bound, with default options.
    ///
    /// # Errors
    /// If none can be.
    pub fn http<A: ToSocketAddrs>(addr: A) -> Result<Self, StartError> {
        Self::new(ServerConfig { addr: ConfigListenAddr::from_socket_addrs(addr)?, ssl: None })
    }

    /// Listens on a Unix socket, with default options. Nothing may be at `path`; the server removes the socket when it is
    /// dropped.
    ///
    /// # Errors
    /// If it can't be bound.
    pub fn http_unix(path: &Path) -> Result<Self, StartError> {
        Self::new(ServerConfig { addr: ConfigListenAddr::unix_from_path(path), ssl: None })
    }

    /// Listens as `config` says, with default options.
    ///
    /// # Errors
    /// If the address can't be bound, or TLS is asked for.
    pub fn new(config: ServerConfig) -> Result<Self, StartError> {
        if config.ssl.is_some() {
            return Err(NO_TLS.into());
        }
        Self::from_listener(config.addr.bind()?, None)
    }

    /// Serves a listener that is bound already, with default options.
    ///
    /// # Errors
    /// If it can't be polled, or TLS is asked for.
    pub fn from_listener<L: Into<Listener>>(listener: L, ssl_config: Option<SslConfig>) -> Result<Self, StartError> {
        if ssl_config.is_some() {
            return Err(NO_TLS.into());
        }
        Self::with_options(listener, Options::default())
    }

    /// Serves a listener that is bound already. Raises the process's soft limit of descriptors to its hard limit.
    ///
    /// # Errors
    /// If it can't be polled.
    pub fn with_options(listener: impl Into<Listener>, options: Options) -> Result<Self, StartError> {
        let listener = listener.into();
        let listen_addr = listener.local_addr()?;
        let engine = Engine::new(Acceptor::new(listener)?, options)?;
        Ok(Self { engine, listen_addr })
    }

    /// The requests as they come in, until [`unblock`](Self::unblock) or the end of a drain.
    #[must_use]
    pub fn incoming_requests(&self) -> IncomingRequests<'_> {
        IncomingRequests { server: self }
    }

    /// Where the server listens: with the port the system chose, if it was asked to.
    #[must_use]
    pub fn server_addr(&self) -> ListenAddr {
        self.listen_addr.clone()
    }

    /// How many connections are open.
    #[must_use]
    pub fn num_connections(&self) -> usize {
        self.stats().connections
    }

    /// How many connections may be open at once: the [limit](crate::Limits::connections), as far as there are descriptors.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.engine.connection_cap
    }

    /// Waits for a request.
    ///
    /// # Errors
    /// If [`unblock`](Self::unblock) was called (kind `Other`), or the server is drained (kind `BrokenPipe`). Nothing a
    /// client does is an error here.
    pub fn recv(&self) -> io::Result<Request> {
        match self.receive_one(Patience::Forever)? {
            Some(request) => Ok(request),
            None => Err(unblocked()),
        }
    }

    /// Waits for a request for at most `timeout`. `None` if there was none, or [`unblock`](Self::unblock) was called.
    ///
    /// # Errors
    /// If the server is drained (kind `BrokenPipe`).
    pub fn recv_timeout(&self, timeout: Duration) -> io::Result<Option<Request>> {
        let patience = Instant::now().checked_add(timeout).map_or(Patience::Forever, Patience::Until);
        self.receive_one(patience)
    }

    /// Takes a request if one is there. `None` also if [`unblock`](Self::unblock) was called.
    ///
    /// # Errors
    /// If the server is drained (kind `BrokenPipe`).
    pub fn try_recv(&self) -> io::Result<Option<Request>> {
        self.receive_one(Patience::None)
    }

    fn receive_one(&self, patience: Patience) -> io::Result<Option<Request>> {
        let mut taken = Vec::with_capacity(1);
        match self.receive(&mut taken, 1, patience, Receiver::Single) {
            Received::Requests => Ok(taken.pop()),
            Received::Unblocked | Received::TimedOut => Ok(None),
            Received::Drained => Err(drained()),
        }
    }

    /// Waits for a request, then takes what else is there without waiting, and appends all of it to `out`: at most `max`.
    /// False once the server is drained: there will be no more.
    ///
    /// The caller is expected back soon. While it works on the batch nobody else may be polling, which saves a wake-up
    /// of another thread for each batch; before it blocks on something else it calls [`release_poller`](Self::release_poller).
    /// Should it forget, another receiver takes over after a few milliseconds.
    ///
    /// # Errors
    /// If [`unblock`](Self::unblock) was called (kind `Other`).
    pub fn recv_batch(&self, out: &mut Vec<Request>, max: usize) -> io::Result<bool> {
        match self.receive(out, max.max(1), Patience::Forever, Receiver::Batch) {
            Received::Requests => Ok(true),
            Received::Unblocked | Received::TimedOut => Err(unblocked()),
            Received::Drained => Ok(false),
        }
    }

    /// Says that the calling thread is about to block on something else: another receiver polls meanwhile. Absences are
    /// measured: while they are short, below a millisecond or so, nobody is woken, since the wake-up costs more.
    pub fn release_poller(&self) {
        self.engine.ready().hand_over();
    }

    fn receive(&self, out: &mut Vec<Request>, max: usize, patience: Patience, receiver: Receiver) -> Received {
        let engine = &self.engine;
        engine.ready().receive(out, max, patience, receiver, &**engine, |limit, requests| engine.turn(limit, requests))
    }

    /// Makes one thread that waits in [`recv`](Self::recv) or a sibling of it return without a request; if none waits, the
    /// next that comes.
    pub fn unblock(&self) {
        self.engine.ready().unblock(&*self.engine);
    }

    /// What the server counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine.counters.snapshot(self.engine.ready().backlog())
    }

    /// Starts to end: no further connections are accepted, idle ones are closed, requests that arrive on the others are
    /// handed out and answered with `Connection: close`. Receivers go on until there is no connection left, and are told
    /// then. After `within` whatever is left is closed. Calling it again can only shorten that.
    pub fn begin_drain(&self, within: Duration) {
        self.engine.begin_drain(within);
    }
}

const NO_TLS: &str = "this tiny_http has no TLS";

fn unblocked() -> io::Error {
    io::Error::other("the receiver was unblocked")
}

fn drained() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the server is drained")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.engine.end();
        if let ListenAddr::Unix(addr) = &self.listen_addr
            && let Some(path) = addr.as_pathname()
        {
            // Somebody else may have been faster.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The requests of a server: see [`Server::incoming_requests`].
pub struct IncomingRequests<'a> {
    server: &'a Server,
}

impl Iterator for IncomingRequests<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        self.server.recv().ok()
    }
}
