//! What `tollgate config` prints: one line a setting, its value, and where that stands. No password is printed.

use std::borrow::Cow;

use super::parse::{Endpoint, endpoint};
use super::redaction::redacted;
use super::settings::Fallback;
use super::sources::{Raw, RawConfig, Source};

/// The settings as three aligned columns with at least two spaces between them.
pub(super) fn report(raw: &RawConfig) -> String {
    let endpoint = endpoint(raw).ok();
    let rows: Vec<[Cow<'_, str>; 3]> =
        raw.iter().map(|raw| [raw.setting.variable.into(), value(raw), source(raw, endpoint)]).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let (variable_width, value_width) = (width(0), width(1));
    let line = |[variable, value, source]: &[Cow<'_, str>; 3]| {
        format!("{variable:variable_width$}  {value:value_width$}  {source}\n")
    };
    rows.iter().map(line).collect::<Vec<_>>().concat()
}

fn value(raw: &Raw) -> Cow<'_, str> {
    if raw.text.is_empty() {
        Cow::Borrowed("(unset)")
    } else if raw.setting.secret {
        Cow::Owned(redacted(&raw.text))
    } else {
        // A list may be spaced in any way, even over several lines.
        let words: Vec<_> = raw.text.split_whitespace().collect();
        Cow::Owned(words.join(" "))
    }
}

fn source(raw: &Raw, endpoint: Option<Endpoint>) -> Cow<'static, str> {
    let unused = match raw.setting.variable {
        "REDIS_URL" => endpoint != Some(Endpoint::Url),
        "REDIS_HOST" | "REDIS_PORT" => endpoint != Some(Endpoint::HostAndPort),
        _ => false,
    };
    match (raw.source, raw.setting.default) {
        (Source::Default, Fallback::Cores | Fallback::Workers) => {
            Cow::Owned(format!("default: {}", raw.setting.default.described()))
        }
        (Source::Default, Fallback::Text(_) | Fallback::Unset) => Cow::Borrowed("default"),
        (given, _) if unused => Cow::Owned(format!("{given}, unused")),
        (given, _) => Cow::Owned(given.to_string()),
    }
}
