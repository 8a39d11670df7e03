//! The command `copy`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::help::{self, Page};
use super::look::on_one_line;
use super::restore::txid;
use super::{FileFlags, OutputFlags};
use crate::cli::moment::Moment;
use crate::cli::source::Source;
use crate::config::Sources;

const POINT: &str = "Point in time";

const COPY: Page = Page {
    more: "FROM and TO are databases of the configuration file or URLs of replicas, on the same kind of store or on different \
           ones. The files that a restore of the newest state needs are copied, unless -txid, -timestamp, -mark or \
           -history says otherwise. Every file is verified while it is read. TO must be empty, or hold a part of the \
           same copy, which is then continued.",
    examples: &[
        "millstream copy s3://bucket/app file:///mnt/usb/app",
        "millstream copy -timestamp \"yesterday 14:00\" /data/app.db s3://other/app",
        "millstream copy -history s3://bucket/app s3://bucket2/app",
    ],
    variables: help::STORE_VARIABLES,
    codes: &[
        help::DONE,
        help::USAGE,
        help::UNREACHABLE,
        help::DEFECT,
        ("73", "TO holds something else"),
        help::BACKUP,
        help::DENIED,
        help::CONFIG,
        ("128 + n", "stopped by signal n"),
    ],
};

/// Copies a replica, or the files that one of its states needs, to another place
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = COPY.text(), override_usage = "millstream copy [FLAGS] FROM TO")]
pub struct Copy {
    /// Copy the state up to this transaction, 16 hex digits
    #[arg(long, value_name = "TXID", value_parser = txid, conflicts_with = "timestamp", help_heading = POINT)]
    pub txid: Option<u64>,
    /// Copy the state of this moment: 2000-01-01T00:00:00Z, "yesterday 14:00", "10m ago"
    #[arg(long, value_name = "TIME", value_parser = Moment::parse, help_heading = POINT)]
    pub timestamp: Option<Moment>,
    /// Copy the state that this mark of FROM names
    #[arg(long, value_name = "NAME", conflicts_with_all = ["txid", "timestamp"], help_heading = POINT)]
    pub mark: Option<String>,
    /// Copy every file and every mark
    #[arg(long, conflicts_with_all = ["txid", "timestamp", "mark"])]
    pub history: bool,
    /// Say what would be copied and copy nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputFlags,
    #[command(flatten)]
    file: FileFlags,
    /// Which replica of a database is meant, by its name in the configuration file
    #[arg(long, value_name = "NAME", help_heading = help::CONFIGURATION)]
    replica: Option<String>,
    /// Where to copy from, and where to
    #[arg(value_name = "FROM TO")]
    operands: Vec<OsString>,
}

impl Copy {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        self.file.sources(env, cwd)
    }

    pub fn replica(&self) -> Option<&str> {
        self.replica.as_deref()
    }

    pub fn from(&self) -> Source {
        self.operand(0)
    }

    pub fn to(&self) -> Source {
        self.operand(1)
    }

    fn operand(&self, at: usize) -> Source {
        Source::of(self.operands.get(at).map(OsString::as_os_str).unwrap_or_default())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self.operands.as_slice() {
            [from, to] if !from.is_empty() && !to.is_empty() => {}
            [_, _, extra, ..] => return Err(format!("too many arguments: {:?}", extra.to_string_lossy())),
            _ => return Err("where from and where to are required: millstream copy FROM TO".into()),
        }
        let ends = [self.from(), self.to()];
        for end in &ends {
            if let Source::Url(url) = end {
                on_one_line(url)?;
            }
        }
        let is_database = |end: &Source| matches!(end, Source::Database(_));
        match ends.iter().any(is_database) {
            false if self.replica.is_some() => Err("-replica names a replica of a database, and both are URLs".into()),
            false if self.file.config.is_some() => Err("-config cannot be combined with two URLs".into()),
            _ => Ok(()),
        }
    }
}
