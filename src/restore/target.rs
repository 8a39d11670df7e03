//! The target's side: is something there, the temporary file beside it, and the moment it takes the target's name.
//!
//! Order is everything here. A stale `-wal` beside a new database would be replayed over it, so the siblings are moved away, and
//! that is made durable, before the rename.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::FallocateFlags;

use super::RestoreError;
use crate::clock;
use crate::fsx::{self, Context, FsError};
use crate::sqlite::{Presence, look_at_file};

const SIBLINGS: [&str; 3] = ["-wal", "-shm", "-journal"];
const TEMPORARY_TAG: &str = ".millstream-restore.";

/// Who the restored file shall belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOwner {
    pub uid: u32,
    pub gid: u32,
}

/// The file that a restore has to replace: behind symbolic links, also dangling ones, so that a link stays a link.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, FsError> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(link) => path = fsx::parent(&path).join(link),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP)).on("resolve", &path)
}

/// Refuses to replace what must not be replaced.
pub(super) fn check(path: &Path, force: bool, overwrite_empty: bool) -> Result<(), RestoreError> {
    match look_at_file(path)? {
        Presence::Missing => Ok(()),
        Presence::Empty | Presence::NoHeader if overwrite_empty || force => Ok(()),
        Presence::Database(_) if force => Ok(()),
        _ => Err(RestoreError::TargetExists { path: path.to_owned() }),
    }
}

/// The file that a database is put together in, beside the target; removed when dropped.
pub(super) struct Temporary {
    path: PathBuf,
    /// Locked where the file system can, so that another run can tell a forgotten file from one in use.
    file: File,
    installed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.installed {
            // Best effort: the next restore to this target removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Temporary {
    /// Creates the file with its final length (zero: not known yet), and takes the disk space for it where the file system can.
    pub(super) fn create(target: &Path, len: u64, mode: u32, owner: Option<FileOwner>) -> Result<Temporary, FsError> {
        let dir = fsx::parent(target);
        fsx::create_dir_all(dir)?;
        let name =
            target.file_name().ok_or_else(|| io::Error::other("it has no file name")).on("restore to", target)?;
        let prefix = temporary_prefix(name);
        remove_leftovers(dir, prefix.as_encoded_bytes());
        let path = temporary_path(dir, prefix);
        let file = fsx::create_new(&path, 0o600)?;
        let _ = file.try_lock();
        let temporary = Temporary { path, file, installed: false };
        temporary.allocate(len)?;
        temporary.adopt(mode, owner)?;
        Ok(temporary)
    }

    fn allocate(&self, len: u64) -> Result<(), FsError> {
        if len == 0 {
            return Ok(());
        }
        let length =
            i64::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG)).on("allocate", &self.path)?;
        match nix::fcntl::fallocate(&self.file, FallocateFlags::empty(), 0, length) {
            Ok(()) => {}
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {}
            Err(errno) => return Err(io::Error::from(errno)).on("allocate", &self.path),
        }
        self.file.set_len(len).on("set length of", &self.path)
    }

    fn adopt(&self, mode: u32, owner: Option<FileOwner>) -> Result<(), FsError> {
        if let Some(FileOwner { uid, gid }) = owner {
            std::os::unix::fs::fchown(&self.file, Some(uid), Some(gid)).on("change owner of", &self.path)?;
        }
        self.file.set_permissions(fs::Permissions::from_mode(mode)).on("change mode of", &self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A second descriptor of the file, to write to it from many threads.
    pub(super) fn writer(&self) -> Result<File, FsError> {
        self.file.try_clone().on("open", &self.path)
    }

    pub(super) fn sync(&self) -> Result<(), FsError> {
        fsx::sync_file(&self.file, &self.path)
    }
}

/// A file without a name on the target's file system: gone with its last descriptor.
pub(super) fn scratch(target: &Path) -> Result<File, FsError> {
    let path = temporary_path(fsx::parent(target), temporary_prefix(target.file_name().unwrap_or_default()));
    let file = fsx::create_new(&path, 0o600)?;
    fsx::remove_file(&path)?;
    Ok(file)
}

fn temporary_prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(TEMPORARY_TAG);
    prefix
}

fn temporary_path(dir: &Path, mut prefix: OsString) -> PathBuf {
    prefix.push(format!("{:016x}.tmp", clock::random_u64()));
    dir.join(prefix)
}

/// Removes what interrupted runs left behind. Failing at that is no reason not to restore.
fn remove_leftovers(dir: &Path, prefix: &[u8]) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if !(name.starts_with(prefix) && name.ends_with(b".tmp")) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        if file.try_lock().is_ok() && fs::remove_file(entry.path()).is_ok() {
            tracing::info!("removed {}, which an interrupted restore had left", entry.path().display());
        }
    }
}

/// Gives the finished file its name; returns what was moved out of its way. A database that may be replaced is, but a file
/// that was taken for none is kept under another name: it could be an encrypted or damaged one.
pub(super) async fn install(temporary: Temporary, target: PathBuf, force: bool) -> Result<Vec<PathBuf>, RestoreError> {
    let installed = tokio::task::spawn_blocking(move || install_now(temporary, &target, force)).await;
    installed.expect("installing does not panic and is not aborted").map_err(RestoreError::Io)
}

fn install_now(mut temporary: Temporary, target: &Path, force: bool) -> Result<Vec<PathBuf>, FsError> {
    let dir = fsx::parent(target);
    let mut in_the_way: Vec<PathBuf> = SIBLINGS.iter().map(|suffix| fsx::with_suffix(target, suffix)).collect();
    in_the_way.retain(|sibling| fs::symlink_metadata(sibling).is_ok());
    if !force && fsx::metadata_if_exists(target)?.is_some_and(|m| m.len() > 0) {
        in_the_way.push(target.to_owned());
    }
    let mut orphaned = Vec::new();
    for path in in_the_way {
        let away = fsx::with_suffix(&path, &format!(".orphaned-{}", clock::unix_ms()));
        fsx::rename(&path, &away)?;
        orphaned.push(away);
    }
    if !orphaned.is_empty() {
        fsx::sync_dir(dir)?;
    }
    fsx::rename(&temporary.path, target)?;
    temporary.installed = true;
    fsx::sync_dir(dir)?;
    Ok(orphaned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("dir").flatten();
        let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_there_is_judged_by_its_first_bytes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        assert_eq!(look_at_file(&path).expect("judged"), Presence::Missing);
        let mut database = b"SQLite format 3\0".to_vec();
        database.resize(4096, 0);
        database[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        let cases: [(&[u8], bool); 5] =
            [(b"", false), (b"x", false), (&[0; 8192], false), (b"SQLite format 3", false), (&database, true)];
        for (content, is_database) in cases {
            fs::write(&path, content).expect("write");
            let refused = |force, empty| matches!(check(&path, force, empty), Err(RestoreError::TargetExists { .. }));
            assert!(refused(false, false));
            assert_eq!(refused(false, true), is_database);
            assert!(!refused(true, false));
        }
        assert!(look_at_file(dir.path()).is_err(), "a directory is neither missing nor a database");
    }

    #[test]
    fn the_file_appears_under_its_name_when_it_is_complete() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("sub/app.db");
        let temporary = Temporary::create(&target, 8192, 0o640, None).expect("create");
        assert!(!target.exists());
        assert!(install_now(temporary, &target, true).expect("install").is_empty());
        let metadata = fs::metadata(&target).expect("stat");
        assert_eq!((metadata.len(), metadata.mode() & 0o7777), (8192, 0o640));
        assert_eq!(names(target.parent().expect("sub")), ["app.db"]);
    }

    #[test]
    fn siblings_of_an_old_database_are_moved_away() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("app.db");
        for suffix in ["", "-wal", "-shm", "-journal", "-backup"] {
            fs::write(fsx::with_suffix(&target, suffix), suffix).expect("write");
        }
        let temporary = Temporary::create(&target, 512, 0o600, None).expect("create");
        let orphaned = install_now(temporary, &target, true).expect("install");
        assert_eq!(orphaned.len(), 3);
        assert!(orphaned.iter().all(|path| path.exists()));
        assert!(orphaned[0].to_string_lossy().contains("app.db-wal.orphaned-"));
        assert_eq!(names(dir.path()).len(), 5);
        assert!(!fsx::with_suffix(&target, "-wal").exists() && fsx::with_suffix(&target, "-backup").exists());
    }

    #[test]
    fn leftovers_are_removed_unless_somebody_works_on_them() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("app.db");
        fs::write(dir.path().join(".app.db.millstream-restore.0123.tmp"), "left").expect("write");
        fs::write(dir.path().join(".other.db.millstream-restore.0123.tmp"), "another's").expect("write");
        let first = Temporary::create(&target, 10, 0o600, None).expect("create");
        let second = Temporary::create(&target, 10, 0o600, None).expect("create");
        assert!(first.path().exists() && second.path().exists());
        drop((first, second));
        assert_eq!(names(dir.path()), [".other.db.millstream-restore.0123.tmp"]);
    }

    #[test]
    fn links_stay_links() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir(dir.path().join("data")).expect("mkdir");
        symlink("data/real.db", dir.path().join("app.db")).expect("link");
        assert_eq!(resolve(&dir.path().join("app.db")).expect("resolved"), dir.path().join("data/real.db"));
        symlink("b.db", dir.path().join("a.db")).expect("link");
        symlink("a.db", dir.path().join("b.db")).expect("link");
        assert!(resolve(&dir.path().join("a.db")).is_err());
    }
}
