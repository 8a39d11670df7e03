//! Every command and flag: ours, and Litestream's, of which those we do not have are refused by name.
//!
//! The definitions and what can be judged from the words alone. What the words mean together with file and environment is
//! `config/`'s business: each command hands on its part as [`Sources`].
//!
//! ```text
//!   args.rs     the command line as a whole; databases, version; the flags of every command that reads a file
//!   life.rs     run, replicate
//!   restore.rs  restore
//!   look.rs     ltx, points; the one operand DB|URL
//!   verify.rs   verify · reset.rs  reset · health.rs  health
//!   mark.rs     mark · copy.rs  copy
//!   control.rs  the commands that ask a running process; status
//! ```

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::Sources;

use super::argv;

mod control;
mod copy;
mod health;
mod life;
mod look;
mod mark;
mod reset;
mod restore;
mod verify;

#[cfg(test)]
mod tests;

pub use control::{Asking, Info, List, Operand, Register, Snapshot, Start, Status, Stop, Sync, Unregister};
pub use copy::Copy;
pub use health::Health;
pub use life::{LifeFlags, Replicate, Run};
pub use look::{Levels, Ltx, Points};
pub use mark::Mark;
pub use reset::Reset;
pub use restore::{IntegrityCheck, Restore};
pub use verify::Verify;

/// Exit code of a command line that cannot be understood.
pub const USAGE: u8 = 64;

/// Commands of Litestream's two generations that are not there yet.
const NOT_YET: [&str; 2] = ["generations", "snapshots"];

const COMMANDS: [&str; 21] = [
    "run",
    "replicate",
    "restore",
    "databases",
    "ltx",
    "points",
    "mark",
    "copy",
    "verify",
    "reset",
    "health",
    "status",
    "list",
    "info",
    "sync",
    "start",
    "stop",
    "register",
    "unregister",
    "snapshot",
    "version",
];

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
    Mark(Mark),
    Copy(Copy),
    Verify(Verify),
    Reset(Reset),
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
    Version(Version),
}

/// Which configuration file, and how it is read: the flags of every command that reads one.
#[derive(Debug, Args)]
pub struct FileFlags {
    /// Configuration file [default: $LITESTREAM_CONFIG, or /etc/litestream.yml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Leave $NAME and ${NAME} in the configuration file as they are
    #[arg(long)]
    no_expand_env: bool,
}

impl FileFlags {
    /// What the options are made of if nothing but the file counts.
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        Sources { config_path: self.config.clone(), expand_env: !self.no_expand_env, ..Sources::new(env, cwd) }
    }
}

/// Lists the databases of the configuration file
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = ONE_DASH)]
pub struct Databases {
    #[command(flatten)]
    pub file: FileFlags,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
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

    /// Answers on stdout; mistakes on stderr, which `complain` knows. A closed stream is nobody's mistake.
    pub fn print(&self, complain: impl FnOnce(&str)) {
        match self {
            // With clap's colours.
            Rejected::Clap(error) if !error.use_stderr() || std::io::stderr().is_terminal() => drop(error.print()),
            _ => complain(&self.to_string()),
        }
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
    let named = COMMANDS.into_iter().find(|name| *name == word || (*name == "ltx" && word == "wal"));
    let by_old_name = word == "wal";
    let argv = argv::normalize(argv, &definition()).map_err(|problem| usage(named, problem))?;
    let mut command = Cli::try_parse_from(argv).map_err(Rejected::Clap)?.command;
    if let Command::Ltx(ltx) = &mut command {
        ltx.by_old_name = by_old_name;
    }
    let checked = match &command {
        Command::Replicate(replicate) => replicate.check(),
        Command::Restore(restore) => restore.check(),
        Command::Ltx(ltx) => ltx.look.check("ltx"),
        Command::Points(points) => points.look.check("points"),
        Command::Mark(mark) => mark.check(),
        Command::Copy(copy) => copy.check(),
        Command::Verify(verify) => verify.check(),
        Command::Reset(reset) => reset.check(),
        Command::Status(status) => status.check(),
        Command::Sync(command) => command.operand.check("sync"),
        Command::Start(command) => command.operand.check("start"),
        Command::Stop(command) => command.operand.check("stop"),
        Command::Register(command) => command.check(),
        Command::Unregister(command) => command.operand.check("unregister"),
        Command::Snapshot(command) => command.operand.check("snapshot"),
        Command::Run(_)
        | Command::Databases(_)
        | Command::Health(_)
        | Command::List(_)
        | Command::Info(_)
        | Command::Version(_) => Ok(()),
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
