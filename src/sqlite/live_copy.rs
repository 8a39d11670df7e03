//! A database that others read while its pages are replaced: a live copy of another one.
//!
//! Pages are written through `sqlite_dbpage`, inside an ordinary write transaction: readers of the
//! copy see the state before it or the state after it, as with every other writer, and a crash
//! leaves one of the two. This is the one place that writes pages, and only to a copy.
//!
//! The copy is attached to a connection whose own database is empty. With the copy as its own, the
//! check of the schema would prepare the INSERT anew in the middle of a transaction, by a schema of
//! which half the pages are new. For the same reason no statement here ever needs the schema of the
//! copy once it is attached: not even `PRAGMA page_count`, which would read it through pages that
//! are out of date. After an error the connection is not used again.
//!
//! From the first time that it is taken the write lock is kept, over all commits (`kept_lock.rs`),
//! so that no application writes into the copy. `PRAGMA data_version` tells whether another
//! connection has committed all the same: it changes for those, and not for our own commits.
//!
//! SQLite sets four fields of page 1 itself (`page_one.rs`). The copy is always in WAL mode.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{OpenFlags, params};

use super::connection::uri;
use super::error::SqliteError;
use super::kept_lock::KeptLock;
use crate::page::{PageSize, Pgno};

/// The WAL file is cut to this length when it starts over.
const WAL_BYTES_MAX: u32 = 64 << 20;

/// Whether the write lock could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteLock {
    Yes,
    /// Another connection has it.
    Busy,
    /// It could, and another connection has committed since it was last held.
    Foreign,
}

pub struct LiveCopy {
    /// Goes before the connection does.
    lock: Option<KeptLock>,
    conn: rusqlite::Connection,
    path: PathBuf,
    page_size: PageSize,
    /// `PRAGMA data_version` when the lock was last taken.
    version: Option<i64>,
}

impl LiveCopy {
    /// Opens an existing database; [`super::check_access`] must have allowed it.
    pub fn open(path: &Path, busy_timeout: Duration) -> Result<LiveCopy, SqliteError> {
        assert!(path.is_absolute(), "a database path is made absolute before it is opened");
        let failed = |e: rusqlite::Error| SqliteError::from_rusqlite("open", path, &e);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = rusqlite::Connection::open_in_memory_with_flags(flags).map_err(failed)?;
        let opened = || -> rusqlite::Result<(u32, String)> {
            conn.busy_timeout(busy_timeout)?;
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
            conn.execute("ATTACH ?1 AS copy", [uri(path, false) + "?mode=rw"])?;
            // A commit that was told must survive a power loss: what is installed next builds on
            // it.
            conn.execute_batch(
                "PRAGMA copy.synchronous=FULL; PRAGMA writable_schema=ON; PRAGMA copy.cache_size=-4096",
            )?;
            conn.query_row(&format!("PRAGMA copy.journal_size_limit={WAL_BYTES_MAX}"), [], |_| Ok(()))?;
            let mode = conn.query_row("PRAGMA copy.journal_mode=WAL", [], |row| row.get(0))?;
            Ok((conn.query_row("PRAGMA copy.page_size", [], |row| row.get(0))?, mode))
        };
        let (page_size, mode) = opened().map_err(failed)?;
        if mode != "wal" {
            let detail =
                format!("it stays in the journal mode {mode}, and a copy that others read has to be in WAL mode");
            return Err(SqliteError::other("open", path, detail));
        }
        let page_size = PageSize::new(page_size).ok_or_else(|| SqliteError::other("open", path, "not a page size"))?;
        let lock = KeptLock::of(&conn, c"copy");
        if lock.is_none() {
            tracing::debug!("{}: the write lock is let go for a moment with every commit", path.display());
        }
        Ok(LiveCopy { lock, conn, path: path.to_owned(), page_size, version: None })
    }

    /// Behind all links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    pub fn holds_lock(&self) -> bool {
        !self.conn.is_autocommit()
    }

    /// Takes the write lock if it is not held. The first time there is nothing to compare with.
    pub fn hold(&mut self) -> Result<WriteLock, SqliteError> {
        const VERB: &str = "take the write lock of";
        if self.holds_lock() {
            return Ok(WriteLock::Yes);
        }
        match self.conn.execute_batch("BEGIN IMMEDIATE").map_err(|e| self.error(VERB, &e)) {
            Err(SqliteError::Busy { .. }) => return Ok(WriteLock::Busy),
            begun => begun?,
        }
        if let Some(lock) = &self.lock {
            lock.keep();
        }
        let version = self.conn.prepare_cached("PRAGMA copy.data_version");
        let version: i64 =
            version.and_then(|mut v| v.query_row([], |row| row.get(0))).map_err(|e| self.error(VERB, &e))?;
        let before = self.version.replace(version);
        Ok(if before.is_none_or(|before| before == version) { WriteLock::Yes } else { WriteLock::Foreign })
    }

    /// Copies one page as the open transaction has it; `false` when the database has no such page.
    pub fn read_page(&self, pgno: Pgno, page: &mut [u8]) -> Result<bool, SqliteError> {
        const VERB: &str = "read a page of";
        let mut copy = || -> rusqlite::Result<Option<bool>> {
            let mut statement = self.conn.prepare_cached("SELECT data FROM sqlite_dbpage('copy') WHERE pgno = ?1")?;
            let mut rows = statement.query([pgno.get()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let data = row.get_ref(0)?.as_blob()?;
            let fits = data.len() == page.len();
            if fits {
                page.copy_from_slice(data);
            }
            Ok(Some(fits))
        };
        match copy().map_err(|e| self.error(VERB, &e))? {
            Some(false) => Err(SqliteError::other(VERB, &self.path, "the page size changed")),
            found => Ok(found.is_some()),
        }
    }

    /// Visits every page but the lock page, in order; returns how many pages the database has, or
    /// `None` when `visit` wanted no more.
    pub fn for_each_page(&self, mut visit: impl FnMut(Pgno, &[u8]) -> bool) -> Result<Option<u32>, SqliteError> {
        const VERB: &str = "read the pages of";
        let failed = |e: rusqlite::Error| self.error(VERB, &e);
        let mut statement = self.conn.prepare_cached("SELECT pgno, data FROM sqlite_dbpage('copy')").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let mut pages = 0;
        while let Some(row) = rows.next().map_err(failed)? {
            pages = row.get(0).map_err(failed)?;
            let data = row.get_ref(1).map_err(failed)?.as_blob().map_err(|e| failed(e.into()))?;
            let pgno = Pgno::new(pages).ok_or_else(|| SqliteError::other(VERB, &self.path, "page number zero"))?;
            if pgno != self.page_size.lock_page() && !visit(pgno, data) {
                return Ok(None);
            }
        }
        Ok(Some(pages))
    }

    /// Replaces or adds a page. Page 1 comes after all others, because what is written after the
    /// schema's page could be judged by it.
    pub fn write_page(&self, pgno: Pgno, page: &[u8]) -> Result<(), SqliteError> {
        debug_assert!(pgno != self.page_size.lock_page(), "the lock page is never written");
        self.write(pgno.get(), Some(page))
    }

    /// Cuts the database to so many pages. The last thing before the commit: a page that is written
    /// later takes it back.
    pub fn truncate(&self, pages: u32) -> Result<(), SqliteError> {
        self.write(pages + 1, None)
    }

    fn write(&self, number: u32, page: Option<&[u8]>) -> Result<(), SqliteError> {
        let insert = "INSERT INTO sqlite_dbpage(pgno, data, schema) VALUES (?1, ?2, 'copy')";
        let written = self.conn.prepare_cached(insert).and_then(|mut i| i.execute(params![number, page]));
        written.map(drop).map_err(|e| self.error("write a page of", &e))
    }

    /// What was written is durable when this returns.
    pub fn commit(&self) -> Result<(), SqliteError> {
        self.conn.execute_batch("COMMIT").map_err(|e| self.error("commit to", &e))
    }

    /// Takes back what was written.
    pub fn roll_back(&self) -> Result<(), SqliteError> {
        match self.holds_lock() {
            true => self.conn.execute_batch("ROLLBACK").map_err(|e| self.error("end a transaction on", &e)),
            false => Ok(()),
        }
    }

    fn error(&self, verb: &'static str, error: &rusqlite::Error) -> SqliteError {
        SqliteError::from_rusqlite(verb, &self.path, error)
    }
}

impl Drop for LiveCopy {
    /// The transaction ends before its lock is let go.
    fn drop(&mut self) {
        if let Err(error) = self.roll_back() {
            tracing::debug!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(path: &Path) -> rusqlite::Connection {
        let app = rusqlite::Connection::open(path).expect("open");
        app.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(x)").expect("create");
        app
    }

    #[test]
    fn the_lock_is_kept_between_commits_and_a_foreign_commit_is_told() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("ä ?#%x.db");
        let app = app(&path);
        app.busy_timeout(Duration::ZERO).expect("set");
        let insert = || app.execute("INSERT INTO t VALUES (1)", []);
        let mut copy = LiveCopy::open(&path, Duration::ZERO).expect("open");
        insert().expect("the lock is not held yet");
        assert_eq!(copy.hold().expect("taken"), WriteLock::Yes);
        assert!(insert().is_err() && copy.holds_lock());
        let count: i64 = app.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("readers go on");
        assert_eq!(count, 1);
        let mut page = vec![0; copy.page_size().bytes()];
        assert!(copy.read_page(Pgno::FIRST, &mut page).expect("read"));
        copy.write_page(Pgno::FIRST, &page).expect("written");
        copy.commit().expect("commit");
        assert!(insert().is_err() && !copy.holds_lock(), "nothing slips in");
        let other = LiveCopy::open(&path, Duration::ZERO).expect("open").hold().expect("answer");
        assert_eq!(other, WriteLock::Busy, "in this process neither");
        assert_eq!(copy.hold().expect("taken"), WriteLock::Yes, "our own commit");
        copy.roll_back().expect("nothing");
        assert!(insert().is_err());
        drop(copy);
        insert().expect("it is let go");
        let mut copy = LiveCopy::open(&path, Duration::ZERO).expect("open");
        app.execute_batch("BEGIN IMMEDIATE").expect("begin");
        assert_eq!(copy.hold().expect("answer"), WriteLock::Busy);
        app.execute_batch("COMMIT").expect("commit");
        assert_eq!(copy.hold().expect("taken"), WriteLock::Yes, "for the first time nothing is compared");
        assert!(insert().is_err());
    }

    /// Without the means to keep the lock a foreign commit is told.
    #[test]
    fn a_foreign_commit_is_told() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let app = app(&path);
        app.busy_timeout(Duration::ZERO).expect("set");
        let mut copy = LiveCopy::open(&path, Duration::ZERO).expect("open");
        copy.lock = None;
        assert_eq!(copy.hold().expect("taken"), WriteLock::Yes);
        copy.commit().expect("nothing");
        app.execute("INSERT INTO t VALUES (1)", []).expect("it slips in");
        assert_eq!(copy.hold().expect("taken"), WriteLock::Foreign);
        assert_eq!(copy.hold().expect("taken"), WriteLock::Yes);
    }

    /// As every database does that grows or shrinks, page 1 says how many pages there are.
    #[test]
    fn pages_are_added_and_cut_off() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let app = app(&path);
        let mut copy = LiveCopy::open(&path, Duration::ZERO).expect("open");
        assert_eq!(copy.hold().expect("taken"), WriteLock::Yes);
        let count = |copy: &LiveCopy| copy.for_each_page(|_, _| true).expect("read").expect("all");
        let say_size = |copy: &LiveCopy, pages: u32| {
            let mut first = vec![0; copy.page_size().bytes()];
            copy.read_page(Pgno::FIRST, &mut first).expect("read");
            first[28..32].copy_from_slice(&pages.to_be_bytes());
            copy.write_page(Pgno::FIRST, &first).expect("write");
        };
        let pages = count(&copy);
        let (mut page, beyond) = (vec![7; copy.page_size().bytes()], Pgno::new(pages + 2).expect("not zero"));
        assert!(!copy.read_page(beyond, &mut page).expect("read"));
        copy.write_page(Pgno::new(pages + 1).expect("not zero"), &page).expect("write");
        copy.write_page(beyond, &page).expect("write");
        say_size(&copy, pages + 2);
        copy.commit().expect("commit");
        copy.hold().expect("taken");
        assert_eq!(count(&copy), pages + 2);
        say_size(&copy, pages);
        copy.truncate(pages).expect("write");
        copy.commit().expect("commit");
        copy.hold().expect("taken");
        assert_eq!(count(&copy), pages);
        assert_eq!(copy.for_each_page(|_, _| false).expect("read"), None);
        let sound: String = app.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("check");
        assert_eq!(sound, "ok");
    }

    #[test]
    fn what_is_missing_is_not_created() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert!(LiveCopy::open(&dir.path().join("app.db"), Duration::ZERO).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).expect("dir").count(), 0);
    }
}
