//! The live copies of all databases, while this node follows.
//!
//! A database that has no history in its replica yet has no copy: what is here then is left as it
//! is, and its node becomes the primary, or waits for one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::locks::Held;
use super::notes::is_here;
use super::talk::Talk;
use crate::claim::Reach;
use crate::follow::{CopyProgress, End, Feed, Follower, Order, Position, Reason, Told, take_place};
use crate::ltx::Txid;
use crate::replicate::{Place, blocking, look_behind};
use crate::restore::{FileOwner, Request};
use crate::run::apart::set_apart;
use crate::run::connect::tuning;
use crate::run::exit::Failure;
use crate::run::prepare::Line;
use crate::sqlite::LiveCopy;
use crate::state::Lock;

/// How often the replica is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// What could not be followed is tried again after this.
const PAUSE: Duration = Duration::from_secs(2);

/// What is known of one copy.
#[derive(Clone, Copy, Debug)]
enum Copy {
    Follows(CopyProgress),
    /// There is no history in the replica; whether there is a database here.
    NoHistory {
        is_here: bool,
    },
    /// It could not be followed, and is tried again.
    Failed,
}

type Ended = (usize, End, Option<LiveCopy>);

pub struct Copies<'a> {
    lines: &'a [Line<'a>],
    talk: &'a Talk,
    copies: Vec<Copy>,
    running: FuturesUnordered<LocalBoxFuture<'a, Ended>>,
    starting: FuturesUnordered<LocalBoxFuture<'a, (usize, Option<Begun>)>>,
    cancel: CancellationToken,
    wanted: watch::Sender<u64>,
    tell: mpsc::UnboundedSender<(usize, CopyProgress)>,
    told: mpsc::UnboundedReceiver<(usize, CopyProgress)>,
}

/// What came of a start: a follower to run, or what there is instead.
enum Begun {
    Runs(Box<Follower>),
    Is(Copy),
}

impl<'a> Copies<'a> {
    /// `held` are those that are open already, with their write lock.
    pub fn start(lines: &'a [Line<'a>], talk: &'a Talk, mut held: Held) -> Copies<'a> {
        let (tell, told) = mpsc::unbounded_channel();
        let copies = vec![Copy::Failed; lines.len()];
        let (running, starting) = (FuturesUnordered::new(), FuturesUnordered::new());
        let (cancel, wanted) = (CancellationToken::new(), watch::Sender::new(0));
        let mut all = Copies { lines, talk, copies, running, starting, cancel, wanted, tell, told };
        for (at, line) in lines.iter().enumerate() {
            all.begin(at, held.remove(&line.database.path), Duration::ZERO);
        }
        all
    }

    fn begin(&mut self, at: usize, held: Option<LiveCopy>, pause: Duration) {
        let line = &self.lines[at];
        let told = Told { number: at, progress: self.tell.clone(), wanted: self.wanted.subscribe() };
        let (cancel, feed) = (self.cancel.clone(), self.talk.feed(at));
        self.starting.push(
            async move {
                if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return (at, None);
                }
                (at, Some(prepare(line, held, (told, feed), cancel).await))
            }
            .boxed_local(),
        );
    }

    /// Waits until something has changed.
    pub async fn change(&mut self) {
        tokio::select! {
            Some((at, progress)) = self.told.recv() => {
                self.copies[at] = Copy::Follows(progress);
                self.talk.is_at(at, progress.position);
            }
            Some((at, begun)) = self.starting.next() => match begun {
                Some(Begun::Runs(follower)) => {
                    self.copies[at] = Copy::Follows(CopyProgress::default());
                    self.running.push(
                        async move {
                            let (end, live) = follower.run_and_hold().await;
                            (at, end, live)
                        }
                        .boxed_local(),
                    );
                }
                Some(Begun::Is(copy)) => {
                    self.copies[at] = copy;
                    self.begin(at, None, PAUSE);
                }
                None => {}
            },
            Some((at, end, live)) = self.running.next() => {
                self.has_ended(at, &end);
                blocking(move || drop(live)).await;
            }
        }
    }

    fn has_ended(&mut self, at: usize, end: &End) {
        let db = self.lines[at].database.path.display();
        match end {
            End::Failed(Reason::NoBackup, _) => self.copies[at] = Copy::NoHistory { is_here: false },
            End::Failed(_, why) => {
                tracing::error!(%db, "cannot be followed now, trying again: {why}");
                self.copies[at] = Copy::Failed;
            }
            End::Stopped(_) => self.copies[at] = Copy::Failed,
        }
        self.begin(at, None, PAUSE);
    }

    /// Asks all of them to install what is there now; the number of the request.
    pub fn catch_up(&mut self) -> u64 {
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            *wanted += 1;
            number = *wanted;
        });
        number
    }

    /// Whether the request is answered by all of them, and how.
    pub fn reach(&self, number: u64) -> Option<Reach> {
        let mut is_all_nothing = true;
        for copy in &self.copies {
            match copy {
                Copy::NoHistory { is_here } => is_all_nothing &= !is_here,
                Copy::Follows(progress) if progress.caught_up >= number => is_all_nothing = false,
                Copy::Follows(_) => return None,
                Copy::Failed => return Some(Reach::Behind),
            }
        }
        Some(if is_all_nothing { Reach::Nothing } else { Reach::Everything })
    }

    /// What each of them shows.
    pub fn positions(&self) -> impl Iterator<Item = (&Path, Option<Txid>)> {
        let each = self.lines.iter().zip(&self.copies);
        each.map(|(line, copy)| {
            let txid = match copy {
                Copy::Follows(progress) => progress.position.map(|position| position.txid),
                Copy::NoHistory { .. } | Copy::Failed => None,
            };
            (line.database.path.as_path(), txid)
        })
    }

    /// When what all of them show was the newest state for the last time.
    pub fn current_at(&self) -> Option<Instant> {
        let current_at = |copy: &Copy| match copy {
            Copy::Follows(progress) => progress.current_at,
            Copy::NoHistory { .. } | Copy::Failed => None,
        };
        self.copies.iter().map(current_at).min().flatten()
    }

    /// Whether an application may read all of them, and write to none.
    pub fn are_in_place(&self) -> bool {
        let is_in_place = |copy: &Copy| matches!(copy, Copy::Follows(p) if p.is_locked && p.position.is_some());
        self.copies.iter().all(is_in_place)
    }

    /// Ends all of them; what they held comes back, and where each copy is.
    pub async fn stop(mut self) -> (Held, BTreeMap<PathBuf, Position>) {
        self.cancel.cancel();
        while self.starting.next().await.is_some() {}
        let (mut held, mut positions) = (Held::new(), BTreeMap::new());
        while let Some((at, end, live)) = self.running.next().await {
            let path = self.lines[at].database.path.clone();
            if let (End::Stopped(Some(position)), true) = (&end, live.is_some()) {
                positions.insert(path.clone(), *position);
            }
            if let Some(live) = live {
                held.insert(path, live);
            }
        }
        (held, positions)
    }
}

/// What is at the place of a database, made a copy that can be followed.
async fn prepare(
    line: &Line<'_>,
    held: Option<LiveCopy>,
    (told, feed): (Told, Feed),
    cancel: CancellationToken,
) -> Begun {
    let database = line.database;
    let is_held = held.is_some();
    if !is_held {
        match stands(line, &cancel).await {
            Ok(None) => {}
            Ok(Some(copy)) => return Begun::Is(copy),
            Err(failure) => {
                tracing::error!(db = %database.path.display(), "{}", failure.sentence());
                return Begun::Is(Copy::Failed);
            }
        }
    }
    let (copy, owner, meta_path) = (database.path.clone(), database.file_owner, database.meta_path.clone());
    let taken = blocking(move || take_place(&copy, owner, |_| meta_path.clone())).await;
    let (notes, locks) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            tracing::error!("{error}");
            return Begun::Is(Copy::Failed);
        }
    };
    let mut request = Request::new(&database.path);
    request.owner = database.file_owner.map(|(uid, gid)| FileOwner { uid, gid });
    request.mode = database.file_mode;
    let (copy, told, feed) = (database.path.clone(), Some(told), Some(feed));
    let order = Order { copy, notes, request, interval: INTERVAL, adopts: true, locks, held, told, feed };
    Begun::Runs(Box::new(Follower::new(line.remote.clone(), order, cancel)))
}

/// `None`: it can be followed.
async fn stands(line: &Line<'_>, cancel: &CancellationToken) -> Result<Option<Copy>, Failure> {
    let database = line.database;
    let (is_here, is_copy) = is_here(database).await;
    if is_here && is_copy {
        return Ok(None);
    }
    let Some(listed) = cancel.run_until_cancelled(line.remote.listing()).await else { return Ok(Some(Copy::Failed)) };
    match listed {
        Ok(listing) if listing.newest_txid().is_none() => return Ok(Some(Copy::NoHistory { is_here })),
        Ok(_) if !is_here => return Ok(None),
        Ok(_) => {}
        Err(error) => {
            tracing::debug!("{error}");
            return Ok(Some(Copy::Failed));
        }
    }
    // It was the primary's, or one from before the cluster. If it is a state of the history, the
    // difference is installed; else it has commits of its own.
    if !is_behind(line).await? {
        set_apart(database).await?;
    }
    Ok(None)
}

async fn is_behind(line: &Line<'_>) -> Result<bool, Failure> {
    let database = line.database;
    let (given, meta_path) = (database.path.clone(), database.meta_path.clone());
    let locked = blocking(move || {
        let path = std::fs::canonicalize(given).ok()?;
        let lock = Lock::try_take(&path, &meta_path).ok()??;
        Some((path, lock))
    });
    let busy = || Failure::told(super::super::exit::CANNOT_WRITE, "another process replicates it");
    let (path, _lock) = locked.await.ok_or_else(busy)?;
    let place = Place { path, meta_path: database.meta_path.clone(), tuning: tuning(database) };
    match look_behind(&place, &line.remote).await {
        Ok(behind) => Ok(behind.is_some()),
        Err(error) => Err(Failure::told(super::super::exit::UNAVAILABLE, error)),
    }
}
