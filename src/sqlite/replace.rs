//! The content of a live database replaced by that of another file, by SQLite's backup: one write
//! transaction, after which every connection reads its schema anew.
//!
//! This is the one way in which a user's database is written to, and only a person orders it.

use std::path::Path;
use std::time::Duration;

use rusqlite::OpenFlags;
use rusqlite::backup::{Backup, StepResult};

use super::connection::{Connection, uri};
use super::error::SqliteError;

#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// It cannot take the place of this database.
    #[error("{0}")]
    Unfit(String),
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
}

/// `from` is a database that no program has open, without a journal. The WAL grows by all of it.
pub fn replace_content(path: &Path, from: &Path, busy_timeout: Duration) -> Result<(), ReplaceError> {
    const VERB: &str = "replace the content of";
    let failed = |error: rusqlite::Error| SqliteError::from_rusqlite(VERB, path, &error);
    check(from)?;
    let source = rusqlite::Connection::open_with_flags(
        uri(from, true),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(failed)?;
    let connection = Connection::open(path, busy_timeout)?;
    // Set already; this makes sure that all of it is there before the first page is written.
    for (what, pragma) in [("page size", "page_size"), ("text encoding", "encoding")] {
        let of = |conn: &rusqlite::Connection| -> rusqlite::Result<String> {
            let value: rusqlite::types::Value = conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))?;
            Ok(match value {
                rusqlite::types::Value::Text(text) => text,
                rusqlite::types::Value::Integer(number) => number.to_string(),
                other => format!("{other:?}"),
            })
        };
        let (own, other) = (connection.conn().and_then(of).map_err(failed)?, of(&source).map_err(failed)?);
        if own != other {
            return Err(ReplaceError::Unfit(format!(
                "its {what} is {other}, and that of the live database {own}, which cannot change while programs have it open"
            )));
        }
    }
    connection.share_new_files();
    let mut target = connection.into_inner().map_err(failed)?;
    let step = Backup::new(&source, &mut target).and_then(|backup| backup.step(-1)).map_err(failed)?;
    match step {
        StepResult::Done => Ok(()),
        _ => Err(SqliteError::Busy { verb: VERB, path: path.to_owned() }.into()),
    }
}

/// Whether it is a database, and sound.
fn check(from: &Path) -> Result<(), ReplaceError> {
    let damage = || -> Result<Option<String>, SqliteError> {
        let connection = Connection::open_to_read(from, true, Duration::ZERO)?;
        let mark = connection.pin()?;
        if mark.pages == 0 {
            return Ok(Some("it is empty".into()));
        }
        connection.damage()
    };
    let why = match damage() {
        Ok(None) => return Ok(()),
        Ok(Some(why)) => why,
        Err(error) if error.is_malformed() => "it is not a database".into(),
        Err(error) => return Err(error.into()),
    };
    Err(ReplaceError::Unfit(format!("what was sent is no sound database: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(path: &Path, sql: &str) -> rusqlite::Connection {
        let app = rusqlite::Connection::open(path).expect("open");
        app.execute_batch(sql).expect("create");
        app
    }

    fn count(app: &rusqlite::Connection, table: &str) -> rusqlite::Result<i64> {
        app.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
    }

    #[test]
    fn readers_have_the_state_before_or_the_state_after_and_the_schema_is_read_anew() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (live, other) = (dir.path().join("app.db"), dir.path().join("other ?#.db"));
        let make = |table: &str, rows: u32| {
            format!(
                "CREATE TABLE {table}(a, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
                 INSERT INTO {table} SELECT i, zeroblob(500) FROM n;"
            )
        };
        let [reader, writer] = ["", ""].map(|_| app(&live, "PRAGMA journal_mode=WAL"));
        writer.execute_batch(&make("t", 2000)).expect("fill");
        // As many changes of the schema as in the live one: the cookies are the same.
        drop(app(&other, &make("u", 30)));
        assert_eq!(count(&writer, "t").expect("a statement is cached"), 2000);
        reader.execute_batch("BEGIN").expect("begin");
        assert_eq!(count(&reader, "t").expect("read"), 2000);
        replace_content(&live, &other, Duration::ZERO).expect("replaced");
        assert_eq!(count(&reader, "t").expect("the state before"), 2000);
        reader.execute_batch("COMMIT").expect("end");
        for conn in [&reader, &writer] {
            assert_eq!(count(conn, "u").expect("the state after"), 30);
            assert!(count(conn, "t").is_err(), "there is no such table any more");
        }
        writer.execute_batch("INSERT INTO u VALUES (1, 2)").expect("it goes on");
        let mode: String = writer.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("read");
        let sound: String = writer.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("check");
        assert_eq!((mode.as_str(), sound.as_str(), count(&reader, "u").expect("read")), ("wal", "ok", 31));
    }

    #[test]
    fn what_does_not_fit_or_is_in_use_leaves_everything_as_it_is() {
        let dir = tempfile::tempdir().expect("tempdir");
        let live = dir.path().join("app.db");
        let writer = app(&live, "PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (1)");
        let file = |name: &str, sql: &str| {
            let path = dir.path().join(name);
            drop(app(&path, sql));
            path
        };
        let nonsense = dir.path().join("nonsense");
        std::fs::write(&nonsense, "not a database at all".repeat(500)).expect("write");
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "").expect("write");
        for (other, says) in [
            (file("page", "PRAGMA page_size=8192; CREATE TABLE t(x)"), "page size is 8192"),
            (file("text", "PRAGMA encoding='UTF-16le'; CREATE TABLE t(x)"), "text encoding is UTF-16le"),
            (nonsense, "it is not a database"),
            (empty, "it is empty"),
        ] {
            let error = replace_content(&live, &other, Duration::ZERO).expect_err(says);
            assert!(matches!(&error, ReplaceError::Unfit(why) if why.contains(says)), "{says}: {error}");
        }
        let sound = file("sound", "CREATE TABLE u(x)");
        writer.execute_batch("BEGIN IMMEDIATE").expect("begin");
        let error = replace_content(&live, &sound, Duration::ZERO).expect_err("it is in use");
        assert!(matches!(&error, ReplaceError::Sqlite(error) if error.is_busy()), "{error}");
        writer.execute_batch("COMMIT").expect("end");
        assert_eq!(count(&writer, "t").expect("it is there"), 1);
    }
}
