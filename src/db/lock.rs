//! One replicator per database: an advisory lock on a file of our own.
//!
//! Two processes on one volume (a rolling deploy) may both run their application, since SQLite allows that; only one may
//! replicate. The lock goes away with its holder, however that ends.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::notes;
use crate::fsx::{self, Context};
use crate::sqlite::lock_holders;

const LOCK_FILE: &str = "lock";

/// Held as long as the value lives.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock of this database in `directory`, which is created if missing; `None` when another process holds it.
    pub fn try_take(database: &Path, directory: &Path) -> fsx::Result<Option<Lock>> {
        notes::prepare(database, directory)?;
        let path = directory.join(LOCK_FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|error| explain(error, directory))
            .on("open", &path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => {
                notes::settle(&file, &path);
                Ok(Some(Lock { _file: file }))
            }
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()).on("lock", &path),
        }
    }
}

impl Lock {
    /// Who holds the lock in `directory`, by name, as far as that can be seen from here.
    pub fn holder(directory: &Path) -> String {
        match lock_holders(&directory.join(LOCK_FILE)).join(", ") {
            unseen if unseen.is_empty() => "a process that cannot be seen from here".into(),
            names => names,
        }
    }
}

/// The notes of another user say how to get at them.
fn explain(error: io::Error, directory: &Path) -> io::Error {
    match std::fs::metadata(directory) {
        Ok(found) if error.kind() == ErrorKind::PermissionDenied => {
            let why = format!(
                "permission denied: {} belongs to {}:{}; give it to the owner of the database (chown -R), or start once as root",
                directory.display(),
                found.uid(),
                found.gid()
            );
            io::Error::new(ErrorKind::PermissionDenied, why)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_can_hold_it_and_it_goes_with_its_holder() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, meta) = (dir.path().join("app.db"), dir.path().join("meta"));
        let first = Lock::try_take(&path, &meta).expect("take");
        assert!(first.is_some());
        assert!(Lock::try_take(&path, &meta).expect("answer").is_none());
        drop(first);
        assert!(Lock::try_take(&path, &meta).expect("take").is_some());
    }
}
