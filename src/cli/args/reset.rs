//! `reset`: its flags, and what they mean without looking further.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{FileFlags, ONE_DASH};
use crate::config::{Sources, is_url};

/// Makes a database the newest state of its replicas, whatever they hold
///
/// For a database that millstream refuses to replicate because the history in the replica is another one, or has gone on
/// elsewhere. The local notes about it are removed; captured commits that were never uploaded are moved aside. The next start
/// uploads the whole database as the next transaction: the earlier states stay restorable. Nothing is requested from the
/// replica, and the database is not touched. Nothing may be replicating it meanwhile.
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH, override_usage = "millstream reset [FLAGS] DB")]
pub struct Reset {
    #[command(flatten)]
    file: FileFlags,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Path of the database, in the configuration file or not
    #[arg(value_name = "DB")]
    operands: Vec<OsString>,
}

impl Reset {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        self.file.sources(env, cwd)
    }

    pub fn database(&self) -> &Path {
        Path::new(self.operands.first().map(OsString::as_os_str).unwrap_or_default())
    }

    /// Whether a configuration file was named, which then must know the database.
    pub fn names_a_file(&self) -> bool {
        self.file.config.is_some()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self.operands.as_slice() {
            [db] if db.to_str().is_some_and(|db| is_url(db) && !db.starts_with("file:")) => {
                Err("the path of the database is needed, not the URL of its replica".into())
            }
            [db] if !db.is_empty() => Ok(()),
            [] | [_] => Err("a database path is required: millstream reset DB".into()),
            [first, ..] => Err(format!("too many arguments after {:?}", first.to_string_lossy())),
        }
    }
}
