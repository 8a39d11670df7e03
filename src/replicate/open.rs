//! Before replication: waits for events and carries out what `core/opening/` makes of them. Nothing
//! is decided here.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::absent;
use super::core::opening::{
    ARRIVAL_QUIET, Armed, Config, Done, Effect, Event as OpeningEvent, Extent, Notice, Opened, Opening, Order, Outcome,
};
use super::governor::Governor;
use super::mirror::Mirror;
use super::on_thread::{blocking, joined};
use super::remote_lane::{FirstLook, RemoteLane};
use super::{Ended, Event, Events, Settings, Stop};
use crate::db::{AtPath, Db, DbError, Surroundings, Watch};
use crate::fsx::{self, FsError};
use crate::remote::Remote;
use crate::sqlite::{Holder, Locked, Presence, SqliteError, look_at_file, look_at_locks};
use crate::state::{LocalState, Lock, Spill, SpillError};

/// So many files more can be opened when a database is.
const ROOM: usize = 8;
/// How long it may take to look around where there is no database.
const AROUND_TIME: Duration = Duration::from_secs(1);

/// What an opening works with.
pub(super) struct Opener<'a> {
    pub settings: Arc<Settings>,
    pub remote: &'a Remote,
    pub mirrors: &'a [Mirror],
    pub governor: &'a Governor,
    pub events: &'a Events,
    pub stop: &'a mut watch::Receiver<Stop>,
    pub watch: &'a mut Watch,
    /// Kept to the end of all, whatever it is.
    pub lock: &'a mut Option<Arc<Lock>>,
}

/// What is open before anything is known of the history.
pub(super) struct WithSpill {
    pub db: Db,
    /// What earlier runs captured and did not upload.
    pub spill: Spill,
}

/// What came of an order.
struct Carried {
    done: Done<WithSpill>,
    lock: Option<Lock>,
}

impl From<Done<WithSpill>> for Carried {
    fn from(done: Done<WithSpill>) -> Carried {
        Carried { done, lock: None }
    }
}

impl Opener<'_> {
    /// From the start to the open database, with the look at the bucket that is under way since the
    /// lock is ours.
    pub async fn open(mut self) -> Result<(Armed<WithSpill>, FirstLook), Ended> {
        let mut opening = Opening::new(config(&self.settings), self.settings.clock.now());
        let (mut work, mut look, mut hurry) = (JoinSet::new(), FirstLook::none(), CancellationToken::new());
        let stopping = *self.stop.borrow_and_update();
        let mut event = stopping.map_or(OpeningEvent::Woke, OpeningEvent::Finish);
        loop {
            for effect in opening.on_event(event, self.settings.clock.now()) {
                match effect {
                    Effect::Do(order) => {
                        hurry = CancellationToken::new();
                        work.spawn(carry_out(order, self.settings.clone(), self.governor.clone(), hurry.clone()));
                    }
                    Effect::Hurry => hurry.cancel(),
                    Effect::LookAtBucket => look.begin(self.lane()),
                    Effect::Ready(ready) => self.events.send(Event::Ready(ready)),
                    Effect::Exclusive(holder) => {
                        self.events.send(Event::Exclusive { why: refusal(&self.settings.path, &holder) });
                    }
                    Effect::Say(notice) => say(&notice, &self.settings.path),
                    Effect::End(Outcome::Armed(armed)) => return Ok((armed, look)),
                    Effect::End(outcome) => return Err(self.ended(outcome)),
                }
            }
            event = self.next_event(&opening, &mut work).await;
        }
    }

    async fn next_event(&mut self, opening: &Opening, work: &mut JoinSet<Carried>) -> OpeningEvent<WithSpill> {
        let (wake_at, clock) = (opening.wake_at(), self.settings.clock);
        // Whoever could move the end is gone.
        let is_told_all = opening.is_ending() && self.stop.has_changed().is_err();
        tokio::select! {
            biased;
            Some(carried) = work.join_next() => {
                let Carried { done, lock } = joined(carried).await;
                if lock.is_some() {
                    *self.lock = lock.map(Arc::new);
                }
                OpeningEvent::Done(done)
            }
            changed = self.stop.changed(), if !is_told_all => OpeningEvent::Finish(match changed {
                Ok(()) => self.stop.borrow_and_update().unwrap_or_else(|| clock.instant()),
                Err(_) => clock.instant(),
            }),
            () = tokio::time::sleep_until(wake_at.unwrap_or_else(|| clock.instant())), if wake_at.is_some() => {
                OpeningEvent::Timer
            }
            () = self.watch.changed() => OpeningEvent::Woke,
        }
    }

    fn lane(&self) -> RemoteLane {
        RemoteLane {
            settings: self.settings.clone(),
            remote: self.remote.clone(),
            mirrors: self.mirrors.to_vec(),
            governor: self.governor.clone(),
        }
    }

    fn ended(&self, outcome: Outcome<WithSpill>) -> Ended {
        match outcome {
            Outcome::NoDatabase => Ended::NoDatabase,
            Outcome::NeverAppeared(seen) => Ended::NeverAppeared { why: absent::verdict(&self.settings.path, &seen) },
            Outcome::Standby => Ended::Standby,
            Outcome::Failed(why) => Ended::Failed { why },
            Outcome::Armed(_) => Ended::Failed { why: "internal error: an open database was given up".into() },
        }
    }
}

fn config(settings: &Settings) -> Config {
    Config { optional: settings.optional, once: settings.once.is_some(), monitor_interval: settings.monitor_interval }
}

/// One order. No connection of ours exists yet, so looking at files drops no locks; where one does,
/// they are not looked at.
async fn carry_out(order: Order, settings: Arc<Settings>, governor: Governor, hurry: CancellationToken) -> Carried {
    let is_held = settings.is_held_elsewhere();
    match order {
        Order::LookAtFile if is_held => Done::File(Ok(true)).into(),
        Order::LookAtLocks if is_held => Done::Locks(Ok(Locked::No)).into(),
        Order::LookAtFile => blocking(move || look_at(&settings.path).into()).await,
        Order::LookAround => Done::LookedAround(look_around(&settings).await).into(),
        Order::TakeLock => blocking(move || take_lock(&settings)).await,
        Order::ReadNote => blocking(move || Done::Note(state_of(&settings).was_kept_exclusively()).into()).await,
        Order::NoteExclusive => {
            blocking(move || note_exclusive(&settings, true)).await;
            Done::Noted.into()
        }
        Order::LookAtLocks => {
            let locks = blocking(move || look_at_locks(&settings.path)).await;
            locks.map_or_else(|error| not_done(&error, Done::Locks), |locks| Done::Locks(Ok(locks))).into()
        }
        Order::Open { in_turn, forget_note } => {
            let _turn = match in_turn {
                true => tokio::select! { turn = governor.start() => Some(turn), () = hurry.cancelled() => None },
                false => None,
            };
            blocking(move || open_database(&settings, forget_note).into()).await
        }
    }
}

/// What could not be done for want of a descriptor can be done later.
fn not_done<T>(error: &FsError, otherwise: impl FnOnce(Result<T, String>) -> Done<WithSpill>) -> Done<WithSpill> {
    match error.is_out_of_files() {
        true => Done::OutOfFiles(error.to_string()),
        false => otherwise(Err(error.to_string())),
    }
}

fn look_at(path: &Path) -> Done<WithSpill> {
    match look_at_file(path) {
        Ok(presence) => Done::File(Ok(matches!(presence, Presence::Database(_)))),
        Err(error) => not_done(&error, Done::File),
    }
}

fn take_lock(settings: &Settings) -> Carried {
    match Lock::try_take(&settings.path, &settings.meta_path) {
        Ok(lock) => Carried { done: Done::Lock(Ok(lock.is_some())), lock },
        Err(error) => not_done(&error, Done::Lock).into(),
    }
}

fn state_of(settings: &Settings) -> LocalState {
    LocalState::open(&settings.path, &settings.meta_path)
}

async fn look_around(settings: &Settings) -> Surroundings {
    let (path, all) = (settings.path.clone(), settings.all.borrow().clone());
    let look = blocking(move || Surroundings::look(&path, &all.iter().cloned().collect::<Vec<_>>()));
    // A file system that does not answer must not keep replication from its end.
    let nothing = |_| Surroundings { at_path: AtPath::Unknown("no answer".into()), neighbours: Vec::new() };
    tokio::time::timeout(AROUND_TIME, look).await.unwrap_or_else(nothing)
}

fn open_database(settings: &Settings, forget_note: bool) -> Done<WithSpill> {
    let db = match Db::open(&settings.path, settings.tuning) {
        Ok(db) => db,
        Err(error) if error.is_out_of_files() => return Done::OutOfFiles(error.to_string()),
        Err(error) if error.is_busy() => return Done::Opened(Opened::Busy(error.to_string())),
        Err(error @ DbError::Sqlite(SqliteError::Corrupt { .. })) => {
            return Done::Opened(Opened::Part { why: error.to_string(), seen: extent_of(&settings.path) });
        }
        Err(error) => return Done::Opened(Opened::Failed(error.to_string())),
    };
    let spill = match has_room().map_err(SpillError::from).and_then(|()| state_of(settings).spill()) {
        Ok(spill) => spill,
        Err(error) if error.is_out_of_files() => return Done::OutOfFiles(error.to_string()),
        Err(error) => return Done::Opened(Opened::Failed(error.to_string())),
    };
    if forget_note {
        note_exclusive(settings, false);
    }
    Done::Opened(Opened::Armed(WithSpill { db, spill }))
}

/// Whether what comes next, such as reading the notes beside the database, can be done: a note that
/// cannot be read is taken for none.
fn has_room() -> fsx::Result<()> {
    let path = Path::new("/dev/null");
    let opened: fsx::Result<Vec<File>> = (0..ROOM).map(|_| fsx::open(path)).collect();
    opened.map(drop)
}

fn extent_of(path: &Path) -> Option<Extent> {
    let metadata = fsx::metadata_if_exists(path).ok()??;
    Some(Extent { len: metadata.len(), modified: metadata.modified().ok() })
}

/// Leaves the note for the next start, or removes it.
fn note_exclusive(settings: &Settings, is_exclusive: bool) {
    if let Err(error) = state_of(settings).note_exclusive(is_exclusive) {
        tracing::debug!("{error}");
    }
}

/// Why an application that keeps its database to itself is stopped, and what to do.
fn refusal(path: &Path, holder: &Holder) -> String {
    format!(
        "{} cannot be replicated: {} keeps it to itself with PRAGMA locking_mode=EXCLUSIVE, and runs without a backup; remove that \
         pragma from the application",
        path.display(),
        holder.name
    )
}

fn say(notice: &Notice, path: &Path) {
    let db = path.display();
    match notice {
        Notice::CannotLook(why) => tracing::warn!("{why}"),
        Notice::NoDatabaseYet => {
            tracing::info!(db = %db, "no database yet: replication begins when it appears");
        }
        Notice::StillMissing { seen, lasting } => tracing::warn!("{}", absent::warning(path, seen, *lasting)),
        Notice::Standby => {
            tracing::warn!(db = %db, "another process replicates this database: standing by to take over");
        }
        Notice::TakingOver => tracing::info!(db = %db, "the other process ended: taking over the replication"),
        Notice::Arriving(why) => tracing::warn!(
            "{why}; trying again until nothing has been written there for {} s: is it still being copied?",
            ARRIVAL_QUIET.as_secs()
        ),
        Notice::OutOfFiles(why) => tracing::warn!("{why}; trying again as soon as others have closed theirs"),
        Notice::Busy(why) => tracing::warn!(
            "{why}; trying again (if this lasts: is a program using it with PRAGMA locking_mode=EXCLUSIVE, or in another \
             journal mode than WAL?)"
        ),
    }
}
