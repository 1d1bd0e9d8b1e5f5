//! Answers that the engine gives by itself, and why.

use std::net::SocketAddr;

use crate::status::StatusCode;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:literal $label:literal,)+) => {
        /// Why the engine answered a request itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RejectReason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl RejectReason {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The reason in lower case with underscores, as a metric's label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }

            /// The status it is answered with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode($status),)+
                }
            }
        }
    };
}

reasons! {
    /// The request line is malformed, or its target does not go with its method (RFC 9112, section 3).
    RequestLine = 400 "request_line",
    /// A header field is malformed, or a line does not end in CRLF (RFC 9112, sections 2.2, 5.1 and 5.2).
    HeaderField = 400 "header_field",
    /// `Host` is missing, doubled or invalid (RFC 9112, section 3.2).
    Host = 400 "host",
    /// The length of the body is contradictory or invalid (RFC 9112, sections 6.1 and 6.3).
    Framing = 400 "framing",
    /// A chunk is malformed, or the extensions are too long (RFC 9112, section 7.1).
    Chunk = 400 "chunk",
    /// The client stopped sending in the middle of a request (RFC 9112, section 8).
    Incomplete = 400 "incomplete",
    /// The head took too long.
    HeadTimeout = 408 "head_timeout",
    /// The body took too long.
    BodyTimeout = 408 "body_timeout",
    /// The body is too long.
    BodyTooLarge = 413 "body_too_large",
    /// The request line is too long.
    RequestLineTooLong = 414 "request_line_too_long",
    /// An expectation other than `100-continue` (RFC 9110, section 10.1.1).
    Expectation = 417 "expectation",
    /// The head is too long, has too many fields, or the trailers are too long.
    HeadTooLarge = 431 "head_too_large",
    /// The handler dropped the request without an answer.
    Unanswered = 500 "unanswered",
    /// A transfer coding other than chunked (RFC 9112, section 6.1).
    TransferCoding = 501 "transfer_coding",
    /// Too many requests wait for a worker.
    QueueFull = 503 "queue_full",
    /// The bodies that are being received take too much memory together.
    BodiesFull = 503 "bodies_full",
    /// A major version other than 1, or the preface of HTTP/2 (RFC 9110, section 15.6.6).
    Version = 505 "version",
}

/// An answer that the engine is about to give by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// What it will be answered with; [`on_reject`](crate::Options::on_reject) may choose another.
    pub status: StatusCode,
    /// Why.
    pub reason: RejectReason,
    /// The rule that was broken, as a sentence for a person.
    pub detail: &'static str,
    /// The other end of the connection; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
}

impl Rejection {
    pub(crate) const fn new(reason: RejectReason, detail: &'static str) -> Self {
        Self { status: reason.status(), reason, detail, peer: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn labels_are_distinct_and_fit_for_a_metric() {
        let labels: HashSet<_> = RejectReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(labels.len(), RejectReason::ALL.len());
        assert!(labels.iter().all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn a_reason_is_its_own_index() {
        for (index, reason) in RejectReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
