//! Wakes the road up when the `-wal` file changes.
//!
//! inotify on the database's directory, because the `-wal` and the database itself come and go. A wake means "look now", never
//! "one commit": events coalesce, and other files in the directory wake us too. Where inotify is missing (limits, network
//! file systems) the caller's poll alone notices changes, a little later.

use std::path::Path;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};

use crate::fsx;

const EVENT_BUFFER_BYTES: usize = 4096;

pub struct Watch {
    events: Option<EventStream<[u8; EVENT_BUFFER_BYTES]>>,
    names: [std::ffi::OsString; 3],
}

impl Watch {
    /// Watches for changes of the database at `path` and of its WAL. Needs a runtime.
    pub fn new(path: &Path) -> Watch {
        let name = path.file_name().unwrap_or_default().to_owned();
        let [wal_name, shm_name] = ["-wal", "-shm"].map(|suffix| {
            let mut with_suffix = name.clone();
            with_suffix.push(suffix);
            with_suffix
        });
        let events = match Watch::start(fsx::parent(path)) {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!(db = %path.display(), "no inotify ({error}): changes are noticed by polling only");
                None
            }
        };
        Watch { events, names: [wal_name, shm_name, name] }
    }

    fn start(directory: &Path) -> std::io::Result<EventStream<[u8; EVENT_BUFFER_BYTES]>> {
        let inotify = Inotify::init()?;
        let mask =
            WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::MOVED_FROM | WatchMask::DELETE;
        inotify.watches().add(directory, mask)?;
        inotify.into_event_stream([0; EVENT_BUFFER_BYTES])
    }

    /// Returns after the next change; never, where there is no inotify. Safe to drop.
    pub async fn changed(&mut self) {
        while let Some(events) = &mut self.events {
            match events.next().await {
                Some(Ok(event)) => {
                    // A queue overflow has no name: look, to be sure.
                    let concerns_us = event.name.is_none_or(|name| self.names.contains(&name));
                    if concerns_us {
                        return;
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!("inotify failed ({error}): changes are noticed by polling only");
                    self.events = None;
                }
                None => self.events = None,
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_to_the_wal_wakes_and_another_file_does_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        let mut watch = Watch::new(&path);
        std::fs::write(dir.path().join("other.txt"), b"x").expect("write");
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(100), watch.changed()).await;
        assert!(quiet.is_err(), "woken by a file that is none of ours");
        std::fs::write(dir.path().join("app.db-wal"), b"x").expect("write");
        watch.changed().await;
    }
}
