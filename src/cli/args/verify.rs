//! `verify`: its flags, and what they mean without looking further.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::ONE_DASH;
use super::life::duration;
use super::look::Look;
use crate::cli::source::Source;

/// Proves that a replica can be restored, or says what is wrong with it
///
/// Without -deep the names of all files are read, and the header and the end of each: gaps, files that are cut short, and files
/// that are not what their names say. With -deep every file is read to its last byte, the newest state is really restored to
/// a temporary file, SQLite checks it, and it is compared page for page with the live database if that is at hand. Without DB
/// or URL every database of the configuration file is verified.
///
/// Exit codes: 0 proven, 76 damaged or no backup, 69 or 77 it could not be told (the storage is out of reach, or denies access).
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH, override_usage = "millstream verify [FLAGS] [DB|URL]")]
pub struct Verify {
    /// Read every byte, restore, and compare with the live database
    #[arg(long, conflicts_with = "shallow")]
    pub deep: bool,
    /// Names, headers and ends only: the default
    #[arg(long)]
    pub shallow: bool,
    /// Database to compare the replica of a URL with
    #[arg(long, value_name = "PATH", requires = "deep")]
    pub db: Option<PathBuf>,
    /// Directory of the temporary database of -deep [default: $TMPDIR, or /tmp]
    #[arg(long, value_name = "DIR", requires = "deep")]
    pub dir: Option<PathBuf>,
    /// How long the live database's last commit may take to be in the replica [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "deep")]
    pub wait: Option<Duration>,
    /// Write the result to stdout as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub look: Look,
}

impl Verify {
    /// `None`: every database of the configuration.
    pub fn source(&self) -> Option<Source> {
        (!self.look.names_nothing()).then(|| self.look.source())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if !self.look.names_nothing() {
            self.look.check("verify")?;
        }
        match self.source() {
            Some(Source::Url(_)) => Ok(()),
            _ if self.db.is_some() => Err("-db goes with a replica URL: the configuration names the others".into()),
            _ => Ok(()),
        }
    }
}
