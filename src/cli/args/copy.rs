//! The command `copy`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::FileFlags;
use super::look::on_one_line;
use super::restore::txid;
use crate::cli::moment::Moment;
use crate::cli::source::Source;
use crate::config::{Sources, is_url};

const HELP: &str = "Examples:\n  \
    millstream copy s3://bucket/app file:///mnt/usb/app\n  \
    millstream copy -timestamp \"yesterday 14:00\" /data/app.db s3://other/app\n  \
    millstream copy -history s3://bucket/app s3://bucket2/app\n\
    Exit codes: 0, 64 (usage), 69 (a storage cannot be reached), 73 (the place holds something else), 76 (the backup is damaged, \
    missing or does not hold the state), 77 (access denied), 78 (configuration), 128 + signal.\n\
    Flags are written with one dash or two: -history, --history.";

/// Copies a replica, or the files that one of its states needs, to another place
///
/// FROM and TO are databases of the configuration file or URLs of replicas, on the same kind of store or on different ones. Every
/// file is verified while it is read. TO must be empty, or hold a part of the same copy, which goes on then.
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = HELP, override_usage = "millstream copy [FLAGS] FROM TO")]
pub struct Copy {
    /// Copy the state up to this transaction, 16 hex digits
    #[arg(long, value_name = "TXID", value_parser = txid, conflicts_with = "timestamp")]
    pub txid: Option<u64>,
    /// Copy the state of this moment: 2000-01-01T00:00:00Z, "yesterday 14:00", "10m ago"
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub timestamp: Option<Moment>,
    /// Copy the state that this mark of FROM names
    #[arg(long, value_name = "NAME", conflicts_with_all = ["txid", "timestamp"])]
    pub mark: Option<String>,
    /// Copy every file and every mark
    #[arg(long, conflicts_with_all = ["txid", "timestamp", "mark"])]
    pub history: bool,
    /// Say what would be copied and copy nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write the result to stdout as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    file: FileFlags,
    /// Which replica of a database is meant, by its name in the configuration file
    #[arg(long, value_name = "NAME")]
    replica: Option<String>,
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
        let operand = self.operands.get(at).map(OsString::as_os_str).unwrap_or_default();
        match operand.to_str().filter(|text| is_url(text)) {
            Some(url) => Source::Url(url.to_owned()),
            None => Source::Database(PathBuf::from(operand)),
        }
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
