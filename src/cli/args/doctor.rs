//! `doctor`, `explain` and `translate`: their flags.

use std::path::PathBuf;

use clap::Args;

use super::LogFlags;
use super::help::{self, Page};
use super::look::Look;
use crate::cli::source::Source;
use crate::config::Sources;

const DOCTOR: Page = Page {
    more: "Configuration, credentials and clock; each right in the bucket, for real, with small objects beside the replica \
           (about 10 MiB are sent for an upload in parts) that are removed again; the disk and the file system; the \
           application's SQLite, its journal and locking mode, if it runs; open files; the grace time; and the backup. \
           Nothing of yours is changed. The exit code is that of the worst finding.",
    examples: &[
        "millstream doctor",
        "millstream doctor -config litestream.yml /data/app.db",
        "millstream doctor -json s3://bucket/app",
    ],
    variables: help::STORE_VARIABLES,
    codes: &[
        ("0", "all is well, or there are warnings only"),
        help::USAGE,
        help::UNREACHABLE,
        ("73", "a disk or a database cannot be used"),
        ("76", "the backup is damaged, or missing although one is required"),
        help::DENIED,
        ("78", "the configuration, the bucket or this machine's settings are wrong"),
    ],
};

const EXPLAIN: Page = Page {
    more: "What runs and what is restored when, when commits leave, what is kept for how long, which moments can be brought \
           back now, and what a month costs at the rate at which the replica was written. Asks the storage for one listing \
           of each replica; one that could not be looked at is named.",
    examples: &["millstream explain", "millstream explain -json /data/app.db", "millstream explain s3://bucket/app"],
    variables: help::STORE_VARIABLES,
    codes: &[("0", "explained"), help::USAGE, help::CONFIG],
};

/// Tries everything that millstream needs, and says what is wrong and what to do
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = DOCTOR.text(),
    override_usage = "millstream doctor [FLAGS] [DB|URL]"
)]
pub struct Doctor {
    /// Prove the backup as well, as verify -deep does
    #[arg(long)]
    pub deep: bool,
    /// Write the result to stdout as JSON
    #[arg(long, help_heading = help::OUTPUT)]
    pub json: bool,
    #[command(flatten)]
    pub look: Look,
}

/// Says in plain words what the configuration does and costs, and what a crash can lose
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = EXPLAIN.text(),
    override_usage = "millstream explain [FLAGS] [DB|URL]"
)]
pub struct Explain {
    /// Write the result to stdout as JSON
    #[arg(long, help_heading = help::OUTPUT)]
    pub json: bool,
    #[command(flatten)]
    pub look: Look,
}

impl Look {
    /// What is meant; `None`: every database of the configuration.
    pub fn operand(&self) -> Option<Source> {
        (!self.names_nothing()).then(|| self.source())
    }

    /// At most one operand.
    pub(super) fn check_optional(&self, command: &str) -> Result<(), String> {
        if self.names_nothing() { Ok(()) } else { self.check(command) }
    }
}

impl Doctor {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        self.look.sources(env, cwd)
    }
}

const TRANSLATE: Page = Page {
    more: "Prints it, and changes nothing. Keys that have no equal are named at its end, with the reason. What has to be looked at \
           has TODO in its line: the bucket, the databases, the secret of the proxies.",
    examples: &["millstream translate litefs.yml", "millstream translate /etc/litefs.yml > litestream.yml"],
    variables: &[],
    codes: &[("0", "translated"), help::USAGE, ("78", "the file cannot be read, or is not a litefs.yml")],
};

/// Turns LiteFS's litefs.yml into a litestream.yml
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = TRANSLATE.text(), override_usage = "millstream translate FILE")]
pub struct Translate {
    /// The litefs.yml
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub log: LogFlags,
}
