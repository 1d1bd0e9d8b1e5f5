//! Where values come from: a flag, else the environment, else `.env`, else the default. Here they are still texts.
//!
//! A value that is empty, or nothing but spaces, counts as not given, and the next source is asked.

use std::ffi::OsString;
use std::fmt;

use clap::ArgMatches;

use super::dotenv::{self, Assignment};
use super::problems::Problem;
use super::settings::{Fallback, SETTINGS, Setting, position};

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// On the command line.
    Flag,
    /// In the environment of the process.
    Environment,
    /// In `.env` in the working directory.
    DotEnv {
        /// The line, counted from 1.
        line: usize,
    },
    /// In the table of settings.
    Default,
}

impl Source {
    /// Which of two sources wins: the greater.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::Flag => 3,
            Self::Environment => 2,
            Self::DotEnv { line: _ } => 1,
            Self::Default => 0,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::DotEnv { line } => write!(f, ".env line {line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What a resolution draws on besides the command line, so that tests need no process of their own.
pub struct Surroundings<'a> {
    /// A variable of the environment.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// The bytes of `.env`, if there is one, or why they can't be read.
    pub dotenv: Result<Option<Vec<u8>>, String>,
    /// The processor cores that this process may use.
    pub cores: usize,
}

/// The text of one setting.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) setting: &'static Setting,
    /// Empty for what nobody set and what has no default.
    pub(super) text: String,
    pub(super) source: Source,
    /// What the default would be, as a text that parses.
    pub(super) default: String,
}

impl Raw {
    /// The text, or the default if the text is out of range.
    fn admitted(&self) -> &str {
        let range = self.setting.range;
        if range.is_none_or(|range| range.admits(&self.text)) { &self.text } else { &self.default }
    }
}

/// The texts of all settings, in the order of the table.
#[derive(Debug)]
pub(super) struct RawConfig(Vec<Raw>);

impl RawConfig {
    /// Picks for each setting the value of the strongest source.
    pub(super) fn gather(flags: &ArgMatches, surroundings: &Surroundings<'_>, problems: &mut Vec<Problem>) -> Self {
        let dotenv = read_dotenv(surroundings, problems);
        let mut raws: Vec<Raw> = Vec::with_capacity(SETTINGS.len());
        for setting in SETTINGS {
            let default = match setting.default {
                Fallback::Text(text) => text.to_owned(),
                Fallback::Cores => surroundings.cores.clamp(2, 1024).to_string(),
                Fallback::Workers => raws[position("WORKERS")].admitted().to_owned(),
                Fallback::Unset => String::new(),
            };
            let given = from_flag(setting, flags)
                .or_else(|| from_environment(setting, surroundings, problems))
                .or_else(|| from_dotenv(setting, &dotenv));
            let (text, source) = given.unwrap_or_else(|| (default.clone(), Source::Default));
            raws.push(Raw { setting, text, source, default });
        }
        Self(raws)
    }

    /// The text of the setting of this name.
    pub(super) fn get(&self, variable: &str) -> &Raw {
        &self.0[position(variable)]
    }

    /// All of them, in the order of the table.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Raw> {
        self.0.iter()
    }
}

fn read_dotenv(surroundings: &Surroundings<'_>, problems: &mut Vec<Problem>) -> Vec<Assignment> {
    match &surroundings.dotenv {
        Ok(None) => Vec::new(),
        Ok(Some(file)) => {
            let (assignments, bad_lines) = dotenv::parse(file);
            problems.extend(bad_lines);
            assignments
        }
        Err(reason) => {
            let reason = reason.clone();
            problems.push(Problem::DotEnvUnreadable { reason });
            Vec::new()
        }
    }
}

fn from_flag(setting: &Setting, flags: &ArgMatches) -> Option<(String, Source)> {
    let text = flags.get_one::<String>(setting.variable)?;
    Some((given(text)?, Source::Flag))
}

fn from_environment(
    setting: &Setting,
    surroundings: &Surroundings<'_>,
    problems: &mut Vec<Problem>,
) -> Option<(String, Source)> {
    let value = (surroundings.environment)(setting.variable)?;
    let Some(text) = value.to_str() else {
        let variable = setting.variable;
        problems.push(Problem::NotUtf8 { variable });
        return None;
    };
    Some((given(text)?, Source::Environment))
}

/// Of several assignments the last one counts, as in a shell.
fn from_dotenv(setting: &Setting, assignments: &[Assignment]) -> Option<(String, Source)> {
    let last = assignments.iter().rev().find(|assignment| assignment.variable == setting.variable)?;
    Some((given(&last.value)?, Source::DotEnv { line: last.line }))
}

fn given(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
