//! README.md says what is so: its settings are the ones there are, and what it shows of a session is what happens.

mod support;

use std::fs;
use std::path::Path;

use support::{Response, Tollgate};
use tollgate::config::{Fallback, SETTINGS, Setting};

const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The texts between each `start` and the next `end`.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    let parts = text.split(start).skip(1);
    parts.map(|part| part.split_once(end).unwrap_or_else(|| panic!("no {end} after {start}")).0).collect()
}

/// A setting's row: its variable, its default as code if it is a value, and its meaning with its range.
fn row(setting: &Setting) -> String {
    let default = match setting.default {
        Fallback::Text(text) => format!("`{text}`"),
        computed @ (Fallback::Cores | Fallback::Workers | Fallback::Unset) => computed.described().to_owned(),
    };
    let range = setting.range.map(|range| format!(" ({} to {})", range.least, range.most)).unwrap_or_default();
    let meaning = setting.help.replace('|', "\\|");
    format!("| `{}` | {default} | {meaning}{range} |\n", setting.variable)
}

#[test]
fn its_table_lists_exactly_the_settings_with_their_defaults_and_meanings() {
    let readme = readme();
    let [table] = between(&readme, "<!-- settings -->", "<!-- /settings -->")[..] else {
        panic!("one table stands between <!-- settings --> and <!-- /settings -->")
    };
    let rows: String = SETTINGS.iter().map(row).collect();
    let expected = format!("| variable | default | meaning |\n|---|---|---|\n{rows}");
    assert!(table.trim() == expected.trim(), "README.md should have this table:\n{expected}");
}

#[test]
fn what_it_shows_of_the_start_is_what_a_server_says() {
    let server = Tollgate::start(&[]);
    let said = server.stderr().replace(&server.address().to_string(), DEFAULT_ADDRESS);
    assert!(readme().contains(&format!("```text\n{said}```")), "README.md does not show this:\n{said}");
}

#[test]
fn what_it_shows_of_a_session_with_curl_is_what_a_server_answers() {
    let readme = readme();
    let server = Tollgate::start(&[]);
    let sessions = between(&readme, "```console\n$ curl -i ", "```");
    assert!(sessions.len() >= 2, "a grant and a denial are shown");
    for session in sessions {
        let (arguments, shown) = session.split_once('\n').expect("an answer follows the command");
        let (head, body) = shown.split_once("\n\n").expect("a head and a body");
        let (status_line, fields) = head.split_once('\n').expect("a status line");
        let status: u16 = status_line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
        // What is shown may be the answer to a later one of the same requests.
        let mut answers = (0..10).map(|_| ask(&server, arguments));
        let answer = answers.find(|answer| answer.status == status);
        let answer = answer.unwrap_or_else(|| panic!("{status} was never the answer to {arguments}"));
        assert_eq!(body.trim_end(), answer.text(), "{arguments}");
        let fields: Vec<(&str, &str)> = fields.lines().filter_map(|line| line.split_once(": ")).collect();
        let answered: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(fields.iter().map(|field| field.0).collect::<Vec<_>>(), answered, "{arguments}");
        let vary = ["Date", "X-Request-Id", "X-RateLimit-Reset", "RateLimit", "Retry-After"];
        for (name, value) in fields.into_iter().filter(|(name, _)| !vary.contains(name)) {
            assert_eq!(Some(value), answer.header(name), "{name}");
        }
    }
}

/// Sends what curl sends with these arguments: `-d 'BODY'`, `-H 'NAME: VALUE'`, and the URL of a server at the default address.
#[track_caller]
fn ask(server: &Tollgate, arguments: &str) -> Response {
    let quoted = |option: &str| between(arguments, &format!("{option} '"), "'").first().copied();
    let target = arguments.rsplit_once(DEFAULT_ADDRESS).unwrap_or_else(|| panic!("no URL in {arguments}")).1;
    let headers: Vec<(&str, &str)> = quoted("-H").and_then(|header| header.split_once(": ")).into_iter().collect();
    let body = quoted("-d");
    let method = if body.is_some() { "POST" } else { "GET" };
    server.request(method, target.trim(), &headers, body.unwrap_or_default().as_bytes())
}
