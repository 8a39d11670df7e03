//! The destination and format of log lines.
//!
//! They always go to stderr, because stdout belongs to the application. Of the AWS crates only
//! errors are logged, because their other lines show requests.

use std::path::PathBuf;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{stderr, variable};
use crate::config::{self, LogFormat, LogLevel, Logging, Sources};

/// Starts logging; a second call changes nothing.
pub fn start(logging: &Logging) {
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        // The SDK logs errors that it also returns, with whole answers in them.
        .with_target("aws_", LevelFilter::ERROR)
        .with_target("millstream", level(logging.level));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| stderr::Lines)
        .with_target(false)
        .with_ansi(stderr::has_colours());
    let started = match logging.format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Pretty => registry.with(lines.pretty()).try_init(),
        LogFormat::Text => registry.with(lines).try_init(),
    };
    // Only tests start it twice.
    drop(started);
}

/// Starts logging for a command that reads no configuration file.
pub fn start_without_file(level: Option<LogLevel>) {
    start_as_told(&Sources { log_level: level, ..Sources::new(&variable, PathBuf::new()) });
}

/// Starts logging as flags and environment say.
pub fn start_as_told(sources: &Sources<'_>) {
    let (logging, warning) = config::logging_without_file(sources);
    start(&logging);
    warning.iter().for_each(|warning| tracing::warn!("{warning}"));
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}
