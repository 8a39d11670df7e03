//! File operations whose errors name the operation and the path.
//!
//! The one door to the file system for everything except reading and writing on a descriptor that
//! is already open. Never open a live SQLite database or its `-shm` through here: closing *any*
//! descriptor of them drops the POSIX locks of every connection in this process (see `sqlite/`).

mod place;
pub mod weak;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use place::parent;

/// An I/O error together with what was tried on which path.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {}: {source}", path.display())]
pub struct FsError {
    pub verb: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl FsError {
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Nothing more can be opened now, by this process or on this machine.
    pub fn is_out_of_files(&self) -> bool {
        is_out_of_files(&self.source)
    }
}

pub type Result<T> = std::result::Result<T, FsError>;

/// Nothing more can be opened now, by this process or on this machine.
pub fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Gives an `io::Result` the operation and path it belongs to.
pub trait Context<T> {
    fn on(self, verb: &'static str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn on(self, verb: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| FsError { verb, path: path.to_owned(), source })
    }
}

pub fn open(path: &Path) -> Result<File> {
    File::open(path).on("open", path)
}

/// Creates a file that must not exist yet, following no symlink at the last component.
pub fn create_new(path: &Path, mode: u32) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .on("create", path)
}

/// Opens a file of ours that is there, following no symlink at the last component.
pub fn open_to_write(path: &Path) -> Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).on("open", path)
}

pub fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).on("create directory", path)
}

/// Creates what is missing of a directory; what was created belongs to `owner` (uid and gid), where
/// one is given.
pub fn create_dir_all_for(path: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && fs::symlink_metadata(dir).is_err()).collect();
    create_dir_all(path)?;
    let Some((uid, gid)) = owner else { return Ok(()) };
    missing.iter().try_for_each(|dir| std::os::unix::fs::lchown(dir, Some(uid), Some(gid)).on("change owner of", dir))
}

pub fn metadata(path: &Path) -> Result<fs::Metadata> {
    fs::metadata(path).on("stat", path)
}

/// Metadata, or `None` when nothing is there.
pub fn metadata_if_exists(path: &Path) -> Result<Option<fs::Metadata>> {
    absent_is_none(metadata(path))
}

/// Metadata of the regular file at the path, also behind links; `None` when nothing is there.
/// Whatever else is there (a device, a FIFO, a directory) is an error. Opens nothing, because
/// opening a FIFO waits and opening a device may do something.
pub fn regular_file_if_exists(path: &Path) -> Result<Option<fs::Metadata>> {
    let found = metadata_if_exists(path)?;
    match found.as_ref().and_then(|found| other_kind(found.file_type())) {
        None => Ok(found),
        Some(kind) => Err(io::Error::other(format!("it is {kind}, not a regular file"))).on("use", path),
    }
}

/// What a file is that is no regular one, as people say it.
fn other_kind(file: fs::FileType) -> Option<&'static str> {
    Some(match file {
        _ if file.is_file() => return None,
        _ if file.is_dir() => "a directory",
        _ if file.is_fifo() => "a FIFO",
        _ if file.is_socket() => "a socket",
        _ if file.is_char_device() || file.is_block_device() => "a device",
        _ => "something else",
    })
}

/// Opens a regular file to read it; never waits, whatever is there by now.
pub fn open_regular(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).on("open", path)?;
    match other_kind(file.metadata().on("stat", path)?.file_type()) {
        None => Ok(file),
        Some(kind) => Err(io::Error::other(format!("it is {kind}, not a regular file"))).on("use", path),
    }
}

pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).on("read", path)
}

pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).on("rename", from)
}

pub fn remove_file(path: &Path) -> Result<()> {
    fs::remove_file(path).on("remove", path)
}

/// Removes a file; `false` when there was none.
pub fn remove_file_if_exists(path: &Path) -> Result<bool> {
    Ok(absent_is_none(remove_file(path))?.is_some())
}

pub fn sync_file(file: &File, path: &Path) -> Result<()> {
    weak::sync_file(file, path).on("fsync", path)
}

/// Sets the time of a file of ours, where the file system keeps times.
pub fn set_modified(file: &File, path: &Path, time: SystemTime) -> Result<()> {
    weak::set_modified(file, path, time).on("set the time of", path)
}

/// Sets the permissions of a file of ours, where the file system keeps them.
pub fn set_mode(file: &File, path: &Path, mode: u32) -> Result<()> {
    weak::set_mode(file, path, mode).on("change mode of", path)
}

/// Gives a file away, where the file system keeps owners.
pub fn set_owner(file: &File, path: &Path, uid: u32, gid: u32) -> Result<()> {
    weak::set_owner(file, path, uid, gid).on("change owner of", path)
}

/// Makes renames, creations and removals in `dir` durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    weak::sync_dir(dir).on("fsync directory", dir)
}

/// The path with `suffix` appended to its last component: `app.db` + `-wal`.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The path to whose name `suffix` was added.
pub fn without_suffix(path: &Path, suffix: &str) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix(suffix)?;
    Some(path.with_file_name(name))
}

/// Longest name of a file.
const NAME_MAX: usize = 255;

/// A file name with something before and after it, and room for `room` more bytes. Where that would
/// be too long, the name in the middle is cut, and its hash tells it from others that begin alike.
pub fn framed(before: &str, name: &OsStr, after: &str, room: usize) -> OsString {
    let frame = before.len() + after.len() + room;
    let mut framed = OsString::from(before);
    if frame + name.len() <= NAME_MAX {
        framed.push(name);
    } else {
        let hash = format!("~{:016x}", hash(name.as_bytes()));
        let mut kept = &name.as_bytes()[..NAME_MAX.saturating_sub(frame + hash.len()).min(name.len())];
        // Not in the middle of a character: some file systems want UTF-8.
        if name.to_str().is_some() {
            while std::str::from_utf8(kept).is_err() {
                kept = &kept[..kept.len() - 1];
            }
        }
        framed.push(OsStr::from_bytes(kept));
        framed.push(hash);
    }
    framed.push(after);
    framed
}

/// A number that stands for these bytes in a file name (FNV-1a): the same on every machine and in
/// every version.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

fn absent_is_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_operation_and_the_path() {
        let error = open(Path::new("/nonexistent/app.db")).expect_err("nothing is there");
        assert!(error.to_string().starts_with("open /nonexistent/app.db: "), "{error}");
    }

    #[test]
    fn absence_is_not_an_error_where_it_is_an_answer() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("x");
        assert!(metadata_if_exists(&path).expect("stat").is_none());
        assert!(!remove_file_if_exists(&path).expect("remove"));
        drop(create_new(&path, 0o600).expect("create"));
        assert!(create_new(&path, 0o600).is_err(), "must not open what exists");
        assert!(remove_file_if_exists(&path).expect("remove"));
        sync_dir(dir.path()).expect("fsync");
    }

    #[test]
    fn long_names_are_cut_and_told_apart_and_short_ones_stay() {
        let framed = |name: &[u8]| framed(".", OsStr::from_bytes(name), "-millstream", 0);
        assert_eq!(framed(b"app.db"), OsStr::new(".app.db-millstream"));
        assert_eq!(framed(&[b'x'; 243]).len(), 255, "exactly as long as a name may be");
        assert!(!framed(&[b'x'; 243]).as_bytes().contains(&b'~'));
        for name in ["x".repeat(244), "é".repeat(122), "x".repeat(255)] {
            let long = framed(name.as_bytes());
            assert!(long.len() <= 255 && long.to_str().is_some_and(|text| text.ends_with("-millstream")), "{long:?}");
            let other = framed(format!("{}y", &name[..name.len() - 2]).as_bytes());
            assert_ne!(long, other);
        }
        assert_eq!(framed(&[0xff; 250]).len(), 255, "bytes that are no text");
    }

    #[test]
    fn only_a_regular_file_is_one() {
        use nix::sys::stat::Mode;
        use std::os::unix::fs::symlink;

        let dir = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").expect("write");
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).expect("mkfifo");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("bind");
        symlink("file", at("to-file")).expect("link");
        symlink("fifo", at("to-fifo")).expect("link");
        symlink("nothing", at("to-nothing")).expect("link");
        for name in ["file", "to-file"] {
            assert!(regular_file_if_exists(&at(name)).expect("a file").is_some(), "{name}");
            open_regular(&at(name)).expect("opened");
        }
        for name in ["nothing", "to-nothing"] {
            assert!(regular_file_if_exists(&at(name)).expect("no file").is_none(), "{name}");
        }
        for (path, kind) in [
            (at("fifo"), "a FIFO"),
            (at("to-fifo"), "a FIFO"),
            (at("socket"), "a socket"),
            (dir.path().to_owned(), "a directory"),
            ("/dev/zero".into(), "a device"),
        ] {
            let error = regular_file_if_exists(&path).expect_err("no regular file").to_string();
            assert!(error.ends_with(&format!("it is {kind}, not a regular file")), "{error}");
            assert!(open_regular(&path).is_err(), "{error}");
        }
        assert!(regular_file_if_exists(&at("file/below")).is_err(), "what lies in its way is no directory");
    }

    #[test]
    fn suffixes_extend_the_file_name() {
        assert_eq!(with_suffix(Path::new("/data/app.db"), "-wal"), Path::new("/data/app.db-wal"));
        assert_eq!(parent(Path::new("app.db")), Path::new("."));
    }
}
