//! What the user types; the one place where an error becomes a sentence and an exit code.
//!
//! ```text
//!   argv.rs       Go's one-dash flags → what clap reads
//!   args.rs       commands and flags, ours and Litestream's · args/help.rs  their help
//!   run.rs        run, replicate
//!   restore.rs    restore, and its plan
//!   moment.rs     points in time as people say them · destination.rs  files, gzip, stdout
//!   progress.rs   the progress bar
//!   ltx.rs        ltx · points.rs  points · source.rs  the replica that they look at
//!   mark.rs       mark · copy.rs  copy · follow.rs  follow, restore -f · secret_file.rs  variables by NAME_FILE
//!   doctor.rs  doctor · explain.rs  explain · translate.rs  translate
//!   databases.rs  databases · verify.rs  verify · reset.rs  reset · health.rs  health
//!   control.rs    list, info, sync, start, stop, register, unregister, snapshot,
//!                 checkpoint
//!   status.rs     status
//!   manual.rs     completions, man
//!   process.rs    environment, working directory, signals · terminal.rs  the terminal
//!   show.rs       times, sizes, counts · table.rs  tables
//!   logger.rs     where log lines go, and what they look like · stderr.rs  their thread
//!   defect.rs     panics
//! ```

mod args;
mod argv;
mod cluster;
mod control;
mod copy;
mod databases;
mod defect;
mod destination;
mod doctor;
mod explain;
mod follow;
mod health;
mod logger;
mod ltx;
mod manual;
mod mark;
mod moment;
mod points;
mod process;
mod progress;
mod reset;
mod restore;
mod run;
mod secret_file;
mod show;
mod source;
mod status;
mod stderr;
mod table;
mod target;
mod terminal;
mod translate;
mod verify;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use args::Command;
use process::{Environment, all_is_text, install, local_zone, replica_at, variable};
use show::{Style, count, each_said, heading, printed, timestamp};

use crate::run::Failure;
use crate::run::exit::{CONFIG, INTERNAL};
use crate::{sqlite, supervise};

pub fn main() -> ExitCode {
    defect::report();
    let code = match args::parse(std::env::args_os()) {
        Ok(command) => dispatch(command).unwrap_or_else(|failure| {
            stderr::say(&format!("error: {}", failure.sentence()));
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
            printed(databases::print(&loaded.options, command.json, terminal::width(), &mut std::io::stdout()))
        }
        Command::Completions(command) => printed(manual::completions(command.shell, &mut std::io::stdout())),
        Command::Man(command) => manual::man(command.dir.as_deref()),
        Command::Run(command) => with_runtime(run::run(command)),
        Command::Replicate(command) => with_runtime(run::replicate(command)),
        Command::Restore(command) => with_runtime(restore::restore(command)),
        Command::Ltx(command) => with_runtime(ltx::ltx(command)),
        Command::Points(command) => with_runtime(points::points(command)),
        Command::Copy(command) => with_runtime(copy::copy(command)),
        Command::Follow(command) => with_runtime(follow::follow(command)),
        Command::Mark(command) => with_runtime(mark::mark(command)),
        Command::Verify(command) => with_runtime(verify::verify(command)),
        Command::Doctor(command) => with_runtime(doctor::doctor(command)),
        Command::Explain(command) => with_runtime(explain::explain(command)),
        Command::Reset(command) => reset::reset(&command),
        Command::Translate(command) => translate::translate(&command.file),
        Command::Health(command) => with_runtime(health::health(command)),
        Command::Info(command) => with_runtime(control::info(command)),
        Command::Nodes(command) => with_runtime(cluster::nodes(command)),
        Command::Promote(command) => with_runtime(cluster::promote(command)),
        Command::Demote(command) => with_runtime(cluster::demote(command)),
        Command::List(command) => with_runtime(control::list(command)),
        Command::Sync(command) => with_runtime(control::sync(command)),
        Command::Start(command) => with_runtime(control::start(command)),
        Command::Stop(command) => with_runtime(control::stop(command)),
        Command::Register(command) => with_runtime(control::register(command)),
        Command::Unregister(command) => with_runtime(control::unregister(command)),
        Command::Snapshot(command) => with_runtime(control::snapshot(command)),
        Command::Checkpoint(command) => with_runtime(control::checkpoint(command)),
        Command::Status(command) => with_runtime(status::status(command)),
    }
}

/// Two threads are enough: the heavy work runs on the blocking pool.
fn with_runtime(work: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    supervise::make_room().map_err(|error| Failure::new(CONFIG, error))?;
    sqlite::check_version().map_err(|error| Failure::new(INTERNAL, anyhow::anyhow!(error)))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("millstream")
        // At the start every database needs one.
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
