//! The commands that ask a running process, through its control socket.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::look::on_one_line;
use super::{FileFlags, ONE_DASH};
use crate::config::{Socket, Sources, is_url, parse_duration};

/// Whom to ask, how long to wait, and how the answer is written.
#[derive(Debug, Args)]
pub struct Asking {
    /// Control socket of the running process
    #[arg(long, value_name = "PATH", default_value = Socket::PATH)]
    pub socket: PathBuf,
    /// How long to wait for the answer, in seconds or as a duration [default: 10s for info and list, 30s for others]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

impl Asking {
    /// For what only looks.
    pub fn short(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(10))
    }

    pub fn long(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(30))
    }
}

/// The database that is meant.
#[derive(Debug, Args)]
pub struct Operand {
    /// Path of the database
    #[arg(value_name = "DB")]
    operands: Vec<OsString>,
}

impl Operand {
    pub fn database(&self) -> &Path {
        Path::new(self.operands.first().map(OsString::as_os_str).unwrap_or_default())
    }

    pub(super) fn check(&self, command: &str) -> Result<(), String> {
        match self.operands.as_slice() {
            [db] if db.to_str().is_some_and(|db| is_url(db) && !db.starts_with("file:")) => {
                Err("the path of the database is needed, not the URL of its replica".into())
            }
            [db] if db.to_str().is_none() => Err("the path of the database is not UTF-8 text".into()),
            [db] if !db.is_empty() => Ok(()),
            [] | [_] => Err(format!("database path required: millstream {command} DB")),
            [first, ..] => Err(format!("too many arguments after {:?}", first.to_string_lossy())),
        }
    }
}

const INFO_HELP: &str = "Example: millstream info -socket /run/app.sock\n\
    Exit codes: 0, 1 (the process refused), 64 (usage), 69 (no process answers there).\n\
    Flags are written with one dash or two: -json, --json.";
const LIST_HELP: &str = "Example: millstream list -json\n\
    Exit codes: 0, 1 (the process refused), 64 (usage), 69 (no process answers there).\n\
    Flags are written with one dash or two: -json, --json.";
const DB_HELP: &str = "Exit codes: 0, 1 (the process refused or failed, and says why), 64 (usage), 69 (no process answers there).\n\
    Flags are written with one dash or two: -json, --json.";

/// Shows which process runs behind the control socket
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = INFO_HELP)]
pub struct Info {
    #[command(flatten)]
    pub asking: Asking,
}

/// Lists the databases that a running process replicates
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = LIST_HELP)]
pub struct List {
    #[command(flatten)]
    pub asking: Asking,
}

/// Replicates a database again that was stopped
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = DB_HELP, override_usage = "millstream start [FLAGS] DB")]
pub struct Start {
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub operand: Operand,
}

/// Stops replicating a database, after a last sync
///
/// It stays registered, and `start` goes on with it. What is committed meanwhile is not replicated before that.
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = DB_HELP, override_usage = "millstream stop [FLAGS] DB")]
pub struct Stop {
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub operand: Operand,
}

/// Uploads what is committed now, without waiting for the pace of `sync-interval`
///
/// With -wait it returns when the replica has everything that was committed before: then the commits survive the loss of this
/// machine.
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = DB_HELP, override_usage = "millstream sync [FLAGS] DB")]
pub struct Sync {
    /// Return when the replica has it
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub operand: Operand,
}

/// Replicates one more database, with the defaults of the running process's configuration file, until that process ends
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = DB_HELP,
    override_usage = "millstream register [FLAGS] -replica URL DB"
)]
pub struct Register {
    /// Where the database is replicated to: s3://BUCKET/PATH or file:///PATH
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true)]
    pub replica: String,
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub operand: Operand,
}

impl Register {
    pub(super) fn check(&self) -> Result<(), String> {
        self.operand.check("register -replica URL")?;
        if self.replica.is_empty() {
            return Err("-replica is required: millstream register -replica s3://BUCKET/PATH DB".into());
        }
        on_one_line(&self.replica)
    }
}

/// Replicates a database no longer, after a last sync; the running process forgets it
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = DB_HELP, override_usage = "millstream unregister [FLAGS] DB")]
pub struct Unregister {
    /// Say what would be asked for, and ask for nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub operand: Operand,
}

/// Makes a snapshot of what is in the replica now, whenever the last one was made
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = DB_HELP, override_usage = "millstream snapshot [FLAGS] DB")]
pub struct Snapshot {
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub operand: Operand,
}

/// Shows how far the databases of the configuration file are replicated
///
/// From what is on this disk, and from the running process if `socket` is switched on in the file.
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH, override_usage = "millstream status [FLAGS] [DB]")]
pub struct Status {
    #[command(flatten)]
    file: FileFlags,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
    /// One database [default: all of the file]
    #[arg(value_name = "DB")]
    operands: Vec<OsString>,
}

impl Status {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        self.file.sources(env, cwd)
    }

    pub fn database(&self) -> Option<&Path> {
        self.operands.first().map(|db| Path::new(db.as_os_str()))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self.operands.as_slice() {
            [] => Ok(()),
            [db] if !db.is_empty() => Ok(()),
            [_] => Err("DB is empty".into()),
            [first, ..] => Err(format!("too many arguments after {:?}", first.to_string_lossy())),
        }
    }
}

/// Litestream's whole seconds, or a duration.
fn seconds(text: &str) -> Result<Duration, String> {
    let duration = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => parse_duration(text)?,
    };
    match duration.is_zero() {
        true => Err("it must be greater than 0".into()),
        false => Ok(duration),
    }
}
