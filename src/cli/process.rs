//! What this process was given: environment, working directory, signals.

use std::path::PathBuf;

use crate::config::{Loaded, Options, Sources};
use crate::run::Failure;
use crate::run::exit::{CONFIG, INTERNAL};
use crate::supervise;

/// Environment and working directory, read once and handed to `config/`.
pub struct Environment {
    pub cwd: PathBuf,
}

impl Environment {
    pub fn of_process() -> Result<Environment, Failure> {
        let cwd = std::env::current_dir();
        let cwd = cwd.map_err(|error| Failure::new(CONFIG, anyhow::anyhow!("find the working directory: {error}")))?;
        Ok(Environment { cwd })
    }

    pub fn load<'a>(
        &self,
        sources: impl FnOnce(&'a dyn Fn(&str) -> Option<String>, PathBuf) -> Sources<'a>,
    ) -> Result<Loaded, Failure> {
        Options::load(&sources(&variable, self.cwd.clone())).map_err(|error| Failure::new(CONFIG, error))
    }
}

pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Signals are caught before anything else, so that none is lost between the stages.
pub fn install() -> Result<(supervise::Signals, supervise::Nursery), Failure> {
    supervise::install().map_err(|error| Failure::new(INTERNAL, error))
}
