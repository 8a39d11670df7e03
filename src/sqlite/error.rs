//! What SQLite refused, in terms of what the caller does next.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// Somebody holds the lock: try again later.
    #[error("{verb} {}: the database is locked", path.display())]
    Busy { verb: &'static str, path: PathBuf },
    /// The file is not there (any more).
    #[error("{verb} {}: no such file, or it cannot be opened: {detail}", path.display())]
    CannotOpen { verb: &'static str, path: PathBuf, detail: String },
    /// The file system refuses writes: permissions or read-only.
    #[error("{verb} {}: not writable by this user: {detail}", path.display())]
    ReadOnly { verb: &'static str, path: PathBuf, detail: String },
    /// The content is damaged or not a database at all.
    #[error("{verb} {}: {detail}", path.display())]
    Corrupt { verb: &'static str, path: PathBuf, detail: String },
    /// Anything else: I/O errors, memory, a library built differently.
    #[error("{verb} {}: {detail}", path.display())]
    Other { verb: &'static str, path: PathBuf, detail: String },
}

impl SqliteError {
    pub fn is_busy(&self) -> bool {
        matches!(self, SqliteError::Busy { .. })
    }

    pub(super) fn other(verb: &'static str, path: &Path, detail: impl Into<String>) -> SqliteError {
        SqliteError::Other { verb, path: path.to_owned(), detail: detail.into() }
    }

    pub(super) fn from_rusqlite(verb: &'static str, path: &Path, error: &rusqlite::Error) -> SqliteError {
        let path = path.to_owned();
        let detail = error.to_string();
        match error.sqlite_error_code() {
            // The last is what SQLite says when somebody stands still with a lock that is held for moments only: an application
            // that was suspended while it wrote to the wal-index.
            Some(
                rusqlite::ErrorCode::DatabaseBusy
                | rusqlite::ErrorCode::DatabaseLocked
                | rusqlite::ErrorCode::FileLockingProtocolFailed,
            ) => SqliteError::Busy { verb, path },
            Some(rusqlite::ErrorCode::CannotOpen) => SqliteError::CannotOpen { verb, path, detail },
            Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::PermissionDenied) => {
                SqliteError::ReadOnly { verb, path, detail }
            }
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                SqliteError::Corrupt { verb, path, detail }
            }
            _ => SqliteError::Other { verb, path, detail },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_others_is_no_end() {
        use rusqlite::ffi;
        for (code, is_busy) in [
            (ffi::SQLITE_BUSY, true),
            (ffi::SQLITE_BUSY_RECOVERY, true),
            (ffi::SQLITE_BUSY_SNAPSHOT, true),
            (ffi::SQLITE_LOCKED, true),
            (ffi::SQLITE_PROTOCOL, true),
            (ffi::SQLITE_IOERR, false),
            (ffi::SQLITE_CORRUPT, false),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(SqliteError::from_rusqlite("look at", Path::new("x"), &error).is_busy(), is_busy, "{code}");
        }
    }
}
