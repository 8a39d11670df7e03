//! When to look at a directory again: one inotify for all directories of a tree.
//!
//! An event says where something happened, and a scan finds out what. Events that come in the
//! meantime are no loss, and an overflow of the kernel's queue means "look at everything". Where
//! inotify cannot be had, or not for one of the directories, the caller's poll alone notices
//! changes.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use inotify::{Event, EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

const EVENT_BUFFER_BYTES: usize = 16 * 1024;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// Something came, went, or may be read now, at this absolute path.
    At(PathBuf),
    /// A file was closed after it was written to, or has other rights or another owner.
    Touched(PathBuf),
    /// It cannot be told what has changed.
    Everything,
}

/// The watch of one tree.
pub struct TreeWatch {
    /// `None`: there is no inotify.
    source: Option<Source>,
    /// Those that could not be watched; said once.
    blind: HashSet<PathBuf>,
}

struct Source {
    watches: Watches,
    events: EventStream<[u8; EVENT_BUFFER_BYTES]>,
    directories: HashMap<WatchDescriptor, PathBuf>,
    watched: HashSet<PathBuf>,
}

impl TreeWatch {
    /// Needs a runtime.
    pub fn start() -> TreeWatch {
        let source = Source::open();
        if let Err(error) = &source {
            tracing::warn!("no inotify ({error}): new databases are noticed by looking now and then");
        }
        TreeWatch { source: source.ok(), blind: HashSet::new() }
    }

    /// Watches these absolute directories from now on; whether one of them is new. What happened in
    /// that one before has made no event.
    pub fn watch<'a>(&mut self, directories: impl Iterator<Item = &'a Path>) -> bool {
        let Some(source) = &mut self.source else { return false };
        let mut is_new = false;
        for directory in directories.filter(|directory| !source.watched.contains(*directory)).collect::<Vec<_>>() {
            match source.add(directory) {
                Ok(()) => {
                    is_new = true;
                    self.blind.remove(directory);
                }
                // It is gone again.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if self.blind.insert(directory.to_owned()) => tracing::warn!(
                    "no inotify for {} ({error}): new databases there are noticed by looking now and then",
                    directory.display()
                ),
                Err(_) => {}
            }
        }
        is_new
    }

    /// Whether everything that happens is told.
    pub fn is_reliable(&self) -> bool {
        self.source.is_some() && self.blind.is_empty()
    }

    /// The next thing that happens; never, where there is no inotify. Safe to drop.
    pub async fn next(&mut self) -> Noticed {
        loop {
            let Some(source) = &mut self.source else { return std::future::pending().await };
            match source.events.next().await {
                Some(Ok(event)) => {
                    if let Some(noticed) = source.noticed(&event) {
                        return noticed;
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!("inotify failed ({error}): new databases are noticed by looking now and then");
                    self.source = None;
                    return Noticed::Everything;
                }
                None => {
                    self.source = None;
                    return Noticed::Everything;
                }
            }
        }
    }
}

impl Source {
    fn open() -> io::Result<Source> {
        let inotify = Inotify::init()?;
        let watches = inotify.watches();
        let events = inotify.into_event_stream([0; EVENT_BUFFER_BYTES])?;
        Ok(Source { watches, events, directories: HashMap::new(), watched: HashSet::new() })
    }

    fn add(&mut self, directory: &Path) -> io::Result<()> {
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::CLOSE_WRITE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let descriptor = self.watches.add(directory, mask)?;
        // One that was renamed keeps its watch, and has its new name from now on.
        if let Some(before) = self.directories.insert(descriptor, directory.to_owned()) {
            self.watched.remove(&before);
        }
        self.watched.insert(directory.to_owned());
        Ok(())
    }

    fn noticed(&mut self, event: &Event<OsString>) -> Option<Noticed> {
        let has = |mask| event.mask.contains(mask);
        if has(EventMask::Q_OVERFLOW) {
            tracing::debug!("inotify's queue has overflowed: looking at everything");
            return Some(Noticed::Everything);
        }
        let directory = self.directories.get(&event.wd)?.clone();
        if has(EventMask::IGNORED) {
            self.directories.remove(&event.wd);
            self.watched.remove(&directory);
            return Some(Noticed::Everything);
        }
        if has(EventMask::DELETE_SELF) || has(EventMask::MOVE_SELF) {
            // Under its old name another directory may appear.
            self.watched.remove(&directory);
            return Some(Noticed::Everything);
        }
        let path = directory.join(event.name.as_ref()?);
        let is_touch = has(EventMask::CLOSE_WRITE) || has(EventMask::ATTRIB);
        Some(if is_touch { Noticed::Touched(path) } else { Noticed::At(path) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Takes events until one is the wanted one.
    async fn until(watch: &mut TreeWatch, wanted: &Noticed) {
        let found = async { while watch.next().await != *wanted {} };
        tokio::time::timeout(Duration::from_secs(60), found).await.unwrap_or_else(|_| panic!("no {wanted:?}"));
    }

    #[tokio::test]
    async fn what_comes_and_goes_is_told_by_its_path() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (root, file) = (dir.path(), dir.path().join("a.db"));
        let mut watch = TreeWatch::start();
        assert!(watch.watch([root].into_iter()) && !watch.watch([root].into_iter()), "new only once");
        assert!(watch.is_reliable());
        std::fs::write(&file, "x").expect("write");
        until(&mut watch, &Noticed::At(file.clone())).await;
        until(&mut watch, &Noticed::Touched(file.clone())).await;
        std::fs::rename(&file, root.join("b.db")).expect("rename");
        until(&mut watch, &Noticed::At(file.clone())).await;
        until(&mut watch, &Noticed::At(root.join("b.db"))).await;
        let sub = root.join("sub");
        std::fs::create_dir(&sub).expect("create");
        until(&mut watch, &Noticed::At(sub.clone())).await;
        assert!(watch.watch([sub.as_path()].into_iter()));
        std::fs::write(sub.join("c.db"), "x").expect("write");
        until(&mut watch, &Noticed::At(sub.join("c.db"))).await;
        std::fs::remove_dir_all(&sub).expect("remove");
        until(&mut watch, &Noticed::Everything).await;
        std::fs::create_dir(&sub).expect("create");
        assert!(watch.watch([sub.as_path()].into_iter()), "another directory of the same name");
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_watched_is_looked_at_now_and_then() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("file");
        std::fs::write(&file, "x").expect("write");
        let mut watch = TreeWatch::start();
        assert!(!watch.watch([file.as_path()].into_iter()));
        assert!(!watch.is_reliable());
        assert!(!watch.watch([dir.path().join("missing").as_path()].into_iter()));
    }
}
