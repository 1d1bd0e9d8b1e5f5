//! The server itself, as a process, with nothing of the tester's environment.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::http::{Connection, Response};
use super::limiter::sample;
use super::{GENEROUS, TempDir, eventually};

/// A running server; it ends with this value.
pub struct Tollgate {
    child: Child,
    address: SocketAddr,
    stderr: Arc<Mutex<String>>,
    _dir: TempDir,
}

/// The program with these variables and no others, in an empty directory: no `.env`, no `PATH`.
pub fn command(dir: &TempDir, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_clear().envs(variables.iter().copied()).current_dir(dir.path()).stdin(Stdio::null());
    command
}

impl Tollgate {
    /// Starts one on a free port with these variables, and waits until it says where it listens.
    ///
    /// # Panics
    /// When it ends instead.
    #[track_caller]
    pub fn start(variables: &[(&str, &str)]) -> Self {
        Self::start_in(TempDir::new(), variables)
    }

    /// The same, in a directory of the test's making.
    ///
    /// # Panics
    /// When it ends instead.
    #[track_caller]
    pub fn start_in(dir: TempDir, variables: &[(&str, &str)]) -> Self {
        let mut command = command(&dir, &[("LISTEN", "127.0.0.1:0")]);
        let mut child = command
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program under test can be run");
        let stderr = collect(&mut child);
        let address = eventually(GENEROUS, "the server says where it listens", || {
            let ended = child.try_wait().expect("a child can be waited for");
            let said = stderr.lock().expect("no reader panics").clone();
            let address = address_in(&said);
            assert!(address.is_some() || ended.is_none(), "the server ended with {ended:?}, and said:\n{said}");
            address
        });
        Self { child, address, stderr, _dir: dir }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written to stderr.
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("no reader panics").clone()
    }

    /// A connection for many requests.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.connect().request(method, target, headers, body)
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.request("GET", target, &[], b"")
    }

    /// POST of JSON.
    #[track_caller]
    pub fn post(&self, target: &str, json: &str) -> Response {
        self.request("POST", target, &[("Content-Type", "application/json")], json.as_bytes())
    }

    /// The value of one series of `/metrics`, spelled as there: `name{label="value"}`.
    #[track_caller]
    pub fn metric(&self, series: &str) -> f64 {
        sample(self.get("/metrics").text(), series)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child that was not waited for has its pid");
    }

    /// How it ended.
    ///
    /// # Panics
    /// When it has not within `deadline`.
    #[track_caller]
    pub fn wait_for_exit(&mut self, deadline: Duration) -> ExitStatus {
        eventually(deadline, "the server ends", || self.child.try_wait().expect("a child can be waited for"))
    }
}

impl Drop for Tollgate {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _already_waited = self.child.wait();
        if thread::panicking() {
            eprintln!("--- stderr of the server at {}:\n{}", self.address, self.stderr());
        }
    }
}

/// Gathers what the child says, so that it never waits for a reader.
fn collect(child: &mut Child) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let (writer, stderr) = (text.clone(), child.stderr.take().expect("stderr is piped"));
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut text = writer.lock().expect("no reader panics");
            text.push_str(&line);
            text.push('\n');
        }
    });
    text
}

/// The address in the first whole line that names one: `http://127.0.0.1:PORT`.
fn address_in(stderr: &str) -> Option<SocketAddr> {
    stderr.split_inclusive('\n').filter(|line| line.ends_with('\n')).find_map(|line| {
        let (_, rest) = line.split_once("http://")?;
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(rest.len());
        rest[..end].trim_end_matches([':', '.']).parse().ok()
    })
}
