//! The whole way from texts to values, without a process.

use super::*;
use std::collections::HashMap;
use std::os::unix::ffi::OsStringExt;

/// What a process finds around it; built up case by case.
#[derive(Default)]
struct Given<'a> {
    args: &'a [&'a str],
    environment: &'a [(&'a str, &'a str)],
    dotenv: &'a str,
}

impl Given<'_> {
    fn resolve(&self) -> Result<Command, Refusal> {
        let environment: HashMap<_, _> = self.environment.iter().copied().collect();
        let args = ["tollgate"].iter().chain(self.args).map(OsString::from);
        let surroundings = Surroundings {
            environment: &|variable| environment.get(variable).map(OsString::from),
            dotenv: Ok(Some(self.dotenv.as_bytes().to_vec())),
            cores: 4,
        };
        resolve(args, &surroundings)
    }

    fn config(&self) -> Config {
        match self.resolve() {
            Ok(Command::Serve(config)) => config,
            other => panic!("{other:?}"),
        }
    }

    fn shown(&self) -> String {
        match self.resolve() {
            Ok(Command::ShowConfig(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    fn problems(&self) -> Vec<String> {
        match self.resolve() {
            Err(Refusal::Settings(problems)) => problems.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }
}

fn with_environment<'a>(environment: &'a [(&'a str, &'a str)]) -> Given<'a> {
    Given { environment, ..Given::default() }
}

#[test]
fn without_any_setting_it_serves_on_loopback_with_the_embedded_limiter() {
    let second = Duration::from_secs(1);
    let number = |n| NonZeroUsize::new(n).expect("not zero");
    let expected = Config {
        listen: Listen::Tcp(([127, 0, 0, 1], 8080).into()),
        workers: number(4),
        batch_max: number(64),
        shutdown_timeout: 10 * second,
        console: true,
        docs: true,
        rate_limit: 5,
        refill_rate: 0.1,
        redis: None,
        on_redis_failure: OnRedisFailure::Local,
        replicas: NonZeroU32::MIN,
        product_store: ProductStoreKind::Memory,
        trusted_proxies: TrustedProxies::default(),
        ipv6_prefix: 64,
        max_buckets: 1_000_000,
        max_products: 100_000,
        max_body_bytes: 1_048_576,
        max_connections: 10_000,
        max_requests_per_connection: 1000,
        header_timeout: 10 * second,
        body_timeout: 30 * second,
        write_timeout: 30 * second,
        idle_timeout: 15 * second,
        access_log: AccessLog::Errors,
        log_format: LogFormat::Text,
        rust_log: "info".to_owned(),
    };
    assert_eq!(Given::default().config(), expected);
}

#[test]
fn there_are_at_least_two_workers_and_at_most_1024_by_default() {
    for (cores, workers) in [(1, 2), (2, 2), (3, 3), (5000, 1024)] {
        let surroundings = Surroundings { environment: &|_| None, dotenv: Ok(None), cores };
        match resolve(["tollgate".into()], &surroundings) {
            Ok(Command::Serve(config)) => assert_eq!(config.workers.get(), workers),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_flag_wins_over_the_environment_over_dotenv_over_the_default() {
    let mut given = Given::default();
    assert_eq!(given.config().rate_limit, 5);
    given.dotenv = "RATE_LIMIT=6\n";
    assert_eq!(given.config().rate_limit, 6);
    given.environment = &[("RATE_LIMIT", "7")];
    assert_eq!(given.config().rate_limit, 7);
    given.args = &["--rate-limit", "8"];
    assert_eq!(given.config().rate_limit, 8);
}

#[test]
fn an_empty_value_counts_as_not_given() {
    let given = Given {
        args: &["--rate-limit", "", "--workers="],
        environment: &[("RATE_LIMIT", "  "), ("REDIS_URL", "")],
        dotenv: "RATE_LIMIT=6\nWORKERS=\n",
    };
    let config = given.config();
    assert_eq!((config.rate_limit, config.workers.get()), (6, 4));
    assert_eq!(config.redis, None);
}

#[test]
fn of_two_lines_in_dotenv_the_last_one_counts_and_others_variables_are_ignored() {
    let given = Given { dotenv: "RATE_LIMIT=6\nSOMEONE_ELSES=x\nRATE_LIMIT=7\n", ..Given::default() };
    assert_eq!(given.config().rate_limit, 7);
}

#[test]
fn every_setting_refuses_nonsense_naming_itself_its_source_and_what_it_got() {
    for setting in SETTINGS {
        let variable = setting.variable;
        let flag = setting.flag();
        let dotenv = format!("REDIS_HOST=redis\n{variable}='!! no'\n");
        let dotenv = if variable == "REDIS_URL" { "REDIS_URL='!! no'\n" } else { &dotenv };
        let line = dotenv.lines().count();
        let in_dotenv = Given { dotenv, ..Given::default() };
        let as_flag = Given {
            args: &[&format!("--{flag}"), "!! no"],
            dotenv: if variable == "REDIS_PORT" { "REDIS_HOST=redis" } else { "" },
            ..Given::default()
        };
        let cases = [
            (in_dotenv.problems(), format!("{variable} (.env line {line}): got \"!! no\", expected ")),
            (as_flag.problems(), format!("{variable} (flag --{flag}): got \"!! no\", expected ")),
        ];
        for (problems, start) in cases {
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with(&start), "{problems:?}");
        }
    }
}

#[test]
fn every_range_holds_at_its_ends_and_not_beyond_and_is_told() {
    for setting in SETTINGS {
        let Some(Range { least, most, unit }) = setting.range else {
            continue;
        };
        let redis = ("REDIS_HOST", "redis");
        for inside in [least, most] {
            with_environment(&[redis, (setting.variable, &inside.to_string())]).config();
        }
        let below = least.checked_sub(1).map_or("-1".to_owned(), |n| n.to_string());
        for outside in [&below, &(most + 1).to_string(), "99999999999999999999", "1.5", "+1", "0x1"] {
            let problems = with_environment(&[redis, (setting.variable, outside)]).problems();
            let expected = format!(
                "{} (environment): got {outside:?}, expected a whole number from {least} to {most} ({unit})",
                setting.variable
            );
            assert_eq!(problems, [expected]);
        }
    }
}

#[test]
fn the_refill_rate_is_above_zero_and_at_most_a_million() {
    for (text, rate) in [("0.1", 0.1), ("1e6", 1e6), (".5", 0.5), ("1e-9", 1e-9)] {
        let config = with_environment(&[("REFILL_RATE", text)]).config();
        assert!((config.refill_rate - rate).abs() < f64::EPSILON * rate, "{text}");
    }
    for text in ["0", "-1", "-0.0", "1000000.1", "NaN", "inf", "1e999", "1e-999", "0,1", "1/10"] {
        let problems = with_environment(&[("REFILL_RATE", text)]).problems();
        let expected = format!(
            "REFILL_RATE (environment): got {text:?}, expected a number above 0 and at most 1000000 (tokens per second)"
        );
        assert_eq!(problems, [expected]);
    }
}

#[test]
fn words_are_told_apart_in_any_case_and_are_those_of_the_help() {
    fn holds<T: Word + PartialEq + std::fmt::Debug>(variable: &str, of: impl Fn(Config) -> T) {
        let setting = SETTINGS.iter().find(|setting| setting.variable == variable);
        let words: Vec<_> = T::CHOICES.iter().map(|(word, _)| *word).collect();
        assert_eq!(setting.map(|setting| setting.value), Some(&*words.join("|")));
        for (word, value) in T::CHOICES {
            for text in [(*word).to_owned(), word.to_uppercase()] {
                assert_eq!(of(with_environment(&[(variable, &text)]).config()), *value);
            }
        }
    }
    holds("ON_REDIS_FAILURE", |config| config.on_redis_failure);
    holds("ACCESS_LOG", |config| config.access_log);
    holds("LOG_FORMAT", |config| config.log_format);
}

#[test]
fn log_levels_are_levels_alone_or_by_module() {
    for text in ["debug", "OFF", "warn,tollgate=debug", "info, tollgate::server= trace", "info/slow"] {
        assert_eq!(with_environment(&[("RUST_LOG", text)]).config().rust_log, text);
    }
    for text in ["inof", "tollgate", "tollgate=loud", "=info", "info,,warn", "info/a/b", "a=b=info", "tollgate =info"] {
        assert_eq!(with_environment(&[("RUST_LOG", text)]).problems().len(), 1, "{text}");
    }
}

#[test]
fn problems_of_all_sources_are_told_at_once() {
    let given = Given {
        args: &["--listen", "8080"],
        environment: &[("WORKERS", "none"), ("REDIS_POOL_SIZE", "0"), ("IPV6_PREFIX", "129")],
        dotenv: "LOG_FORMAT=xml\nthis is no assignment\nREPLICAS=0\nRATE_LIMIT=3\n",
    };
    let problems = given.problems();
    let names: Vec<_> = problems.iter().map(|problem| problem.split(':').next()).collect();
    let expected = [
        ".env line 2",
        "LISTEN (flag --listen)",
        "WORKERS (environment)",
        "REDIS_POOL_SIZE (environment)",
        "REPLICAS (.env line 3)",
        "IPV6_PREFIX (environment)",
        "LOG_FORMAT (.env line 1)",
    ];
    assert_eq!(names, expected.map(Some));
}

#[test]
fn a_bad_number_of_workers_is_one_problem_although_the_pool_follows_it() {
    let problems = with_environment(&[("WORKERS", "many"), ("REDIS_HOST", "redis")]).problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn bytes_that_are_not_utf8_and_an_unreadable_dotenv_are_problems() {
    let surroundings = Surroundings {
        environment: &|variable| (variable == "RUST_LOG").then(|| OsString::from_vec(vec![0xff])),
        dotenv: Err("permission denied".to_owned()),
        cores: 2,
    };
    let Err(Refusal::Settings(problems)) = resolve(["tollgate".into()], &surroundings) else {
        panic!("it was accepted");
    };
    let expected = "tollgate: 2 problems in the configuration:\
        \n  .env: permission denied, expected a readable file or none\
        \n  RUST_LOG (environment): got bytes that are not UTF-8, expected text";
    assert_eq!(problems.to_string(), expected);
}

#[test]
fn redis_is_configured_by_its_url_or_by_host_and_port() {
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("REDIS_URL", "redis://:pw@host/1")], "redis://:pw@host/1"),
        (&[("REDIS_HOST", "redis")], "redis://redis:6379/"),
        (&[("REDIS_HOST", "::1"), ("REDIS_PORT", "7000")], "redis://[::1]:7000/"),
        (&[("REDIS_URL", "redis://a"), ("REDIS_PORT", "tcp://10.0.0.1:6379")], "redis://a"),
    ];
    for (environment, url) in cases {
        let redis = with_environment(environment).config().redis.expect(url);
        assert_eq!(redis.url.expose(), url);
        assert_eq!(redis.pool_size, 4);
        let millis = [redis.connect_timeout, redis.command_timeout, redis.pool_wait].map(|wait| wait.as_millis());
        assert_eq!(millis, [200, 100, 50]);
    }
}

#[test]
fn a_port_that_kubernetes_set_for_a_service_named_redis_is_no_choice_of_ours() {
    let link = ("REDIS_PORT", "tcp://10.0.0.1:6379");
    assert_eq!(with_environment(&[link]).config().redis, None);
    let problems = with_environment(&[link, ("REDIS_HOST", "redis")]).problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("a TCP port"), "{problems:?}");
}

#[test]
fn the_default_port_spelt_out_changes_nothing() {
    let port = ("REDIS_PORT", "6379");
    assert_eq!(with_environment(&[port]).config().redis, None);
    let redis = with_environment(&[port, ("REDIS_URL", "redis://url")]).config().redis;
    assert_eq!(redis.map(|redis| redis.url.to_string()).as_deref(), Some("redis://url"));
}

#[test]
fn of_two_ways_to_name_a_redis_the_stronger_source_wins() {
    let url_of = |given: Given| given.config().redis.map(|redis| redis.url.expose().to_owned());
    let url_over_host = Given {
        environment: &[("REDIS_URL", "redis://url")],
        dotenv: "REDIS_HOST=host\nREDIS_PORT=7000\n",
        ..Given::default()
    };
    assert_eq!(url_of(url_over_host).as_deref(), Some("redis://url"));
    let host_over_url =
        Given { args: &["--redis-host", "host"], environment: &[("REDIS_URL", "redis://url")], ..Given::default() };
    assert_eq!(url_of(host_over_url).as_deref(), Some("redis://host:6379/"));
}

#[test]
fn two_ways_in_one_source_or_a_port_alone_are_problems() {
    let cases: [(&[(&str, &str)], &str); 3] = [
        (
            &[("REDIS_URL", "redis://url"), ("REDIS_HOST", "host")],
            "REDIS_HOST (environment): given beside REDIS_URL, expected only one of them in the same place",
        ),
        (
            &[("REDIS_URL", "redis://url"), ("REDIS_PORT", "1")],
            "REDIS_PORT (environment): given beside REDIS_URL, expected only one of them in the same place",
        ),
        (
            &[("REDIS_PORT", "7000")],
            "REDIS_PORT (environment): given without REDIS_HOST, expected REDIS_HOST too, or the port within REDIS_URL",
        ),
    ];
    for (environment, problem) in cases {
        assert_eq!(with_environment(environment).problems(), [problem]);
    }
}

#[test]
fn the_configuration_is_shown_in_aligned_columns_with_its_sources() {
    let given = Given {
        args: &["config", "--listen", "unix:/run/t.sock"],
        environment: &[("REDIS_URL", "redis://me:secret@host/1"), ("REDIS_PORT", "tcp://10.0.0.1:6379")],
        dotenv: "\nTRUSTED_PROXIES=\"10.0.0.0/8,\n  unix\"\nREDIS_HOST=other\n",
    };
    let shown = given.shown();
    let rows: Vec<Vec<&str>> =
        shown.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    assert!(rows.iter().map(|row| row[0]).eq(SETTINGS.iter().map(|setting| setting.variable)));
    let expected = [
        ["LISTEN", "unix:/run/t.sock", "flag"],
        ["WORKERS", "4", "default: cores, at least 2"],
        ["RATE_LIMIT", "5", "default"],
        ["REDIS_URL", "redis://me:***@host/1", "environment"],
        ["REDIS_HOST", "other", ".env line 4, unused"],
        ["REDIS_PORT", "tcp://10.0.0.1:6379", "environment, unused"],
        ["REDIS_POOL_SIZE", "4", "default: WORKERS"],
        ["TRUSTED_PROXIES", "10.0.0.0/8, unix", ".env line 3"],
    ];
    for row in expected {
        assert!(rows.contains(&row.to_vec()), "{row:?} in\n{shown}");
    }
    let last_columns = shown.lines().map(|line| line.rfind("  "));
    assert!(last_columns.clone().eq(last_columns.clone().cycle().skip(1).take(SETTINGS.len())), "{shown}");
}

#[test]
fn unset_settings_are_shown_as_such() {
    let shown = Given { args: &["config"], ..Given::default() }.shown();
    let unset: Vec<_> = shown
        .lines()
        .filter(|line| line.contains("  (unset)  "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(unset, ["REDIS_URL", "REDIS_HOST", "TRUSTED_PROXIES"]);
}

#[test]
fn a_healthcheck_asks_where_the_server_listens_by_flags_before_or_after_the_command() {
    for args in [["healthcheck", "--listen", "[::1]:81"], ["--listen", "[::1]:81", "healthcheck"]] {
        let given = Given { args: &args, ..Given::default() };
        match given.resolve() {
            Ok(Command::Healthcheck(listen)) => assert_eq!(listen.to_string(), "[::1]:81"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn no_password_is_shown_in_a_problem_or_a_debug_print() {
    let urls = ["redis://:secret", "redis://:secret@host/x", "http://u:secret@host", "redis://u:a/secret@host"];
    for url in urls {
        for variable in ["REDIS_URL", "REDIS_HOST"] {
            let problems = with_environment(&[(variable, url)]).problems();
            assert!(!problems.concat().contains("secret"), "{problems:?}");
        }
    }
    let config = with_environment(&[("REDIS_URL", "redis://:secret@host")]).config();
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn a_senseless_command_line_and_a_call_for_help_have_their_exit_codes() {
    let cases: [(&[&str], i32); 7] = [
        (&["--help"], 0),
        (&["--version"], 0),
        (&["config", "--help"], 0),
        (&["--workres", "2"], 2),
        (&["serve-me"], 2),
        (&["--workers"], 2),
        (&["--workers", "2", "--workers", "3"], 2),
    ];
    for (args, code) in cases {
        let given = Given { args, ..Given::default() };
        match given.resolve() {
            Err(Refusal::CommandLine(error)) => assert_eq!(error.exit_code(), code, "{args:?}"),
            other => panic!("{other:?}"),
        }
    }
}
