//! Waits for events and carries out what the core asks for.
//!
//! Whoever works with the copy owns it meanwhile: it goes into the piece of work and comes back
//! with its end.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::core::{Core, Effect, End, Event, Found, Grip, Installed, Position, Trouble};
use super::files;
use super::install::{Base, InstallError, install};
use super::place::{Open, Place, of_sqlite};
use super::say::say;
use super::txid_file;
use crate::ltx::{Header, Txid};
use crate::remote::{Listing, LtxObject, OtherLayout, ReadError, ReadPolicy, Remote};
use crate::replicate::blocking;
use crate::restore::Request;
use crate::sqlite::{LiveCopy, SqliteError, WriteLock};
use crate::state::{CopyState, Lock};

/// What to follow, and how.
pub struct Order {
    /// Where the copy is, or will be.
    pub copy: PathBuf,
    /// The directory of its notes.
    pub notes: PathBuf,
    /// Owner, mode and so on of a copy that is restored.
    pub request: Request,
    /// How often the replica is asked.
    pub interval: Duration,
    /// A database that is no copy is made one.
    pub adopts: bool,
    /// Keeps replicators and other followers away.
    pub locks: Vec<Lock>,
    /// The copy, if it is open already and its write lock held.
    pub held: Option<LiveCopy>,
    /// Whoever waits for it.
    pub told: Option<Told>,
}

/// Who is told how far the copy is, and asks it to catch up.
pub struct Told {
    /// Which copy this is.
    pub number: usize,
    pub progress: mpsc::UnboundedSender<(usize, CopyProgress)>,
    /// The newest request to catch up.
    pub wanted: watch::Receiver<u64>,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyProgress {
    pub position: Option<Position>,
    /// No other program can write to it.
    pub is_locked: bool,
    /// The request to catch up since which everything is installed.
    pub caught_up: u64,
    /// When what it shows was the newest state for the last time.
    pub current_at: Option<Instant>,
}

pub struct Follower {
    remote: Remote,
    place: Place,
    request: Request,
    core: Core,
    open: Option<Open>,
    /// Level 0 in the layout of the store does not show everything.
    lists_whole: bool,
    /// One piece at a time. What blocks in it is on a thread for that.
    work: Option<LocalBoxFuture<'static, Done>>,
    cancel: CancellationToken,
    held: Option<LiveCopy>,
    told: Option<Told>,
    progress: CopyProgress,
    _locks: Vec<Lock>,
}

/// The end of a piece of work, and the copy if it had it.
struct Done {
    event: Event,
    open: Option<Open>,
    lists_whole: Option<bool>,
}

impl Done {
    fn of(event: Event) -> Done {
        Done { event, open: None, lists_whole: None }
    }

    fn with(event: Event, open: Option<Open>) -> Done {
        Done { event, open, lists_whole: None }
    }
}

impl Follower {
    /// Ends when `cancel` is cancelled.
    pub fn new(remote: Remote, order: Order, cancel: CancellationToken) -> Follower {
        let place = Place::new(&order.copy, &order.notes, remote.address(), order.adopts);
        let core = Core::new(order.interval, remote.clock().random_u64());
        Follower {
            remote,
            place,
            request: order.request,
            core,
            open: None,
            lists_whole: false,
            work: None,
            cancel,
            held: order.held,
            told: order.told,
            progress: CopyProgress::default(),
            _locks: order.locks,
        }
    }

    /// Until it is told to stop, or cannot go on. The copy is closed then.
    pub async fn run(self) -> End {
        let (end, live) = self.run_and_hold().await;
        blocking(move || drop(live)).await;
        end
    }

    /// The same, and the copy comes back with its write lock held, if it was when it was told to
    /// stop.
    pub async fn run_and_hold(mut self) -> (End, Option<LiveCopy>) {
        let mut event = Event::Timer;
        let mut is_told = false;
        loop {
            for effect in self.core.on_event(event, self.remote.clock().now()) {
                self.carry_out(effect);
            }
            self.tell_progress();
            if let Some(end) = self.core.ended() {
                let live = self.open.take().map(|open| open.live).or(self.held.take());
                return (end.clone(), live.filter(LiveCopy::holds_lock));
            }
            event = self.next_event(&mut is_told).await;
        }
    }

    async fn next_event(&mut self, is_told: &mut bool) -> Event {
        let (wake_at, clock) = (self.core.wake_at(), self.remote.clock());
        tokio::select! {
            biased;
            () = self.cancel.cancelled(), if !*is_told => {
                *is_told = true;
                Event::Stop
            }
            Done { event, open, lists_whole } = under_way(&mut self.work) => {
                self.work = None;
                self.open = open.or(self.open.take());
                self.lists_whole = lists_whole.unwrap_or(self.lists_whole);
                event
            }
            number = asked(&mut self.told) => Event::CatchUp(number),
            () = tokio::time::sleep_until(wake_at.unwrap_or_else(|| clock.instant())), if wake_at.is_some() => Event::Timer,
        }
    }

    fn tell_progress(&mut self) {
        let Some(told) = &self.told else { return };
        let progress = CopyProgress {
            position: self.core.position(),
            is_locked: self.core.is_locked(),
            caught_up: self.core.caught_up(),
            current_at: self.core.current_at(),
        };
        if std::mem::replace(&mut self.progress, progress) != progress {
            // Who does not listen any more is about to stop it.
            let _ = told.progress.send((told.number, progress));
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let (remote, place, cancel) = (self.remote.clone(), self.place.clone(), self.cancel.clone());
        let request = self.request.clone();
        // While it is listed and checked, the copy stays here.
        let keeps = matches!(effect, Effect::Say(_) | Effect::List { .. } | Effect::Check(_) | Effect::Close);
        let held = if matches!(effect, Effect::Look) { self.held.take() } else { None };
        let open = if keeps { None } else { self.open.take() };
        let lists_whole = self.lists_whole;
        self.work = Some(match effect {
            Effect::Say(notice) => return say(&notice, &place.copy, remote.address()),
            Effect::Look => blocking(move || look(&place, open, held, &cancel)).boxed_local(),
            Effect::Restore => {
                async move { Done::of(Event::Restored(place.restore(&remote, &request, &cancel).await)) }.boxed_local()
            }
            Effect::Replace => async move {
                blocking(move || drop(open)).await;
                let request = Request { force: true, ..request };
                Done::of(Event::Replaced(place.restore(&remote, &request, &cancel).await))
            }
            .boxed_local(),
            Effect::List { whole } => async move {
                let whole = whole || lists_whole;
                let listed = cancel.run_until_cancelled(list(&remote, whole)).await;
                let listed = listed.unwrap_or(Err(Trouble::Cancelled));
                let used = |listing: &Listing| listing.other_layout == OtherLayout::Used;
                let lists_whole = listed.as_ref().ok().filter(|_| whole).map(used);
                Done { event: Event::Listed(listed.map(Box::new)), open: None, lists_whole }
            }
            .boxed_local(),
            Effect::Check(objects) => async move {
                let checked = cancel.run_until_cancelled(check(&remote, objects)).await;
                Done::of(Event::Checked(checked.unwrap_or(Err(Trouble::Cancelled))))
            }
            .boxed_local(),
            Effect::Install { onto, files } => {
                async move { install_files(&remote, place, open, onto, files, &cancel).await }.boxed_local()
            }
            Effect::Hold => blocking(move || hold(open)).boxed_local(),
            Effect::Close => async { Done::of(Event::Closed) }.boxed_local(),
        });
    }
}

/// The next request to catch up.
async fn asked(told: &mut Option<Told>) -> u64 {
    if let Some(told) = told
        && told.wanted.changed().await.is_ok()
    {
        return *told.wanted.borrow_and_update();
    }
    std::future::pending().await
}

fn look(place: &Place, open: Option<Open>, held: Option<LiveCopy>, cancel: &CancellationToken) -> Done {
    drop(open);
    match place.look(held, cancel) {
        Ok((found, open)) => {
            if let Found::At(position) = found {
                tell(place, position.txid);
            }
            Done::with(Event::Looked(Ok(found)), open)
        }
        Err(trouble) => Done::of(Event::Looked(Err(trouble))),
    }
}

/// Never done while there is no work.
async fn under_way(work: &mut Option<LocalBoxFuture<'static, Done>>) -> Done {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// The core asks again by itself.
async fn list(remote: &Remote, whole: bool) -> Result<Listing, Trouble> {
    let remote = remote.clone().with_policy(ReadPolicy::impatient());
    let listed = if whole { remote.listing().await } else { remote.level0_listing().await };
    listed.map_err(|error| files::of_store(&error))
}

/// The headers of those that are what their names say.
async fn check(remote: &Remote, objects: Vec<LtxObject>) -> Result<Vec<(LtxObject, Header)>, Trouble> {
    let mut found = Vec::new();
    for object in objects {
        match remote.check_header(&object).await {
            Ok(Ok(header)) => found.push((object, header)),
            Ok(Err(_)) | Err(ReadError::Invalid { .. }) => {}
            Err(error) => return Err(files::of_read(error)),
        }
    }
    Ok(found)
}

fn hold(open: Option<Open>) -> Done {
    let Some(mut open) = open else { return Done::of(Event::Held(Ok(Grip::Closed))) };
    match grip(&mut open) {
        Ok(grip) => Done::with(Event::Held(Ok(grip)), Some(open)),
        Err(error) => Done::of(Event::Held(Err(of_sqlite(error)))),
    }
}

fn grip(open: &mut Open) -> Result<Grip, SqliteError> {
    Ok(match open.live.hold()? {
        WriteLock::Yes => Grip::Held,
        WriteLock::Busy => Grip::Busy,
        WriteLock::Foreign => Grip::Foreign,
    })
}

async fn install_files(
    remote: &Remote,
    place: Place,
    open: Option<Open>,
    onto: Option<Position>,
    files: Vec<LtxObject>,
    cancel: &CancellationToken,
) -> Done {
    let Some(mut open) = open else {
        return Done::of(Event::Installed(Err(Trouble::Passing("the copy is closed".into())), Grip::Closed));
    };
    if onto.is_none() {
        open.base = Base::Unknown { pages: open.base.pages() };
    }
    let merged = match files::open(remote, &files, open.live.page_size(), cancel).await {
        Ok(merged) => merged,
        Err(trouble) => return Done::with(Event::Installed(Err(trouble), Grip::Held), Some(open)),
    };
    let (open, installed, grip) = blocking(move || {
        let states = match open.base {
            Base::State(state) => vec![state],
            Base::Unknown { .. } => Vec::new(),
        };
        let note = |next: &CopyState| place.notes.note_copy(&place.note([states.as_slice(), &[*next]].concat()));
        let installed = install(&open.live, open.base, merged, note);
        if let Ok((state, _)) = &installed {
            open.base = Base::State(*state);
        }
        // Before anything else: until then other programs can write.
        let (open, grip) = match &installed {
            Err(InstallError::Copy(_)) => (None, Grip::Closed),
            _ => held_again(open),
        };
        if let Ok((state, _)) = &installed {
            settle(&place, *state);
        }
        (open, installed, grip)
    })
    .await;
    let done = match installed {
        Ok((CopyState { txid, timestamp_ms, .. }, pages)) => {
            Ok(Installed { position: Position { txid, timestamp_ms }, pages })
        }
        Err(InstallError::Copy(error)) => Err(of_sqlite(error)),
        Err(InstallError::Source(error)) => Err(files::explain(remote, &files, error, cancel).await),
        Err(error @ InstallError::Incomplete { .. }) => Err(Trouble::Incomplete(error.to_string())),
        Err(error @ InstallError::OtherPageSize { .. }) => Err(Trouble::OtherPageSize(error.to_string())),
        Err(InstallError::Note(error)) => Err(Trouble::Passing(error.to_string())),
    };
    Done::with(Event::Installed(done, grip), open)
}

/// What is only told: neither is needed after a crash.
fn settle(place: &Place, state: CopyState) {
    if let Err(error) = place.notes.settle_copy(&place.note(vec![state])) {
        tracing::warn!("{error}");
    }
    tell(place, state.txid);
}

fn tell(place: &Place, txid: Txid) {
    if let Err(error) = txid_file::write(&place.copy, txid) {
        tracing::warn!("{error}");
    }
}

/// Ends the transaction, if it was not committed, and takes the lock again at once.
fn held_again(mut open: Open) -> (Option<Open>, Grip) {
    match open.live.roll_back().and_then(|()| grip(&mut open)) {
        Ok(grip) => (Some(open), grip),
        Err(error) => {
            tracing::debug!("{error}");
            (None, Grip::Closed)
        }
    }
}
