//! What is to be done next.

use super::*;

impl Maintainer {
    pub(super) fn plan(&mut self, now_ms: i64, Now { instant: now, boot }: Now) -> Plan {
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
    pub(super) fn held(&self, now: Instant) -> Vec<(Level, Instant)> {
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
}
