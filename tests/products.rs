//! The products over HTTP: order, pages, entity tags, bounds; the same whether they are kept in the process or in Redis.
//!
//! What is not here: which bodies make a product (`validation.rs`), and what only a store in Redis can do.

mod support;

use std::collections::HashSet;
use std::thread;

use support::{RedisServer, Response, Tollgate};

const PRODUCTS: &str = "/api/products";

/// What a test is run against: a server with products of its own, and one that keeps them in Redis.
fn on_each_kind_of_server(variables: &[(&str, &str)], test: impl Fn(&Tollgate)) {
    test(&Tollgate::start(variables));
    let redis = RedisServer::start();
    let url = redis.url();
    // The time-outs are as long as a busy machine may need.
    let in_redis = [("REDIS_URL", url.as_str()), ("PRODUCT_STORE", "redis"), ("REDIS_TIMEOUT_MS", "10000")];
    test(&Tollgate::start(&[variables, &in_redis].concat()));
}

/// Creates a product of this name; its id.
#[track_caller]
fn create(server: &Tollgate, name: &str) -> String {
    let response = server.post(PRODUCTS, &format!(r#"{{"name":"{name}","description":"","price":1}}"#));
    assert_eq!(response.status, 201, "{response:?}");
    response.json()["id"].as_str().expect("an id is a string").to_owned()
}

/// The strings under `key` of the products in an answer.
#[track_caller]
fn listed(response: &Response, key: &str) -> Vec<String> {
    let products = response.json();
    let products = products.as_array().expect("products are listed in an array");
    products.iter().map(|product| product[key].as_str().expect("it is a string").to_owned()).collect()
}

/// Where the next page is.
#[track_caller]
fn next_page(response: &Response) -> Option<String> {
    let link = response.header("Link")?;
    let target = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(r#">; rel="next""#));
    Some(target.unwrap_or_else(|| panic!("not a link to the next page: {link}")).to_owned())
}

/// Follows the links from `target` to their end; what is listed on each page.
#[track_caller]
fn pages(server: &Tollgate, target: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(target.to_owned());
    while let Some(target) = next {
        let response = server.get(&target);
        assert_eq!(response.status, 200, "{target}: {response:?}");
        pages.push(listed(&response, "name"));
        next = next_page(&response);
    }
    pages
}

#[test]
fn a_new_product_is_answered_whole_and_can_be_had_where_its_location_says() {
    on_each_kind_of_server(&[], |server| {
        let created = server.post(PRODUCTS, r#"{"id":"mine","price":"2.50","description":"d","name":"n"}"#);
        assert_eq!((created.status, created.header("Content-Type")), (201, Some("application/json")));
        let location = created.header("Location").expect("a new product has a place");
        let id = location.strip_prefix("/api/products/").expect("the place is the collection's path and the id");
        assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{id}");
        assert!(id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(created.text(), format!(r#"{{"name":"n","description":"d","price":2.5,"id":"{id}"}}"#));
        let fetched = server.get(location);
        assert_eq!((fetched.status, fetched.text()), (200, created.text()));
    });
}

#[test]
fn the_list_is_in_order_of_creation_and_whole_without_parameters() {
    on_each_kind_of_server(&[], |server| {
        let names: Vec<String> = (0..120).rev().map(|n| format!("p{n}")).collect();
        for name in &names {
            create(server, name);
        }
        let all = server.get(PRODUCTS);
        assert_eq!(listed(&all, "name"), names);
        assert_eq!(all.header("Link"), None);
        for unknown in ["?", "?x=1", "?LIMIT=1", "?limits=1&x"] {
            assert_eq!(server.get(&format!("{PRODUCTS}{unknown}")).text(), all.text(), "{unknown}");
        }
    });
}

#[test]
fn products_created_at_once_are_each_listed_once() {
    on_each_kind_of_server(&[], |server| {
        let creator = |who: usize| move || (0..25).map(|n| create(server, &format!("{who}-{n}"))).collect::<Vec<_>>();
        let ids: Vec<Vec<String>> = thread::scope(|scope| {
            let creators: Vec<_> = (0..4).map(|who| scope.spawn(creator(who))).collect();
            creators.into_iter().map(|creator| creator.join().expect("products are created")).collect()
        });
        let all = listed(&server.get(PRODUCTS), "id");
        assert_eq!(all.len(), 100);
        assert_eq!(all.iter().collect::<HashSet<_>>(), ids.iter().flatten().collect::<HashSet<_>>());
        for own in &ids {
            let places: Vec<_> = own.iter().map(|id| all.iter().position(|each| each == id)).collect();
            assert!(places.is_sorted(), "who creates one after the other sees them in that order");
        }
    });
}

#[test]
fn the_links_of_pages_lead_through_all_products_and_end() {
    on_each_kind_of_server(&[], |server| {
        assert_eq!(pages(server, "/api/products?limit=3"), [Vec::<String>::new()], "no product, one page");
        let names: Vec<String> = (0..7).map(|n| format!("p{n}")).collect();
        for name in &names {
            create(server, name);
        }
        for (limit, sizes) in
            [(1, &[1; 7][..]), (3, &[3, 3, 1]), (4, &[4, 3]), (6, &[6, 1]), (7, &[7]), (8, &[7]), (1000, &[7])]
        {
            let pages = pages(server, &format!("/api/products?limit={limit}"));
            assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "limit {limit}");
            assert_eq!(pages.concat(), names, "limit {limit}");
        }
        let ids = listed(&server.get(PRODUCTS), "id");
        let rest = server.get(&format!("/api/products?after={}", ids[4]));
        assert_eq!((listed(&rest, "name"), rest.header("Link")), (names[5..].to_vec(), None));
        let last = format!("/api/products?limit=2&after={}", ids[6]);
        assert_eq!(pages(server, &last), [Vec::<String>::new()], "nothing comes after the last one");
        let spelled = format!("/api/products/?x&%6cimit=%32&after={}&limit=1", ids[0].to_uppercase());
        assert_eq!(listed(&server.get(&spelled), "name"), names[1..2], "the last value counts");
    });
}

#[test]
fn pages_go_on_after_a_product_that_has_been_deleted_meanwhile() {
    on_each_kind_of_server(&[], |server| {
        let ids: Vec<String> = ["a", "b", "c", "d", "e"].iter().map(|name| create(server, name)).collect();
        let first = server.get("/api/products?limit=2");
        for gone in &ids[1..3] {
            assert_eq!(server.request("DELETE", &format!("{PRODUCTS}/{gone}"), &[], b"").status, 204);
        }
        create(server, "f");
        let next = next_page(&first).expect("there are more");
        assert_eq!(pages(server, &next), [vec!["d", "e"], vec!["f"]]);
        assert_eq!(listed(&server.get(PRODUCTS), "name"), ["a", "d", "e", "f"]);
    });
}

#[test]
fn a_query_that_makes_no_sense_is_422_with_all_that_is_wrong() {
    let server = Tollgate::start(&[]);
    let integer = "Input should be a valid integer, unable to parse string as an integer";
    let least = "Input should be greater than or equal to 1";
    let most = "Input should be less than or equal to 1000";
    let cases = [
        ("limit=", "limit", format!("{integer}. Received: ''"), "int_parsing"),
        ("limit", "limit", format!("{integer}. Received: ''"), "int_parsing"),
        ("limit=ten", "limit", format!("{integer}. Received: 'ten'"), "int_parsing"),
        ("limit=1.5", "limit", format!("{integer}. Received: '1.5'"), "int_parsing"),
        ("limit=0", "limit", format!("{least}. Received: '0'"), "greater_than_equal"),
        ("limit=-1", "limit", format!("{least}. Received: '-1'"), "greater_than_equal"),
        ("limit=1001", "limit", format!("{most}. Received: '1001'"), "less_than_equal"),
        ("limit=99999999999999999999", "limit", format!("{most}. Received: '99999999999999999999'"), "less_than_equal"),
        (
            "after=x",
            "after",
            "Input should be a valid UUID, invalid character: found `x` at 0. Received: 'x'".to_owned(),
            "uuid_parsing",
        ),
    ];
    for (query, parameter, message, kind) in &cases {
        let response = server.get(&format!("{PRODUCTS}?{query}"));
        let problem = response.json();
        assert_eq!((response.status, &problem["detail"]), (422, &"Validation failed for the query.".into()), "{query}");
        let error = serde_json::json!({"field": format!("query -> {parameter}"), "message": message, "type": kind});
        assert_eq!(problem["errors"], serde_json::json!([error]), "{query}");
    }
    let both = server.get("/api/products?after=x&limit=0").json();
    let fields: Vec<_> = both["errors"].as_array().expect("errors").iter().map(|error| &error["field"]).collect();
    assert_eq!(fields, ["query -> limit", "query -> after"]);
}

#[test]
fn a_list_that_has_not_changed_is_not_sent_again() {
    on_each_kind_of_server(&[], |server| {
        create(server, "a");
        let id = create(server, "b");
        for target in [PRODUCTS, "/api/products?limit=1", "/api/products/?limit=9"] {
            let full = server.get(target);
            let tag = full.header("ETag").expect("a list has a tag").to_owned();
            assert!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "{tag} is a strong tag");
            let matching = [
                tag.clone(),
                format!("W/{tag}"),
                format!("\"x\", W/\"y\" ,{tag},"),
                "*".to_owned(),
                format!(" {tag} "),
            ];
            for (method, tags) in matching.iter().flat_map(|tags| [("GET", tags), ("HEAD", tags)]) {
                let response = server.request(method, target, &[("If-None-Match", tags)], b"");
                assert_eq!((response.status, response.text()), (304, ""), "{method} {tags}");
                assert_eq!(response.header("ETag"), Some(tag.as_str()), "{tags}");
                assert_eq!(response.header("Cache-Control"), full.header("Cache-Control"), "{tags}");
                assert_eq!(response.header("Content-Type"), None, "{tags}");
            }
            for tags in ["\"x\"", tag.trim_matches('"'), "", "\"*\""] {
                let response = server.request("GET", target, &[("If-None-Match", tags)], b"");
                assert_eq!((response.status, response.text()), (200, full.text()), "{tags:?}");
            }
        }
        let two_lines = [("If-None-Match", "\"x\""), ("If-None-Match", "*")];
        assert_eq!(server.request("GET", PRODUCTS, &two_lines, b"").status, 304);
        let wrong = server.request("GET", "/api/products?limit=x", &[("If-None-Match", "*")], b"");
        assert_eq!(wrong.status, 422, "a query is judged first");

        let tag_now = || server.get(PRODUCTS).header("ETag").expect("a list has a tag").to_owned();
        let before = tag_now();
        assert_eq!(tag_now(), before, "reading changes nothing");
        create(server, "c");
        let after_creation = tag_now();
        assert_eq!(server.request("DELETE", &format!("{PRODUCTS}/{id}"), &[], b"").status, 204);
        let after_deletion = tag_now();
        let distinct: HashSet<_> = [&before, &after_creation, &after_deletion].into_iter().collect();
        assert_eq!(distinct.len(), 3, "{before} {after_creation} {after_deletion}");
        let stale = server.request("GET", PRODUCTS, &[("If-None-Match", &before)], b"");
        assert_eq!((stale.status, listed(&stale, "name")), (200, vec!["a".to_owned(), "c".to_owned()]));
    });
}

#[test]
fn a_full_store_says_507_and_takes_products_again_when_one_is_deleted() {
    on_each_kind_of_server(&[("MAX_PRODUCTS", "2")], |server| {
        let first = create(server, "a");
        create(server, "b");
        let full = server.post(PRODUCTS, r#"{"name":"c","description":"","price":1}"#);
        assert_eq!((full.status, full.header("Content-Type")), (507, Some("application/problem+json")));
        assert_eq!(full.json()["title"], "Insufficient Storage");
        assert_eq!(full.header("Location"), None);
        let invalid = server.post(PRODUCTS, "{}");
        assert_eq!(invalid.status, 422, "a body that makes no product is wrong, full or not");
        assert_eq!(listed(&server.get(PRODUCTS), "name"), ["a", "b"]);
        assert_eq!(server.request("DELETE", &format!("{PRODUCTS}/{first}"), &[], b"").status, 204);
        create(server, "c");
        assert_eq!(listed(&server.get(PRODUCTS), "name"), ["b", "c"]);
    });
}

#[test]
fn a_creation_that_is_repeated_with_its_key_is_answered_again_and_not_done_again() {
    on_each_kind_of_server(&[], |server| {
        let product = |name: &str| format!(r#"{{"name":"{name}","description":"","price":1}}"#);
        let create = |key: &str, name: &str| {
            server.request("POST", PRODUCTS, &[("Idempotency-Key", key)], product(name).as_bytes())
        };
        let first = create("7b1c", "a");
        for _ in 0..3 {
            let again = create("7b1c", "a");
            assert_eq!((again.status, again.text()), (201, first.text()));
            assert_eq!(again.header("Location"), first.header("Location"));
        }
        let other = create("7b1c", "b");
        assert_eq!((other.status, other.header("Content-Type")), (422, Some("application/problem+json")));
        assert_eq!(other.json()["detail"], "The Idempotency-Key was used for another product.");
        assert_eq!(create("7b1d", "a").status, 201, "another key, another product");
        assert_eq!(server.post(PRODUCTS, &product("a")).status, 201, "no key, another product");
        assert_eq!(listed(&server.get(PRODUCTS), "name"), ["a", "a", "a"]);
    });
}

#[test]
fn a_product_is_deleted_once() {
    on_each_kind_of_server(&[], |server| {
        let path = format!("{PRODUCTS}/{}", create(server, "a"));
        let statuses: Vec<u16> = thread::scope(|scope| {
            let deleters: Vec<_> =
                (0..8).map(|_| scope.spawn(|| server.request("DELETE", &path, &[], b"").status)).collect();
            deleters.into_iter().map(|deleter| deleter.join().expect("an answer")).collect()
        });
        assert_eq!(statuses.iter().filter(|&&status| status == 204).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|&&status| status == 404).count(), 7, "{statuses:?}");
        assert_eq!(server.get(&path).status, 404);
    });
}
