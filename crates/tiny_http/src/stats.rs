//! What a server counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::reject::RejectReason;

/// How many reasons there are.
const REASONS: usize = RejectReason::ALL.len();

/// Counters that any thread adds to.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Connections whose descriptor is open.
    pub(crate) open: AtomicUsize,
    pub(crate) accepted: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) overflowed: AtomicU64,
    pub(crate) cut: AtomicU64,
    rejected: [AtomicU64; REASONS],
}

impl Counters {
    pub(crate) fn reject(&self, reason: RejectReason) {
        self.rejected[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self, ready_requests: usize) -> Stats {
        let mut rejected = [0; REASONS];
        for (count, counter) in rejected.iter_mut().zip(&self.rejected) {
            *count = counter.load(Relaxed);
        }
        Stats {
            connections: self.open.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            accept_errors: self.accept_errors.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
            overflowed: self.overflowed.load(Relaxed),
            cut: self.cut.load(Relaxed),
            ready_requests,
            rejected,
        }
    }
}

/// What a server counted, at one moment. The counters are read one by one: their sums may be off by what happened meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Open connections.
    pub connections: usize,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Accepts that failed since the start, of want of descriptors for instance.
    pub accept_errors: u64,
    /// Connections that were closed since the start because the client was idle or slow to read.
    pub timed_out: u64,
    /// Connections that were closed because the answers nobody read took too much memory.
    pub overflowed: u64,
    /// Connections that were closed at the end of a drain with a request on its way, unanswered or unsent.
    pub cut: u64,
    /// Requests received and not yet taken.
    pub ready_requests: usize,
    rejected: [u64; REASONS],
}

impl Stats {
    /// Answers since the start that the engine gave itself for `reason`.
    #[must_use]
    pub fn rejected(&self, reason: RejectReason) -> u64 {
        self.rejected[reason as usize]
    }

    /// Answers since the start that the engine gave itself.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }
}
