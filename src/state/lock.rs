//! One replicator per database: an advisory lock on a file of our own.
//!
//! Two processes on one volume (a rolling deploy) may both run their application, since SQLite
//! allows that; only one may replicate. The lock goes away with its holder, however that ends.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};

use super::ownership;
use crate::fsx::weak::Ability;
use crate::fsx::{self, Context};
use crate::sqlite::lock_holders;

const LOCK_FILE: &str = "lock";

/// Held as long as the value lives.
#[derive(Debug)]
pub struct Lock {
    _file: Held,
}

#[derive(Debug)]
enum Held {
    Flock {
        _file: Flock<File>,
    },
    /// A lock of the open file: what the file system has instead. Or none at all.
    Other {
        _file: File,
    },
}

impl Lock {
    /// Takes the lock of this database in `directory`, which is created if missing; `None` when
    /// another process holds it.
    pub fn try_take(database: &Path, directory: &Path) -> fsx::Result<Option<Lock>> {
        ownership::prepare(database, directory)?;
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
        let locked = match Ability::Flock.attempt(|| Ok(())) {
            Ok(()) => Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(file, errno)| (file, errno.into())),
            Err(error) => Err((file, error)),
        };
        match locked {
            Ok(file) => {
                ownership::settle(&file, &path);
                Ok(Some(Lock { _file: Held::Flock { _file: file } }))
            }
            Err((_, error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err((file, error)) if Ability::Flock.is_lacking(&error) => Lock::try_otherwise(file, &path),
            Err((_, error)) => Err(error).on("lock", &path),
        }
    }

    /// For file systems without `flock`. Where there is no lock at all the history is still safe:
    /// its objects are created, never replaced, so a second replicator is found out by its first
    /// upload.
    fn try_otherwise(file: File, path: &Path) -> fsx::Result<Option<Lock>> {
        let whole = libc::flock { l_type: libc::F_WRLCK as libc::c_short, ..NO_RANGE };
        let locked = Ability::OfdLock.attempt(|| {
            fcntl(&file, FcntlArg::F_OFD_SETLK(&whole)).map_err(io::Error::from)?;
            Ok(())
        });
        match locked {
            Ok(()) => ownership::settle(&file, path),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => return Ok(None),
            Err(error) if Ability::OfdLock.is_lacking(&error) => Ability::OfdLock.is_missed_at(path),
            Err(error) => return Err(error).on("lock", path),
        }
        Ok(Some(Lock { _file: Held::Other { _file: file } }))
    }
}

/// From the first byte on, however long.
const NO_RANGE: libc::flock = libc::flock {
    l_type: libc::F_UNLCK as libc::c_short,
    l_whence: libc::SEEK_SET as libc::c_short,
    l_start: 0,
    l_len: 0,
    l_pid: 0,
};
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
    use crate::fsx::weak::testing::weaken;

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

    #[test]
    fn without_flock_there_is_another_lock_and_without_that_the_work_goes_on() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let take = || Lock::try_take(&path, dir.path()).expect("answer");
        {
            let _weak = weaken(&[(Ability::Flock, libc::ENOSYS)]);
            let first = take();
            assert!(first.is_some() && take().is_none());
            drop(first);
            assert!(take().is_some());
        }
        let _weak = weaken(&[(Ability::Flock, libc::ENOLCK), (Ability::OfdLock, libc::EINVAL)]);
        let (first, second) = (take(), take());
        assert!(first.is_some() && second.is_some(), "nothing can tell them apart");
        drop((first, second));
        let _weak = weaken(&[(Ability::Flock, libc::EIO)]);
        assert!(Lock::try_take(&path, dir.path()).is_err(), "a broken disk is no weak file system");
    }
}
