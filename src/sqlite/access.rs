//! May this process open a database without getting in the way of whoever owns it?
//!
//! A connection of ours creates the `-wal` and the `-shm`, and SQLite opens a database that it may
//! not write to read-only without saying so. Both can be fatal for the application: it cannot write
//! to files that belong to us. So this is asked before the database is opened, and answered from
//! owners and modes alone.
//!
//! SQLite gives new files the database's mode, and, as root, its owner and group. Any other user
//! can only give them a group of its own: [`give_to_group`] does what SQLite leaves out.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, Gid, eaccess, fchownat, geteuid};

use super::error::SqliteError;
use crate::fsx;

const VERB: &str = "open";
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Fails when a connection of this process could not write to the database, or would create files
/// beside it that its owner cannot write to. `path` is behind all links, and something is there.
pub fn check_access(path: &Path) -> Result<(), SqliteError> {
    let refused = |detail| SqliteError::ReadOnly { verb: VERB, path: path.to_owned(), detail };
    let cannot_look = |error: fsx::FsError| SqliteError::other(VERB, path, error.to_string());
    may_write(path).map_err(refused)?;
    let mut is_complete = true;
    for suffix in BESIDE {
        let beside = fsx::with_suffix(path, suffix);
        match eaccess(&beside, AccessFlags::R_OK | AccessFlags::W_OK) {
            Ok(()) => {}
            // Not there, or no longer: the last program that closes the database takes it away.
            Err(Errno::ENOENT) => is_complete = false,
            Err(errno) => return Err(refused(format!("{}: {}", beside.display(), why(&beside, errno)))),
        }
    }
    if is_complete {
        return Ok(());
    }
    let dir = fsx::parent(path);
    may_create_in(dir).map_err(|why| refused(format!("no -wal can be created in {}: {why}", dir.display())))?;
    let database = fsx::metadata(path).map_err(cannot_look)?;
    match shared_by(&database, geteuid().as_raw(), is_ours) {
        true => Ok(()),
        false => Err(refused(format!(
            "it belongs to uid {}, and a -wal and -shm that uid {} creates would be closed to it: run as uid {} or as root",
            database.uid(),
            geteuid(),
            database.uid()
        ))),
    }
}

/// Whether files that `uid` creates with the database's mode, and in its group where that is
/// possible, are open to whoever can write to the database.
fn shared_by(database: &Metadata, uid: u32, in_group: impl Fn(u32) -> bool) -> bool {
    let mode = database.mode();
    let (group, others) = (mode & 0o060 == 0o060, mode & 0o006 == 0o006);
    uid == 0 || uid == database.uid() || others || group && in_group(database.gid())
}

fn is_ours(gid: u32) -> bool {
    let gid = Gid::from_raw(gid);
    nix::unistd::getegid() == gid || nix::unistd::getgroups().is_ok_and(|groups| groups.contains(&gid))
}

fn may_write(path: &Path) -> Result<(), String> {
    eaccess(path, AccessFlags::R_OK | AccessFlags::W_OK).map_err(|errno| why(path, errno))
}

fn may_create_in(dir: &Path) -> Result<(), String> {
    eaccess(dir, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| why(dir, errno))
}

fn why(path: &Path, errno: Errno) -> String {
    match (errno, fsx::metadata(path)) {
        (Errno::EROFS, _) => "its file system is mounted read-only".into(),
        (Errno::EACCES, Ok(found)) => {
            let mode = found.permissions().mode() & 0o7777;
            format!("it belongs to {}:{} with mode {mode:04o}, and this is uid {}", found.uid(), found.gid(), geteuid())
        }
        (errno, _) => errno.desc().to_owned(),
    }
}

/// Puts the `-wal` and `-shm` that this process has just created into the database's group. Best
/// effort: [`check_access`] has found out whether that is needed and possible.
pub(super) fn give_to_group(path: &Path) {
    let Ok(database) = std::fs::metadata(path) else { return };
    for beside in BESIDE.map(|suffix| fsx::with_suffix(path, suffix)) {
        let is_to_be = std::fs::symlink_metadata(&beside)
            .is_ok_and(|file| file.uid() == geteuid().as_raw() && file.gid() != database.gid());
        if is_to_be {
            let group = Some(Gid::from_raw(database.gid()));
            let _ = fchownat(AT_FDCWD, &beside, None, group, AtFlags::AT_SYMLINK_NOFOLLOW);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_of_another_user_must_be_open_to_the_owner() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        fs::write(&path, "x").expect("write");
        let owner = fs::metadata(&path).expect("stat").uid();
        let (in_group, not) = (|_| true, |_| false);
        let shared = |mode, uid, in_group: fn(u32) -> bool| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            shared_by(&fs::metadata(&path).expect("stat"), uid, in_group)
        };
        let other = owner + 7;
        assert!(shared(0o600, 0, not) && shared(0o600, owner, not), "root gives them away, the owner keeps them");
        assert!(!shared(0o600, other, in_group) && !shared(0o640, other, in_group));
        assert!(shared(0o660, other, in_group) && !shared(0o660, other, not));
        assert!(shared(0o666, other, not) && !shared(0o644, other, not));
    }

    #[test]
    fn what_cannot_be_written_is_refused_before_it_is_opened() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        assert!(matches!(check_access(&path), Err(SqliteError::ReadOnly { .. })), "nothing is there");
        fs::write(&path, "x").expect("write");
        check_access(&path).expect("our own");
        // Root may write to everything that is not on a read-only file system.
        if !geteuid().is_root() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("chmod");
            let error = check_access(&path).expect_err("read-only").to_string();
            assert!(error.contains("mode 0444"), "{error}");
        }
        assert!(may_write(Path::new("/proc/version")).is_err() || geteuid().is_root());
    }
}
