//! The `tollgate` binary: configuration, app, server, exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tollgate::config::{self, Command, Config};
use tollgate::log_writer::LogWriter;
use tollgate::metrics::Metrics;
use tollgate::{healthcheck, logging, server, start};

/// Configuration that cannot be used.
const BAD_CONFIGURATION: u8 = 2;
/// How long the end waits for the log to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match config::from_process() {
        Ok(Command::Serve(config)) => serve(&config),
        Ok(Command::ShowConfig(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Command::Healthcheck(listen)) => healthcheck::run(&listen),
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}

fn serve(config: &Config) -> ExitCode {
    let metrics = Arc::new(Metrics::new(start::POLICY));
    let log_writer = match LogWriter::start(config.log_format, metrics.clone()) {
        Ok(writer) => writer,
        Err(error) => return failed(&format!("cannot start: {error}")),
    };
    logging::start(&config.rust_log, config.log_format, log_writer.clone());
    let bound = match server::bind(&config.listen) {
        Ok(bound) => bound,
        Err(error) => return failed(&format!("cannot listen on {}: {error}", config.listen)),
    };
    let app = match start::app(config, metrics, log_writer.clone()) {
        Ok(app) => Arc::new(app),
        Err(error) => return failed(&format!("cannot start: {error}")),
    };
    start::greet(&bound.listen, config);
    let ended = server::serve(&app, bound, config);
    // Logged, not printed: a stderr that nobody reads must not keep the process from ending.
    match &ended {
        Ok(server::Ended::Drained) => log::info!("all requests in hand are answered; bye"),
        Ok(server::Ended::Forced) => log::error!("ended before all requests in hand were answered"),
        Err(error) => log::error!("cannot go on: {error}"),
    }
    log_writer.flush(LAST_WORDS);
    if matches!(ended, Ok(server::Ended::Drained)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("tollgate: {why}");
    ExitCode::FAILURE
}
