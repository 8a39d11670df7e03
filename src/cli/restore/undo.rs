//! Before a database of the configuration is replaced: its newest state gets a mark, and the way
//! back is said.

use tokio_util::sync::CancellationToken;

use super::Order;
use crate::cli::args::Restore;
use crate::cli::destination::Destination;
use crate::clock::MACHINE;
use crate::config::Database;
use crate::replicate::blocking;
use crate::restore::{self as restoring, Backup, RestoreError, Target};
use crate::run::exit::Failure;
use crate::run::mark::{self, Automatic, State};
use crate::run::{restore_failure, unless_signalled};
use crate::sqlite::{Presence, look_at_file};
use crate::supervise::Signals;

/// A failure is a warning: the restore was asked for. Only a signal is an error.
pub(super) async fn mark_before(
    command: &Restore,
    order: &Order,
    backups: &[Backup],
    signals: &mut Signals,
) -> Result<(), Failure> {
    let Some(database) = replaced(command, order).await else { return Ok(()) };
    let work = async |cancel: CancellationToken| cancel.run_until_cancelled(mark_newest(backups, &cancel)).await;
    let Some(name) = unless_signalled(signals, work).await?.flatten() else { return Ok(()) };
    let (file, db) = (command.look.config_flag(), database.path.to_string_lossy());
    let db = shell_words::quote(&db);
    tracing::info!("to undo this restore: millstream restore -force -mark {name}{file} {db}");
    Ok(())
}

/// The database of the configuration that the restore replaces.
async fn replaced<'a>(command: &Restore, order: &'a Order) -> Option<&'a Database> {
    let Destination::Database(path) = &order.destination else { return None };
    let database = order.all.iter().find(|database| command.force && database.path == *path)?;
    // It is the history of another database that is marked otherwise.
    let is_its_own = order.source == database.path.display().to_string();
    let path = path.clone();
    let is_there = blocking(move || matches!(look_at_file(&path), Ok(Presence::Database(_)))).await;
    (is_its_own && is_there).then_some(database)
}

/// The name of the mark, if one could be made.
async fn mark_newest(backups: &[Backup], cancel: &CancellationToken) -> Option<String> {
    let new = Automatic::now("before-restore-", "the state before a restore", MACHINE.unix_ms());
    let state = match newest(backups, cancel).await {
        Ok(state) => state,
        Err(error) => {
            tracing::warn!("the state before this restore is not marked: {}", restore_failure(error).sentence());
            return None;
        }
    };
    let mut made = None;
    for backup in backups {
        let Ok(remote) = &backup.remote else { continue };
        match new.create(remote, state).await {
            Ok(mark) => {
                tracing::info!(
                    "the newest state in {}, TXID {} of {}, is marked as {}; what was not uploaded is lost",
                    remote.address(),
                    mark.txid,
                    mark::rfc3339(mark.timestamp_ms),
                    mark.name
                );
                made = Some(mark.name);
            }
            Err(failure) => tracing::warn!(
                "the state before this restore is not marked in {}: {}",
                remote.address(),
                failure.sentence()
            ),
        }
    }
    made
}

async fn newest(backups: &[Backup], cancel: &CancellationToken) -> Result<State, RestoreError> {
    let ((_, remote), _) = restoring::newest(backups, Target::Latest, cancel).await?;
    mark::state(remote, Target::Latest, cancel).await
}
