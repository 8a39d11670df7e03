//! Every command and flag: ours, and Litestream's, of which those we do not have are refused by name.
//!
//! The definitions and what can be judged from the words alone. What the words mean together with file and environment is
//! `config/`'s business: each command hands on its part as [`Sources`].

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{LogLevel, Sources, parse_duration};
use crate::supervise::Signal;

use super::argv;
use super::moment::Moment;
use super::source::Source;
use look::{check_source, source};

mod look;
mod verify;

pub use look::{Levels, Ltx, Points};
pub use verify::Verify;

/// Exit code of a command line that cannot be understood.
pub const USAGE: u8 = 64;

/// Commands of Litestream's two generations that are not there yet.
const NOT_YET: [&str; 11] =
    ["generations", "info", "list", "register", "reset", "snapshots", "start", "status", "stop", "sync", "unregister"];

const ONE_DASH: &str = "Flags are written with one dash or two: -config FILE, --config=FILE.";

/// Keeps a SQLite database safe in object storage, and runs the application that uses it.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, after_help = ONE_DASH, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Run),
    Replicate(Replicate),
    Restore(Restore),
    Databases(Databases),
    Ltx(Ltx),
    Points(Points),
    Verify(Verify),
    Version(Version),
}

/// Restores the databases if they are missing, migrates, runs an application, and replicates while it runs
///
/// With a configuration file nothing else is needed: `millstream run`. The application is the rest of the command line,
/// `-exec`, or `exec` in the file; its exit code becomes ours.
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH)]
pub struct Run {
    /// Configuration file [default: $LITESTREAM_CONFIG, or /etc/litestream.yml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Database to run with instead of those of a file; needs -replica
    #[arg(long, value_name = "PATH", requires = "replica", conflicts_with = "config")]
    pub db: Option<PathBuf>,
    /// Where the database is replicated to: s3://BUCKET/PATH or file:///PATH
    #[arg(long, value_name = "URL", requires = "db")]
    pub replica: Option<String>,
    /// Command that brings the schema up to date before the application starts
    #[arg(long, value_name = "CMD")]
    pub migrate: Option<String>,
    /// Application, as one text that is split like a shell splits words
    #[arg(long, value_name = "CMD", conflicts_with = "command")]
    pub exec: Option<String>,
    /// Time from the first signal to our end, for the application's stop and the last sync together [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub grace: Option<Duration>,
    /// Refuse to start with an empty database when there is no backup
    #[arg(long)]
    pub require_backup: bool,
    /// trace, debug, info, warn or error [default: $LOG_LEVEL, or the file's, or info]
    #[arg(long, value_name = "LEVEL", value_parser = LogLevel::parse)]
    pub log_level: Option<LogLevel>,
    /// Leave $NAME and ${NAME} in the configuration file as they are
    #[arg(long)]
    pub no_expand_env: bool,
    /// Stop the migration, and do not start, if it takes longer than this [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub migrate_timeout: Option<Duration>,
    #[command(flatten)]
    pub signals: SignalFlags,
    /// Application and its arguments
    #[arg(value_name = "CMD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// What the application gets instead of the signals that are sent to us.
#[derive(Debug, Args)]
pub struct SignalFlags {
    /// What the application gets instead of TERM and INT [default: the signal itself]
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<Signal>,
    /// What it gets instead of one signal, as FROM:TO, for example 15:3 or HUP:0 to drop it; can be repeated
    #[arg(long = "rewrite", value_name = "FROM:TO", value_parser = rewrite)]
    pub rewrites: Vec<(Signal, Option<Signal>)>,
}

/// Replicates databases until it is stopped, or until the application given by -exec ends
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH, override_usage = "millstream replicate [FLAGS] [DB URL]")]
pub struct Replicate {
    /// Configuration file [default: $LITESTREAM_CONFIG, or /etc/litestream.yml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Application to run, split like a shell splits words; we end when it ends
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
    /// Restore each database first if its file does not exist
    #[arg(long)]
    pub restore_if_db_not_exists: bool,
    /// Replicate what is there and exit
    #[arg(long, conflicts_with = "exec")]
    pub once: bool,
    /// trace, debug, info, warn or error [default: $LOG_LEVEL, or the file's, or info]
    #[arg(long, value_name = "LEVEL", value_parser = LogLevel::parse)]
    pub log_level: Option<LogLevel>,
    /// Leave $NAME and ${NAME} in the configuration file as they are
    #[arg(long)]
    pub no_expand_env: bool,
    #[command(flatten)]
    pub signals: SignalFlags,
    #[arg(long, hide = true)]
    force_snapshot: bool,
    #[arg(long, hide = true)]
    enforce_retention: bool,
    /// Database to replicate instead of those of a file, and where to: s3://BUCKET/PATH or file:///PATH
    #[arg(value_name = "DB URL")]
    operands: Vec<OsString>,
}

/// Restores a database from its replica
///
/// DB is a database of the configuration file, URL a replica (s3://BUCKET/PATH or file:///PATH). Without -txid and
/// -timestamp the newest state is restored. What Litestream 0.3 or 0.5 wrote is restored, too.
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH, override_usage = "millstream restore [FLAGS] DB|URL")]
pub struct Restore {
    /// Configuration file [default: $LITESTREAM_CONFIG, or /etc/litestream.yml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
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
    /// Leave $NAME and ${NAME} in the configuration file as they are
    #[arg(long)]
    pub no_expand_env: bool,
    /// Name of a replica, from Litestream 0.3. Accepted: a database has one replica.
    #[arg(long, value_name = "NAME", hide = true)]
    pub replica: Option<String>,
    #[arg(long, value_name = "NAME", hide = true)]
    generation: Option<String>,
    #[arg(long, value_name = "INDEX", hide = true)]
    index: Option<String>,
    #[arg(short, hide = true)]
    follow: bool,
    #[arg(long, value_name = "DURATION", hide = true)]
    follow_interval: Option<String>,
    /// Database of the configuration file, or URL of a replica
    #[arg(value_name = "DB|URL")]
    operands: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IntegrityCheck {
    None,
    Quick,
    Full,
}

/// Lists the databases of the configuration file
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH)]
pub struct Databases {
    /// Configuration file [default: $LITESTREAM_CONFIG, or /etc/litestream.yml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
    /// Leave $NAME and ${NAME} in the configuration file as they are
    #[arg(long)]
    pub no_expand_env: bool,
}

/// Prints the version
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH)]
pub struct Version {
    /// Print the versions of what is built in, too
    #[arg(long)]
    pub verbose: bool,
}

/// Why no command came out of the command line: a question for help, or a mistake.
#[derive(Debug)]
pub enum Rejected {
    /// Help, version, or a mistake that clap found.
    Clap(clap::Error),
    /// A mistake that we found, and the command whose help to point at.
    Usage { command: Option<&'static str>, problem: String },
}

impl Rejected {
    /// 0 when help or the version was asked for.
    pub fn exit_code(&self) -> u8 {
        match self {
            Rejected::Clap(error) if !error.use_stderr() => 0,
            _ => USAGE,
        }
    }

    /// Answers on stdout, mistakes on stderr. A closed stream is nobody's mistake.
    pub fn print(&self) {
        let _ = match self {
            Rejected::Clap(error) => error.print(),
            Rejected::Usage { .. } => write!(std::io::stderr(), "{self}"),
        };
    }
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rejected::Clap(error) => error.fmt(f),
            Rejected::Usage { command, problem } => {
                let command = command.map_or_else(String::new, |command| format!(" {command}"));
                writeln!(f, "error: {problem}\n\nFor more information, try `millstream{command} -help`.")
            }
        }
    }
}

/// Reads a whole command line, program name included.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Command, Rejected> {
    let argv: Vec<OsString> = argv.into_iter().collect();
    let word = argv.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    if NOT_YET.contains(&word) {
        return Err(usage(None, format!("the command `{word}` is not supported yet")));
    }
    let named = ["run", "replicate", "restore", "databases", "ltx", "points", "verify", "version"];
    let named = named.into_iter().find(|name| *name == word || (*name == "ltx" && word == "wal"));
    let by_old_name = word == "wal";
    let argv = argv::normalize(argv, &definition()).map_err(|problem| usage(named, problem))?;
    let mut command = Cli::try_parse_from(argv).map_err(Rejected::Clap)?.command;
    if let Command::Ltx(ltx) = &mut command {
        ltx.by_old_name = by_old_name;
    }
    let checked = match &command {
        Command::Replicate(replicate) => replicate.check(),
        Command::Restore(restore) => restore.check(),
        Command::Ltx(ltx) => check_source(&ltx.operands, ltx.config.is_some(), "ltx"),
        Command::Points(points) => check_source(&points.operands, points.config.is_some(), "points"),
        Command::Verify(verify) => verify.check(),
        Command::Run(_) | Command::Databases(_) | Command::Version(_) => Ok(()),
    };
    checked.map_err(|problem| usage(named, problem))?;
    Ok(command)
}

/// The definition of every command, for `argv.rs`.
pub fn definition() -> clap::Command {
    Cli::command()
}

fn usage(command: Option<&'static str>, problem: String) -> Rejected {
    Rejected::Usage { command, problem }
}

impl Run {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        Sources {
            config_path: self.config.clone(),
            expand_env: !self.no_expand_env,
            database: self.db.clone().zip(self.replica.clone()),
            exec: self.exec.clone(),
            migrate: self.migrate.clone(),
            grace: self.grace,
            require_backup: self.require_backup,
            log_level: self.log_level,
            ..Sources::new(env, cwd)
        }
    }
}

impl Replicate {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        let database = match self.operands.as_slice() {
            [db, url] => url.to_str().map(|url| (PathBuf::from(db), url.to_owned())),
            _ => None,
        };
        Sources {
            config_path: self.config.clone(),
            expand_env: !self.no_expand_env,
            database,
            exec: self.exec.clone(),
            restore_if_db_not_exists: self.restore_if_db_not_exists,
            log_level: self.log_level,
            ..Sources::new(env, cwd)
        }
    }

    fn check(&self) -> Result<(), String> {
        refuse(&[(self.force_snapshot, "-force-snapshot"), (self.enforce_retention, "-enforce-retention")])?;
        match self.operands.as_slice() {
            [] => Ok(()),
            _ if self.config.is_some() => Err("-config cannot be combined with DB and URL".into()),
            [db] => Err(format!("a replica URL is missing: millstream replicate {} URL", db.to_string_lossy())),
            [db, _] if db.is_empty() => Err("DB is empty".into()),
            [_, url] if url.is_empty() => Err("URL is empty".into()),
            [_, url] if url.to_str().is_none() => Err("URL is not UTF-8 text".into()),
            [_, _] => Ok(()),
            _ => Err("several replicas per database are not supported yet: give one URL".into()),
        }
    }
}

impl Restore {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        Sources {
            config_path: self.config.clone(),
            expand_env: !self.no_expand_env,
            log_level: self.verbose.then_some(LogLevel::Debug),
            ..Sources::new(env, cwd)
        }
    }

    pub fn source(&self) -> Source {
        source(&self.operands)
    }

    fn check(&self) -> Result<(), String> {
        refuse(&[
            (self.follow, "-f"),
            (self.follow_interval.is_some(), "-follow-interval"),
            (self.generation.is_some(), "-generation"),
            (self.index.is_some(), "-index"),
        ])?;
        check_source(&self.operands, self.config.is_some(), "restore -o PATH")?;
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

impl Databases {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        Sources { config_path: self.config.clone(), expand_env: !self.no_expand_env, ..Sources::new(env, cwd) }
    }
}

/// Refuses by name the first flag that is set and not there yet.
fn refuse(flags: &[(bool, &str)]) -> Result<(), String> {
    match flags.iter().find(|(set, _)| *set) {
        Some((_, flag)) => Err(format!("the flag {flag} is not supported yet")),
        None => Ok(()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("it must be greater than zero".into()),
        duration => Ok(duration),
    }
}

fn txid(text: &str) -> Result<u64, String> {
    let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let parsed = if digits { u64::from_str_radix(text, 16).ok() } else { None };
    parsed.filter(|txid| *txid != 0).ok_or_else(|| "a TXID is 16 hex digits, for example 000000000000002a".into())
}

fn rewrite(text: &str) -> Result<(Signal, Option<Signal>), String> {
    let (from, to) = text.split_once(':').ok_or("write FROM:TO, for example 15:3")?;
    let signal = |text: &str| text.parse::<Signal>().map_err(|unknown| unknown.to_string());
    Ok((signal(from)?, if to == "0" { None } else { Some(signal(to)?) }))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "it must be a whole number, one or more".into())
}

#[cfg(test)]
mod tests {
    use crate::config::Options;

    use super::*;

    fn try_parse(words: &[&str]) -> Result<Command, Rejected> {
        parse(std::iter::once("millstream").chain(words.iter().copied()).map(OsString::from))
    }

    fn ok(words: &[&str]) -> Command {
        try_parse(words).unwrap_or_else(|rejected| panic!("{words:?}: {rejected}"))
    }

    /// The complaint about a command line that must be refused with exit code 64.
    fn refused(words: &[&str]) -> String {
        let rejected = try_parse(words).err().unwrap_or_else(|| panic!("{words:?} was accepted"));
        assert_eq!(rejected.exit_code(), 64, "{words:?}");
        rejected.to_string()
    }

    fn no_env(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_definitions_are_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn the_users_script_works_as_it_is() {
        let words =
            ["restore", "-v", "-if-replica-exists", "-o", "/data/d.db", "s3://b.nyc3.digitaloceanspaces.com/app"];
        let Command::Restore(restore) = ok(&words) else { panic!("not restore") };
        assert!(restore.verbose && restore.if_replica_exists && !restore.if_db_not_exists);
        assert_eq!(restore.output.as_deref(), Some(Path::new("/data/d.db")));
        assert_eq!(restore.source(), Source::Url("s3://b.nyc3.digitaloceanspaces.com/app".into()));
        let Command::Replicate(replicate) = ok(&["replicate", "-exec", "/app/bin/server"]) else {
            panic!("not replicate")
        };
        assert_eq!(replicate.exec.as_deref(), Some("/app/bin/server"));
        assert!(replicate.sources(&no_env, "/".into()).database.is_none());
        // REPLICA_URL is not set.
        assert!(refused(&["restore", "-o", "/data/d.db", ""]).contains("a database path or replica URL is required"));
    }

    #[test]
    fn run_takes_the_application_as_words() {
        let words =
            ["run", "-config", "c.yml", "-grace", "25s", "-require-backup", "-log-level", "warning", "--", "app", "-x"];
        let Command::Run(run) = ok(&words) else { panic!("not run") };
        assert_eq!(run.command, ["app", "-x"]);
        assert_eq!(run.grace, Some(Duration::from_secs(25)));
        let sources = run.sources(&no_env, "/".into());
        assert!(sources.require_backup && sources.expand_env);
        assert_eq!((sources.config_path, sources.log_level), (Some("c.yml".into()), Some(LogLevel::Warn)));
        let Command::Run(run) = ok(&["run", "app", "--", "-config", "-h"]) else { panic!("not run") };
        assert_eq!(run.command, ["app", "--", "-config", "-h"]);
        assert!(matches!(ok(&["run"]), Command::Run(run) if run.command.is_empty()));
    }

    #[test]
    fn run_without_a_file() {
        let words = ["run", "-db", "app.db", "-replica", "file:///b", "-migrate", "m", "-exec", "e"];
        let Command::Run(run) = ok(&words) else { panic!("not run") };
        let loaded = Options::load(&run.sources(&no_env, "/srv".into())).expect("flags are enough");
        assert_eq!(loaded.options.databases[0].path, Path::new("/srv/app.db"));
        assert_eq!((loaded.options.migrate.as_deref(), loaded.options.exec.as_deref()), (Some("m"), Some("e")));
        assert!(refused(&["run", "-db", "app.db"]).contains("--replica"));
        assert!(refused(&["run", "-replica", "file:///b"]).contains("--db"));
        assert!(refused(&["run", "-config", "c", "-db", "a", "-replica", "file:///b"]).contains("cannot be used with"));
        assert!(refused(&["run", "-exec", "a", "--", "b"]).contains("cannot be used with"));
        assert!(refused(&["run", "-grace", "10"]).contains("write for example 10s"));
        assert!(refused(&["run", "-log-level", "loud"]).contains("not a log level"));
    }

    #[test]
    fn signals_can_be_rewritten() {
        let words = [
            "run",
            "-stop-signal",
            "QUIT",
            "-rewrite",
            "15:3",
            "-rewrite=HUP:0",
            "-migrate-timeout",
            "1m",
            "--",
            "app",
        ];
        let Command::Run(run) = ok(&words) else { panic!("not run") };
        assert_eq!(run.signals.stop_signal, Some(Signal::QUIT));
        assert_eq!(run.signals.rewrites, [(Signal::TERM, Some(Signal::QUIT)), (Signal::HUP, None)]);
        assert_eq!((run.migrate_timeout, run.command.len()), (Some(Duration::from_secs(60)), 1));
        assert!(refused(&["run", "-rewrite", "15", "--", "app"]).contains("FROM:TO"));
        assert!(refused(&["run", "-stop-signal", "FOO", "--", "app"]).contains("not a signal"));
    }

    #[test]
    fn replicate_takes_one_database_and_one_url() {
        let Command::Replicate(replicate) = ok(&["replicate", "-restore-if-db-not-exists", "a.db", "s3://b/p"]) else {
            panic!("not replicate")
        };
        let sources = replicate.sources(&no_env, "/".into());
        assert_eq!(sources.database, Some(("a.db".into(), "s3://b/p".into())));
        assert!(sources.restore_if_db_not_exists);
        assert!(refused(&["replicate", "a.db"]).contains("a replica URL is missing"));
        assert!(refused(&["replicate", "a.db", ""]).contains("URL is empty"));
        assert!(refused(&["replicate", "a.db", "s3://b", "s3://c"]).contains("several replicas"));
        assert!(refused(&["replicate", "-config", "c", "a.db", "s3://b"]).contains("-config cannot be combined"));
        assert!(refused(&["replicate", "-once", "-exec", "x"]).contains("cannot be used with"));
        assert!(refused(&["replicate", "a.db", "s3://b", "-once"]).contains("flags come first"));
    }

    #[test]
    fn restore_reads_times_and_transactions() {
        let Command::Restore(restore) = ok(&["restore", "-txid", "000000000000002A", "/a.db"]) else {
            panic!("not restore")
        };
        assert_eq!((restore.txid, restore.source()), (Some(42), Source::Database("/a.db".into())));
        assert_eq!((restore.parallelism, restore.integrity_check), (8, IntegrityCheck::None));
        let words = ["restore", "-timestamp", "2000-01-01T00:00:00.5+01:00", "-integrity-check", "full", "/a.db"];
        let Command::Restore(restore) = ok(&words) else { panic!("not restore") };
        let at = |moment| matches!(moment, Some(Moment::At(at)) if at.as_millisecond() == 946_681_200_500);
        assert!(at(restore.timestamp));
        assert_eq!(restore.integrity_check, IntegrityCheck::Full);
        assert!(refused(&["restore", "-txid", "2a", "/a.db"]).contains("16 hex digits"));
        assert!(refused(&["restore", "-txid", "0000000000000000", "/a.db"]).contains("16 hex digits"));
        assert!(refused(&["restore", "-timestamp", "yesterday", "/a.db"]).contains("at what time"));
        let both = ["restore", "-txid", "0000000000000001", "-timestamp", "2000-01-01T00:00:00Z", "/a.db"];
        assert!(refused(&both).contains("cannot be used with"));
        assert!(refused(&["restore", "-parallelism", "0", "/a.db"]).contains("one or more"));
        assert!(refused(&["restore", "-integrity-check", "some", "/a.db"]).contains("quick"));
    }

    #[test]
    fn restore_says_what_is_missing() {
        assert!(refused(&["restore"]).contains("a database path or replica URL is required"));
        assert!(refused(&["restore", "s3://b/p"]).contains("add -o PATH"));
        assert!(refused(&["restore", "-config", "c", "-o", "x", "s3://b/p"]).contains("-config cannot be combined"));
        assert!(refused(&["restore", "/a.db", "/b.db"]).contains("too many arguments"));
        assert!(refused(&["restore", "-o", "", "/a.db"]).contains("--output"));
    }

    #[test]
    fn ltx_and_points_take_one_source() {
        let Command::Ltx(ltx) = ok(&["ltx", "-level", "all", "-json", "s3://b/p"]) else { panic!("not ltx") };
        assert_eq!((ltx.level, ltx.by_old_name, ltx.source()), (Levels::All, false, Source::Url("s3://b/p".into())));
        let Command::Ltx(ltx) = ok(&["wal", "-config", "c.yml", "/a.db"]) else { panic!("not ltx") };
        assert_eq!((ltx.level, ltx.by_old_name), (Levels::One(0), true));
        assert!(matches!(ok(&["points", "/a.db"]), Command::Points(points) if !points.json));
        for command in ["ltx", "wal", "points"] {
            assert!(refused(&[command]).contains("a database path or replica URL is required"));
            assert!(refused(&[command, "a", "b"]).contains("too many arguments"));
            assert!(refused(&[command, "-config", "c", "s3://b"]).contains("-config cannot be combined"));
        }
        for level in ["10", "-1", "some", ""] {
            assert!(refused(&["ltx", "-level", level, "a"]).contains("0 to 9"), "{level}");
        }
        assert!(refused(&["restore", "-json", "-o", "-", "s3://b"]).contains("both write to stdout"));
    }

    #[test]
    fn what_is_not_there_yet_is_refused_by_name() {
        for command in NOT_YET {
            assert!(refused(&[command, "-json", "x"]).contains(&format!("`{command}` is not supported yet")));
        }
        for flag in ["-force-snapshot", "-enforce-retention"] {
            assert!(refused(&["replicate", "-once", flag]).contains(&format!("{flag} is not supported yet")));
        }
        for words in [["-f"].as_slice(), &["-follow-interval", "1s"], &["-generation", "g"], &["-index", "0"]] {
            let words = [["restore"].as_slice(), words, &["/a.db"]].concat();
            assert!(refused(&words).contains(&format!("{} is not supported yet", words[1])));
        }
        let Command::Restore(restore) = ok(&["restore", "-replica", "s3", "/a.db"]) else { panic!("not restore") };
        assert_eq!(restore.replica.as_deref(), Some("s3"), "0.3's name of a replica is accepted");
        assert!(refused(&["frobnicate"]).contains("frobnicate"));
    }

    #[test]
    fn help_and_version_are_answers_and_nothing_is_not() {
        for words in [["-h"].as_slice(), &["help"], &["run", "-help"], &["--version"], &["help", "restore"]] {
            assert_eq!(try_parse(words).expect_err("an answer").exit_code(), 0, "{words:?}");
        }
        assert!(refused(&[]).contains("Usage"));
        assert!(matches!(ok(&["version", "-verbose"]), Command::Version(Version { verbose: true })));
        assert!(matches!(ok(&["databases", "-json", "-json"]), Command::Databases(Databases { json: true, .. })));
        assert!(refused(&["databases", "x"]).contains("unexpected argument"));
    }

    #[test]
    fn every_visible_flag_explains_itself() {
        for command in definition().get_subcommands() {
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional()) {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }
}
