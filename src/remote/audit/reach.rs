//! At which transactions a restore can stop: the last ones of files that connect to the beginning
//! by files that end no later.

use super::span::Span;
use crate::ltx::Txid;

/// The ends that can be reached, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach(Vec<Txid>);

impl Reach {
    /// Of files that hold these transactions, first and last.
    pub fn of(files: impl Iterator<Item = (Txid, Txid)>) -> Reach {
        let mut files: Vec<(Txid, Txid)> = files.map(|(first, last)| (last, first)).collect();
        files.sort_unstable();
        let mut ends: Vec<Txid> = Vec::new();
        for (last, first) in files {
            let end = ends.last().map_or(0, |end| end.get());
            if last.get() > end && first.get() - 1 <= end {
                ends.push(last);
            }
        }
        Reach(ends)
    }

    pub fn oldest(&self) -> Option<Txid> {
        self.0.first().copied()
    }

    pub fn newest(&self) -> Option<Txid> {
        self.0.last().copied()
    }

    pub fn ends_at(&self, txid: Txid) -> bool {
        self.0.binary_search(&txid).is_ok()
    }

    /// The last end before `txid`.
    pub fn before(&self, txid: Txid) -> Option<Txid> {
        self.0.partition_point(|end| *end < txid).checked_sub(1).map(|at| self.0[at])
    }

    /// The first end behind `txid`.
    pub fn behind(&self, txid: Txid) -> Option<Txid> {
        self.0.get(self.0.partition_point(|end| *end <= txid)).copied()
    }

    /// What this reaches and `other` does not.
    pub fn without(&self, other: &Reach) -> Vec<Txid> {
        self.0.iter().copied().filter(|txid| !other.ends_at(*txid)).collect()
    }
}

impl Span {
    /// Ascending transactions as few spans: neighbours among the ends of `reach` belong together.
    pub(super) fn of(txids: &[Txid], reach: &Reach) -> Vec<Span> {
        let follows = |a: &Txid, b: &Txid| reach.behind(*a) == Some(*b);
        txids.chunk_by(follows).map(|run| Span { first: run[0], last: run[run.len() - 1] }).collect()
    }
}

/// Whether files with these spans hold all of `wanted` together.
pub fn cover(spans: impl Iterator<Item = Span>, wanted: Span) -> bool {
    let mut spans: Vec<Span> = spans.filter(|s| s.last >= wanted.first && s.first <= wanted.last).collect();
    spans.sort_unstable_by_key(|span| span.first);
    let mut next = wanted.first;
    for span in spans {
        if span.first > next {
            return false;
        }
        if span.last >= wanted.last {
            return true;
        }
        if let Some(behind) = span.last.next() {
            next = next.max(behind);
        }
    }
    false
}
