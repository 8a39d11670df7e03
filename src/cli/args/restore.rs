//! The command `restore`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::ONE_DASH;
use super::look::Look;
use crate::cli::moment::Moment;
use crate::cli::source::Source;
use crate::config::{LogLevel, Sources};

/// Restores a database from its replica
///
/// DB is a database of the configuration file, URL a replica (s3://BUCKET/PATH or file:///PATH). Without -txid and
/// -timestamp the newest state of any replica of DB is restored, or that of -replica. What Litestream 0.3 or 0.5 wrote is restored, too.
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH, override_usage = "millstream restore [FLAGS] DB|URL")]
pub struct Restore {
    /// File to restore to: a database, FILE.gz, or - for stdout [default: DB itself; required with URL]
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Exit with code 0 if there is no backup
    #[arg(long)]
    pub if_replica_exists: bool,
    /// Exit with code 0 if the file to restore to exists
    #[arg(long)]
    pub if_db_not_exists: bool,
    /// Restore up to this transaction, 16 hex digits
    #[arg(long, value_name = "TXID", value_parser = txid, conflicts_with = "timestamp")]
    pub txid: Option<u64>,
    /// Restore the state of this moment: 2000-01-01T00:00:00Z, "2000-01-01 14:00", "yesterday 14:00", "10m ago"
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub timestamp: Option<Moment>,
    /// Restore the state that this mark names
    #[arg(long, value_name = "NAME", conflicts_with_all = ["txid", "timestamp"])]
    pub mark: Option<String>,
    /// Replace the file to restore to if it exists
    #[arg(long)]
    pub force: bool,
    /// Show what would be restored and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write the result to stdout as JSON
    #[arg(long)]
    pub json: bool,
    /// Files read at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least_one)]
    pub parallelism: usize,
    /// Check of the restored database by SQLite itself
    #[arg(long, value_name = "CHECK", value_enum, default_value_t = IntegrityCheck::None)]
    pub integrity_check: IntegrityCheck,
    /// Log in detail
    #[arg(short, long)]
    pub verbose: bool,
    #[arg(long, value_name = "NAME", hide = true)]
    generation: Option<String>,
    #[arg(long, value_name = "INDEX", hide = true)]
    index: Option<String>,
    #[arg(short, hide = true)]
    follow: bool,
    #[arg(long, value_name = "DURATION", hide = true)]
    follow_interval: Option<String>,
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
        Sources { log_level: self.verbose.then_some(LogLevel::Debug), ..self.look.sources(env, cwd) }
    }

    pub fn source(&self) -> Source {
        self.look.source()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        refuse(&[
            (self.follow, "-f"),
            (self.follow_interval.is_some(), "-follow-interval"),
            (self.generation.is_some(), "-generation"),
            (self.index.is_some(), "-index"),
        ])?;
        self.look.check("restore -o PATH")?;
        if self.json && !self.dry_run && self.output.as_deref().is_some_and(|output| output == Path::new("-")) {
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
