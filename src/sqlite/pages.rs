//! Page images through SQLite itself, by the `sqlite_dbpage` virtual table.
//!
//! Inside a read transaction every page is that transaction's version of it, wherever it is (WAL,
//! database file, cache), and no lock is held against writers. The lock page reads as zeros and is
//! left out.

use super::connection::Connection;
use super::error::SqliteError;
use crate::page::{PageSize, Pgno};

impl Connection {
    /// Fails, with the reason, when the library was compiled without `sqlite_dbpage`.
    pub fn check_page_access(&self) -> Result<(), SqliteError> {
        let prepared = self.conn().and_then(|conn| conn.prepare("SELECT data FROM sqlite_dbpage").map(drop));
        prepared.map_err(|_| {
            let detail = "this SQLite was built without SQLITE_ENABLE_DBPAGE_VTAB, which full images need";
            SqliteError::other("read pages of", &self.path, detail)
        })
    }

    /// Copies one page as the open transaction sees it. A page past the end of the file reads as
    /// zeros: the database grew over it without ever writing it.
    pub fn read_page(&self, pgno: Pgno, page: &mut [u8]) -> Result<(), SqliteError> {
        const VERB: &str = "read a page of";
        let mut copy = || -> rusqlite::Result<bool> {
            let mut statement =
                self.conn()?.prepare_cached("SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1")?;
            let mut rows = statement.query([pgno.get()])?;
            let Some(row) = rows.next()? else {
                page.fill(0);
                return Ok(true);
            };
            let data = row.get_ref(0)?.as_blob()?;
            let fits = data.len() == page.len();
            if fits {
                page.copy_from_slice(data);
            }
            Ok(fits)
        };
        match copy().map_err(|e| self.error(VERB, &e))? {
            true => Ok(()),
            false => Err(SqliteError::other(VERB, &self.path, "the page size changed")),
        }
    }

    /// Visits every page but the lock page, in order, as the open transaction sees it. `visit` may
    /// stop with its own error.
    pub fn for_each_page<E: From<SqliteError>>(
        &self,
        page_size: PageSize,
        mut visit: impl FnMut(Pgno, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        const VERB: &str = "read the pages of";
        let failed = |e: rusqlite::Error| E::from(self.error(VERB, &e));
        let conn = self.conn().map_err(failed)?;
        let mut statement = conn.prepare_cached("SELECT pgno, data FROM sqlite_dbpage('main')").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let number: u32 = row.get(0).map_err(failed)?;
            let data = row.get_ref(1).map_err(failed)?.as_blob().map_err(|e| failed(e.into()))?;
            let pgno = Pgno::new(number).ok_or_else(|| SqliteError::other(VERB, &self.path, "page number zero"))?;
            if data.len() != page_size.bytes() {
                return Err(SqliteError::other(VERB, &self.path, "the page size changed").into());
            }
            if pgno != page_size.lock_page() {
                visit(pgno, data)?;
            }
        }
        Ok(())
    }
}
