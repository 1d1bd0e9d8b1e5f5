//! A bounded map from clients to something that ends by itself, in shards.
//!
//! Invariant: never more than `max` entries; an entry that is over is swept before it makes the map grow, so memory follows
//! the clients that are active. It reads no clock: whether an entry is over is the caller's question, asked with the caller's
//! time.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::client::ClientId;

const SHARDS: usize = 64;
/// Below this many entries a shard is not worth sweeping.
const SMALLEST_SWEEP: usize = 64;

/// The map; see the module.
#[derive(Debug)]
pub(crate) struct ClientMap<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    hasher: RandomState,
    entries: AtomicUsize,
    max: usize,
}

#[derive(Debug)]
struct Shard<V> {
    map: HashMap<ClientId, V, RandomState>,
    /// How many entries make the next insertion sweep first: twice what the last sweep left, so a sweep's cost is spread
    /// over as many insertions.
    sweep_at: usize,
    /// Newcomers turned away since the last sweep; once they are as many as the entries, a sweep has been paid for.
    turned_away: usize,
}

impl<V> ClientMap<V> {
    /// An empty map that will hold at most `max` entries.
    pub(crate) fn new(max: usize) -> Self {
        let hasher = RandomState::new();
        let shard = || {
            Mutex::new(Shard { map: HashMap::with_hasher(hasher.clone()), sweep_at: SMALLEST_SWEEP, turned_away: 0 })
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: hasher.clone(),
            entries: AtomicUsize::new(0),
            max,
        }
    }

    /// How many entries there are, ended ones that have not been swept included.
    pub(crate) fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Calls `found` with the client's entry, if there is one.
    pub(crate) fn get<R>(&self, client: &ClientId, found: impl FnOnce(&V) -> R) -> Option<R> {
        self.shard(client).map.get(client).map(found)
    }

    /// Calls `update` with the client's entry, made by `insert` if there was none; gives `None` back, and calls neither, when
    /// the map is full of entries that are not `over`.
    pub(crate) fn update<R>(
        &self,
        client: ClientId,
        over: impl Fn(&V) -> bool,
        insert: impl FnOnce() -> V,
        update: impl FnOnce(&mut V) -> R,
    ) -> Option<R> {
        let mut shard = self.shard(&client);
        // Looked up first: a client that is there pays for nothing else.
        if let Some(value) = shard.map.get_mut(&client) {
            return Some(update(value));
        }
        if shard.map.len() >= shard.sweep_at {
            self.sweep_shard(&mut shard, &over);
        }
        if !self.reserve() {
            shard.turned_away += 1;
            if shard.turned_away < shard.map.len() {
                return None;
            }
            self.sweep_shard(&mut shard, &over);
            if !self.reserve() {
                return None;
            }
        }
        match shard.map.entry(client) {
            Entry::Occupied(mut entry) => Some(update(entry.get_mut())),
            Entry::Vacant(entry) => Some(update(entry.insert(insert()))),
        }
    }

    /// Removes all entries that are `over`, and gives their memory back.
    pub(crate) fn sweep(&self, over: impl Fn(&V) -> bool) {
        for shard in &self.shards {
            self.sweep_shard(&mut lock(shard), &over);
        }
    }

    fn sweep_shard(&self, shard: &mut Shard<V>, over: &impl Fn(&V) -> bool) {
        let before = shard.map.len();
        shard.map.retain(|_, value| !over(value));
        let after = shard.map.len();
        self.entries.fetch_sub(before - after, Ordering::Relaxed);
        shard.turned_away = 0;
        shard.sweep_at = (2 * after).max(SMALLEST_SWEEP);
        if shard.map.capacity() > 4 * shard.sweep_at {
            shard.map.shrink_to(shard.sweep_at);
        }
    }

    fn reserve(&self) -> bool {
        let one_more = |entries| (entries < self.max).then_some(entries + 1);
        self.entries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose the shard")]
    fn shard(&self, client: &ClientId) -> MutexGuard<'_, Shard<V>> {
        lock(&self.shards[self.hasher.hash_one(client) as usize % SHARDS])
    }
}

/// A panic elsewhere leaves every entry whole: they are plain values, replaced at once.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn client(n: u32) -> ClientId {
        ClientId::V4(Ipv4Addr::from_bits(n))
    }

    #[test]
    fn it_never_holds_more_than_its_bound() {
        let map = ClientMap::new(100);
        let kept = (0..1_000).filter(|&n| map.update(client(n), |_| false, || n, |value| *value).is_some()).count();
        assert_eq!((kept, map.len()), (100, 100));
        assert_eq!(map.update(client(0), |_| false, || 7, |value| *value), Some(0), "who is in stays in");
    }

    #[test]
    fn ended_entries_are_swept_before_the_map_grows_far_beyond_the_living() {
        let map = ClientMap::new(usize::MAX);
        for now in 0..200_000_u32 {
            map.update(client(now), |ends| *ends <= now, || now + 1_000, |_| ());
        }
        let bound = 2 * 1_000 + SHARDS * SMALLEST_SWEEP;
        assert!(map.len() <= bound, "{} entries for 1,000 living ones", map.len());
        map.sweep(|ends| *ends <= 200_000);
        assert!(map.len() < 1_000, "{} after a sweep", map.len());
        map.sweep(|_| true);
        assert_eq!(map.len(), 0);
    }

    #[test]
    fn a_full_map_finds_the_room_of_ended_entries_by_itself() {
        let map = ClientMap::new(1_000);
        for n in 0..1_000 {
            map.update(client(n), |_| false, || n, |_| ());
        }
        let tries = (1_000..50_000).find(|&n| map.update(client(n), |_| true, || n, |_| ()).is_some());
        assert!(tries.is_some(), "nobody got the room of 1,000 ended entries");
    }

    #[test]
    fn room_that_a_sweep_made_is_used_again() {
        let map = ClientMap::new(10);
        for n in 0..10 {
            map.update(client(n), |_| false, || n, |_| ());
        }
        assert_eq!(map.update(client(99), |_| false, || 99, |_| ()), None);
        map.sweep(|value| *value < 5);
        assert_eq!((map.len(), map.update(client(99), |_| false, || 99, |value| *value)), (5, Some(99)));
    }
}
