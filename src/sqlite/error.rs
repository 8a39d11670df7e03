//! What SQLite refused, in terms of what the caller does next.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::AccessFlags;

/// Less than this is not enough for a -shm and the first commits.
const LITTLE_ROOM_BYTES: u64 = 1 << 20;
/// So few descriptors are left when there is no room for the files of one database.
const NEARLY_ALL: u64 = 8;

#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// Another connection holds the lock: try again later.
    #[error("{verb} {}: the database is locked", path.display())]
    Busy { verb: &'static str, path: PathBuf },
    /// The database, its WAL or its shm cannot be opened; the detail says why.
    #[error("{verb} {}: {detail}", path.display())]
    CannotOpen { verb: &'static str, path: PathBuf, detail: String },
    /// Neither it nor anything else can be opened now: try again later.
    #[error("{verb} {}: {detail}", path.display())]
    OutOfFiles { verb: &'static str, path: PathBuf, detail: String },
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

    pub fn is_out_of_files(&self) -> bool {
        matches!(self, SqliteError::OutOfFiles { .. })
    }

    /// The file does not hold a database, or a damaged one.
    pub fn is_malformed(&self) -> bool {
        matches!(self, SqliteError::Corrupt { .. })
    }

    pub(super) fn other(verb: &'static str, path: &Path, detail: impl Into<String>) -> SqliteError {
        SqliteError::Other { verb, path: path.to_owned(), detail: detail.into() }
    }

    pub(super) fn from_rusqlite(verb: &'static str, path: &Path, error: &rusqlite::Error) -> SqliteError {
        let path = path.to_owned();
        let detail = error.to_string();
        match error.sqlite_error_code() {
            // The last is what SQLite says when a process stands still with a lock that is held for
            // moments only: an application that was suspended while it wrote to the wal-index.
            Some(
                rusqlite::ErrorCode::DatabaseBusy
                | rusqlite::ErrorCode::DatabaseLocked
                | rusqlite::ErrorCode::FileLockingProtocolFailed,
            ) => SqliteError::Busy { verb, path },
            Some(rusqlite::ErrorCode::CannotOpen) => match out_of_files() {
                Some(error) => SqliteError::OutOfFiles { verb, path, detail: told(&error) },
                None => {
                    let detail = why_not_opened(&path).unwrap_or(detail);
                    SqliteError::CannotOpen { verb, path, detail }
                }
            },
            Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::PermissionDenied) => {
                SqliteError::ReadOnly { verb, path, detail }
            }
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                SqliteError::Corrupt { verb, path, detail }
            }
            Some(rusqlite::ErrorCode::SystemIoFailure) => {
                let directory = crate::fsx::parent(&path);
                let detail = with_room(detail, free_bytes(directory), directory);
                SqliteError::Other { verb, path, detail }
            }
            _ => SqliteError::Other { verb, path, detail },
        }
    }
}

/// SQLite cannot make its -wal or -shm on a full disk, and calls that an I/O error.
fn with_room(detail: String, free: Option<u64>, directory: &Path) -> String {
    match free.filter(|free| *free < LITTLE_ROOM_BYTES) {
        Some(free) => {
            let directory = directory.display();
            format!("{detail}: {free} bytes are free in {directory}; free some space, or enlarge the volume")
        }
        None => detail,
    }
}

fn free_bytes(directory: &Path) -> Option<u64> {
    let room = statvfs(directory).ok()?;
    #[expect(clippy::useless_conversion, reason = "these types differ between systems")]
    let (blocks, size) = (u64::from(room.blocks_available()), u64::from(room.fragment_size()));
    Some(blocks.saturating_mul(size))
}

/// What SQLite does not tell with "unable to open database file": looked up at once, while the
/// cause still stands. The database itself is never opened here, because closing it would drop this
/// process's locks.
fn why_not_opened(path: &Path) -> Option<String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return Some(told(&error)),
    };
    if metadata.is_dir() {
        return Some("it is a directory".into());
    }
    let directory = crate::fsx::parent(path);
    let cannot = |path: &Path, flags| nix::unistd::eaccess(path, flags).err().map(io::Error::from);
    let in_directory =
        |error| format!("the directory {}, where SQLite keeps its -wal and -shm: {error}", directory.display());
    cannot(path, AccessFlags::R_OK).map(|error| told(&error)).or_else(|| {
        let error = cannot(directory, AccessFlags::W_OK | AccessFlags::X_OK)?;
        Some(in_directory(error))
    })
}

/// Whether it was for want of a descriptor. Another thread may have closed some since: the lowest
/// free number is always taken, so one of the highest is in use if all were a moment ago.
fn out_of_files() -> Option<io::Error> {
    if let Err(error) = File::open("/dev/null")
        && crate::fsx::is_out_of_files(&error)
    {
        return Some(error);
    }
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let highest = limit.saturating_sub(NEARLY_ALL)..limit;
    let is_used = |number: u64| i32::try_from(number).is_ok_and(is_open);
    highest.into_iter().any(is_used).then(|| io::Error::from_raw_os_error(libc::EMFILE))
}

fn is_open(number: i32) -> bool {
    // SAFETY: it only asks for a flag of the number, whatever that stands for.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}

fn told(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "this process has too many open files; raise its limit (ulimit -n)".into(),
        Some(libc::ENFILE) => "this machine has too many open files; raise its limit (fs.file-max)".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_opened_is_told_with_its_cause() {
        use rusqlite::ffi;
        let dir = tempfile::tempdir().expect("tempdir");
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), None);
        let sentence = |path: &Path| SqliteError::from_rusqlite("open", path, &error).to_string();
        assert!(sentence(&dir.path().join("absent/x.db")).ends_with("No such file or directory (os error 2)"));
        assert!(sentence(dir.path()).ends_with("it is a directory"));
        let file = dir.path().join("x.db");
        fs::write(&file, "").expect("write");
        assert!(sentence(&file.join("y.db")).ends_with("Not a directory (os error 20)"));
        assert!(!sentence(&file).contains("no such file"), "it is there");
        let many = |code| told(&io::Error::from_raw_os_error(code));
        assert!(many(libc::EMFILE).contains("too many open files; raise its limit (ulimit -n)"));
        assert!(many(libc::ENFILE).contains("this machine has too many open files"));
    }

    #[test]
    fn a_full_disk_is_told_with_an_io_error() {
        let told = |free| with_room("disk I/O error".into(), free, Path::new("/data"));
        assert_eq!(told(None), "disk I/O error");
        assert_eq!(told(Some(LITTLE_ROOM_BYTES)), "disk I/O error");
        let full = "disk I/O error: 0 bytes are free in /data; free some space, or enlarge the volume";
        assert_eq!(told(Some(0)), full);
        assert!(free_bytes(Path::new("/")).is_some_and(|free| free > 0) && free_bytes(Path::new("/absent")).is_none());
    }

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
