//! How much memory the bodies of all connections may take together, from their first byte until they are answered.
//!
//! The bound on one body times the bound on connections is more than a machine has; this is the bound on the sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The sum, and its bound.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }
}

/// One body's part of the sum; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// Nothing yet.
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Takes so many bytes more; false, and nothing taken, if they are not to be had.
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.budget.max);
        let taken = self.budget.used.fetch_update(Relaxed, Relaxed, more).is_ok();
        self.bytes += if taken { bytes } else { 0 };
        taken
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_taken_again_and_the_sum_never_exceeds_the_bound() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (Charge::new(&budget), Charge::new(&budget));
        assert!(one.add(6) && other.add(4) && !other.add(1));
        drop(one);
        assert!(other.add(6) && !other.add(usize::MAX));
        drop(other);
        assert_eq!(budget.used.load(Relaxed), 0);
    }
}
