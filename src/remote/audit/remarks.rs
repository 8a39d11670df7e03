//! What is worth knowing and costs nothing.

use super::{Case, Severity, What};
use crate::remote::{Level, LtxObject, Resembles};

/// Findings of one kind that are told one by one.
pub(super) const MAX_ALIKE: usize = 20;

impl Case<'_> {
    /// Files of one level that hold the same transactions.
    pub(super) fn remark_overlaps(&mut self) {
        let mut overlaps = Vec::new();
        for level in Level::all().filter(|&level| level != Level::SNAPSHOT) {
            let mut longest: Option<&LtxObject> = None;
            let mut objects: Vec<&LtxObject> =
                self.sound.iter().map(|(o, _)| *o).filter(|o| o.level == level).collect();
            objects.sort_unstable_by_key(|o| (o.min_txid, o.max_txid));
            for object in objects {
                if let Some(other) = longest.filter(|other| other.max_txid >= object.min_txid) {
                    overlaps.push((object.name.to_string(), other.name.clone()));
                }
                longest = longest.filter(|other| other.max_txid >= object.max_txid).or(Some(object));
            }
        }
        let more = overlaps.len().saturating_sub(MAX_ALIKE);
        for (name, with) in overlaps.into_iter().take(MAX_ALIKE) {
            self.find(Severity::Remark, Some(name), What::Overlap { with }, Vec::new());
        }
        self.remark_more(more, "files that overlap others of their level");
    }

    pub(super) fn remark_foreign(&mut self) {
        let ignored: Vec<_> =
            self.evidence.listing.ignored.iter().filter(|ignored| ignored.resembles != Resembles::Ltx).collect();
        let more = ignored.len().saturating_sub(MAX_ALIKE);
        for ignored in ignored.into_iter().take(MAX_ALIKE) {
            let what = What::Foreign { why: ignored.why.clone() };
            self.find(Severity::Remark, Some(ignored.name.clone()), what, Vec::new());
        }
        self.remark_more(more, "objects that are no LTX files");
    }

    fn remark_more(&mut self, count: usize, of: &'static str) {
        if count > 0 {
            self.find(Severity::Remark, None, What::More { count, of }, Vec::new());
        }
    }

    /// Sound files that no restore needs any more: what retention has not taken away yet, or may
    /// not.
    pub(super) fn remark_leftovers(&mut self) {
        let Some(oldest) = self.reach.oldest() else { return };
        let leftover = |o: &&LtxObject| o.max_txid < oldest;
        let leftovers: Vec<&LtxObject> = self.sound.iter().map(|(o, _)| *o).filter(leftover).collect();
        if let Some(first) = leftovers.first() {
            let bytes = leftovers.iter().map(|o| o.size).sum();
            let what = What::NotNeeded { files: leftovers.len(), bytes };
            self.find(Severity::Remark, Some(first.name.to_string()), what, Vec::new());
        }
    }
}
