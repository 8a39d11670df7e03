//! One connection to the user's database, with exactly the calls that replication needs.
//!
//! The four states of a connection, and what each does to the WAL:
//!
//! | state | begun by | effect while it lasts |
//! |---|---|---|
//! | idle | [`Connection::end`] | none, except that it prevents `journal_mode=DELETE` |
//! | pinned | [`Connection::pin`] | own read slot: no process can restart the WAL |
//! | resting | [`Connection::rest`] | slot 0 if all is backfilled: see below |
//! | write lock | [`Connection::begin_write`] | no commit can happen |
//!
//! While one rests on slot 0, the next writer may restart the WAL *once*; its new frames cannot be
//! backfilled, so a second restart cannot happen.
//!
//! Nothing here ever writes a row, a table or a page of its own.

use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{OpenFlags, ffi};

use super::access;
use super::error::SqliteError;
use super::mark::Mark;
use crate::page::PageSize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointMode {
    /// Copies what no reader needs; never waits.
    Passive,
    /// Also empties the file; returns busy instead of waiting.
    Truncate,
}

/// What a checkpoint reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// A reader, a writer or another checkpoint was in the way.
    pub busy: bool,
    /// Frames in the WAL.
    pub frames: u32,
    /// Frames of them that are in the database file.
    pub backfilled: u32,
}

impl Checkpoint {
    pub fn is_complete(&self) -> bool {
        !self.busy && self.frames == self.backfilled
    }
}

pub struct Connection {
    conn: Option<rusqlite::Connection>,
    pub(super) path: PathBuf,
}

impl Connection {
    /// In the place of one that is closed: nothing can be done with it.
    pub fn none() -> Connection {
        Connection { conn: None, path: PathBuf::new() }
    }

    pub(super) fn conn(&self) -> rusqlite::Result<&rusqlite::Connection> {
        let why = || Some("the connection is closed".to_owned());
        self.conn.as_ref().ok_or_else(|| rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_MISUSE), why()))
    }

    /// Without what a [`Connection`] may do; the file stays open.
    pub(super) fn into_inner(self) -> rusqlite::Result<rusqlite::Connection> {
        self.conn()?;
        Ok(self.conn.expect("it is open"))
    }

    /// For SQLite's own functions; valid as long as `self` is borrowed.
    pub(super) fn handle(&self, verb: &'static str) -> Result<*mut ffi::sqlite3, SqliteError> {
        let conn = self.conn().map_err(|error| self.error(verb, &error))?;
        // SAFETY: the handle is used while the connection is borrowed, and never closed.
        Ok(unsafe { conn.handle() })
    }

    /// Opens an existing database; `path` must be absolute (a relative one could be read as a URI),
    /// and [`check_access`] must have allowed it.
    ///
    /// [`check_access`]: super::check_access
    pub fn open(path: &Path, busy_timeout: Duration) -> Result<Connection, SqliteError> {
        assert!(path.is_absolute(), "a database path is made absolute before it is opened");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = rusqlite::Connection::open_with_flags(path, flags)
            .map_err(|e| SqliteError::from_rusqlite("open", path, &e))?;
        // SQLite opens what it may not write to all the same, to read. Nothing has been read yet,
        // and no file was made.
        if conn.is_readonly("main").map_err(|e| SqliteError::from_rusqlite("open", path, &e))? {
            let detail = "SQLite can only read it".into();
            return Err(SqliteError::ReadOnly { verb: "open", path: path.to_owned(), detail });
        }
        let this = Connection { conn: Some(conn), path: path.to_owned() };
        this.configure(busy_timeout).map_err(|e| SqliteError::from_rusqlite("open", path, &e))?;
        Ok(this)
    }

    /// Opens an existing database to look at it, and writes nothing, not even what its journal
    /// would bring back. With `immutable` no lock is taken and no file is made beside it: only for
    /// a database that no process has open.
    pub fn open_to_read(path: &Path, immutable: bool, busy_timeout: Duration) -> Result<Connection, SqliteError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = rusqlite::Connection::open_with_flags(uri(path, immutable), flags)
            .map_err(|e| SqliteError::from_rusqlite("open", path, &e))?;
        let this = Connection { conn: Some(conn), path: path.to_owned() };
        this.configure(busy_timeout).map_err(|e| SqliteError::from_rusqlite("open", path, &e))?;
        Ok(this)
    }

    /// Leaves the WAL alone when it closes, checkpoints only when asked, trusts nothing in the
    /// schema.
    fn configure(&self, busy_timeout: Duration) -> rusqlite::Result<()> {
        let conn = self.conn()?;
        conn.busy_timeout(busy_timeout)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        let mut persist_wal: std::ffi::c_int = 1;
        // SAFETY: the handle is open for the duration of the call, "main" is NUL-terminated, and
        // this control reads and writes one int, which `persist_wal` is. A failure (no VFS support)
        // only costs a full image after the next start.
        unsafe {
            ffi::sqlite3_file_control(
                conn.handle(),
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_PERSIST_WAL,
                ptr::from_mut(&mut persist_wal).cast(),
            )
        };
        // A small cache: pages are read once, in order (a larger one is measurably slower).
        conn.execute_batch("PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-64; PRAGMA application_id;")
    }

    pub fn set_busy_timeout(&self, timeout: Duration) -> Result<(), SqliteError> {
        self.conn().and_then(|conn| conn.busy_timeout(timeout)).map_err(|e| self.error("set the busy timeout of", &e))
    }

    /// The journal mode as SQLite names it: `wal`, `delete`, …
    pub fn journal_mode(&self) -> Result<String, SqliteError> {
        self.pragma("PRAGMA journal_mode", "read the journal mode of")
    }

    /// Converts the database to WAL; returns the mode it is in afterwards.
    pub fn set_wal_mode(&self) -> Result<String, SqliteError> {
        self.pragma("PRAGMA journal_mode=WAL", "convert to WAL")
    }

    /// Lets whoever shares the database through its group use the files that this connection has
    /// created beside it.
    pub fn share_new_files(&self) {
        access::give_to_group(&self.path);
    }

    pub fn page_size(&self) -> Result<PageSize, SqliteError> {
        let bytes: u32 = self.pragma("PRAGMA page_size", "read the page size of")?;
        PageSize::new(bytes).ok_or_else(|| SqliteError::other("read the page size of", &self.path, "not a page size"))
    }

    /// Begins a read transaction under which no process can restart the WAL, and says where it
    /// stands.
    pub fn pin(&self) -> Result<Mark, SqliteError> {
        const VERB: &str = "begin a read transaction on";
        self.execute("BEGIN").map_err(|e| self.error(VERB, &e))?;
        let mark = self.snapshot(VERB);
        if mark.is_err() {
            self.end_quietly();
        }
        mark
    }

    /// Begins a read transaction that lets the next writer restart the WAL if all of it is
    /// backfilled.
    pub fn rest(&self) -> Result<(), SqliteError> {
        let rested = self.execute("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1");
        rested.map_err(|e| {
            self.end_quietly();
            self.error("begin a read transaction on", &e)
        })
    }

    /// Takes the write lock without writing; `false` when another connection has it.
    pub fn begin_write(&self) -> Result<bool, SqliteError> {
        match self.execute("BEGIN IMMEDIATE") {
            Ok(()) => Ok(true),
            Err(error) => match self.error("take the write lock of", &error) {
                SqliteError::Busy { .. } => Ok(false),
                error => Err(error),
            },
        }
    }

    /// Ends whatever transaction is open; harmless when none is.
    pub fn end(&self) -> Result<(), SqliteError> {
        if self.conn.as_ref().is_none_or(rusqlite::Connection::is_autocommit) {
            return Ok(());
        }
        self.execute("ROLLBACK").map_err(|e| self.error("end a transaction on", &e))
    }

    /// Runs a checkpoint; the connection must be idle.
    pub fn checkpoint(&self, mode: CheckpointMode) -> Result<Checkpoint, SqliteError> {
        let mode = match mode {
            CheckpointMode::Passive => ffi::SQLITE_CHECKPOINT_PASSIVE,
            CheckpointMode::Truncate => ffi::SQLITE_CHECKPOINT_TRUNCATE,
        };
        let (mut frames, mut backfilled) = (0, 0);
        let handle = self.handle("checkpoint")?;
        // Not the PRAGMA: compiling it takes long enough for a busy writer's automatic checkpoint
        // to come first. SAFETY: the handle is open and used by this thread only, "main" is
        // NUL-terminated, and both counts are valid places for an int.
        let code = unsafe {
            ffi::sqlite3_wal_checkpoint_v2(handle, c"main".as_ptr(), mode, &raw mut frames, &raw mut backfilled)
        };
        let busy = code & 0xff == ffi::SQLITE_BUSY;
        if code != ffi::SQLITE_OK && !busy {
            return Err(self.error("checkpoint", &rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)));
        }
        // Both counts are -1 while the database is not in WAL mode.
        let count = |n: i32| u32::try_from(n).unwrap_or(0);
        Ok(Checkpoint { busy, frames: count(frames), backfilled: count(backfilled) })
    }

    fn snapshot(&self, verb: &'static str) -> Result<Mark, SqliteError> {
        let mut snapshot: *mut ffi::sqlite3_snapshot = ptr::null_mut();
        let handle = self.handle(verb)?;
        // SAFETY: the handle is open and used by this thread only, "main" is NUL-terminated, and
        // `snapshot` is a valid place for the result, which is only read when SQLite says it was
        // set.
        let code = unsafe { ffi::sqlite3_snapshot_get(handle, c"main".as_ptr(), &mut snapshot) };
        if code == ffi::SQLITE_OK && !snapshot.is_null() {
            // SAFETY: SQLite returned OK, so this points to a snapshot that we own until it is
            // freed below.
            let header = unsafe { &*snapshot };
            let (mark, is_empty) = (Mark::from_snapshot(header), Mark::names_no_wal(header));
            // SAFETY: freed once, and not used afterwards.
            unsafe { ffi::sqlite3_snapshot_free(snapshot) };
            if is_empty {
                return self.mark_without_wal();
            }
            return mark.ok_or_else(|| SqliteError::other(verb, &self.path, "unknown wal-index layout"));
        }
        if code == ffi::SQLITE_ERROR {
            // The transaction is open, but the WAL has no content that a snapshot could name.
            return self.mark_without_wal();
        }
        let failure = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        Err(SqliteError::from_rusqlite(verb, &self.path, &failure))
    }

    fn mark_without_wal(&self) -> Result<Mark, SqliteError> {
        Ok(Mark { page_size: self.page_size()?, pages: self.page_count()?, wal: None })
    }

    fn page_count(&self) -> Result<u32, SqliteError> {
        self.pragma("PRAGMA page_count", "read the size of")
    }

    fn pragma<T: rusqlite::types::FromSql>(&self, sql: &str, verb: &'static str) -> Result<T, SqliteError> {
        self.conn().and_then(|conn| conn.query_row(sql, [], |row| row.get(0))).map_err(|e| self.error(verb, &e))
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn()?.execute_batch(sql)
    }

    fn end_quietly(&self) {
        if let Err(error) = self.end() {
            tracing::debug!("{error}");
        }
    }

    pub(super) fn error(&self, verb: &'static str, error: &rusqlite::Error) -> SqliteError {
        SqliteError::from_rusqlite(verb, &self.path, error)
    }
}

/// A URI that names the file, whatever characters are in its path.
pub fn uri(path: &Path, immutable: bool) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;

    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => uri.push(char::from(*byte)),
            _ => write!(uri, "%{byte:02x}").expect("writing to a string cannot fail"),
        }
    }
    if immutable { uri + "?immutable=1" } else { uri }
}

#[cfg(test)]
mod tests;
