//! Requests without a connection, for tests of handlers.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};

use crate::framing::{BodyDecoder, Piece};
use crate::head::Framing;
use crate::header::Header;
use crate::limits::Limits;
use crate::method::{HTTPVersion, Method};
use crate::request::{Made, Request};

/// A request to test a handler with: `GET /` over HTTP/1.1 without fields or body, unless it is told otherwise. It becomes
/// a [`Request`] by `into()`; what that is answered with goes nowhere.
///
/// ```
/// use tiny_http::{Method, Request, TestRequest};
/// let mut request: Request = TestRequest::new().with_method(Method::Post).with_path("/a").with_body("42").into();
/// assert_eq!((request.url(), request.body_length()), ("/a", Some(2)));
/// # let mut body = String::new();
/// request.as_reader().read_to_string(&mut body)?;
/// assert_eq!(body, "42");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TestRequest {
    body: &'static str,
    remote_addr: SocketAddr,
    secure: bool,
    method: Method,
    path: String,
    http_version: HTTPVersion,
    headers: Vec<Header>,
}

impl Default for TestRequest {
    fn default() -> Self {
        Self {
            body: "",
            remote_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 23_456)),
            secure: false,
            method: Method::Get,
            path: "/".to_owned(),
            http_version: HTTPVersion(1, 1),
            headers: Vec::new(),
        }
    }
}

impl TestRequest {
    /// `GET /`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this body. `Content-Length` is added unless there is one.
    #[must_use]
    pub fn with_body(mut self, body: &'static str) -> Self {
        self.body = body;
        self
    }

    /// From this client.
    #[must_use]
    pub fn with_remote_addr(mut self, remote_addr: SocketAddr) -> Self {
        self.remote_addr = remote_addr;
        self
    }

    /// As if it came over TLS.
    #[must_use]
    pub fn with_https(mut self) -> Self {
        self.secure = true;
        self
    }

    /// With this method.
    #[must_use]
    pub fn with_method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// With this path.
    #[must_use]
    pub fn with_path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// In this version.
    #[must_use]
    pub fn with_http_version(mut self, version: HTTPVersion) -> Self {
        self.http_version = version;
        self
    }

    /// With this field too.
    #[must_use]
    pub fn with_header(mut self, header: Header) -> Self {
        self.headers.push(header);
        self
    }
}

impl From<TestRequest> for Request {
    fn from(mut test: TestRequest) -> Self {
        if !test.headers.iter().any(|header| header.field.equiv("Content-Length")) {
            let length = test.body.len().to_string();
            test.headers.extend(Header::from_bytes("Content-Length", length));
        }
        let mut raw = format!("{} ", test.method).into_bytes();
        let resource = raw.len()..raw.len() + test.path.len();
        raw.extend_from_slice(test.path.as_bytes());
        raw.extend_from_slice(format!(" HTTP/{}\r\n", test.http_version).as_bytes());
        let fields_at = raw.len();
        for header in &test.headers {
            raw.extend_from_slice(format!("{header}\r\n").as_bytes());
        }
        raw.extend_from_slice(b"\r\n");
        let head_len = raw.len();
        let (body, body_length) = content(test.body.as_bytes(), &test.headers);
        raw.extend_from_slice(&body);
        Self::made(Made {
            method: test.method,
            version: test.http_version,
            raw,
            head_len,
            resource,
            fields_at,
            headers: test.headers,
            remote_addr: test.remote_addr,
            secure: test.secure,
            body_length,
        })
    }
}

/// The body as its fields frame it, and its length if they say one.
fn content(body: &[u8], headers: &[Header]) -> (Vec<u8>, Option<usize>) {
    if !headers.iter().any(|header| header.field.equiv("Transfer-Encoding")) {
        let length = headers.iter().find(|header| header.field.equiv("Content-Length"));
        let length: Option<usize> = length.and_then(|header| header.value.as_str().parse().ok());
        let mut content = Vec::new();
        // Reading from memory does not fail.
        let _ = body.take(length.unwrap_or(0) as u64).read_to_end(&mut content);
        return (content, length);
    }
    let limits = Limits { body_bytes: u64::MAX, ..Limits::default() };
    let mut decoder = BodyDecoder::from(Framing::Chunked);
    let (mut content, mut at) = (Vec::new(), 0);
    while let Ok(Piece::Data(range)) = decoder.next(&body[at..], usize::MAX, &limits) {
        content.extend_from_slice(&body[at..][range.clone()]);
        at += range.end;
    }
    (content, None)
}
