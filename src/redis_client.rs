//! The way to Redis: a pool of blocking connections behind a circuit breaker, for whoever keeps something there.
//!
//! Invariants: every wait has a bound (connect, checkout, read, write); a connection that failed or timed out never goes back
//! to the pool, because its late reply would answer somebody else's question; while Redis fails, one caller at a time tries
//! it and all others are told so at once. What it never does: decide what happens meanwhile; that is the caller's.
//!
//! Only this file, and those named `redis.rs`, name the redis crate.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use r2d2::{HandleError, ManageConnection};
use redis::{Client, Connection, ErrorKind, RedisError, Script, Value};

use crate::breaker::{Breaker, BreakerSettings, BreakerState, Permit};
use crate::metrics::{Metrics, RedisCommand, RedisErrorKind};

/// Consecutive failures that open the breaker, if each came at once. A single time-out opens it, so that a Redis that hangs
/// costs each worker one time-out and no more.
const FAILURES_TO_OPEN: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// An answer this young is taken as proof that Redis is up, so that readiness checks cannot become a load on it.
const ANSWER_IS_FRESH_FOR: Duration = Duration::from_secs(1);
/// The longest pause between two attempts to refill the pool: r2d2 doubles from 200 ms up to half of its own time-out.
const POOL_RETRY_CAP: Duration = Duration::from_millis(500);
/// A failing connect is logged once, and again after this long.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Where Redis is and how long it may take.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://`, `rediss://` or `unix://`, with user, password and database where needed.
    pub url: String,
    /// Connections at most.
    pub pool_size: u32,
    /// For making a connection, its handshake included.
    pub connect_timeout: Duration,
    /// For each read and each write of a command.
    pub command_timeout: Duration,
    /// For getting a connection from the pool.
    pub pool_wait: Duration,
}

/// Why Redis gave no answer.
#[derive(Debug)]
pub enum RedisFailure {
    /// No connection could be had from the pool in time; it says what the last attempt to make one met.
    NoConnection(r2d2::Error),
    /// The connection did not prove that it lives, so it was not used.
    DeadConnection(RedisError),
    /// The exchange failed.
    Exchange(RedisError),
    /// The script's answer had another form than the script gives.
    UnexpectedAnswer,
}

impl RedisFailure {
    /// Whether Redis may have done what it was asked: it neither refused, nor was out of reach from the start.
    fn leaves_doubt(&self) -> bool {
        match self {
            Self::NoConnection(_) | Self::DeadConnection(_) => false,
            Self::Exchange(_) => matches!(self.kind(), RedisErrorKind::Timeout | RedisErrorKind::Io),
            Self::UnexpectedAnswer => true,
        }
    }

    fn kind(&self) -> RedisErrorKind {
        match self {
            Self::NoConnection(_) => RedisErrorKind::Timeout,
            Self::DeadConnection(error) | Self::Exchange(error) => kind_of(error),
            Self::UnexpectedAnswer => RedisErrorKind::Other,
        }
    }
}

impl fmt::Display for RedisFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnection(error) => error.fmt(f),
            Self::DeadConnection(error) | Self::Exchange(error) if error.is_timeout() => {
                f.write_str("no answer within the time-out")
            }
            Self::DeadConnection(error) | Self::Exchange(error) => error.fmt(f),
            Self::UnexpectedAnswer => f.write_str("the script's answer had an unexpected form"),
        }
    }
}

impl std::error::Error for RedisFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::DeadConnection(error) | Self::Exchange(error) => Some(error),
            Self::NoConnection(error) => Some(error),
            Self::UnexpectedAnswer => None,
        }
    }
}

fn kind_of(error: &RedisError) -> RedisErrorKind {
    if error.is_timeout() {
        RedisErrorKind::Timeout
    } else if error.is_io_error() || error.is_connection_dropped() {
        RedisErrorKind::Io
    } else if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) {
        RedisErrorKind::Other
    } else if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) {
        RedisErrorKind::Script
    } else {
        RedisErrorKind::Other
    }
}

/// How many connections the pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// Connections that wait to be used.
    pub idle: u32,
    /// Connections in use.
    pub used: u32,
}

/// Redis cannot be asked, or did not answer; the next attempt is due in this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable {
    /// From now until the next attempt.
    pub retry_in: Duration,
    /// Redis may have done what it was asked, and only its answer is missing.
    pub in_doubt: bool,
}

/// Whether an exchange may be repeated on another connection when its own turns out to be dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Done twice it does no harm.
    Harmless,
    /// It must happen once: a connection has to prove that it lives before it is used.
    Never,
}

/// Redis, as this process reaches it; shared by all workers.
pub struct RedisClient {
    pool: r2d2::Pool<Manager>,
    pool_wait: Duration,
    pool_size: u32,
    breaker: Mutex<Breaker>,
    /// What the log says happens while Redis fails.
    meanwhile: String,
    started: Instant,
    /// When Redis last answered, in microseconds since `started`; 0 is never.
    answered_at_us: AtomicU64,
    metrics: Arc<Metrics>,
}

impl RedisClient {
    /// Opens the pool. It does not wait for Redis, and does not need it: connections are made in the
    /// background. `meanwhile` completes the log's "Redis fails; ... until it answers again".
    ///
    /// # Errors
    /// When the URL is not one of Redis.
    pub fn open(settings: &RedisSettings, meanwhile: String, metrics: Arc<Metrics>) -> Result<Self, RedisFailure> {
        let client = Client::open(settings.url.as_str()).map_err(RedisFailure::Exchange)?;
        let manager =
            Manager { client, connect_timeout: settings.connect_timeout, command_timeout: settings.command_timeout };
        let pool = r2d2::Pool::builder()
            .max_size(settings.pool_size)
            .min_idle(None)
            .test_on_check_out(false)
            .max_lifetime(None)
            .idle_timeout(None)
            .connection_timeout(POOL_RETRY_CAP * 2)
            .error_handler(Box::new(ConnectErrors { metrics: metrics.clone(), logged: Mutex::new(None) }))
            .build_unchecked(manager);
        metrics.pool_max.set(i64::from(settings.pool_size));
        let breaker = Breaker::new(BreakerSettings {
            failures_to_open: FAILURES_TO_OPEN,
            first_pause: FIRST_PAUSE,
            longest_pause: LONGEST_PAUSE,
            probe_timeout: settings.pool_wait + settings.connect_timeout + 2 * settings.command_timeout,
        });
        Ok(Self {
            pool,
            pool_wait: settings.pool_wait,
            pool_size: settings.pool_size,
            breaker: Mutex::new(breaker),
            meanwhile,
            started: Instant::now(),
            answered_at_us: AtomicU64::new(0),
            metrics,
        })
    }

    /// How many connections the pool has, and what they do.
    #[must_use]
    pub fn pool_state(&self) -> PoolState {
        let state = self.pool.state();
        PoolState { idle: state.idle_connections, used: state.connections - state.idle_connections }
    }

    /// The breaker's state at this moment.
    #[must_use]
    pub fn breaker_state(&self) -> BreakerState {
        self.lock_breaker().state()
    }

    /// Whether Redis answered within the last second, and nothing has gone wrong since.
    #[must_use]
    pub fn answered_just_now(&self) -> bool {
        let answered_at_us = self.answered_at_us.load(Ordering::Relaxed);
        let age = self.started.elapsed().saturating_sub(Duration::from_micros(answered_at_us));
        answered_at_us != 0 && age < ANSWER_IS_FRESH_FOR && self.breaker_state() == BreakerState::Closed
    }

    /// Runs `exchange` on a pooled connection, if the breaker permits, and tells the breaker how it went.
    ///
    /// # Errors
    /// When Redis may not be asked now, does not answer in time, or refuses; then nothing is known about what it did.
    pub(crate) fn call<T>(
        &self,
        repeat: Repeat,
        exchange: impl FnMut(&mut Connection) -> Result<T, RedisFailure>,
    ) -> Result<T, Unavailable> {
        let permit = self.with_breaker(None, |breaker| breaker.permit(Instant::now()));
        if let Permit::Refused(retry_in) = permit {
            return Err(Unavailable { retry_in, in_doubt: false });
        }
        let answered = self.call_by_some_connection(repeat, exchange);
        let now = Instant::now();
        match &answered {
            Ok(_) => {
                let since_start = now.duration_since(self.started).as_micros();
                self.answered_at_us.store(u64::try_from(since_start).unwrap_or(u64::MAX), Ordering::Relaxed);
                self.with_breaker(None, |breaker| breaker.succeeded(permit));
            }
            Err(failure) => {
                let kind = failure.kind();
                self.metrics.redis_failed(kind);
                self.with_breaker(Some(failure), |breaker| match kind {
                    RedisErrorKind::Timeout => breaker.timed_out(permit, now, jitter()),
                    RedisErrorKind::Io | RedisErrorKind::Script | RedisErrorKind::Other => {
                        breaker.failed(permit, now, jitter());
                    }
                });
            }
        }
        self.metrics.redis_up.set(i64::from(answered.is_ok()));
        answered.map_err(|failure| Unavailable { retry_in: FIRST_PAUSE, in_doubt: failure.leaves_doubt() })
    }

    /// Runs `exchange`, which calls `script` by its hash, and once more after loading the script if Redis does not have it
    /// (restarted, SCRIPT FLUSH).
    ///
    /// # Errors
    /// Those of the exchange.
    pub(crate) fn with_script_loaded<T>(
        &self,
        connection: &mut Connection,
        script: &Script,
        mut exchange: impl FnMut(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, RedisError> {
        match self.timed(RedisCommand::Evalsha, || exchange(connection)) {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                self.metrics.script_reloads.inc();
                self.timed(RedisCommand::ScriptLoad, || script.load(connection))?;
                self.timed(RedisCommand::Evalsha, || exchange(connection))
            }
            other => other,
        }
    }

    /// Records how long an exchange took.
    pub(crate) fn timed<T>(&self, command: RedisCommand, exchange: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = exchange();
        self.metrics.redis_answered(command, start.elapsed().as_secs_f64());
        result
    }

    /// A Redis that was restarted has left every pooled connection dead. Each says so at once, so they are gone through
    /// before the call counts as failed; a time-out ends it immediately.
    fn call_by_some_connection<T>(
        &self,
        repeat: Repeat,
        mut exchange: impl FnMut(&mut Connection) -> Result<T, RedisFailure>,
    ) -> Result<T, RedisFailure> {
        let mut dead_connections = 0;
        loop {
            let mut pooled = self.pool.get_timeout(self.pool_wait).map_err(|error| {
                self.metrics.pool_timeouts.inc();
                RedisFailure::NoConnection(error)
            })?;
            let (attempted, may_repeat) = match repeat {
                Repeat::Harmless => (exchange(&mut pooled.connection), true),
                Repeat::Never => {
                    match self.timed(RedisCommand::Ping, || redis::cmd("PING").exec(&mut pooled.connection)) {
                        Ok(()) => (exchange(&mut pooled.connection), false),
                        Err(error) => (Err(RedisFailure::DeadConnection(error)), true),
                    }
                }
            };
            let Err(failure) = attempted else { return attempted };
            pooled.failed = true;
            let gone = match &failure {
                RedisFailure::DeadConnection(error) | RedisFailure::Exchange(error) => error.is_connection_dropped(),
                RedisFailure::NoConnection(_) | RedisFailure::UnexpectedAnswer => false,
            };
            dead_connections += 1;
            if !gone || !may_repeat || dead_connections > self.pool_size {
                return Err(failure);
            }
        }
    }

    /// Asks or tells the breaker something, and makes known what state that put it in, and because of what.
    fn with_breaker<R>(&self, failure: Option<&RedisFailure>, change: impl FnOnce(&mut Breaker) -> R) -> R {
        let (result, before, after) = {
            let mut breaker = self.lock_breaker();
            let before = breaker.state();
            let result = change(&mut breaker);
            let after = breaker.state();
            if before != after {
                // Under the lock, so that the gauge never ends on a state that has been left.
                self.metrics.breaker_went(after);
            }
            (result, before, after)
        };
        match (before, after, failure) {
            (BreakerState::Closed, BreakerState::Open, Some(failure)) => {
                log::warn!("Redis fails ({failure}); {} until it answers again", self.meanwhile);
            }
            (BreakerState::Open | BreakerState::HalfOpen, BreakerState::Closed, _) => {
                log::info!("Redis answers again");
            }
            (_, BreakerState::Closed | BreakerState::Open | BreakerState::HalfOpen, _) => {}
        }
        result
    }

    fn lock_breaker(&self) -> MutexGuard<'_, Breaker> {
        // Its state is one plain value, whole at any time.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number in `0.0..=1.0` that differs between processes: the low bits of the time.
fn jitter() -> f64 {
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    f64::from(since_epoch.subsec_nanos() % 1_000) / 999.0
}

/// The whole number in a script's answer.
pub(crate) fn integer(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// The bytes of a string in a script's answer.
pub(crate) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

/// A connection, and whether it must not be used again.
struct Pooled {
    connection: Connection,
    failed: bool,
}

/// Makes connections with every time-out set.
struct Manager {
    client: Client,
    connect_timeout: Duration,
    command_timeout: Duration,
}

impl ManageConnection for Manager {
    type Connection = Pooled;
    type Error = RedisError;

    fn connect(&self) -> Result<Pooled, RedisError> {
        let connection = self.client.get_connection_with_timeout(self.connect_timeout)?;
        connection.set_read_timeout(Some(self.command_timeout))?;
        connection.set_write_timeout(Some(self.command_timeout))?;
        Ok(Pooled { connection, failed: false })
    }

    /// Never asked: a PING before every call would double the round trips, and prove nothing about the call.
    fn is_valid(&self, _: &mut Pooled) -> Result<(), RedisError> {
        Ok(())
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        pooled.failed || std::thread::panicking() || self.client.has_broken(&mut pooled.connection)
    }
}

/// Counts connections that could not be made, and says so in the log, but not over and over.
struct ConnectErrors {
    metrics: Arc<Metrics>,
    logged: Mutex<Option<Instant>>,
}

impl fmt::Debug for ConnectErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectErrors")
    }
}

impl HandleError<RedisError> for ConnectErrors {
    fn handle_error(&self, error: RedisError) {
        self.metrics.redis_failed(kind_of(&error));
        self.metrics.redis_up.set(0);
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|at| at.elapsed() >= LOG_AGAIN_AFTER) {
            *logged = Some(Instant::now());
            log::warn!("cannot connect to Redis: {error}; trying again in the background");
        }
    }
}
