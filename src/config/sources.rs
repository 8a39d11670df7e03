//! The sources of the options: flags, environment, working directory.
//!
//! The environment and the working directory are handed in, so that every rule can be tested.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;

use super::options::LogLevel;
use super::paths::PathContext;

pub(super) const DEFAULT_CONFIG_PATH: &str = "/etc/litestream.yml";

/// All sources of the options.
pub struct Sources<'a> {
    /// `-config`.
    pub config_path: Option<PathBuf>,
    /// Off with `-no-expand-env`.
    pub expand_env: bool,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Relative paths start here.
    pub cwd: PathBuf,
    /// A database's path and its replicas' URLs, instead of a file.
    pub database: Option<(PathBuf, Vec<String>)>,
    pub exec: Option<String>,
    pub migrate: Option<String>,
    pub grace: Option<Duration>,
    pub require_backup: bool,
    /// In addition to the file's.
    pub strip_env: Vec<String>,
    pub restore_if_db_not_exists: bool,
    pub log_level: Option<LogLevel>,
    /// Nothing to replicate is no error: neither a database nor a file was named, and there is no
    /// file at the usual place.
    pub may_be_off: bool,
}

impl<'a> Sources<'a> {
    /// No flags: the environment and the default file only.
    pub fn new(env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        Sources {
            config_path: None,
            expand_env: true,
            env,
            cwd,
            database: None,
            exec: None,
            migrate: None,
            grace: None,
            require_backup: false,
            strip_env: Vec::new(),
            restore_if_db_not_exists: false,
            log_level: None,
            may_be_off: false,
        }
    }

    /// A database from the command line as the databases' paths are written in `Options`, for
    /// `Options::find`.
    pub fn absolute(&self, path: &Path) -> anyhow::Result<PathBuf> {
        self.context().database(path).map_err(|why| anyhow!(why))
    }

    /// Whether there is a file to read: one that was named, or the one at the usual place.
    pub fn has_file(&self) -> bool {
        // If this cannot be checked, reading the file fails with the reason.
        self.named_file().is_some() || Path::new(DEFAULT_CONFIG_PATH).try_exists().unwrap_or(true)
    }

    /// By flag or environment.
    pub(super) fn named_file(&self) -> Option<PathBuf> {
        self.config_path.clone().or_else(|| non_empty(self, "LITESTREAM_CONFIG").map(PathBuf::from))
    }

    pub(super) fn context(&self) -> PathContext<'_> {
        PathContext { cwd: &self.cwd, env: self.env }
    }
}

pub(super) fn non_empty(sources: &Sources<'_>, name: &str) -> Option<String> {
    (sources.env)(name).filter(|value| !value.is_empty())
}
