//! Wakes replication up when its `-wal` file changes.
//!
//! inotify on the database's directory, because the `-wal` and the database itself come and go; one
//! inotify for all databases, since the kernel grants a user few of them. A wake means "look now",
//! never "one commit": events coalesce.
//!
//! ```text
//!   kernel ──▶ one task: directory → its databases ──▶ Watch::changed
//! ```
//!
//! Where inotify is missing (limits, network file systems), or has missed what a poll found, the
//! caller's poll alone notices changes: [`Watch::is_reliable`] tells how often to poll.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::sync::{Notify, mpsc};

use crate::fsx;

const EVENT_BUFFER_BYTES: usize = 16 * 1024;
/// Between two looks at the events; shorter than any upload.
const PAUSE: Duration = Duration::from_millis(2);
/// After so many changes without an event, events are not relied on.
const MISSED_MAX: u32 = 3;

/// The inotify of the process.
#[derive(Clone, Debug)]
pub struct Watches(mpsc::UnboundedSender<Arc<Waker>>);

impl Watches {
    /// Needs a runtime; ends with the last value and the last [`Watch`].
    pub fn start() -> Watches {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(listen(receiver));
        Watches(sender)
    }

    /// Watches for changes of the database at `path` and of its WAL.
    pub fn watch(&self, path: &Path) -> Watch {
        let waker = Arc::new(Waker { path: path.into(), rung: Notify::new(), missed: AtomicU32::new(0) });
        if self.0.send(waker.clone()).is_err() {
            waker.break_down();
        }
        Watch(waker)
    }
}

/// One database's place in the watch. Of all its copies one is told of a change.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Waker>);

impl Watch {
    /// Returns after the next change; never, where there is no inotify. Safe to drop.
    pub async fn changed(&mut self) {
        self.0.rung.notified().await;
    }

    /// Whether changes are told: then a poll is only for the unexpected.
    pub fn is_reliable(&self) -> bool {
        self.0.missed.load(Ordering::Relaxed) < MISSED_MAX
    }

    /// A poll found a change that no event had told.
    pub fn missed(&self) {
        if self.0.missed.fetch_add(1, Ordering::Relaxed) + 1 == MISSED_MAX {
            tracing::warn!(
                "changes in {} come without an event from inotify: polling from here on",
                self.0.directory().display()
            );
        }
    }
}

#[derive(Debug)]
struct Waker {
    path: Box<Path>,
    rung: Notify,
    missed: AtomicU32,
}

impl Waker {
    fn directory(&self) -> &Path {
        fsx::parent(&self.path)
    }

    fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    fn ring(&self) {
        // Events come: a poll that was a little faster than one of them proves nothing.
        let _ =
            self.missed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |missed| (missed < MISSED_MAX).then_some(0));
        self.rung.notify_one();
    }

    /// No event will come any more.
    fn break_down(&self) {
        self.missed.store(MISSED_MAX, Ordering::Relaxed);
        self.rung.notify_one();
    }
}

/// The databases of each watched directory, by their names: there may be ten thousand in one.
type Wakers = HashMap<WatchDescriptor, HashMap<OsString, Vec<Weak<Waker>>>>;

fn all(wakers: &Wakers) -> impl Iterator<Item = &Weak<Waker>> {
    wakers.values().flat_map(|there| there.values().flatten())
}

/// The names that a database may have whose file this is.
fn names_behind(file: &OsStr) -> impl Iterator<Item = &OsStr> {
    let without = |suffix: &str| file.as_bytes().strip_suffix(suffix.as_bytes()).map(OsStr::from_bytes);
    [Some(file), without("-wal"), without("-shm")].into_iter().flatten()
}

async fn listen(mut newcomers: mpsc::UnboundedReceiver<Arc<Waker>>) {
    let opened = Inotify::init().and_then(|inotify| {
        let watches = inotify.watches();
        inotify.into_event_stream([0; EVENT_BUFFER_BYTES]).map(|events| (watches, events))
    });
    let (mut watches, mut events) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!("no inotify ({error}): changes are noticed by polling only");
            while let Some(waker) = newcomers.recv().await {
                waker.break_down();
            }
            return;
        }
    };
    let mut wakers = Wakers::new();
    loop {
        let event = tokio::select! {
            newcomer = newcomers.recv(), if !newcomers.is_closed() || !newcomers.is_empty() => {
                if let Some(waker) = newcomer {
                    enlist(&mut watches, &mut wakers, &waker);
                }
                continue;
            }
            event = events.next() => event,
        };
        // The first one rings at once. Then a pause: a busy writer makes events by the ten
        // thousand, and what is not read yet coalesces in the kernel.
        let mut event = Some(event);
        while let Some(next) = event {
            match next {
                Some(Ok(next)) => ring(&mut wakers, &next),
                Some(Err(error)) => {
                    tracing::warn!("inotify failed ({error}): changes are noticed by polling only");
                    return break_all(&wakers);
                }
                None => return break_all(&wakers),
            }
            event = events.next().now_or_never();
        }
        tokio::time::sleep(PAUSE).await;
        if newcomers.is_closed() && newcomers.is_empty() && all(&wakers).all(|waker| waker.strong_count() == 0) {
            return;
        }
    }
}

fn enlist(watches: &mut inotify::Watches, wakers: &mut Wakers, waker: &Arc<Waker>) {
    let mask = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::MOVED_FROM | WatchMask::DELETE;
    match watches.add(waker.directory(), mask) {
        Ok(directory) => {
            let named = wakers.entry(directory).or_default().entry(waker.name().to_owned()).or_default();
            named.retain(|waker| waker.strong_count() > 0);
            named.push(Arc::downgrade(waker));
            // What changed before this moment had no event.
            waker.rung.notify_one();
        }
        Err(error) => {
            let directory = waker.directory().display();
            tracing::warn!("no inotify for {directory} ({error}): changes are noticed by polling only");
            waker.break_down();
        }
    }
}

fn ring(wakers: &mut Wakers, event: &Event<OsString>) {
    if event.mask.contains(EventMask::Q_OVERFLOW) {
        all(wakers).filter_map(Weak::upgrade).for_each(|waker| waker.ring());
        return;
    }
    let Some(there) = wakers.get(&event.wd) else { return };
    let told = |named: &Vec<Weak<Waker>>, tell: fn(&Waker)| {
        named.iter().filter_map(Weak::upgrade).for_each(|waker| tell(&waker));
    };
    match &event.name {
        // The directory is gone, and with it the watch.
        _ if event.mask.contains(EventMask::IGNORED) => {
            there.values().for_each(|named| told(named, Waker::break_down));
            wakers.remove(&event.wd);
        }
        Some(file) => names_behind(file).filter_map(|name| there.get(name)).for_each(|named| told(named, Waker::ring)),
        // The end of a directory has no name: look, to be sure.
        None => there.values().for_each(|named| told(named, Waker::ring)),
    }
}

fn break_all(wakers: &Wakers) {
    all(wakers).filter_map(Weak::upgrade).for_each(|waker| waker.break_down());
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_quiet(watch: &mut Watch) -> bool {
        tokio::time::timeout(Duration::from_millis(100), watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn a_write_to_the_wal_wakes_its_database_alone() {
        let dir = tempfile::tempdir().expect("tempdir");
        let watches = Watches::start();
        let mut watch = watches.watch(&dir.path().join("app.db"));
        let mut neighbour = watches.watch(&dir.path().join("other.db"));
        // Once at the start: there may have been something before.
        watch.changed().await;
        neighbour.changed().await;
        drop(watches);
        std::fs::write(dir.path().join("other.txt"), b"x").expect("write");
        assert!(is_quiet(&mut watch).await, "woken by a file that is none of ours");
        std::fs::write(dir.path().join("app.db-wal"), b"x").expect("write");
        watch.changed().await;
        assert!(is_quiet(&mut neighbour).await, "woken by a neighbour's file");
        assert!(watch.is_reliable());
    }

    #[tokio::test]
    async fn without_a_directory_there_is_nothing_to_rely_on() {
        let dir = tempfile::tempdir().expect("tempdir");
        let watches = Watches::start();
        let mut nowhere = watches.watch(&dir.path().join("missing/app.db"));
        nowhere.changed().await;
        assert!(!nowhere.is_reliable());

        let inside = dir.path().join("sub");
        std::fs::create_dir(&inside).expect("create");
        let mut watch = watches.watch(&inside.join("app.db"));
        watch.changed().await;
        assert!(watch.is_reliable());
        std::fs::remove_dir(&inside).expect("remove");
        watch.changed().await;
        assert!(!watch.is_reliable());
    }

    #[tokio::test]
    async fn events_that_do_not_come_are_not_waited_for() {
        let dir = tempfile::tempdir().expect("tempdir");
        let watch = Watches::start().watch(&dir.path().join("app.db"));
        for _ in 0..MISSED_MAX {
            assert!(watch.is_reliable());
            watch.missed();
        }
        assert!(!watch.is_reliable());
    }
}
