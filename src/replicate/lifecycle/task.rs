//! Select, then apply: one piece of work at a time, and one owner of what is known of the replica.
//!
//! What is known begins with a LIST and is kept up to date by what is replicated and what is done
//! here; before work is done it is looked at again if the last look is too old. So a round costs
//! one LIST at most, and a quiet replica none. Before a long sleep it is forgotten: an idle
//! database takes no memory either.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
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

pub(super) async fn run(mut maintainer: Maintainer, mut heard: mpsc::Receiver<News>, mut stop: watch::Receiver<Stop>) {
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
                }
            }
        }
        let now_ms = clock.unix_ms();
        let nap = wake.map_or(SLEEP_MAX, |at| nap(at, now_ms));
        tokio::select! {
            changed = stop.changed() => if changed.is_err() { return },
            news = heard.recv() => match news {
                Some(News::Shipped(shipped)) => wake = earlier(wake, maintainer.shipped(shipped, now_ms)),
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
    policy: Policy,
    remote: Remote,
    writer: RefusalWriter,
    governor: Governor,
    /// What lies there, as far as is known; `None`: look first.
    listing: Option<Listing>,
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
    pub fn new(policy: Policy, remote: Remote, writer: RefusalWriter, governor: Governor, dice: Dice) -> Maintainer {
        Maintainer {
            policy,
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

    fn plan(&mut self, now_ms: i64, Now { instant: now, boot }: Now) -> Plan {
        self.wanted.retain(|wanted| !wanted.reply.is_closed());
        let Some(newest) = self.newest else { return Plan::Sleep(None) };
        let at_ms = |at: Instant| now_ms.saturating_add(schedule::ms(at.saturating_duration_since(now)).max(1));
        if let Some(trouble) =
            self.trouble.get(&Part::Rest).filter(|trouble| trouble.until > now && self.wanted.is_empty())
        {
            return Plan::Sleep(Some(at_ms(trouble.until)));
        }
        let Some(listing) = &self.listing else { return Plan::Work(Work::List) };
        if let Some(suspect) = self.suspects.last() {
            return Plan::Work(Work::Prove(suspect.clone()));
        }
        let cache = &self.cache;
        let input = |object: LtxObject| Input { bytes: cache.bytes(&object), object };
        let is_fresh = boot.saturating_sub(self.listed_at) <= self.policy.listing_lasts;
        if !self.wanted.is_empty() {
            if !is_fresh {
                return Plan::Work(Work::List);
            }
            if let Some((level, inputs)) = wanted::next(&mut self.wanted, listing, newest, &self.images, &self.policy) {
                return Plan::Work(Work::Write { level, inputs: inputs.into_iter().map(input).collect() });
            }
        }
        let held = self.held(now);
        let blocked: Vec<Level> = held.iter().map(|(level, _)| *level).collect();
        let view = View { listing, newest, images: &self.images, blocked: &blocked };
        let is_taken = |level, min, max| self.unsound.contains(&self.remote.layout().key(level, min, max));
        let work = match taken::next(&view, &self.policy, now_ms, &is_taken) {
            Step::Compact { level, inputs } => Work::Write { level, inputs: inputs.into_iter().map(input).collect() },
            Step::Snapshot { inputs } => {
                Work::Write { level: Level::SNAPSHOT, inputs: inputs.into_iter().map(input).collect() }
            }
            Step::Probe(object) => Work::Probe(object),
            Step::Wait(wake) => match self.retention(listing, newest, &held, wake, (now_ms, now, boot)) {
                Plan::Work(work) => work,
                sleep => return sleep,
            },
        };
        if !is_fresh {
            return Plan::Work(Work::List);
        }
        match work {
            Work::Marks(_) => self.marks.begins(boot),
            Work::Delete(_) => self.marks.deletes(),
            _ => {}
        }
        Plan::Work(work)
    }

    /// There is nothing to merge: what nothing needs any more goes.
    fn retention(
        &self,
        listing: &Listing,
        newest: Txid,
        held: &[(Level, Instant)],
        wake: Option<i64>,
        (now_ms, now, boot): (i64, Instant, Duration),
    ) -> Plan {
        let at_ms = |at: Instant| now_ms.saturating_add(schedule::ms(at.saturating_duration_since(now)).max(1));
        let proved = |o: &LtxObject| self.proved.get(&o.name).map(|at| at_ms(*at + self.policy.grace) - 1);
        let refused = |o: &LtxObject| self.refused.contains_key(&o.name);
        let known = Known { proved: &proved, refused: &refused, marked: self.marks.marked() };
        let verdict = retain::decide(listing, newest, &self.policy, now_ms, &known);
        let LevelZero { eligible, not_compacted, too_recent } = verdict.level_0;
        self.writer.counts().level_0([eligible, not_compacted, too_recent]);
        let first = listing.level(Level::L0).first().filter(|o| o.max_txid == Txid::FIRST && verdict.keep_first_image);
        let is_held = held.iter().any(|(level, _)| *level == Level::SNAPSHOT)
            || self.unsound.contains(&self.remote.layout().key(Level::SNAPSHOT, Txid::FIRST, Txid::FIRST));
        if let Some(first) = first.filter(|_| !is_held) {
            let input = Input { bytes: self.cache.bytes(first), object: first.clone() };
            return Plan::Work(Work::Write { level: Level::SNAPSHOT, inputs: vec![input] });
        }
        if let Some(object) = verdict.unproved.into_iter().next() {
            return Plan::Work(Work::Prove(object));
        }
        let retry = held.iter().map(|(_, until)| at_ms(*until)).min();
        let until = earlier(earlier(wake, verdict.next_ms), retry);
        match self.deletion(verdict.delete, now, boot) {
            Deletion::Nothing => Plan::Sleep(until),
            Deletion::Later(at) => Plan::Sleep(earlier(until, Some(at_ms(at)))),
            Deletion::Now(work) => Plan::Work(work),
        }
    }

    /// Levels whose last attempt failed a moment ago, and until when they are left alone.
    fn held(&self, now: Instant) -> Vec<(Level, Instant)> {
        let held = self.trouble.iter().filter(|(_, trouble)| trouble.until > now);
        held.filter_map(|(part, trouble)| match part {
            Part::Level(level) => Some((*level, trouble.until)),
            Part::Marks | Part::Rest => None,
        })
        .collect()
    }

    /// Nothing goes but right after a look at the marks.
    fn deletion(&self, expired: Vec<LtxObject>, now: Instant, boot: Duration) -> Deletion {
        if expired.is_empty() {
            return Deletion::Nothing;
        }
        if let Some(trouble) = self.trouble.get(&Part::Marks).filter(|trouble| trouble.until > now) {
            return Deletion::Later(trouble.until);
        }
        match self.marks.before_a_deletion(&self.policy, boot) {
            Look::First => Deletion::Now(Work::Marks(self.marks.unchanged())),
            Look::In(pause) => Deletion::Later(now + pause),
            Look::Deletes => Deletion::Now(Work::Delete(expired.into_iter().take(DELETES_MAX).collect())),
        }
    }

    fn apply(&mut self, done: Done, Now { instant: now, boot }: Now) {
        match done {
            Done::Listed(Ok(listing)) => self.listed(listing, boot, now),
            Done::Listed(Err(error)) => self.failed(Part::Rest, &error, now),
            Done::Probed(object, image) => match image {
                Ok(image) => drop(self.images.insert(object.max_txid, image)),
                // The merge will say it, with all its inputs.
                Err(ReadError::Invalid { .. }) => drop(self.images.insert(object.max_txid, false)),
                Err(error) => self.unread(Part::Rest, error, now),
            },
            Done::Wrote(level, result) => match *result {
                Ok(object) => self.wrote(object, now),
                Err(error) => self.not_written(level, error, now),
            },
            Done::Proved(object, verdict) => self.looked_into(object, verdict, now),
            Done::Marks(Ok(found)) => self.looked_at_marks(found),
            Done::Marks(Err(error)) => self.failed(Part::Marks, &error, now),
            Done::Deleted(objects, Ok(deleted)) => self.deleted(&objects, deleted, now),
            Done::Deleted(objects, Err(error)) if !error.is_transient() => {
                // As if every single one had been refused: the rest of the work goes on.
                let refused: Vec<_> = objects.into_iter().map(|o| o.name).collect();
                self.refused(refused, &error, now);
            }
            Done::Deleted(_, Err(error)) => self.failed(Part::Rest, &error, now),
        }
    }

    fn listed(&mut self, mut listing: Listing, boot: Duration, now: Instant) {
        self.trouble.remove(&Part::Rest);
        self.listed_at = boot;
        listing.retain(|o| !self.unsound.contains(&o.name));
        let there: HashSet<&Key> = listing.objects().map(|o| &o.name).collect();
        self.proved.retain(|name, _| there.contains(name));
        self.refused
            .retain(|name, since| there.contains(name) && now.saturating_duration_since(*since) < REFUSAL_LASTS);
        self.kept.retain(|name| there.contains(name));
        self.writer.refused(self.kept.len(), now);
        let kept: Vec<Key> = self.deleted.drain().filter(|name| there.contains(name)).collect();
        self.cache.complete(&mut listing);
        self.listing = Some(listing);
        if !kept.is_empty() {
            self.refused(kept, &"the store said that they are deleted, and lists them still", now);
        }
    }

    fn looked_at_marks(&mut self, found: Vec<Read>) {
        self.trouble.remove(&Part::Marks);
        for (name, why) in self.marks.looked(found) {
            tracing::warn!("ignoring {name} in {}: it is no mark, and keeps nothing: {why}", self.remote.address());
        }
    }

    fn looked_into(&mut self, object: LtxObject, verdict: Result<inspect::Verdict, ReadError>, now: Instant) {
        match verdict {
            Ok(Ok(())) => drop(self.proved.entry(object.name.clone()).or_insert(now)),
            Ok(Err(why)) => {
                tracing::warn!("ignoring {} in {}: {why}", object.name, self.remote.address());
                self.unsound.insert(object.name.clone());
                self.forget(|o| o.name == object.name);
                // Without it another merge is tried.
                self.trouble.retain(|part, _| !matches!(part, Part::Level(_)));
            }
            Err(error) => return self.unread(Part::Rest, error, now),
        }
        self.suspects.retain(|suspect| suspect.name != object.name);
    }

    fn wrote(&mut self, object: LtxObject, now: Instant) {
        self.trouble.remove(&Part::Level(object.level));
        let address = self.remote.address();
        tracing::debug!("{} is in {address} ({} bytes)", object.name, object.size);
        self.proved.entry(object.name.clone()).or_insert(now);
        if object.level.get() == 1 {
            self.cache.forget_through(object.max_txid);
            self.images.retain(|txid, _| *txid > object.max_txid);
        }
        if let Some(listing) = &mut self.listing {
            listing.insert(object);
        }
    }

    fn not_written(&mut self, level: Level, error: WriteError, now: Instant) {
        let part = Part::Level(level);
        let is_news = |o: &LtxObject| o.level == Level::L0 && !self.images.contains_key(&o.max_txid);
        // Once that is known, the merge begins with it.
        if !matches!(&error, WriteError::PageSize(image) if is_news(image)) {
            self.fail_wanted(&error);
        }
        match error {
            WriteError::PageSize(object) if object.level == Level::L0 => {
                // What has another page size can only be a full image.
                self.images.insert(object.max_txid, true);
                self.hold(part, now);
            }
            WriteError::Read(error) => self.unread(part, error, now),
            WriteError::Store(ref why) => {
                self.failed(part, &error, now);
                if level == Level::SNAPSHOT && !why.is_transient() {
                    // Not for nothing again and again: it takes the whole database through this
                    // machine.
                    self.trouble.entry(part).and_modify(|trouble| trouble.until = now + DAMAGE_PAUSE);
                }
            }
            WriteError::Interrupted => self.failed(part, &error, now),
            WriteError::Damaged { ref inputs, .. } => {
                self.suspects = inputs.iter().filter(|o| o.level != Level::L0).cloned().collect();
                self.failed(part, &error, now);
                self.trouble.entry(part).and_modify(|trouble| trouble.until = now + DAMAGE_PAUSE);
            }
            WriteError::Unproved { .. } | WriteError::PageSize(_) => {
                self.failed(part, &error, now);
                self.trouble.entry(part).and_modify(|trouble| trouble.until = now + DAMAGE_PAUSE);
            }
        }
    }

    fn unread(&mut self, part: Part, error: ReadError, now: Instant) {
        if matches!(error, ReadError::Gone { .. }) {
            self.listing = None;
            self.suspects.clear();
        }
        self.failed(part, &error, now);
    }

    /// Says it if it must be said, and leaves this part alone for a while.
    fn failed(&mut self, part: Part, error: &dyn std::fmt::Display, now: Instant) {
        if part == Part::Rest {
            self.fail_wanted(error);
        }
        let trouble = self.trouble.entry(part).or_insert_with(|| Trouble { outage: Outage::new(), until: now });
        let failure = trouble.outage.failed(now, false, &mut self.dice);
        trouble.until = now + failure.pause;
        if failure.say.is_some() {
            let what = match part {
                Part::Level(Level::SNAPSHOT) => "make a snapshot in",
                Part::Level(_) => "compact",
                Part::Marks => "read the marks, without which nothing is deleted, in",
                Part::Rest => "tidy up",
            };
            tracing::warn!("cannot {what} {}: {error}; trying again", self.remote.address());
        }
    }

    /// Leaves this part alone for a moment, without a word.
    fn hold(&mut self, part: Part, now: Instant) {
        let trouble = self.trouble.entry(part).or_insert_with(|| Trouble { outage: Outage::new(), until: now });
        trouble.until = now + trouble.outage.failed(now, false, &mut self.dice).pause;
    }

    fn deleted(&mut self, objects: &[LtxObject], deleted: Deleted, now: Instant) {
        self.trouble.remove(&Part::Rest);
        let kept: HashSet<Key> = deleted.refused.iter().map(|(key, _)| key.clone()).collect();
        let gone: HashSet<Key> = objects.iter().map(|o| o.name.clone()).filter(|name| !kept.contains(name)).collect();
        tracing::debug!("{} objects deleted in {}", gone.len(), self.remote.address());
        self.forget(|o| gone.contains(&o.name));
        self.cache.retain(|o| !gone.contains(&o.name));
        self.deleted.extend(gone);
        if let Some((_, error)) = deleted.refused.into_iter().next() {
            self.refused(kept, &error, now);
        }
    }

    /// Said when it begins; more of the same is counted.
    fn refused(&mut self, names: impl IntoIterator<Item = Key>, why: &dyn std::fmt::Display, now: Instant) {
        let before = self.refusals;
        for name in names {
            self.kept.insert(name.clone());
            self.refused.insert(name, now);
            self.refusals += 1;
        }
        self.writer.refused(self.kept.len(), now);
        let (count, address) = (self.refusals, self.remote.address());
        match before {
            0 => tracing::warn!("{count} expired objects in {address} cannot be deleted and will stay: {why}"),
            _ => tracing::debug!("{count} refusals so far to delete expired objects in {address}: {why}"),
        }
    }

    fn forget(&mut self, gone: impl Fn(&LtxObject) -> bool) {
        if let Some(listing) = &mut self.listing {
            listing.retain(|o| !gone(o));
        }
    }
}

#[cfg(test)]
mod sim;
