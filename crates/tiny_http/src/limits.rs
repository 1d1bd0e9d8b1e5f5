//! What a client can make the engine hold, wait for or do; and the other options of a server.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use crate::reject::Rejection;
use crate::response::ResponseBox;

/// Bounds on what clients can take. Each holds exactly: the value itself is still allowed.
///
/// ```
/// use tiny_http::Limits;
/// let limits = Limits { body_bytes: 64 * 1024, ..Limits::default() };
/// assert_eq!(limits.headers, 100);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request line, its line end not counted; over it 414. Default 8 KiB.
    pub request_line_bytes: usize,
    /// Bytes of a head from the request line to the empty line; over it 431. Default 32 KiB.
    pub head_bytes: usize,
    /// Header fields of a head; over it 431. Default 100.
    pub headers: usize,
    /// Bytes of a body, after chunked is decoded; over it 413. Default 1 MiB.
    pub body_bytes: u64,
    /// Bytes of a body that are collected before the request is handed out; a longer body is streamed to its reader.
    /// 0 streams every body. Default 64 KiB.
    pub buffered_body_bytes: usize,
    /// Bytes that the bodies which are being collected, or were and are not answered yet, may take together, all connections
    /// counted; over it 503. Default 64 MiB.
    pub collected_bytes: usize,
    /// Bytes of a body that the engine reads and drops when a handler answered without reading them; more of them close
    /// the connection. Default 256 KiB.
    pub unread_body_bytes: u64,
    /// Bytes of chunk extensions in one body; over it 400. Default 16 KiB.
    pub chunk_extension_bytes: usize,
    /// Bytes of trailers in one body; over it 431. Default 8 KiB.
    pub trailer_bytes: usize,
    /// From the first byte of a head to its last; over it 408. Default 10 s.
    pub head_timeout: Duration,
    /// From the end of a head to the end of its body; over it 408, or an error to the reader. Default 30 s.
    pub body_timeout: Duration,
    /// For the client to take what is waiting for it, or 64 KiB of that; over it the connection ends. Default 30 s.
    pub write_timeout: Duration,
    /// Between requests, and before the first. Default 15 s.
    pub idle_timeout: Duration,
    /// After the last answer, for the client to end the connection from its side. Default 2 s.
    pub linger_timeout: Duration,
    /// Requests on one connection; the answer to the last one says so. Default 1,000.
    pub requests_per_connection: u64,
    /// Requests of one connection that are handed out and not answered yet. Default 16.
    pub pipelined_requests: usize,
    /// Bytes of answers kept for a client that is slow to read; a responder that has more waits. Default 256 KiB.
    pub pending_output_bytes: usize,
    /// Bytes of answers that came before their turn, or that clients are slow to read, all connections counted; the
    /// connection that would exceed it is closed. One answer may have that much. Default 256 MiB.
    pub unsent_bytes: usize,
    /// Open connections. The process's limit of descriptors, less [`reserved_descriptors`](Self::reserved_descriptors),
    /// lowers it. Over it new connections wait in the kernel. Default 16,384.
    pub connections: usize,
    /// Descriptors that connections leave to the rest of the process. Default 32.
    pub reserved_descriptors: usize,
    /// Requests received and not yet taken by `recv`; over it 503. Default 4,096.
    pub ready_requests: usize,
}

const KIB: usize = 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line_bytes: 8 * KIB,
            head_bytes: 32 * KIB,
            headers: 100,
            body_bytes: 1024 * 1024,
            buffered_body_bytes: 64 * KIB,
            collected_bytes: 64 * 1024 * KIB,
            unread_body_bytes: 256 * 1024,
            chunk_extension_bytes: 16 * KIB,
            trailer_bytes: 8 * KIB,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(15),
            linger_timeout: Duration::from_secs(2),
            requests_per_connection: 1_000,
            pipelined_requests: 16,
            pending_output_bytes: 256 * KIB,
            unsent_bytes: 256 * 1024 * KIB,
            connections: 16_384,
            reserved_descriptors: 32,
            ready_requests: 4_096,
        }
    }
}

/// Makes the engine's own answers: see [`Options::on_reject`].
pub type RejectHandler = dyn Fn(&Rejection) -> ResponseBox + Send + Sync;

/// How a server differs from the default one.
///
/// ```
/// use std::sync::Arc;
/// use tiny_http::{Options, Response};
/// let options = Options {
///     on_reject: Some(Arc::new(|rejection| {
///         Response::from_string(rejection.detail).with_status_code(rejection.status).boxed()
///     })),
///     ..Options::default()
/// };
/// assert_eq!(options.server_name.as_deref(), Some("tiny-http (Rust)"));
/// ```
#[derive(Clone)]
pub struct Options {
    /// What clients can take.
    pub limits: Limits,
    /// Makes each answer that the engine gives by itself. Without it they are a line of plain text. It is called while
    /// the connection is locked: it must not block. A panic in it gives the plain answer.
    pub on_reject: Option<Arc<RejectHandler>>,
    /// The `Server` field of responses that have none; `None` leaves it out.
    pub server_name: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { limits: Limits::default(), on_reject: None, server_name: Some(DEFAULT_SERVER_NAME.to_owned()) }
    }
}

/// What `Server` says where nothing else is asked for: what clients of `tiny_http` have always seen.
pub(crate) const DEFAULT_SERVER_NAME: &str = "tiny-http (Rust)";

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("limits", &self.limits)
            .field("on_reject", &self.on_reject.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}

/// The reject handler as the engine keeps it. A panic in it is caught and what it captured is never looked at again by
/// the engine, so a server stays unwind-safe whatever the handler captures.
pub(crate) type SharedRejectHandler = AssertUnwindSafe<Option<Arc<RejectHandler>>>;
