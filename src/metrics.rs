//! Every metric family, in one place, with its handles resolved at start.
//!
//! Invariant: a label value comes from one of our enums, never from a client, so no client can make a series. Every child
//! that can be expected exists from the start, so that `rate()` sees the first event; handles are found by index, not by
//! hashing labels. What this module never does: decide anything.

use std::sync::OnceLock;

use prometheus::core::{AtomicU64, GenericCounter};
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, PullingGauge, Registry, TextEncoder,
};

use crate::breaker::BreakerState;
use crate::limiter::DecidedBy;
use crate::route::{Handler, Method};

/// The media type of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const LATENCY_BUCKETS_S: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
const BATCH_BUCKETS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// The status codes this server answers with: their counters are found by index.
const STATUSES: [u16; 21] =
    [200, 201, 204, 304, 400, 404, 405, 408, 413, 414, 415, 417, 422, 429, 431, 500, 501, 503, 504, 505, 507];

/// Why a call to Redis failed, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisErrorKind {
    /// No answer in time, or no connection to be had in time.
    Timeout,
    /// The connection failed.
    Io,
    /// The script was refused or failed: READONLY, MISCONF, OOM and the like.
    Script,
    /// Anything else: a wrong password, an answer of the wrong form.
    Other,
}

impl RedisErrorKind {
    /// Every kind, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Timeout, Self::Io, Self::Script, Self::Other];

    /// The label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Io => "io",
            Self::Script => "script",
            Self::Other => "other",
        }
    }
}

/// What is sent to Redis, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisCommand {
    /// The script, for a batch.
    Evalsha,
    /// Loading the script.
    ScriptLoad,
    /// Proof that a connection lives.
    Ping,
    /// Reading a product.
    Hget,
    /// Reading the products' entity tag.
    Hmget,
    /// Counting products.
    Zcard,
}

impl RedisCommand {
    /// Every command, in the order of their discriminants.
    pub const ALL: [Self; 6] = [Self::Evalsha, Self::ScriptLoad, Self::Ping, Self::Hget, Self::Hmget, Self::Zcard];

    /// The label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evalsha => "evalsha",
            Self::ScriptLoad => "script_load",
            Self::Ping => "ping",
            Self::Hget => "hget",
            Self::Hmget => "hmget",
            Self::Zcard => "zcard",
        }
    }
}

type Counter = GenericCounter<AtomicU64>;

/// A table of lazily made children, by (method, handler).
struct PerRoute<T> {
    cells: [[OnceLock<T>; Handler::ALL.len()]; Method::ALL.len()],
}

impl<T> PerRoute<T> {
    fn new() -> Self {
        Self { cells: Default::default() }
    }

    fn get(&self, method: Method, handler: Handler, make: impl FnOnce() -> T) -> &T {
        self.cells[method as usize][handler as usize].get_or_init(make)
    }
}

/// All of them.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_cells: PerRoute<[OnceLock<Counter>; STATUSES.len()]>,
    durations: HistogramVec,
    duration_cells: PerRoute<Histogram>,
    decisions: [Counter; DecidedBy::ALL.len()],
    redis_errors: [Counter; RedisErrorKind::ALL.len()],
    redis_commands: [Histogram; RedisCommand::ALL.len()],
    breaker_states: [IntGauge; BreakerState::ALL.len()],
    breaker_transitions: [Counter; BreakerState::ALL.len()],
    /// `http_requests_in_progress`
    pub in_progress: IntGauge,
    batch_size: Histogram,
    /// `http_server_workers`
    pub workers: IntGauge,
    /// `http_server_workers_busy`
    pub workers_busy: IntGauge,
    /// `http_server_connections_max`
    pub connections_max: IntGauge,
    /// `http_server_worker_panics_total`
    pub worker_panics: Counter,
    /// `rate_limit_check_duration_seconds`
    pub check_duration: Histogram,
    /// `rate_limit_tracked_buckets`
    pub tracked_buckets: IntGauge,
    /// `rate_limit_remembered_denials`
    pub remembered_denials: IntGauge,
    /// `redis_client_up`
    pub redis_up: IntGauge,
    /// `redis_pool_connections{state="idle"}`
    pub pool_idle: IntGauge,
    /// `redis_pool_connections{state="used"}`
    pub pool_used: IntGauge,
    /// `redis_pool_connections_max`
    pub pool_max: IntGauge,
    /// `redis_pool_timeouts_total`
    pub pool_timeouts: Counter,
    /// `redis_script_reloads_total`
    pub script_reloads: Counter,
    /// `products_stored`
    pub products_stored: IntGauge,
    /// `log_records_dropped_total`
    pub log_records_dropped: Counter,
}

/// Registers families; every name, help text and label is valid by construction, and a test makes them all.
struct Families<'r>(&'r Registry);

impl Families<'_> {
    const VALID: &'static str = "metric names are valid and registered once";

    fn add<C: prometheus::core::Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect(Self::VALID);
        self.0.register(Box::new(collector.clone())).expect(Self::VALID);
        collector
    }

    fn add_those_of_the_process(&self) {
        self.add(build_info());
        self.0.register(Box::new(ProcessCollector::for_self())).expect(Self::VALID);
    }

    fn counter(&self, name: &str, help: &str) -> Counter {
        self.add(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS_S.to_vec()), labels))
    }
}

impl Metrics {
    /// All families, their expected children made.
    ///
    /// # Panics
    /// Never in a build whose tests pass: only an invalid or repeated metric name would.
    #[must_use]
    pub fn new(policy: &'static str) -> Self {
        let registry = Registry::new();
        let families = Families(&registry);
        let decisions = families.counters(
            "rate_limit_decisions_total",
            "Rate limit decisions, by who decided and how.",
            &["policy", "decision"],
        );
        let redis_errors = families.counters("redis_errors_total", "Failed exchanges with Redis, by kind.", &["kind"]);
        let redis_commands =
            families.histograms("redis_command_duration_seconds", "Round trip of a Redis command.", &["command"]);
        let breaker_states =
            families.gauges("circuit_breaker_state", "1 for the state the circuit breaker is in.", &["state"]);
        let breaker_transitions = families.counters(
            "circuit_breaker_transitions_total",
            "Changes of the circuit breaker's state, by the new state.",
            &["to"],
        );
        let pool = families.gauges("redis_pool_connections", "Redis connections in the pool, by state.", &["state"]);
        let metrics = Self {
            requests: families.counters("http_requests_total", "Answers sent.", &["method", "handler", "status"]),
            request_cells: PerRoute::new(),
            durations: families.histograms(
                "http_request_duration_seconds",
                "Time from taking a request off the queue to its answer written.",
                &["method", "handler"],
            ),
            duration_cells: PerRoute::new(),
            decisions: DecidedBy::ALL.map(|by| decisions.with_label_values(&[policy, by.as_str()])),
            redis_errors: RedisErrorKind::ALL.map(|kind| redis_errors.with_label_values(&[kind.as_str()])),
            redis_commands: RedisCommand::ALL.map(|command| redis_commands.with_label_values(&[command.as_str()])),
            breaker_states: BreakerState::ALL.map(|state| breaker_states.with_label_values(&[state.as_str()])),
            breaker_transitions: BreakerState::ALL.map(|to| breaker_transitions.with_label_values(&[to.as_str()])),
            in_progress: families.gauge("http_requests_in_progress", "Requests taken and not yet answered."),
            batch_size: families.histogram(
                "http_request_batch_size",
                "Requests a worker took at once.",
                &BATCH_BUCKETS,
            ),
            workers: families.gauge("http_server_workers", "Worker threads."),
            workers_busy: families.gauge("http_server_workers_busy", "Worker threads that are answering a batch."),
            connections_max: families.gauge("http_server_connections_max", "Connections that may be open at once."),
            worker_panics: families
                .counter("http_server_worker_panics_total", "Panics in handlers, caught and answered 500."),
            check_duration: families.histogram(
                "rate_limit_check_duration_seconds",
                "Time of one limiter call, for a whole batch.",
                &LATENCY_BUCKETS_S,
            ),
            tracked_buckets: families.gauge("rate_limit_tracked_buckets", "Token buckets kept in this process."),
            remembered_denials: families.gauge("rate_limit_remembered_denials", "Denials remembered in this process."),
            redis_up: families.gauge("redis_client_up", "1 if Redis answered when it was last asked, else 0."),
            pool_idle: pool.with_label_values(&["idle"]),
            pool_used: pool.with_label_values(&["used"]),
            pool_max: families.gauge("redis_pool_connections_max", "Redis connections the pool may hold."),
            pool_timeouts: families
                .counter("redis_pool_timeouts_total", "Times no Redis connection was free within the wait."),
            script_reloads: families
                .counter("redis_script_reloads_total", "Times Redis had to be given the script again."),
            products_stored: families.gauge("products_stored", "Products in the store."),
            log_records_dropped: families.counter(
                "log_records_dropped_total",
                "Access log records dropped because the writer could not keep up.",
            ),
            registry: registry.clone(),
        };
        families.add_those_of_the_process();
        metrics.make_expected_children();
        metrics.breaker_is(BreakerState::Closed);
        metrics
    }

    /// Shows how many connections are open, asked for at each scrape.
    ///
    /// # Panics
    /// When called twice: a process has one server.
    pub fn watch_connections(&self, connections: impl Fn() -> usize + Send + Sync + 'static) {
        let pull = move || u32::try_from(connections()).map_or(f64::INFINITY, f64::from);
        let gauge = PullingGauge::new("http_server_connections", "Open connections.", Box::new(pull));
        self.registry.register(Box::new(gauge.expect(Families::VALID))).expect(Families::VALID);
    }

    /// Counters of the answers the HTTP engine gives by itself, one for each of `reasons`, in their order.
    #[must_use]
    pub fn rejections(&self, reasons: &[&'static str]) -> Vec<IntCounter> {
        let family = Families(&self.registry).counters(
            "http_server_rejected_total",
            "Requests that never reached a handler, by reason.",
            &["reason"],
        );
        reasons.iter().map(|reason| family.with_label_values(&[reason])).collect()
    }

    /// States the policy in force, as gauges.
    pub fn set_policy(&self, name: &str, capacity: u32, refill_per_second: f64) {
        let families = Families(&self.registry);
        let gauge = |family: &str, help: &str| families.add(GaugeVec::new(Opts::new(family, help), &["policy"]));
        let of = |vec: GaugeVec| -> Gauge { vec.with_label_values(&[name]) };
        of(gauge("rate_limit_capacity", "Tokens in a full bucket.")).set(f64::from(capacity));
        of(gauge("rate_limit_refill_per_second", "Tokens that come back each second.")).set(refill_per_second);
    }

    /// Records that a worker took `requests` at once.
    pub fn took_batch(&self, requests: usize) {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        self.batch_size.observe(f64::from(requests));
        self.in_progress.add(i64::from(requests));
    }

    /// Counts an answer and the seconds it took.
    pub fn answered(&self, method: Method, handler: Handler, status: u16, seconds: f64) {
        match STATUSES.iter().position(|&known| known == status) {
            Some(at) => self.request_cell(method, handler, at).inc(),
            None => self.new_request_counter(method, handler, status).inc(),
        }
        self.duration_histogram(method, handler).observe(seconds);
    }

    /// Counts `n` limiter decisions of one kind.
    pub fn decided(&self, by: DecidedBy, n: u64) {
        self.decisions[by as usize].inc_by(n);
    }

    /// Counts a failed exchange with Redis.
    pub fn redis_failed(&self, kind: RedisErrorKind) {
        self.redis_errors[kind as usize].inc();
    }

    /// Records a round trip to Redis.
    pub fn redis_answered(&self, command: RedisCommand, seconds: f64) {
        self.redis_commands[command as usize].observe(seconds);
    }

    /// Counts a change of the breaker's state.
    pub fn breaker_went(&self, to: BreakerState) {
        self.breaker_transitions[to as usize].inc();
        self.breaker_is(to);
    }

    /// The text exposition of all families (Prometheus text format 0.0.4).
    ///
    /// # Panics
    /// Never: memory takes all that is written.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory cannot fail");
        text
    }

    fn breaker_is(&self, state: BreakerState) {
        for (gauge, each) in self.breaker_states.iter().zip(BreakerState::ALL) {
            gauge.set(i64::from(each == state));
        }
    }

    fn request_cell(&self, method: Method, handler: Handler, at: usize) -> &Counter {
        let cells = self.request_cells.get(method, handler, Default::default);
        cells[at].get_or_init(|| self.new_request_counter(method, handler, STATUSES[at]))
    }

    fn new_request_counter(&self, method: Method, handler: Handler, status: u16) -> Counter {
        self.requests.with_label_values(&[method.as_str(), handler.as_str(), status.to_string().as_str()])
    }

    fn duration_histogram(&self, method: Method, handler: Handler) -> &Histogram {
        self.duration_cells
            .get(method, handler, || self.durations.with_label_values(&[method.as_str(), handler.as_str()]))
    }

    fn make_expected_children(&self) {
        for handler in Handler::ALL {
            for &method in handler.methods() {
                self.duration_histogram(method, handler);
                for &status in expected_statuses(handler, method) {
                    self.new_request_counter(method, handler, status);
                }
            }
        }
        for method in Method::ALL {
            self.new_request_counter(method, Handler::None, 404);
        }
        // What the engine refuses has no method and no handler.
        for status in [400, 408, 413, 414, 417, 431, 501, 503, 505] {
            self.new_request_counter(Method::Other, Handler::None, status);
        }
        self.duration_histogram(Method::Other, Handler::None);
    }
}

/// The statuses a resource answers a method with in the ordinary run of things; others get their series when they occur.
fn expected_statuses(handler: Handler, method: Method) -> &'static [u16] {
    match (handler, method) {
        (Handler::None, _) => &[404],
        (_, Method::Options) => &[204],
        (Handler::Products, Method::Post) => &[201, 400, 408, 413, 415, 422, 500, 503, 504, 507],
        (Handler::Products, _) => &[200, 304, 422, 500, 503],
        (Handler::Product, Method::Delete) => &[204, 404, 500, 503, 504],
        (Handler::Product, _) => &[200, 404, 500, 503],
        (Handler::ProtectedAction, _) => &[200, 400, 408, 413, 415, 422, 429, 500, 503],
        (Handler::Root | Handler::Console | Handler::Docs | Handler::OpenApi, Method::Get) => &[200, 304, 500],
        // Hardly ever asked for: their series come with the first request.
        (Handler::Root | Handler::Console | Handler::Docs | Handler::OpenApi, _) => &[],
        (Handler::Status | Handler::Ready | Handler::Metrics, _) => &[200, 500, 503],
    }
}

fn build_info() -> prometheus::Result<IntGaugeVec> {
    let family = IntGaugeVec::new(
        Opts::new("tollgate_build_info", "The build that is running; always 1."),
        &["version", "commit", "rustc"],
    )?;
    family.with_label_values(&[env!("CARGO_PKG_VERSION"), env!("TOLLGATE_COMMIT"), env!("TOLLGATE_RUSTC")]).set(1);
    Ok(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render()).unwrap()
    }

    #[test]
    fn every_expected_series_is_there_before_the_first_request() {
        let metrics = Metrics::new("protected-action");
        metrics.set_policy("protected-action", 5, 0.1);
        let text = text(&metrics);
        for line in [
            r#"http_requests_total{handler="protected_action",method="POST",status="429"} 0"#,
            r#"http_requests_total{handler="none",method="GET",status="404"} 0"#,
            r#"http_requests_total{handler="none",method="_OTHER",status="503"} 0"#,
            r#"http_requests_total{handler="products",method="POST",status="504"} 0"#,
            r#"http_request_duration_seconds_count{handler="status",method="GET"} 0"#,
            r#"rate_limit_decisions_total{decision="fail_open",policy="protected-action"} 0"#,
            r#"rate_limit_refill_per_second{policy="protected-action"} 0.1"#,
            r#"redis_errors_total{kind="timeout"} 0"#,
            r#"circuit_breaker_state{state="closed"} 1"#,
            r#"circuit_breaker_state{state="open"} 0"#,
            r#"redis_pool_connections{state="idle"} 0"#,
        ] {
            assert!(text.lines().any(|each| each == line), "{line} is missing from\n{text}");
        }
    }

    #[test]
    fn an_unforeseen_status_is_counted_under_its_own_name() {
        let metrics = Metrics::new("p");
        metrics.answered(Method::Patch, Handler::Status, 405, 0.001);
        assert!(text(&metrics).contains(r#"http_requests_total{handler="status",method="PATCH",status="405"} 1"#));
    }

    #[test]
    fn enums_are_listed_in_the_order_of_their_discriminants() {
        for (at, handler) in Handler::ALL.into_iter().enumerate() {
            assert_eq!(handler as usize, at);
        }
        for (at, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, at);
        }
        for (at, by) in DecidedBy::ALL.into_iter().enumerate() {
            assert_eq!(by as usize, at);
        }
        for (at, state) in BreakerState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, at);
        }
        for (at, kind) in RedisErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
        for (at, command) in RedisCommand::ALL.into_iter().enumerate() {
            assert_eq!(command as usize, at);
        }
    }
}
