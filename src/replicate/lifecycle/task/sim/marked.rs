//! Marks: people make them and drop them, and what they mark stays restorable meanwhile.

use super::oracle::Violation;
use super::world::{MINUTE_MS, World};
use crate::ltx::Txid;
use crate::remote::{Mark, plan};
use crate::store::Listed;

/// Of an older state, which may be about to go: so long after its creation a mark is looked at
/// again, and counts from then on.
const SETTLES_MS: u64 = MINUTE_MS;
const MARKS_MAX: usize = 8;

pub struct Made {
    pub mark: Mark,
    /// When the store says that it was written.
    modified_ms: i64,
    /// From when on it is a promise, by the time that really passes; later it is one.
    settles_at_ms: u64,
    is_promise: bool,
}

impl World {
    /// A user marks the newest state, or an older one that can be restored now.
    pub fn make_a_mark(&mut self) {
        let newest = self.times.newest();
        let older = self.dice.roll(3) == 0;
        let ends: Vec<Txid> = self.bucket.truth.objects().map(|o| o.max_txid).collect();
        let roll = usize::try_from(self.dice.roll(ends.len() as u64)).expect("small");
        let txid = if older { ends[roll] } else { newest };
        if self.marks.len() >= MARKS_MAX || !self.is_restorable(txid) {
            return;
        }
        let now_ms = self.true_ms();
        let lasts = i64::try_from((10 + self.dice.roll(170)) * MINUTE_MS).expect("small");
        let expires_ms = (self.dice.roll(2) == 0).then_some(now_ms.max(self.wall_ms()) + lasts);
        let name = format!("m{}", self.dice.roll(u64::MAX));
        let (by, note) = (String::new(), None);
        let mark = Mark { name, txid, timestamp_ms: now_ms, created_ms: now_ms, expires_ms, note, by };
        self.count.marks += 1;
        self.say(|| format!("TXID {txid} is marked until {expires_ms:?}"));
        let is_promise = txid == newest;
        let settles_at_ms = self.boot_ms + SETTLES_MS;
        self.marks.push(Made { mark, modified_ms: now_ms, settles_at_ms, is_promise });
    }

    pub fn drop_a_mark(&mut self) {
        if self.marks.is_empty() {
            return;
        }
        let at = usize::try_from(self.dice.roll(self.marks.len() as u64)).expect("small");
        let txid = self.marks.remove(at).mark.txid;
        self.say(|| format!("the mark of TXID {txid} is dropped"));
    }

    /// Marks of older states become promises, or are taken back because they came too late.
    pub fn settle_marks(&mut self) {
        let now_ms = self.boot_ms;
        let mut marks = std::mem::take(&mut self.marks);
        marks.retain_mut(|made| {
            if !made.is_promise && made.settles_at_ms <= now_ms {
                made.is_promise = self.is_restorable(made.mark.txid);
                return made.is_promise;
            }
            true
        });
        self.marks = marks;
    }

    /// Every marked state can be restored exactly, as long as no clock says that its mark has
    /// expired.
    pub fn check_marks(&self) -> Result<(), Violation> {
        let latest_ms = self.times.latest_ms;
        let valid = self.marks.iter().filter(|made| made.is_promise && !made.mark.has_expired(latest_ms));
        match valid.map(|made| made.mark.txid).find(|txid| !self.is_restorable(*txid)) {
            Some(txid) => Err(format!("TXID {txid} is marked, and cannot be restored any more")),
            None => Ok(()),
        }
    }

    /// What a look at the marks finds.
    pub fn shown_marks(&self) -> Vec<(Listed, Option<Result<Mark, String>>)> {
        let shown = |made: &Made| {
            let name = format!("marks/{}.json", made.mark.name);
            (Listed { name, size: 200, modified_ms: made.modified_ms }, Some(Ok(made.mark.clone())))
        };
        self.marks.iter().map(shown).collect()
    }

    fn is_restorable(&self, txid: Txid) -> bool {
        plan::files_up_to(&self.bucket.truth, txid).last().is_some_and(|last| last.max_txid == txid)
    }
}
