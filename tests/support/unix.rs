//! The server on a Unix socket, asked over it.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{GENEROUS, TempDir, command, eventually};

/// A running server on a socket of its own; it ends with this value.
pub struct UnixTollgate {
    child: Child,
    path: PathBuf,
    _dir: TempDir,
}

impl UnixTollgate {
    /// Starts one with these variables, and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let dir = TempDir::new();
        Self::start_in(dir.path().join("tollgate.sock"), variables, dir)
    }

    /// The same, with its socket where the test wants it.
    ///
    /// # Panics
    /// When it does not take connections there.
    #[track_caller]
    pub fn start_at(path: PathBuf, variables: &[(&str, &str)]) -> Self {
        Self::start_in(path, variables, TempDir::new())
    }

    #[track_caller]
    fn start_in(path: PathBuf, variables: &[(&str, &str)], dir: TempDir) -> Self {
        let listen = format!("unix:{}", path.display());
        let mut command = command(&dir, &[variables, &[("LISTEN", &listen)]].concat());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Self { child: child.expect("the program under test can be run"), path, _dir: dir };
        eventually(GENEROUS, "the server takes connections", || UnixStream::connect(&server.path).is_ok());
        server
    }

    /// Where its socket is.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Sends these bytes, says that there will be no more, and reads to the end.
    ///
    /// # Panics
    /// When the server is gone.
    #[track_caller]
    pub fn exchange(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.path).expect("the server takes connections");
        stream.set_read_timeout(Some(GENEROUS)).expect("an open socket takes options");
        stream.write_all(request.as_bytes()).expect("the server reads on");
        stream.shutdown(Shutdown::Write).expect("the socket is open");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer in text");
        answer
    }

    /// Sends it SIGTERM and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("a child that was not waited for has its pid");
        eventually(GENEROUS, "the server ends", || self.child.try_wait().expect("a child can be waited for"))
    }
}

impl Drop for UnixTollgate {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _already_waited = self.child.wait();
    }
}
