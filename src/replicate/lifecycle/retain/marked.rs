//! What the marks keep: the files that a restore of a marked TXID reads, whatever retention says of
//! them otherwise.
//!
//! Such a plan holds only objects that end at or before the TXID. So of those, what is in no plan
//! may go once the plan has been looked into, and nothing else does the mark harm.

use std::collections::HashMap;

use crate::ltx::Txid;
use crate::remote::{Level, Listing, LtxObject, plan};
use crate::store::Key;

/// What retention knows of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    pub txid: Txid,
    /// It keeps nothing from then on, Unix milliseconds.
    pub expires_ms: Option<i64>,
}

/// How long the marks keep an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    No,
    Until(i64),
    Always,
}

pub struct Plans {
    plans: Vec<(Txid, Vec<LtxObject>)>,
    kept: HashMap<Key, Kept>,
}

impl Plans {
    /// The plans of the marks that have not expired.
    pub fn of(listing: &Listing, marked: &[Marked], now_ms: i64) -> Plans {
        let mut plans = Plans { plans: Vec::new(), kept: HashMap::new() };
        let mut valid = marked.iter().filter(|mark| mark.expires_ms.is_none_or(|at| at > now_ms)).peekable();
        if valid.peek().is_none() {
            return plans;
        }
        // As for everything else that is decided here, such snapshots are not known to be ours.
        let mut listing = listing.clone();
        listing.retain(|o| o.level != Level::SNAPSHOT || o.min_txid == Txid::FIRST);
        for mark in valid {
            let files: Vec<LtxObject> = plan::files_up_to(&listing, mark.txid).into_iter().cloned().collect();
            let until = mark.expires_ms.map_or(Kept::Always, Kept::Until);
            for file in &files {
                let kept = plans.kept.entry(file.name.clone()).or_insert(Kept::No);
                *kept = kept.longer(until);
            }
            plans.plans.push((mark.txid, files));
        }
        plans
    }

    pub fn kept(&self, object: &LtxObject) -> Kept {
        self.kept.get(&object.name).copied().unwrap_or(Kept::No)
    }

    /// What must be sound before `object` may go, because a mark's plan does without it.
    pub fn instead_of(&self, object: &LtxObject) -> impl Iterator<Item = &LtxObject> {
        let plans = self.plans.iter().filter(|(txid, _)| object.max_txid <= *txid);
        plans.flat_map(|(_, files)| files).filter(|file| file.level != Level::L0)
    }

    /// Whether each marked state that can be restored now can be restored from `rest`, too.
    pub fn survive(&self, rest: &Listing) -> bool {
        self.plans.iter().all(|(txid, files)| {
            files.last().is_none_or(|last| last.max_txid != *txid)
                || plan::files_up_to(rest, *txid).last().is_some_and(|last| last.max_txid == *txid)
        })
    }
}

impl Kept {
    fn longer(self, other: Kept) -> Kept {
        match (self, other) {
            (Kept::Always, _) | (_, Kept::Always) => Kept::Always,
            (Kept::Until(one), Kept::Until(another)) => Kept::Until(one.max(another)),
            (Kept::No, kept) | (kept, Kept::No) => kept,
        }
    }
}
