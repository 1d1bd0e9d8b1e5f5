//! Finds where a head ends, and judges it.

use httparse::{EMPTY_HEADER, Header};
use memchr::memchr2;

use super::framing::Gathered;
use super::line::RequestLine;
use super::{Head, line, target};
use crate::limits::Limits;
use crate::reject::{RejectReason, Rejection};

/// How many fields are tokenised without an allocation.
const FIELDS_ON_STACK: usize = 24;

/// How far the search for the end of a head has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HeadScan {
    /// Bytes that need not be looked at again.
    at: usize,
    /// Where the current line begins.
    line_at: usize,
    /// Field lines that are complete.
    fields: usize,
    /// The request line, once it is complete.
    line: Option<RequestLine>,
    fields_at: usize,
}

/// The length of the empty lines that `bytes` begins with, which are ignored (RFC 9112, section 2.2).
pub(crate) fn empty_lines(bytes: &[u8]) -> usize {
    let mut len = 0;
    while bytes[len..].starts_with(b"\r\n") {
        len += 2;
    }
    len
}

impl HeadScan {
    /// Looks on in `bytes`, which begin with the request line and hold all that was there before.
    ///
    /// `None` asks for more bytes.
    pub(crate) fn resume(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<Head>, Rejection> {
        let window = &bytes[..bytes.len().min(limits.head_bytes)];
        while let Some(offset) = memchr2(b'\r', b'\n', &window[self.at..]) {
            let end = self.at + offset;
            self.check_position(end, limits)?;
            if bytes[end] == b'\n' {
                return Err(self.bad_line("A line ends in a line feed alone."));
            }
            match bytes.get(end + 1) {
                None => {
                    self.at = end;
                    return self.check_end(bytes.len(), limits).map(|()| None);
                }
                Some(b'\n') => {}
                Some(_) => return Err(self.bad_line("There is a carriage return inside a line.")),
            }
            if self.end_line(&bytes[self.line_at..end], end + 2, limits)? {
                return self.finish(&bytes[..end + 2]).map(Some);
            }
        }
        self.at = window.len();
        self.check_end(bytes.len(), limits).map(|()| None)
    }

    /// Takes a line; true if it was the empty one that ends the head.
    fn end_line(&mut self, bytes: &[u8], next: usize, limits: &Limits) -> Result<bool, Rejection> {
        if self.line.is_none() {
            self.line = Some(line::parse(bytes)?);
            self.fields_at = next;
        } else if bytes.is_empty() {
            return Ok(true);
        } else {
            self.fields += 1;
            if self.fields > limits.headers {
                return Err(Rejection::new(RejectReason::HeadTooLarge, "There are too many header fields."));
            }
        }
        self.at = next;
        self.line_at = next;
        Ok(false)
    }

    fn bad_line(&self, detail: &'static str) -> Rejection {
        let reason = if self.line.is_none() { RejectReason::RequestLine } else { RejectReason::HeaderField };
        Rejection::new(reason, detail)
    }

    /// Judges a line end found at `end`: two bytes of the head must still fit.
    fn check_position(&self, end: usize, limits: &Limits) -> Result<(), Rejection> {
        if self.line.is_none() && end > limits.request_line_bytes {
            return Err(LINE_TOO_LONG);
        }
        if end + 2 > limits.head_bytes { Err(HEAD_TOO_LONG) } else { Ok(()) }
    }

    /// Judges `len` bytes without a further line end.
    fn check_end(&self, len: usize, limits: &Limits) -> Result<(), Rejection> {
        if self.line.is_none() && len > limits.request_line_bytes + 1 {
            return Err(LINE_TOO_LONG);
        }
        if len >= limits.head_bytes { Err(HEAD_TOO_LONG) } else { Ok(()) }
    }

    fn finish(&mut self, bytes: &[u8]) -> Result<Head, Rejection> {
        let fields = &bytes[self.fields_at..];
        let gathered = if self.fields <= FIELDS_ON_STACK {
            gather(fields, &mut [EMPTY_HEADER; FIELDS_ON_STACK])?
        } else {
            gather(fields, &mut vec![EMPTY_HEADER; self.fields])?
        };
        let RequestLine { method, target, version } = self.line.take().expect("a head ends after its request line");
        let target = target::parse(&method, bytes, target)?;
        let framing = gathered.framing(version)?;
        Ok(Head {
            len: bytes.len(),
            fields_at: self.fields_at,
            method,
            target,
            version,
            framing,
            keep_alive: gathered.keeps_alive(version),
            expects_continue: gathered.expects_continue(version),
            upgrade: gathered.upgrade,
        })
    }
}

const LINE_TOO_LONG: Rejection = Rejection::new(RejectReason::RequestLineTooLong, "The request line is too long.");
const HEAD_TOO_LONG: Rejection = Rejection::new(RejectReason::HeadTooLarge, "The head of the request is too long.");

fn gather<'b>(bytes: &'b [u8], headers: &mut [Header<'b>]) -> Result<Gathered, Rejection> {
    let malformed = Rejection::new(RejectReason::HeaderField, "A header field is malformed.");
    let httparse::Status::Complete((_, headers)) = httparse::parse_headers(bytes, headers).map_err(|_| malformed)?
    else {
        return Err(malformed);
    };
    let mut gathered = Gathered::default();
    headers.iter().try_for_each(|header| gathered.add(header))?;
    Ok(gathered)
}
