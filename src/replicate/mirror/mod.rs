//! The other replicas of a database.
//!
//! A database has one history: its TXIDs are numbered once, by the capture. The first replica
//! fences; every other one is a *mirror* and gets the same objects, byte for byte, each when its
//! number is final. A mirror has a watermark, compaction, retention and health of its own, and
//! holds up nothing.
//!
//! ```text
//!                     ┌─────────────────┐  shipped, kept   ┌──────────────────────┐
//!   the database ───▶ │ ../driver.rs    │ ───────────────▶ │ mirror: driver, core │ ───▶ its bucket
//!                     └───────┬─────────┘                  └──────────▲───────────┘
//!                             ▼                                       │ what is not at hand any more
//!                      the first replica ─────────────────────────────┘
//! ```
//!
//! An object becomes final when the first replica has it. Usually its bytes are still in memory
//! then; a mirror that is slow, or was away, reads it from level 0 of the first replica, and where
//! that does not have it any more, begins anew with a snapshot 1-n. So nothing waits on the local
//! disk for a mirror. While the first replica is away, captured commits are moved to local files
//! that keep their numbers (`state/spill.rs`), and the mirrors get those.
//!
//! ```text
//!   core.rs      pure: look, copy, begin anew, refuse
//!   driver.rs    waits for events, carries out what the core asks for
//!   relation.rs  is that the same history?
//!   transfer.rs  from replica to replica: one object, or a snapshot of all
//!   lead.rs      at the start: a mirror that has more than the first replica gives it
//! ```

mod core;
mod driver;
mod lead;
mod relation;
mod transfer;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::governor::Governor;
use super::lifecycle::{Policy, Shipped};
use super::{Settings, Stop};
use crate::ltx::Txid;
use crate::remote::Remote;
use crate::state::SpilledFile;
use crate::status::{Counts, Status, StatusWriter};
use core::Outcome;
use driver::{Driver, Offer, Parts};

pub(super) use lead::look_at_all;

/// How a mirror is kept.
#[derive(Clone, Debug)]
pub struct MirrorSettings {
    /// As it is configured, for logs.
    pub name: String,
    /// The average time between two rounds of uploads under sustained writes.
    pub sync_interval: Duration,
    /// What becomes of its files as they grow old; `None`: nothing.
    pub lifecycle: Option<Arc<Policy>>,
}

/// A mirror, and what its store may be asked for.
#[derive(Clone)]
pub struct Mirror {
    pub settings: MirrorSettings,
    pub remote: Remote,
    pub governor: Governor,
}

/// How far a mirror is, for others.
#[derive(Clone, Debug)]
pub struct MirrorStatus {
    pub name: String,
    pub status: watch::Receiver<Status>,
    pub counts: Arc<Counts>,
}

/// The mirrors of one database, each with a task of its own. Dropped, they end at once.
#[derive(Default)]
pub(super) struct Mirrors(Vec<Running>);

struct Running {
    name: String,
    offers: mpsc::UnboundedSender<Offer>,
    task: JoinHandle<Outcome>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Mirrors {
    /// `writers` are in the order of the mirrors.
    pub fn start(
        mirrors: Vec<Mirror>,
        writers: Vec<StatusWriter>,
        first: &Remote,
        settings: &Arc<Settings>,
        stop: &watch::Receiver<Stop>,
    ) -> Mirrors {
        let start = |(mirror, writer): (Mirror, StatusWriter)| {
            let (sender, offers) = mpsc::unbounded_channel();
            let name = mirror.settings.name.clone();
            let (first, settings, stop) = (first.clone(), settings.clone(), stop.clone());
            let parts = Parts { mirror, first, settings, offers, stop, writer };
            let task = tokio::spawn(async move { Driver::begin(parts).await.run().await });
            Running { name, offers: sender, task }
        };
        Mirrors(mirrors.into_iter().zip(writers).map(start).collect())
    }

    /// They may have everything up to there: the first replica has it, or is away.
    pub fn are_final(&self, txid: Txid) {
        self.offer(&Offer::Final(txid));
    }

    pub fn shipped(&self, shipped: &Shipped) {
        self.offer(&Offer::Shipped(shipped.clone()));
    }

    /// These local files have their numbers for good. They are not final before that is said: the
    /// first replica may have another writer's.
    pub fn kept(&self, files: Vec<SpilledFile>) {
        self.offer(&Offer::Kept(files));
    }

    /// Whether they go on alone. What shows that they continue the first replica must stay in them
    /// meanwhile.
    pub fn first_is_away(&self, is_away: bool) {
        self.offer(&Offer::FirstIsAway(is_away));
    }

    fn offer(&self, offer: &Offer) {
        for mirror in &self.0 {
            // One that has ended has said why.
            let _ = mirror.offers.send(offer.clone());
        }
    }

    /// Brings them up to what they were told of, by `latest` or by the deadline, which may still be
    /// moved. The name of one that has everything up to `wanted`.
    pub async fn finish(
        mut self,
        latest: Instant,
        stop: &mut watch::Receiver<Stop>,
        wanted: Option<Txid>,
    ) -> Option<String> {
        let until = |stop: Stop| Offer::Finish(stop.map_or(latest, |deadline| deadline.min(latest)));
        self.offer(&until(*stop.borrow_and_update()));
        let names: Vec<String> = self.0.iter().map(|mirror| mirror.name.clone()).collect();
        let offers: Vec<_> = self.0.iter().map(|mirror| mirror.offers.clone()).collect();
        let mut ends = join_all(self.0.iter_mut().map(|mirror| &mut mirror.task));
        let ends = loop {
            tokio::select! {
                ends = &mut ends => break ends,
                Ok(()) = stop.changed() => {
                    let moved = until(*stop.borrow_and_update());
                    offers.iter().for_each(|offers| drop(offers.send(moved.clone())));
                }
            }
        };
        let is_complete = |end: &Result<Outcome, _>| {
            wanted.is_some() && end.as_ref().is_ok_and(|outcome: &Outcome| outcome.newest >= wanted)
        };
        let complete = ends.iter().position(is_complete)?;
        names.into_iter().nth(complete)
    }
}
