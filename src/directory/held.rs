//! The files that this process may have open as databases: a scan does not open them, whatever they
//! are called by now.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// A file that was replaced is let go by its replication within this time. Then its inode may be
/// that of another file.
const REPLACED_TIME: Duration = Duration::from_secs(60);

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inode(u64, u64);

impl From<&Metadata> for Inode {
    fn from(found: &Metadata) -> Inode {
        Inode(found.dev(), found.ino())
    }
}

fn inode(path: &Path) -> Option<Inode> {
    fs::metadata(path).ok().as_ref().map(Inode::from)
}

/// Paths are absolute.
#[derive(Clone, Debug, Default)]
pub struct Held {
    paths: HashMap<PathBuf, Option<Inode>>,
    /// Where each lies, or lay until that moment.
    inodes: HashMap<Inode, (PathBuf, Option<Instant>)>,
}

impl Held {
    /// From now on a database at this path may be opened.
    pub fn hold(&mut self, path: PathBuf) {
        let found = inode(&path);
        if let Some(inode) = found {
            self.inodes.insert(inode, (path.clone(), None));
        }
        self.paths.insert(path, found);
    }

    /// No file that was at this path is open any more.
    pub fn let_go(&mut self, path: &Path) {
        self.paths.remove(path);
        self.inodes.retain(|_, (held, _)| held != path);
    }

    /// Looks which files lie at the paths now. What lay there before may still be open.
    pub fn refresh(&mut self, now: Instant) {
        for (path, known) in &mut self.paths {
            let found = inode(path);
            if found.is_none() || found == *known {
                continue;
            }
            if let Some((_, replaced)) = known.and_then(|before| self.inodes.get_mut(&before)) {
                replaced.get_or_insert(now);
            }
            if let Some(found) = found {
                self.inodes.insert(found, (path.clone(), None));
            }
            *known = found;
        }
        let is_recent = |at: Instant| now.saturating_duration_since(at) < REPLACED_TIME;
        self.inodes.retain(|_, (_, replaced)| replaced.is_none_or(is_recent));
    }

    pub fn has_path(&self, path: &Path) -> bool {
        self.paths.contains_key(path)
    }

    /// Under which other name the file at this path is held.
    pub fn other_name(&self, path: &Path) -> Option<&Path> {
        self.path_of(inode(path)?).filter(|held| *held != path)
    }

    /// Where the file of this inode was found.
    pub(super) fn path_of(&self, inode: Inode) -> Option<&Path> {
        self.inodes.get(&inode).map(|(path, _)| path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_held_by_its_inode_until_it_is_let_go() {
        let dir = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "old").expect("write");
        let old = inode(&at("a")).expect("there");
        let mut held = Held::default();
        held.hold(at("a"));
        held.hold(at("later"));
        fs::rename(at("a"), at("renamed")).expect("rename");
        held.refresh(Instant::now());
        assert_eq!(held.path_of(old), Some(at("a").as_path()), "it may be open still");
        fs::write(at("a"), "new").expect("write");
        fs::write(at("later"), "new").expect("write");
        let [new, later] = ["a", "later"].map(|name| inode(&at(name)).expect("there"));
        held.refresh(Instant::now());
        assert!([old, new, later].iter().all(|inode| held.path_of(*inode).is_some()));
        tokio::time::advance(REPLACED_TIME).await;
        held.refresh(Instant::now());
        assert_eq!((held.path_of(old), held.path_of(new)), (None, Some(at("a").as_path())));
        fs::hard_link(at("a"), at("linked")).expect("link");
        assert_eq!(held.other_name(&at("linked")), Some(at("a").as_path()));
        assert_eq!((held.other_name(&at("a")), held.other_name(&at("missing"))), (None, None));
        held.let_go(&at("a"));
        assert!(!held.has_path(&at("a")) && held.path_of(new).is_none() && held.path_of(later).is_some());
    }
}
