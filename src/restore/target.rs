//! The target's side: is something there, the temporary file beside it, and the moment it takes the
//! target's name.
//!
//! Order is everything here. A stale `-wal` beside a new database would be replayed over it, so the
//! siblings are moved away, and that is made durable, before the rename.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::FallocateFlags;

use super::{Request, RestoreError};
use crate::clock::MACHINE;
use crate::fsx::{self, Context, FsError};
use crate::sqlite::{Presence, keep_clients_out, look_at_file};

const SIBLINGS: [&str; 3] = ["-wal", "-shm", "-journal"];
const DEFAULT_MODE: u32 = 0o600;
const TEMPORARY_TAG: &str = ".millstream-restore.";
/// Sixteen digits and `.tmp`.
const TEMPORARY_END_LEN: usize = 20;

/// Who the restored file shall belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOwner {
    pub uid: u32,
    pub gid: u32,
}

/// The file that a restore has to replace: behind symbolic links, also dangling ones, so that a
/// link stays a link.
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

/// Refuses to replace what must not be replaced; returns the file that a restore to `path` would
/// create or replace.
pub fn check(path: &Path, force: bool, overwrite_empty: bool) -> Result<PathBuf, RestoreError> {
    // First by the name that was given: what a link in /proc leads to has no name of its own.
    let presence = look_at_file(path)?;
    let target = resolve(path)?;
    match presence {
        Presence::Missing => return Ok(target),
        Presence::Empty if overwrite_empty || force => {}
        Presence::Database(_) | Presence::NoDatabase(_) if force => {}
        Presence::NoDatabase(content) => return Err(RestoreError::NoDatabase { path: path.to_owned(), content }),
        Presence::Database(_) | Presence::Empty => return Err(RestoreError::TargetExists { path: path.to_owned() }),
    }
    // Now, because a restore takes its time, and again when the file gets its name.
    keep_clients_out(&target)??;
    Ok(target)
}

/// The request with owner and mode of the file that is replaced, where it says nothing else:
/// whoever could open the one shall be able to open the other.
pub(super) fn with_ownership(request: &Request, target: &Path) -> Result<Request, FsError> {
    let mut request = request.clone();
    if let Some(replaced) = fsx::metadata_if_exists(target)? {
        // That of a placeholder says nothing about a database.
        if replaced.len() > 0 {
            request.mode.get_or_insert(replaced.mode() & 0o777);
        }
        let owner = FileOwner { uid: replaced.uid(), gid: replaced.gid() };
        // Only root can give a file away, and a file of ours is that without being told.
        if nix::unistd::geteuid().is_root() {
            request.owner.get_or_insert(owner);
        }
    }
    Ok(request)
}

/// The file that a database is put together in, beside the target; removed when dropped.
pub struct Temporary {
    path: PathBuf,
    /// Locked where the file system can, so that another run can tell a forgotten file from one in
    /// use.
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
    /// Creates the file with its final length (zero: not known yet), and takes the disk space for
    /// it where the file system can.
    pub(super) fn create(
        target: &Path,
        len: u64,
        mode: Option<u32>,
        owner: Option<FileOwner>,
    ) -> Result<Temporary, FsError> {
        let dir = fsx::parent(target);
        fsx::create_dir_all_for(dir, owner.map(|owner| (owner.uid, owner.gid)))?;
        let name =
            target.file_name().ok_or_else(|| io::Error::other("it has no file name")).on("restore to", target)?;
        let prefix = temporary_prefix(name);
        remove_leftovers(dir, prefix.as_encoded_bytes());
        let path = temporary_path(dir, prefix);
        let file = fsx::create_new(&path, 0o600)?;
        let _ = file.try_lock();
        let temporary = Temporary { path, file, installed: false };
        temporary.allocate(len)?;
        temporary.adopt(mode.unwrap_or(DEFAULT_MODE), owner)?;
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
            // It only finds out early whether there is room.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL | Errno::ENODEV) => {}
            Err(errno) => return Err(io::Error::from(errno)).on("allocate", &self.path),
        }
        self.file.set_len(len).on("set length of", &self.path)
    }

    fn adopt(&self, mode: u32, owner: Option<FileOwner>) -> Result<(), FsError> {
        if let Some(FileOwner { uid, gid }) = owner {
            fsx::set_owner(&self.file, &self.path, uid, gid)?;
        }
        fsx::set_mode(&self.file, &self.path, mode)
    }

    pub fn path(&self) -> &Path {
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
pub fn scratch(target: &Path) -> Result<File, FsError> {
    let path = temporary_path(fsx::parent(target), temporary_prefix(target.file_name().unwrap_or_default()));
    let file = fsx::create_new(&path, 0o600)?;
    fsx::remove_file(&path)?;
    Ok(file)
}

fn temporary_prefix(name: &OsStr) -> OsString {
    fsx::framed(".", name, TEMPORARY_TAG, TEMPORARY_END_LEN)
}

fn temporary_path(dir: &Path, mut prefix: OsString) -> PathBuf {
    prefix.push(format!("{:016x}.tmp", MACHINE.random_u64()));
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
        // Anybody may have made it, in a directory that is everybody's: a link is not followed.
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let Ok(file) = fsx::open_regular(&entry.path()) else { continue };
        if file.try_lock().is_ok() && fs::remove_file(entry.path()).is_ok() {
            tracing::info!("removed {}, which an interrupted restore had left", entry.path().display());
        }
    }
}

/// Gives the finished file its name; returns what was moved out of its way. A database that may be
/// replaced is, but a file that is none is kept under another name: it could be an encrypted or
/// damaged one.
pub(super) async fn install(temporary: Temporary, target: PathBuf, force: bool) -> Result<Vec<PathBuf>, RestoreError> {
    let installed = tokio::task::spawn_blocking(move || install_now(temporary, &target, force)).await;
    installed.expect("installing does not panic and is not aborted")
}

fn install_now(mut temporary: Temporary, target: &Path, force: bool) -> Result<Vec<PathBuf>, RestoreError> {
    // Also a client that came while the database was fetched.
    let _nobody_opens_it = keep_clients_out(target)??;
    let dir = fsx::parent(target);
    let mut in_the_way: Vec<PathBuf> = SIBLINGS.iter().map(|suffix| fsx::with_suffix(target, suffix)).collect();
    in_the_way.retain(|sibling| fs::symlink_metadata(sibling).is_ok());
    match look_at_file(target)? {
        Presence::Missing | Presence::Empty => {}
        Presence::Database(_) if force => {}
        // Without the order to replace it, it came meanwhile.
        Presence::Database(_) | Presence::NoDatabase(_) => in_the_way.push(target.to_owned()),
    }
    let mut orphaned = Vec::new();
    for path in in_the_way {
        let name = path.file_name().unwrap_or_default();
        let away = path.with_file_name(fsx::framed("", name, &format!(".orphaned-{}", MACHINE.unix_ms()), 0));
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
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("dir").flatten();
        let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_is_missing_empty_or_given_up_is_replaced() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let mut database = b"SQLite format 3\0".to_vec();
        database.resize(4096, 0);
        database[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        let mut impossible = database.clone();
        impossible[16..18].copy_from_slice(&4097_u16.to_be_bytes());
        let cases: [(&[u8], bool, bool); 6] = [
            // Content, whether it is a database, whether it is none.
            (b"", false, false),
            (b"x", false, true),
            (&[0; 8192], false, true),
            (b"SQLite format 3", false, true),
            (&impossible, false, true),
            (&database, true, false),
        ];
        for (content, is_database, is_none) in cases {
            fs::write(&path, content).expect("write");
            let answer = |force, empty| check(&path, force, empty);
            for empty in [false, true] {
                let refused = matches!(answer(false, empty), Err(RestoreError::NoDatabase { .. }));
                assert_eq!(refused, is_none, "{content:.16?}");
            }
            assert_eq!(matches!(answer(false, true), Err(RestoreError::TargetExists { .. })), is_database);
            assert!(answer(false, false).is_err() && answer(true, false).is_ok());
            assert_eq!(fs::read(&path).expect("left as it was"), content);
        }
    }

    #[test]
    fn what_is_no_regular_file_is_no_target() {
        let dir = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        symlink("fifo", at("to-fifo")).expect("link");
        for path in [dir.path().to_owned(), at("fifo"), at("to-fifo"), "/dev/zero".into()] {
            assert!(matches!(check(&path, true, true), Err(RestoreError::Io(_))), "{}", path.display());
        }
        assert_eq!(check(&at("new"), false, false).expect("a new name"), at("new"));
    }

    #[test]
    fn the_file_appears_under_its_name_when_it_is_complete() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("sub/app.db");
        let temporary = Temporary::create(&target, 8192, Some(0o640), None).expect("create");
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
        let temporary = Temporary::create(&target, 512, Some(0o600), None).expect("create");
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
        let first = Temporary::create(&target, 10, Some(0o600), None).expect("create");
        let second = Temporary::create(&target, 10, Some(0o600), None).expect("create");
        assert!(first.path().exists() && second.path().exists());
        drop((first, second));
        assert_eq!(names(dir.path()), [".other.db.millstream-restore.0123.tmp"]);
    }

    /// Up to the longest name with which SQLite itself can work, and of bytes that are no text.
    #[test]
    fn every_name_that_sqlite_takes_can_be_restored_to() {
        for name in [vec![b'x'; 247], vec![0xff; 247], b"\xff\xfe.db".to_vec()] {
            let dir = tempfile::tempdir().expect("tempdir");
            let target = dir.path().join(OsStr::from_bytes(&name));
            let temporary = Temporary::create(&target, 512, Some(0o600), None).expect("create");
            drop(scratch(&target).expect("scratch"));
            fs::write(fsx::with_suffix(&target, "-journal"), "old").expect("write");
            fs::write(&target, "no database").expect("write");
            let orphaned = install_now(temporary, &target, false).expect("install");
            assert_eq!(orphaned.len(), 2);
            assert_eq!(fs::metadata(&target).expect("stat").len(), 512);
            assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 3);
        }
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
