//! What every store does; each function is a test of both.

use std::net::Ipv6Addr;
use std::thread;
use std::time::Duration;

use tollgate::client::ClientId;
use tollgate::limiter::Policy;
use tollgate::limiter::bucket::{Bucket, Taken};

use super::support::{client, policy};
use super::{NEVER, Store};

pub(super) fn a_client_is_granted_its_capacity_and_then_denied<S: Store>(open: impl Fn(Policy) -> S) {
    let store = open(policy(5, NEVER));
    let granted: Vec<u32> = (0..7).map(|_| store.take_one(client(1), 1).granted).collect();
    assert_eq!(granted, [1, 1, 1, 1, 1, 0, 0]);
    let (denied, eleven_days_us) = (store.take_one(client(1), 1), 1_000_000_000_000);
    assert!((eleven_days_us - 600_000_000..=eleven_days_us + 1).contains(&denied.wait_us), "{denied:?}");
}

pub(super) fn more_asks_than_tokens_are_granted_in_part<S: Store>(open: impl Fn(Policy) -> S) {
    let store = open(policy(5, NEVER));
    let all = store.take_one(client(1), 3);
    assert_eq!((all.granted, all.tokens, all.wait_us), (3, 2.0, 0));
    let part = store.take_one(client(1), 3);
    assert_eq!(part.granted, 2);
    assert!(part.tokens < 1.0 && part.wait_us > 0, "{part:?}");
}

pub(super) fn a_request_that_costs_several_tokens_takes_them_all_or_none<S: Store>(open: impl Fn(Policy) -> S) {
    let store = open(Policy::new("test", 10, NEVER, 4).unwrap());
    let answers = [store.take_one(client(1), 1), store.take_one(client(1), 5)];
    assert_eq!(answers.map(|taken| taken.granted), [1, 1]);
    assert_eq!(answers.map(|taken| taken.tokens.floor()), [6.0, 2.0]);
}

pub(super) fn clients_do_not_share_a_bucket<S: Store>(open: impl Fn(Policy) -> S) {
    let store = open(policy(1, NEVER));
    let network = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 0);
    let clients = [
        client(1),
        client(2),
        ClientId::V6 { network, prefix: 64 },
        ClientId::V6 { network, prefix: 128 },
        ClientId::Local,
    ];
    assert_eq!(clients.map(|client| store.take_one(client, 1).granted), [1; 5], "each has one");
    assert_eq!(clients.map(|client| store.take_one(client, 1).granted), [0; 5], "and no more");
}

pub(super) fn a_batch_is_answered_in_the_order_of_its_asks<S: Store>(open: impl Fn(Policy) -> S) {
    let store = open(policy(100, NEVER));
    let asks: Vec<(ClientId, u32)> = (1..=150).map(|n| (client(n), n)).collect();
    for (n, taken) in (1..=150).zip(store.take(&asks)) {
        assert_eq!((taken.granted, taken.tokens), (n.min(100), f64::from(100 - n.min(100))), "of {n} asks");
    }
}

pub(super) fn a_batch_of_nobody_is_answered_with_nothing<S: Store>(open: impl Fn(Policy) -> S) {
    assert_eq!(open(policy(5, 1.0)).take(&[]), []);
}

pub(super) fn waiting_what_a_denial_says_is_honoured<S: Store>(open: impl Fn(Policy) -> S) {
    // A token every 20 ms, so that waiting is short.
    let store = open(policy(3, 50.0));
    for _ in 0..5 {
        let more_than_there_ever_are = 4;
        let denied = store.take_one(client(1), more_than_there_ever_are);
        assert!(denied.wait_us > 0);
        thread::sleep(Duration::from_micros(denied.wait_us));
        assert_eq!(store.take_one(client(1), 1).granted, 1, "told {} us", denied.wait_us);
    }
}

pub(super) fn every_answer_is_what_the_bucket_says_at_the_stores_own_clock<S: Store>(open: impl Fn(Policy) -> S) {
    // Rates that bring back fractions with endless digits, at the pace of real time.
    for (capacity, rate, cost) in [(5, 1e3 / 3.0, 1), (10, 0.1, 3), (7, 1e4 / 7.0, 2), (1_000_000, 1e6, 999)] {
        let policy = Policy::new("test", capacity, rate, cost).unwrap();
        let store = open(policy);
        let mut bucket: Option<Bucket> = None;
        for n in (1..=4).cycle().take(200) {
            let taken = store.take_one(client(1), n);
            let bucket = bucket.get_or_insert_with(|| Bucket::full(&policy, taken.now_us));
            assert_eq!(taken, bucket.take(&policy, taken.now_us, n), "{policy:?}");
        }
    }
}

pub(super) fn many_threads_never_get_more_than_capacity_and_refill<S: Store>(open: impl Fn(Policy) -> S) {
    let (capacity, rate, cost) = (50.0, 2_000.0, 3.0);
    let store = open(Policy::new("test", 50, rate, 3).unwrap());
    let hammer = || (0..300).map(|n| store.take_one(client(1), 1 + n % 3)).collect::<Vec<Taken>>();
    let answers: Vec<Taken> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(hammer)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).collect()
    });
    let clock = answers.iter().map(|taken| taken.now_us);
    let window_s = (clock.clone().max().unwrap() - clock.min().unwrap()) as f64 / 1e6;
    let granted = cost * answers.iter().map(|taken| f64::from(taken.granted)).sum::<f64>();
    let bound = capacity + rate * window_s;
    assert!(granted <= bound + 1e-6, "{granted} tokens in {window_s} s, of {bound}");
    assert!(granted > capacity - cost, "what is there is given: {granted}");
}
