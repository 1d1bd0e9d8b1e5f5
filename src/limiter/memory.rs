//! Token buckets in this process: the limiter when no Redis is configured, and the fallback when Redis fails.
//!
//! Invariant: a bucket that is full is the same as none, so it may be forgotten; nothing else is forgotten. What it never
//! does: read a clock (the caller's microseconds are an argument), or grow beyond its bound.
//!
//! Beyond the bound: clients for whom there is no room share one *overflow* bucket, and a client that later finds room starts
//! at that bucket's level. So nobody is ever granted more than a bucket of their own would have granted, and a flood of
//! addresses cannot take the memory or the limit away; it can only make newcomers wait for each other.

use std::sync::{Mutex, PoisonError};

use super::bucket::{Bucket, Policy, Taken};
use super::client_map::ClientMap;
use crate::client::ClientId;

/// The buckets of one policy.
#[derive(Debug)]
pub struct MemoryStore {
    policy: Policy,
    buckets: ClientMap<Bucket>,
    /// `None` while nobody has needed it.
    overflow: Mutex<Option<Bucket>>,
}

impl MemoryStore {
    /// An empty store of at most `max_buckets` buckets under `policy`.
    #[must_use]
    pub fn new(policy: Policy, max_buckets: usize) -> Self {
        Self { policy, buckets: ClientMap::new(max_buckets), overflow: Mutex::new(None) }
    }

    /// The policy its buckets follow.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes tokens for `n` equal asks of `client` at `now_us`, microseconds since the Unix epoch.
    pub fn take(&self, client: ClientId, n: u32, now_us: u64) -> Taken {
        let policy = &self.policy;
        let own = self.buckets.update(
            client,
            |bucket| bucket.is_full(policy, now_us),
            || self.newcomer(now_us),
            |bucket| bucket.take(policy, now_us, n),
        );
        own.unwrap_or_else(|| {
            let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
            overflow.get_or_insert_with(|| Bucket::full(policy, now_us)).take(policy, now_us, n)
        })
    }

    /// Forgets the buckets that are full at `now_us`.
    pub fn sweep(&self, now_us: u64) {
        self.buckets.sweep(|bucket| bucket.is_full(&self.policy, now_us));
    }

    /// How many buckets are kept.
    #[must_use]
    pub fn tracked_buckets(&self) -> usize {
        self.buckets.len()
    }

    fn newcomer(&self, now_us: u64) -> Bucket {
        let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        if overflow.is_some_and(|bucket| bucket.is_full(&self.policy, now_us)) {
            *overflow = None;
        }
        overflow.unwrap_or_else(|| Bucket::full(&self.policy, now_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const S: u64 = 1_000_000;

    fn client(n: u32) -> ClientId {
        ClientId::V4(Ipv4Addr::from_bits(n))
    }

    fn policy(capacity: u32, refill_per_second: f64) -> Policy {
        Policy::new("test", capacity, refill_per_second, 1).unwrap()
    }

    #[test]
    fn buckets_of_different_clients_are_apart() {
        let store = MemoryStore::new(policy(2, 1.0), 100);
        assert_eq!(store.take(client(1), 3, S).granted, 2);
        assert_eq!(store.take(client(2), 1, S).granted, 1);
        assert_eq!(store.take(client(1), 1, 2 * S).granted, 1, "one token came back");
    }

    #[test]
    fn full_buckets_are_forgotten_and_nothing_is_lost() {
        let store = MemoryStore::new(policy(5, 1.0), 100_000);
        for n in 0..10_000 {
            store.take(client(n), 1, S + u64::from(n));
        }
        store.take(client(1), 3, 2 * S);
        store.sweep(2 * S + 20_000);
        assert_eq!(store.tracked_buckets(), 1, "only the bucket that is not full is kept");
        assert_eq!(store.take(client(1), 5, 2 * S + 20_000).granted, 2);
    }

    #[test]
    fn clients_beyond_the_bound_share_one_bucket_and_never_gain_by_it() {
        let store = MemoryStore::new(policy(5, 0.001), 2);
        store.take(client(1), 5, S);
        store.take(client(2), 5, S);
        assert_eq!(store.take(client(3), 3, S).granted, 3);
        assert_eq!(store.take(client(4), 3, S).granted, 2, "the shared bucket had two left");
        assert_eq!(store.tracked_buckets(), 2);

        // Room is made: the first two are full again 5,000 s later, by when the shared bucket is, too; take it down again.
        let later = 5_001 * S;
        store.take(client(1), 1, later);
        store.take(client(2), 1, later);
        assert_eq!(store.take(client(3), 5, later).granted, 5);
        store.sweep(later + 1_001 * S);
        let (had_its_share, newcomer) = (store.take(client(3), 5, later + 1_001 * S), store.tracked_buckets());
        assert_eq!((had_its_share.granted, newcomer), (1, 1), "a bucket of its own starts where the shared one stood");
    }
}
