//! The replica that a command looks at: one of the configuration file, or that of a URL.

use std::path::PathBuf;

use anyhow::anyhow;

use super::{Environment, logger, replica_at, variable};
use crate::config::{self, Logging, Replica, Sources};
use crate::run::Failure;
use crate::run::exit::CONFIG;

/// What the operand `DB|URL` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A database of the configuration file.
    Database(PathBuf),
    Url(String),
}

/// Finds the replica and starts logging.
pub fn find<'a>(
    source: &Source,
    sources: impl Fn(&'a dyn Fn(&str) -> Option<String>, PathBuf) -> Sources<'a>,
) -> Result<Replica, Failure> {
    let configuration = |error: anyhow::Error| Failure::new(CONFIG, error);
    match source {
        Source::Url(url) => {
            logger::start(&Logging { level: config::LogLevel::default(), format: config::LogFormat::default() });
            replica_at(url)
        }
        Source::Database(path) => {
            let environment = Environment::of_process()?;
            let path = sources(&variable, environment.cwd.clone()).absolute(path).map_err(configuration)?;
            let loaded = environment.load(sources)?;
            logger::start(&loaded.options.logging);
            loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            let unknown = || anyhow!("{}: no database is configured with the path {}", loaded.origin, path.display());
            let database = loaded.options.find(&path).ok_or_else(unknown).map_err(configuration)?;
            Ok(database.replicas.first.clone())
        }
    }
}
