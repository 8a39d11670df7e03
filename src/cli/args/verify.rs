//! `verify`: its flags, and what they mean without looking further.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::OutputFlags;
use super::help::{self, Page};
use super::life::duration;
use super::look::Look;
use crate::cli::source::Source;

const PROOF: &str = "Proof";

const VERIFY: Page = Page {
    more: "Without -deep the names of all files are checked, and the header and the end of each: this finds gaps, files that \
           are cut short, and files that are not what their names say. With -deep every file is read to its last byte, \
           the newest state is restored to a temporary file, SQLite checks it, and it is compared page for page with the \
           live database if there is one. Without DB or URL every database of the configuration file is verified.",
    examples: &[
        "millstream verify",
        "millstream verify s3://bucket/app",
        "millstream verify -deep /data/app.db",
        "millstream verify -deep -db /data/app.db -json s3://bucket/app",
    ],
    variables: help::STORE_VARIABLES,
    codes: &[
        ("0", "proven"),
        help::USAGE,
        ("69", "the storage cannot be reached, so the answer is not known"),
        ("73", "the database or the directory cannot be used"),
        ("76", "damaged, or no backup"),
        ("77", "the storage denies access, so the answer is not known"),
        help::CONFIG,
        ("128 + n", "stopped by signal n"),
    ],
};

/// Proves that a replica can be restored, or says what is wrong with it
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = VERIFY.text(),
    override_usage = "millstream verify [FLAGS] [DB|URL]"
)]
pub struct Verify {
    /// Read every byte, restore, and compare with the live database
    #[arg(long, conflicts_with = "shallow", help_heading = PROOF)]
    pub deep: bool,
    /// Check names, headers and ends only; this is the default
    #[arg(long, help_heading = PROOF)]
    pub shallow: bool,
    /// Database to compare with the replica of a URL
    #[arg(long, value_name = "PATH", requires = "deep", help_heading = PROOF)]
    pub db: Option<PathBuf>,
    /// Directory of the temporary database of -deep [default: $TMPDIR, or /tmp]
    #[arg(long, value_name = "DIR", requires = "deep", help_heading = PROOF)]
    pub dir: Option<PathBuf>,
    /// How long to wait until the live database's last commit is in the replica [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "deep", help_heading = PROOF)]
    pub wait: Option<Duration>,
    #[command(flatten)]
    pub output: OutputFlags,
    #[command(flatten)]
    pub look: Look,
}

impl Verify {
    /// What to verify; `None` is every database of the configuration.
    pub fn source(&self) -> Option<Source> {
        (!self.look.names_nothing()).then(|| self.look.source())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if !self.look.names_nothing() {
            self.look.check("verify")?;
        }
        match self.source() {
            Some(Source::Url(_)) => Ok(()),
            _ if self.db.is_some() => {
                Err("-db needs a replica URL; the configuration file says where its own databases are".into())
            }
            _ => Ok(()),
        }
    }
}
