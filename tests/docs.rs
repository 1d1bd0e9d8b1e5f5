//! The description of the API is the API: held equal to the route table both ways, and to what the server answers.

#![cfg(feature = "docs")]

mod support;

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use support::{Response, Tollgate};
use tollgate::route::{Handler, Method, Route, route};

const DESCRIPTION: &str = include_str!("../src/api/openapi.json");
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

fn description() -> Value {
    serde_json::from_str(DESCRIPTION).expect("the description is JSON")
}

#[track_caller]
fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("not an object: {value}"))
}

/// Every operation: its path, its method as the description spells it, and itself.
fn operations(description: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = object(&description["paths"]).iter();
    paths
        .flat_map(|(path, item)| {
            let operations = object(item).iter().filter(|(name, _)| METHODS.contains(&name.as_str()));
            operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .collect()
}

/// What a reference stands for; anything else stands for itself.
#[track_caller]
fn resolved<'d>(description: &'d Value, value: &'d Value) -> &'d Value {
    let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return value };
    let pointer = reference.strip_prefix('#').expect("references stay within the description");
    description.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

/// The path that the description has for a route; a new route has to be given one here.
fn described_path(route: &Route) -> Option<&'static str> {
    match route {
        Route::Root => Some("/"),
        Route::Console => Some("/console"),
        Route::ConsoleFile(_) => Some("/console/{file}"),
        Route::Docs => Some("/docs"),
        Route::DocsFile(_) => Some("/docs/{file}"),
        Route::OpenApi => Some("/openapi.json"),
        Route::Status => Some("/api/status"),
        Route::Ready => Some("/api/ready"),
        Route::ListProducts | Route::CreateProduct => Some("/api/products"),
        Route::GetProduct(_) | Route::DeleteProduct(_) => Some("/api/products/{id}"),
        Route::ProtectedAction => Some("/api/protected-action"),
        Route::Metrics => Some("/metrics"),
        Route::Options | Route::MethodNotAllowed | Route::MethodUnknown | Route::NotFound => None,
    }
}

#[test]
fn every_route_is_described_and_every_description_is_routed() {
    let description = description();
    let mut described = BTreeSet::new();
    for (path, method, _) in operations(&description) {
        let target = path.replace("{id}", "1").replace("{file}", "x");
        let method = Method::parse(&method.to_uppercase());
        let (handler, route) = route(method, &target);
        match method {
            Method::Options => assert_eq!(route, Route::Options, "{path}"),
            _ => assert_eq!(described_path(&route), Some(path), "{method:?} {path}"),
        }
        described.insert((handler.as_str(), method.as_str()));
    }
    let handlers = Handler::ALL.into_iter().filter(|&handler| handler != Handler::None);
    let routed =
        handlers.flat_map(|handler| handler.methods().iter().map(move |method| (handler.as_str(), method.as_str())));
    assert_eq!(described, routed.collect());
}

#[test]
fn every_path_has_all_methods_of_its_resource() {
    let description = description();
    for (path, item) in object(&description["paths"]) {
        let (handler, _) = route(Method::Options, &path.replace("{id}", "1").replace("{file}", "x"));
        let described: BTreeSet<_> = object(item).keys().map(|name| name.to_uppercase()).collect();
        let routed: BTreeSet<_> = handler.methods().iter().map(|method| method.as_str().to_owned()).collect();
        assert_eq!(described, routed, "{path}");
        let allow = &item["options"]["responses"]["204"]["headers"]["Allow"]["schema"]["const"];
        assert_eq!(allow, handler.allow(), "{path}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_referred_to() {
    fn references<'d>(value: &'d Value, into: &mut BTreeSet<&'d str>) {
        match value {
            Value::Object(members) => {
                into.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, into));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let description = description();
    let mut referred = BTreeSet::new();
    references(&description, &mut referred);
    let kinds = object(&description["components"]).iter();
    let components: BTreeSet<_> = kinds
        .flat_map(|(kind, all)| object(all).keys().map(move |name| format!("#/components/{kind}/{name}")))
        .collect();
    assert_eq!(referred.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), components);
}

#[test]
fn every_operation_has_a_name_of_its_own_words_for_people_and_a_known_tag() {
    let description = description();
    let tags: BTreeSet<_> =
        description["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).map(Value::to_string).collect();
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&description) {
        let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no name"));
        assert!(names.insert(name), "{name} stands twice");
        for words in ["summary", "description"] {
            assert!(operation[words].as_str().is_some_and(|text| !text.is_empty()), "{name} has no {words}");
        }
        let of_operation: Vec<_> = operation["tags"].as_array().unwrap().iter().map(Value::to_string).collect();
        assert!(
            of_operation.iter().all(|tag| tags.contains(tag)) && of_operation.len() == 1,
            "{name}: {of_operation:?}"
        );
    }
}

#[test]
fn every_answer_names_its_fields_and_shows_an_example_that_fits_its_status() {
    let description = description();
    for (path, method, operation) in operations(&description) {
        for (status, answer) in object(&operation["responses"]) {
            let answer = resolved(&description, answer);
            let place = format!("{method} {path} {status}");
            for field in ["X-Request-Id", "X-Content-Type-Options"] {
                assert!(answer["headers"].get(field).is_some(), "{place} lacks {field}");
            }
            for (media_type, content) in answer.get("content").map(object).into_iter().flatten() {
                let examples = object(&content["examples"]);
                assert!(!examples.is_empty() && method != "head", "{place}");
                let is_problem = media_type == "application/problem+json";
                // Readiness says no in its own words.
                let is_failure = status.as_str() >= "400" && (path, status.as_str()) != ("/api/ready", "503");
                assert_eq!(is_problem, is_failure, "{place} is {media_type}");
                for example in examples.values().filter(|_| is_problem) {
                    assert_eq!(example["value"]["status"].to_string(), *status, "{place}");
                }
            }
        }
    }
}

#[test]
fn the_examples_of_bodies_are_answered_as_described() {
    let description = description();
    let server = Tollgate::start(&[]);
    let mut sent = 0;
    for (path, method, operation) in operations(&description) {
        let Some(body) = operation.get("requestBody") else { continue };
        let wanted = object(&operation["responses"])
            .keys()
            .find(|status| status.starts_with('2'))
            .expect("there is a good answer");
        for example in object(&body["content"]["application/json"]["examples"]).values() {
            assert_eq!(method, "post");
            let answer = server.post(path, &example["value"].to_string());
            assert_eq!(answer.status.to_string(), *wanted, "{path} {example}");
            sent += 1;
        }
    }
    assert!(sent >= 5, "only {sent} examples");
}

#[test]
fn the_description_is_served_as_it_stands_and_not_twice_to_whoever_has_it() {
    let server = Tollgate::start(&[]);
    let plain = server.get("/openapi.json");
    assert_eq!((plain.status, plain.header("Content-Type")), (200, Some("application/json")));
    assert_eq!(plain.text(), DESCRIPTION);
    assert_eq!(plain.json()["info"]["version"], env!("CARGO_PKG_VERSION"));
    let tag = plain.header("ETag").expect("it has a tag");
    let again = server.request("GET", "/openapi.json", &[("If-None-Match", tag)], b"");
    assert_eq!((again.status, again.body.len(), again.header("ETag")), (304, 0, Some(tag)));
    let head = server.request("HEAD", "/openapi.json", &[], b"");
    assert_eq!((head.status, head.header("ETag")), (200, Some(tag)));
}

fn compressed(server: &Tollgate, target: &str) -> Response {
    server.request("GET", target, &[("Accept-Encoding", "gzip, br")], b"")
}

#[test]
fn compressed_and_plain_are_the_same_content_under_different_tags() {
    let server = Tollgate::start(&[]);
    for target in [
        "/openapi.json",
        "/docs",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
        "/docs/docs.js",
        "/docs/docs.css",
    ] {
        let (packed, plain) = (compressed(&server, target), server.get(target));
        assert_eq!((packed.status, packed.header("Content-Encoding")), (200, Some("gzip")), "{target}");
        assert_eq!(plain.header("Content-Encoding"), None, "{target}");
        assert_eq!(unpacked(&packed.body), plain.body, "{target}");
        assert!(packed.body.len() < plain.body.len(), "{target}");
        assert_ne!(packed.header("ETag"), plain.header("ETag"), "{target}");
        for answer in [&packed, &plain] {
            assert_eq!(answer.header("Vary"), Some("Accept-Encoding"), "{target}");
        }
        let others_tag = plain.header("ETag").expect("it has a tag");
        let fields = [("Accept-Encoding", "gzip"), ("If-None-Match", others_tag)];
        assert_eq!(server.request("GET", target, &fields, b"").status, 200, "{target}");
    }
}

fn unpacked(gzip: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(gzip).read_to_end(&mut plain).expect("a gzip member");
    plain
}

#[test]
fn the_page_loads_only_what_is_here_and_that_may_be_kept_for_good() {
    let server = Tollgate::start(&[]);
    let page = server.get("/docs");
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("Cache-Control"), Some("no-cache"));
    let policy = page.header("Content-Security-Policy").expect("the page has a policy");
    for strict in
        ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]
    {
        assert!(policy.split("; ").any(|part| part == strict), "{strict} is not in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let files: Vec<_> = page.text().split(['"']).filter(|part| part.starts_with("/docs/")).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let answer = server.get(file);
        assert_eq!(
            (answer.status, answer.header("Cache-Control")),
            (200, Some("public, max-age=31536000, immutable")),
            "{file}"
        );
        let (path, version) = file.split_once("?v=").expect("files are asked for by version");
        assert_eq!(version.len(), 8, "{file}");
        for other in [path.to_owned(), format!("{path}?v=00000000"), format!("{file}&x")] {
            assert_eq!(server.get(&other).header("Cache-Control"), Some("no-cache"), "{other}");
        }
    }
    for nothing in ["/docs/index.html", "/docs/swagger-ui.js", "/docs/..%2fopenapi.json", "/docs/docs.css/x"] {
        assert_eq!(server.get(nothing).status, 404, "{nothing}");
    }
}

#[test]
fn turned_off_it_is_not_there_at_all() {
    let server = Tollgate::start(&[("DOCS", "off")]);
    for target in ["/docs", "/docs/", "/docs/docs.js", "/openapi.json"] {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = server.request(method, target, &[], b"");
            assert_eq!((answer.status, &answer.json()["detail"]), (404, &"Not Found".into()), "{method} {target}");
        }
    }
    assert!(!server.get("/").text().contains("docs"));
    assert_eq!(server.get("/console").status, 200);
}
