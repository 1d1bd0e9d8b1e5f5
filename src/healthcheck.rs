//! `tollgate healthcheck`: one GET of `/api/status` at the server's own address, for containers.
//!
//! A client of just what that takes: one request, one connection, a deadline for all of it. It reads no configuration
//! and follows nothing; any answer but 200 is unhealthy.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::Listen;

/// How long all of it may take.
const TIMEOUT: Duration = Duration::from_secs(3);

const PATH: &str = "/api/status";

/// More than a status line needs, less than a wrong server could make us read.
const ANSWER_MAX_BYTES: usize = 8 * 1024;

/// Why a server is not healthy.
#[derive(Debug)]
pub enum Unhealthy {
    /// `LISTEN` leaves the port to the system, so nobody else knows it.
    PortUnknown,
    /// No connection, or none that lasted until the answer; the address and the system's words.
    Unreachable(Listen, io::Error),
    /// No whole answer within the time.
    TimedOut(Listen, Duration),
    /// Something answered, but not in HTTP.
    NotHttp(Listen),
    /// The server answered with a status other than 200.
    Status(Listen, u16),
}

impl fmt::Display for Unhealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortUnknown => f.write_str("LISTEN has port 0, so the server's port is not known"),
            Self::Unreachable(target, error) => write!(f, "{target} can't be reached: {error}"),
            Self::TimedOut(target, timeout) => {
                write!(f, "{target} gave no answer within {} s", timeout.as_secs_f64())
            }
            Self::NotHttp(target) => write!(f, "{target} answered, but not in HTTP"),
            Self::Status(target, status) => write!(f, "{target} answered {PATH} with {status}"),
        }
    }
}

impl std::error::Error for Unhealthy {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(_, error) => Some(error),
            Self::PortUnknown | Self::TimedOut(..) | Self::NotHttp(_) | Self::Status(..) => None,
        }
    }
}

/// Asks the server that listens at `listen`, prints one line, and gives 0 if it is healthy, 1 if not.
#[must_use]
pub fn run(listen: &Listen) -> ExitCode {
    match check(listen, TIMEOUT) {
        Ok(target) => {
            println!("healthy: {target}");
            ExitCode::SUCCESS
        }
        Err(unhealthy) => {
            eprintln!("unhealthy: {unhealthy}");
            ExitCode::FAILURE
        }
    }
}

/// Asks the server that listens at `listen`, within `timeout`, and gives the address that was asked.
///
/// # Errors
///
/// If it is not there, too slow, or answers anything but 200.
pub fn check(listen: &Listen, timeout: Duration) -> Result<Listen, Unhealthy> {
    let deadline = Instant::now() + timeout;
    let target = reachable(listen).ok_or(Unhealthy::PortUnknown)?;
    let answer = match ask(&target, deadline) {
        Ok(answer) => answer,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Unhealthy::TimedOut(target, timeout),
                _ => Unhealthy::Unreachable(target, error),
            });
        }
    };
    match status(&answer) {
        Some(200) => Ok(target),
        Some(other) => Err(Unhealthy::Status(target, other)),
        None => Err(Unhealthy::NotHttp(target)),
    }
}

/// Where to connect to for what listens at `listen`: a server on all interfaces is asked on the loopback one.
fn reachable(listen: &Listen) -> Option<Listen> {
    match listen {
        Listen::Unix(path) => Some(Listen::Unix(PathBuf::clone(path))),
        Listen::Tcp(address) if address.port() == 0 => None,
        Listen::Tcp(address) => {
            let ip = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
            };
            let mut target: SocketAddr = *address;
            target.set_ip(ip);
            Some(Listen::Tcp(target))
        }
    }
}

/// Sends the request and reads until the server closes the connection, which it was asked to do.
fn ask(target: &Listen, deadline: Instant) -> io::Result<Vec<u8>> {
    let (domain, address, host) = match target {
        Listen::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address), address.to_string()),
        Listen::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?, "localhost".to_owned()),
    };
    let mut socket = Socket::new(domain, Type::STREAM, None)?;
    socket.connect_timeout(&address, left(deadline)?)?;
    socket.set_write_timeout(Some(left(deadline)?))?;
    let request =
        format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tollgate-healthcheck\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;

    let mut answer = vec![0; ANSWER_MAX_BYTES];
    let mut len = 0;
    while len < answer.len() {
        socket.set_read_timeout(Some(left(deadline)?))?;
        match socket.read(&mut answer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    answer.truncate(len);
    Ok(answer)
}

/// The time until the deadline, or an error if there is none left: a socket takes a time-out of 0 for "forever".
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// The status of an answer (RFC 9112, section 4).
fn status(answer: &[u8]) -> Option<u16> {
    let line_end = answer.windows(2).position(|pair| pair == b"\r\n")?;
    let line = str::from_utf8(&answer[..line_end]).ok()?;
    let mut words = line.splitn(3, ' ');
    let version = words.next()?;
    let status = words.next().filter(|status| status.len() == 3)?;
    version.starts_with("HTTP/1.").then(|| status.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// Longer than any machine is busy: only what has to time out gets less.
    const AMPLE: Duration = Duration::from_mins(1);

    /// Answers one connection with these bytes, and gives the request it got.
    fn answer_once<S: Read + Write>(mut stream: S, answer: &[u8]) -> String {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("a whole request");
            request.push(byte[0]);
        }
        stream.write_all(answer).expect("the client reads its answer");
        String::from_utf8(request).expect("a request in ASCII")
    }

    fn check_against(answer: &'static [u8]) -> (Result<Listen, Unhealthy>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listen = Listen::Tcp(listener.local_addr().expect("an address"));
        let server = thread::spawn(move || answer_once(listener.accept().expect("a client").0, answer));
        let result = check(&listen, AMPLE);
        (result, server.join().expect("the server ends"))
    }

    #[test]
    fn a_server_that_answers_200_is_healthy() {
        let (result, request) = check_against(b"HTTP/1.1 200 OK\r\n\r\n{\"status\":\"healthy\"}");
        assert!(result.is_ok(), "{result:?}");
        assert!(request.starts_with("GET /api/status HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
    }

    #[test]
    fn any_other_status_is_unhealthy() {
        let (result, _) = check_against(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert!(matches!(result, Err(Unhealthy::Status(_, 503))), "{result:?}");
    }

    #[test]
    fn what_is_not_http_is_unhealthy() {
        let answers: [&[u8]; 6] = [
            b"",
            b"-ERR unknown command\r\n",
            b"HTTP/1.1 200 OK",
            b"HTTP/2 200\r\n",
            b"HTTP/1.1 2000 OK\r\n",
            b"\xff\xff\r\n",
        ];
        for answer in answers {
            let (result, _) = check_against(answer);
            assert!(matches!(result, Err(Unhealthy::NotHttp(_))), "{result:?}");
        }
    }

    #[test]
    fn a_unix_socket_is_asked_too() {
        let path = PathBuf::from(format!("/tmp/healthcheck-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).expect("a socket");
        let server =
            thread::spawn(move || answer_once(listener.accept().expect("a client").0, b"HTTP/1.1 200 OK\r\n\r\n"));
        let result = check(&Listen::Unix(path.clone()), AMPLE);
        std::fs::remove_file(&path).expect("the socket's file is ours");
        assert!(result.is_ok(), "{result:?}");
        assert!(server.join().expect("the server ends").contains("\r\nHost: localhost\r\n"));
    }

    #[test]
    fn a_server_that_is_not_there_is_unhealthy() {
        let listen = Listen::Unix(PathBuf::from("/nonexistent/tollgate.sock"));
        let result = check(&listen, AMPLE);
        assert!(matches!(result, Err(Unhealthy::Unreachable(..))), "{result:?}");
    }

    #[test]
    fn a_server_that_says_nothing_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listen = Listen::Tcp(listener.local_addr().expect("an address"));
        let result = check(&listen, Duration::from_millis(50));
        assert!(matches!(result, Err(Unhealthy::TimedOut(..))), "{result:?}");
    }

    #[test]
    fn a_server_on_all_interfaces_is_asked_on_the_loopback_one() {
        let cases = [
            ("0.0.0.0:80", Some("127.0.0.1:80")),
            ("[::]:80", Some("[::1]:80")),
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("127.0.0.1:0", None),
        ];
        for (listen, target) in cases {
            let tcp = |text: &str| Listen::Tcp(text.parse().expect("an address"));
            assert_eq!(reachable(&tcp(listen)), target.map(tcp), "{listen}");
        }
    }
}
