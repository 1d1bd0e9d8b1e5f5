//! From texts to values: each setting is read once, and a bad one is noted while the reading goes on.
//!
//! The invariant: a value that does not parse is noted as a problem and its default stands in, so that everything after
//! it is still checked; whoever starts a reading throws its result away if there are problems.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;

use super::network::{Listen, TrustedProxies};
use super::problems::{Expected, Problem, quoted};
use super::redaction::redacted;
use super::redis_url::RedisUrl;
use super::settings::Range;
use super::sources::{Raw, RawConfig, Source};
use super::{Config, ProductStoreKind, RedisConfig, Switch};

/// A setting that is one of a few words.
pub(super) trait Word: Copy + 'static {
    /// The words, in the order in which people are told them.
    const CHOICES: &'static [(&'static str, Self)];
}

/// Which Redis the settings name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// None: the limiter is embedded.
    None,
    /// That of `REDIS_URL`.
    Url,
    /// That of `REDIS_HOST` and `REDIS_PORT`.
    HostAndPort,
}

/// Reads all settings, noting what is wrong with them.
pub(super) fn parse(raw: &RawConfig, problems: &mut Vec<Problem>) -> Config {
    let mut reader = Reader { raw, problems };
    Config {
        listen: reader.value("LISTEN", Listen::parse),
        workers: reader.whole("WORKERS"),
        batch_max: reader.whole("BATCH_MAX"),
        shutdown_timeout: reader.seconds("SHUTDOWN_TIMEOUT_S"),
        console: reader.word::<Switch>("CONSOLE") == Switch::On,
        docs: reader.word::<Switch>("DOCS") == Switch::On,
        rate_limit: reader.whole("RATE_LIMIT"),
        refill_rate: reader.value("REFILL_RATE", refill_rate),
        redis: reader.redis(),
        on_redis_failure: reader.word("ON_REDIS_FAILURE"),
        replicas: reader.whole("REPLICAS"),
        product_store: reader.product_store(),
        trusted_proxies: reader.value("TRUSTED_PROXIES", TrustedProxies::parse),
        ipv6_prefix: reader.whole("IPV6_PREFIX"),
        max_buckets: reader.whole("MAX_BUCKETS"),
        max_products: reader.whole("MAX_PRODUCTS"),
        max_body_bytes: reader.whole("MAX_BODY_BYTES"),
        max_connections: reader.whole("MAX_CONNECTIONS"),
        max_requests_per_connection: reader.whole("MAX_REQUESTS_PER_CONNECTION"),
        header_timeout: reader.seconds("HEADER_TIMEOUT_S"),
        body_timeout: reader.seconds("BODY_TIMEOUT_S"),
        write_timeout: reader.seconds("WRITE_TIMEOUT_S"),
        idle_timeout: reader.seconds("IDLE_TIMEOUT_S"),
        access_log: reader.word("ACCESS_LOG"),
        log_format: reader.word("LOG_FORMAT"),
        rust_log: reader.value("RUST_LOG", log_levels),
    }
}

struct Reader<'a> {
    raw: &'a RawConfig,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn value<T>(&mut self, variable: &str, parse: impl Fn(&str) -> Result<T, Expected>) -> T {
        let raw = self.raw.get(variable);
        parse(&raw.text).unwrap_or_else(|expected| {
            self.note(raw, expected);
            parse(&raw.default).expect("every default parses, as every start without settings shows")
        })
    }

    fn whole<T: FromStr>(&mut self, variable: &str) -> T {
        let range = self.raw.get(variable).setting.range;
        let range = range.expect("the table gives a range for every whole number");
        self.value(variable, |text| whole(text, range))
    }

    fn seconds(&mut self, variable: &str) -> Duration {
        Duration::from_secs(self.whole(variable))
    }

    fn milliseconds(&mut self, variable: &str) -> Duration {
        Duration::from_millis(self.whole(variable))
    }

    fn word<T: Word>(&mut self, variable: &str) -> T {
        self.value(variable, word)
    }

    fn redis(&mut self) -> Option<RedisConfig> {
        let pool_size = self.whole("REDIS_POOL_SIZE");
        let connect_timeout = self.milliseconds("REDIS_CONNECT_TIMEOUT_MS");
        let command_timeout = self.milliseconds("REDIS_TIMEOUT_MS");
        let pool_wait = self.milliseconds("REDIS_POOL_WAIT_MS");
        let url = match endpoint(self.raw) {
            Ok(Endpoint::None) => return None,
            Ok(Endpoint::Url) => self.optional("REDIS_URL", RedisUrl::parse),
            Ok(Endpoint::HostAndPort) => {
                let port = self.whole("REDIS_PORT");
                self.optional("REDIS_HOST", |host| RedisUrl::from_host_and_port(host, port))
            }
            Err(problem) => {
                self.problems.push(problem);
                return None;
            }
        };
        Some(RedisConfig { url: url?, pool_size, connect_timeout, command_timeout, pool_wait })
    }

    fn product_store(&mut self) -> ProductStoreKind {
        let kind = self.word("PRODUCT_STORE");
        if kind == ProductStoreKind::Redis && endpoint(self.raw) == Ok(Endpoint::None) {
            self.note(
                self.raw.get("PRODUCT_STORE"),
                Cow::Borrowed("memory, or a Redis to keep them in (REDIS_URL, or REDIS_HOST and REDIS_PORT)"),
            );
        }
        kind
    }

    /// A setting whose default is to be unset.
    fn optional<T>(&mut self, variable: &str, parse: impl Fn(&str) -> Result<T, Expected>) -> Option<T> {
        let raw = self.raw.get(variable);
        match parse(&raw.text) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.note(raw, expected);
                None
            }
        }
    }

    fn note(&mut self, raw: &Raw, expected: Expected) {
        let got = if raw.setting.secret { quoted(&redacted(&raw.text)) } else { quoted(&raw.text) };
        self.problems.push(Problem::Value { variable: raw.setting.variable, source: raw.source, got, expected });
    }
}

/// Chooses between `REDIS_URL` and the pair of `REDIS_HOST` and `REDIS_PORT`: what stands in the stronger source wins,
/// so that a flag overrides whatever a `.env` says.
///
/// # Errors
///
/// If both stand in the same source: one of them would have to be dropped in silence, and people would look for their
/// data in the wrong Redis. Likewise a chosen port that has no host.
pub(super) fn endpoint(raw: &RawConfig) -> Result<Endpoint, Problem> {
    let (url, host, port) = (raw.get("REDIS_URL"), raw.get("REDIS_HOST"), raw.get("REDIS_PORT"));
    let port_source = if is_chosen_port(port) { port.source } else { Source::Default };
    let (url_rank, host_rank, port_rank) = (url.source.rank(), host.source.rank(), port_source.rank());
    let pair_rank = host_rank.max(port_rank);
    if pair_rank == 0 && url_rank == 0 {
        Ok(Endpoint::None)
    } else if url_rank > pair_rank {
        Ok(Endpoint::Url)
    } else if url_rank == pair_rank {
        let rival = if host_rank == pair_rank { host } else { port };
        Err(Problem::TwoRedises { variable: rival.setting.variable, source: rival.source })
    } else if host_rank == 0 {
        Err(Problem::PortWithoutHost { source: port_source })
    } else {
        Ok(Endpoint::HostAndPort)
    }
}

/// Whether someone chose this port, so that ignoring it would be wrong: the default says nothing, and beside a service
/// named redis, Kubernetes (and Docker's old links) put `REDIS_PORT=tcp://10.0.0.1:6379` into every environment.
fn is_chosen_port(port: &Raw) -> bool {
    let is_service_link = port.source == Source::Environment && port.text.contains("://");
    port.text != port.default && !is_service_link
}

fn whole<T: FromStr>(text: &str, range: Range) -> Result<T, Expected> {
    let Range { least, most, unit } = range;
    let number = if range.admits(text) { text.parse().ok() } else { None };
    number.ok_or_else(|| Cow::Owned(format!("a whole number from {least} to {most} ({unit})")))
}

fn word<T: Word>(text: &str) -> Result<T, Expected> {
    let choice = T::CHOICES.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    choice.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = T::CHOICES.iter().map(|(word, _)| *word).collect();
        Cow::Owned(format!("one of {}", words.join(", ")))
    })
}

fn refill_rate(text: &str) -> Result<f64, Expected> {
    const MOST_PER_SECOND: f64 = 1e6;
    let is_right = |rate: &f64| *rate > 0.0 && *rate <= MOST_PER_SECOND;
    text.parse().ok().filter(is_right).ok_or(Cow::Borrowed("a number above 0 and at most 1000000 (tokens per second)"))
}

/// Checks `LEVEL` and `MODULE=LEVEL`, separated by commas, optionally with `/` and a text that a message must contain.
///
/// A module alone is refused, although the logger would take it: it looks the same as a misspelt level, which would
/// silence the log.
fn log_levels(text: &str) -> Result<String, Expected> {
    let (directives, message_filter) = text.split_once('/').unwrap_or((text, ""));
    let is_right = |directive: &str| {
        let (module, level) = directive.trim().split_once('=').unwrap_or(("all", directive));
        // The logger takes spaces around a level, but not before the equals sign, where they would match no module.
        let is_module = !module.is_empty() && !module.contains(char::is_whitespace);
        is_module && level.trim().parse::<LevelFilter>().is_ok()
    };
    if directives.split(',').all(is_right) && !message_filter.contains('/') {
        Ok(text.to_owned())
    } else {
        Err(Cow::Borrowed("off, error, warn, info, debug or trace, alone or as MODULE=LEVEL, separated by commas"))
    }
}
