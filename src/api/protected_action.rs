//! `/api/protected-action`: the action a token is taken for, and everything a rate-limited answer says.

use std::fmt;
use std::sync::Arc;

use crate::exchange::{Body, Exchange, Reply};
use crate::limiter::{Decision, Outcome, Policy};
use crate::validation;
use crate::{api, problem};

/// The resource, with what is always the same in its answers.
#[derive(Debug)]
pub struct ProtectedAction {
    denied_body: Arc<[u8]>,
    max_body_bytes: usize,
}

impl ProtectedAction {
    /// The action under `policy`, for bodies of at most `max_body_bytes`.
    #[must_use]
    pub fn new(policy: &Policy, max_body_bytes: usize) -> Self {
        Self { denied_body: problem::quota_exceeded(policy.name()).into(), max_body_bytes }
    }

    /// The answer, given the decision that was made before the body was looked at.
    pub fn perform<E: Exchange>(&self, exchange: &mut E, decision: &Decision) -> Reply {
        let reply = match decision.outcome() {
            Outcome::Allowed => api::with_json_body(exchange, self.max_body_bytes, act),
            Outcome::Denied => Reply::new(429, problem::CONTENT_TYPE, Body::Shared(self.denied_body.clone()))
                .with("Cache-Control", "no-store"),
            Outcome::Unavailable => {
                problem::limiter_unavailable(decision.policy.name()).with("Cache-Control", "no-store")
            }
        };
        with_rate_limit_fields(reply, decision)
    }
}

fn act(body: &[u8]) -> Reply {
    const BEFORE: &[u8] = br#"{"message":"Action performed successfully","data":"#;
    match validation::any_json(body) {
        // The JSON goes back as it came: keys in their order, numbers in their spelling.
        Ok(data) => Reply::json(200, Body::Owned([BEFORE, data.as_bytes(), b"}"].concat())),
        Err(error) => problem::invalid_body(error),
    }
}

/// The only place that writes what clients are told of their limit.
///
/// `RateLimit` and `RateLimit-Policy` follow draft-ietf-httpapi-ratelimit-headers-11, whose syntax may still change.
fn with_rate_limit_fields(mut reply: Reply, decision: &Decision) -> Reply {
    let Decision { policy, remaining, wait_us, reset_unix_s, .. } = decision;
    let wait_s = wait_us.div_ceil(1_000_000);
    let fields = &mut reply.fields;
    fields.push("X-RateLimit-Limit", policy.capacity());
    fields.push("X-RateLimit-Remaining", remaining);
    fields.push("X-RateLimit-Reset", reset_unix_s);
    fields.push("RateLimit-Policy", Quota(policy));
    fields.push("RateLimit", format_args!("\"{}\";r={remaining};t={wait_s}", policy.name()));
    match decision.outcome() {
        Outcome::Allowed => {}
        Outcome::Denied | Outcome::Unavailable => fields.push("Retry-After", wait_s.max(1)),
    }
    reply
}

/// `"name";q=capacity;w=seconds to fill`
struct Quota<'p>(&'p Policy);

impl fmt::Display for Quota<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\";q={};w={}", self.0.name(), self.0.capacity(), self.0.window_s())
    }
}
