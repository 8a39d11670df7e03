//! `health`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::life::duration;
use super::{FileFlags, ONE_DASH};
use crate::config::Sources;

/// Asks the running process whether it is well
///
/// Prints what /readyz of the configured `addr` says, and exits with 0 if that is "ready" and with 1 if not, or if nothing
/// answers: HEALTHCHECK CMD ["millstream", "health"].
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH)]
pub struct Health {
    #[command(flatten)]
    file: FileFlags,
    /// Page to ask instead of /readyz of the configured address, for example http://127.0.0.1:9090/livez
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    pub url: Option<String>,
    /// Time for the answer
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub timeout: Duration,
}

impl Health {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        self.file.sources(env, cwd)
    }
}
