//! The state before a migration gets a mark, so that it can be brought back when the migration went
//! wrong.
//!
//! It is for a day that may never come, so it costs the start a moment at most: whatever fails is a
//! warning.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::Job;
use super::exit::Failure;
use super::mark::Automatic;
use super::prepare::Line;
use super::told::unless_signalled;
use crate::clock::MACHINE;
use crate::fleet::FleetHandle;
use crate::fsx;
use crate::ltx::Txid;
use crate::remote::{Level, LtxObject, Remote};
use crate::replicate::{DatabaseId, blocking};
use crate::supervise::Signals;

const PREFIX: &str = "before-migration-";
/// For what was committed before, and for the marks themselves.
const PATIENCE: Duration = Duration::from_secs(5);

/// A database whose state before the migration is to be marked.
pub struct Marking {
    id: DatabaseId,
    database: String,
    remotes: Vec<Remote>,
}

impl Marking {
    /// Nothing, where no migration is run or no mark is wanted.
    pub fn of(job: &Job, id: DatabaseId, line: &Line<'_>) -> Option<Marking> {
        let is_wanted = job.commands.has_first() && job.once.is_none() && job.options.mark_before_migration;
        let remotes =
            || std::iter::once(&line.remote).chain(line.mirrors().map(|(_, remote)| remote)).cloned().collect();
        is_wanted.then(|| Marking { id, database: line.database.path.display().to_string(), remotes: remotes() })
    }

    async fn mark(&self, fleet: &FleetHandle, new: &Automatic) {
        let db = self.database.as_str();
        let path = PathBuf::from(db);
        // By `stat` only: closing the file would drop the locks that we have on it.
        if blocking(move || !fsx::metadata_if_exists(&path).is_ok_and(|file| file.is_some())).await {
            tracing::debug!(db, "there is no database yet, so there is no state before the migration to mark");
            return;
        }
        let Some(txid) = self.newest(fleet).await else {
            tracing::debug!(db, "nothing is in the replica yet, so there is no state before the migration to mark");
            return;
        };
        let Some(first) = self.remotes.first() else { return };
        let state = (txid, timestamp_ms(first, txid).await);
        for remote in &self.remotes {
            match new.create(remote, state).await {
                Ok(mark) => tracing::info!(
                    db,
                    "TXID {} is marked as {} in {}, before the migration",
                    mark.txid,
                    mark.name,
                    remote.address()
                ),
                Err(failure) => {
                    tracing::warn!(db, "the state before the migration is not marked: {}", failure.sentence());
                }
            }
        }
    }

    /// The newest transaction in the first replica, once it has what was committed before now.
    async fn newest(&self, fleet: &FleetHandle) -> Option<Txid> {
        let synced = match fleet.sync(self.id, MACHINE.instant() + PATIENCE).await {
            Ok(syncing) => syncing.await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = synced {
            tracing::debug!(db = self.database, "the last commits before the migration may not be marked: {why}");
        }
        let statuses = fleet.watch_replicas(self.id).await.ok()?;
        statuses.first()?.borrow().confirmed
    }
}

/// Marks what is before the migration, within a moment. Only a signal is an error.
pub async fn mark_all(markings: &[Marking], fleet: &FleetHandle, signals: &mut Signals) -> Result<(), Failure> {
    if markings.is_empty() {
        return Ok(());
    }
    let new = Automatic::now(PREFIX, "the state before a migration", MACHINE.unix_ms());
    let work = async |cancel: CancellationToken| {
        let all = join_all(markings.iter().map(|marking| marking.mark(fleet, &new)));
        cancel.run_until_cancelled(tokio::time::timeout(PATIENCE, all)).await
    };
    if let Some(Err(_)) = unless_signalled(signals, work).await? {
        tracing::warn!("the state before the migration is not marked: no answer within {PATIENCE:?}");
    }
    Ok(())
}

/// When the transaction was committed. Its level-0 object is there: it is the newest.
async fn timestamp_ms(remote: &Remote, txid: Txid) -> i64 {
    let name = remote.l0_key(txid);
    let object = LtxObject { level: Level::L0, min_txid: txid, max_txid: txid, size: 0, modified_ms: 0, name };
    match remote.read_header(&object).await {
        Ok(header) => header.timestamp_ms,
        Err(error) => {
            tracing::debug!("when TXID {txid} was committed is not known: {error}");
            MACHINE.unix_ms()
        }
    }
}
