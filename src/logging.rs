//! The process's own log: `env_logger` through the log writer, as text or as one JSON object a line.

use std::io::Write as _;

use env_logger::{Builder, Target};
use log::Record;
use serde::Serialize;

use crate::access_log::{LogFormat, rfc3339};
use crate::log_writer::LogWriter;

/// Installs the logger; `filter` is in `RUST_LOG`'s language. Only the first call in a process has an effect.
/// A panic is logged like anything else that goes wrong.
pub fn start(filter: &str, format: LogFormat, writer: LogWriter) {
    let mut builder = Builder::new();
    builder.parse_filters(filter).target(Target::Pipe(Box::new(writer)));
    match format {
        LogFormat::Text => builder.format(|out, record| {
            writeln!(out, "{} {:5} {}", rfc3339(std::time::SystemTime::now()), record.level(), one_line(record))
        }),
        LogFormat::Json => builder.format(|out, record| writeln!(out, "{}", json_line(record))),
    };
    // A logger that is installed already goes on; there is nothing better to do.
    let _already_installed = builder.try_init();
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
}

/// The message with control characters escaped: it may quote what Redis or a peer said.
fn one_line(record: &Record<'_>) -> String {
    record.args().to_string().chars().fold(String::new(), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

#[derive(Serialize)]
struct JsonLine<'r> {
    time: String,
    log: &'r str,
    level: &'static str,
    message: String,
}

fn json_line(record: &Record<'_>) -> String {
    let line = JsonLine {
        time: rfc3339(std::time::SystemTime::now()),
        log: record.target(),
        level: record.level().as_str(),
        message: record.args().to_string(),
    };
    serde_json::to_string(&line).unwrap_or_default()
}
