//! What the integration tests share: a Redis and a Tollgate of their own, an HTTP client that hides nothing, and waiting
//! for what takes a while without guessing how long.
//!
//! Invariants: every server listens on a free loopback port and ends with the value that stands for it; nothing sleeps for
//! a start, it polls until a deadline that only a broken server misses. What is not here: assertions about Tollgate.

#![allow(dead_code, unreachable_pub, reason = "each test crate uses a part of it, and is no library")]

mod http;
mod limiter;
pub mod random;
mod redis_server;
mod tollgate;
mod unix;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

#[allow(unused_imports, reason = "each test crate uses a part of it")]
pub use self::{
    http::{Connection, Response},
    limiter::{LimiterUnderTest, POLICY, Setup, client, metric, policy, sample},
    redis_server::{KeptPort, RedisServer, Resp},
    tollgate::{Tollgate, command},
    unix::UnixTollgate,
};

/// Longer than anything takes that works, however busy the machine.
pub const GENEROUS: Duration = Duration::from_secs(30);

/// What [`eventually`] waits for: a condition, or a value.
pub trait Awaited {
    /// What there is once it has come true.
    type Value;
    /// The value, if it has.
    fn come(self) -> Option<Self::Value>;
}

impl Awaited for bool {
    type Value = ();
    fn come(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Awaited for Option<T> {
    type Value = T;
    fn come(self) -> Self {
        self
    }
}

/// Asks again and again until the answer is there.
///
/// # Panics
/// After `deadline`, saying `what` never came.
#[track_caller]
pub fn eventually<A: Awaited>(deadline: Duration, what: &str, mut ask: impl FnMut() -> A) -> A::Value {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = ask().come() {
            return value;
        }
        assert!(Instant::now() < end, "waited {deadline:?} in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A directory that is removed with its value.
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new, empty one.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let name = format!("tollgate-test-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = env::temp_dir().join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Self(path),
                // Left by a process that had this one's number and did not live to remove it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _already_gone = fs::remove_dir_all(&self.0);
    }
}
