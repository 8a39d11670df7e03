//! Environment, working directory and signals of this process.

use std::env::VarError;
use std::path::PathBuf;
use std::sync::OnceLock;

use jiff::tz::TimeZone;

use super::secret_file;
use crate::config::{self, Loaded, Options, Replica, Sources};
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
        let loaded = Options::load(&sources(&variable, self.cwd.clone()));
        all_is_text()?;
        loaded.map_err(|error| Failure::new(CONFIG, error))
    }
}

/// The first variable that was asked for and whose value cannot be known: why. It must not count as
/// unset.
static UNKNOWN: OnceLock<String> = OnceLock::new();

/// The value of an environment variable, or what is in the file that NAME_FILE names.
pub fn variable(name: &str) -> Option<String> {
    secret_file::value(name, &of_environment).unwrap_or_else(|why| {
        UNKNOWN.get_or_init(|| why);
        None
    })
}

fn of_environment(name: &str) -> Option<String> {
    match std::env::var(name) {
        Ok(value) => Some(value),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => {
            UNKNOWN.get_or_init(|| format!("the environment variable {name} is not valid UTF-8"));
            None
        }
    }
}

/// Fails if a variable could not be read as text.
pub fn all_is_text() -> Result<(), Failure> {
    UNKNOWN.get().map_or(Ok(()), |why| Err(Failure::told(CONFIG, why)))
}

/// The time zone of TZ, else the system's, else UTC. The error is a sentence.
pub fn local_zone() -> Result<TimeZone, String> {
    match (TimeZone::try_system(), variable("TZ").filter(|zone| !zone.is_empty())) {
        (Ok(zone), _) => Ok(zone),
        (Err(_), Some(zone)) => Err(format!("the time zone {zone:?} of TZ is not known here")),
        (Err(_), None) => Ok(TimeZone::UTC),
    }
}

/// The replica that a URL describes.
pub fn replica_at(url: &str) -> Result<Replica, Failure> {
    let replica = config::replica_from_url(url, &variable);
    all_is_text()?;
    replica.map_err(|error| Failure::new(CONFIG, error))
}

/// Signals are caught before anything else, so that none is lost between the stages.
pub fn install() -> Result<(supervise::Signals, supervise::Reaper), Failure> {
    supervise::install().map_err(|error| Failure::new(INTERNAL, error))
}
