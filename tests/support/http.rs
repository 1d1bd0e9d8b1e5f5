//! An HTTP/1.1 client that sends what it is told, byte for byte, and shows all of what comes back.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::GENEROUS;

/// An answer, as it came.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields in their order, names as they were spelled.
    pub headers: Vec<(String, String)>,
    /// The body, chunks put together.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the only field of this name, in any case.
    ///
    /// # Panics
    /// When there are several.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.header_values(name);
        assert!(values.len() <= 1, "{name} stands {} times: {values:?}", values.len());
        values.first().copied()
    }

    /// The values of all fields of this name, in any case.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(each, _)| each.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// A field that is a number.
    ///
    /// # Panics
    /// When it is missing, or no number.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        let value = self.header(name).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        value.parse().unwrap_or_else(|_| panic!("{name}: {value} is no number"))
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

/// A connection that is kept alive for as long as the server keeps it.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens there.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_nodelay(true).expect("an open socket takes options");
        stream.set_read_timeout(Some(GENEROUS)).expect("an open socket takes options");
        Self(BufReader::new(stream))
    }

    /// Sends a request and reads its answer.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.send(&request_bytes(method, target, headers, body));
        self.receive(method).unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    /// Sends these bytes and nothing else.
    ///
    /// # Panics
    /// When the server has closed the connection.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("the server reads on");
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&self) {
        let _already_closed = self.0.get_ref().shutdown(Shutdown::Write);
    }

    /// The socket, for what is not foreseen here.
    pub fn socket(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Whether the server has closed the connection and sent nothing before it did; waits until it does either.
    pub fn is_closed(&mut self) -> bool {
        self.0.fill_buf().map_or(true, <[u8]>::is_empty)
    }

    /// Reads the answer to a request of this method, interim (1xx) answers passed over.
    ///
    /// # Errors
    /// When the connection ends before the answer does, or what comes is not HTTP/1.1.
    pub fn receive(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let response = self.receive_one(method)?;
            if response.status >= 200 {
                return Ok(response);
            }
        }
    }

    /// Reads one answer, be it an interim one.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn receive_one(&mut self, method: &str) -> io::Result<Response> {
        let start = self.line()?;
        let status = start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        let status: u16 = status.ok_or_else(|| io::Error::other(format!("not a status line: {start:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| io::Error::other(format!("not a field: {line:?}")))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        // These never have a body (RFC 9112, section 6.3).
        if !(method == "HEAD" || status < 200 || status == 204 || status == 304) {
            self.read_body(&mut response)?;
        }
        Ok(response)
    }

    fn read_body(&mut self, response: &mut Response) -> io::Result<()> {
        if response.header("Transfer-Encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.read_chunks(&mut response.body);
        }
        match response.header("Content-Length").map(str::parse) {
            Some(Ok(length)) => {
                response.body = vec![0; length];
                self.0.read_exact(&mut response.body)
            }
            Some(Err(error)) => Err(io::Error::other(error)),
            None => self.0.read_to_end(&mut response.body).map(|_| ()),
        }
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
            let from = body.len();
            body.resize(from + size, 0);
            self.0.read_exact(&mut body[from..])?;
            let end = self.line()?;
            if !end.is_empty() {
                return Err(io::Error::other(format!("a chunk goes on after its end, or has a trailer: {end:?}")));
            }
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("the answer ends in {line:?}"))),
        }
    }
}

fn request_bytes(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let given = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let length = body.len().to_string();
    let mut fields = Vec::new();
    if !given("Host") {
        fields.push(("Host", "tollgate.test"));
    }
    if !body.is_empty() && !given("Content-Length") && !given("Transfer-Encoding") {
        fields.push(("Content-Length", &length));
    }
    fields.extend(headers);
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    [format!("{method} {target} HTTP/1.1\r\n{}\r\n", lines.concat()).as_bytes(), body].concat()
}
