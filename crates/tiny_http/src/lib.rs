//! An HTTP/1.1 server behind the API of `tiny_http` 0.12.
//!
//! ```no_run
//! let server = tiny_http::Server::http("127.0.0.1:0")?;
//! for request in server.incoming_requests() {
//!     let text = format!("{} {}", request.method(), request.url());
//!     request.respond(tiny_http::Response::from_string(text))?;
//! }
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! In scope: HTTP/1.0 and 1.1 over TCP and Unix sockets, on Linux and other Unix systems. Out of scope: TLS, HTTP/2,
//! Windows, and anything above requests and responses: routing, compression, static files.
//!
//! # The path of a request
//! A thread in [`Server::recv`] becomes the leader (`ready`) and runs one turn of the poller (`poller`). A readable
//! connection (`connection`) is read into the thread's buffer, which the parser (`head`) cuts into heads; bodies end where
//! `framing` and `chunked` say. A complete request (`request`) goes to whoever receives next. Its answer (`response`) is put
//! together in the answering thread's buffer and written from there with one call.
//!
//! Parsing, framing, the encoding of responses, the timer wheel and the slab do no I/O and read no clock.
#![forbid(unsafe_code)]

mod budget;
mod chunked;
mod connection;
mod descriptors;
mod engine;
mod framing;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod header;
mod limits;
mod listen;
mod method;
mod poller;
mod ready;
mod reject;
mod request;
mod response;
mod scratch;
mod server;
mod slab;
mod socket;
mod stats;
mod status;
mod sync;
mod testing;
mod wheel;

pub use header::{Header, HeaderField};
pub use limits::{Limits, Options, RejectHandler};
pub use listen::{ConfigListenAddr, ListenAddr, Listener};
pub use method::{HTTPVersion, Method};
pub use reject::{RejectReason, Rejection};
pub use request::{ReadWrite, Request};
pub use response::{FieldLines, InvalidField, Response, ResponseBox};
pub use server::{IncomingRequests, Server, ServerConfig, SslConfig};
pub use stats::Stats;
pub use status::StatusCode;
pub use testing::TestRequest;
