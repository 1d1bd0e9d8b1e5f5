//! Requests as handlers see them.

use std::any::Any;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ascii::AsciiString;

use crate::budget::Charge;
use crate::connection::{Connection, TurnWriter};
use crate::head::{Fields, Framing, Head};
use crate::header::{Header, HeaderField};
use crate::method::{HTTPVersion, Method};
use crate::reject::{RejectReason, Rejection};
use crate::response::{
    COPY_BYTES, Coding, FieldLines, FieldSource, Persistence, Plan, Response, ResponseHead, copy_body,
};
use crate::scratch::with_write_buffer;
use crate::status::StatusCode;

/// A request. It must be answered: by [`respond`](Self::respond), [`respond_parts`](Self::respond_parts),
/// [`into_writer`](Self::into_writer) or [`upgrade`](Self::upgrade). Dropped without, it is answered with 500, so a
/// handler that panics still answers.
///
/// # Pipelining
/// A client may send its next requests before it has the answer to the first. They are handed out at once, up to
/// [`pipelined_requests`](crate::Limits::pipelined_requests), and may be answered in any order and from any thread: the
/// answers are sent in the order of the requests. Behind a request whose body is streamed, that expects `100 Continue` or
/// that asks for an upgrade, nothing is read until it is answered.
///
/// # The body
/// A short body is complete when the request is handed out; [`body_ready`](Self::body_ready) lends it without copying. A
/// longer one arrives while [`as_reader`](Self::as_reader) is read, which blocks.
pub struct Request {
    /// Where the answer goes; `None` once there is one, and in a request made for a test.
    link: Option<Link>,
    payload: Payload,
    method: Method,
    version: HTTPVersion,
    resource: Range<usize>,
    /// What the target is if `resource` is empty.
    empty_resource: &'static str,
    authority: Option<Box<str>>,
    fields_at: usize,
    headers: OnceLock<Vec<Header>>,
    remote_addr: Option<SocketAddr>,
    secure: bool,
    body_length: Option<usize>,
    /// The client will not send another request on this connection, or must not.
    is_last: bool,
    /// The handler wants no further request on this connection.
    ends_connection: bool,
    received_at: Instant,
    attachment: Option<Box<dyn Any + Send>>,
}

struct Link {
    connection: Arc<Connection>,
    seq: u64,
}

/// The bytes of a request: what is there, and where more comes from.
struct Payload {
    raw: Vec<u8>,
    head_len: usize,
    /// How much of `raw` has been read.
    at: usize,
    /// The rest comes from the connection.
    stream: Option<Link>,
    /// Some of it came from there and is not in `raw`.
    is_partial: bool,
    /// Why the body never came in; its reader is told.
    failed: Option<Rejection>,
    /// What `raw` takes of the memory for bodies.
    charge: Option<Charge>,
}

/// Where the body is.
#[derive(Debug)]
pub(crate) enum BodySource {
    /// Behind the head.
    Complete,
    /// Behind the head, and charged for; the head was there at this instant.
    Collected(Charge, Instant),
    /// Partly behind the head, the rest still to come.
    Stream,
}

/// What a connection knows of a request it hands out.
pub(crate) struct Received {
    pub(crate) connection: Arc<Connection>,
    pub(crate) seq: u64,
    pub(crate) head: Head,
    pub(crate) raw: Vec<u8>,
    pub(crate) body: BodySource,
    pub(crate) is_last: bool,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) at: Instant,
}

/// The parts of a request that was made for a test.
pub(crate) struct Made {
    pub(crate) method: Method,
    pub(crate) version: HTTPVersion,
    pub(crate) raw: Vec<u8>,
    pub(crate) head_len: usize,
    pub(crate) resource: Range<usize>,
    pub(crate) fields_at: usize,
    pub(crate) headers: Vec<Header>,
    pub(crate) remote_addr: SocketAddr,
    pub(crate) secure: bool,
    pub(crate) body_length: Option<usize>,
}

impl Request {
    pub(crate) fn received(received: Received) -> Self {
        let Received { connection, seq, head, mut raw, body, is_last, peer, at } = received;
        let authority =
            head.target.authority.map(|range| String::from_utf8_lossy(&raw[range]).into_owned().into_boxed_str());
        let mut resource = head.target.resource;
        if head.target.lacks_slash {
            // The last byte of the authority, which has been copied, makes room.
            resource.start -= 1;
            raw[resource.start] = b'/';
        }
        let (stream, charge) = match body {
            BodySource::Complete => (None, None),
            BodySource::Collected(charge, _) => (None, Some(charge)),
            BodySource::Stream => (Some(Link { connection: Arc::clone(&connection), seq }), None),
        };
        Self {
            link: Some(Link { connection, seq }),
            payload: Payload { raw, head_len: head.len, at: head.len, stream, is_partial: false, failed: None, charge },
            method: head.method,
            version: head.version.into(),
            resource,
            empty_resource: head.target.empty,
            authority,
            fields_at: head.fields_at,
            headers: OnceLock::new(),
            remote_addr: peer,
            secure: false,
            body_length: match head.framing {
                Framing::Length(length) => usize::try_from(length).ok(),
                Framing::Chunked => None,
            },
            is_last,
            ends_connection: false,
            received_at: at,
            attachment: None,
        }
    }

    pub(crate) fn made(made: Made) -> Self {
        Self {
            link: None,
            payload: Payload {
                at: made.head_len,
                head_len: made.head_len,
                raw: made.raw,
                stream: None,
                is_partial: false,
                failed: None,
                charge: None,
            },
            method: made.method,
            version: made.version,
            resource: made.resource,
            empty_resource: "",
            authority: None,
            fields_at: made.fields_at,
            headers: OnceLock::from(made.headers),
            remote_addr: Some(made.remote_addr),
            secure: made.secure,
            body_length: made.body_length,
            is_last: false,
            ends_connection: false,
            received_at: Instant::now(),
            attachment: None,
        }
    }

    /// Whether it came over TLS: never, but for a [`TestRequest`](crate::TestRequest) that says so.
    #[must_use]
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path and query, as the client sent them; `*` of `OPTIONS *`; the authority of a CONNECT. Of an absolute-form
    /// target only this part: see [`authority`](Self::authority).
    #[must_use]
    pub fn url(&self) -> &str {
        match std::str::from_utf8(&self.payload.raw[self.resource.clone()]) {
            Ok("") | Err(_) => self.empty_resource,
            Ok(url) => url,
        }
    }

    /// Host and port that the request is for: those of an absolute-form target, else the `Host` field
    /// (RFC 9112, section 3.3).
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        match &self.authority {
            Some(authority) => Some(authority),
            None => std::str::from_utf8(self.header_bytes("Host")?).ok(),
        }
    }

    /// All header fields in their order, made when this is first called. The values are ASCII: a byte that is not stands
    /// as `?` here, and as it is in [`header_bytes`](Self::header_bytes).
    #[must_use]
    pub fn headers(&self) -> &[Header] {
        self.headers
            .get_or_init(|| self.header_fields().filter_map(|(name, value)| owned_header(name, value)).collect())
    }

    /// The value of the first field of this name, in whatever case, without white space around it.
    #[must_use]
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(name.as_bytes())
    }

    /// Names and values of all fields in their order.
    pub fn header_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields()
    }

    fn fields(&self) -> Fields<'_> {
        Fields::new(&self.payload.raw[self.fields_at..self.payload.head_len])
    }

    /// The version the client speaks; minor versions above 1 are given as 1.1.
    #[must_use]
    pub fn http_version(&self) -> &HTTPVersion {
        &self.version
    }

    /// The length of the body in bytes: `None` if it comes in chunks.
    #[must_use]
    pub fn body_length(&self) -> Option<usize> {
        self.body_length
    }

    /// The other end of the connection, which may be a proxy; `None` on a Unix socket.
    #[must_use]
    pub fn remote_addr(&self) -> Option<&SocketAddr> {
        self.remote_addr.as_ref()
    }

    /// When the engine read the end of the head.
    #[must_use]
    pub fn received_at(&self) -> Instant {
        self.received_at
    }

    /// The whole body, if it is there: not if it is streamed, nor once part of it was read.
    #[must_use]
    pub fn body_ready(&self) -> Option<&[u8]> {
        let Payload { raw, head_len, at, stream, is_partial, failed, charge: _ } = &self.payload;
        (stream.is_none() && failed.is_none() && !is_partial && at == head_len).then(|| &raw[*head_len..])
    }

    /// Keeps a value with the request: what a handler that gives it back to [`collect_body`](Self::collect_body) wants to find
    /// again. A second one takes the place of the first.
    pub fn attach(&mut self, value: Box<dyn Any + Send>) {
        self.attachment = Some(value);
    }

    /// Takes the value out that was [attached](Self::attach).
    pub fn take_attachment(&mut self) -> Option<Box<dyn Any + Send>> {
        self.attachment.take()
    }

    /// Gives the request back until its body is complete: the engine tells the client to send it, if it waits to be told,
    /// collects it without keeping a thread, and hands the request out again: with its body, or, if that was malformed, late,
    /// or longer than `max_bytes`, with a [`body_failure`](Self::body_failure). So a slow client never blocks a worker. The request is returned at once if there is nothing to wait for.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the closure runs once")]
    pub fn collect_body(mut self, max_bytes: usize) -> Option<Self> {
        // What has outgrown the bound already is the caller's to refuse.
        if self.payload.raw.len() - self.payload.head_len > max_bytes {
            return Some(self);
        }
        let Some(Link { connection, seq }) = self.payload.stream.take() else { return Some(self) };
        let mut request = Some(self);
        let is_taken = connection.collect_again(max_bytes, || {
            let mut request = request.take().expect("it is taken once");
            // The connection must not hold itself, and a request that is put away must not answer.
            request.link = None;
            let raw = std::mem::take(&mut request.payload.raw);
            let head_len = request.payload.head_len;
            (request, raw, head_len)
        });
        if !is_taken && let Some(request) = &mut request {
            request.payload.stream = Some(Link { connection, seq });
        }
        request
    }

    /// The body came in.
    pub(crate) fn complete(&mut self, connection: Arc<Connection>, seq: u64, raw: Vec<u8>, charge: Charge) {
        self.link = Some(Link { connection, seq });
        self.payload.raw = raw;
        self.payload.charge = Some(charge);
    }

    /// The body will not come in.
    pub(crate) fn fail(&mut self, connection: Arc<Connection>, seq: u64, raw: Vec<u8>, why: Rejection) {
        self.link = Some(Link { connection, seq });
        self.payload.raw = raw;
        self.payload.failed = Some(why);
        self.is_last = true;
    }

    /// Why the body of a request that was given back to [`collect_body`](Self::collect_body) did not come in.
    #[must_use]
    pub fn body_failure(&self) -> Option<Rejection> {
        self.payload.failed
    }

    /// The body, to be read once. A client that waits for `100 Continue` is sent it by the first read, unless the body is
    /// there already.
    ///
    /// A body that was streamed ends in an error, never early, if the client ends too early (`UnexpectedEof`), is too slow
    /// (`TimedOut`), sends malformed chunks or too much (`InvalidData`).
    pub fn as_reader(&mut self) -> &mut dyn Read {
        &mut self.payload
    }

    /// Has the connection end with the answer to this request, unless more requests have been received on it already.
    pub fn end_connection(&mut self) {
        self.ends_connection = true;
    }

    /// Sends a response.
    ///
    /// # Errors
    /// If the response's body can't be read or ends before its length: the client is told by a 500, or by the end of the
    /// connection if part of the response was sent already. A client that is gone is not an error.
    pub fn respond<R: Read>(mut self, response: Response<R>) -> io::Result<()> {
        let is_head = self.method == Method::Head;
        let mut response = response;
        let plan = response.plan(&self.version, self.header_bytes("TE"), is_head);
        let Some(link) = self.link.take() else {
            return response.raw_print(io::sink(), self.version.clone(), self.headers(), is_head, None);
        };
        let closes = self.closes(&link) || plan.coding == Coding::UntilClose;
        let small = match plan.coding {
            Coding::Length(length) => length <= COPY_BYTES as u64,
            Coding::Silent => true,
            Coding::Chunked | Coding::UntilClose => false,
        };
        if closes && plan.coding == Coding::UntilClose {
            link.connection.ends_with(link.seq);
        }
        if !small && plan.has_body {
            return self.stream(link, response, plan, closes);
        }
        with_write_buffer(|out| {
            self.head(&link, response.status_code, FieldSource::Owned(&response.headers), plan.coding, closes)
                .encode(out);
            if plan.has_body
                && let Err(error) = append_body(&mut response.reader, plan.coding, out)
            {
                // Nothing was sent yet, so the client can be told.
                let bytes = link.connection.engine().rejection(&UNANSWERED, self.remote_addr, false, closes);
                link.connection.answer(link.seq, &bytes);
                return Err(error);
            }
            link.connection.answer(link.seq, out);
            Ok(())
        })
    }

    /// Sends a response that is made of parts which can be used again: it costs no allocation.
    ///
    /// # Errors
    /// None so far: a client that is gone is not an error.
    pub fn respond_parts(mut self, status: StatusCode, fields: &FieldLines, body: &[u8]) -> io::Result<()> {
        let Some(link) = self.link.take() else { return Ok(()) };
        let closes = self.closes(&link);
        let coding = if status.is_lengthless(body.len()) { Coding::Silent } else { Coding::Length(body.len() as u64) };
        with_write_buffer(|out| {
            self.head(&link, status, FieldSource::Lines(fields), coding, closes).encode(out);
            if self.method != Method::Head && !status.is_bodiless() {
                out.extend_from_slice(body);
            }
            link.connection.answer(link.seq, out);
        });
        Ok(())
    }

    /// Gives the answer up for a writer of raw bytes: status line, fields and body are the caller's to write. The answer
    /// is over when the writer is dropped, and the answers to later requests wait for that.
    #[must_use]
    pub fn into_writer(mut self) -> Box<dyn Write + Send + 'static> {
        let Some(link) = self.link.take() else { return Box::new(io::sink()) };
        self.closes(&link);
        Box::new(BodyWriter { writer: TurnWriter::new(link.connection, link.seq), buffer: Vec::new() })
    }

    /// Sends a response with `Upgrade: protocol` and without a body, then gives the connection up: what is read from the
    /// stream is what the client sends from here on, and nothing but the caller looks after it. It is closed when the
    /// stream is dropped.
    pub fn upgrade<R: Read>(mut self, protocol: &str, response: Response<R>) -> Box<dyn ReadWrite + Send> {
        let unread = self.payload.raw.split_off(self.payload.at);
        let Some(link) = self.link.take() else { return Box::new(Detached(io::Cursor::new(unread))) };
        let mut out = Vec::new();
        let protocol = if crate::header::is_safe_value(protocol.as_bytes()) { protocol } else { "" };
        let mut head =
            self.head(&link, response.status_code, FieldSource::Owned(&response.headers), Coding::Silent, false);
        head.persistence = Persistence::Upgrade(protocol);
        head.encode(&mut out);
        let mut writer = TurnWriter::new(link.connection, link.seq);
        // A client that is gone is found out by the first use of the stream.
        let _ = writer.send(&out);
        Box::new(writer.upgrade(unread))
    }

    /// Whether the connection ends after this answer. The body is done with.
    fn closes(&mut self, link: &Link) -> bool {
        let leaves_rest = match self.payload.stream.take() {
            Some(stream) => stream.connection.leave_body(),
            None => false,
        };
        let shall_end = self.ends_connection || link.connection.engine().is_draining();
        self.is_last || leaves_rest || shall_end && link.connection.ends_with(link.seq)
    }

    fn head<'a>(
        &'a self,
        link: &'a Link,
        status: StatusCode,
        fields: FieldSource<'a>,
        coding: Coding,
        closes: bool,
    ) -> ResponseHead<'a> {
        let persistence = match (closes, self.version == (1, 0)) {
            (true, _) => Persistence::Close,
            (false, true) => Persistence::KeepAlive,
            (false, false) => Persistence::Default,
        };
        ResponseHead {
            version: &self.version,
            status,
            server: link.connection.engine().server_name(),
            fields,
            coding,
            persistence,
        }
    }

    /// Sends a response whose body is long, or of a length that nobody knows.
    fn stream<R: Read>(&self, link: Link, mut response: Response<R>, plan: Plan, closes: bool) -> io::Result<()> {
        let mut head = Vec::with_capacity(512);
        self.head(&link, response.status_code, FieldSource::Owned(&response.headers), plan.coding, closes)
            .encode(&mut head);
        let mut writer = TurnWriter::new(link.connection, link.seq);
        let mut is_gone = false;
        let mut send = |bytes: &[u8]| {
            // The head goes with the first piece of the body.
            let result = if head.is_empty() {
                writer.send(bytes)
            } else {
                head.extend_from_slice(bytes);
                writer.send(&std::mem::take(&mut head))
            };
            result.inspect_err(|_| is_gone = true)
        };
        let result = copy_body(&mut response.reader, plan.coding, &mut Vec::new(), &mut send).and_then(|()| send(&[]));
        if is_gone {
            return Ok(());
        }
        if result.is_err() {
            writer.abort();
        }
        result
    }
}

/// Appends a body of known length.
fn append_body(reader: &mut impl Read, coding: Coding, out: &mut Vec<u8>) -> io::Result<()> {
    let Coding::Length(length) = coding else { return Ok(()) };
    let read = reader.take(length).read_to_end(out)?;
    if (read as u64) < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn owned_header(name: &[u8], value: &[u8]) -> Option<Header> {
    let ascii: Vec<u8> = value.iter().map(|&byte| if byte.is_ascii() { byte } else { b'?' }).collect();
    Some(Header { field: HeaderField::from_bytes(name).ok()?, value: AsciiString::from_ascii(ascii).ok()? })
}

impl Read for Payload {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(why) = self.failed {
            return Err(io::Error::new(kind_of(why.reason), why.detail));
        }
        if self.at < self.raw.len() {
            let len = (&self.raw[self.at..]).read(out)?;
            self.at += len;
            return Ok(len);
        }
        match &self.stream {
            Some(link) => {
                self.is_partial = true;
                link.connection.read_body(link.seq, out)
            }
            None => Ok(0),
        }
    }
}

fn kind_of(reason: RejectReason) -> io::ErrorKind {
    match reason {
        RejectReason::BodyTimeout => io::ErrorKind::TimedOut,
        RejectReason::Incomplete => io::ErrorKind::UnexpectedEof,
        _ => io::ErrorKind::InvalidData,
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            let closes = self.closes(&link);
            let bytes =
                link.connection.engine().rejection(&UNANSWERED, self.remote_addr, self.method == Method::Head, closes);
            link.connection.answer(link.seq, &bytes);
        }
    }
}

const UNANSWERED: Rejection = Rejection::new(RejectReason::Unanswered, "The request was not answered.");

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {} from {:?})", self.method, self.url(), self.remote_addr)
    }
}

/// Both directions of a connection. Everything that reads and writes is one.
pub trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

/// Gathers small writes.
struct BodyWriter {
    writer: TurnWriter,
    buffer: Vec<u8>,
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > COPY_BYTES {
            self.flush()?;
        }
        if bytes.len() >= COPY_BYTES {
            self.writer.send(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            let result = self.writer.send(&self.buffer);
            self.buffer.clear();
            result?;
        }
        Ok(())
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        // Errors can't be told to anybody here.
        let _ = self.flush();
    }
}

/// The stream of a request that has no connection.
struct Detached(io::Cursor<Vec<u8>>);

impl Read for Detached {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Write for Detached {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
