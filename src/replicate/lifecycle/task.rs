//! Select, then apply: one piece of work at a time, and one owner of what is known of the replica.
//!
//! What is known begins with a LIST and is kept up to date by what is replicated and what is done
//! here; before work is done it is looked at again if the last look is too old. So a round costs
//! one LIST at most, and a quiet replica none. Before a long sleep it is forgotten: an idle
//! database takes no memory either.

mod apply;
mod plan;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_channel::mpsc;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::cache::Cache;
use super::marks::{KnownMarks, Look, Read};
use super::retain::{self, Known, LevelZero};
use super::schedule::{self, Step, View, earlier};
use super::wanted::{self, Wanted};
use super::work::{Done, Work};
use super::write::{Input, WriteError};
use super::{News, Policy, Shipped, inspect, taken};
use crate::clock::Dice;
use crate::ltx::Txid;
use crate::remote::{Layout, Level, Listing, LtxObject, ReadError, Remote};
use crate::replicate::Stop;
use crate::replicate::core::{Now, Outage};
use crate::replicate::governor::Governor;
use crate::replicate::mailbox::{SnapshotError, SnapshotReply};
use crate::status::RefusalWriter;
use crate::store::{Deleted, Key};

/// The longest sleep: the wall clock may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(600);
/// What cannot be merged is tried again after this time at the earliest.
const DAMAGE_PAUSE: Duration = Duration::from_secs(600);
/// What the store does not let go of is asked for again after this time.
const REFUSAL_LASTS: Duration = Duration::from_secs(3600);
/// Before a longer sleep the listing is dropped.
const LISTING_KEPT_MS: i64 = 600_000;
/// Objects deleted in one go.
const DELETES_MAX: usize = 1000;

pub(super) async fn run(
    mut maintainer: Box<Maintainer>,
    mut heard: mpsc::Receiver<News>,
    mut stop: watch::Receiver<Stop>,
) {
    let (remote, governor) = (maintainer.remote.clone(), maintainer.governor.clone());
    let (clock, counts) = (remote.clock(), maintainer.writer.counts().clone());
    let mut job: Option<BoxFuture<'static, Done>> = None;
    let mut wake: Option<i64> = None;
    let mut look = false;
    while stop.borrow_and_update().is_none() {
        if look && job.is_none() {
            look = false;
            wake = None;
            match maintainer.plan(clock.unix_ms(), clock.now()) {
                Plan::Work(work) => job = Some(work.run(remote.clone(), governor.clone(), counts.clone()).boxed()),
                Plan::Sleep(until) => {
                    wake = until;
                    maintainer.rest(until, clock.unix_ms());
                    if maintainer.listing.is_none() {
                        governor.came_to_rest();
                    }
                }
            }
        }
        let now_ms = clock.unix_ms();
        let nap = wake.map_or(SLEEP_MAX, |at| nap(at, now_ms));
        tokio::select! {
            changed = stop.changed() => if changed.is_err() { return },
            news = heard.next() => match news {
                Some(News::Shipped(shipped)) => wake = earlier(wake, maintainer.shipped(*shipped, now_ms)),
                Some(News::Wanted(newest, reply)) => {
                    maintainer.want(newest, reply);
                    look = true;
                }
                None => return,
            },
            done = async { job.as_mut().expect("checked").await }, if job.is_some() => {
                job = None;
                maintainer.apply(done, clock.now());
                look = true;
            }
            () = tokio::time::sleep(nap), if wake.is_some() && job.is_none() => look = is_due(wake, clock.unix_ms()),
        }
    }
}

/// How long to sleep at most before the wall clock is looked at again.
fn nap(until_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0)).min(SLEEP_MAX)
}

/// The end of a nap is no reason to look: a look may need a LIST.
fn is_due(wake: Option<i64>, now_ms: i64) -> bool {
    wake.is_some_and(|at| at <= now_ms)
}

enum Plan {
    Work(Work),
    /// Until this time, Unix milliseconds; `None`: until something is shipped.
    Sleep(Option<i64>),
}

enum Deletion {
    /// There is nothing to delete.
    Nothing,
    Later(Instant),
    /// The deletion, or the look that must come before.
    Now(Work),
}

/// What is tried again on its own after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Level(Level),
    /// Finding out what is marked: without it nothing is deleted.
    Marks,
    /// Listing, looking and deleting: without them nothing goes on.
    Rest,
}

struct Trouble {
    outage: Outage,
    until: Instant,
}

pub(super) struct Maintainer {
    policy: Arc<Policy>,
    remote: Remote,
    writer: RefusalWriter,
    governor: Governor,
    /// What lies there, as far as is known; `None`: look first.
    listing: Option<Box<Listing>>,
    /// Boot-clock time of the last LIST.
    listed_at: Duration,
    /// The newest TXID that was shipped by this process; `None`: nothing was.
    newest: Option<Txid>,
    cache: Cache,
    images: BTreeMap<Txid, bool>,
    /// Looked into since they were written, and when that was.
    proved: HashMap<Key, Instant>,
    /// Not what their names say.
    unsound: HashSet<Key>,
    marks: KnownMarks,
    /// Deleted since the last LIST: it shows whether they are gone.
    deleted: HashSet<Key>,
    /// Not deletable, and since when.
    refused: HashMap<Key, Instant>,
    /// All of them as of the last LIST, whether it is time to ask again or not.
    kept: HashSet<Key>,
    refusals: usize,
    trouble: HashMap<Part, Trouble>,
    /// Inputs of a merge that failed: one of them may not be what its name says.
    suspects: Vec<LtxObject>,
    /// Who waits for a snapshot.
    wanted: Vec<Wanted>,
    /// For pauses.
    dice: Dice,
}

impl Maintainer {
    pub fn new(
        policy: impl Into<Arc<Policy>>,
        remote: Remote,
        writer: RefusalWriter,
        governor: Governor,
        dice: Dice,
    ) -> Maintainer {
        Maintainer {
            policy: policy.into(),
            remote,
            writer,
            governor,
            listing: None,
            listed_at: Duration::ZERO,
            newest: None,
            cache: Cache::default(),
            images: BTreeMap::new(),
            proved: HashMap::new(),
            unsound: HashSet::new(),
            marks: KnownMarks::default(),
            deleted: HashSet::new(),
            refused: HashMap::new(),
            kept: HashSet::new(),
            refusals: 0,
            trouble: HashMap::new(),
            suspects: Vec::new(),
            wanted: Vec::new(),
            dice,
        }
    }

    fn want(&mut self, newest: Txid, reply: SnapshotReply) {
        let newest = self.newest.max(Some(newest)).unwrap_or(newest);
        self.newest = Some(newest);
        self.wanted.push(Wanted { txid: newest, reply });
    }

    fn fail_wanted(&mut self, why: &dyn std::fmt::Display) {
        let address = self.remote.address();
        for wanted in self.wanted.drain(..) {
            wanted.answer(Err(SnapshotError::Failed { address: address.to_owned(), why: why.to_string() }));
        }
    }

    /// Takes note of an upload; returns when to look at the earliest because of it.
    fn shipped(&mut self, shipped: Shipped, now_ms: i64) -> Option<i64> {
        let (txid, header) = (shipped.header.max_txid, shipped.header);
        if self.newest.is_some_and(|newest| newest.next() != Some(txid)) {
            // Something was missed, or the history began anew.
            self.listing = None;
            self.cache.clear();
        }
        let modified_ms = match self.remote.layout() {
            Layout::Directories => header.timestamp_ms,
            Layout::S3 => now_ms,
        };
        let object = LtxObject {
            level: Level::L0,
            min_txid: header.min_txid,
            max_txid: txid,
            size: shipped.size,
            modified_ms,
            name: self.remote.l0_key(txid),
        };
        if let Some(listing) = &mut self.listing {
            listing.insert(object.clone());
        }
        self.cache.note(object, shipped.bytes.filter(|_| self.governor.has_room()));
        self.images.extend(shipped.image.map(|image| (txid, image)));
        self.newest = Some(txid);
        let level_1 = (!self.policy.levels.is_empty()).then(|| self.policy.level_due_ms(1, modified_ms));
        let others = self.policy.snapshot_due_ms(modified_ms).min(self.policy.l0_expires_ms(modified_ms));
        earlier(level_1, Some(others))
    }

    /// Nothing is to be done for a while.
    fn rest(&mut self, until: Option<i64>, now_ms: i64) {
        self.marks.rest();
        if until.is_none_or(|until| until.saturating_sub(now_ms) > LISTING_KEPT_MS) {
            self.listing = None;
        }
    }
}

#[cfg(test)]
mod sim;
