//! One replicator per database: an advisory lock on a file of our own.
//!
//! Two processes on one volume (a rolling deploy) may both run their application, since SQLite allows that; only one may
//! replicate. The lock goes away with its holder, however that ends.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::fsx::{self, Context};

const LOCK_FILE: &str = "lock";

/// Held as long as the value lives.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock in `directory`, which is created if missing; `None` when another process holds it.
    pub fn try_take(directory: &Path) -> fsx::Result<Option<Lock>> {
        fsx::create_dir_all(directory)?;
        let path = directory.join(LOCK_FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .on("open", &path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Lock { _file: file })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()).on("lock", &path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_can_hold_it_and_it_goes_with_its_holder() {
        let dir = tempfile::tempdir().expect("tempdir");
        let meta = dir.path().join("meta");
        let first = Lock::try_take(&meta).expect("take");
        assert!(first.is_some());
        assert!(Lock::try_take(&meta).expect("answer").is_none());
        drop(first);
        assert!(Lock::try_take(&meta).expect("take").is_some());
    }
}
