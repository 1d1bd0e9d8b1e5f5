//! What the header fields say about the connection and about the length of the body (RFC 9112, sections 6 and 9.3).

use httparse::Header;

use super::line::Version;
use super::target::is_authority;
use crate::header::list;
use crate::reject::{RejectReason, Rejection};

/// How the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes; 0 where there is none.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// What was gathered from the fields.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is what one field said")]
pub(super) struct Gathered {
    hosts: usize,
    length: Option<u64>,
    coding: Option<Coding>,
    close: bool,
    keep_alive: bool,
    pub(super) upgrade: bool,
    expects_continue: bool,
    unmet_expectation: bool,
}

/// The transfer codings so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Coding {
    chunked: bool,
    unknown: bool,
}

const fn bad_framing(detail: &'static str) -> Rejection {
    Rejection::new(RejectReason::Framing, detail)
}

impl Gathered {
    pub(super) fn add(&mut self, header: &Header<'_>) -> Result<(), Rejection> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // The length tells most fields apart before any of their bytes is compared.
        match header.name.len() {
            4 if is("host") => self.add_host(header.value),
            6 if is("expect") => {
                self.add_expectations(header.value);
                Ok(())
            }
            10 if is("connection") => {
                self.add_connection(header.value);
                Ok(())
            }
            14 if is("content-length") => self.add_length(header.value),
            17 if is("transfer-encoding") => self.add_coding(header.value),
            _ => Ok(()),
        }
    }

    fn add_host(&mut self, value: &[u8]) -> Result<(), Rejection> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err(Rejection::new(RejectReason::Host, "There is more than one Host."));
        }
        if !is_authority(value, false) {
            return Err(Rejection::new(RejectReason::Host, "Host is invalid."));
        }
        Ok(())
    }

    fn add_expectations(&mut self, value: &[u8]) {
        for expectation in list(value) {
            if expectation.eq_ignore_ascii_case(b"100-continue") {
                self.expects_continue = true;
            } else {
                self.unmet_expectation = true;
            }
        }
    }

    fn add_connection(&mut self, value: &[u8]) {
        for option in list(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// Lengths may be repeated if they are the same (RFC 9110, section 8.6).
    fn add_length(&mut self, value: &[u8]) -> Result<(), Rejection> {
        for element in value.split(|&byte| byte == b',') {
            let length =
                parse_length(crate::header::trim_ows(element)).ok_or(bad_framing("Content-Length is not a number."))?;
            if self.length.is_some_and(|earlier| earlier != length) {
                return Err(bad_framing("There are different values of Content-Length."));
            }
            self.length = Some(length);
        }
        Ok(())
    }

    fn add_coding(&mut self, value: &[u8]) -> Result<(), Rejection> {
        let coding = self.coding.get_or_insert_default();
        for name in list(value) {
            if coding.chunked {
                return Err(bad_framing("The chunked coding is not the last one, or is there twice."));
            }
            if name.eq_ignore_ascii_case(b"chunked") {
                coding.chunked = true;
            } else {
                coding.unknown = true;
            }
        }
        Ok(())
    }

    /// Whether the client keeps the connection (RFC 9112, section 9.3).
    pub(super) fn keeps_alive(&self, version: Version) -> bool {
        match version {
            Version::Http10 => self.keep_alive && !self.close,
            Version::Http11 => !self.close,
        }
    }

    /// Whether the client waits for `100 Continue` before it sends its body. HTTP/1.0 has no expectations.
    pub(super) fn expects_continue(&self, version: Version) -> bool {
        version == Version::Http11 && self.expects_continue
    }

    /// Judges the fields together.
    pub(super) fn framing(&self, version: Version) -> Result<Framing, Rejection> {
        if self.hosts == 0 && version == Version::Http11 {
            return Err(Rejection::new(RejectReason::Host, "Host is missing."));
        }
        if self.unmet_expectation && version == Version::Http11 {
            return Err(Rejection::new(RejectReason::Expectation, "Only the expectation 100-continue is known."));
        }
        let Some(coding) = self.coding else {
            return Ok(Framing::Length(self.length.unwrap_or(0)));
        };
        if self.length.is_some() {
            return Err(bad_framing("Content-Length and Transfer-Encoding exclude each other."));
        }
        if version == Version::Http10 {
            return Err(bad_framing("HTTP/1.0 has no Transfer-Encoding."));
        }
        match coding {
            Coding { unknown: true, .. } => {
                Err(Rejection::new(RejectReason::TransferCoding, "The only transfer coding known is chunked."))
            }
            Coding { chunked: true, .. } => Ok(Framing::Chunked),
            Coding { chunked: false, .. } => Err(bad_framing("Transfer-Encoding is empty.")),
        }
    }
}

/// Digits alone: no sign, no base, no white space, no overflow.
fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}
