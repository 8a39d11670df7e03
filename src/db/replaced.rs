//! Another file is at a database's path: what the old one has left beside it, and who still uses
//! it.
//!
//! While a database is replicated its WAL stays, whoever closes it. When a maintenance puts another
//! file in its place, that WAL would be taken for the new file's, and its pages for newer ones. So
//! it goes before the new file is opened, unless a program has opened the new file with it already.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::error::DbError;
use super::identity::Identity;
use super::open::{Db, Tuning};
use crate::fsx;
use crate::sqlite::{Connection, LockBytes, is_locked_by_another_process};

/// `UNIX_SHM_DMS` of SQLite's unix VFS: every connection that uses the `-shm` has a shared lock on
/// this byte of it.
const SHM_IN_USE: LockBytes = (128, 1);

/// What is left of a database that was replaced.
#[derive(Clone, Debug)]
pub struct Remains {
    inode: u64,
    beside: Vec<(PathBuf, Identity)>,
}

impl Db {
    /// What will be left of it when this value is gone.
    pub fn remains(&self) -> Remains {
        let (inode, beside) = self.files.parts();
        Remains { inode, beside: beside.to_vec() }
    }

    /// Opens the file that is at `path` now. The connections to the old one end first, also where
    /// this fails: then it is to be tried again before anything else is done.
    pub fn reopen(&mut self, path: &Path, tuning: Tuning, remains: &Remains) -> Result<(), DbError> {
        self.checkpoint_lock.release();
        (self.reader, self.spare) = (Connection::none(), Connection::none());
        remains.clear()?;
        *self = Db { flavour: self.flavour, ..Db::open(path, tuning)? };
        Ok(())
    }
}

impl Remains {
    /// Nothing is to be removed: the WAL is that of the file.
    pub fn none() -> Remains {
        Remains { inode: 0, beside: Vec::new() }
    }

    /// Another process that has the old file open, as far as the kernel tells.
    pub fn user(&self) -> Option<u32> {
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        holder(&locks, self.inode, std::process::id())
    }

    /// Removes the old WAL and its index, unless another program uses them. No connection of this
    /// process may be open.
    pub fn clear(&self) -> fsx::Result<()> {
        if self.beside.iter().any(|(path, identity)| is_still(path, *identity) && is_shared(path)) {
            return Ok(());
        }
        for (path, identity) in &self.beside {
            if is_still(path, *identity) {
                fsx::remove_file_if_exists(path)?;
            }
        }
        Ok(())
    }
}

fn is_still(path: &Path, identity: Identity) -> bool {
    Identity::of(path).is_ok_and(|now| now == Some(identity))
}

/// Whether it is a `-shm` that another process has locked.
fn is_shared(path: &Path) -> bool {
    if !path.as_os_str().as_encoded_bytes().ends_with(b"-shm") {
        return false;
    }
    let Ok(shm) = File::options().read(true).write(true).open(path) else { return true };
    is_locked_by_another_process(&shm, SHM_IN_USE).unwrap_or(true)
}

/// The process other than `own` that holds a lock on the file, by the lines of `/proc/locks`.
fn holder(locks: &str, inode: u64, own: u32) -> Option<u32> {
    let suffix = format!(":{inode}");
    locks.lines().find_map(|line| {
        // 1: POSIX  ADVISORY  READ 1234 08:01:5678 1073741826 1073742335
        let mut words = line.split_whitespace().skip_while(|word| !matches!(*word, "READ" | "WRITE")).skip(1);
        let (pid, file) = (words.next()?.parse().ok()?, words.next()?);
        (file.ends_with(&suffix) && pid != own).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_lock_is_read_from_the_kernels_list() {
        let locks = "1: POSIX  ADVISORY  READ 41 08:01:5678 1073741826 1073742335\n\
                     2: POSIX  ADVISORY  WRITE 42 08:01:15678 0 EOF\n\
                     3: -> POSIX  ADVISORY  WRITE 43 08:01:99 0 EOF\nnonsense\n";
        assert_eq!(holder(locks, 5678, 1), Some(41));
        assert_eq!(holder(locks, 5678, 41), None, "our own");
        assert_eq!(holder(locks, 15678, 1), Some(42));
        assert_eq!(holder(locks, 99, 1), Some(43));
        assert_eq!(holder(locks, 8, 1), None);
    }

    #[test]
    fn the_old_wal_goes_and_a_new_one_stays() {
        let dir = tempfile::tempdir().expect("tempdir");
        let [wal, shm] = ["a.db-wal", "a.db-shm"].map(|name| dir.path().join(name));
        let identity = |path: &Path| Identity::of(path).expect("stat").expect("it is there");
        for path in [&wal, &shm] {
            std::fs::write(path, "old").expect("write");
        }
        let beside = [&wal, &shm].map(|path| (path.clone(), identity(path)));
        let remains = Remains { inode: 1, beside: beside.into() };
        let new = dir.path().join("new");
        std::fs::write(&new, "new").and_then(|()| std::fs::rename(&new, &wal)).expect("replace");
        remains.clear().expect("clear");
        assert!(wal.exists() && !shm.exists());
    }
}
