//! A live copy becomes a database of its own, which is replicated, and the other way round: by the
//! notes beside it. A note that cannot be made costs a comparison with the replica, nothing else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Database, default_meta_path};
use crate::follow::{Position, note_state};
use crate::ltx::Txid;
use crate::remote::{Level, Remote};
use crate::replicate::blocking;
use crate::sqlite::{Connection, LiveCopy, Mark, Presence, SqliteError, look_at_file};
use crate::state::{KnownFile, LocalState, RestoreMarker, ResumePoint, SyncedTo};

const BUSY_TIMEOUT: Duration = Duration::from_millis(200);

/// What is at the place of a database: whether there is one, and whether it is a copy that was
/// followed.
pub async fn is_here(database: &Database) -> (bool, bool) {
    let (path, meta_path) = (database.path.clone(), database.meta_path.clone());
    blocking(move || {
        let is_here = matches!(look_at_file(&path), Ok(Presence::Database(_)));
        let notes = [meta_path, default_meta_path(&path)];
        (is_here, notes.iter().any(|notes| LocalState::open(&path, notes).copy_note().is_some()))
    })
    .await
}

/// The copy is at this position, and its write lock is held: the replication goes on from there.
pub async fn becomes_a_database(
    live: LiveCopy,
    meta_path: PathBuf,
    address: String,
    at: Option<Position>,
) -> (LiveCopy, Result<(), String>) {
    blocking(move || {
        let state = LocalState::open(live.path(), &meta_path);
        let noted = note_database(&live, &state, &address, at);
        // As long as this is there it is a copy.
        let forgotten = state.forget_copy().map_err(|error| error.to_string());
        (live, noted.and(forgotten))
    })
    .await
}

/// A process ended when it had claimed, and the database was a copy still: as an earlier state of
/// the history it is brought forward, or compared.
pub async fn is_no_copy(path: PathBuf, meta_path: PathBuf) {
    let forgotten = blocking(move || LocalState::open(&path, &meta_path).forget_copy()).await;
    if let Err(error) = forgotten {
        tracing::debug!("{error}");
    }
}

fn note_database(live: &LiveCopy, state: &LocalState, address: &str, at: Option<Position>) -> Result<(), String> {
    let Some(Position { txid, .. }) = at else { return Ok(()) };
    let failed = |error: &dyn std::error::Error| error.to_string();
    let mark = mark(live.path()).map_err(|error| failed(&error))?;
    let replica = state.replica(address);
    state.prepare().map_err(|error| failed(&error))?;
    let (page_size, pages) = (mark.page_size, mark.pages);
    let point = mark.wal.filter(|wal| wal.frames > 0).map(|wal| ResumePoint { txid, page_size, pages, wal });
    if point.is_none() {
        let marker = RestoreMarker::of(live.path(), address, txid, page_size, pages);
        marker.and_then(|marker| state.mark_restored(&marker)).map_err(|error| failed(&error))?;
    }
    replica.last_synced().in_step(SyncedTo::up_to(Some(txid))).map_err(|error| failed(&error))?;
    if let Some(point) = point {
        replica.note_resume_point(&point).map_err(|error| failed(&error))?;
    }
    let known = KnownFile::at(live.path()).and_then(|file| replica.note_known_file(&file));
    known.map_err(|error| failed(&error))
}

/// Where the WAL ends now.
fn mark(path: &Path) -> Result<Mark, SqliteError> {
    let connection = Connection::open(path, BUSY_TIMEOUT)?;
    let mark = connection.pin()?;
    connection.end()?;
    Ok(mark)
}

/// The database is this TXID of the replica, and its write lock is held: a follower goes on from
/// there.
pub async fn becomes_a_copy(live: LiveCopy, meta_path: PathBuf, remote: &Remote, txid: Txid) -> LiveCopy {
    let Some(position) = position_of(remote, txid).await else { return live };
    let address = remote.address().to_owned();
    blocking(move || {
        let state = LocalState::open(live.path(), &meta_path);
        if let Err(trouble) = note_state(&live, &state, &address, position) {
            tracing::debug!("the position of the copy could not be noted: {trouble:?}");
        }
        live
    })
    .await
}

async fn position_of(remote: &Remote, txid: Txid) -> Option<Position> {
    let listing = remote.level0_listing().await.ok()?;
    let is_it = |object: &&crate::remote::LtxObject| object.max_txid == txid && object.min_txid == txid;
    let object = listing.level(Level::L0).iter().find(is_it)?.clone();
    let header = remote.check_header(&object).await.ok()?.ok()?;
    Some(Position { txid, timestamp_ms: header.timestamp_ms })
}
