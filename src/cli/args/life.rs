//! The commands that live as long as an application: `run` and `replicate`, and the flags that they share.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::look::on_one_line;
use super::{FileFlags, ONE_DASH};
use crate::config::{LogLevel, Sources, parse_duration, parse_variable};
use crate::replicate::OnceWork;
use crate::supervise::Signal;

/// What `run` and `replicate` have in common.
#[derive(Debug, Args)]
pub struct LifeFlags {
    #[command(flatten)]
    file: FileFlags,
    /// trace, debug, info, warn or error [default: $LOG_LEVEL, or the file's, or info]
    #[arg(long, value_name = "LEVEL", value_parser = LogLevel::parse)]
    log_level: Option<LogLevel>,
    /// Hide an environment variable from the application and the migration, for example AWS_SECRET_ACCESS_KEY; can be repeated
    #[arg(long, value_name = "NAME", value_parser = parse_variable)]
    strip_env: Vec<String>,
    /// What the application gets instead of TERM and INT [default: the signal itself]
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<Signal>,
    /// What it gets instead of one signal, as FROM:TO, for example 15:3 or HUP:0 to drop it; can be repeated
    #[arg(long = "rewrite", value_name = "FROM:TO", value_parser = rewrite)]
    pub rewrites: Vec<(Signal, Option<Signal>)>,
}

impl LifeFlags {
    fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        Sources { log_level: self.log_level, strip_env: self.strip_env.clone(), ..self.file.sources(env, cwd) }
    }
}

/// Restores the databases if they are missing, migrates, runs an application, and replicates while it runs
///
/// With a configuration file nothing else is needed: `millstream run`. The application is the rest of the command line,
/// `-exec`, or `exec` in the file; its exit code becomes ours.
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH)]
pub struct Run {
    /// Database to run with instead of those of a file; needs -replica
    #[arg(long, value_name = "PATH", requires = "replicas", conflicts_with = "config")]
    db: Option<PathBuf>,
    /// Where the database is replicated to: s3://BUCKET/PATH or file:///PATH; can be repeated
    #[arg(long = "replica", value_name = "URL", requires = "db")]
    replicas: Vec<String>,
    /// Command that brings the schema up to date before the application starts
    #[arg(long, value_name = "CMD")]
    migrate: Option<String>,
    /// Stop the migration, and do not start, if it takes longer than this [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub migrate_timeout: Option<Duration>,
    /// Application, as one text that is split like a shell splits words
    #[arg(long, value_name = "CMD", conflicts_with = "command")]
    exec: Option<String>,
    /// Time from the first signal to our end, for the application's stop and the last sync together [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) grace: Option<Duration>,
    /// Refuse to start with an empty database when there is no backup
    #[arg(long)]
    require_backup: bool,
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

/// Replicates databases until it is stopped, or until the application given by -exec ends
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH, override_usage = "millstream replicate [FLAGS] [DB URL…]")]
pub struct Replicate {
    /// Application to run, split like a shell splits words; we end when it ends
    #[arg(long, value_name = "CMD")]
    pub(super) exec: Option<String>,
    /// Restore each database first if its file does not exist
    #[arg(long)]
    restore_if_db_not_exists: bool,
    /// Replicate what is there and exit
    #[arg(long, conflicts_with = "exec")]
    pub once: bool,
    #[command(flatten)]
    pub life: LifeFlags,
    /// With -once: write a snapshot, whenever the last one was made
    #[arg(long)]
    force_snapshot: bool,
    /// With -once: delete what retention no longer keeps
    #[arg(long)]
    enforce_retention: bool,
    /// Database to replicate instead of those of a file, and where to: s3://BUCKET/PATH or file:///PATH, once or several times
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
