//! `follow`, and `restore -f`: a live copy of a database, until a signal; of many: `several.rs`.

mod following;
mod several;

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::{Follow, Look, Restore};
use super::source::Source;
use super::{Environment, install, logger, variable};
use crate::clock::MACHINE;
use crate::config::{Database, Options};
use crate::follow::{End, Position, Reason};
use crate::restore::Request;
use crate::run::exit::{CONFIG, Failure};
use crate::supervise::Signals;
use following::{Following, code};

pub async fn follow(command: Follow) -> Result<u8, Failure> {
    let (mut signals, _reaper) = install()?;
    if let Some(dir) = &command.dir {
        return several::follow(&command, dir, &mut signals).await;
    }
    let output = command.output.as_deref().unwrap_or(Path::new(""));
    let start_logging = |options: Option<&Options>| match options {
        Some(options) => logger::start(&options.logging),
        None => logger::start_as_told(&command.sources(&variable, PathBuf::new())),
    };
    let following = match command.source() {
        Source::Url(url) => {
            start_logging(None);
            Following::of_url(&url, output)?
        }
        Source::Database(path) => {
            let (database, options) = configured(&command.look, &path, start_logging)?;
            Following::of_database(&database, command.look.replica(), output, &options)?
        }
    };
    let order = following.order(Request::new(output), command.interval, command.force)?;
    let end = following.until_signalled(order, &mut signals).await?;
    code(&following.copy, &end)
}

/// `restore -f`: what is restored is followed. `source` is what the command line says of it.
pub async fn restore_and_follow(command: &Restore, signals: &mut Signals) -> Result<u8, Failure> {
    let output = command.output.clone();
    let start_logging = |options: Option<&Options>| super::restore::start_logging(command, options);
    let following = match command.source() {
        Source::Url(url) => {
            start_logging(None);
            Following::of_url(&url, output.as_deref().unwrap_or(Path::new("")))?
        }
        Source::Database(path) => {
            let (database, options) = configured(&command.look, &path, start_logging)?;
            let output = output.unwrap_or_else(|| database.path.clone());
            Following::of_database(&database, command.look.replica(), &output, &options)?
        }
    };
    if command.if_db_not_exists && following.is_there()? {
        tracing::info!("database already exists, skipping: {}", following.copy.display());
        return Ok(0);
    }
    let began = MACHINE.instant();
    let request = super::restore::request(command, &following.copy)?;
    let order = following.order(request, command.follow_interval, command.force)?;
    let end = following.until_signalled(order, signals).await?;
    match &end {
        End::Failed(Reason::NoBackup, why) if command.if_replica_exists => {
            tracing::info!("no matching backups found: {why}");
            return Ok(0);
        }
        End::Stopped(position) if command.output_flags.json => {
            let took = MACHINE.instant() - began;
            let summary = json!({
                "db_path": following.copy,
                "replica": following.replicas[0].kind(),
                "txid": position.map(|Position { txid, .. }| txid.to_string()).unwrap_or_default(),
                "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "integrity_check": super::restore::check_name(command.integrity_check),
            });
            super::restore::print_json(&summary)?;
        }
        _ => {}
    }
    code(&following.copy, &end)
}

/// The database of the configuration at this path, with all of what is configured.
fn configured(
    look: &Look,
    path: &Path,
    start_logging: impl FnOnce(Option<&Options>),
) -> Result<(Database, Options), Failure> {
    let environment = Environment::of_process()?;
    let config = |error| Failure::new(CONFIG, error);
    let path = look.sources(&variable, environment.cwd.clone()).absolute(path).map_err(config)?;
    let loaded = environment.load(|env, cwd| look.sources(env, cwd))?;
    start_logging(Some(&loaded.options));
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok((loaded.database(&path).map_err(config)?, loaded.options))
}
