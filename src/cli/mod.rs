//! What the user types; the one place where an error becomes a sentence and an exit code.
//!
//! ```text
//!   argv.rs       Go's one-dash flags → what clap reads
//!   args.rs       commands and flags, ours and Litestream's
//!   run.rs        run, replicate
//!   restore.rs    restore, and its plan
//!   moment.rs     points in time as people say them · destination.rs  files, gzip, stdout · progress.rs  the bar
//!   ltx.rs        ltx · points.rs  points · source.rs  the replica that they look at
//!   databases.rs  databases · verify.rs  verify · reset.rs  reset
//!   logger.rs     where log lines go, and what they look like · stderr.rs  the thread that writes them · defect.rs  panics
//! ```

mod args;
mod argv;
mod databases;
mod defect;
mod destination;
mod logger;
mod ltx;
mod moment;
mod points;
mod progress;
mod reset;
mod restore;
mod run;
mod source;
mod stderr;
mod verify;

use std::env::VarError;
use std::io::Write;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use args::Command;

use crate::config::{self, Loaded, Options, Replica, Sources};
use crate::run::Failure;
use crate::run::exit::{CONFIG, INTERNAL};
use crate::{sqlite, supervise};

pub fn main() -> ExitCode {
    defect::report();
    let code = match args::parse(std::env::args_os()) {
        Ok(command) => dispatch(command).unwrap_or_else(|failure| {
            stderr::say(&format!("Error: {}", failure.sentence()));
            failure.code
        }),
        Err(rejected) => {
            rejected.print(stderr::say);
            rejected.exit_code()
        }
    };
    stderr::flush();
    let code = if supervise::defect::happened() { INTERNAL } else { code };
    code.into()
}

fn dispatch(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Version(version) => {
            let text = version_text(version.verbose);
            printed(writeln!(std::io::stdout(), "{text}"))
        }
        Command::Databases(command) => {
            let environment = Environment::of_process()?;
            let loaded = environment.load(|env, cwd| command.file.sources(env, cwd))?;
            printed(databases::print(&loaded.options, command.json, &mut std::io::stdout()))
        }
        Command::Run(command) => with_runtime(run::run(command)),
        Command::Replicate(command) => with_runtime(run::replicate(command)),
        Command::Restore(command) => with_runtime(restore::restore(command)),
        Command::Ltx(command) => with_runtime(ltx::ltx(command)),
        Command::Points(command) => with_runtime(points::points(command)),
        Command::Verify(command) => with_runtime(verify::verify(command)),
        Command::Reset(command) => reset::reset(&command),
    }
}

/// Two threads are enough: the heavy work runs on the blocking pool.
fn with_runtime(work: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    supervise::make_room().map_err(|error| Failure::new(CONFIG, error))?;
    sqlite::check_version().map_err(|error| Failure::new(INTERNAL, anyhow::anyhow!(error)))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("millstream")
        // At the start every database wants one.
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .map_err(|error| Failure::new(INTERNAL, error))?;
    let code = runtime.block_on(work);
    // A thread that hangs in a dead file system must not keep the process from ending.
    runtime.shutdown_background();
    code
}

fn version_text(verbose: bool) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match verbose {
        false => version.to_owned(),
        true => format!("millstream {version}\nSQLite {}", sqlite::library_version()),
    }
}

/// Environment and working directory, read once and handed to `config/`.
struct Environment {
    cwd: std::path::PathBuf,
}

impl Environment {
    fn of_process() -> Result<Environment, Failure> {
        let cwd = std::env::current_dir();
        let cwd = cwd.map_err(|error| Failure::new(CONFIG, anyhow::anyhow!("find the working directory: {error}")))?;
        Ok(Environment { cwd })
    }

    fn load<'a>(
        &self,
        sources: impl FnOnce(&'a dyn Fn(&str) -> Option<String>, std::path::PathBuf) -> Sources<'a>,
    ) -> Result<Loaded, Failure> {
        let loaded = Options::load(&sources(&variable, self.cwd.clone()));
        all_is_text()?;
        loaded.map_err(|error| Failure::new(CONFIG, error))
    }
}

/// The exit code of a command whose work is what it prints. A reader who has seen enough is nobody's failure.
fn printed(done: std::io::Result<()>) -> Result<u8, Failure> {
    match done {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(INTERNAL, error)),
        _ => Ok(0),
    }
}

/// In whole seconds of UTC, as Litestream shows times.
fn timestamp(unix_ms: i64) -> String {
    let second = jiff::Timestamp::from_second(unix_ms.div_euclid(1000));
    second.map_or_else(|_| unix_ms.to_string(), |time| time.to_string())
}

/// The first variable that was asked for and is no text. It must not count as unset.
static NO_TEXT: OnceLock<String> = OnceLock::new();

fn variable(name: &str) -> Option<String> {
    match std::env::var(name) {
        Ok(value) => Some(value),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => {
            NO_TEXT.get_or_init(|| name.to_owned());
            None
        }
    }
}

/// Refuses what was made without a variable that could not be read.
fn all_is_text() -> Result<(), Failure> {
    let refuse = |name| Err(Failure::told(CONFIG, format!("the environment variable {name} is not valid UTF-8")));
    NO_TEXT.get().map_or(Ok(()), refuse)
}

/// The replica that a URL describes.
fn replica_at(url: &str) -> Result<Replica, Failure> {
    let replica = config::replica_from_url(url, &variable);
    all_is_text()?;
    replica.map_err(|error| Failure::new(CONFIG, error))
}

/// Signals are caught before anything else, so that none is lost between the stages.
fn install() -> Result<(supervise::Signals, supervise::Nursery), Failure> {
    supervise::install().map_err(|error| Failure::new(INTERNAL, error))
}
