//! Asks SQLite whether a restored file is a sound database, before anybody sees it.
//!
//! The file is no application's database yet, so it is opened as an immutable one: no locks, no
//! WAL, nothing written. Its schema is not trusted: a checksum proves that a file is the one that
//! was uploaded, not who uploaded it.

use std::path::Path;

use rusqlite::{Connection, InterruptHandle, OpenFlags};
use tokio::sync::oneshot;

use crate::sqlite::uri;

/// How thoroughly to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Integrity {
    #[default]
    None,
    /// `PRAGMA quick_check`: everything but the indexes' content.
    Quick,
    /// `PRAGMA integrity_check`.
    Full,
}

impl Integrity {
    fn pragma(self) -> Option<&'static str> {
        match self {
            Integrity::None => None,
            Integrity::Quick => Some("PRAGMA quick_check"),
            Integrity::Full => Some("PRAGMA integrity_check"),
        }
    }
}

/// Stops the check when the one who waits for it no longer does.
struct StopOnDrop(Option<InterruptHandle>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.interrupt();
        }
    }
}

/// `Err` says what is wrong.
pub(super) async fn check(path: &Path, integrity: Integrity) -> Result<(), String> {
    let Some(pragma) = integrity.pragma() else { return Ok(()) };
    let path = path.to_owned();
    let (started, handle) = oneshot::channel();
    let check = tokio::task::spawn_blocking(move || run(&path, pragma, started).unwrap_or_else(|e| Err(e.to_string())));
    let _stop = StopOnDrop(handle.await.ok());
    check.await.unwrap_or_else(|error| Err(error.to_string()))
}

fn run(path: &Path, pragma: &str, started: oneshot::Sender<InterruptHandle>) -> rusqlite::Result<Result<(), String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri(path, true), flags)?;
    if started.send(connection.get_interrupt_handle()).is_err() {
        return Ok(Err("the restore was cancelled".into()));
    }
    connection.pragma_update(None, "trusted_schema", false)?;
    let mut statement = connection.prepare(pragma)?;
    let found: Vec<String> = statement.query_map([], |row| row.get(0))?.take(3).collect::<rusqlite::Result<_>>()?;
    Ok(if found == ["ok"] { Ok(()) } else { Err(found.join("; ")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(path: &Path) {
        let connection = Connection::open(path).expect("open");
        let sql = "PRAGMA journal_mode=wal; CREATE TABLE t (x UNIQUE);
                   WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                   INSERT INTO t SELECT 'row ' || i FROM n;";
        connection.execute_batch(sql).expect("fill");
    }

    #[tokio::test]
    async fn sound_and_damaged_databases_are_told_apart() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("ä ?#%x.db");
        database(&path);
        for integrity in [Integrity::None, Integrity::Quick, Integrity::Full] {
            check(&path, integrity).await.expect("sound");
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("dir").count(), 1, "nothing is left beside the file");
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[4096 * 3..4096 * 3 + 200].fill(0xee);
        std::fs::write(&path, bytes).expect("write");
        assert!(check(&path, Integrity::Quick).await.is_err());
        check(&path, Integrity::None).await.expect("not asked");
        std::fs::write(
            &path,
            "no database at all, but long enough to have a header of one hundred bytes, more or less ……",
        )
        .expect("write");
        assert!(check(&path, Integrity::Full).await.is_err());
    }
}
