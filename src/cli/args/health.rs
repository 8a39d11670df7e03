//! `health`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::FileFlags;
use super::help::{self, Page};
use super::life::duration;
use crate::config::Sources;

const HEALTH: Page = Page {
    more: "It prints what /readyz of the configured `addr` says. In a Dockerfile: \
           HEALTHCHECK CMD [\"millstream\", \"health\"].",
    examples: &["millstream health", "millstream health -url http://127.0.0.1:9090/livez -timeout 2s"],
    variables: help::FILE_VARIABLES,
    codes: &[("0", "ready"), ("1", "not ready, no answer, or a wrong configuration"), help::USAGE],
};

/// Asks the running process whether it is ready
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = HEALTH.text(), override_usage = "millstream health [FLAGS]")]
pub struct Health {
    #[command(flatten)]
    pub file: FileFlags,
    /// Page to ask instead of /readyz of the configured address, for example
    /// http://127.0.0.1:9090/livez
    #[arg(long, value_name = "URL", conflicts_with = "config", help_heading = help::PROCESS)]
    pub url: Option<String>,
    /// How long to wait for the answer
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = duration,
        default_value = "5s",
        help_heading = help::PROCESS
    )]
    pub timeout: Duration,
}

impl Health {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        self.file.sources(env, cwd)
    }
}
