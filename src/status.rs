//! The status board: what each database has captured and what the bucket has confirmed.
//!
//! The only state that is shared between tasks. One road writes each entry, and whoever proves its replica writes the entry
//! beside it; anybody may read them. Numbers and facts only: no policy.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::ltx::Txid;

/// How far one database is safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Newest TXID that is captured: encoded, and safe from a reset of the WAL.
    pub captured: Option<Txid>,
    /// Newest TXID that the bucket has confirmed.
    pub confirmed: Option<Txid>,
    /// When the oldest commit that is not confirmed yet was noticed.
    pub unshipped_since: Option<Instant>,
}

impl Status {
    /// Age of the oldest commit that the bucket does not have: the health figure.
    pub fn unshipped_for(&self, now: Instant) -> Option<Duration> {
        self.unshipped_since.map(|since| now.saturating_duration_since(since))
    }
}

/// The writing side of one entry.
#[derive(Debug)]
pub struct Board(watch::Sender<Status>);

impl Board {
    pub fn new() -> (Board, watch::Receiver<Status>) {
        let (sender, receiver) = watch::channel(Status::default());
        (Board(sender), receiver)
    }

    pub fn get(&self) -> Status {
        *self.0.borrow()
    }

    /// There is something to ship that was not there before `now`.
    pub fn noticed(&self, now: Instant) {
        self.0.send_modify(|status| {
            status.unshipped_since.get_or_insert(now);
        });
    }

    pub fn captured(&self, txid: Txid) {
        self.0.send_modify(|status| status.captured = Some(txid));
    }

    /// The bucket has everything up to `txid`. A watermark never goes back, and never beyond what was captured.
    pub fn confirmed(&self, txid: Txid) {
        self.0.send_modify(|status| {
            assert!(status.confirmed <= Some(txid), "the confirmed watermark went back to {txid}");
            status.confirmed = Some(txid);
            status.captured = status.captured.max(Some(txid));
        });
    }

    /// Nothing is left to ship.
    pub fn idle(&self) {
        self.0.send_if_modified(|status| status.unshipped_since.take().is_some());
    }
}

/// A replica that was looked at and found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The newest transaction that it restores.
    pub txid: Txid,
    /// When that was proven, Unix milliseconds.
    pub at_ms: i64,
    /// Whether it was really restored.
    pub deep: bool,
}

/// What is known about how far a replica restores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proofs {
    /// The moment last proven restorable.
    pub proven: Option<Proof>,
    /// What was found since then; `None`: nothing, or nobody looked.
    pub failed: Option<String>,
}

/// The writing side of one entry.
#[derive(Debug)]
pub struct ProofBoard(watch::Sender<Proofs>);

impl ProofBoard {
    pub fn new() -> (ProofBoard, watch::Receiver<Proofs>) {
        let (sender, receiver) = watch::channel(Proofs::default());
        (ProofBoard(sender), receiver)
    }

    pub fn proven(&self, proof: Proof) {
        self.0.send_replace(Proofs { proven: Some(proof), failed: None });
    }

    /// What was proven before stays on the board.
    pub fn failed(&self, why: String) {
        self.0.send_modify(|proofs| proofs.failed = Some(why));
    }

    /// Whether there is something that was not proven yet.
    pub fn wants(&self, confirmed: Option<Txid>) -> bool {
        let proofs = self.0.borrow();
        confirmed.is_some() && (proofs.failed.is_some() || proofs.proven.map(|proof| proof.txid) < confirmed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proven_needs_no_second_proof() {
        let (board, reader) = ProofBoard::new();
        let (first, second) = (Txid::FIRST, Txid::FIRST.next().expect("two"));
        assert!(!board.wants(None), "there is nothing to prove");
        assert!(board.wants(Some(first)));
        board.proven(Proof { txid: first, at_ms: 5, deep: true });
        assert!(!board.wants(Some(first)) && board.wants(Some(second)));
        board.failed("a gap".into());
        assert!(board.wants(Some(first)), "what failed is looked at again");
        assert_eq!(reader.borrow().proven.map(|proof| proof.at_ms), Some(5));
        board.proven(Proof { txid: second, at_ms: 6, deep: true });
        assert_eq!(reader.borrow().failed, None);
    }

    #[tokio::test(start_paused = true)]
    async fn age_counts_from_the_first_unshipped_commit() {
        let (board, reader) = Board::new();
        let start = Instant::now();
        board.noticed(start);
        board.noticed(start + Duration::from_secs(5));
        let age = |status: Status| status.unshipped_for(start + Duration::from_secs(7));
        assert_eq!(age(board.get()), Some(Duration::from_secs(7)));
        board.captured(Txid::FIRST);
        board.confirmed(Txid::FIRST);
        board.idle();
        assert_eq!(age(*reader.borrow()), None);
        assert_eq!(reader.borrow().confirmed, Some(Txid::FIRST));
    }
}
