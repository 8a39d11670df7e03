//! File systems that lack something: CIFS, FUSE, FAT, the shared folder of a virtual machine.
//!
//! What only strengthens a promise is gone without where the file system has no way to give it: the
//! data is complete all the same. Each lack is said once. An error that a file system with the
//! ability can give (no space, no permission, a broken disk) stays one.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// What a file system may be unable to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    SyncDir,
    SyncFile,
    Times,
    Modes,
    Owners,
    Link,
    RenameNew,
    Flock,
    OfdLock,
}

/// Those that were missed and said.
static SAID: AtomicU32 = AtomicU32::new(0);

impl Ability {
    /// Whether the error says that the file system cannot do this at all.
    pub fn is_lacking(self, error: &io::Error) -> bool {
        let Some(errno) = error.raw_os_error() else { return false };
        let never_known = matches!(errno, libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::ENOTTY);
        let refused = matches!(errno, libc::EPERM | libc::EACCES);
        match self {
            // A directory that may be written and not read cannot be opened for it.
            Ability::SyncDir => never_known || refused || matches!(errno, libc::EBADF | libc::EISDIR),
            Ability::SyncFile => never_known,
            // Of a file that is our own.
            Ability::Times | Ability::Modes => never_known || refused,
            // Everybody but root is refused by every file system.
            Ability::Owners => never_known || refused && nix::unistd::geteuid().is_root(),
            Ability::Link => never_known || refused || matches!(errno, libc::EMLINK | libc::EXDEV | libc::EIO),
            Ability::RenameNew => never_known || matches!(errno, libc::EPERM | libc::EIO),
            Ability::Flock | Ability::OfdLock => never_known || errno == libc::ENOLCK,
        }
    }

    /// What the file system is said to do without, and what that means.
    pub fn consequence(self) -> &'static str {
        match self {
            Ability::SyncDir => "cannot make the name of a new file durable: a power loss may take the newest files",
            Ability::SyncFile => "cannot make a file durable: a power loss may take the newest files",
            Ability::Times => "does not keep times: what is restored for a moment goes by when the files were written",
            Ability::Modes => "does not keep permissions: make sure that only the right users can read the files there",
            Ability::Owners => "does not keep owners: files there belong to whom the mount says",
            Ability::Link | Ability::RenameNew => {
                "has neither hard links nor RENAME_NOREPLACE: a lock file keeps two writers apart as well as it can; make sure \
                 that there is one"
            }
            Ability::Flock | Ability::OfdLock => {
                "has no locks: a second process that replicates the same database is not noticed on this machine; make sure that \
                 there is none"
            }
        }
    }

    /// Says once what it means that this is missing.
    pub fn is_missed_at(self, path: &Path) {
        let bit = 1 << self as u32;
        if SAID.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            let dir = if self == Ability::SyncDir { path } else { super::parent(path) };
            tracing::warn!("the file system of {} {}", dir.display(), self.consequence());
        }
    }

    /// The result, or success where the file system does not have this.
    pub fn or_without(self, result: io::Result<()>, path: &Path) -> io::Result<()> {
        match result {
            Err(error) if self.is_lacking(&error) => {
                self.is_missed_at(path);
                Ok(())
            }
            done => done,
        }
    }

    /// Does it, unless a test has taken the ability away.
    pub fn attempt<T>(self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        #[cfg(test)]
        if let Some(errno) = testing::errno_of(self) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        act()
    }
}

pub(super) fn sync_file(file: &File, path: &Path) -> io::Result<()> {
    Ability::SyncFile.or_without(Ability::SyncFile.attempt(|| file.sync_all()), path)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    let synced = Ability::SyncDir.attempt(|| File::open(dir).and_then(|d| d.sync_all()));
    Ability::SyncDir.or_without(synced, dir)
}

pub(super) fn set_modified(file: &File, path: &Path, time: SystemTime) -> io::Result<()> {
    Ability::Times.or_without(Ability::Times.attempt(|| file.set_modified(time)), path)
}

pub(super) fn set_mode(file: &File, path: &Path, mode: u32) -> io::Result<()> {
    let set = || file.set_permissions(fs::Permissions::from_mode(mode));
    Ability::Modes.or_without(Ability::Modes.attempt(set), path)
}

pub(super) fn set_owner(file: &File, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let set = || std::os::unix::fs::fchown(file, Some(uid), Some(gid));
    Ability::Owners.or_without(Ability::Owners.attempt(set), path)
}

/// A second name for a file; it must not exist yet.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    Ability::Link.attempt(|| fs::hard_link(from, to))
}

/// A rename that replaces nothing.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let c = |path: &Path| std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    let (from, to) = (c(from)?, c(to)?);
    Ability::RenameNew.attempt(|| {
        let here = libc::AT_FDCWD;
        // SAFETY: both are NUL-terminated strings that outlive the call.
        match unsafe { libc::renameat2(here, from.as_ptr(), here, to.as_ptr(), libc::RENAME_NOREPLACE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    })
}

/// Takes abilities away from the file system, as seen by this thread.
#[cfg(test)]
pub mod testing {
    use std::cell::RefCell;

    use super::Ability;

    thread_local! {
        static LACKING: RefCell<Vec<(Ability, i32)>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn errno_of(ability: Ability) -> Option<i32> {
        LACKING.with_borrow(|lacking| lacking.iter().find(|(a, _)| *a == ability).map(|(_, errno)| *errno))
    }

    /// While the value lives, these fail with these errors.
    pub struct Weak;

    pub fn weaken(abilities: &[(Ability, i32)]) -> Weak {
        LACKING.set(abilities.to_vec());
        Weak
    }

    impl Drop for Weak {
        fn drop(&mut self) {
            LACKING.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::weaken;
    use super::*;

    #[test]
    fn what_a_file_system_cannot_do_is_told_from_what_went_wrong() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("x");
        let file = File::create(&path).expect("create");
        let all = |errno| {
            use Ability::*;
            let _weak = weaken(&[SyncDir, SyncFile, Times, Modes].map(|ability| (ability, errno)));
            [
                sync_dir(dir.path()),
                sync_file(&file, &path),
                set_modified(&file, &path, SystemTime::UNIX_EPOCH),
                set_mode(&file, &path, 0o600),
            ]
            .map(|done| done.is_ok())
        };
        for (errno, gone_without) in [
            (libc::EINVAL, [true; 4]),
            (libc::ENOSYS, [true; 4]),
            (libc::EOPNOTSUPP, [true; 4]),
            (libc::EPERM, [true, false, true, true]),
            (libc::EIO, [false; 4]),
            (libc::ENOSPC, [false; 4]),
            (libc::EROFS, [false; 4]),
        ] {
            assert_eq!(all(errno), gone_without, "{}", io::Error::from_raw_os_error(errno));
        }
        assert!(sync_dir(&dir.path().join("missing")).is_err());
    }
}
