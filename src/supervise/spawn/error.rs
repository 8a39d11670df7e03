//! Why a command was not started.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("command not found: {program}{hint}")]
    NotFound { program: String, hint: String },
    #[error("cannot execute {}: {source}{hint}", path.display())]
    NotExecutable { path: PathBuf, hint: &'static str, source: io::Error },
    #[error("cannot start {program}: {verb}: {source}")]
    System { program: String, verb: &'static str, source: io::Error },
    #[error("an environment variable for {program} has a name or value that no environment can hold: {name}")]
    Environment { program: String, name: String },
    #[error("cannot start {program}: the thread that starts processes is gone")]
    Gone { program: String },
}

impl SpawnError {
    /// The exit code by which shells and container runtimes report the same.
    pub fn exit_code(&self) -> u8 {
        match self {
            SpawnError::NotFound { .. } => 127,
            SpawnError::NotExecutable { .. } => 126,
            SpawnError::Environment { .. } => 78,
            SpawnError::System { .. } | SpawnError::Gone { .. } => 70,
        }
    }
}
