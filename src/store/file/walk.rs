//! Going through directories: listings, deletes, and sweeping up what killed writers left.
//!
//! A replica may share its directory with anything, at the root of a volume with `lost+found` for
//! example. Only what is under its own prefixes is walked as a whole, and must be readable. The
//! rest is glanced at: the files beside them, and while nothing of its own is there, what is
//! below other directories too.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::{Deleted, Key, Listed, Result, StoreError};
use super::entry::{absent_or, failure, is_temp, modified_ms};
use crate::clock::MACHINE;
use crate::fsx::{self, Context};

/// A temporary file this old belongs to a writer that was killed; deletes take it along.
const TEMP_STALE_S: i64 = 24 * 3600;

/// Every object whose name begins with `prefix`, in order.
pub(super) fn list(root: &Path, prefix: &str) -> Result<Vec<Listed>> {
    let start = prefix.rfind('/').map_or("", |slash| &prefix[..slash]);
    if !start.is_empty() && Key::new(start).is_none() {
        return Ok(Vec::new()); // No key can begin like this.
    }
    let mut walk = Walk { prefix, ancestors: Vec::new(), found: Vec::new() };
    walk.directory(&root.join(start), start)?;
    walk.found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(walk.found)
}

/// How many entries that are not the replica's own are looked at.
const GLANCE_MAX: usize = 10_000;

/// What is under the prefixes, and the files beside them; if there is nothing, what else is there.
pub(super) fn list_own(root: &Path, prefixes: &[String]) -> Result<Vec<Listed>> {
    let mut walk = Walk { prefix: "", ancestors: Vec::new(), found: Vec::new() };
    for name in prefixes.iter().map(|prefix| prefix.trim_end_matches('/')) {
        let dir = root.join(name);
        let is_dir = match fsx::metadata_if_exists(&dir) {
            // The root itself is no directory: the glance says so.
            Err(error) if error.source.raw_os_error() == Some(libc::ENOTDIR) => false,
            found => found.map_err(failure)?.is_some_and(|metadata| metadata.is_dir()),
        };
        if is_dir {
            walk.directory(&dir, name)?;
        }
    }
    let depth = if walk.found.is_empty() { Depth::All } else { Depth::Names };
    walk.found.extend(glance(root, depth)?);
    walk.found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(walk.found)
}

/// How far a glance goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// The files of the root itself.
    Names,
    All,
}

/// Files of others, nearest first, up to a limit. Directories that cannot be read and hidden
/// ones are passed over, links are not followed: they lead anywhere.
fn glance(root: &Path, depth: Depth) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    let mut left = GLANCE_MAX;
    let mut ahead = VecDeque::from([(root.to_owned(), String::new())]);
    while let Some((dir, parent)) = ahead.pop_front() {
        let entries = match fs::read_dir(&dir).on("list", &dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if parent.is_empty() && depth == Depth::All => return Err(failure(error)),
            Err(error) => {
                tracing::debug!("leaving out of the listing what cannot be read: {error}");
                continue;
            }
        };
        for entry in entries.flatten() {
            left = match left.checked_sub(1) {
                Some(left) => left,
                None => return Ok(found),
            };
            let file_name = entry.file_name();
            let (Some(file_name), Ok(kind)) = (file_name.to_str(), entry.file_type()) else { continue };
            let name = if parent.is_empty() { file_name.to_owned() } else { format!("{parent}/{file_name}") };
            if kind.is_dir() && !file_name.starts_with('.') {
                if depth == Depth::All {
                    ahead.push_back((entry.path(), name));
                }
            } else if let (true, false, Ok(metadata)) = (kind.is_file(), is_temp(file_name), entry.metadata()) {
                found.push(Listed { name, size: metadata.len(), modified_ms: modified_ms(&metadata) });
            }
        }
    }
    Ok(found)
}

/// One recursive listing.
struct Walk<'a> {
    prefix: &'a str,
    /// Device and inode of the directories we are in, so that a symlink to one of them ends the
    /// came_after.
    ancestors: Vec<(u64, u64)>,
    found: Vec<Listed>,
}

impl Walk<'_> {
    /// Lists `dir`, whose name relative to the root is `name`. A directory that is not there is
    /// empty.
    fn directory(&mut self, dir: &Path, name: &str) -> Result<()> {
        let Some(metadata) = fsx::metadata_if_exists(dir).map_err(failure)? else { return Ok(()) };
        let identity = (metadata.dev(), metadata.ino());
        // Only a link can lead back; and a file system without inode numbers gives all its
        // directories the same.
        if self.ancestors.contains(&identity) && fs::symlink_metadata(dir).is_ok_and(|link| link.is_symlink()) {
            return Ok(());
        }
        let entries = match fs::read_dir(dir).on("list", dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failure(error)),
        };
        self.ancestors.push(identity);
        for entry in entries {
            let entry = entry.on("list", dir).map_err(failure)?;
            self.entry(&entry, name)?;
        }
        self.ancestors.pop();
        Ok(())
    }

    fn entry(&mut self, entry: &fs::DirEntry, parent: &str) -> Result<()> {
        let path = entry.path();
        let file_name = entry.file_name();
        // A name that is no text is no key: it is shown, and cannot be taken for one of ours.
        let file_name = &*file_name.to_string_lossy();
        let name = if parent.is_empty() { file_name.to_owned() } else { format!("{parent}/{file_name}") };
        if is_temp(file_name) || !name.starts_with(self.prefix) {
            return Ok(());
        }
        // `None`: gone between the listing and now, or a dangling symlink.
        let Some(metadata) = fsx::metadata_if_exists(&path).map_err(failure)? else { return Ok(()) };
        if metadata.is_dir() {
            return self.directory(&path, &name);
        }
        if metadata.is_file() {
            self.found.push(Listed { name, size: metadata.len(), modified_ms: modified_ms(&metadata) });
        }
        Ok(())
    }
}

pub(super) fn delete(targets: Vec<(Key, PathBuf)>) -> Deleted {
    let mut done = Deleted::default();
    let mut dirs: Vec<PathBuf> = Vec::new();
    for (key, path) in targets {
        match fsx::remove_file(&path).map_err(absent_or) {
            Ok(()) | Err(StoreError::NotFound { .. }) => done.deleted += 1,
            Err(error) => done.refused.push((key, error)),
        }
        let dir = fsx::parent(&path);
        if dirs.last().is_none_or(|last| last != dir) {
            dirs.push(dir.to_owned());
        }
    }
    dirs.sort_unstable();
    dirs.dedup();
    for dir in dirs {
        // A deletion that a power cut undoes is done again by the next round.
        let _ = fsx::sync_dir(&dir);
        sweep(&dir, MACHINE.unix_ms() / 1000);
    }
    done
}

/// Removes what killed writers left in `dir`. Goes by ctime, which cannot be set.
pub(super) fn sweep(dir: &Path, now_s: i64) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let is_temp = entry.file_name().to_str().is_some_and(is_temp);
        if is_temp && entry.metadata().is_ok_and(|m| m.is_file() && now_s - m.ctime() > TEMP_STALE_S) {
            let _ = fsx::remove_file(&entry.path());
        }
    }
}
