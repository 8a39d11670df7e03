//! The commands that live as long as an application: `run` and `replicate`, and the flags that they
//! share.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::FileFlags;
use super::help::{self, Page};
use super::look::on_one_line;
use crate::config::{Sources, parse_duration, parse_variable};
use crate::replicate::OnceWork;
use crate::supervise::Signal;

const APPLICATION: &str = "Application";
const DATABASE: &str = "Database";
const ONCE: &str = "Once";

/// What `run` and `replicate` have in common.
#[derive(Debug, Args)]
pub struct LifeFlags {
    #[command(flatten)]
    file: FileFlags,
    /// Hide an environment variable from the application and the migration, for example
    /// AWS_SECRET_ACCESS_KEY; can be repeated
    #[arg(long, value_name = "NAME", value_parser = parse_variable, help_heading = APPLICATION)]
    strip_env: Vec<String>,
    /// Signal that the application gets instead of TERM and INT [default: the signal itself]
    #[arg(long, value_name = "SIGNAL", help_heading = APPLICATION)]
    pub stop_signal: Option<Signal>,
    /// Replace one signal by another, for example 15:3, or HUP:0 to drop it; can be repeated
    #[arg(long = "rewrite", value_name = "FROM:TO", value_parser = rewrite, help_heading = APPLICATION)]
    pub rewrites: Vec<(Signal, Option<Signal>)>,
}

impl LifeFlags {
    fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        Sources { strip_env: self.strip_env.clone(), ..self.file.sources(env, cwd) }
    }
}

const APPLICATIONS_OWN: help::Code =
    ("0 to 255", "the application's own, or 128 + n for signal n; 0: every commit is in the replica");
const UNSYNCED: help::Code = ("74", "the application ended well, but commits on this disk are not in the replica");
const FENCED: help::Code = ("75", "another writer owns the history of the replica");
const NOT_FOUND: help::Code = ("126, 127", "the application cannot be executed, or was not found");

const RUN: Page = Page {
    more: "With a configuration file nothing else is needed. The application is what follows --, or \
           -exec, or `exec` in the file. It is started as it stands, without a shell.",
    examples: &[
        "millstream run",
        "millstream run -config app.yml -- /app/server -port 8080",
        "millstream run -db /data/app.db -replica s3://bucket/app -migrate /app/migrate -- /app/server",
    ],
    variables: help::STORE_VARIABLES,
    codes: &[
        APPLICATIONS_OWN,
        help::USAGE,
        help::UNREACHABLE,
        help::DEFECT,
        help::CANNOT_WRITE,
        UNSYNCED,
        FENCED,
        ("76", "the backup is damaged or incomplete, or there is none and -require-backup is given"),
        help::DENIED,
        help::CONFIG,
        ("any", "that of the migration, if it fails; the application is not started then"),
        NOT_FOUND,
    ],
};

/// Restores missing databases, migrates, and runs an application while it replicates
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = RUN.text(),
    override_usage = "millstream run [FLAGS] [-- CMD…]"
)]
pub struct Run {
    /// Database to run with instead of those of a file; needs -replica
    #[arg(long, value_name = "PATH", requires = "replicas", conflicts_with = "config", help_heading = DATABASE)]
    db: Option<PathBuf>,
    /// URL of its replica, s3://BUCKET/PATH or file:///PATH; can be repeated
    #[arg(long = "replica", value_name = "URL", requires = "db", help_heading = DATABASE)]
    replicas: Vec<String>,
    /// Refuse to start with an empty database when there is no backup
    #[arg(long, help_heading = DATABASE)]
    require_backup: bool,
    /// Command that brings the schema up to date before the application starts
    #[arg(long, value_name = "CMD", help_heading = APPLICATION)]
    migrate: Option<String>,
    /// Stop the migration, and do not start, if it takes longer [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = APPLICATION)]
    pub migrate_timeout: Option<Duration>,
    /// Application as one text, which is split into words as a shell does it
    #[arg(long, value_name = "CMD", conflicts_with = "command", help_heading = APPLICATION)]
    exec: Option<String>,
    /// Time from the first signal to the end, for stopping the application and the last sync
    /// together [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = APPLICATION)]
    pub(super) grace: Option<Duration>,
    #[command(flatten)]
    pub life: LifeFlags,
    /// Application and its arguments
    #[arg(value_name = "CMD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

impl Run {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        Sources {
            database: self.db.clone().map(|db| (db, self.replicas.clone())),
            exec: self.exec.clone(),
            migrate: self.migrate.clone(),
            grace: self.grace,
            require_backup: self.require_backup,
            may_be_off: true,
            ..self.life.sources(env, cwd)
        }
    }
}

const REPLICATE: Page = Page {
    more: "",
    examples: &[
        "millstream replicate",
        "millstream replicate -exec \"/app/server -port 8080\"",
        "millstream replicate /data/app.db s3://bucket/app",
        "millstream replicate -once -config app.yml",
    ],
    variables: help::STORE_VARIABLES,
    codes: &[
        APPLICATIONS_OWN,
        help::USAGE,
        help::UNREACHABLE,
        help::DEFECT,
        help::CANNOT_WRITE,
        ("74", "stopped in good order, but commits on this disk are not in the replica"),
        FENCED,
        help::BACKUP,
        help::DENIED,
        help::CONFIG,
        NOT_FOUND,
    ],
};

/// Replicates databases until it is stopped, or until the application of -exec ends
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = REPLICATE.text(),
    override_usage = "millstream replicate [FLAGS] [DB URL…]"
)]
pub struct Replicate {
    /// Restore each database first if its file does not exist
    #[arg(long, help_heading = DATABASE)]
    restore_if_db_not_exists: bool,
    /// Application to run, split into words as a shell does it; replication ends when it ends
    #[arg(long, value_name = "CMD", help_heading = APPLICATION)]
    pub(super) exec: Option<String>,
    /// Replicate what is there, then exit
    #[arg(long, conflicts_with = "exec", help_heading = ONCE)]
    pub once: bool,
    /// With -once: write a snapshot, however recent the last one is
    #[arg(long, help_heading = ONCE)]
    force_snapshot: bool,
    /// With -once: delete what retention no longer keeps
    #[arg(long, help_heading = ONCE)]
    enforce_retention: bool,
    #[command(flatten)]
    pub life: LifeFlags,
    /// Database to replicate instead of those of a file, and the URLs of its replicas,
    /// s3://BUCKET/PATH or file:///PATH
    #[arg(value_name = "DB URL")]
    operands: Vec<OsString>,
}

impl Replicate {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        let database = match self.operands.as_slice() {
            [db, urls @ ..] if !urls.is_empty() => {
                let urls: Option<Vec<String>> = urls.iter().map(|url| Some(url.to_str()?.to_owned())).collect();
                urls.map(|urls| (PathBuf::from(db), urls))
            }
            _ => None,
        };
        Sources {
            database,
            exec: self.exec.clone(),
            restore_if_db_not_exists: self.restore_if_db_not_exists,
            ..self.life.sources(env, cwd)
        }
    }

    /// What to do beside replicating once; `None` is to replicate until the end.
    pub fn once(&self) -> Option<OnceWork> {
        self.once.then_some(OnceWork { snapshot: self.force_snapshot, retention: self.enforce_retention })
    }

    pub(super) fn check(&self) -> Result<(), String> {
        for (set, flag) in [(self.force_snapshot, "-force-snapshot"), (self.enforce_retention, "-enforce-retention")] {
            if set && !self.once {
                return Err(format!("cannot specify {flag} flag without -once"));
            }
        }
        match self.operands.as_slice() {
            [] => Ok(()),
            _ if self.life.file.config.is_some() => Err("-config cannot be combined with DB and URL".into()),
            [db] => Err(format!("a replica URL is missing: millstream replicate {} URL", db.to_string_lossy())),
            [db, ..] if db.is_empty() => Err("DB is empty".into()),
            [_, urls @ ..] => urls.iter().try_for_each(|url| match url.to_str() {
                Some("") => Err("URL is empty".into()),
                Some(url) => on_one_line(url),
                None => Err("URL is not UTF-8 text".into()),
            }),
        }
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("it must be greater than zero".into()),
        duration => Ok(duration),
    }
}

fn rewrite(text: &str) -> Result<(Signal, Option<Signal>), String> {
    let (from, to) = text.split_once(':').ok_or("write FROM:TO, for example 15:3")?;
    let signal = |text: &str| text.parse::<Signal>().map_err(|unknown| unknown.to_string());
    Ok((signal(from)?, if to == "0" { None } else { Some(signal(to)?) }))
}
