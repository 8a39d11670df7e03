//! `run` and `replicate`: the same stages, with Litestream's defaults for the second.

use super::args::{LifeFlags, Replicate, Run};
use super::{Environment, defect, install, logger, variable};
use crate::config::Loaded;
use crate::run::exit::{CONFIG, Failure};
use crate::run::{self, Commands, Job, Restoring};
use crate::supervise::{self, CommandLine};

pub async fn run(command: Run) -> Result<u8, Failure> {
    let (signals, reaper) = install()?;
    let environment = Environment::of_process()?;
    let loaded = environment.load(|env, cwd| command.sources(env, cwd))?;
    match loaded.is_off().map_err(config)? {
        true => begin_without_replication(&loaded),
        false => begin(&loaded)?,
    }
    let given = match command.command.is_empty() {
        true => None,
        false => Some(CommandLine::new(command.command).map_err(config)?),
    };
    let commands = Commands::new(&loaded.options, true, given).map_err(config)?;
    if !commands.has_app() {
        let error = anyhow::anyhow!("{}: nothing to run; add `exec:`, or -- CMD", loaded.origin);
        return Err(Failure::new(CONFIG, error));
    }
    let migrate_timeout = command.migrate_timeout;
    let job = Job { migrate_timeout, ..job(loaded, commands, Restoring::All, command.life, environment) };
    Ok(defect::rehearsed(run::run(job, signals, reaper)).await)
}

pub async fn replicate(command: Replicate) -> Result<u8, Failure> {
    let (signals, reaper) = install()?;
    let environment = Environment::of_process()?;
    let loaded = environment.load(|env, cwd| command.sources(env, cwd))?;
    begin(&loaded)?;
    let commands = match command.once {
        // As Litestream: one round of replication has no application, whatever the file says.
        true => Commands::default(),
        // `migrate` is part of `run`; a script that calls `replicate` runs its migrations itself.
        false => Commands::new(&loaded.options, false, None).map_err(config)?,
    };
    let once = command.once();
    let job = Job { once, ..job(loaded, commands, Restoring::AsConfigured, command.life, environment) };
    Ok(defect::rehearsed(run::run(job, signals, reaper)).await)
}

/// The application runs as if it had been started directly, signals and exit code included.
fn begin_without_replication(loaded: &Loaded) {
    start(loaded);
    tracing::warn!("no database with a replica is named ({}): the application runs without replication", loaded.origin);
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
}

fn start(loaded: &Loaded) {
    logger::start(&loaded.options.logging);
    supervise::defect::allow(loaded.options.shutdown.grace);
    defect::rehearse();
}

fn begin(loaded: &Loaded) -> Result<(), Failure> {
    start(loaded);
    loaded.require_databases().map_err(config)?;
    let near = loaded.refuse_shared_fate().map_err(config)?;
    loaded.warnings.iter().chain(&near).for_each(|warning| tracing::warn!("{warning}"));
    loaded.notes.iter().for_each(|note| tracing::debug!("{note}"));
    Ok(())
}

fn job(
    Loaded { options, file, .. }: Loaded,
    commands: Commands,
    restoring: Restoring,
    life: LifeFlags,
    Environment { cwd }: Environment,
) -> Job {
    let LifeFlags { stop_signal, rewrites, .. } = life;
    let (migrate_timeout, once, env) = (None, None, variable);
    let (options, restores) = (options.into(), Default::default());
    Job { commands, restoring, migrate_timeout, stop_signal, rewrites, once, env, cwd, options, restores, config: file }
}

fn config(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(CONFIG, error)
}
