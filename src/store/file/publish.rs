//! One file, made visible in one step.
//!
//! ```text
//!   .millstream-<random>.tmp ── write, stamp, fsync ──┬─ create:  link(2), else renameat2(RENAME_NOREPLACE)
//!                                                     └─ replace: rename(2)              ──▶ fsync(directory)
//! ```

use std::ffi::CString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::super::{Result, StoreError};
use super::{TEMP_PREFIX, TEMP_SUFFIX, failure};
use crate::clock;
use crate::fsx::{self, Context, FsError};

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Where an object will appear.
pub(super) struct Target {
    pub root: PathBuf,
    pub dir: PathBuf,
    pub path: PathBuf,
}

/// A file nobody can see yet; removed when dropped unpublished.
pub(super) struct Temp {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl Temp {
    pub(super) fn create(target: &Target) -> Result<Temp> {
        prepare_dir(target)?;
        let path = target.dir.join(format!("{TEMP_PREFIX}{:016x}{TEMP_SUFFIX}", clock::random_u64()));
        let file = fsx::create_new(&path, FILE_MODE).map_err(failure)?;
        Ok(Temp { file, path, renamed: false })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).on("write", &self.path).map_err(failure)
    }

    /// Makes the content durable, then visible under its name, then the name durable.
    pub(super) fn publish(mut self, target: &Target, create: bool, modified_ms: Option<i64>) -> Result<()> {
        if let Some(ms) = modified_ms {
            let offset = Duration::from_millis(ms.unsigned_abs());
            let time = if ms < 0 { UNIX_EPOCH.checked_sub(offset) } else { UNIX_EPOCH.checked_add(offset) };
            if let Some(time) = time {
                self.file.set_modified(time).on("set the time of", &self.path).map_err(failure)?;
            }
        }
        fsx::sync_file(&self.file, &self.path).map_err(failure)?;
        if create {
            self.publish_new(target)?;
        } else {
            fsx::rename(&self.path, &target.path).map_err(failure)?;
            self.renamed = true;
        }
        drop(self);
        fsx::sync_dir(&target.dir).map_err(failure)
    }

    fn publish_new(&mut self, target: &Target) -> Result<()> {
        let error = match fs::hard_link(&self.path, &target.path) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error.raw_os_error() {
            // Over NFS a repeated request may meet its own success: the second link on our own file is the proof.
            Some(libc::EEXIST) if self.file.metadata().is_ok_and(|m| m.nlink() > 1) => Ok(()),
            Some(libc::EEXIST) => Err(exists(&target.path)),
            Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EMLINK) => self.rename_new(target),
            _ => Err(failure(FsError { verb: "link", path: target.path.clone(), source: error })),
        }
    }

    /// For file systems without hard links.
    pub(super) fn rename_new(&mut self, target: &Target) -> Result<()> {
        let c = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
        let (from, to) =
            c(&self.path).and_then(|from| Ok((from, c(&target.path)?))).on("name", &target.path).map_err(failure)?;
        // SAFETY: both are NUL-terminated strings that outlive the call.
        let rc = unsafe {
            libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::RENAME_NOREPLACE)
        };
        if rc == 0 {
            self.renamed = true;
            return Ok(());
        }
        let source = io::Error::last_os_error();
        match source.raw_os_error() {
            Some(libc::EEXIST) => Err(exists(&target.path)),
            Some(libc::EINVAL | libc::ENOSYS) => Err(StoreError::Permanent {
                detail: format!(
                    "create {}: this file system has neither hard links nor RENAME_NOREPLACE, so a second writer could \
                     not be kept out; use another file system for the replica",
                    target.path.display()
                ),
            }),
            _ => Err(failure(FsError { verb: "rename", path: target.path.clone(), source })),
        }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.renamed {
            // Best effort: what stays behind is hidden from listings and taken along by a later delete.
            let _ = fsx::remove_file(&self.path);
        }
    }
}

/// Creates a directory and its missing parents, each made durable in its own parent.
fn create_dirs(dir: &Path) -> Result<()> {
    if fsx::metadata_if_exists(dir).map_err(failure)?.is_some() {
        return Ok(());
    }
    let parent = fsx::parent(dir);
    create_dirs(parent)?;
    match DirBuilder::new().mode(DIR_MODE).create(dir) {
        Ok(()) => fsx::sync_dir(parent).map_err(failure),
        // Somebody was faster; or a dangling symlink lies there, which the next step will report.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(failure(FsError { verb: "create directory", path: dir.to_owned(), source })),
    }
}

/// Makes sure the object's directory exists, and refuses to write through a symlink that leads out of the root. The root
/// itself may be one: that is the user's choice.
fn prepare_dir(target: &Target) -> Result<()> {
    let root = target.root.as_path();
    create_dirs(root)?;
    if target.dir == root {
        return Ok(());
    }
    // What we create ourselves is no symlink, so it is enough to look at the part that is there.
    let mut existing = target.dir.clone();
    while existing != root && fsx::metadata_if_exists(&existing).map_err(failure)?.is_none() {
        existing.pop();
    }
    let real = |path: &Path| fs::canonicalize(path).on("resolve", path).map_err(failure);
    if !real(&existing)?.starts_with(real(root)?) {
        let detail = format!("{}: a symbolic link leads out of {}", existing.display(), root.display());
        return Err(StoreError::Permanent { detail });
    }
    create_dirs(&target.dir)
}

fn exists(path: &Path) -> StoreError {
    if path.is_dir() {
        return StoreError::Permanent { detail: format!("create {}: a directory has this name", path.display()) };
    }
    StoreError::AlreadyExists { detail: format!("create {}: exists already", path.display()) }
}
