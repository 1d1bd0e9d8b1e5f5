//! A redis-server of the test's own, which can be stopped, killed and brought back.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};

use super::{GENEROUS, TempDir, eventually};

/// One redis-server process on a loopback port; it ends with this value.
pub struct RedisServer {
    child: Child,
    port: u16,
    /// Keeps the port for this server while it is down.
    kept: Option<KeptPort>,
    args: Vec<String>,
    password: Option<String>,
    dir: TempDir,
}

impl RedisServer {
    /// An empty one that keeps nothing on disk.
    pub fn start() -> Self {
        Self::with_args(&[])
    }

    /// One with further command-line options, such as `["--maxmemory", "1mb"]`.
    ///
    /// # Panics
    /// When redis-server is not installed, or does not come up.
    pub fn with_args(args: &[&str]) -> Self {
        let password = args.iter().position(|&arg| arg == "--requirepass").map(|at| args[at + 1].to_owned());
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let dir = TempDir::new();
        // Between letting go of a free port and its use, someone else may take it: then another one is tried.
        let (child, port) = eventually(GENEROUS, "a redis-server on a free port", || {
            let port = KeptPort::any().number();
            let mut child = spawn(port, &args, &dir);
            await_answer(&mut child, port, password.as_deref()).then_some((child, port))
        });
        Self { child, port, kept: None, args, password, dir }
    }

    /// A cluster of this one node, which owns all hash slots.
    pub fn cluster() -> Self {
        let bus = KeptPort::any().number().to_string();
        let server = Self::with_args(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
        server.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        eventually(GENEROUS, "the cluster is whole", || server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
        server
    }

    /// One on a port that was kept for it.
    pub fn start_at(kept: KeptPort) -> Self {
        let (dir, port) = (TempDir::new(), kept.number());
        drop(kept);
        Self { child: spawn_at(port, &[], None, &dir), port, kept: None, args: Vec::new(), password: None, dir }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, password included.
    pub fn url(&self) -> String {
        let user = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{user}127.0.0.1:{}/", self.port)
    }

    /// Its working directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs one command on a connection of its own; the reply's elements are separated by line feeds.
    ///
    /// # Panics
    /// When Redis answers with an error.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> String {
        self.connect().call(args).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    /// A connection for many commands.
    #[track_caller]
    pub fn connect(&self) -> Resp {
        Resp::open(self.port, self.password.as_deref()).expect("the server takes connections")
    }

    /// Stops it where it stands (SIGSTOP): its sockets stay open and silent.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`RedisServer::stop`].
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it at once (SIGKILL); whatever it held is lost. The port stays its own: connections to it are refused.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("a child can be waited for");
        self.kept = Some(eventually(GENEROUS, "the port of a killed server is free", || KeptPort::at(self.port).ok()));
    }

    /// Starts it again on the same port, empty.
    pub fn restart(&mut self) {
        self.kept = None;
        self.child = spawn_at(self.port, &self.args, self.password.as_deref(), &self.dir);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child that was not waited for has its pid");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

/// A loopback port where nobody listens and, while this value lives, nobody else can: connections are refused.
pub struct KeptPort(Socket, u16);

impl KeptPort {
    /// Some free one.
    pub fn any() -> Self {
        Self::at(0).expect("a loopback port is free")
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.1
    }

    fn at(port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Connections of the server that was here before may still be closing.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        let address = socket.local_addr()?.as_socket().expect("an IPv4 socket has an IP address");
        Ok(Self(socket, address.port()))
    }
}

fn spawn(port: u16, args: &[String], dir: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(dir.path())
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server: {error}. The tests need it; scripts/test.sh installs it."))
}

/// Starts one on this very port, which another process may hold for a moment.
fn spawn_at(port: u16, args: &[String], password: Option<&str>, dir: &TempDir) -> Child {
    eventually(GENEROUS, "a redis-server on a port of before", || {
        let mut child = spawn(port, args, dir);
        await_answer(&mut child, port, password).then_some(child)
    })
}

/// Whether `child` has come to answer at `port`; false when it ended instead, because the port was taken.
fn await_answer(child: &mut Child, port: u16, password: Option<&str>) -> bool {
    let pid = format!("process_id:{}\r", child.id());
    eventually(GENEROUS, "redis-server answers", || {
        if child.try_wait().expect("a child can be waited for").is_some() {
            return Some(false);
        }
        // Whoever answers there must be the child, and not the one that was faster.
        let info = Resp::open(port, password).and_then(|mut resp| resp.call(&["INFO", "server"]));
        info.is_ok_and(|info| info.lines().any(|line| line.trim_end() == pid.trim_end())).then_some(true)
    })
}

/// A connection that speaks Redis's protocol (RESP2) and nothing more.
pub struct Resp(BufReader<TcpStream>);

impl Resp {
    fn open(port: u16, password: Option<&str>) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(GENEROUS)).map_err(|error| error.to_string())?;
        let mut resp = Self(BufReader::new(stream));
        if let Some(password) = password {
            resp.call(&["AUTH", password])?;
        }
        Ok(resp)
    }

    /// Sends one command and reads its reply, elements separated by line feeds.
    ///
    /// # Errors
    /// What Redis says is wrong, or what befell the connection.
    pub fn call(&mut self, args: &[&str]) -> Result<String, String> {
        let mut command = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            command.extend(format!("${}\r\n{arg}\r\n", arg.len()).bytes());
        }
        self.0.get_mut().write_all(&command).map_err(|error| error.to_string())?;
        self.read().map_err(|error| error.to_string())?
    }

    fn read(&mut self) -> io::Result<Result<String, String>> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (kind, rest) = line.trim_end().split_at(1);
        let length = || rest.parse::<i64>().map_err(io::Error::other);
        match kind {
            "+" | ":" => Ok(Ok(rest.to_owned())),
            "-" => Ok(Err(rest.to_owned())),
            "$" => {
                let Ok(length) = usize::try_from(length()?) else { return Ok(Ok(String::new())) };
                let mut bulk = vec![0; length + 2];
                self.0.read_exact(&mut bulk)?;
                bulk.truncate(length);
                Ok(Ok(String::from_utf8(bulk).map_err(io::Error::other)?))
            }
            "*" => {
                let elements = (0..length()?).map(|_| self.read()).collect::<io::Result<Result<Vec<_>, _>>>()?;
                Ok(elements.map(|elements| elements.join("\n")))
            }
            _ => Err(io::Error::other(format!("not RESP2: {line}"))),
        }
    }
}
