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

use super::core::{Core, Effect, End, Event, Position, Trouble};
use super::feed::Feed;
use super::place::{Open, Place};
use super::say::say;
use super::work::{Done, check, hold, install_files, install_pushed, list, look};
use crate::remote::{Listing, OtherLayout, Remote};
use crate::replicate::blocking;
use crate::restore::Request;
use crate::sqlite::LiveCopy;
use crate::state::Lock;

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
    /// What the primary pushes.
    pub feed: Option<Feed>,
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
    feed: Option<Feed>,
    progress: CopyProgress,
    _locks: Vec<Lock>,
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
            feed: order.feed,
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
            event = Feed::next(&mut self.feed) => event,
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
            Effect::InstallPushed { onto, files } => {
                async move { install_pushed(&remote, place, open, onto, files, &cancel).await }.boxed_local()
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

/// Never done while there is no work.
async fn under_way(work: &mut Option<LocalBoxFuture<'static, Done>>) -> Done {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
