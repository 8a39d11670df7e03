//! The checkpoint of the last program that closes a database, after which there is no WAL.
//!
//! It is no [`Connection`](super::Connection)'s: that one leaves the WAL where it is when it
//! closes.

use std::path::Path;
use std::time::Duration;

use rusqlite::OpenFlags;

use super::error::SqliteError;
use crate::fsx;

/// Copies everything from the WAL into the database file and removes the WAL; `false` when another
/// process has the database open. No other connection of this process may be open.
pub fn checkpoint_and_close(path: &Path) -> Result<bool, SqliteError> {
    const VERB: &str = "checkpoint and close";
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let error = |error: &rusqlite::Error| SqliteError::from_rusqlite(VERB, path, error);
    let conn = rusqlite::Connection::open_with_flags(path, flags).map_err(|e| error(&e))?;
    conn.busy_timeout(Duration::ZERO).map_err(|e| error(&e))?;
    let checkpointed = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    match checkpointed.map_err(|e| error(&e)) {
        Ok(0) => {}
        Ok(_) | Err(SqliteError::Busy { .. }) => return Ok(false),
        Err(error) => return Err(error),
    }
    conn.close().map_err(|(_, e)| error(&e))?;
    // SQLite keeps the WAL for as long as anybody has the database open.
    let wal = fsx::metadata_if_exists(&fsx::with_suffix(path, "-wal"));
    wal.map(|wal| wal.is_none()).map_err(|e| SqliteError::other(VERB, path, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Connection;

    #[test]
    fn the_wal_goes_unless_somebody_has_the_database_open() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let app = rusqlite::Connection::open(&path).expect("open");
        app.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(x)").expect("create");
        // As a replicator leaves it.
        let ours = Connection::open(&path, Duration::ZERO).expect("open");
        ours.pin().expect("pin");
        assert!(!checkpoint_and_close(&path).expect("answer"), "a reader is there");
        ours.end().expect("end");
        assert!(!checkpoint_and_close(&path).expect("answer"), "two have it open");
        drop(app);
        assert!(!checkpoint_and_close(&path).expect("answer"), "one has it open");
        drop(ours);
        assert!(checkpoint_and_close(&path).expect("answer"));
        for suffix in ["-wal", "-shm"] {
            assert!(!fsx::with_suffix(&path, suffix).exists(), "{suffix}");
        }
        let app = rusqlite::Connection::open(&path).expect("open");
        assert_eq!(app.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).ok(), Some(0));
    }
}
