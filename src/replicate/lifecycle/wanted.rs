//! A snapshot is wanted now, whenever the last one was made.

use std::collections::BTreeMap;

use super::Policy;
use super::schedule::{self, MAX_INPUTS, Step, View};
use crate::ltx::Txid;
use crate::remote::{Level, Listing, LtxObject, plan};
use crate::replicate::mailbox::{SnapshotError, SnapshotReply};

/// One request.
#[derive(Debug)]
pub struct Wanted {
    /// The snapshot must hold this.
    pub txid: Txid,
    pub reply: SnapshotReply,
}

impl Wanted {
    pub fn answer(self, answer: Result<Txid, SnapshotError>) {
        // Who has asked may be gone.
        let _ = self.reply.send(answer);
    }
}

/// Answers whom it can, and says what to merge for the others.
pub fn next(
    wanted: &mut Vec<Wanted>,
    listing: &Listing,
    newest: Txid,
    images: &BTreeMap<Txid, bool>,
    policy: &Policy,
) -> Option<(Level, Vec<LtxObject>)> {
    let is_whole = |o: &&LtxObject| o.min_txid == Txid::FIRST && o.max_txid <= newest;
    let there = listing.level(Level::SNAPSHOT).iter().filter(is_whole).map(|o| o.max_txid).max();
    let files = plan::files_up_to(listing, newest);
    let reaches = files.last().map(|last| last.max_txid);
    for done in wanted.extract_if(.., |wanted| there >= Some(wanted.txid) || reaches < Some(wanted.txid)) {
        let answer = there.filter(|there| *there >= done.txid).ok_or(SnapshotError::NoChain);
        done.answer(answer);
    }
    if wanted.is_empty() {
        return None;
    }
    // What a full image holds need not be read again, and no merge crosses a change of the page
    // size.
    let is_image = |o: &&LtxObject| o.level == Level::L0 && images.get(&o.max_txid) == Some(&true);
    let from = files.iter().rposition(is_image).unwrap_or(0);
    let view = View { listing, newest, images, blocked: &[] };
    if files.len() - from > MAX_INPUTS
        && let Step::Compact { level, inputs } = schedule::next(&view, policy, i64::MAX)
    {
        return Some((level, inputs));
    }
    let inputs = files[from..].iter().take(MAX_INPUTS).map(|o| (*o).clone()).collect();
    Some((Level::SNAPSHOT, inputs))
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::super::testing::{listing, names, policy, txid};
    use super::*;

    fn ask(number: u64) -> (Vec<Wanted>, oneshot::Receiver<Result<Txid, SnapshotError>>) {
        let (reply, answer) = oneshot::channel();
        (vec![Wanted { txid: txid(number), reply }], answer)
    }

    #[test]
    fn a_snapshot_is_merged_from_all_there_is_and_then_answered() {
        let objects = [(9, 1, 2, 1), (1, 3, 4, 1), (0, 5, 5, 1)];
        let (mut wanted, mut answer) = ask(5);
        let images = BTreeMap::new();
        let step = next(&mut wanted, &listing(&objects), txid(5), &images, &policy()).expect("work");
        assert_eq!((step.0, names(&step.1)), (Level::SNAPSHOT, vec![(9, 1, 2), (1, 3, 4), (0, 5, 5)]));
        assert!(answer.try_recv().is_err(), "not yet");
        let done = [(9, 1, 2, 1), (1, 3, 4, 1), (0, 5, 5, 1), (9, 1, 5, 2), (0, 6, 6, 3)];
        assert_eq!(next(&mut wanted, &listing(&done), txid(6), &images, &policy()), None);
        assert_eq!(answer.try_recv(), Ok(Ok(txid(5))), "although the history has gone on");
    }

    #[test]
    fn an_image_is_where_it_begins_and_a_gap_is_said() {
        let images = BTreeMap::from([(txid(4), true)]);
        let objects = [(9, 1, 2, 1), (0, 3, 3, 1), (0, 4, 4, 1), (0, 5, 5, 1)];
        let (mut wanted, _answer) = ask(5);
        let (_, inputs) = next(&mut wanted, &listing(&objects), txid(5), &images, &policy()).expect("work");
        assert_eq!(names(&inputs), [(0, 4, 4), (0, 5, 5)]);
        let (mut wanted, mut answer) = ask(5);
        let objects = [(9, 1, 2, 1), (0, 5, 5, 1)];
        assert_eq!(next(&mut wanted, &listing(&objects), txid(5), &BTreeMap::new(), &policy()), None);
        assert_eq!(answer.try_recv(), Ok(Err(SnapshotError::NoChain)));
    }
}
