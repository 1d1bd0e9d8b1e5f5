//! The table of settings: the one place that says which variables exist, what they mean and what they default to.
//!
//! The flags, `--help`, `tollgate config`, the ranges that are checked, and (by tests) `.env.example` all follow from
//! it. A setting's flag is its variable in lower case with hyphens: `RATE_LIMIT` is `--rate-limit`. The table does not
//! parse anything.

/// The heading under which `--help` lists a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Where the server listens and how many threads answer.
    Server,
    /// The token bucket.
    Limit,
    /// The shared store of the buckets.
    Redis,
    /// Who a request is counted for.
    Clients,
    /// Bounds on memory and on what a client may take up.
    Bounds,
    /// What is written to stderr.
    Logging,
}

impl Group {
    /// The heading's words.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Limit => "Rate limit",
            Self::Redis => "Redis",
            Self::Clients => "Clients",
            Self::Bounds => "Bounds",
            Self::Logging => "Logging",
        }
    }
}

/// What a setting is when nobody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This text, read as if it had been given.
    Text(&'static str),
    /// The processor cores this process may use, at least 2.
    Cores,
    /// As many as there are workers.
    Workers,
    /// Nothing.
    Unset,
}

impl Fallback {
    /// The default as a reader is told it: a text as it is, a computed one in words, and the empty string for none.
    #[must_use]
    pub const fn described(self) -> &'static str {
        match self {
            Self::Text(text) => text,
            Self::Cores => "cores, at least 2",
            Self::Workers => "WORKERS",
            Self::Unset => "",
        }
    }
}

/// The bounds of a whole number, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The least that is accepted.
    pub least: u64,
    /// The most that is accepted.
    pub most: u64,
    /// What the number is a number of.
    pub unit: &'static str,
}

impl Range {
    /// Whether this text is a number within the bounds, written in digits alone.
    pub(super) fn admits(self, text: &str) -> bool {
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        is_digits && text.parse().is_ok_and(|number| (self.least..=self.most).contains(&number))
    }
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The environment variable, which is also the setting's name everywhere.
    pub variable: &'static str,
    /// What stands for the value in `--help`.
    pub value: &'static str,
    /// What it is when nobody sets it.
    pub default: Fallback,
    /// One sentence for `--help`, without the final stop.
    pub help: &'static str,
    /// Its heading in `--help`.
    pub group: Group,
    /// The bounds, for whole numbers only.
    pub range: Option<Range>,
    /// Whether the value may hold a password, so that it is only ever shown redacted.
    pub secret: bool,
}

impl Setting {
    /// The long flag without its hyphens: the variable in lower case, with hyphens for underscores.
    #[must_use]
    pub fn flag(&self) -> String {
        self.variable.to_ascii_lowercase().replace('_', "-")
    }

    const fn within(mut self, least: u64, most: u64, unit: &'static str) -> Self {
        self.range = Some(Range { least, most, unit });
        self
    }

    const fn milliseconds(self) -> Self {
        self.within(1, 60_000, "milliseconds")
    }

    const fn seconds(self) -> Self {
        self.within(1, 3600, "seconds")
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

const fn setting(
    group: Group,
    variable: &'static str,
    value: &'static str,
    default: Fallback,
    help: &'static str,
) -> Setting {
    Setting { variable, value, default, help, group, range: None, secret: false }
}

/// Every setting, in the order in which they are listed to people.
pub static SETTINGS: &[Setting] = {
    use Fallback::{Cores, Text, Unset, Workers};
    use Group::{Bounds, Clients, Limit, Logging, Redis, Server};
    &[
        setting(
            Server,
            "LISTEN",
            "ADDRESS",
            Text("127.0.0.1:8080"),
            "Where to listen: IP:PORT, localhost:PORT or unix:/path",
        ),
        setting(Server, "WORKERS", "N", Cores, "Threads that answer requests").within(1, 1024, "threads"),
        setting(
            Server,
            "BATCH_MAX",
            "N",
            Text("64"),
            "The most requests a worker answers with one call of the limiter",
        )
        .within(1, 1024, "requests"),
        setting(
            Server,
            "SHUTDOWN_TIMEOUT_S",
            "S",
            Text("10"),
            "How long requests in hand may take after SIGTERM; 0 ends them at once",
        )
        .within(0, 3600, "seconds"),
        setting(Server, "CONSOLE", "on|off", Text("on"), "Whether /console, the live page, is served"),
        setting(Server, "DOCS", "on|off", Text("on"), "Whether /docs and /openapi.json are served"),
        setting(Limit, "RATE_LIMIT", "TOKENS", Text("5"), "Requests a client may make at once: the bucket's capacity")
            .within(1, 1_000_000_000, "tokens"),
        setting(
            Limit,
            "REFILL_RATE",
            "TOKENS",
            Text("0.1"),
            "Tokens a bucket gains per second, above 0 and at most 1000000",
        ),
        setting(
            Redis,
            "REDIS_URL",
            "URL",
            Unset,
            "The Redis that replicas share: redis://, rediss:// or unix://; without it each process limits by itself",
        )
        .secret(),
        // Secret too: someone may put a whole URL here by mistake, and a message must not print its password.
        setting(Redis, "REDIS_HOST", "HOST", Unset, "Host of a Redis without password or TLS, instead of REDIS_URL")
            .secret(),
        setting(Redis, "REDIS_PORT", "PORT", Text("6379"), "The port at REDIS_HOST").within(1, 65_535, "a TCP port"),
        setting(Redis, "REDIS_POOL_SIZE", "N", Workers, "Connections to Redis").within(1, 1024, "connections"),
        setting(Redis, "REDIS_CONNECT_TIMEOUT_MS", "MS", Text("200"), "How long connecting to Redis may take")
            .milliseconds(),
        setting(
            Redis,
            "REDIS_TIMEOUT_MS",
            "MS",
            Text("100"),
            "How long Redis may be silent while its answer is awaited",
        )
        .milliseconds(),
        setting(
            Redis,
            "REDIS_POOL_WAIT_MS",
            "MS",
            Text("50"),
            "How long a worker waits for a free connection to Redis",
        )
        .milliseconds(),
        setting(
            Redis,
            "ON_REDIS_FAILURE",
            "local|allow|deny",
            Text("local"),
            "While Redis fails: limit in process, let all through, or answer 503",
        ),
        setting(
            Redis,
            "REPLICAS",
            "N",
            Text("1"),
            "Processes that share the limit; while Redis fails, each grants its share",
        )
        .within(1, 10_000, "processes"),
        setting(
            Redis,
            "PRODUCT_STORE",
            "memory|redis",
            Text("memory"),
            "Where products are kept: in this process until it ends, or in the Redis that replicas share",
        ),
        setting(
            Clients,
            "TRUSTED_PROXIES",
            "LIST",
            Unset,
            "Peers whose X-Forwarded-For and Forwarded count: addresses, CIDR blocks, and unix for a Unix socket",
        ),
        setting(
            Clients,
            "IPV6_PREFIX",
            "BITS",
            Text("64"),
            "IPv6 clients with these leading bits in common are one client",
        )
        .within(1, 128, "bits"),
        setting(Bounds, "MAX_BUCKETS", "N", Text("1000000"), "The most buckets kept in the memory of this process")
            .within(1, 100_000_000, "buckets"),
        setting(Bounds, "MAX_PRODUCTS", "N", Text("100000"), "The most products stored; one more is answered 507")
            .within(1, 10_000_000, "products"),
        setting(
            Bounds,
            "MAX_BODY_BYTES",
            "BYTES",
            Text("1048576"),
            "The longest request body; a longer one is answered 413",
        )
        .within(1, 1 << 30, "bytes"),
        setting(
            Bounds,
            "MAX_CONNECTIONS",
            "N",
            Text("10000"),
            "The most connections at once, within the limit of open files",
        )
        .within(1, 1_000_000, "connections"),
        setting(
            Bounds,
            "MAX_REQUESTS_PER_CONNECTION",
            "N",
            Text("1000"),
            "Requests after which a connection is closed; 1 turns keep-alive off",
        )
        .within(1, 1_000_000_000, "requests"),
        setting(Bounds, "HEADER_TIMEOUT_S", "S", Text("10"), "How long a request's head may take from its first byte")
            .seconds(),
        setting(Bounds, "BODY_TIMEOUT_S", "S", Text("30"), "How long a request's body may take").seconds(),
        setting(Bounds, "WRITE_TIMEOUT_S", "S", Text("30"), "How long a client may take to read its answer").seconds(),
        setting(Bounds, "IDLE_TIMEOUT_S", "S", Text("15"), "How long a connection may stay open between requests")
            .seconds(),
        setting(
            Logging,
            "ACCESS_LOG",
            "off|errors|all",
            Text("errors"),
            "Which answers get a line in the access log; errors are those from 400 on but 429",
        ),
        setting(Logging, "LOG_FORMAT", "text|json", Text("text"), "How a line of the log is written"),
        setting(
            Logging,
            "RUST_LOG",
            "LEVELS",
            Text("info"),
            "Levels: off, error, warn, info, debug or trace, alone or as MODULE=LEVEL, separated by commas",
        ),
    ]
};

/// The place in the table of a variable that the code names.
///
/// # Panics
///
/// If the table has no such variable. Every variable is looked up in every resolution, so any test would show it.
pub(super) fn position(variable: &str) -> usize {
    SETTINGS
        .iter()
        .position(|setting| setting.variable == variable)
        .unwrap_or_else(|| unreachable!("the table of settings has no {variable}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_made_of_capitals_digits_and_underscores() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            assert_eq!(position(setting.variable), index);
            let of_a_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(setting.variable.bytes().all(of_a_name), "{setting:?}");
        }
    }

    #[test]
    fn a_flag_is_its_variable_in_lower_case_with_hyphens() {
        assert_eq!(SETTINGS[position("REDIS_POOL_WAIT_MS")].flag(), "redis-pool-wait-ms");
    }

    #[test]
    fn a_number_of_seconds_or_milliseconds_says_so_in_its_last_word() {
        for setting in SETTINGS {
            let unit = setting.range.map_or("", |range| range.unit);
            assert_eq!(setting.variable.ends_with("_S"), unit == "seconds", "{}", setting.variable);
            assert_eq!(setting.variable.ends_with("_MS"), unit == "milliseconds", "{}", setting.variable);
        }
    }
}
