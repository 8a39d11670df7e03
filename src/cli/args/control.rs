//! The commands that ask a running process, through its control socket.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::help::{self, Page};
use super::life::duration;
use super::look::on_one_line;
use super::{FileFlags, LogFlags};
use crate::config::{Socket, Sources, is_url, parse_duration};

/// Which process to ask, how long to wait, and how the answer is written.
#[derive(Debug, Args)]
pub struct Asking {
    /// Control socket of the running process
    #[arg(long, value_name = "PATH", default_value = Socket::PATH, help_heading = help::PROCESS)]
    pub socket: PathBuf,
    /// How long to wait for the answer, in seconds or as a duration [default: 10s for info and
    /// list, 30s for others]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = help::PROCESS)]
    timeout: Option<Duration>,
    /// Write JSON, with exact times
    #[arg(long, help_heading = help::OUTPUT)]
    pub json: bool,
    #[command(flatten)]
    pub log: LogFlags,
}

impl Asking {
    /// The time to wait for `info` and `list`, which change nothing.
    pub fn short(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(10))
    }

    /// The time to wait for all others.
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

const CODES: [help::Code; 5] = [help::DONE, help::REFUSED, help::USAGE, help::NO_PROCESS, help::CONFIG];

/// What follows the flags of a command that asks the running process.
pub(super) const fn asking(more: &'static str, examples: &'static [&'static str]) -> Page {
    Page { more, examples, variables: help::LOG_VARIABLES, codes: &CODES }
}

const INFO: Page = asking("", &["millstream info", "millstream info -socket /run/app.sock -json"]);

/// Shows which process answers on the control socket
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = INFO.text(), override_usage = "millstream info [FLAGS]")]
pub struct Info {
    /// Show times in UTC, also on a terminal
    #[arg(long, help_heading = help::OUTPUT)]
    pub utc: bool,
    #[command(flatten)]
    pub asking: Asking,
}

const LIST: Page = asking("", &["millstream list", "millstream list -json"]);

/// Lists the databases that a running process replicates
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = LIST.text(), override_usage = "millstream list [FLAGS]")]
pub struct List {
    /// Show times in UTC, also on a terminal
    #[arg(long, help_heading = help::OUTPUT)]
    pub utc: bool,
    #[command(flatten)]
    pub asking: Asking,
}

const START: Page = asking("", &["millstream start /data/app.db"]);

/// Resumes the replication of a database that was stopped
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = START.text(), override_usage = "millstream start [FLAGS] DB")]
pub struct Start {
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub operand: Operand,
}

const STOP: Page = asking(
    "The database stays registered. What is committed while it is stopped is replicated after `millstream start`.",
    &["millstream stop /data/app.db"],
);

/// Stops replicating a database, after a last sync
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = STOP.text(), override_usage = "millstream stop [FLAGS] DB")]
pub struct Stop {
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub operand: Operand,
}

const SYNC: Page = asking(
    "With -wait it returns when the replica has everything that was committed before: those commits survive the loss of \
     this machine.",
    &["millstream sync /data/app.db", "millstream sync -wait -timeout 60 /data/app.db"],
);

/// Uploads what is committed now, without waiting for `sync-interval`
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = SYNC.text(), override_usage = "millstream sync [FLAGS] DB")]
pub struct Sync {
    /// Return when the replica has everything
    #[arg(long, help_heading = help::PROCESS)]
    pub wait: bool,
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub operand: Operand,
}

const REGISTER: Page = asking(
    "It gets keys, region, intervals and retention from the top level of the running process's configuration file, and \
     is not restored first. It is forgotten when that process ends, unless `socket.registrations` names a file to keep it in.",
    &["millstream register -replica s3://bucket/tenant-7 /data/tenant-7.db"],
);

/// Replicates one more database
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = REGISTER.text(),
    override_usage = "millstream register [FLAGS] -replica URL DB"
)]
pub struct Register {
    /// URL of the replica, s3://BUCKET/PATH or file:///PATH; required
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true, help_heading = help::PROCESS)]
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

const UNREGISTER: Page = asking(
    "The replica keeps what it has.",
    &["millstream unregister -dry-run /data/tenant-7.db", "millstream unregister /data/tenant-7.db"],
);

/// Stops replicating a database, after a last sync, and forgets it
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = UNREGISTER.text(),
    override_usage = "millstream unregister [FLAGS] DB"
)]
pub struct Unregister {
    /// Show what would be requested, and request nothing
    #[arg(long, help_heading = help::PROCESS)]
    pub dry_run: bool,
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub operand: Operand,
}

const SNAPSHOT: Page = asking("", &["millstream snapshot /data/app.db"]);

/// Makes a snapshot of the replica now, however recent the last one is
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = SNAPSHOT.text(), override_usage = "millstream snapshot [FLAGS] DB")]
pub struct Snapshot {
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub operand: Operand,
}

const CHECKPOINT: Page = asking(
    "What is committed is uploaded first. A read transaction that the application keeps open can prevent it; after -timeout \
     the error says so.",
    &["millstream checkpoint /data/app.db"],
);

/// Brings the WAL into the database file, so that it starts over
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = CHECKPOINT.text(), override_usage = "millstream checkpoint [FLAGS] DB")]
pub struct Checkpoint {
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub operand: Operand,
}

const STATUS: Page = Page {
    more: "It reads what is on this disk, and asks the running process if the file has `addr` or `socket: {enabled: true}`; \
           with `addr` it says what the status page shows. -watch ends with Ctrl-C.",
    examples: &["millstream status", "millstream status -watch", "millstream status -json /data/app.db"],
    variables: help::FILE_VARIABLES,
    codes: &[help::DONE, help::USAGE, help::CONFIG],
};

/// Shows how far the databases of the configuration file are replicated
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = STATUS.text(), override_usage = "millstream status [FLAGS] [DB]")]
pub struct Status {
    #[command(flatten)]
    file: FileFlags,
    /// Write JSON, with exact sizes
    #[arg(long, help_heading = help::OUTPUT)]
    pub json: bool,
    /// Show sizes in bytes
    #[arg(long, help_heading = help::OUTPUT)]
    pub bytes: bool,
    /// Show times in UTC, also on a terminal
    #[arg(long, help_heading = help::OUTPUT)]
    pub utc: bool,
    /// Keep it up to date until Ctrl-C
    #[arg(long, help_heading = help::OUTPUT)]
    pub watch: bool,
    /// How often -watch looks
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = duration,
        default_value = "2s",
        requires = "watch",
        help_heading = help::OUTPUT
    )]
    pub interval: Duration,
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
