//! One file, made visible in one step.
//!
//! ```text
//!   .millstream-<random>.tmp: write, set time, fsync
//!     ──┬─ create:  link(2), else renameat2(RENAME_NOREPLACE),
//!       │           else rename(2) while a lock file is ours
//!       └─ replace: rename(2)                              ──▶ fsync(directory)
//! ```

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::super::{Result, StoreError};
use super::entry::{TEMP_PREFIX, TEMP_SUFFIX, failure};
use crate::clock::MACHINE;
use crate::fsx::weak::{self, Ability};
use crate::fsx::{self, Context, FsError};

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// Between making a lock file and removing it lie two calls.
const LOCK_STALE_S: i64 = 60;

/// Where an object will appear.
pub(super) struct Target {
    pub root: PathBuf,
    pub dir: PathBuf,
    pub path: PathBuf,
}

/// A file that no listing shows yet; removed when dropped unpublished.
pub(super) struct Temp {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl Temp {
    pub(super) fn create(target: &Target) -> Result<Temp> {
        prepare_dir(target)?;
        let path = target.dir.join(format!("{TEMP_PREFIX}{:016x}{TEMP_SUFFIX}", MACHINE.random_u64()));
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
                fsx::set_modified(&self.file, &self.path, time).map_err(failure)?;
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
        let Err(error) = weak::link(&self.path, &target.path) else { return Ok(()) };
        match error.raw_os_error() {
            // Over NFS a repeated request may meet its own success: the second link on our own file
            // is the proof.
            Some(libc::EEXIST) if self.file.metadata().is_ok_and(|m| m.nlink() > 1) => Ok(()),
            Some(libc::EEXIST) => Err(exists(&target.path)),
            _ if Ability::Link.is_lacking(&error) => self.rename_new(target),
            _ => Err(failure(FsError { verb: "link", path: target.path.clone(), source: error })),
        }
    }

    /// For file systems without hard links.
    fn rename_new(&mut self, target: &Target) -> Result<()> {
        let Err(error) = weak::rename_new(&self.path, &target.path) else {
            self.renamed = true;
            return Ok(());
        };
        match error.raw_os_error() {
            Some(libc::EEXIST) => Err(exists(&target.path)),
            _ if Ability::RenameNew.is_lacking(&error) => self.rename_locked(target),
            _ => Err(failure(FsError { verb: "rename", path: target.path.clone(), source: error })),
        }
    }

    /// For file systems that have neither. Whoever has made the lock file of a name is the only one
    /// to look whether the name is free, and to take it.
    fn rename_locked(&mut self, target: &Target) -> Result<()> {
        Ability::RenameNew.is_missed_at(&target.path);
        let lock = lock_path(target);
        match fsx::create_new(&lock, FILE_MODE) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(self.locked_out(target, &lock)),
            Err(error) => return Err(failure(error)),
        }
        let renamed = match fsx::metadata_if_exists(&target.path) {
            Ok(Some(_)) => Err(exists(&target.path)),
            Ok(None) => fsx::rename(&self.path, &target.path).map_err(failure),
            Err(error) => Err(failure(error)),
        };
        self.renamed = renamed.is_ok();
        // Best effort: what stays behind is removed when it is in the way and old.
        let _ = fsx::remove_file(&lock);
        renamed
    }

    /// What it means that another writer has the lock file. A killed writer's is removed for the
    /// next attempt: both times are the file system's own, so no clock of ours has a part in it.
    fn locked_out(&self, target: &Target, lock: &Path) -> StoreError {
        if target.path.exists() {
            return exists(&target.path);
        }
        let changed = |metadata: io::Result<fs::Metadata>| metadata.map_or(0, |m| m.ctime());
        if changed(self.file.metadata()) - changed(fs::metadata(lock)) > LOCK_STALE_S {
            let _ = fsx::remove_file(lock);
        }
        StoreError::Transient {
            detail: format!("create {}: another writer is about to create it", target.path.display()),
        }
    }
}

/// Hidden from listings like a temporary file, and the same for every writer of that name.
fn lock_path(target: &Target) -> PathBuf {
    let name = target.path.file_name().unwrap_or_default().as_bytes();
    target.dir.join(format!("{TEMP_PREFIX}{:016x}{TEMP_SUFFIX}", fsx::hash(name)))
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.renamed {
            // Best effort: what stays behind is hidden from listings and taken along by a later
            // delete.
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
        // Another writer was faster, or a dangling symlink is there, which the next step will
        // report.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(failure(FsError { verb: "create directory", path: dir.to_owned(), source })),
    }
}

/// Makes sure the object's directory exists, and refuses to write through a symlink that leads out
/// of the root. The root itself may be one: that is the user's choice.
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
    StoreError::AlreadyExists { detail: format!("create {}: it already exists", path.display()) }
}
