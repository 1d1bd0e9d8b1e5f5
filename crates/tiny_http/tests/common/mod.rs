//! A server on a free port, and clients that speak in bytes.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its part")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tiny_http::{Limits, Options, Request, Response, Server};

/// Longer than anything here takes on a busy machine; reached only by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Limits that make no test wait for long, and none fail on a busy machine.
pub fn limits() -> Limits {
    Limits { linger_timeout: Duration::from_millis(500), ..Limits::default() }
}

/// A server whose threads answer with `handler` until it is dropped.
pub struct Running {
    pub server: Arc<Server>,
    workers: Vec<JoinHandle<()>>,
}

impl Running {
    pub fn new(options: Options, workers: usize, handler: impl Fn(Request) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Arc::new(Server::with_options(listener, options).unwrap());
        let handler = Arc::new(handler);
        let workers = (0..workers)
            .map(|_| {
                let (server, handler) = (Arc::clone(&server), Arc::clone(&handler));
                thread::spawn(move || {
                    while let Ok(request) = server.recv() {
                        handler(request);
                    }
                })
            })
            .collect();
        Self { server, workers }
    }

    /// Answers each request with its method, target and body.
    pub fn echo(limits: Limits) -> Self {
        Self::new(Options { limits, ..Options::default() }, 2, echo)
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.server_addr().to_ip().unwrap()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.addr())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for _ in &self.workers {
            self.server.unblock();
        }
        for worker in self.workers.drain(..) {
            let ended = worker.join();
            assert!(ended.is_ok() || thread::panicking(), "a worker panicked");
        }
    }
}

/// What `echo` gives back for a request.
pub fn echoed(method: &str, url: &str, body: &str) -> String {
    format!("{method} {url} [{body}]")
}

pub fn echo(mut request: Request) {
    let mut body = Vec::new();
    let read = request.as_reader().read_to_end(&mut body);
    let text = match read {
        Ok(_) => echoed(request.method().as_str(), request.url(), &String::from_utf8_lossy(&body)),
        Err(error) => format!("body: {:?}", error.kind()),
    };
    request.respond(Response::from_string(text)).unwrap();
}

/// A response as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find(|field| field.0.eq_ignore_ascii_case(name))
            .map(|field| field.1)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn closes(&self) -> bool {
        self.field("Connection") == Some("close")
    }
}

pub struct Client {
    pub stream: TcpStream,
    /// Read and not used yet.
    input: Vec<u8>,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, input: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends as much as the server takes: it may close in between.
    pub fn send_while_open(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    pub fn finish(&mut self) -> &mut Self {
        self.stream.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Reads until there are `len` bytes; false at the end.
    fn fill(&mut self, len: usize) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        while self.input.len() < len {
            match self.stream.read(&mut buffer)? {
                0 => return Ok(false),
                read => self.input.extend_from_slice(&buffer[..read]),
            }
        }
        Ok(true)
    }

    /// Reads a head; `None` at the end of the connection.
    pub fn head(&mut self) -> Option<Reply> {
        loop {
            if let Some(end) = self.input.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.input.drain(..end + 4).collect()).unwrap();
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return Some(Reply { status, head, body: Vec::new() });
            }
            let more = self.fill(self.input.len() + 1).expect("a response, or the end of the connection");
            if !more {
                assert!(
                    self.input.is_empty(),
                    "the connection ended in a head: {:?}",
                    String::from_utf8_lossy(&self.input)
                );
                return None;
            }
        }
    }

    /// Reads a response to a request that was not HEAD.
    pub fn reply(&mut self) -> Reply {
        let mut reply = self.head().expect("a response");
        if matches!(reply.status, 100..=199 | 204 | 304) {
            return reply;
        }
        if let Some(length) = reply.field("Content-Length") {
            reply.body = self.take(length.parse().unwrap());
        } else if reply.field("Transfer-Encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(self.line().trim(), 16).unwrap();
                let chunk = self.take(size);
                assert_eq!(self.line(), "");
                if size == 0 {
                    break;
                }
                reply.body.extend(chunk);
            }
        } else {
            reply.body = self.rest();
        }
        reply
    }

    pub fn take(&mut self, len: usize) -> Vec<u8> {
        assert!(self.fill(len).unwrap(), "the connection ended in a body");
        self.input.drain(..len).collect()
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.input.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            assert!(self.fill(self.input.len() + 1).unwrap(), "the connection ended in a line");
        }
    }

    /// Everything up to the end of the connection, which must be an orderly one.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill(self.input.len() + 1).expect("an orderly end") {}
        std::mem::take(&mut self.input)
    }

    /// Whether the server ends the connection and sends nothing else first.
    pub fn is_closed(&mut self) -> bool {
        self.fill(1).is_ok_and(|more| !more)
    }

    /// Whether the server ends the connection, in an orderly way or not, and sends nothing else first.
    pub fn is_gone(&mut self) -> bool {
        match self.fill(1) {
            Ok(more) => !more,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    pub fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).reply()
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
