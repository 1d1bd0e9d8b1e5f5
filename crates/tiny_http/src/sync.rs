//! A mutex that a panicking holder can't take out of service.
//!
//! Invariant: every value guarded here is valid after each statement that changes it, so a guard dropped by unwinding
//! leaves nothing half done and poisoning would only turn one lost request into a dead server.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A [`Mutex`] without poisoning.
#[derive(Debug, Default)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for `signal`, or for `limit` to pass where there is one; spurious wake-ups are the caller's to check.
pub(crate) fn wait<'a, T>(signal: &Condvar, guard: MutexGuard<'a, T>, limit: Option<Duration>) -> MutexGuard<'a, T> {
    match limit {
        None => signal.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(limit) => signal.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner).0,
    }
}
