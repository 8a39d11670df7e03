//! Before replication: the database file appears, its lock is taken, it is opened and its WAL pinned.
//!
//! Each stage is tried again until it succeeds or it is time to end; the application may start as soon as no commit can be
//! missed, or where there is nothing to miss.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use super::absent::{self, Absence};
use super::exclusive::{self, After, Exclusive};
use super::governor::Governor;
use super::on_thread::blocking;
use super::{Event, Events, Ready, Settings, Stop};
use crate::db::{AtPath, Db, DbError, Surroundings, Watch};
use crate::fsx::{self, FsError};
use crate::sqlite::{Locked, Presence, SqliteError, look_at_file, look_at_locks};
use crate::state::{LocalState, Lock};

/// How often a standby asks for the lock, and how often the database is tried while something keeps it busy.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How long it may take to look around where there is no database.
const AROUND_TIME: Duration = Duration::from_secs(1);

/// Says once, at the first stage that allows it, that the application may start.
pub(super) struct Announce {
    events: Events,
    done: bool,
}

impl Announce {
    pub fn new(events: Events) -> Announce {
        Announce { events, done: false }
    }

    pub fn say(&mut self, ready: Ready) {
        if !std::mem::replace(&mut self.done, true) {
            self.events.send(Event::Ready(ready));
        }
    }
}

/// Waits until there is a file with a SQLite header, and says whether it had to; `None` when it is time to end and there is
/// none.
pub(super) async fn wait_for_database(
    settings: &Settings,
    watch: &mut Watch,
    stop: &mut watch::Receiver<Stop>,
    ready: &mut Announce,
) -> Option<bool> {
    let mut waited = false;
    let mut complaint = None;
    let mut absence = Absence::begin(settings.clock.instant(), settings.optional);
    loop {
        let stopping = stop.borrow_and_update().is_some();
        // No connection of ours exists yet, so looking at the file drops no locks.
        let path = settings.path.clone();
        match blocking(move || look_at_file(&path)).await {
            Ok(Presence::Database(_)) => return Some(waited),
            Ok(_) => {}
            // Once, if it stays the same: that there is no database is said again and again.
            Err(error) if complaint.as_ref() != Some(&error.to_string()) => {
                tracing::warn!("{error}");
                complaint = Some(error.to_string());
            }
            Err(_) => {}
        }
        if stopping || settings.once.is_some() {
            return None;
        }
        waited = true;
        if !ready.done {
            tracing::info!(db = %settings.path.display(), "no database yet: replication begins when it appears");
        }
        ready.say(Ready::NoDatabaseYet);
        if let Some(lasts) = absence.due(settings.clock.instant()) {
            tracing::warn!("{}", absent::warning(&settings.path, &look_around(settings).await, lasts));
        }
        let next_look = settings.clock.instant() + settings.monitor_interval;
        let next_look = absence.next_warning().map_or(next_look, |warning| warning.min(next_look));
        tokio::select! {
            () = watch.changed() => {}
            () = tokio::time::sleep_until(next_look) => {}
            _ = stop.changed() => {}
        }
    }
}

pub(super) async fn look_around(settings: &Settings) -> Surroundings {
    let (path, all) = (settings.path.clone(), settings.all.borrow().clone());
    let look = blocking(move || Surroundings::look(&path, &all.iter().cloned().collect::<Vec<_>>()));
    // A file system that does not answer must not keep replication from its end.
    let nothing = |_| Surroundings { at_path: AtPath::Unknown("no answer".into()), neighbours: Vec::new() };
    tokio::time::timeout(AROUND_TIME, look).await.unwrap_or_else(nothing)
}

/// Takes the lock, standing by while another process has it; `None` when it is time to end.
pub(super) async fn wait_for_lock(
    settings: &Settings,
    stop: &mut watch::Receiver<Stop>,
    ready: &mut Announce,
) -> Result<Option<Lock>, FsError> {
    let mut standby = false;
    loop {
        let stopping = stop.borrow_and_update().is_some();
        let (path, directory) = (settings.path.clone(), settings.meta_path.clone());
        if let Some(lock) = blocking(move || Lock::try_take(&path, &directory)).await? {
            if standby {
                tracing::info!(db = %settings.path.display(), "the other process ended: taking over the replication");
            }
            return Ok(Some(lock));
        }
        if stopping {
            return Ok(None);
        }
        if !standby {
            standby = true;
            let path = settings.path.display();
            tracing::warn!(db = %path, "another process replicates this database: standing by to take over");
        }
        ready.say(Ready::Standby);
        tokio::select! {
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Opens the database and pins its WAL; while something keeps it busy, again and again until the deadline. One that looks damaged may
/// still be on its way to this path, by `cp` for example: that ends when nothing is written any more.
pub(super) async fn wait_for_arming(
    settings: &Settings,
    stop: &mut watch::Receiver<Stop>,
    ready: &mut Announce,
    governor: &Governor,
) -> Result<Db, DbError> {
    let mut last_said: Option<Instant> = None;
    let (mut exclusive, mut was_refused) = (Exclusive::default(), false);
    let mut arrival = Arrival::default();
    let_the_application_open_it_first(settings, stop, ready).await?;
    loop {
        let deadline = *stop.borrow_and_update();
        let (path, tuning) = (settings.path.clone(), settings.tuning);
        let opened = {
            // At the end there is no time to wait for others.
            let _turn = match deadline {
                None => tokio::select! { turn = governor.start() => Some(turn), _ = stop.changed() => None },
                Some(_) => None,
            };
            blocking(move || Db::open(&path, tuning)).await
        };
        let error = match opened {
            Err(error) if error.is_busy() && deadline.is_none_or(|at| settings.clock.instant() < at) => error,
            Err(error) if may_be_a_part(&error) && deadline.is_none() => {
                let first = arrival.since.is_none();
                if !arrival.goes_on(Extent::of(&settings.path), settings.clock.instant()) {
                    return Err(error);
                }
                if first {
                    tracing::warn!(
                        "{error}; trying again until nothing has been written there for {} s: is it still being copied?",
                        ARRIVAL_QUIET.as_secs()
                    );
                }
                tokio::select! {
                    () = tokio::time::sleep(RETRY_INTERVAL) => {}
                    _ = stop.changed() => {}
                }
                continue;
            }
            done => {
                if done.is_ok() && !was_refused {
                    note_exclusive(settings, false).await;
                }
                return done;
            }
        };
        // No connection of ours is open.
        if let Some(holder) = exclusive.see(locks_of(settings).await?, settings.clock.instant())
            && ready.done
        {
            was_refused = true;
            note_exclusive(settings, true).await;
            let why = exclusive::refusal(&settings.path.display().to_string(), &holder);
            ready.events.send(Event::Exclusive { why });
        }
        let now = settings.clock.instant();
        if last_said.is_none_or(|at| now - at >= Duration::from_secs(60)) {
            last_said = Some(now);
            tracing::warn!(
                "{error}; trying again (if this lasts: is a program using it with PRAGMA locking_mode=EXCLUSIVE, or in another \
                 journal mode than WAL?)"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Whether a database of which only the first part is there is refused like this.
fn may_be_a_part(error: &DbError) -> bool {
    matches!(error, DbError::Sqlite(SqliteError::Corrupt { .. }))
}

/// A file that is still being written has not been left alone for so long.
const ARRIVAL_QUIET: Duration = Duration::from_secs(5);

/// Size and time of a file, without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    len: u64,
    modified: Option<SystemTime>,
}

impl Extent {
    fn of(path: &Path) -> Option<Extent> {
        let metadata = fsx::metadata_if_exists(path).ok()??;
        Some(Extent { len: metadata.len(), modified: metadata.modified().ok() })
    }
}

/// A file that may still be coming.
#[derive(Debug, Default)]
struct Arrival {
    seen: Option<Extent>,
    /// When it was last seen to change.
    since: Option<Instant>,
}

impl Arrival {
    /// Whether there is something to wait for, at this look.
    fn goes_on(&mut self, seen: Option<Extent>, now: Instant) -> bool {
        if self.seen != seen {
            self.seen = seen;
            self.since = Some(now);
        }
        now < *self.since.get_or_insert(now) + ARRIVAL_QUIET
    }
}

/// After a life in which the application kept the database to itself: opened by us first, it would be closed to the
/// application, which would die without saying why.
async fn let_the_application_open_it_first(
    settings: &Settings,
    stop: &mut watch::Receiver<Stop>,
    ready: &mut Announce,
) -> Result<(), DbError> {
    let state = LocalState::open(&settings.path, &settings.meta_path);
    if settings.once.is_some() || !blocking(move || state.was_kept_exclusively()).await {
        return Ok(());
    }
    let after = After::begin(settings.clock.instant());
    ready.say(Ready::AfterApplication);
    while !after.is_over(&locks_of(settings).await?, settings.clock.instant()) && stop.borrow_and_update().is_none() {
        tokio::select! {
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
            _ = stop.changed() => {}
        }
    }
    Ok(())
}

async fn locks_of(settings: &Settings) -> Result<Locked, FsError> {
    let path = settings.path.clone();
    blocking(move || look_at_locks(&path)).await
}

/// Leaves the note for the next start, or removes it.
async fn note_exclusive(settings: &Settings, is_exclusive: bool) {
    let state = LocalState::open(&settings.path, &settings.meta_path);
    if let Err(error) = blocking(move || state.note_exclusive(is_exclusive)).await {
        tracing::debug!("{error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_waited_for_as_long_as_it_is_written() {
        let start = Instant::now();
        let extent = |len| Some(Extent { len, modified: None });
        let mut arrival = Arrival::default();
        let mut look = |second, len| arrival.goes_on(extent(len), start + Duration::from_secs(second));
        assert!(look(0, 10) && look(4, 10) && look(4, 20) && look(8, 20) && look(300, 30), "it grows");
        assert!(look(304, 30) && !look(305, 30), "it stays a part");
    }
}
