//! Every command and flag: ours, and Litestream's; a flag that we do not have is refused by name.
//!
//! Here are the definitions, and the checks that need nothing but the words. `config/` finds out
//! what the words mean together with file and environment: each command hands on its part as
//! [`Sources`].
//!
//! ```text
//!   args.rs     the command line as a whole; databases, version; shared flags
//!   shell.rs    completions, man
//!   help.rs     the help pages: groups, examples, exit codes
//!   life.rs     run, replicate
//!   restore.rs  restore
//!   look.rs     ltx, points; the one operand DB|URL
//!   doctor.rs   doctor, explain
//!   verify.rs   verify · reset.rs  reset · health.rs  health
//!   mark.rs     mark · copy.rs  copy · follow.rs  follow
//!   control.rs  the commands that ask a running process; status
//! ```

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{LogLevel, Sources};

use super::{argv, terminal};
use help::Page;
use terminal::colours_are_welcome;

mod cluster;
mod control;
mod copy;
mod doctor;
mod follow;
mod health;
pub mod help;
mod life;
mod look;
mod mark;
mod reset;
mod restore;
mod shell;
mod verify;

#[cfg(test)]
mod tests;

pub use cluster::{Demote, Nodes, Promote};
pub use control::{Asking, Checkpoint, Info, List, Operand, Register, Snapshot, Start, Status, Stop, Sync, Unregister};
pub use copy::Copy;
pub use doctor::{Doctor, Explain, Translate};
pub use follow::Follow;
pub use health::Health;
pub use life::{LifeFlags, Replicate, Run};
pub use look::{Levels, Look, Ltx, Points};
pub use mark::Mark;
pub use reset::Reset;
pub use restore::{IntegrityCheck, Restore};
pub use shell::{Completions, Man};
pub use verify::Verify;

/// Exit code of a command line that cannot be understood.
pub const USAGE: u8 = 64;

/// Commands of Litestream 0.3 that 0.5 does not have either, and what to use instead.
const GONE: [(&str, &str); 2] = [
    ("generations", "millstream points DB|URL, which lists the generations of 0.3 too"),
    ("snapshots", "millstream ltx -level 9 DB|URL"),
];

/// Keeps a SQLite database safe in object storage, and runs the application that uses it.
#[derive(Debug, Parser)]
#[command(
    name = "millstream",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
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
    Mark(Mark),
    Copy(Copy),
    Follow(Follow),
    Verify(Verify),
    Doctor(Doctor),
    Explain(Explain),
    Reset(Reset),
    Translate(Translate),
    Health(Health),
    Status(Status),
    List(List),
    Info(Info),
    Sync(Sync),
    Start(Start),
    Stop(Stop),
    Register(Register),
    Unregister(Unregister),
    Snapshot(Snapshot),
    Checkpoint(Checkpoint),
    Nodes(Nodes),
    Promote(Promote),
    Demote(Demote),
    Version(Version),
    Completions(Completions),
    Man(Man),
}

/// Which configuration file, and how it is read: the flags of every command that reads one.
#[derive(Debug, Args)]
pub struct FileFlags {
    /// Configuration file [default: $LITESTREAM_CONFIG, or /etc/litestream.yml]
    #[arg(long, value_name = "FILE", help_heading = help::CONFIGURATION)]
    config: Option<PathBuf>,
    /// Leave $NAME and ${NAME} in the configuration file as they are
    #[arg(long, help_heading = help::CONFIGURATION)]
    no_expand_env: bool,
    #[command(flatten)]
    pub log: LogFlags,
}

impl FileFlags {
    /// What the options are made of if nothing but the file counts.
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        Sources {
            config_path: self.config.clone(),
            expand_env: !self.no_expand_env,
            log_level: self.log.level(),
            ..Sources::new(env, cwd)
        }
    }
}

/// How much is logged.
#[derive(Debug, Args)]
pub struct LogFlags {
    /// trace, debug, info, warn or error [default: $LOG_LEVEL, or that of the file, or info]
    #[arg(long, value_name = "LEVEL", value_parser = LogLevel::parse, help_heading = help::LOG)]
    log_level: Option<LogLevel>,
    /// Log in detail, as -log-level debug does
    #[arg(short, long, conflicts_with = "log_level", help_heading = help::LOG)]
    verbose: bool,
    /// Log errors only, as -log-level error does
    #[arg(short, long, conflicts_with_all = ["log_level", "verbose"], help_heading = help::LOG)]
    quiet: bool,
}

impl LogFlags {
    /// `None` leaves it to environment and file.
    pub fn level(&self) -> Option<LogLevel> {
        match (self.verbose, self.quiet) {
            (true, _) => Some(LogLevel::Debug),
            (_, true) => Some(LogLevel::Error),
            _ => self.log_level,
        }
    }
}

/// How a result is written.
#[derive(Debug, Default, Args)]
pub struct OutputFlags {
    /// Write JSON, with exact times and sizes
    #[arg(long, help_heading = help::OUTPUT)]
    pub json: bool,
    /// Show times in UTC, also on a terminal
    #[arg(long, help_heading = help::OUTPUT)]
    pub utc: bool,
    /// Show sizes in bytes, also on a terminal
    #[arg(long, help_heading = help::OUTPUT)]
    pub bytes: bool,
}

const DATABASES: Page = Page {
    more: "On a terminal the table also shows the URL of each replica; -json always does.",
    examples: &["millstream databases", "millstream databases -config app.yml -json"],
    variables: help::FILE_VARIABLES,
    codes: &[help::DONE, help::USAGE, help::CONFIG],
};

/// Lists the databases of the configuration file
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = DATABASES.text(),
    override_usage = "millstream databases [FLAGS]"
)]
pub struct Databases {
    #[command(flatten)]
    pub file: FileFlags,
    /// Write JSON
    #[arg(long, help_heading = help::OUTPUT)]
    pub json: bool,
}

const VERSION: Page = Page {
    more: "",
    examples: &["millstream version", "millstream version -verbose"],
    variables: &[],
    codes: &[help::DONE, help::USAGE],
};

/// Prints the version
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = VERSION.text(),
    override_usage = "millstream version [FLAGS]"
)]
pub struct Version {
    /// Print the version of SQLite too
    #[arg(short, long)]
    pub verbose: bool,
    /// As without it: accepted because every command accepts it
    #[arg(short, long, hide = true)]
    quiet: bool,
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

    /// Writes an answer to stdout, and a mistake to stderr through `complain`. A stream that is
    /// closed is no error.
    pub fn print(&self, complain: impl FnOnce(&str)) {
        match self {
            Rejected::Clap(error) if !error.use_stderr() => {
                let text = spelled(error, std::io::stdout().is_terminal());
                let _ = std::io::stdout().write_all(text.as_bytes());
            }
            Rejected::Clap(error) => complain(&spelled(error, std::io::stderr().is_terminal())),
            Rejected::Usage { .. } => complain(&self.to_string()),
        }
    }
}

/// What clap has to say, with our spelling of flags.
fn spelled(error: &clap::Error, on_terminal: bool) -> String {
    let text = error.render();
    match on_terminal && colours_are_welcome() {
        true => help::one_dash(&text.ansi().to_string()),
        false => help::one_dash(&text.to_string()),
    }
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rejected::Clap(error) => f.write_str(&spelled(error, false)),
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
    if let Some((_, instead)) = GONE.iter().find(|(name, _)| *name == word) {
        return Err(usage(None, format!("`{word}` was a command of Litestream 0.3; use {instead}")));
    }
    let named = help::commands().find(|name| *name == word || (*name == "ltx" && word == "wal"));
    let by_old_name = word == "wal";
    let argv = argv::normalize(argv, &definition()).map_err(|problem| usage(named, problem))?;
    let matches = definition().try_get_matches_from(argv).map_err(Rejected::Clap)?;
    let mut command = Cli::from_arg_matches(&matches).map_err(Rejected::Clap)?.command;
    if let Command::Ltx(ltx) = &mut command {
        ltx.by_old_name = by_old_name;
    }
    check(&command).map_err(|problem| usage(named, problem))?;
    Ok(command)
}

/// What can be judged from the words of one command alone.
fn check(command: &Command) -> Result<(), String> {
    match command {
        Command::Replicate(replicate) => replicate.check(),
        Command::Restore(restore) => restore.check(),
        Command::Ltx(ltx) => ltx.look.check("ltx"),
        Command::Points(points) => points.look.check("points"),
        Command::Mark(mark) => mark.check(),
        Command::Copy(copy) => copy.check(),
        Command::Follow(follow) => follow.check(),
        Command::Verify(verify) => verify.check(),
        Command::Doctor(doctor) => doctor.look.check_optional("doctor"),
        Command::Explain(explain) => explain.look.check_optional("explain"),
        Command::Reset(reset) => reset.check(),
        Command::Status(status) => status.check(),
        Command::Sync(command) => command.operand.check("sync"),
        Command::Start(command) => command.operand.check("start"),
        Command::Stop(command) => command.operand.check("stop"),
        Command::Register(command) => command.check(),
        Command::Unregister(command) => command.operand.check("unregister"),
        Command::Snapshot(command) => command.operand.check("snapshot"),
        Command::Checkpoint(command) => command.operand.check("checkpoint"),
        Command::Run(_)
        | Command::Databases(_)
        | Command::Translate(_)
        | Command::Health(_)
        | Command::List(_)
        | Command::Info(_)
        | Command::Nodes(_)
        | Command::Promote(_)
        | Command::Demote(_)
        | Command::Version(_)
        | Command::Completions(_)
        | Command::Man(_) => Ok(()),
    }
}

/// The definition of every command, for `argv.rs`, completions and manual pages.
pub fn definition() -> clap::Command {
    let width = terminal::width().map_or(help::WIDTH, |columns| columns.min(help::WIDTH));
    let program = Cli::command().term_width(width);
    let overview = help::overview(&program);
    program.override_help(overview)
}

fn usage(command: Option<&'static str>, problem: String) -> Rejected {
    Rejected::Usage { command, problem }
}
