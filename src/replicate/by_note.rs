//! What a note says of the history, as a position of the database, and the other way round.

use crate::db::{Db, DbError, Position};
use crate::ltx::Txid;
use crate::state::{KnownFile, LocalState, ReplicaState, RestoreMarker, ResumePoint};

/// `None` when the position is not a frame of a WAL.
pub(super) fn resume_point(position: &Position) -> Option<ResumePoint> {
    let wal = position.wal.filter(|wal| wal.frames > 0)?;
    Some(ResumePoint { txid: position.txid, page_size: position.page_size, pages: position.pages, wal })
}

/// Notes that the file, with an empty WAL, is that position in the replica.
pub(super) fn mark_file(
    db: &Db,
    (state, replica): (&LocalState, &ReplicaState),
    position: &Position,
) -> Result<(), DbError> {
    let Position { txid, page_size, pages, .. } = *position;
    let marker = RestoreMarker::of(db.path(), replica.address(), txid, page_size, pages)?;
    // Not of a file that has been put in its place since.
    db.check_identity()?;
    Ok(state.mark_restored(&marker)?)
}

/// Notes that the file that is open belongs to the history in the replica.
pub(super) fn note_known_file(db: &Db, replica: &ReplicaState) -> Result<(), DbError> {
    let file = KnownFile::at(db.path())?;
    db.check_identity()?;
    Ok(replica.note_known_file(&file)?)
}

/// Where this TXID of the replica is found in the database, by the marker of a restore, or by the
/// first of these points that the WAL still confirms. `led_by` is a mirror that has the same TXID.
pub(super) fn position_of(
    db: &Db,
    (state, replica): (&LocalState, &ReplicaState),
    led_by: Option<&str>,
    txid: Txid,
    points: impl IntoIterator<Item = ResumePoint>,
) -> Result<Option<Position>, DbError> {
    if !db.can_be_continued() {
        return Ok(None);
    }
    let is_of = |marker: &RestoreMarker| marker.replica == replica.address() || led_by == Some(marker.replica.as_str());
    let marker = state.restore_marker().filter(|marker| is_of(marker) && marker.txid == txid);
    if let Some(RestoreMarker { txid, page_size, pages, .. }) = marker {
        // Whatever the WAL holds was written on top of the restored file.
        return Ok(Some(Position { txid, page_size, pages, wal: None, sealed: true }));
    }
    for ResumePoint { txid: noted, page_size, pages, wal } in points {
        let position = Position { txid: noted, page_size, pages, wal: Some(wal), sealed: false };
        if noted == txid
            && let Some(position) = db.resume_at(&position)?
        {
            return Ok(Some(position));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Tuning;
    use crate::page::PageSize;
    use crate::sqlite::{FrameChecksum, Salts, WalMark};

    #[test]
    fn only_a_frame_of_a_wal_is_a_point_to_resume_from() {
        let position = |wal| Position { txid: Txid::FIRST, page_size: PageSize::MAX, pages: 3, wal, sealed: true };
        let wal = |frames| WalMark { salts: Salts(4, 7), frames, checksum: FrameChecksum(1, 2) };
        assert_eq!((resume_point(&position(None)), resume_point(&position(Some(wal(0))))), (None, None));
        let point = resume_point(&position(Some(wal(5)))).expect("a frame");
        assert_eq!((point.txid, point.pages, point.wal), (Txid::FIRST, 3, wal(5)));
    }

    #[test]
    fn a_file_that_was_put_in_the_place_of_the_open_one_is_not_noted() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let create = |path: &std::path::Path| {
            let connection = rusqlite::Connection::open(path).expect("open");
            connection.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(x)").expect("create");
        };
        create(&path);
        let tuning = Tuning {
            busy_timeout: std::time::Duration::from_secs(1),
            min_checkpoint_page_count: 1000,
            truncate_page_n: 0,
            max_sync_wal_bytes: 64 << 20,
        };
        let db = Db::open(&path, tuning).expect("open");
        let state = LocalState::open(&path, &dir.path().join("meta"));
        let replica = state.replica("r");
        let position = Position { txid: Txid::FIRST, page_size: PageSize::MAX, pages: 3, wal: None, sealed: true };
        let other = dir.path().join("other.db");
        create(&other);
        std::fs::rename(&other, &path).expect("replace");
        assert!(note_known_file(&db, &replica).is_err() && mark_file(&db, (&state, &replica), &position).is_err());
        assert!(!replica.is_known_file() && state.restore_marker().is_none());
    }
}
