//! The access log: which answers are logged, and what a line says.
//!
//! What it never says: bodies, queries, header values other than the request id. Control characters are escaped.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::client::ClientId;

/// Paths are cut here, in characters.
const LONGEST_PATH: usize = 256;

/// Which answers are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLogMode {
    /// None.
    Off,
    /// Those of status 400 and above, but for 429: a limit that works is counted, not logged.
    Errors,
    /// All.
    All,
}

impl AccessLogMode {
    /// Whether an answer of this status is logged.
    #[must_use]
    pub fn covers(self, status: u16) -> bool {
        match self {
            Self::Off => false,
            Self::Errors => status >= 400 && status != 429,
            Self::All => true,
        }
    }
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged of an answer.
#[derive(Debug)]
pub struct Record {
    /// When the answer had been written.
    pub at: SystemTime,
    /// The request's id.
    pub request_id: String,
    /// Who asked.
    pub client: ClientId,
    /// The method, as sent.
    pub method: String,
    /// The path, as sent, without the query.
    pub path: String,
    /// The status code.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: usize,
    /// From taking the request to the answer written.
    pub took: Duration,
}

impl Record {
    /// Appends the record's line to `out`.
    pub(crate) fn write_line(&self, format: LogFormat, out: &mut Vec<u8>) {
        let mut line = String::new();
        match format {
            LogFormat::Text => text_line(self, &mut line),
            LogFormat::Json => json_line(self, &mut line),
        }
        out.extend_from_slice(line.as_bytes());
    }
}

fn text_line(record: &Record, out: &mut String) {
    let Record { at, request_id, client, method, path, status, bytes, took } = record;
    let at = rfc3339(*at);
    let took_us = took.as_micros();
    let (method, path) = (escaped(method), escaped(path));
    let _infallible = writeln!(out, "{at} {client} {method} {path} {status} {bytes}B {took_us}us {request_id}");
}

#[derive(Serialize)]
struct JsonLine<'r> {
    time: String,
    log: &'static str,
    request_id: &'r str,
    client: String,
    method: &'r str,
    path: String,
    status: u16,
    bytes: usize,
    took_us: u128,
}

fn json_line(record: &Record, out: &mut String) {
    let line = JsonLine {
        time: rfc3339(record.at),
        log: "access",
        request_id: &record.request_id,
        client: record.client.to_string(),
        method: record.method.get(..LONGEST_PATH).unwrap_or(&record.method),
        path: record.path.chars().take(LONGEST_PATH).collect(),
        status: record.status,
        bytes: record.bytes,
        took_us: record.took.as_micros(),
    };
    if let Ok(json) = serde_json::to_string(&line) {
        out.push_str(&json);
        out.push('\n');
    }
}

/// The moment in UTC, to the millisecond (RFC 3339).
pub(crate) fn rfc3339(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| "-".to_owned(), |at| format!("{at:.3}"))
}

/// The text in one line and one word: white space, control characters and all but ASCII escaped, cut where it gets long.
fn escaped(text: &str) -> String {
    text.chars().take(LONGEST_PATH).fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_ascii_graphic() && c != '\\' {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> Record {
        Record {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_458_922_005),
            request_id: "r1".to_owned(),
            client: ClientId::Local,
            method: "GET".to_owned(),
            path: path.to_owned(),
            status: 404,
            bytes: 7,
            took: Duration::from_micros(42),
        }
    }

    fn written(path: &str, format: LogFormat) -> String {
        let mut out = Vec::new();
        record(path).write_line(format, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_text_line_has_its_fields_in_order() {
        assert_eq!(written("/x", LogFormat::Text), "2026-11-23T18:35:22.005Z local GET /x 404 7B 42us r1\n");
    }

    #[test]
    fn a_record_is_one_line_whatever_the_client_sent() {
        for path in ["/a\r\nb", "/\u{1b}[31m", "/\u{2028}", "/a b", "/\"\\", &"x".repeat(10_000)] {
            for format in [LogFormat::Text, LogFormat::Json] {
                let out = written(path, format);
                assert_eq!(out.lines().count(), 1, "{out:?}");
                assert!(out.len() < 1_000 && !out.trim_end().contains(|c: char| c.is_control()), "{out:?}");
            }
            assert_eq!(written(path, LogFormat::Text).split(' ').count(), 8);
            serde_json::from_str::<serde_json::Value>(&written(path, LogFormat::Json)).unwrap();
        }
    }

    #[test]
    fn errors_are_what_a_client_should_not_have_met() {
        let covered = [200, 304, 400, 404, 429, 500, 503].map(|status| AccessLogMode::Errors.covers(status));
        assert_eq!(covered, [false, false, true, true, false, true, true]);
    }
}
