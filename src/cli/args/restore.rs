//! The command `restore`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::OutputFlags;
use super::help::{self, Page};
use super::life::duration;
use super::look::Look;
use crate::cli::moment::Moment;
use crate::cli::source::Source;
use crate::config::Sources;

const USAGE: &str = "millstream restore [FLAGS] DB|URL\n       millstream restore -dir DIR [FLAGS] [URL]\n       \
                     millstream restore -all [FLAGS]";

const TARGET: &str = "Target";
const POINT: &str = "Point in time";
const HOW: &str = "How";
const FOLLOW: &str = "Follow";

const RESTORE: Page = Page {
    more: "DB is a database of the configuration file, URL a replica: s3://BUCKET/PATH or file:///PATH. The newest state is \
           restored unless -txid, -timestamp or -mark names another one. Of several replicas of DB the one with the newest \
           state is taken, unless -replica names one. Replicas of Litestream 0.3 and 0.5 can be restored too.\n\nWith \
           -dir every database that has a replica below URL, or below the replica of this directory in the configuration \
           file, is restored into DIR, each with its own result. With -all every database of the configuration file is \
           restored, and put in place only when all of them are complete.",
    examples: &[
        "millstream restore /data/app.db",
        "millstream restore -o copy.db s3://bucket/app",
        "millstream restore -timestamp \"yesterday 14:00\" -dry-run -o then.db s3://bucket/app",
        "millstream restore -o - s3://bucket/app | ssh host 'cat > app.db'",
        "millstream restore -f -o read-copy.db s3://bucket/app",
    ],
    variables: help::STORE_VARIABLES,
    codes: &[
        ("0", "restored, or nothing to do (-if-replica-exists, -if-db-not-exists), or -f was stopped"),
        help::USAGE,
        help::UNREACHABLE,
        help::DEFECT,
        ("73", "the target exists, cannot be written, or is in use"),
        help::BACKUP,
        help::DENIED,
        help::CONFIG,
        ("128 + n", "stopped by signal n"),
    ],
};

/// Restores a database from its replica, now or to an earlier point in time
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = RESTORE.text(),
    override_usage = USAGE
)]
pub struct Restore {
    /// File to restore to: a database, FILE.gz, or - for stdout [default: DB itself; required with
    /// URL]
    #[arg(short, long, value_name = "PATH", help_heading = TARGET)]
    pub output: Option<PathBuf>,
    /// Restore a whole directory: the databases below URL, or of this directory in the
    /// configuration file
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "txid", "all"])]
    pub dir: Option<PathBuf>,
    /// Restore every database of the configuration file, all of them or none
    #[arg(long, conflicts_with_all = ["output", "txid"])]
    pub all: bool,
    /// Exit with code 0 if there is no backup
    #[arg(long, help_heading = TARGET)]
    pub if_replica_exists: bool,
    /// Exit with code 0 if the file to restore to exists
    #[arg(long, help_heading = TARGET)]
    pub if_db_not_exists: bool,
    /// Replace the file to restore to if it exists
    #[arg(long, help_heading = TARGET)]
    pub force: bool,
    /// Restore up to this transaction, 16 hex digits
    #[arg(long, value_name = "TXID", value_parser = txid, conflicts_with = "timestamp", help_heading = POINT)]
    pub txid: Option<u64>,
    /// Restore the state of this moment: 2000-01-01T00:00:00Z, "2000-01-01 14:00", "last monday
    /// 9:00", "10m ago", -10m
    #[arg(long, value_name = "TIME", value_parser = Moment::parse, help_heading = POINT)]
    pub timestamp: Option<Moment>,
    /// Restore the state that this mark names
    #[arg(long, value_name = "NAME", conflicts_with_all = ["txid", "timestamp", "all", "dir"], help_heading = POINT)]
    pub mark: Option<String>,
    /// Show what would be restored, and write nothing
    #[arg(long, help_heading = HOW)]
    pub dry_run: bool,
    /// Files to read at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least_one, help_heading = HOW)]
    pub parallelism: usize,
    /// Let SQLite check the restored database
    #[arg(long, value_name = "CHECK", value_enum, default_value_t = IntegrityCheck::None, help_heading = HOW)]
    pub integrity_check: IntegrityCheck,
    #[command(flatten)]
    pub output_flags: OutputFlags,
    #[arg(long, value_name = "NAME", hide = true)]
    generation: Option<String>,
    #[arg(long, value_name = "INDEX", hide = true)]
    index: Option<String>,
    /// Keep the restored database at the newest state until a signal, as `millstream follow` does
    #[arg(short, help_heading = FOLLOW)]
    pub follow: bool,
    /// How often the replica is asked then
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration, help_heading = FOLLOW)]
    pub follow_interval: Duration,
    #[command(flatten)]
    pub look: Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IntegrityCheck {
    None,
    Quick,
    Full,
}

impl Restore {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        self.look.sources(env, cwd)
    }

    pub fn source(&self) -> Source {
        self.look.source()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        refuse(&[(self.generation.is_some(), "-generation"), (self.index.is_some(), "-index")])?;
        if self.follow {
            self.check_follow()?;
        }
        if self.all || self.dir.is_some() {
            return self.check_several();
        }
        self.look.check("restore -o PATH")?;
        if self.output_flags.json
            && !self.dry_run
            && self.output.as_deref().is_some_and(|output| output == Path::new("-"))
        {
            return Err("-json and -o - would both write to stdout".into());
        }
        match self.source() {
            Source::Url(_) if self.output.is_none() => {
                Err("a replica URL does not say where to restore to: add -o PATH".into())
            }
            _ => Ok(()),
        }
    }
}

impl Restore {
    /// A copy that is kept at the newest state has no other one, and one file.
    fn check_follow(&self) -> Result<(), String> {
        let excluded = [
            (self.txid.is_some(), "-txid"),
            (self.timestamp.is_some(), "-timestamp"),
            (self.mark.is_some(), "-mark"),
            (self.dry_run, "-dry-run"),
            (self.all, "-all"),
            (self.dir.is_some(), "-dir"),
        ];
        match excluded.iter().find(|(set, _)| *set) {
            Some((_, flag)) => {
                Err(format!("-f cannot be combined with {flag}: it follows one database, at its newest state"))
            }
            None => Ok(()),
        }
    }

    fn check_several(&self) -> Result<(), String> {
        match self.dir {
            Some(_) => self.look.check_below("restore"),
            None if self.look.names_nothing() => Ok(()),
            None => Err("-all restores every database of the configuration file, and takes no DB or URL".into()),
        }
    }
}

pub(super) fn txid(text: &str) -> Result<u64, String> {
    let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let parsed = if digits { u64::from_str_radix(text, 16).ok() } else { None };
    parsed.filter(|txid| *txid != 0).ok_or_else(|| "a TXID is 16 hex digits, for example 000000000000002a".into())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "it must be a whole number, one or more".into())
}

/// Refuses by name the first flag that is set and not there yet.
fn refuse(flags: &[(bool, &str)]) -> Result<(), String> {
    match flags.iter().find(|(set, _)| *set) {
        Some((_, flag)) => Err(format!("the flag {flag} is not supported yet")),
        None => Ok(()),
    }
}
