//! The state before a migration gets a mark, so that it can be brought back when the migration went
//! wrong.
//!
//! It is for a day that may never come, so it costs the start a moment at most: whatever fails is a
//! warning.

use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::Job;
use super::exit::Failure;
use super::mark::{self, AUTOMATIC_KEEP, NewMark, State};
use super::prepare::Line;
use super::stages::unless_signalled;
use crate::clock::MACHINE;
use crate::fleet::FleetHandle;
use crate::ltx::Txid;
use crate::remote::{Level, LtxObject, Mark, Remote};
use crate::replicate::DatabaseId;
use crate::supervise::Signals;

const PREFIX: &str = "before-migration-";
/// So many of these are kept in a replica.
const KEPT_MAX: usize = 10;
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
        let is_wanted = job.migrate.is_some() && job.once.is_none() && job.options.mark_before_migration;
        let remotes =
            || std::iter::once(&line.remote).chain(line.mirrors().map(|(_, remote)| remote)).cloned().collect();
        is_wanted.then(|| Marking { id, database: line.database.path.display().to_string(), remotes: remotes() })
    }

    async fn mark(&self, fleet: &FleetHandle, name: &str) {
        let db = self.database.as_str();
        let Some(txid) = self.newest(fleet).await else {
            tracing::debug!(db, "nothing is in the replica yet, so there is no state before the migration to mark");
            return;
        };
        let new = NewMark {
            name: name.to_owned(),
            keep: Some(AUTOMATIC_KEEP),
            note: Some("the state before a migration".into()),
        };
        let Some(first) = self.remotes.first() else { return };
        let state = (txid, timestamp_ms(first, txid).await);
        for remote in &self.remotes {
            match mark_in(remote, &new, state).await {
                Ok(Some(mark)) => tracing::info!(
                    db,
                    "TXID {} is marked as {} in {}, before the migration",
                    mark.txid,
                    mark.name,
                    remote.address()
                ),
                Ok(None) => {}
                Err(why) => tracing::warn!(db, "the state before the migration is not marked: {why}"),
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
    let name = mark::stamped(PREFIX, MACHINE.unix_ms());
    let work = async |cancel: CancellationToken| {
        let all = join_all(markings.iter().map(|marking| marking.mark(fleet, &name)));
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

/// `None`: it is marked already.
async fn mark_in(remote: &Remote, new: &NewMark, state: State) -> Result<Option<Mark>, String> {
    let marks = remote.marks().await.map_err(|error| error.to_string())?.marks;
    let Choice { is_marked, superfluous } = choose(&marks, state.0);
    if is_marked {
        tracing::debug!("TXID {} in {} is marked already", state.0, remote.address());
        return Ok(None);
    }
    let mark = mark::create(remote, new, state).await.map_err(|failure| failure.sentence())?;
    for name in superfluous {
        if let Err(error) = remote.drop_mark(&name).await {
            tracing::debug!("the mark {name} in {} stays: {error}", remote.address());
        }
    }
    Ok(Some(mark))
}

/// What a new mark of a migration means to those that are there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    /// The newest of them marks the same transaction.
    is_marked: bool,
    /// The oldest of them, which one more takes the place of.
    superfluous: Vec<String>,
}

fn choose(marks: &[Mark], txid: Txid) -> Choice {
    let mut automatic: Vec<&Mark> = marks.iter().filter(|mark| mark.name.starts_with(PREFIX)).collect();
    automatic.sort_by_key(|mark| (mark.created_ms, &mark.name));
    let is_marked = automatic.last().is_some_and(|newest| newest.txid == txid);
    let many = (automatic.len() + 1).saturating_sub(KEPT_MAX);
    Choice { is_marked, superfluous: automatic.iter().take(many).map(|mark| mark.name.clone()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(name: &str, txid: u64, created_ms: i64) -> Mark {
        let txid = Txid::new(txid).expect("not zero");
        let (timestamp_ms, expires_ms, note, by) = (0, None, None, String::new());
        Mark { name: name.into(), txid, timestamp_ms, created_ms, expires_ms, note, by }
    }

    #[test]
    fn idle_restarts_make_no_second_mark_and_the_oldest_make_room() {
        let mut marks = vec![mark("by-hand", 9, 99)];
        let txid = |number| Txid::new(number).expect("not zero");
        assert_eq!(choose(&marks, txid(9)), Choice::default(), "a mark by hand is no reason");
        marks.extend((1..=9).map(|n| mark(&format!("{PREFIX}{n}"), n, 100 - n as i64)));
        assert_eq!(choose(&marks, txid(1)), Choice { is_marked: true, superfluous: Vec::new() });
        assert_eq!(choose(&marks, txid(9)), Choice::default(), "it is the oldest of nine");
        marks.push(mark(&format!("{PREFIX}x"), 20, 200));
        marks.push(mark(&format!("{PREFIX}y"), 21, 201));
        let names: Vec<String> = [9, 8].map(|n| format!("{PREFIX}{n}")).into();
        assert_eq!(choose(&marks, txid(22)).superfluous, names);
    }
}
