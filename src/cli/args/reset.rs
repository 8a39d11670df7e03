//! `reset`: its flags, and what they mean without looking further.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use super::FileFlags;
use super::help::{self, Page};
use crate::config::{Sources, is_url};

const RESET: Page = Page {
    more: "Use it for a database that millstream refuses to replicate because the replica has another history, or \
           transactions from elsewhere. It removes the local notes about the database, and moves captured commits that \
           were never uploaded aside. The next start uploads the whole database as the next transaction; earlier states \
           stay restorable. No replica is asked, and the database is not changed. Stop what replicates it first.",
    examples: &["millstream reset -dry-run /data/app.db", "millstream reset /data/app.db"],
    variables: help::FILE_VARIABLES,
    codes: &[
        help::DONE,
        help::USAGE,
        ("73", "there is no database, it is being replicated, or the notes cannot be changed"),
        help::CONFIG,
    ],
};

/// Makes a database the newest state of its replicas, whatever they hold
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = RESET.text(), override_usage = "millstream reset [FLAGS] DB")]
pub struct Reset {
    #[command(flatten)]
    file: FileFlags,
    /// Show what would be done, and change nothing
    #[arg(long, help_heading = help::OUTPUT)]
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
