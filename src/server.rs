//! The listener, the workers, and the end: requests are pulled in batches and handed to the app.
//!
//! Invariants: the number of threads is fixed at start; a worker that panics goes on with the next batch; on SIGTERM or
//! SIGINT requests in hand are answered before the process ends. This is the only file that names the HTTP engine.

use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fs;
use std::io::{self, Cursor, ErrorKind, Read as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};
use prometheus::IntCounter;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use socket2::{Domain, Protocol, Socket, Type};
use tiny_http::{
    FieldLines, Header, Limits, Listener, Options, RejectReason, Rejection, Request, Response, ResponseBox, StatusCode,
};

use crate::app::App;
use crate::config::{Config, Listen};
use crate::exchange::{BodyError, Exchange, Reply};
use crate::problem;

/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 4_096;

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A signal came, and all requests in hand were answered.
    Drained,
    /// A second signal came, or draining took longer than it may.
    Forced,
}

/// A listener, and its address as it really is.
pub struct Bound {
    listener: Listener,
    /// Where it listens; with the port the system chose if none was asked for.
    pub listen: Listen,
}

/// Opens the listener.
///
/// # Errors
/// When the address is in use, not this machine's, or not allowed.
pub fn bind(listen: &Listen) -> io::Result<Bound> {
    match listen {
        Listen::Tcp(address) => {
            let listener = bind_tcp(*address)?;
            let listen = Listen::Tcp(listener.local_addr()?);
            Ok(Bound { listener: Listener::Tcp(listener), listen })
        }
        Listen::Unix(path) => {
            remove_stale_socket(path)?;
            Ok(Bound { listener: Listener::Unix(UnixListener::bind(path)?), listen: listen.clone() })
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the last run to be forgotten.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it on Linux, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket file that nobody answers on is left from an earlier run.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Serves `app` until a signal ends it.
///
/// # Errors
/// When threads, the poller or the signal handlers cannot be had.
pub fn serve(app: &Arc<App>, bound: Bound, config: &Config) -> io::Result<Ended> {
    let signals = watch_signals()?;
    let socket_file = match &bound.listen {
        Listen::Unix(path) => Some(RemoveAtEnd(path.clone())),
        Listen::Tcp(_) => None,
    };
    let server = tiny_http::Server::with_options(bound.listener, options(app, config)).map_err(io::Error::other)?;
    let server = Arc::new(server);
    app.metrics().connections_max.set(i64::try_from(server.max_connections()).unwrap_or(i64::MAX));
    let counted = server.clone();
    app.metrics().watch_connections(move || counted.num_connections());
    let workers_ended = start_workers(app, &server, config)?;

    select! {
        recv(signals) -> signal => {
            let name = if signal == Ok(SIGINT) { "SIGINT" } else { "SIGTERM" };
            log::info!("{name}: answering the requests in hand, then ending; a second signal ends at once");
        }
        recv(workers_ended) -> _ => return Err(io::Error::other("every worker thread has ended")),
    }
    app.begin_draining();
    server.begin_drain(config.shutdown_timeout);
    // The engine closes what is left at the deadline; the workers need a moment to notice.
    let deadline = config.shutdown_timeout + Duration::from_millis(500);
    let ended = select! {
        recv(workers_ended) -> _ => if server.stats().cut == 0 { Ended::Drained } else { Ended::Forced },
        recv(signals) -> _ => Ended::Forced,
        default(deadline) => Ended::Forced,
    };
    drop(socket_file);
    Ok(ended)
}

struct RemoveAtEnd(PathBuf);

impl Drop for RemoveAtEnd {
    fn drop(&mut self) {
        // It may be gone already; the next start copes either way.
        let _gone = fs::remove_file(&self.0);
    }
}

fn watch_signals() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = crossbeam_channel::unbounded();
    let forward = move || signals.forever().try_for_each(|signal| sender.send(signal));
    thread::Builder::new().name("signals".to_owned()).spawn(forward)?;
    Ok(receiver)
}

fn options(app: &Arc<App>, config: &Config) -> Options {
    let limits = Limits {
        // The app judges the length itself, after it has taken the token that a request costs in any case.
        body_bytes: u64::MAX,
        // All that the app accepts: a request is handed out with its body, or with enough of it to refuse it, so no worker
        // ever waits for a slow upload.
        buffered_body_bytes: config.max_body_bytes,
        // However large a body may be, some fit beside each other.
        collected_bytes: config.max_body_bytes.saturating_mul(8).max(Limits::default().collected_bytes),
        connections: config.max_connections,
        requests_per_connection: config.max_requests_per_connection as u64,
        head_timeout: config.header_timeout,
        body_timeout: config.body_timeout,
        write_timeout: config.write_timeout,
        idle_timeout: config.idle_timeout,
        ..Limits::default()
    };
    let reasons: Vec<_> = RejectReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let counters = app.metrics().rejections(&reasons);
    let app = app.clone();
    Options {
        limits,
        on_reject: Some(Arc::new(move |rejection| answer_rejected(rejection, &counters, &app))),
        server_name: Some("tollgate".to_owned()),
    }
}

/// What the engine answers by itself has the form of every other answer, and is counted and logged with them.
fn answer_rejected(rejection: &Rejection, counters: &[IntCounter], app: &App) -> ResponseBox {
    counters[rejection.reason as usize].inc();
    let reply = problem::rejected(rejection.status.0, rejection.detail);
    let reply = app.rejected(reply, rejection.peer.map(|peer| peer.ip()));
    let headers = reply.fields.iter().filter_map(|(name, value)| Header::from_bytes(name, value).ok()).collect();
    let body = reply.body.bytes().to_vec();
    let length = body.len();
    Response::new(StatusCode(reply.status), headers, Cursor::new(body), Some(length), None).boxed()
}

/// Starts the workers; the channel is disconnected when the last one has ended.
fn start_workers(app: &Arc<App>, server: &Arc<tiny_http::Server>, config: &Config) -> io::Result<Receiver<()>> {
    let (running, ended) = crossbeam_channel::bounded(0);
    app.metrics().workers.set(i64::try_from(config.workers.get()).unwrap_or(i64::MAX));
    for number in 0..config.workers.get() {
        let (app, server, running) = (app.clone(), server.clone(), running.clone());
        let batch_max = config.batch_max.get();
        let work = move || work(&app, &server, batch_max, &running);
        thread::Builder::new().name(format!("worker-{number}")).spawn(work)?;
    }
    Ok(ended)
}

fn work(app: &App, server: &tiny_http::Server, batch_max: usize, _running: &Sender<()>) {
    let mut requests = Vec::with_capacity(batch_max);
    // Nobody unblocks this server, so an error is nothing but a reason to ask again.
    while server.recv_batch(&mut requests, batch_max).unwrap_or(true) {
        app.metrics().workers_busy.inc();
        let batch = requests.drain(..).map(Call);
        // Handlers are guarded one by one; this guards the worker against whatever is left.
        if catch_unwind(AssertUnwindSafe(|| app.answer(batch, || server.release_poller()))).is_err() {
            app.metrics().worker_panics.inc();
        }
        app.metrics().workers_busy.dec();
    }
}

thread_local! {
    /// Kept between answers, so that none allocates it anew.
    static FIELDS: RefCell<FieldLines> = const { RefCell::new(FieldLines::new()) };
}

/// A request of the engine's, as the app sees it.
struct Call(Request);

impl Exchange for Call {
    fn method(&self) -> &str {
        self.0.method().as_str()
    }

    fn target(&self) -> &str {
        self.0.url()
    }

    fn peer(&self) -> Option<IpAddr> {
        self.0.remote_addr().map(SocketAddr::ip)
    }

    fn received_at(&self) -> Instant {
        self.0.received_at()
    }

    fn header_values(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        let named = move |(field, value): (&'_ [u8], _)| field.eq_ignore_ascii_case(name.as_bytes()).then_some(value);
        self.0.header_fields().filter_map(named)
    }

    fn has_body(&self) -> bool {
        self.0.body_ready().is_some() || self.0.body_failure().is_some()
    }

    fn put_aside(mut self, max_bytes: usize, kept: Box<dyn Any + Send>) -> Option<Self> {
        self.0.attach(kept);
        // What is too long anyway is not waited for.
        if self.0.body_length().is_some_and(|length| length > max_bytes) {
            Some(self)
        } else {
            self.0.collect_body(max_bytes).map(Call)
        }
    }

    fn take_kept(&mut self) -> Option<Box<dyn Any + Send>> {
        self.0.take_attachment()
    }

    fn body(&mut self, max_bytes: usize) -> Result<Cow<'_, [u8]>, BodyError> {
        if let Some(failure) = self.0.body_failure() {
            return Err(body_error(failure.reason));
        }
        if self.0.body_length().is_some_and(|length| length > max_bytes) {
            return Err(BodyError::TooLarge);
        }
        if self.0.body_ready().is_none() {
            return self.streamed_body(max_bytes).map(Cow::Owned);
        }
        let body = self.0.body_ready().unwrap_or_default();
        if body.len() > max_bytes { Err(BodyError::TooLarge) } else { Ok(Cow::Borrowed(body)) }
    }

    fn answer(mut self, reply: Reply) {
        // Who sends too much is likely to go on with it.
        if reply.status == 413 {
            self.0.end_connection();
        }
        FIELDS.with_borrow_mut(|fields| {
            fields.clear();
            if let Err(error) = fields.push_lines(reply.fields.as_lines().as_bytes()) {
                log::error!("an answer's header fields were left out: {error}");
            }
            if let Err(error) = self.0.respond_parts(StatusCode(reply.status), fields, reply.body.bytes()) {
                log::debug!("an answer could not be sent: {error}");
            }
        });
    }
}

fn body_error(reason: RejectReason) -> BodyError {
    match reason {
        RejectReason::BodyTimeout => BodyError::TimedOut,
        RejectReason::BodyTooLarge => BodyError::TooLarge,
        RejectReason::BodiesFull => BodyError::NoRoom,
        _ => BodyError::Incomplete,
    }
}

impl Call {
    fn streamed_body(&mut self, max_bytes: usize) -> Result<Vec<u8>, BodyError> {
        let mut body = Vec::new();
        let limit = u64::try_from(max_bytes).map_or(u64::MAX, |max| max.saturating_add(1));
        match self.0.as_reader().take(limit).read_to_end(&mut body) {
            Ok(_) if body.len() > max_bytes => Err(BodyError::TooLarge),
            Ok(_) => Ok(body),
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(BodyError::TimedOut),
            Err(_) => Err(BodyError::Incomplete),
        }
    }
}
