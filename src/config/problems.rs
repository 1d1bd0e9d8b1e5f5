//! What is wrong with a configuration, told all at once and so that the reader can mend it without looking elsewhere.
//!
//! A problem never holds a password: what was given is redacted and cut before it gets here.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use super::settings::SETTINGS;
use super::sources::Source;

/// What would have been right, as it follows the word "expected".
pub(super) type Expected = Cow<'static, str>;

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A value that does not say what its setting needs.
    Value {
        /// The setting.
        variable: &'static str,
        /// Where the value stands.
        source: Source,
        /// The value, quoted and redacted.
        got: String,
        /// What would be right.
        expected: Cow<'static, str>,
    },
    /// Two settings that name a Redis, given in the same place.
    TwoRedises {
        /// The other setting beside `REDIS_URL`.
        variable: &'static str,
        /// Where both stand.
        source: Source,
    },
    /// A port of Redis with no host it could belong to.
    PortWithoutHost {
        /// Where the port stands.
        source: Source,
    },
    /// A variable whose bytes are not UTF-8.
    NotUtf8 {
        /// The setting.
        variable: &'static str,
    },
    /// A line of `.env` that is no assignment.
    DotEnvLine {
        /// The line, counted from 1.
        line: usize,
    },
    /// A `.env` that is there but can't be read.
    DotEnvUnreadable {
        /// The system's words for it.
        reason: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { variable, source, got, expected } => {
                write!(f, "{}: got {got}, expected {expected}", Named(variable, *source))
            }
            Self::TwoRedises { variable, source } => write!(
                f,
                "{}: given beside REDIS_URL, expected only one of them in the same place",
                Named(variable, *source)
            ),
            Self::PortWithoutHost { source } => write!(
                f,
                "{}: given without REDIS_HOST, expected REDIS_HOST too, or the port within REDIS_URL",
                Named("REDIS_PORT", *source)
            ),
            Self::NotUtf8 { variable } => {
                write!(f, "{}: got bytes that are not UTF-8, expected text", Named(variable, Source::Environment))
            }
            Self::DotEnvLine { line } => write!(
                f,
                ".env line {line}: got no assignment, expected NAME=value, a comment or nothing \
                 (quotes closed; a value with spaces, # or $ in single quotes)"
            ),
            Self::DotEnvUnreadable { reason } => {
                write!(f, ".env: {reason}, expected a readable file or none")
            }
        }
    }
}

/// A setting and where its value stands, a flag by its own name.
struct Named<'a>(&'a str, Source);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(variable, source) = self;
        let setting = SETTINGS.iter().find(|setting| setting.variable == *variable);
        match (source, setting) {
            (Source::Flag, Some(setting)) => write!(f, "{variable} (flag --{})", setting.flag()),
            (source, _) => write!(f, "{variable} ({source})"),
        }
    }
}

/// All that is wrong with a configuration; never empty. The process ends with exit code 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub(super) Vec<Problem>);

impl Problems {
    /// The problems: first what can't be read at all, then the values that don't fit.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "tollgate: 1 problem in the configuration:")?,
            count => write!(f, "tollgate: {count} problems in the configuration:")?,
        }
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl Error for Problems {}

/// A value as a message shows it: quoted, control characters escaped, at most 80 characters.
pub(super) fn quoted(value: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    let mut shown: String = value.chars().take(SHOWN_CHARS).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_named_with_its_flag_only_if_it_came_from_one() {
        let problem = |source| {
            Problem::Value { variable: "RATE_LIMIT", source, got: quoted("many"), expected: "a number".into() }
                .to_string()
        };
        let rest = r#": got "many", expected a number"#;
        for (source, name) in [
            (Source::Flag, "RATE_LIMIT (flag --rate-limit)"),
            (Source::Environment, "RATE_LIMIT (environment)"),
            (Source::DotEnv { line: 3 }, "RATE_LIMIT (.env line 3)"),
        ] {
            assert_eq!(problem(source), format!("{name}{rest}"));
        }
    }

    #[test]
    fn a_shown_value_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}[2J\n"), r#""a\u{1b}[2J\n""#);
        assert_eq!(quoted(&"x".repeat(80)), format!("\"{}\"", "x".repeat(80)));
        assert_eq!(quoted(&"x".repeat(81)), format!("\"{}…\"", "x".repeat(80)));
    }
}
