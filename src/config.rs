//! The configuration: from flags, the environment and `.env` to values of the types that the server works with.
//!
//! First every setting's text is taken from its strongest source ([`Source`]), then all texts are parsed, and whatever
//! is wrong with them is told at once ([`Problems`]). A [`Config`] therefore holds only values within their ranges.
//! This module alone reads the environment. It opens nothing but `.env`, connects to nothing and looks up no name.

mod command_line;
mod dotenv;
mod network;
mod parse;
mod problems;
mod redaction;
mod redis_url;
mod report;
mod settings;
mod sources;

use std::ffi::OsString;
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

pub use crate::access_log::{AccessLogMode as AccessLog, LogFormat};
pub use crate::limiter::OnRedisFailure;
pub use network::{Listen, TrustedProxies};
pub use problems::{Problem, Problems};
pub use redis_url::RedisUrl;
pub use settings::{Fallback, Group, Range, SETTINGS, Setting};
pub use sources::{Source, Surroundings};

use parse::Word;
use sources::RawConfig;

/// What the process was started for.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a process makes one and takes it apart at once")]
pub enum Command {
    /// Serve.
    Serve(Config),
    /// Print this text, which ends with a line feed.
    ShowConfig(String),
    /// Ask the server that listens here whether it is healthy.
    Healthcheck(Listen),
}

/// Everything that can be set, within the ranges of [`SETTINGS`].
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Worker threads, 1 to 1024.
    pub workers: NonZeroUsize,
    /// The most requests in a batch, 1 to 1024.
    pub batch_max: NonZeroUsize,
    /// How long a drain may take, 0 to 3600 s.
    pub shutdown_timeout: Duration,
    /// Whether the console is served.
    pub console: bool,
    /// Whether the API's documentation is served.
    pub docs: bool,
    /// The capacity of a bucket in tokens, 1 to 1e9.
    pub rate_limit: u32,
    /// Tokens per second, finite, above 0 and at most 1e6.
    pub refill_rate: f64,
    /// The shared Redis; without it the limiter is embedded.
    pub redis: Option<RedisConfig>,
    /// What decides while Redis fails; without Redis it means nothing.
    pub on_redis_failure: OnRedisFailure,
    /// Processes that share the limit, 1 to 10 000.
    pub replicas: NonZeroU32,
    /// Where products are kept; `Redis` only where there is one.
    pub product_store: ProductStoreKind,
    /// Peers that may name their clients.
    pub trusted_proxies: TrustedProxies,
    /// The leading bits that make an IPv6 client, 1 to 128.
    pub ipv6_prefix: u8,
    /// The most buckets in memory, 1 to 1e8.
    pub max_buckets: usize,
    /// The most products, 1 to 1e7.
    pub max_products: usize,
    /// The longest request body, 1 byte to 1 GiB.
    pub max_body_bytes: usize,
    /// The most connections at once, 1 to 1e6.
    pub max_connections: usize,
    /// Requests after which a connection is closed, 1 (no keep-alive) to 1e9.
    ///
    /// There is no way to say "without limit": the largest number is that in practice.
    pub max_requests_per_connection: usize,
    /// How long a request's head may take, 1 to 3600 s.
    pub header_timeout: Duration,
    /// How long a request's body may take, 1 to 3600 s.
    pub body_timeout: Duration,
    /// How long writing an answer may take, 1 to 3600 s.
    pub write_timeout: Duration,
    /// How long a connection may be idle, 1 to 3600 s.
    pub idle_timeout: Duration,
    /// Which answers are logged.
    pub access_log: AccessLog,
    /// How a line of the log is written.
    pub log_format: LogFormat,
    /// The levels of the log, in the logger's own syntax.
    pub rust_log: String,
}

/// How to reach Redis, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// Its URL.
    pub url: RedisUrl,
    /// Connections in the pool, 1 to 1024.
    pub pool_size: u32,
    /// How long connecting may take, 1 to 60 000 ms.
    pub connect_timeout: Duration,
    /// How long one write and how long one read may take, 1 to 60 000 ms each.
    pub command_timeout: Duration,
    /// How long to wait for a connection of the pool, 1 to 60 000 ms.
    pub pool_wait: Duration,
}

impl Word for OnRedisFailure {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("local", Self::Local), ("allow", Self::Allow), ("deny", Self::Deny)];
}

/// Where products are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductStoreKind {
    /// In this process, until it ends.
    Memory,
    /// In Redis.
    Redis,
}

impl Word for ProductStoreKind {
    const CHOICES: &'static [(&'static str, Self)] = &[("memory", Self::Memory), ("redis", Self::Redis)];
}

/// What can be turned off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    On,
    Off,
}

impl Word for Switch {
    const CHOICES: &'static [(&'static str, Self)] = &[("on", Self::On), ("off", Self::Off)];
}

impl Word for AccessLog {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("errors", Self::Errors), ("all", Self::All)];
}

impl Word for LogFormat {
    const CHOICES: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// Why there is no [`Command`].
#[derive(Debug)]
pub enum Refusal {
    /// The command line asks for help or for the version, or makes no sense; it knows its text and its exit code.
    CommandLine(clap::Error),
    /// The settings have problems.
    Settings(Problems),
}

/// Reads the command line, the environment and `.env` of this process.
///
/// Help, the version and a senseless command line are printed here, and end the process with 0 or 2.
///
/// # Errors
///
/// Everything that is wrong with the settings; the caller prints it and ends with exit code 2.
pub fn from_process() -> Result<Command, Problems> {
    let surroundings = Surroundings {
        environment: &|variable| std::env::var_os(variable),
        dotenv: match std::fs::read(".env") {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        },
        cores: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
    };
    match resolve(std::env::args_os(), &surroundings) {
        Ok(command) => Ok(command),
        Err(Refusal::CommandLine(error)) => error.exit(),
        Err(Refusal::Settings(problems)) => Err(problems),
    }
}

/// The same without a process: `args` are those of a process, the program's name first.
///
/// # Errors
///
/// See [`Refusal`].
pub fn resolve(args: impl IntoIterator<Item = OsString>, surroundings: &Surroundings<'_>) -> Result<Command, Refusal> {
    let matches = command_line::grammar().try_get_matches_from(args).map_err(Refusal::CommandLine)?;
    let mut problems = Vec::new();
    let raw = RawConfig::gather(command_line::flags(&matches), surroundings, &mut problems);
    let config = parse::parse(&raw, &mut problems);
    if !problems.is_empty() {
        return Err(Refusal::Settings(Problems(problems)));
    }
    Ok(match matches.subcommand_name() {
        Some(command_line::CONFIG) => Command::ShowConfig(report::report(&raw)),
        Some(command_line::HEALTHCHECK) => Command::Healthcheck(config.listen),
        Some(_) | None => Command::Serve(config),
    })
}

#[cfg(test)]
mod tests;
