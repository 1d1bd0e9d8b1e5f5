//! Responses as they are built by handlers, and as they are printed.

mod encode;
mod fields;

pub(crate) use encode::{Coding, FieldSource, Persistence, ResponseHead, put_chunk_size};
pub use fields::{FieldLines, InvalidField};

use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::sync::mpsc::Receiver;

use ascii::AsciiString;

use crate::header::{Header, HeaderField, list};
use crate::limits::DEFAULT_SERVER_NAME;
use crate::method::HTTPVersion;
use crate::status::StatusCode;

/// A response: a status, header fields and a body that is read when it is sent.
///
/// Fields that belong to the connection (`Connection`, `Trailer`, `Transfer-Encoding`, `Upgrade`) are ignored when
/// they are added. `Content-Length` sets the length instead of a field; `Content-Type` replaces an earlier one; every
/// other field may be there more than once. A `Content-Encoding` is the caller's claim about the body, which is sent as
/// it is.
pub struct Response<R> {
    pub(crate) reader: R,
    pub(crate) status_code: StatusCode,
    pub(crate) headers: Vec<Header>,
    pub(crate) data_length: Option<usize>,
    chunked_threshold: Option<usize>,
}

/// A [`Response`] whose body is of any kind.
pub type ResponseBox = Response<Box<dyn Read + Send>>;

/// From this length on a body is sent in chunks where nothing else was asked for.
const CHUNKED_THRESHOLD: usize = 32_768;

/// Bytes of a body that are read and sent at once.
pub(crate) const COPY_BYTES: usize = 16 * 1024;

impl<R: Read> Response<R> {
    /// Builds a response of its parts. What comes out of `additional_headers` before it closes is added to `headers`.
    pub fn new(
        status_code: StatusCode,
        headers: Vec<Header>,
        data: R,
        data_length: Option<usize>,
        additional_headers: Option<Receiver<Header>>,
    ) -> Self {
        let mut response = Self {
            reader: data,
            status_code,
            headers: Vec::with_capacity(headers.len()),
            data_length,
            chunked_threshold: None,
        };
        for header in headers.into_iter().chain(additional_headers.into_iter().flatten()) {
            response.add_header(header);
        }
        response
    }

    /// Sets the length, in bytes, from which on the body is sent in chunks though its length is known.
    #[must_use]
    pub fn with_chunked_threshold(mut self, length: usize) -> Self {
        self.chunked_threshold = Some(length);
        self
    }

    /// Gives the body back.
    pub fn into_reader(self) -> R {
        self.reader
    }

    /// The length, in bytes, from which on the body is sent in chunks though its length is known: 32,768 unless set.
    pub fn chunked_threshold(&self) -> usize {
        self.chunked_threshold.unwrap_or(CHUNKED_THRESHOLD)
    }

    /// Adds a field, with the exceptions said above.
    pub fn add_header<H: Into<Header>>(&mut self, header: H) {
        let header = header.into();
        let is = |name| header.field.equiv(name);
        if ["Connection", "Trailer", "Transfer-Encoding", "Upgrade"].into_iter().any(is) {
            return;
        }
        if is("Content-Length") {
            if let Ok(length) = header.value.as_str().parse() {
                self.data_length = Some(length);
            }
            return;
        }
        if is("Content-Type")
            && let Some(earlier) = self.headers.iter_mut().find(|earlier| earlier.field.equiv("Content-Type"))
        {
            earlier.value = header.value;
            return;
        }
        self.headers.push(header);
    }

    /// The same response with one field more, with the exceptions said above.
    #[must_use]
    pub fn with_header<H: Into<Header>>(mut self, header: H) -> Self {
        self.add_header(header);
        self
    }

    /// The same response with another status.
    #[must_use]
    pub fn with_status_code<S: Into<StatusCode>>(mut self, code: S) -> Self {
        self.status_code = code.into();
        self
    }

    /// The same response with another body.
    pub fn with_data<S: Read>(self, reader: S, data_length: Option<usize>) -> Response<S> {
        Response {
            reader,
            status_code: self.status_code,
            headers: self.headers,
            data_length,
            chunked_threshold: self.chunked_threshold,
        }
    }

    /// Prints the response as it is sent to a client of `http_version` whose request had `request_headers`.
    ///
    /// A body whose length nobody knows is read into memory first for HTTP/1.0. The writer is not flushed.
    ///
    /// # Errors
    /// What the writer or the body's reader gives; and if the body ends before its length.
    pub fn raw_print<W: Write>(
        mut self,
        mut writer: W,
        http_version: HTTPVersion,
        request_headers: &[Header],
        do_not_send_body: bool,
        upgrade: Option<&str>,
    ) -> io::Result<()> {
        let te = request_headers.iter().find(|header| header.field.equiv("TE"));
        let plan = self.plan(&http_version, te.map(|header| header.value.as_bytes()), do_not_send_body);
        let head = |coding, persistence| ResponseHead {
            version: &http_version,
            status: self.status_code,
            server: Some(DEFAULT_SERVER_NAME),
            fields: FieldSource::Owned(&self.headers),
            coding,
            persistence,
        };
        let mut out = Vec::with_capacity(512);
        if let Some(protocol) = upgrade {
            head(Coding::Silent, Persistence::Upgrade(protocol)).encode(&mut out);
            return writer.write_all(&out);
        }
        if plan.coding == Coding::UntilClose {
            let mut body = Vec::new();
            self.reader.read_to_end(&mut body)?;
            head(Coding::Length(body.len() as u64), Persistence::Default).encode(&mut out);
            writer.write_all(&out)?;
            return if plan.has_body { writer.write_all(&body) } else { Ok(()) };
        }
        head(plan.coding, Persistence::Default).encode(&mut out);
        writer.write_all(&out)?;
        if plan.has_body {
            copy_body(&mut self.reader, plan.coding, &mut out, |bytes| writer.write_all(bytes))
        } else {
            Ok(())
        }
    }

    /// The status.
    pub fn status_code(&self) -> StatusCode {
        self.status_code
    }

    /// The length of the body in bytes, if it is known.
    pub fn data_length(&self) -> Option<usize> {
        self.data_length
    }

    /// The fields added so far.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// Chooses how the end of the body is marked. `te` is the client's wish (RFC 9110, section 10.1.4).
    pub(crate) fn plan(&self, version: &HTTPVersion, te: Option<&[u8]>, is_head: bool) -> Plan {
        let coding = match self.data_length {
            length if self.status_code.is_lengthless(length.unwrap_or(0)) => Coding::Silent,
            None if *version <= (1, 0) => Coding::UntilClose,
            None => Coding::Chunked,
            Some(length) if *version <= (1, 0) => Coding::Length(length as u64),
            Some(length) => match te.and_then(wants_chunked) {
                Some(true) => Coding::Chunked,
                None if length >= self.chunked_threshold() => Coding::Chunked,
                Some(false) | None => Coding::Length(length as u64),
            },
        };
        Plan { coding, has_body: !is_head && !self.status_code.is_bodiless() }
    }
}

/// How a response will be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) coding: Coding,
    pub(crate) has_body: bool,
}

/// Whether the codings of a `TE` field prefer chunked (true) or identity (false) to the other.
fn wants_chunked(te: &[u8]) -> Option<bool> {
    let mut best: Option<(f32, bool)> = None;
    for element in list(te) {
        let mut parts = element.split(|&byte| byte == b';').map(crate::header::trim_ows);
        let chunked = match parts.next() {
            Some(name) if name.eq_ignore_ascii_case(b"chunked") => true,
            Some(name) if name.eq_ignore_ascii_case(b"identity") => false,
            _ => continue,
        };
        let weight = parts
            .find_map(|part| part.strip_prefix(b"q="))
            .map_or(Some(1.0), |weight| std::str::from_utf8(weight).ok()?.parse::<f32>().ok());
        match weight {
            Some(weight) if weight > best.map_or(0.0, |(best, _)| best) => best = Some((weight, chunked)),
            _ => {}
        }
    }
    best.map(|(_, chunked)| chunked)
}

/// Reads `reader` and sends it as `coding` says, piece by piece through `buffer`.
pub(crate) fn copy_body(
    reader: &mut impl Read,
    coding: Coding,
    buffer: &mut Vec<u8>,
    mut send: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = vec![0; COPY_BYTES];
    let mut left = match coding {
        Coding::Length(length) => length,
        Coding::Chunked | Coding::UntilClose => u64::MAX,
        Coding::Silent => 0,
    };
    while left > 0 {
        let room = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let len = match reader.read(&mut piece[..room]) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if len == 0 {
            break;
        }
        if coding == Coding::Chunked {
            buffer.clear();
            put_chunk_size(buffer, len);
            buffer.extend_from_slice(&piece[..len]);
            buffer.extend_from_slice(b"\r\n");
            send(buffer)?;
        } else {
            send(&piece[..len])?;
            left -= len as u64;
        }
    }
    match coding {
        Coding::Chunked => send(b"0\r\n\r\n"),
        Coding::Length(_) if left > 0 => {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the response ended before its length"))
        }
        Coding::Length(_) | Coding::UntilClose | Coding::Silent => Ok(()),
    }
}

impl<R: Read + Send + 'static> Response<R> {
    /// The same response, its body of any kind.
    #[must_use]
    pub fn boxed(self) -> ResponseBox {
        Response {
            reader: Box::new(self.reader),
            status_code: self.status_code,
            headers: self.headers,
            data_length: self.data_length,
            chunked_threshold: self.chunked_threshold,
        }
    }
}

impl Response<File> {
    /// A 200 with the contents of a file. The caller says of what `Content-Type` they are.
    #[must_use]
    pub fn from_file(file: File) -> Self {
        let length = file.metadata().ok().and_then(|metadata| usize::try_from(metadata.len()).ok());
        Self::new(StatusCode(200), Vec::new(), file, length, None)
    }
}

impl Response<Cursor<Vec<u8>>> {
    /// A 200 with these bytes.
    pub fn from_data<D: Into<Vec<u8>>>(data: D) -> Self {
        let data = data.into();
        let length = data.len();
        Self::new(StatusCode(200), Vec::new(), Cursor::new(data), Some(length), None)
    }

    /// A 200 with this text, as `text/plain; charset=UTF-8`.
    #[expect(clippy::missing_panics_doc, reason = "both parts of the field are ASCII")]
    pub fn from_string<S: Into<String>>(data: S) -> Self {
        let mut response = Self::from_data(data.into());
        response.headers.push(Header {
            field: HeaderField::from_bytes("Content-Type").expect("the name is ASCII"),
            value: AsciiString::from_ascii("text/plain; charset=UTF-8").expect("the value is ASCII"),
        });
        response
    }
}

impl Response<io::Empty> {
    /// A response without a body.
    pub fn empty<S: Into<StatusCode>>(status_code: S) -> Self {
        Self::new(status_code.into(), Vec::new(), io::empty(), Some(0), None)
    }

    /// The older name of [`empty`](Self::empty).
    #[must_use]
    pub fn new_empty(status_code: StatusCode) -> Self {
        Self::empty(status_code)
    }
}

impl Clone for Response<io::Empty> {
    fn clone(&self) -> Self {
        Self {
            reader: io::empty(),
            status_code: self.status_code,
            headers: self.headers.clone(),
            data_length: self.data_length,
            chunked_threshold: self.chunked_threshold,
        }
    }
}

#[cfg(test)]
mod tests;
