//! One batch of requests in, their answers out: the request path, readable top to bottom.
//!
//! ```text
//!   identify and route each -> answer those that need no token -> one limiter call for the others -> answer them
//! ```
//!
//! Invariants: every request gets exactly one answer; a panic in a handler is that request's 500 and nobody else's trouble;
//! every answer is counted, carries `X-Request-Id` and `X-Content-Type-Options: nosniff`. What it never does: open a socket,
//! read a file, or know which HTTP engine serves it.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use crate::access_log::{AccessLogMode, Record};
use crate::api::protected_action::ProtectedAction;
use crate::api::root::{self, Pages};
use crate::api::{self, console, docs, products, status};
use crate::client::{ClientId, Forwarding, Identify};
use crate::exchange::{Exchange, Reply};
use crate::limiter::{Decision, Limiter, Outcome};
use crate::log_writer::LogWriter;
use crate::metrics::Metrics;
use crate::problem;
use crate::products::ProductStore;
use crate::route::{Handler, Method, Route, path, route};

/// The longest request id that is taken over from the client, in characters.
const LONGEST_REQUEST_ID: usize = 64;

/// Everything a request may need.
pub struct App {
    limiter: Limiter,
    products: Box<dyn ProductStore>,
    protected_action: ProtectedAction,
    metrics: Arc<Metrics>,
    access_log: AccessLogMode,
    log_writer: LogWriter,
    identify: Identify,
    pages: Pages,
    max_body_bytes: usize,
    /// When the server began to drain.
    draining_since: OnceLock<Instant>,
}

/// A request on its way through.
struct Pending<E> {
    exchange: E,
    asked: Asked,
    taken_at: Instant,
}

/// What is known of a request; kept with it while its body is on its way.
struct Asked {
    method: Method,
    handler: Handler,
    route: Route,
    request_id: String,
    /// The limiter's decision, once there is one.
    decision: Option<Decision>,
}

impl<E: Exchange> Pending<E> {
    /// A request that was put aside goes on where it was; any other begins here.
    fn of(mut exchange: E, taken_at: Instant, pages: Pages) -> Self {
        let kept = exchange.take_kept().and_then(|kept| kept.downcast::<Asked>().ok());
        let asked = kept.map_or_else(|| Asked::by(&exchange, pages), |kept| *kept);
        Self { exchange, asked, taken_at }
    }
}

impl Asked {
    fn by<E: Exchange>(exchange: &E, pages: Pages) -> Self {
        let method = Method::parse(exchange.method());
        let (handler, route) = pages.admit(route(method, exchange.target()));
        let request_id = request_id(exchange.header("x-request-id"));
        Self { method, handler, route, request_id, decision: None }
    }
}

impl App {
    /// An app of these parts.
    #[must_use]
    pub fn new(
        limiter: Limiter,
        products: Box<dyn ProductStore>,
        metrics: Arc<Metrics>,
        (access_log, log_writer): (AccessLogMode, LogWriter),
        identify: Identify,
        pages: Pages,
        max_body_bytes: usize,
    ) -> Self {
        let protected_action = ProtectedAction::new(limiter.policy(), max_body_bytes);
        let draining_since = OnceLock::new();
        Self {
            limiter,
            products,
            protected_action,
            metrics,
            access_log,
            log_writer,
            identify,
            pages,
            max_body_bytes,
            draining_since,
        }
    }

    /// The metrics, for what happens around the app.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Completes, counts and logs the answer to what never became a request, from `peer` (`None` on a Unix socket).
    #[must_use]
    pub fn rejected(&self, reply: Reply, peer: Option<IpAddr>) -> Reply {
        let request_id = request_id(None);
        let status = reply.status;
        self.metrics.answered(Method::Other, Handler::None, status, 0.0);
        if self.access_log.covers(status) {
            self.log_writer.answered(Record {
                at: SystemTime::now(),
                request_id: request_id.clone(),
                client: peer.map_or(ClientId::Local, |peer| ClientId::of(peer, self.identify.ipv6_prefix)),
                method: "-".to_owned(),
                path: "-".to_owned(),
                status,
                bytes: reply.body.bytes().len(),
                took: Duration::ZERO,
            });
        }
        with_common_fields(reply, &request_id)
    }

    /// From now on `/api/ready` says 503, and so does the API to requests received after now.
    pub fn begin_draining(&self) {
        self.draining_since.get_or_init(Instant::now);
    }

    /// Answers a batch; `before_waiting` is called when the thread is about to wait for Redis.
    pub fn answer<E: Exchange>(&self, batch: impl ExactSizeIterator<Item = E>, before_waiting: impl Fn()) {
        let taken_at = Instant::now();
        self.metrics.took_batch(batch.len());
        let mut limited = Vec::new();
        let mut clients = Vec::new();
        for exchange in batch {
            let pending = Pending::of(exchange, taken_at, self.pages);
            let needs_a_token = pending.asked.route == Route::ProtectedAction && pending.asked.decision.is_none();
            if needs_a_token && !self.refuses(&pending.exchange) {
                clients.push(self.client(&pending.exchange));
                limited.push(pending);
            } else {
                self.answer_free(pending, &before_waiting);
            }
        }
        if !limited.is_empty() {
            self.answer_limited(limited, &clients, before_waiting);
        }
    }

    fn answer_free<E: Exchange>(&self, pending: Pending<E>, before_waiting: &impl Fn()) {
        if self.waits_for_redis(&pending.asked.route) {
            before_waiting();
        }
        let creates = pending.asked.route == Route::CreateProduct && !self.refuses(&pending.exchange);
        let Some(mut pending) = self.with_body(pending, creates) else { return };
        let reply = self.caught(|| self.handle(&mut pending.exchange, &pending.asked));
        self.finish(pending, reply);
    }

    fn answer_limited<E: Exchange>(
        &self,
        limited: Vec<Pending<E>>,
        clients: &[ClientId],
        before_waiting: impl FnOnce(),
    ) {
        let decisions = catch_unwind(AssertUnwindSafe(|| self.limiter.decide_telling(clients, before_waiting)));
        let Ok(decisions) = decisions else {
            self.metrics.worker_panics.inc();
            for pending in limited {
                self.finish(pending, problem::internal());
            }
            return;
        };
        for (mut pending, decision) in limited.into_iter().zip(decisions) {
            pending.asked.decision = Some(decision);
            let is_allowed = decision.outcome() == Outcome::Allowed;
            let Some(mut pending) = self.with_body(pending, is_allowed) else { continue };
            let reply = self.caught(|| self.protected_action.perform(&mut pending.exchange, &decision));
            self.finish(pending, reply);
        }
    }

    /// The request, unless it needs its body and that is on its way: then it is put aside, and comes back with it.
    fn with_body<E: Exchange>(&self, pending: Pending<E>, needs_its_body: bool) -> Option<Pending<E>> {
        // A body that will be refused for what it says it is need not be sent.
        if !needs_its_body || pending.exchange.has_body() || !api::says_json(&pending.exchange) {
            return Some(pending);
        }
        let Pending { exchange, asked, taken_at } = pending;
        let exchange = exchange.put_aside(self.max_body_bytes, Box::new(asked));
        if exchange.is_none() {
            self.metrics.in_progress.dec();
        }
        exchange.map(|exchange| Pending::of(exchange, taken_at, self.pages))
    }

    /// The API's table, for all that takes no token.
    fn handle<E: Exchange>(&self, exchange: &mut E, asked: &Asked) -> Reply {
        let handler = asked.handler;
        match &asked.route {
            Route::Root => root::root(exchange, self.pages),
            Route::Console => console::page(exchange),
            Route::ConsoleFile(name) => console::file(exchange, name),
            Route::Docs => docs::page(exchange),
            Route::DocsFile(name) => docs::file(exchange, name),
            Route::OpenApi => docs::description(exchange),
            Route::Status => status::status(),
            Route::Ready => status::ready(self.limiter.health(), self.draining_since.get().is_some()),
            Route::Metrics => {
                // Without traffic nobody else would notice that Redis has come or gone.
                self.limiter.health();
                self.limiter.refresh_gauges();
                self.count_products();
                api::metrics::scrape(&self.metrics)
            }
            Route::Options => Reply::empty(204).with("Allow", handler.allow()),
            Route::MethodNotAllowed => problem::method_not_allowed(handler.allow()),
            Route::MethodUnknown => problem::method_unknown(handler.allow()),
            Route::NotFound => problem::not_found(),
            // A protected action comes here when its body has come in, or when it is refused; else it is asked a token for.
            Route::ProtectedAction => match &asked.decision {
                Some(decision) => self.protected_action.perform(exchange, decision),
                None => problem::draining(),
            },
            Route::ListProducts | Route::CreateProduct | Route::GetProduct(_) | Route::DeleteProduct(_)
                if self.refuses(exchange) =>
            {
                problem::draining()
            }
            Route::ListProducts => products::list(exchange, &*self.products),
            Route::CreateProduct => products::create(exchange, &*self.products, self.max_body_bytes),
            Route::GetProduct(id) => products::get(&*self.products, id),
            Route::DeleteProduct(id) => products::delete(&*self.products, id),
        }
    }

    /// Whether this thread may have to wait for Redis to answer such a request.
    fn waits_for_redis(&self, route: &Route) -> bool {
        match route {
            Route::Ready | Route::Metrics => true,
            Route::ListProducts | Route::CreateProduct | Route::GetProduct(_) | Route::DeleteProduct(_) => {
                self.products.is_remote()
            }
            Route::Root
            | Route::Console
            | Route::ConsoleFile(_)
            | Route::Docs
            | Route::DocsFile(_)
            | Route::OpenApi
            | Route::Status
            | Route::ProtectedAction
            | Route::Options
            | Route::MethodNotAllowed
            | Route::MethodUnknown
            | Route::NotFound => false,
        }
    }

    /// A store that cannot be reached leaves the gauge at what was last known.
    fn count_products(&self) {
        if let Ok(count) = self.products.count() {
            self.metrics.products_stored.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Whether the request came after draining began; those whose head was there by then are answered as ever.
    fn refuses<E: Exchange>(&self, exchange: &E) -> bool {
        self.draining_since.get().is_some_and(|&since| exchange.received_at() > since)
    }

    fn client<E: Exchange>(&self, exchange: &E) -> ClientId {
        let headers = Forwarding {
            x_forwarded_for: exchange.header_values("x-forwarded-for"),
            forwarded: exchange.header_values("forwarded"),
        };
        self.identify.client(exchange.peer(), headers)
    }

    fn caught(&self, handle: impl FnOnce() -> Reply) -> Reply {
        catch_unwind(AssertUnwindSafe(handle)).unwrap_or_else(|_| {
            self.metrics.worker_panics.inc();
            problem::internal()
        })
    }

    fn finish<E: Exchange>(&self, pending: Pending<E>, reply: Reply) {
        let Pending { exchange, asked, taken_at } = pending;
        let Asked { method, handler, request_id, .. } = asked;
        let (status, bytes) = (reply.status, reply.body.bytes().len());
        let logged = self
            .access_log
            .covers(status)
            .then(|| (self.client(&exchange), exchange.method().to_owned(), path(exchange.target()).to_owned()));
        exchange.answer(with_common_fields(reply, &request_id));
        let took = taken_at.elapsed();
        self.metrics.answered(method, handler, status, took.as_secs_f64());
        self.metrics.in_progress.dec();
        if let Some((client, method, path)) = logged {
            let at = SystemTime::now();
            self.log_writer.answered(Record { at, request_id, client, method, path, status, bytes, took });
        }
    }
}

/// What every answer carries, whoever makes it.
fn with_common_fields(reply: Reply, request_id: &str) -> Reply {
    reply.with("X-Request-Id", request_id).with("X-Content-Type-Options", "nosniff")
}

/// The client's own id if it is short and safe to show, else a new one.
fn request_id(sent: Option<&[u8]>) -> String {
    let safe = |id: &&[u8]| {
        (1..=LONGEST_REQUEST_ID).contains(&id.len())
            && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    };
    match sent.filter(safe).and_then(|id| std::str::from_utf8(id).ok()) {
        Some(id) => id.to_owned(),
        None => Uuid::new_v4().hyphenated().to_string(),
    }
}
