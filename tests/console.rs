//! The console as it is served: self-contained, strict about what may run in it, and left out on request.

mod support;

use support::{GENEROUS, Tollgate, eventually};

const HTML: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");

/// The parts between quotation marks that name a file.
fn named_files(text: &str) -> Vec<&str> {
    let quoted = text.split(['"', '\'']);
    quoted.filter(|part| [".js", ".css", ".svg"].iter().any(|extension| part.ends_with(extension))).collect()
}

#[test]
fn the_page_and_all_it_names_are_here_and_it_names_nothing_elsewhere() {
    let server = Tollgate::start(&[]);
    let page = server.get("/console");
    assert_eq!((page.status, page.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
    let mut left: Vec<_> = named_files(page.text()).into_iter().map(str::to_owned).collect();
    let mut seen = Vec::new();
    while let Some(file) = left.pop() {
        let file = file.replace("./", "/console/");
        if seen.contains(&file) {
            continue;
        }
        let answer = server.get(&file);
        assert_eq!(answer.status, 200, "{file}");
        assert_eq!(answer.header("Cache-Control"), Some("no-cache"), "{file}");
        let addresses = answer.text().replace("http://www.w3.org/2000/svg", "");
        assert!(!addresses.contains("://"), "{file} names another host");
        left.extend(named_files(answer.text()).into_iter().filter(|name| name.starts_with("./")).map(str::to_owned));
        seen.push(file);
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
    assert!(!page.text().contains("://"));
    assert_eq!(server.get("/console/index.html").status, 404);
}

#[test]
fn nothing_runs_in_the_page_but_files_of_this_server() {
    let server = Tollgate::start(&[]);
    let page = server.get("/console");
    let policy = page.header("Content-Security-Policy").expect("the page has a policy");
    for strict in
        ["default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'"]
    {
        assert!(policy.split("; ").any(|part| part == strict), "{strict} is not in {policy}");
    }
    for lax in ["unsafe", "data:", "*", "http"] {
        assert!(!policy.contains(lax), "{lax} is in {policy}");
    }
    assert_eq!(page.header("Referrer-Policy"), Some("no-referrer"));
    for inline in ["<style", " style=", " onclick=", " onload=", "javascript:"] {
        assert!(!page.text().contains(inline), "the policy would forbid {inline}");
    }
    assert_eq!(page.text().matches("<script").count(), page.text().matches("<script type=\"module\" src=").count());
}

#[test]
fn the_root_is_the_console_to_browsers_and_a_list_of_addresses_to_others() {
    let server = Tollgate::start(&[]);
    let page = server.request("GET", "/", &[HTML], b"");
    assert_eq!((page.status, &page.body), (200, &server.get("/console").body));
    assert!(page.header("Content-Security-Policy").is_some());
    for fields in [&[][..], &[("Accept", "*/*")], &[("Accept", "text/plain")], &[("Accept", "text/html;q=0")]] {
        let list = server.request("GET", "/", fields, b"");
        assert_eq!((list.status, list.header("Content-Type")), (200, Some("text/plain; charset=utf-8")), "{fields:?}");
        for address in ["/console", "/api/protected-action", "/api/products", "/api/status", "/api/ready", "/metrics"] {
            assert!(list.text().contains(address), "{address} is missing for {fields:?}");
        }
        assert_eq!(list.header("Vary"), page.header("Vary"));
    }
    assert_eq!(page.header("Vary"), Some("Accept, Accept-Encoding"));
    assert_eq!(server.request("POST", "/", &[], b"").status, 405);
}

#[test]
fn every_address_in_the_list_is_answered() {
    let server = Tollgate::start(&[]);
    let list = server.get("/");
    let addresses: Vec<_> =
        list.text().lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    assert!(addresses.len() >= 6, "{addresses:?}");
    assert_eq!(addresses.contains(&"/docs"), cfg!(feature = "docs"));
    for address in addresses {
        let wanted = if address == "/api/protected-action" { 405 } else { 200 };
        assert_eq!(server.get(address).status, wanted, "{address}");
    }
}

#[test]
fn turned_off_it_is_not_there_at_all_and_the_root_lists_what_is() {
    let server = Tollgate::start(&[("CONSOLE", "off")]);
    for target in ["/console", "/console/", "/console/console.js"] {
        for method in ["GET", "POST", "OPTIONS"] {
            assert_eq!(server.request(method, target, &[], b"").status, 404, "{method} {target}");
        }
    }
    let root = server.request("GET", "/", &[HTML], b"");
    assert_eq!((root.status, root.header("Content-Type")), (200, Some("text/plain; charset=utf-8")));
    assert!(!root.text().contains("console"), "{}", root.text());
}

#[test]
fn its_own_pages_are_counted_under_names_of_their_own() {
    let server = Tollgate::start(&[]);
    server.get("/console");
    server.get("/console/console.js");
    let counted = r#"http_requests_total{handler="console",method="GET",status="200"} 2"#;
    // An answer is counted once it has been sent, so perhaps a moment after it is here.
    eventually(GENEROUS, counted, || server.get("/metrics").text().lines().any(|line| line == counted));
}
