//! What every store of products does, in this process or in Redis, and what Redis adds: all replicas see the same products,
//! and an acknowledged one outlives the api and Redis.

#![allow(clippy::unwrap_used, reason = "a test ends where it finds nothing")]

mod support;

use std::sync::Arc;
use std::thread;

use support::{GENEROUS, RedisServer, Setup, Tollgate, eventually, policy};
use tollgate::metrics::Metrics;
use tollgate::products::{CreateError, MAX_STORED_BYTES, MemoryProducts, Page, ProductStore, RedisProducts};
use tollgate::validation::NewProduct;
use uuid::Uuid;

/// A store, and the server it needs, if any, for as long as it lives.
struct Opened {
    store: Box<dyn ProductStore>,
    _server: Option<RedisServer>,
}

fn in_memory(max_products: usize) -> Opened {
    Opened { store: Box::new(MemoryProducts::new(max_products)), _server: None }
}

fn in_redis(max_products: usize) -> Opened {
    let server = RedisServer::start();
    Opened { store: Box::new(redis_store(&server, max_products)), _server: Some(server) }
}

fn redis_store(server: &RedisServer, max_products: usize) -> RedisProducts {
    let metrics = Arc::new(Metrics::new(support::POLICY));
    let client = Setup::on_redis(policy(5, 0.1), &server.url()).patient().redis_client(&metrics);
    RedisProducts::new(client, max_products)
}

fn product(name: &str) -> NewProduct {
    NewProduct { name: name.to_owned(), description: "d".to_owned(), price: 1.5 }
}

fn names(page: &Page) -> Vec<String> {
    let array: Vec<serde_json::Value> = serde_json::from_slice(&page.json).expect("a page is JSON");
    array.iter().map(|product| product["name"].as_str().expect("a name").to_owned()).collect()
}

/// Makes each function a test of each store.
macro_rules! each_store {
    ($($sentence:ident)*) => {
        mod memory {
            $(#[test] fn $sentence() { super::$sentence(super::in_memory); })*
        }
        mod redis {
            $(#[test] fn $sentence() { super::$sentence(super::in_redis); })*
        }
    };
}

each_store! {
    a_product_is_found_by_its_id_until_it_is_deleted
    products_are_listed_in_order_of_creation
    pages_join_to_the_whole_also_when_the_last_one_seen_is_deleted
    a_full_store_refuses_and_loses_nothing
    large_products_are_listed_as_small_ones_are
    the_bytes_of_all_products_have_a_bound_too
    the_entity_tag_changes_with_every_change_and_only_then
    a_repeated_key_gives_the_first_product_back
    creators_at_the_same_time_never_exceed_the_bound_nor_share_an_id
}

fn large(name: &str, bytes: usize) -> NewProduct {
    NewProduct { description: "x".repeat(bytes), ..product(name) }
}

fn large_products_are_listed_as_small_ones_are(open: fn(usize) -> Opened) {
    let opened = open(100);
    let store = &opened.store;
    let all: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let ids: Vec<Uuid> = all.iter().map(|name| store.create(&large(name, 100_000), None).unwrap().id).collect();
    let page = store.page(None, None).unwrap();
    assert_eq!((names(&page), page.next_after), (all.clone(), None));
    for (limit, after, shown) in [(5, None, 0..5), (7, Some(4), 5..12), (6, Some(4), 5..11), (100, Some(9), 10..12)] {
        let page = store.page(Some(limit), after.map(|after: usize| ids[after])).unwrap();
        assert_eq!(names(&page), all[shown.clone()], "{limit} after {after:?}");
        assert_eq!(page.next_after, (shown.end < 12).then(|| ids[shown.end - 1]), "{limit} after {after:?}");
    }
}

fn the_bytes_of_all_products_have_a_bound_too(open: fn(usize) -> Opened) {
    let opened = open(1_000);
    let store = &opened.store;
    let made: Vec<Uuid> = std::iter::from_fn(|| {
        let made = store.create(&large("large", 4_000_000), Some(&Uuid::new_v4().to_string()));
        made.map_err(|error| assert_eq!(error, CreateError::Full)).ok().map(|product| product.id)
    })
    .collect();
    assert_eq!(made.len(), MAX_STORED_BYTES / 4_000_100);
    assert!(store.delete(&made[3]).unwrap());
    assert!(store.create(&large("another", 4_000_000), None).is_ok(), "there is room again");
    assert_eq!(store.create(&large("another", 4_000_000), None), Err(CreateError::Full));
}

fn a_product_is_found_by_its_id_until_it_is_deleted(open: fn(usize) -> Opened) {
    let opened = open(10);
    let store = &opened.store;
    let described = NewProduct { name: "a \"b\"\n\u{e9}".to_owned(), description: String::new(), price: 10.0 };
    let made = store.create(&described, None).unwrap();
    let json = String::from_utf8(made.json.to_vec()).unwrap();
    assert_eq!(json, format!(r#"{{"name":"a \"b\"\né","description":"","price":10.0,"id":"{}"}}"#, made.id));
    assert_eq!((made.id.get_version_num(), made.id.get_variant()), (7, uuid::Variant::RFC4122));
    assert_eq!(store.get(&made.id).unwrap(), Some(made.json));
    assert_eq!(store.get(&Uuid::nil()).unwrap(), None);
    assert!(!store.delete(&Uuid::nil()).unwrap());
    assert!(store.delete(&made.id).unwrap());
    assert!(!store.delete(&made.id).unwrap());
    assert_eq!((store.get(&made.id).unwrap(), store.count().unwrap()), (None, 0));
}

fn products_are_listed_in_order_of_creation(open: fn(usize) -> Opened) {
    let opened = open(2_000);
    let expected: Vec<String> = (0..1_203).map(|n| n.to_string()).collect();
    let ids: Vec<Uuid> = expected.iter().map(|name| opened.store.create(&product(name), None).unwrap().id).collect();
    assert!(ids.is_sorted());
    assert_eq!(names(&opened.store.page(None, None).unwrap()), expected);
    assert_eq!(names(&opened.store.page(None, Some(ids[700])).unwrap()), expected[701..]);
    assert_eq!(names(&opened.store.page(Some(1_000), None).unwrap()), expected[..1_000]);
}

fn pages_join_to_the_whole_also_when_the_last_one_seen_is_deleted(open: fn(usize) -> Opened) {
    let opened = open(10);
    let store = &opened.store;
    let ids = ["a", "b", "c", "d", "e"].map(|name| store.create(&product(name), None).unwrap().id);
    let first = store.page(Some(2), None).unwrap();
    assert_eq!((names(&first), first.next_after), (vec!["a".to_owned(), "b".to_owned()], Some(ids[1])));
    assert!(store.delete(&ids[1]).unwrap());
    let second = store.page(Some(2), first.next_after).unwrap();
    assert_eq!((names(&second), second.next_after), (vec!["c".to_owned(), "d".to_owned()], Some(ids[3])));
    let third = store.page(Some(2), second.next_after).unwrap();
    assert_eq!((names(&third), third.next_after), (vec!["e".to_owned()], None));
    let past_the_end = store.page(Some(2), Some(ids[4])).unwrap();
    assert_eq!((names(&past_the_end), past_the_end.next_after), (vec![], None));
}

fn a_full_store_refuses_and_loses_nothing(open: fn(usize) -> Opened) {
    let opened = open(2);
    let store = &opened.store;
    let first = store.create(&product("a"), None).unwrap();
    store.create(&product("b"), Some("k")).unwrap();
    assert_eq!(store.create(&product("c"), None).unwrap_err(), CreateError::Full);
    assert_eq!(store.create(&product("c"), Some("new")).unwrap_err(), CreateError::Full);
    assert!(store.create(&product("b"), Some("k")).is_ok(), "a repetition needs no room");
    assert_eq!(store.count().unwrap(), 2);
    assert!(store.delete(&first.id).unwrap());
    assert!(store.create(&product("c"), Some("new")).is_ok());
}

fn the_entity_tag_changes_with_every_change_and_only_then(open: fn(usize) -> Opened) {
    let opened = open(10);
    let store = &opened.store;
    let mut tags = vec![store.entity_tag().unwrap()];
    let id = store.create(&product("a"), Some("k")).unwrap().id;
    tags.push(store.entity_tag().unwrap());
    store.page(None, None).unwrap();
    store.create(&product("a"), Some("k")).unwrap();
    assert_eq!(store.entity_tag().unwrap(), tags[1]);
    store.delete(&id).unwrap();
    tags.push(store.entity_tag().unwrap());
    tags.push({
        let another = open(10);
        another.store.create(&product("a"), None).unwrap();
        another.store.entity_tag().unwrap()
    });
    for (at, tag) in tags.iter().enumerate() {
        assert!(tag.starts_with('"') && tag.ends_with('"') && !tags[..at].contains(tag), "{tags:?}");
    }
}

fn a_repeated_key_gives_the_first_product_back(open: fn(usize) -> Opened) {
    let opened = open(10);
    let store = &opened.store;
    let first = store.create(&product("a"), Some("k")).unwrap();
    assert_eq!(store.create(&product("a"), Some("k")).unwrap(), first);
    assert_eq!(store.create(&product("b"), Some("k")).unwrap_err(), CreateError::KeyReused);
    let costlier = NewProduct { price: 2.0, ..product("a") };
    assert_eq!(store.create(&costlier, Some("k")).unwrap_err(), CreateError::KeyReused);
    assert_ne!(store.create(&product("a"), Some("k2")).unwrap().id, first.id);
    assert_ne!(store.create(&product("a"), None).unwrap().id, first.id);
    assert_eq!(store.count().unwrap(), 3);
    store.delete(&first.id).unwrap();
    assert_eq!(store.create(&product("a"), Some("k")).unwrap(), first, "the first answer, whatever became of it");
    assert_eq!(store.count().unwrap(), 2);
}

fn creators_at_the_same_time_never_exceed_the_bound_nor_share_an_id(open: fn(usize) -> Opened) {
    let opened = open(50);
    let store = &*opened.store;
    let mut ids: Vec<Uuid> = thread::scope(|scope| {
        let create = |worker: i32| {
            move || {
                (0..20)
                    .filter_map(|n| store.create(&product(&format!("{worker}-{n}")), None).ok())
                    .map(|made| made.id)
                    .collect::<Vec<_>>()
            }
        };
        let workers: Vec<_> = (0..4).map(|worker| scope.spawn(create(worker))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), store.count().unwrap()), (50, 50));
}

#[test]
fn replicas_share_products_and_idempotency_keys() {
    let server = RedisServer::start();
    let start =
        || Tollgate::start(&[("REDIS_URL", &server.url()), ("PRODUCT_STORE", "redis"), ("REDIS_TIMEOUT_MS", "5000")]);
    let (one, other) = (start(), start());
    let body = br#"{"name":"n","description":"d","price":1}"#;
    let create = |tollgate: &Tollgate, body: &[u8]| {
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "k-1")];
        tollgate.request("POST", "/api/products", &headers, body)
    };
    let first = create(&one, body);
    let again = create(&other, br#"{"price":"1.0","description":"d","name":"n"}"#);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!((first.text(), first.header("Location")), (again.text(), again.header("Location")));
    let reused = create(&other, br#"{"name":"another","description":"d","price":1}"#);
    assert_eq!((reused.status, reused.header("Content-Type")), (422, Some("application/problem+json")));
    assert_eq!(one.get("/api/products").text(), format!("[{}]", first.text()));
    assert_eq!(other.get("/api/products").text(), one.get("/api/products").text());
    assert!((one.metric("products_stored") - 1.0).abs() < 0.5);
}

#[test]
fn a_key_that_cannot_be_kept_is_refused() {
    let tollgate = Tollgate::start(&[]);
    let long = "k".repeat(256);
    for key in ["", "with space", "caf\u{e9}", &long] {
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
        let answer =
            tollgate.request("POST", "/api/products", &headers, br#"{"name":"n","description":"d","price":1}"#);
        assert_eq!((answer.status, answer.header("Content-Type")), (400, Some("application/problem+json")), "{key:?}");
    }
    assert_eq!(tollgate.get("/api/products").text(), "[]");
}

#[test]
fn while_redis_is_down_every_product_request_is_refused_and_nothing_is_half_done() {
    let mut server = RedisServer::start();
    let tollgate = Tollgate::start(&[("REDIS_URL", &server.url()), ("PRODUCT_STORE", "redis")]);
    let body = r#"{"name":"n","description":"d","price":1}"#;
    eventually(GENEROUS, "the first product", || tollgate.post("/api/products", body).status == 201);
    let before = tollgate.get("/api/products").text().to_owned();
    server.kill();
    for (method, target) in [
        ("GET", "/api/products"),
        ("POST", "/api/products"),
        ("GET", "/api/products/0190a5c4-0000-7000-8000-000000000000"),
        ("DELETE", "/api/products/0190a5c4-0000-7000-8000-000000000000"),
    ] {
        let answer = tollgate.request(method, target, &[], body.as_bytes());
        assert_eq!(
            (answer.status, answer.header("Content-Type")),
            (503, Some("application/problem+json")),
            "{method} {target}"
        );
        assert!(answer.number("Retry-After") >= 1);
    }
    server.restart();
    eventually(GENEROUS, "the store heals", || tollgate.get("/api/products").status == 200);
    assert_eq!(tollgate.get("/api/products").text(), "[]", "this Redis keeps nothing; it held {before}");
    eventually(GENEROUS, "products are created again", || tollgate.post("/api/products", body).status == 201);
}

#[test]
fn an_acknowledged_product_outlives_the_api_and_redis() {
    let mut server = RedisServer::with_args(&["--appendonly", "yes", "--appendfsync", "always"]);
    let variables = [("REDIS_URL", &server.url()[..]), ("PRODUCT_STORE", "redis"), ("REDIS_TIMEOUT_MS", "5000")];
    let tollgate = Tollgate::start(&variables);
    let body = r#"{"name":"n","description":"d","price":1}"#;
    let acknowledged: Vec<String> = (0..20)
        .map(|_| tollgate.post("/api/products", body))
        .filter(|answer| answer.status == 201)
        .map(|answer| answer.text().to_owned())
        .collect();
    assert!(!acknowledged.is_empty());
    drop(tollgate);
    server.kill();
    server.restart();
    let tollgate = Tollgate::start(&variables);
    let listed = eventually(GENEROUS, "the products are there", || {
        Some(tollgate.get("/api/products")).filter(|answer| answer.status == 200)
    });
    assert_eq!(listed.text(), format!("[{}]", acknowledged.join(",")));
}

#[test]
fn redis_counts_the_bytes_it_keeps_to_the_last_one() {
    let server = RedisServer::start();
    let store = redis_store(&server, 10);
    let ids = ["a", "b\u{e9}"].map(|name| store.create(&product(name), Some(name)).unwrap().id);
    let meta = |field: &str| server.cli(&["HGET", "tollgate:{products}:meta", field]).parse::<usize>().unwrap();
    let kept = |id: &Uuid| store.get(id).unwrap().unwrap().len();
    assert_eq!(meta("bytes"), ids.iter().map(kept).sum::<usize>());
    // A fingerprint of 40 digits is remembered with each.
    assert_eq!(meta("remembered_bytes"), meta("bytes") + 80);
    assert!(ids.iter().all(|id| store.delete(id).unwrap()));
    assert_eq!(meta("bytes"), 0);
}

#[test]
fn of_large_products_only_the_latest_are_remembered_with_their_keys() {
    let server = RedisServer::start();
    let store = redis_store(&server, 1_000);
    let made = |n: usize| store.create(&large(&n.to_string(), 4_000_000), Some(&n.to_string())).unwrap().id;
    let first = made(0);
    let fit = MAX_STORED_BYTES / 4_000_200;
    let mut latest = first;
    for n in 1..=fit {
        assert!(store.delete(&latest).unwrap());
        latest = made(n);
    }
    assert_eq!(made(fit), latest, "replayed");
    assert_ne!(made(0), first, "forgotten, so made anew");
}

#[test]
fn a_count_that_has_gone_astray_does_not_keep_redis_busy_for_good() {
    let server = RedisServer::start();
    let store = redis_store(&server, 10);
    server.cli(&["HSET", "tollgate:{products}:meta", "remembered_bytes", "1000000000000"]);
    assert!(store.create(&product("a"), Some("a")).is_ok());
    assert_eq!(server.cli(&["PING"]), "PONG");
}
