//! `/metrics`: the Prometheus scrape.

use crate::exchange::{Body, Reply};
use crate::metrics::{self, Metrics};

/// 200 and the text exposition of all families.
#[must_use]
pub fn scrape(metrics: &Metrics) -> Reply {
    Reply::new(200, metrics::CONTENT_TYPE, Body::Owned(metrics.render())).with("Cache-Control", "no-store")
}
