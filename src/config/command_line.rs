//! The command line: one flag for each setting of the table, and two commands beside serving.

use clap::{Arg, ArgMatches, Command};

use super::settings::{SETTINGS, Setting};

const ABOUT: &str = "A small API server whose endpoints are guarded by token buckets.\n\
    \n\
    Without a command it serves. Without a setting it listens on this machine alone and limits in process, \
    without Redis.";

const AFTER_HELP: &str = "A flag wins over the environment, the environment over .env in the working directory, \
    and that over the default. An empty value counts as not given.\n\
    Exit codes: 0 success, 1 failure, 2 a problem in the configuration.";

/// The commands; each takes all the flags.
pub(super) const CONFIG: &str = "config";
/// See [`CONFIG`].
pub(super) const HEALTHCHECK: &str = "healthcheck";

/// The grammar of the command line.
pub(super) fn grammar() -> Command {
    Command::new("tollgate")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER_HELP)
        .next_line_help(true)
        .args(SETTINGS.iter().map(flag))
        .subcommand(
            Command::new(CONFIG).about("Prints each setting, its value (passwords redacted) and where that comes from"),
        )
        .subcommand(
            Command::new(HEALTHCHECK).about("Asks the server at LISTEN whether it is healthy, and exits with 0 or 1"),
        )
}

/// The flags that were given: those after a command have been merged with those before it.
pub(super) fn flags(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| matches)
}

fn flag(setting: &Setting) -> Arg {
    Arg::new(setting.variable)
        .long(setting.flag())
        .value_name(setting.value)
        .help(help(setting))
        .help_heading(setting.group.heading())
        .allow_negative_numbers(true)
        .global(true)
}

fn help(setting: &Setting) -> String {
    let range = match setting.range {
        Some(range) => format!(" [{} to {}]", range.least, range.most),
        None => String::new(),
    };
    let default = match setting.default.described() {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    format!("{}{range} [env: {}]{default}", setting.help, setting.variable)
}
