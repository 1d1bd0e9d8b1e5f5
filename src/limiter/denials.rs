//! Denials that are remembered, so that a flood costs Redis nothing.
//!
//! A denial says exactly when the bucket will hold a token again. Until then buckets only lose tokens, so no replica can be
//! granted one, and the answer is known without asking. This is exact, not a cache that may be stale: the moment is counted
//! by the monotonic clock from when the question was sent, which is before the moment Redis counted from.
//!
//! Invariant: a remembered denial never outlasts the moment it promised. Bounded, and without a clock of its own.

use std::time::Instant;

use super::client_map::ClientMap;
use crate::client::ClientId;

/// What a denial promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Denial {
    /// From this instant on a token may be there.
    pub until: Instant,
    /// The same moment by the store's clock, in microseconds since the Unix epoch.
    pub until_unix_us: u64,
    /// Whole and part tokens the bucket held when it refused: less than a request costs.
    pub tokens: f64,
}

/// The denials in force.
#[derive(Debug)]
pub(crate) struct Denials(ClientMap<Denial>);

impl Denials {
    /// Room for `max` of them; one more is not remembered, and costs a call when it is asked about again.
    pub(crate) fn new(max: usize) -> Self {
        Self(ClientMap::new(max))
    }

    /// The denial that binds `client` at `now`, if there is one.
    pub(crate) fn recall(&self, client: &ClientId, now: Instant) -> Option<Denial> {
        self.0.get(client, |denial| *denial).filter(|denial| now < denial.until)
    }

    /// Keeps a denial that was received at `now`.
    pub(crate) fn remember(&self, client: ClientId, denial: Denial, now: Instant) {
        self.0.update(client, |kept| kept.until <= now, || denial, |kept| *kept = denial);
    }

    /// Forgets those that are over at `now`.
    pub(crate) fn sweep(&self, now: Instant) {
        self.0.sweep(|denial| denial.until <= now);
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn denial(until: Instant) -> Denial {
        Denial { until, until_unix_us: 0, tokens: 0.5 }
    }

    #[test]
    fn denied_until_exactly_the_promised_instant() {
        let (denials, t0) = (Denials::new(10), Instant::now());
        let until = t0 + Duration::from_secs(10);
        denials.remember(ClientId::Local, denial(until), t0);
        assert!(denials.recall(&ClientId::Local, t0 + Duration::from_nanos(9_999_999_999)).is_some());
        assert_eq!(denials.recall(&ClientId::Local, until), None);
    }

    #[test]
    fn a_later_denial_takes_the_place_of_an_earlier_one() {
        let (denials, t0) = (Denials::new(10), Instant::now());
        denials.remember(ClientId::Local, denial(t0 + Duration::from_secs(1)), t0);
        denials.remember(ClientId::Local, denial(t0 + Duration::from_secs(9)), t0);
        assert!(denials.recall(&ClientId::Local, t0 + Duration::from_secs(5)).is_some());
        assert_eq!(denials.len(), 1);
    }

    #[test]
    fn past_its_bound_it_forgets_the_newcomer_and_keeps_the_others() {
        let (denials, t0) = (Denials::new(2), Instant::now());
        let until = t0 + Duration::from_secs(1);
        let clients = [1, 2, 3].map(|n| ClientId::V4(std::net::Ipv4Addr::from_bits(n)));
        for client in clients {
            denials.remember(client, denial(until), t0);
        }
        assert_eq!(clients.map(|client| denials.recall(&client, t0).is_some()), [true, true, false]);
        denials.sweep(until);
        assert_eq!(denials.len(), 0);
    }
}
