//! Request heads: bytes in, "more" or a [`Head`] or a [`Rejection`](crate::Rejection) out. No I/O and no clock.
//!
//! [`HeadScan`] looks for the end of the head and can be asked again when more bytes came; each byte is looked at once.
//! What it decides depends on the bytes' positions alone, so any split of the input gives the same result.
//! [`mod@line`] reads the request line, [`target`] its target, [`framing`] what the fields say about the connection and the body.
//! `httparse` tokenises the fields; it checks neither `Host` nor lengths nor encodings, and takes bare line feeds, so the
//! line ends are checked here before it sees them.

mod fields;
mod framing;
mod line;
mod scan;
mod target;

pub(crate) use fields::Fields;
pub(crate) use framing::Framing;
pub(crate) use line::Version;
pub(crate) use scan::{HeadScan, empty_lines};

use crate::method::Method;

/// A complete head, as offsets into its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes up to and with the empty line.
    pub(crate) len: usize,
    /// Where the first header field begins.
    pub(crate) fields_at: usize,
    pub(crate) method: Method,
    pub(crate) target: target::Target,
    pub(crate) version: Version,
    pub(crate) framing: Framing,
    /// Whether the client wants to use the connection again.
    pub(crate) keep_alive: bool,
    /// Whether the client waits for `100 Continue`.
    pub(crate) expects_continue: bool,
    /// Whether the client asks for another protocol after this request.
    pub(crate) upgrade: bool,
}

#[cfg(test)]
mod tests;
