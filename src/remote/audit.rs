//! What the objects of a replica prove, and what is wrong with them. Pure: a listing and what was
//! seen of each object in, findings out.
//!
//! *Damage* is what a person has to act on: a moment that should be restorable is not, or the
//! history ends earlier than it should. Everything else is a *remark*. The judge of that is reach:
//! the transactions at which a restore can stop.
//!
//! ```text
//! level 9   1───────4                          by names it reaches 9
//! level 1            5───7                     without what is unsound or missing it reaches 5
//! level 0            5 x 7 · 9                 x is damaged, but level 1 holds it: 7 is not lost
//! ```
//!
//! Retention thins out what is older than the window, so a hole there is no finding; compaction
//! takes level-0 files away once a compacted one holds them, so a hole in one level counts only
//! where no other level holds the same.

use std::collections::{HashMap, HashSet};

use super::ends::Unsound;
use super::names::{self, Name};
use super::{Level, Listing, LtxObject, Resembles, plan};
use crate::ltx::{Header, Txid};
use crate::page::PageSize;
use crate::store::Key;

mod finding;
mod reach;
mod remarks;
mod span;

pub use finding::{Finding, Severity, What};
use reach::Reach;
pub use span::Span;

/// Of how many unsound objects it is worked out which transactions each of them costs.
const MAX_WEIGHED: usize = 64;
/// Holes of one level that are judged.
const MAX_HOLES: usize = 256;

/// An object and what it turned out to be.
pub type Seen = (LtxObject, Result<Header, Unsound>);

/// What is known about a replica.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    pub listing: &'a Listing,
    /// Every object of the listing that is still there.
    pub seen: &'a [Seen],
    /// Moments before this one, Unix milliseconds, need not be restorable; `None`: every one must
    /// be.
    pub window_from_ms: Option<i64>,
}

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// The oldest and the newest file at whose end a restore can stop.
    pub ends: Option<(LtxObject, LtxObject)>,
    /// Time of the newest transaction, Unix milliseconds.
    pub newest_ms: Option<i64>,
    /// Sound files, and their bytes.
    pub files: usize,
    pub bytes: u64,
    /// Damage first.
    pub findings: Vec<Finding>,
}

impl Audit {
    pub fn damage(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Damage)
    }

    /// Whether another LIST could show something else: objects come and go while they are looked
    /// at.
    pub fn may_have_moved(&self) -> bool {
        self.damage().any(|finding| matches!(finding.what, What::Gap { .. } | What::Hole { .. } | What::NoBeginning))
    }

    pub fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.severity);
    }
}

/// Judges a replica's LTX files.
pub fn audit(evidence: &Evidence<'_>) -> Audit {
    let mut case = Case::open(evidence);
    case.weigh_unsound();
    case.name_gaps();
    case.name_holes_in_levels();
    case.name_page_sizes();
    case.remark_overlaps();
    case.remark_foreign();
    case.remark_leftovers();
    case.close()
}

/// Objects that do not count, and why.
struct Suspect {
    name: String,
    level: Level,
    min_txid: Txid,
    max_txid: Txid,
    unsound: Unsound,
}

impl Suspect {
    fn span(&self) -> Span {
        Span { first: self.min_txid, last: self.max_txid }
    }
}

struct Case<'a> {
    evidence: &'a Evidence<'a>,
    sound: Vec<(&'a LtxObject, &'a Header)>,
    suspects: Vec<Suspect>,
    /// Of the sound objects.
    reach: Reach,
    /// Transactions up to here are older than the window.
    expired: Option<Txid>,
    findings: Vec<Finding>,
}

impl<'a> Case<'a> {
    fn open(evidence: &'a Evidence<'a>) -> Case<'a> {
        let (mut sound, mut suspects) = (Vec::new(), Vec::new());
        for (object, found) in evidence.seen {
            match found {
                Ok(header) => sound.push((object, header)),
                Err(unsound) => suspects.push(Suspect {
                    name: object.name.to_string(),
                    level: object.level,
                    min_txid: object.min_txid,
                    max_txid: object.max_txid,
                    unsound: unsound.clone(),
                }),
            }
        }
        let torn = evidence.listing.ignored.iter().filter(|ignored| ignored.resembles == Resembles::Ltx);
        suspects.extend(torn.filter_map(|ignored| {
            let Name::Ltx { level, min_txid, max_txid, .. } = names::parse(&ignored.name) else { return None };
            let unsound = Unsound::foreign(ignored.why.clone());
            Some(Suspect { name: ignored.name.clone(), level, min_txid, max_txid, unsound })
        }));
        let misfits = misfits(&sound);
        let names: HashSet<&Key> = misfits.iter().map(|(object, _)| &object.name).collect();
        sound.retain(|(object, _)| !names.contains(&object.name));
        for (object, why) in misfits {
            suspects.push(Suspect {
                name: object.name.to_string(),
                level: object.level,
                min_txid: object.min_txid,
                max_txid: object.max_txid,
                unsound: Unsound::damaged(why),
            });
        }
        let reach = Reach::of(sound.iter().map(|(object, _)| (object.min_txid, object.max_txid)));
        let expired = evidence.window_from_ms.and_then(|from_ms| {
            let snapshots = evidence.listing.level(Level::SNAPSHOT).iter();
            let before = snapshots.filter(|o| o.min_txid == Txid::FIRST && o.modified_ms <= from_ms);
            Txid::new(before.map(|o| o.max_txid).max()?.get() - 1)
        });
        Case { evidence, sound, suspects, reach, expired, findings: Vec::new() }
    }

    fn is_expired(&self, txid: Txid) -> bool {
        self.expired.is_some_and(|expired| txid <= expired)
    }

    fn find(&mut self, severity: Severity, object: Option<String>, what: What, affected: Vec<Span>) {
        self.findings.push(Finding { severity, object, what, affected });
    }

    /// What each unsound object costs: the transactions that could be reached with it and cannot
    /// without it.
    fn weigh_unsound(&mut self) {
        let spans = |case: &Case<'_>| -> Vec<_> { case.sound.iter().map(|(o, _)| (o.min_txid, o.max_txid)).collect() };
        let sound = spans(self);
        let credible = sound.iter().map(|(_, max)| *max).max();
        // A stray under a compacted level's name ends where nothing else does; level 0 always keeps
        // the newest.
        let is_claim = |s: &&Suspect| {
            s.unsound.is_its_name || s.level == Level::L0 || credible.is_none_or(|end| s.max_txid <= end)
        };
        let claims = self.suspects.iter().filter(is_claim).map(|s| (s.min_txid, s.max_txid));
        let named = Reach::of(sound.iter().copied().chain(claims));
        let lost = named.without(&self.reach);
        let suspects = std::mem::take(&mut self.suspects);
        for (at, suspect) in suspects.iter().enumerate() {
            let mut costs: Vec<Txid> = Vec::new();
            if is_claim(&suspect) && at < MAX_WEIGHED {
                let with = Reach::of(sound.iter().copied().chain([(suspect.min_txid, suspect.max_txid)]));
                costs = with.without(&self.reach);
                costs.retain(|txid| lost.binary_search(txid).is_ok());
            }
            if is_claim(&suspect) && lost.binary_search(&suspect.max_txid).is_ok() {
                costs.push(suspect.max_txid);
            }
            costs.retain(|txid| !self.is_expired(*txid));
            costs.sort_unstable();
            costs.dedup();
            let severity = if costs.is_empty() { Severity::Remark } else { Severity::Damage };
            let connects = named.ends_at(suspect.max_txid);
            let why = suspect.unsound.why.clone();
            let what = match severity {
                Severity::Remark if !connects || !is_claim(&suspect) => What::Stray { why },
                Severity::Remark => What::Redundant { why },
                Severity::Damage => What::Damaged { why },
            };
            self.find(severity, Some(suspect.name.clone()), what, Span::of(&costs, &named));
        }
        self.suspects = suspects;
    }

    /// Sound objects that nothing connects to the beginning.
    fn name_gaps(&mut self) {
        let Some(newest) = self.reach.newest() else {
            if !self.sound.is_empty() {
                let first = self.sound.iter().min_by_key(|(o, _)| o.min_txid).map(|(o, _)| o.name.to_string());
                self.find(Severity::Damage, first, What::NoBeginning, Vec::new());
            }
            return;
        };
        let mut beyond: Vec<&LtxObject> = self.sound.iter().map(|(object, _)| *object).collect();
        beyond.retain(|o| Some(o.max_txid) > self.reach.oldest() && !self.reach.ends_at(o.max_txid));
        beyond.sort_by_key(|o| (o.min_txid, o.max_txid));
        let alike = |a: &&LtxObject, b: &&LtxObject| self.reach.before(a.min_txid) == self.reach.before(b.min_txid);
        let gaps: Vec<Finding> = beyond.chunk_by(alike).filter_map(|behind| self.gap(behind, newest)).collect();
        self.findings.extend(gaps);
    }

    /// The hole in front of these, which nothing bridges.
    fn gap(&self, behind: &[&LtxObject], newest: Txid) -> Option<Finding> {
        let first = behind.first()?;
        let last = behind.iter().map(|o| o.max_txid).max()?;
        let reached = self.reach.before(first.min_txid);
        let first_missing = reached.map_or(Some(Txid::FIRST), Txid::next)?;
        let last_missing = Txid::new(first.min_txid.get() - 1)?.max(first_missing);
        // Objects that are there and damaged have been named.
        let within = |s: &Suspect| s.min_txid <= last_missing && s.max_txid >= first_missing;
        let is_the_end = first.min_txid > newest;
        let severity = if self.is_expired(last) && !is_the_end { Severity::Remark } else { Severity::Damage };
        let what = What::Gap {
            missing: Span { first: first_missing, last: last_missing },
            reached,
            beyond: first.name.clone(),
            is_the_end,
            explained: self.suspects.iter().any(within),
        };
        Some(Finding { severity, object: None, what, affected: vec![Span { first: first_missing, last }] })
    }

    /// Holes inside one level, where neighbours on both sides are there.
    fn name_holes_in_levels(&mut self) {
        for level in Level::all().filter(|&level| level != Level::SNAPSHOT) {
            let mut spans: Vec<Span> =
                self.sound.iter().filter(|(o, _)| o.level == level).map(|(o, _)| o.span()).collect();
            spans.extend(self.suspects.iter().filter(|s| s.level == level).map(Suspect::span));
            spans.sort_unstable_by_key(|span| (span.first, span.last));
            let mut end: Option<Txid> = None;
            let mut holes: Vec<(Txid, Span)> = Vec::new();
            for span in spans {
                let missing =
                    |before: Txid| Some(Span { first: before.next()?, last: Txid::new(span.first.get() - 1)? });
                if let Some((before, hole)) = end.and_then(|end| Some((end, missing(end)?))) {
                    holes.extend((hole.first <= hole.last).then_some((before, hole)));
                }
                end = end.max(Some(span.last));
            }
            for (before, hole) in holes.into_iter().take(MAX_HOLES) {
                self.judge_hole(level, before, hole);
            }
        }
    }

    fn judge_hole(&mut self, level: Level, before: Txid, mut missing: Span) {
        // Only what no restore can stop at is missing.
        while let Some(first) = missing.first.next().filter(|_| self.reach.ends_at(missing.first)) {
            missing.first = first;
        }
        while let Some(last) = Txid::new(missing.last.get() - 1).filter(|_| self.reach.ends_at(missing.last)) {
            missing.last = last;
        }
        if missing.first > missing.last {
            return;
        }
        let kept_image = level == Level::L0 && before == Txid::FIRST;
        let named_already = self.findings.iter().any(|finding| match &finding.what {
            What::Gap { missing: gap, .. } => gap.first <= missing.last && gap.last >= missing.first,
            What::Damaged { .. } => finding.affected.iter().any(|span| span.holds(&missing)),
            _ => false,
        });
        let unreachable = |txid: Txid| self.reach.newest().is_none_or(|newest| txid > newest);
        if kept_image || named_already || unreachable(missing.last) || self.is_expired(missing.last) {
            return;
        }
        let elsewhere = self.sound.iter().filter(|(o, _)| o.level != level && o.level != Level::SNAPSHOT);
        let held = reach::cover(elsewhere.map(|(o, _)| o.span()), missing);
        let severity = if held { Severity::Remark } else { Severity::Damage };
        let what = What::Hole { level, missing, held };
        self.find(severity, None, what, if held { Vec::new() } else { vec![missing] });
    }

    /// A restore refuses files of different page sizes.
    fn name_page_sizes(&mut self) {
        let sizes: HashMap<&Key, PageSize> = self.sound.iter().map(|(o, header)| (&o.name, header.page_size)).collect();
        let mut listing = self.evidence.listing.clone();
        listing.retain(|o| sizes.contains_key(&o.name));
        let Ok(plan) = plan::latest(&listing) else { return };
        let size_of = |name: &Key| sizes.get(name).copied();
        let newest = plan.newest();
        let Some(wanted) = size_of(&newest.name) else { return };
        let Some(other) = plan.files.iter().rev().find(|o| size_of(&o.name).is_some_and(|size| size != wanted)) else {
            return;
        };
        let what = What::PageSizes {
            newer: plan.files.iter().find(|o| o.min_txid > other.max_txid).unwrap_or(newest).name.clone(),
            newer_size: wanted,
            size: size_of(&other.name).unwrap_or(wanted),
        };
        let first = other.max_txid.next().unwrap_or(newest.max_txid).min(newest.max_txid);
        let affected = vec![Span { first, last: newest.max_txid }];
        self.find(Severity::Damage, Some(other.name.to_string()), what, affected);
    }

    fn close(self) -> Audit {
        let ending = |txid: Option<Txid>| {
            let same_end = self.sound.iter().filter(|(o, _)| Some(o.max_txid) == txid);
            same_end.min_by_key(|(o, _)| o.level)
        };
        let (oldest, newest) = (ending(self.reach.oldest()), ending(self.reach.newest()));
        let mut audit = Audit {
            ends: oldest.zip(newest).map(|((oldest, _), (newest, _))| ((*oldest).clone(), (*newest).clone())),
            newest_ms: newest.map(|(_, header)| header.timestamp_ms),
            files: self.sound.len(),
            bytes: self.sound.iter().map(|(o, _)| o.size).fold(0, u64::saturating_add),
            findings: self.findings,
        };
        audit.sort();
        audit
    }
}

impl LtxObject {
    fn span(&self) -> Span {
        Span { first: self.min_txid, last: self.max_txid }
    }
}

/// Objects whose page size is neither that of the file before nor that of the file behind them in
/// their level, which agree. (A page size that changes for good is another matter.)
fn misfits<'a>(sound: &[(&'a LtxObject, &'a Header)]) -> Vec<(&'a LtxObject, String)> {
    let mut found = Vec::new();
    for level in Level::all() {
        let mut files: Vec<_> = sound.iter().filter(|(o, _)| o.level == level).collect();
        files.sort_unstable_by_key(|(o, _)| (o.max_txid, o.min_txid));
        for three in files.windows(3) {
            let [before, (object, header), behind] = three else { continue };
            let (wanted, size) = (before.1.page_size, header.page_size);
            if wanted == behind.1.page_size && size != wanted {
                found.push((*object, format!("its pages have {size} bytes, those of the files around it {wanted}")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
