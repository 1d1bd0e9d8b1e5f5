//! One request and its answer, as the rest of the server sees them: no socket, no HTTP library.
//!
//! Invariant: a header field of an answer is one line. `server` implements [`Exchange`] over the HTTP engine; tests may
//! implement it over nothing at all.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// A request that waits for its answer.
pub trait Exchange: Sized {
    /// The method, as it was sent.
    fn method(&self) -> &str;
    /// The request target, as it was sent.
    fn target(&self) -> &str;
    /// The peer's address; `None` on a Unix socket.
    fn peer(&self) -> Option<IpAddr>;
    /// When the head of the request had been received.
    fn received_at(&self) -> Instant;
    /// The values of all header lines of this name (in any case), in the order they were sent.
    fn header_values(&self, name: &'static str) -> impl Iterator<Item = &[u8]>;
    /// Whether the body is here, or there is none.
    fn has_body(&self) -> bool;
    /// Puts the request aside while its body is on its way, if it is and may have at most `max_bytes`: it comes back in a later
    /// batch, with `kept`. So nobody ever waits for a client's upload. Given back at once if there is nothing to wait for.
    fn put_aside(self, max_bytes: usize, kept: Box<dyn Any + Send>) -> Option<Self>;
    /// What was kept with a request that comes back.
    fn take_kept(&mut self) -> Option<Box<dyn Any + Send>>;
    /// The whole body, if it has at most `max_bytes`.
    ///
    /// # Errors
    /// When it is larger, or could not be received whole.
    fn body(&mut self, max_bytes: usize) -> Result<Cow<'_, [u8]>, BodyError>;
    /// Sends the answer. A client that is gone is nobody's error.
    fn answer(self, reply: Reply);

    /// The value of the first header line of this name.
    fn header(&self, name: &'static str) -> Option<&[u8]> {
        self.header_values(name).next()
    }
}

/// Why a body could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than allowed.
    TooLarge,
    /// It did not arrive in time.
    TimedOut,
    /// There is no memory for it beside those of other requests.
    NoRoom,
    /// It ended early, or its framing was broken.
    Incomplete,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The header fields, less those that frame the message.
    pub fields: Fields,
    /// The body.
    pub body: Body,
}

/// An answer's body.
#[derive(Debug, Clone)]
pub enum Body {
    /// None, or text that is always the same.
    Static(&'static [u8]),
    /// Made for this answer.
    Owned(Vec<u8>),
    /// Kept, and shared with other answers.
    Shared(Arc<[u8]>),
}

impl Body {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Reply {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self { status, fields: Fields::default(), body: Body::Static(b"") }
    }

    /// An answer with a body of `content_type`.
    #[must_use]
    pub fn new(status: u16, content_type: &'static str, body: Body) -> Self {
        Self { status, fields: Fields::default().with("Content-Type", content_type), body }
    }

    /// An answer of JSON text.
    #[must_use]
    pub fn json(status: u16, body: Body) -> Self {
        Self::new(status, "application/json", body)
    }

    /// This answer with one more header field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.fields.push(name, value);
        self
    }
}

/// Header fields in one buffer, a line each, as they go over the wire.
#[derive(Debug, Clone, Default)]
pub struct Fields(String);

impl Fields {
    /// Adds a field. Control characters in the value become spaces, so that it stays one line (RFC 9110, section 5.5).
    pub fn push(&mut self, name: &'static str, value: impl fmt::Display) {
        if self.0.capacity() == 0 {
            // One allocation for the fields of a usual answer.
            self.0.reserve(512);
        }
        self.0.push_str(name);
        self.0.push_str(": ");
        let from = self.0.len();
        let _infallible = write!(self.0, "{value}");
        // All of it in one go, rather than up to the first: that is several bytes at a time.
        if self.0[from..].bytes().fold(false, |found, byte| found | byte.is_ascii_control()) {
            let clean = self.0[from..].replace(|c: char| c.is_ascii_control(), " ");
            self.0.replace_range(from.., &clean);
        }
        self.0.push_str("\r\n");
    }

    /// These fields and one more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.push(name, value);
        self
    }

    /// The lines, each ended by CRLF.
    #[must_use]
    pub fn as_lines(&self) -> &str {
        &self.0
    }

    /// Each field's name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split_terminator("\r\n").filter_map(|line| line.split_once(": "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_one_line_whatever_its_value() {
        let fields = Fields::default().with("A", 1).with("B", "x\r\nEvil: y\0").with("C", "d: e");
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [("A", "1"), ("B", "x  Evil: y "), ("C", "d: e")]);
    }
}
