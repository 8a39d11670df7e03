//! The command `mark`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::help::{self, Page};
use super::look::on_one_line;
use super::restore::txid;
use super::{FileFlags, OutputFlags, life};
use crate::cli::moment::Moment;
use crate::cli::source::Source;
use crate::config::Sources;
use crate::remote;

const MARK: Page = Page {
    more: "Without -txid and -timestamp the newest state is marked: what is committed now, if a running process replicates the \
           database and has a control socket, else what the replica has. Each replica of the database gets the mark. \
           Without DB and URL it is done for every database of the configuration file.",
    examples: &[
        "millstream mark -keep 30d -note \"import of June\" before-import /data/app.db",
        "millstream restore -mark before-import -o copy.db /data/app.db",
        "millstream mark -list",
        "millstream mark -drop before-import",
    ],
    variables: help::STORE_VARIABLES,
    codes: &[
        help::DONE,
        help::USAGE,
        help::UNREACHABLE,
        ("73", "the name is in use"),
        ("74", "what is committed now could not be uploaded, so nothing is marked"),
        ("76", "there is no such state to mark, or no such mark to drop"),
        help::DENIED,
        help::CONFIG,
        ("128 + n", "stopped by signal n"),
    ],
};

/// Names a state, and keeps it restorable until the mark is dropped or expires
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = MARK.text(),
    override_usage = "millstream mark [FLAGS] NAME [DB|URL]\n       millstream mark -list [FLAGS] [DB|URL]\n       \
                      millstream mark -drop NAME [FLAGS] [DB|URL]"
)]
pub struct Mark {
    /// Mark this transaction, 16 hex digits
    #[arg(long, value_name = "TXID", value_parser = txid, conflicts_with = "timestamp")]
    pub txid: Option<u64>,
    /// Mark the state of this moment: 2000-01-01T00:00:00Z, "yesterday 14:00", "10m ago"
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub timestamp: Option<Moment>,
    /// How long the moment is kept, for example 30d [default: until the mark is dropped]
    #[arg(long, value_name = "DURATION", value_parser = life::duration)]
    pub keep: Option<Duration>,
    /// Text that is shown with the mark
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Show the marks
    #[arg(long, conflicts_with = "drop")]
    pub list: bool,
    /// Drop this mark: retention applies to its moment again
    #[arg(long, value_name = "NAME")]
    pub drop: Option<String>,
    #[command(flatten)]
    pub output: OutputFlags,
    #[command(flatten)]
    file: FileFlags,
    /// Only this replica of the database, by its name in the configuration file
    #[arg(long, value_name = "NAME", help_heading = help::CONFIGURATION)]
    replica: Option<String>,
    /// Name of the mark, and the database of the configuration file or the URL of a replica
    #[arg(value_name = "NAME DB|URL")]
    operands: Vec<OsString>,
}

impl Mark {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        self.file.sources(env, cwd)
    }

    pub fn replica(&self) -> Option<&str> {
        self.replica.as_deref()
    }

    /// The name of a mark that is to be made.
    pub fn name(&self) -> &str {
        self.operands.first().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// `None`: every database of the configuration file.
    pub fn source(&self) -> Option<Source> {
        self.place().map(Source::of)
    }

    fn makes(&self) -> bool {
        !self.list && self.drop.is_none()
    }

    fn place(&self) -> Option<&OsStr> {
        self.operands.get(usize::from(self.makes())).map(OsString::as_os_str)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let says = [self.txid.is_some(), self.timestamp.is_some(), self.keep.is_some(), self.note.is_some()];
        match &self.drop {
            _ if self.makes() => match self.operands.first() {
                None => return Err("a name is required: millstream mark NAME [DB|URL]".into()),
                Some(name) => match name.to_str() {
                    Some(name) => remote::Mark::check_name(name)?,
                    None => return Err("the name of the mark is not UTF-8 text".into()),
                },
            },
            _ if says.contains(&true) => {
                return Err(
                    "-txid, -timestamp, -keep and -note say what a new mark is, and are not for -list or -drop".into(),
                );
            }
            Some(name) => remote::Mark::check_name(name)?,
            None => {}
        }
        if let Some(extra) = self.operands.get(1 + usize::from(self.makes())) {
            return Err(format!("too many arguments: {:?}", extra.to_string_lossy()));
        }
        match self.source() {
            None if self.replica.is_some() => Err("-replica names a replica of one database: add DB".into()),
            None => Ok(()),
            Some(Source::Database(path)) if path.as_os_str().is_empty() => Err("DB is empty".into()),
            Some(Source::Database(_)) => Ok(()),
            Some(Source::Url(_)) if self.file.config.is_some() => {
                Err("-config cannot be combined with a replica URL".into())
            }
            Some(Source::Url(_)) if self.replica.is_some() => {
                Err("-replica names a replica of a database, and cannot be combined with a URL".into())
            }
            Some(Source::Url(url)) => on_one_line(&url),
        }
    }
}
