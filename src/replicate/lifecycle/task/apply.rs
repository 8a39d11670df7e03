//! What the work that was done tells of the replica.

use super::*;
use crate::figures;

impl Maintainer {
    pub(super) fn apply(&mut self, done: Done, Now { instant: now, boot }: Now) {
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
        self.listing = Some(Box::new(listing));
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
            0 => tracing::warn!(
                "{} in {address} cannot be deleted and will stay: {why}",
                figures::count(count, "expired object")
            ),
            _ => tracing::debug!("{count} refusals so far to delete expired objects in {address}: {why}"),
        }
    }

    fn forget(&mut self, gone: impl Fn(&LtxObject) -> bool) {
        if let Some(listing) = &mut self.listing {
            listing.retain(|o| !gone(o));
        }
    }
}
