//! `/api/status`: the process is alive. `/api/ready`: it can do its work.

use serde::Serialize;

use crate::exchange::{Body, Reply};
use crate::limiter::{Health, OnRedisFailure};

/// 200, and the one body clients of the replaced system compare with.
#[must_use]
pub fn status() -> Reply {
    Reply::json(200, Body::Static(br#"{"status":"healthy"}"#))
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    limiter: &'static str,
    redis: &'static str,
    breaker: &'static str,
    draining: bool,
}

/// 200 while requests can be judged, if need be by this process alone; 503 while draining, or while Redis is down and the
/// configuration says to refuse then.
///
/// # Panics
/// Never: the body is plain text and a boolean.
#[must_use]
pub fn ready(health: Health, draining: bool) -> Reply {
    let (status, readiness) = judge(health, draining);
    let body = serde_json::to_vec(&readiness).expect("text and a boolean are always JSON");
    let reply = Reply::json(status, Body::Owned(body)).with("Cache-Control", "no-store");
    if status == 200 { reply } else { reply.with("Retry-After", 1) }
}

fn judge(health: Health, draining: bool) -> (u16, Readiness) {
    let (status, mut readiness) = match health {
        Health::Embedded => (
            200,
            Readiness { status: "ready", limiter: "embedded", redis: "not configured", breaker: "none", draining },
        ),
        Health::Redis { up, breaker, on_failure } => {
            let (code, status, limiter) = match (up, on_failure) {
                (true, _) => (200, "ready", "redis"),
                (false, OnRedisFailure::Local) => (200, "degraded", "local"),
                (false, OnRedisFailure::Allow) => (200, "degraded", "allow"),
                (false, OnRedisFailure::Deny) => (503, "unavailable", "deny"),
            };
            let redis = if up { "up" } else { "down" };
            (code, Readiness { status, limiter, redis, breaker: breaker.as_str(), draining })
        }
    };
    if draining {
        readiness.status = "draining";
        return (503, readiness);
    }
    (status, readiness)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::BreakerState;

    #[test]
    fn readiness_says_what_is_up_and_whether_requests_can_be_judged() {
        let redis = |up, on_failure| Health::Redis { up, breaker: BreakerState::Open, on_failure };
        let cases = [
            (Health::Embedded, false, 200, "ready", "embedded"),
            (Health::Embedded, true, 503, "draining", "embedded"),
            (redis(true, OnRedisFailure::Deny), false, 200, "ready", "redis"),
            (redis(false, OnRedisFailure::Local), false, 200, "degraded", "local"),
            (redis(false, OnRedisFailure::Allow), false, 200, "degraded", "allow"),
            (redis(false, OnRedisFailure::Deny), false, 503, "unavailable", "deny"),
            (redis(true, OnRedisFailure::Deny), true, 503, "draining", "redis"),
        ];
        for (health, draining, code, status, limiter) in cases {
            let reply = ready(health, draining);
            let body: serde_json::Value = serde_json::from_slice(reply.body.bytes()).unwrap();
            assert_eq!((reply.status, &body["status"], &body["limiter"]), (code, &status.into(), &limiter.into()));
            assert_eq!(reply.fields.iter().any(|(name, _)| name == "Retry-After"), code == 503);
        }
    }
}
