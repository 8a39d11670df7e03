//! Carries out what the roles order, for all databases of this node.
//!
//! ```text
//!   follow ─▶ copies run ─▶ seal: copies stop, their locks are kept, the replications begin ─▶ sealed
//!      ▲                                                                                        │ open: the locks go
//!      └── drained ◀── drain: the locks are taken, the last upload ◀── (close: the locks) ◀─────┘
//! ```
//!
//! Whatever is under way, orders are taken in: the time of a claim runs out, or another node has
//! made a later one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::copies::Copies;
use super::locks::{self, Held};
use super::says::Says;
use super::talk::Talk;
use super::{Process, Standing, notes};
use crate::claim::{Outcome, Reach, RoleOrder, RoleReport, Stop};
use crate::clock::MACHINE;
use crate::fleet::FleetEvents;
use crate::follow::Position;
use crate::ltx::Txid;
use crate::replicate::{DatabaseId, Ended, Event, Ready, SealPermit};
use crate::run::connect::tell_policy;
use crate::run::permission::Permission;
use crate::run::prepare::{Line, prepare_one};

/// The write locks are waited for so long when the last upload begins; then it goes on without.
const LOCK_TIME: Duration = Duration::from_secs(2);

/// What is done with the databases now.
enum Doing<'a> {
    Nothing,
    Following(Box<Copies<'a>>),
    /// The replications run, and these histories are not sealed yet.
    Sealing(BTreeSet<DatabaseId>),
    Serving,
}

pub struct Node<'a> {
    process: &'a Process<'a>,
    lines: &'a [Line<'a>],
    talk: &'a Talk,
    orders: mpsc::UnboundedReceiver<RoleOrder>,
    reports: mpsc::UnboundedSender<RoleReport>,
    permission: watch::Sender<Permission>,
    permit: watch::Receiver<SealPermit>,
    says: Says,
    doing: Doing<'a>,
    held: Held,
    /// For the replications: whether their database is open here already.
    is_held: watch::Sender<bool>,
    ids: BTreeMap<PathBuf, DatabaseId>,
    /// The request to catch up that is not answered yet.
    catching_up: Option<u64>,
    /// The history was found to go on while it was to be sealed: it is caught up with first.
    seals_after: bool,
    stop: Option<Stop>,
    /// How the replications ended the last time, and where.
    ends: Vec<Ended>,
    synced: BTreeMap<PathBuf, Txid>,
}

impl<'a> Node<'a> {
    pub fn new(
        process: &'a Process<'a>,
        (lines, talk): (&'a [Line<'a>], &'a Talk),
        (orders, reports): (mpsc::UnboundedReceiver<RoleOrder>, mpsc::UnboundedSender<RoleReport>),
        (permission, permit): (watch::Sender<Permission>, watch::Receiver<SealPermit>),
        says: Says,
    ) -> Node<'a> {
        Node {
            process,
            lines,
            talk,
            orders,
            reports,
            permission,
            permit,
            says,
            doing: Doing::Nothing,
            held: Held::new(),
            is_held: watch::Sender::new(false),
            ids: BTreeMap::new(),
            catching_up: None,
            seals_after: false,
            stop: None,
            ends: Vec::new(),
            synced: BTreeMap::new(),
        }
    }

    /// Until the roles have ended; how the last replications did.
    pub async fn run(
        mut self,
        mut heard: FleetEvents,
        mut stopped: mpsc::UnboundedReceiver<Stop>,
        driver: JoinHandle<Outcome>,
    ) -> Result<Vec<Ended>, Outcome> {
        loop {
            tokio::select! {
                biased;
                Some(stop) = stopped.recv() => {
                    self.stop = Some(stop);
                    self.report(RoleReport::Stop(stop));
                }
                order = self.orders.recv() => match order {
                    Some(order) => self.carry_out(order).await,
                    None => break,
                },
                (id, event) = heard.next() => self.heard(id, &event).await,
                () = copies_change(&mut self.doing) => self.copies_changed().await,
            }
        }
        self.stop_copies().await;
        locks::let_go(std::mem::take(&mut self.held)).await;
        let outcome = driver.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        match outcome {
            Outcome::Released | Outcome::Nothing => Ok(self.ends),
            Outcome::Unreleased => {
                tracing::warn!("the claim could not be released in time: other nodes wait until it has run out");
                Ok(self.ends)
            }
            outcome @ (Outcome::Foreign | Outcome::Denied(..)) => {
                self.says.standing.send_replace(Standing::Ends("the claims have ended".into()));
                Err(outcome)
            }
        }
    }

    fn report(&self, report: RoleReport) {
        // The driver has ended, if it is not heard.
        let _ = self.reports.send(report);
    }

    async fn carry_out(&mut self, order: RoleOrder) {
        tracing::debug!("order: {order:?}");
        match order {
            RoleOrder::Follow => self.follow().await,
            RoleOrder::CatchUp => self.catch_up(),
            RoleOrder::Seal => self.seal().await,
            RoleOrder::Open => self.open().await,
            RoleOrder::Close(by) => self.close(by).await,
            RoleOrder::Drain => self.drain().await,
        }
    }

    async fn follow(&mut self) {
        self.permission.send_replace(Permission::No);
        if matches!(self.doing, Doing::Following(_)) || self.stop.is_some() {
            return;
        }
        let mut held = Held::new();
        for line in self.lines {
            let path = &line.database.path;
            let Some(live) = self.held.remove(path) else { continue };
            let live = match self.synced.get(path) {
                Some(txid) => notes::becomes_a_copy(live, line.database.meta_path.clone(), &line.remote, *txid).await,
                None => live,
            };
            held.insert(path.clone(), live);
        }
        self.synced.clear();
        self.is_held.send_replace(false);
        self.catching_up = None;
        self.doing = Doing::Following(Box::new(Copies::start(self.lines, self.talk, held)));
        self.say_standing();
    }

    fn catch_up(&mut self) {
        match &mut self.doing {
            Doing::Following(copies) => self.catching_up = Some(copies.catch_up()),
            _ => self.report(RoleReport::CaughtUp(Reach::Behind)),
        }
    }

    async fn copies_changed(&mut self) {
        let Doing::Following(copies) = &self.doing else { return };
        self.says.shown.copies(copies.positions());
        self.says.current.send_replace(copies.current_at());
        if let Some(reach) = self.catching_up.and_then(|number| copies.reach(number)) {
            self.catching_up = None;
            match std::mem::take(&mut self.seals_after) {
                true if reach != Reach::Behind => self.seal().await,
                // The roles give up when it takes too long.
                true => (self.seals_after, self.catching_up) = (true, self.again()),
                false => self.report(RoleReport::CaughtUp(reach)),
            }
        }
        self.say_standing();
    }

    fn again(&mut self) -> Option<u64> {
        match &mut self.doing {
            Doing::Following(copies) => Some(copies.catch_up()),
            _ => None,
        }
    }

    fn say_standing(&self) {
        let is_ready = match &self.doing {
            Doing::Following(copies) => copies.are_in_place(),
            _ => return,
        };
        self.says.standing.send_if_modified(|standing| {
            let is_first = matches!(standing, Standing::NotReady);
            let was_primary = matches!(standing, Standing::Primary);
            if is_first && is_ready || was_primary {
                *standing = Standing::Follower;
                return true;
            }
            false
        });
    }

    async fn stop_copies(&mut self) -> BTreeMap<PathBuf, Position> {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Following(copies) => {
                let (held, positions) = copies.stop().await;
                self.held.extend(held);
                positions
            }
            other => {
                self.doing = other;
                BTreeMap::new()
            }
        }
    }

    /// The copies become databases that are replicated, and their write locks are kept.
    async fn seal(&mut self) {
        let positions = self.stop_copies().await;
        for line in self.lines {
            let database = line.database;
            let Some(live) = self.held.remove(&database.path) else {
                // It was this node's before, or there is none.
                notes::is_no_copy(database.path.clone(), database.meta_path.clone()).await;
                if let Err(failure) =
                    prepare_one(self.process.job, line, &BTreeSet::new(), CancellationToken::new()).await
                {
                    tracing::error!(db = %database.path.display(), "{}", failure.sentence());
                }
                continue;
            };
            let (meta_path, address) = (database.meta_path.clone(), line.remote.address().to_owned());
            let at = positions.get(&database.path).copied();
            let (live, noted) = notes::becomes_a_database(live, meta_path, address, at).await;
            if let Err(why) = noted {
                tracing::warn!(db = %database.path.display(), "its position could not be noted, and it is compared with its replica: {why}");
            }
            self.held.insert(database.path.clone(), live);
        }
        self.is_held.send_replace(!self.held.is_empty());
        self.permission.send_replace(Permission::WhileSafe);
        let begun = match self.ids.is_empty() {
            true => self.register().await,
            false => self.process.fleet.start_all().await.map_err(|error| error.to_string()),
        };
        if let Err(why) = begun {
            tracing::error!("the replications could not begin: {why}");
        }
        self.doing = Doing::Sealing(self.ids.values().copied().collect());
    }

    async fn register(&mut self) -> Result<(), String> {
        let Process { job, fleet, .. } = self.process;
        for (at, line) in self.lines.iter().enumerate() {
            tell_policy(line.database);
            let mut registration = line.registration(&job.options, None, Some(self.permit.clone()), fleet);
            let settings = Arc::make_mut(&mut registration.settings);
            (settings.is_held, settings.confirmed) = (Some(self.is_held.subscribe()), self.talk.pusher(at));
            let id = fleet.add(registration).await.map_err(|error| error.to_string())?;
            self.ids.insert(line.database.path.clone(), id);
        }
        Ok(())
    }

    async fn heard(&mut self, id: DatabaseId, event: &Event) {
        match event {
            Event::Exclusive { why } => tracing::error!("{why}"),
            Event::Fenced => return self.is_fenced().await,
            // The replication has logged it; the roles give up when this takes too long.
            Event::Failed { .. } => return,
            Event::Ready(Ready::Armed | Ready::Standby) => return,
            Event::Sealed | Event::Ready(Ready::NoDatabaseYet | Ready::AfterApplication) => {}
        }
        if let Doing::Sealing(unsealed) = &mut self.doing
            && unsealed.remove(&id)
            && unsealed.is_empty()
        {
            self.report(RoleReport::Sealed);
        }
    }

    async fn is_fenced(&mut self) {
        match self.doing {
            Doing::Serving => self.report(RoleReport::Fenced),
            Doing::Sealing(_) => {
                tracing::warn!("the history has gone on meanwhile: catching up with it, and sealing again");
                self.rest(MACHINE.instant() + LOCK_TIME).await;
                self.follow().await;
                (self.seals_after, self.catching_up) = (true, self.again());
            }
            Doing::Nothing | Doing::Following(_) => {}
        }
    }

    async fn open(&mut self) {
        self.permission.send_replace(Permission::Free);
        locks::let_go(std::mem::take(&mut self.held)).await;
        self.is_held.send_replace(false);
        self.doing = Doing::Serving;
        self.says.shown.replications(self.process.fleet, &self.ids).await;
        self.says.writes.send_replace(true);
        self.says.current.send_replace(None);
        self.ends.clear();
        self.says.standing.send_replace(Standing::Primary);
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.lines.iter().map(|line| line.database.path.clone()).collect()
    }

    async fn close(&mut self, by: Duration) {
        self.says.writes.send_replace(false);
        let left = by.saturating_sub(MACHINE.since_boot());
        let paths = self.paths();
        let missing = locks::take(&mut self.held, &paths, MACHINE.instant() + left).await;
        if !missing.is_empty() {
            let why = "it keeps a write transaction open, and the claim runs out";
            self.says
                .standing
                .send_replace(Standing::Ends(format!("the application could not be kept from writing: {why}")));
        }
    }

    /// The last upload, as far as it succeeds in time.
    async fn drain(&mut self) {
        self.permission.send_replace(Permission::Free);
        let is_replicated = matches!(self.doing, Doing::Serving | Doing::Sealing(_));
        if is_replicated {
            // What is under way is let through, and what comes now is held, before the lock is
            // taken.
            self.says.writes.send_replace(false);
            self.process.proxying.hold_writes(LOCK_TIME).await;
            let now = MACHINE.instant();
            let deadline = self.stop.map_or(now + self.process.budget.unhurried, |stop| stop.deadline);
            let (mut held, paths) = (std::mem::take(&mut self.held), self.paths());
            // Where another writer was met the replication holds the lock itself, until it ends.
            let missing = locks::take(&mut held, &paths, now + LOCK_TIME).await;
            self.is_held.send_replace(missing.is_empty() && !held.is_empty());
            let patient = deadline + LOCK_TIME;
            tokio::join!(self.rest(deadline), async {
                locks::take(&mut held, &paths, patient).await;
            });
            self.held = held;
        }
        self.report(RoleReport::Drained);
    }

    /// Ends the replications, for now.
    async fn rest(&mut self, deadline: Instant) {
        self.says.shown.rest();
        let fleet = self.process.fleet;
        fleet.rest_by(deadline).await;
        self.ends = join_all(fleet.ends().await).await;
        let mut by_id: Vec<(&DatabaseId, &PathBuf)> = self.ids.iter().map(|(path, id)| (id, path)).collect();
        by_id.sort();
        let synced = by_id.iter().zip(&self.ends).filter_map(|((_, path), end)| match end {
            Ended::Synced(Some(txid)) => Some(((*path).clone(), *txid)),
            _ => None,
        });
        self.synced = synced.collect();
        self.doing = Doing::Nothing;
    }
}

/// Never done while there are no copies.
async fn copies_change(doing: &mut Doing<'_>) {
    match doing {
        Doing::Following(copies) => copies.change().await,
        _ => std::future::pending().await,
    }
}
