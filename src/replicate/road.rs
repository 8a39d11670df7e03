//! The stages of a road, in order.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::absent::{self, Absence};
use super::difference::Doubts;
use super::exclusive::{self, After, Exclusive};
use super::lifecycle::{Lifecycle, do_chores};
use super::look::FirstLook;
use super::outage::Outage;
use super::pace::Pace;
use super::upload::blocking;
use super::{Ended, Event, Ready, Settings, Stop, ship::deadline_passes};
use crate::clock::Backoff;
use crate::db::{
    Accepted, AtPath, Db, DbError, History, KnownFile, Lock, Origin, Own, SPILL_DIRECTORY, Spill, Standing,
    Surroundings, Watch,
};
use crate::fsx::FsError;
use crate::ltx::{Header, Txid};
use crate::remote::Remote;
use crate::sqlite::{Presence, look_at_file, look_at_locks};
use crate::status::Board;

/// How often a standby asks for the lock, and how often the database is tried while something keeps it busy.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How long the start of the application may wait to hear where the history ends. It waits only after an end in the middle.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// How long it may take to look around where there is no database.
const AROUND_TIME: Duration = Duration::from_secs(1);

/// An armed road. Owns everything; nothing is shared but the status board.
pub(super) struct Traveller {
    pub settings: Settings,
    pub remote: Remote,
    pub board: Board,
    pub stop: watch::Receiver<Stop>,
    pub events: mpsc::Sender<Event>,
    pub watch: Watch,
    /// `None` only while a blocking task has it.
    pub db: Option<Db>,
    pub spill: Spill,
    /// The database did not exist when we started: it is nobody's continuation.
    pub created_anew: bool,
    /// A human has said that this database is the newest state.
    pub accepted: bool,
    /// How far this disk is in step with the history.
    pub history: History,
    /// It could not be written, and that was said.
    pub history_complaint: bool,
    pub look: FirstLook,
    pub ready: Announce,
    /// The newest TXID of the history as far as we know it.
    pub confirmed: Option<Txid>,
    /// Boot-clock time of the last proof that the history is ours.
    pub proved_at: Duration,
    /// Runs while the history is ours.
    pub lifecycle: Option<Lifecycle>,
    pub pace: Pace,
    pub outage: Outage,
    /// The database cannot be proved to continue the history.
    pub doubts: Doubts,
    /// That the first upload was made has been said.
    pub is_first_said: bool,
    /// Set while the WAL holds frames that are no commit yet: how soon to look again.
    pub unpublished: Option<Backoff>,
    /// How often the store has refused since it is time to end.
    pub final_refusals: u32,
    pub last_reset: Instant,
    /// The last attempt met a reader or writer of the application.
    pub no_reset_before: Instant,
    pub last_reset_complaint: Option<Instant>,
}

pub(super) async fn travel(
    settings: Settings,
    remote: Remote,
    events: mpsc::Sender<Event>,
    board: Board,
    mut stop: watch::Receiver<Stop>,
    mut watch: Watch,
    lock: &mut Option<Lock>,
) -> Ended {
    let mut ready = Announce { events: events.clone(), done: false };
    let Some(waited) = wait_for_database(&settings, &mut watch, &mut stop, &mut ready).await else {
        if settings.optional {
            return Ended::NoDatabase;
        }
        let seen = look_around(&settings).await;
        return Ended::NeverAppeared { why: absent::verdict(&settings.path, &seen) };
    };
    match wait_for_lock(&settings, &mut stop, &mut ready).await {
        Ok(Some(taken)) => *lock = Some(taken),
        Ok(None) => return Ended::Standby,
        Err(error) => return Ended::Failed { why: error.to_string() },
    }
    let mut look = FirstLook::begin(&remote);
    let db = match look.beside(wait_for_arming(&settings, &mut stop, &mut ready)).await {
        Ok(db) => db,
        Err(error) => return Ended::Failed { why: error.to_string() },
    };
    let (history, doubts) = open_history(&settings, &remote, &mut look, &mut ready).await;
    let spill = match Spill::open(&settings.meta_path.join(SPILL_DIRECTORY)) {
        Ok(spill) => spill,
        Err(error) => return Ended::Failed { why: error.to_string() },
    };
    let (once, policy, bucket, stopped) = (settings.once, settings.lifecycle.clone(), remote.clone(), stop.clone());
    let traveller = Traveller {
        pace: Pace::new(settings.sync_interval),
        settings,
        remote,
        board,
        stop,
        events,
        watch,
        db: Some(db),
        spill,
        created_anew: waited,
        accepted: false,
        history,
        history_complaint: false,
        look,
        ready,
        confirmed: None,
        proved_at: Duration::ZERO,
        lifecycle: None,
        outage: Outage::new(),
        doubts,
        is_first_said: false,
        unpublished: None,
        final_refusals: 0,
        last_reset: Instant::now(),
        no_reset_before: Instant::now(),
        last_reset_complaint: None,
    };
    let ended = traveller.ship().await;
    let (Ended::Synced(Some(newest)), Some(chores), Some(policy)) = (&ended, once, policy) else { return ended };
    // The lock is still ours.
    tokio::select! {
        done = do_chores(chores, &policy, &bucket, *newest) => match done {
            Ok(()) => ended,
            Err(error) => Ended::Failed { why: format!("every commit is in the replica, but {error}") },
        },
        () = deadline_passes(stopped) => {
            let why = "every commit is in the replica, but there was no time for the snapshot or retention".into();
            Ended::Failed { why }
        }
    }
}

/// Reads how far this disk is in step with the history, and lets the application start unless it is seen that the history went on
/// since, or that the file is not known to belong to it: then that is looked into first. Only after an end in the middle, which may
/// have left commits here that nobody else has, and for a file that is not known, that sight is waited for.
async fn open_history(
    settings: &Settings,
    remote: &Remote,
    look: &mut FirstLook,
    ready: &mut Announce,
) -> (History, Doubts) {
    let mut history = History::load(&settings.meta_path, remote.address());
    let is_known = KnownFile::is_at(&settings.path, &settings.meta_path, remote.address());
    if history.was_cut_off() || !is_known {
        // A bucket that does not answer must not keep the application from its own disk.
        let _ = tokio::time::timeout(LOOK_TIME, look.wait()).await;
    }
    let went_on = look.end().is_some_and(|end| history.own(end.header()).is_some_and(|own| own.is_before(end.txid)));
    if let Err(error) = history.reopen() {
        tracing::debug!(db = %settings.path.display(), "{error}");
    }
    let is_foreign = !is_known && look.end().is_some();
    let (path, address) = (settings.path.display(), remote.address());
    if !went_on && !is_foreign || Accepted::look(&settings.path, &settings.meta_path) == Accepted::ThisFile {
        ready.say(Ready::Armed).await;
    } else if !ready.done && went_on {
        tracing::info!(db = %path, "the history in {address} went on since the last end here: looking into it first");
    } else if !ready.done {
        tracing::info!(db = %path, "this file was not replicated from here before: looking first whether it belongs to the history in {address}");
    }
    (history, Doubts::about(is_foreign))
}

/// Says once, at the first stage that allows it, that the application may start.
pub(super) struct Announce {
    events: mpsc::Sender<Event>,
    done: bool,
}

impl Announce {
    pub async fn say(&mut self, ready: Ready) {
        if !self.done {
            self.done = true;
            // Nobody listens any more only while the program ends.
            let _ = self.events.send(Event::Ready(ready)).await;
        }
    }
}

/// Waits until there is a file with a SQLite header, and says whether it had to; `None` when it is time to end and there is
/// none.
async fn wait_for_database(
    settings: &Settings,
    watch: &mut Watch,
    stop: &mut watch::Receiver<Stop>,
    ready: &mut Announce,
) -> Option<bool> {
    let mut waited = false;
    let mut complaint = None;
    let mut absence = Absence::begin(Instant::now(), settings.optional);
    loop {
        let stopping = stop.borrow_and_update().is_some();
        // No connection of ours exists yet, so looking at the file drops no locks.
        match look_at_file(&settings.path) {
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
        ready.say(Ready::NoDatabaseYet).await;
        if let Some(lasts) = absence.due(Instant::now()) {
            tracing::warn!("{}", absent::warning(&settings.path, &look_around(settings).await, lasts));
        }
        let next_look = Instant::now() + settings.monitor_interval;
        let next_look = absence.next_warning().map_or(next_look, |warning| warning.min(next_look));
        tokio::select! {
            () = watch.changed() => {}
            () = tokio::time::sleep_until(next_look) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn look_around(settings: &Settings) -> Surroundings {
    let (path, all) = (settings.path.clone(), settings.all.clone());
    let look = blocking(move || Surroundings::look(&path, &all));
    // A file system that does not answer must not keep the road from its end.
    let nothing = |_| Surroundings { at_path: AtPath::Unknown("no answer".into()), neighbours: Vec::new() };
    tokio::time::timeout(AROUND_TIME, look).await.unwrap_or_else(nothing)
}

/// Takes the lock, standing by while another process has it; `None` when it is time to end.
async fn wait_for_lock(
    settings: &Settings,
    stop: &mut watch::Receiver<Stop>,
    ready: &mut Announce,
) -> Result<Option<Lock>, FsError> {
    let mut standby = false;
    loop {
        let stopping = stop.borrow_and_update().is_some();
        if let Some(lock) = Lock::try_take(&settings.path, &settings.meta_path)? {
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
        ready.say(Ready::Standby).await;
        tokio::select! {
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Opens the database and pins its WAL; while something keeps it busy, again and again until the deadline.
async fn wait_for_arming(
    settings: &Settings,
    stop: &mut watch::Receiver<Stop>,
    ready: &mut Announce,
) -> Result<Db, DbError> {
    let mut last_said: Option<Instant> = None;
    let (mut exclusive, mut was_refused) = (Exclusive::default(), false);
    let_the_application_open_it_first(settings, stop, ready).await?;
    loop {
        let deadline = *stop.borrow_and_update();
        let (path, tuning) = (settings.path.clone(), settings.tuning);
        let error = match blocking(move || Db::open(&path, tuning)).await {
            Err(error) if error.is_busy() && deadline.is_none_or(|at| Instant::now() < at) => error,
            done => {
                if done.is_ok() && !was_refused {
                    exclusive::note(&settings.meta_path, false);
                }
                return done;
            }
        };
        // No connection of ours is open.
        if let Some(holder) = exclusive.see(look_at_locks(&settings.path)?, Instant::now())
            && ready.done
        {
            was_refused = true;
            exclusive::note(&settings.meta_path, true);
            let why = exclusive::refusal(&settings.path.display().to_string(), &holder);
            // Nobody listens any more only while the program ends.
            let _ = ready.events.send(Event::Exclusive { why }).await;
        }
        if last_said.is_none_or(|at| at.elapsed() >= Duration::from_secs(60)) {
            last_said = Some(Instant::now());
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

/// After a life in which the application kept the database to itself: opened by us first, it would be closed to the
/// application, which would die without saying why.
async fn let_the_application_open_it_first(
    settings: &Settings,
    stop: &mut watch::Receiver<Stop>,
    ready: &mut Announce,
) -> Result<(), DbError> {
    let Some(after) = After::by_note(&settings.meta_path, Instant::now()).filter(|_| settings.once.is_none()) else {
        return Ok(());
    };
    ready.say(Ready::AfterApplication).await;
    while !after.is_over(&look_at_locks(&settings.path)?, Instant::now()) && stop.borrow_and_update().is_none() {
        tokio::select! {
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
            _ = stop.changed() => {}
        }
    }
    Ok(())
}

impl Traveller {
    /// Runs blocking work with the database.
    pub async fn with_db<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Db) -> T + Send + 'static) -> T {
        let mut db = self.db.take().expect("the database is here between steps");
        let (db, result) = blocking(move || {
            let result = work(&mut db);
            (db, result)
        })
        .await;
        self.db = Some(db);
        result
    }

    pub fn db(&mut self) -> &mut Db {
        self.db.as_mut().expect("the database is here between steps")
    }

    /// The deadline, once it is time to end.
    pub fn deadline(&self) -> Stop {
        *self.stop.borrow()
    }

    /// The database here is in step with the history up to there.
    pub fn is_in_step_with(&mut self, own: Own) {
        let position = self.db().position().filter(|position| own == Own::up_to(Some(position.txid)));
        let standing = position.and_then(|position| Standing::of(&position, self.remote.address()));
        let noted = self.history.in_step_at(own, standing);
        self.complain_of(noted);
    }

    /// The object with this header is about to be created.
    pub fn is_sending(&mut self, header: &Header) {
        let noted = self.history.sending(header);
        self.complain_of(noted);
    }

    /// The road ends in order: everything committed here is in the replica.
    pub fn close_history(&mut self) {
        if let Some(txid) = self.confirmed.filter(|_| self.db().has_position()) {
            let noted = self.history.close(txid);
            self.complain_of(noted);
            self.note_empty_wal(txid);
        }
    }

    /// With an empty WAL the file itself is that TXID.
    fn note_empty_wal(&mut self, txid: Txid) {
        let db = self.db();
        let position = db.position().filter(|position| position.txid == txid && matches!(db.wal_len(), Ok(0)));
        let Some(position) = position else { return };
        let (path, replica) = (&self.settings.path, self.remote.address());
        let noted = Origin::of(path, txid, position.page_size, position.pages, replica);
        if let Err(error) = noted.and_then(|note| note.save(&self.settings.meta_path)) {
            tracing::debug!(db = %self.name(), "{error}");
        }
    }

    fn complain_of(&mut self, noted: Result<(), FsError>) {
        if let Err(error) = noted
            && !std::mem::replace(&mut self.history_complaint, true)
        {
            tracing::warn!(db = %self.name(), "{error}: should the history go on elsewhere, a later start here cannot tell");
        }
    }

    pub fn name(&self) -> String {
        self.settings.path.display().to_string()
    }

    /// Waits; returns early when it is time to end.
    pub async fn pause_until(&mut self, moment: Instant) {
        if self.deadline().is_some() {
            tokio::time::sleep_until(moment).await;
            return;
        }
        tokio::select! {
            () = tokio::time::sleep_until(moment) => {}
            _ = self.stop.changed() => {}
        }
    }
}
