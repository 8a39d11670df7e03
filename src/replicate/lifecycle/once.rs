//! `replicate -once`: a snapshot and the end of what has expired now, because the command line asks
//! for it, not because it is due.
//!
//! The same decisions and the same writing as in `task.rs`, from one LIST to the end and without a
//! second try: who asked hears what did not work.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Policy;
use super::inspect;
use super::retain::{self, Known, Marked};
use super::schedule::{self, MAX_INPUTS, Step, View};
use super::write::{Input, WriteError, write};
use crate::figures;
use crate::ltx::Txid;
use crate::remote::{Level, Listing, LtxObject, ReadError, Remote, plan};
use crate::store::{Key, StoreError};

/// What to do once everything is shipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnceWork {
    /// Write a snapshot of the newest transaction, whenever the last one was made
    /// (`-force-snapshot`).
    pub snapshot: bool,
    /// Delete what has expired (`-enforce-retention`).
    pub retention: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ChoreError {
    #[error("cannot make a snapshot in {address}: {source}")]
    Snapshot { address: String, source: WriteError },
    #[error("cannot make a snapshot in {address}: no file there begins at the first transaction, or one is missing")]
    NoChain { address: String },
    #[error("cannot find out what has expired in {address}: {source}")]
    Read { address: String, source: ReadError },
    #[error("cannot look at {address}: {0}", address = .1)]
    Store(StoreError, String),
    #[error("{} in {address} cannot be deleted and will stay: {source}", figures::count(*count, "expired object"))]
    Refused { count: usize, address: String, source: StoreError },
}

/// Does the work. `newest` is the newest TXID, and it is in the bucket.
pub async fn run(work: OnceWork, policy: &Policy, remote: &Remote, newest: Txid) -> Result<(), ChoreError> {
    if work == OnceWork::default() {
        return Ok(());
    }
    let address = remote.address().to_owned();
    let listing = remote.listing().await.map_err(|error| ChoreError::Store(error, address.clone()))?;
    let mut once = Once { remote, newest, listing, images: BTreeMap::new(), made: HashMap::new(), address };
    if work.snapshot {
        once.snapshot(policy).await?;
    }
    if work.retention {
        // Now is the time, not the next multiple of the check intervals.
        let now = Duration::from_millis(1);
        let policy = Policy { snapshot_check_interval: now, l0_check_interval: now, ..policy.clone() };
        once.retain(&policy).await?;
    }
    Ok(())
}

struct Once<'a> {
    remote: &'a Remote,
    newest: Txid,
    listing: Listing,
    images: BTreeMap<Txid, bool>,
    /// What was written just now, and when, Unix milliseconds.
    made: HashMap<Key, i64>,
    address: String,
}

impl Once<'_> {
    async fn snapshot(&mut self, policy: &Policy) -> Result<(), ChoreError> {
        loop {
            let newest = self.newest;
            let ends_there = |o: &LtxObject| o.min_txid == Txid::FIRST && o.max_txid == newest;
            if self.listing.level(Level::SNAPSHOT).iter().any(ends_there) {
                return Ok(());
            }
            let files: Vec<LtxObject> = plan::files_up_to(&self.listing, newest).into_iter().cloned().collect();
            if files.last().is_none_or(|last| last.max_txid != newest) {
                return Err(ChoreError::NoChain { address: self.address.clone() });
            }
            let (level, inputs) = match files.len() > MAX_INPUTS {
                true => match self.shorten(policy).await? {
                    Some(step) => step,
                    // Nothing to compact: the oldest of them first.
                    None => (Level::SNAPSHOT, files.into_iter().take(MAX_INPUTS).collect()),
                },
                false => (Level::SNAPSHOT, files),
            };
            self.write(level, inputs).await?;
        }
    }

    /// What compaction would do if all of it were due; `None` is nothing.
    async fn shorten(&mut self, policy: &Policy) -> Result<Option<(Level, Vec<LtxObject>)>, ChoreError> {
        loop {
            let view = View { listing: &self.listing, newest: self.newest, images: &self.images, blocked: &[] };
            match schedule::next(&view, policy, i64::MAX) {
                Step::Compact { level, inputs } => return Ok(Some((level, inputs))),
                Step::Snapshot { inputs } => return Ok(Some((Level::SNAPSHOT, inputs))),
                Step::Wait(_) => return Ok(None),
                Step::Probe(object) => {
                    let image = inspect::is_image(self.remote, &object).await.map_err(|source| self.unread(source))?;
                    self.images.insert(object.max_txid, image);
                }
            }
        }
    }

    async fn write(&mut self, level: Level, inputs: Vec<LtxObject>) -> Result<(), ChoreError> {
        let inputs = inputs.into_iter().map(|object| Input { object, bytes: None }).collect();
        match write(self.remote, level, inputs).await {
            Ok(object) => {
                tracing::info!("{} is in {} ({} bytes)", object.name, self.address, object.size);
                self.made.insert(object.name.clone(), self.remote.clock().unix_ms());
                self.listing.insert(object);
            }
            // What has another page size can only be a full image: the snapshot begins with it.
            Err(WriteError::PageSize(image)) if !self.images.contains_key(&image.max_txid) => {
                self.images.insert(image.max_txid, true);
                let inputs = vec![Input { object: *image, bytes: None }];
                let snapshot = write(self.remote, Level::SNAPSHOT, inputs).await.map_err(|e| self.unwritten(e))?;
                self.made.insert(snapshot.name.clone(), self.remote.clock().unix_ms());
                self.listing.insert(snapshot);
            }
            Err(error) => return Err(self.unwritten(error)),
        }
        Ok(())
    }

    async fn retain(&mut self, policy: &Policy) -> Result<(), ChoreError> {
        let mut proved: HashMap<Key, i64> = HashMap::new();
        let (mut marked, mut is_fresh) = (Vec::new(), false);
        loop {
            let verdict = {
                let known = Known { proved: &|o| proved.get(&o.name).copied(), refused: &|_| false, marked: &marked };
                retain::decide(&self.listing, self.newest, policy, self.remote.clock().unix_ms(), &known)
            };
            let first = self.listing.level(Level::L0).first().filter(|o| o.max_txid == Txid::FIRST).cloned();
            if let Some(first) = first.filter(|_| verdict.keep_first_image) {
                self.write(Level::SNAPSHOT, vec![first]).await?;
            } else if let Some(object) = verdict.unproved.into_iter().next() {
                match inspect::is_sound(self.remote, &object).await.map_err(|source| self.unread(source))? {
                    Ok(()) => {
                        let since_ms = self.made.get(&object.name).copied().unwrap_or(object.modified_ms);
                        proved.insert(object.name, since_ms.saturating_add(schedule::ms(policy.grace)));
                    }
                    Err(why) => {
                        tracing::warn!("ignoring {} in {}: {why}", object.name, self.address);
                        self.listing.retain(|o| o.name != object.name);
                    }
                }
            } else if !verdict.delete.is_empty() && !is_fresh {
                marked = self.marked().await?;
                is_fresh = true;
                continue;
            } else if !verdict.delete.is_empty() {
                self.delete(&verdict.delete).await?;
            } else {
                return Ok(());
            }
            is_fresh = false;
        }
    }

    /// Nothing is deleted but right after a look at what is marked.
    async fn marked(&self) -> Result<Vec<Marked>, ChoreError> {
        let found = self.remote.marks().await.map_err(|source| self.unread(source))?;
        for (name, why) in &found.unreadable {
            tracing::warn!("ignoring {name} in {}: it is no mark, and keeps nothing: {why}", self.address);
        }
        Ok(found.marks.iter().map(|mark| Marked { txid: mark.txid, expires_ms: mark.expires_ms }).collect())
    }

    async fn delete(&mut self, objects: &[LtxObject]) -> Result<(), ChoreError> {
        let keys: Vec<Key> = objects.iter().map(|o| o.name.clone()).collect();
        let deleted = self.remote.store().delete(&keys).await;
        let deleted = deleted.map_err(|source| self.refused(keys.len(), source))?;
        tracing::info!("{} deleted in {}", figures::count(deleted.deleted, "expired object"), self.address);
        let count = deleted.refused.len();
        if let Some((_, source)) = deleted.refused.into_iter().next() {
            return Err(self.refused(count, source));
        }
        self.listing.retain(|o| !keys.contains(&o.name));
        Ok(())
    }

    fn refused(&self, count: usize, source: StoreError) -> ChoreError {
        ChoreError::Refused { count, address: self.address.clone(), source }
    }

    fn unread(&self, source: ReadError) -> ChoreError {
        ChoreError::Read { address: self.address.clone(), source }
    }

    fn unwritten(&self, source: WriteError) -> ChoreError {
        ChoreError::Snapshot { address: self.address.clone(), source }
    }
}
