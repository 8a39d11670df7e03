//! The status: what each database has captured and what the bucket has confirmed.
//!
//! The only state that is shared between tasks. One replication writes each entry, with its
//! retention, and whoever proves the replica writes the entry beside it; anybody may read them.
//! Numbers and facts only: no policy.
//!
//! I3: `confirmed ≤ captured`, and each moves only after the bytes are durable where it says that
//! they are. I8: [`Status::unshipped_since`] is the figure of health: it is there whenever
//! something waits for its upload, for whatever reason.

mod counts;
mod positions;
mod proxied;
mod restores;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::ltx::Txid;

pub use counts::{Counts, Tallied};
pub use positions::Positions;
pub use proxied::{Proxied, ProxyCounts, ProxyOutcome, Waited};
pub use restores::{RestoreMade, Restores};

/// How far one database is safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Newest TXID that is captured: encoded, and safe from a reset of the WAL.
    pub captured: Option<Txid>,
    /// Newest TXID that the bucket has confirmed.
    pub confirmed: Option<Txid>,
    /// When the bucket confirmed the newest object, Unix milliseconds.
    pub confirmed_at_ms: Option<i64>,
    /// When the oldest commit that is not confirmed yet was noticed.
    pub unshipped_since: Option<Instant>,
    /// Since when the bucket does not take uploads; `None`: it does, as far as is known.
    pub outage_since: Option<Instant>,
    /// Expired objects that the bucket does not let go of; `None`: there is no such object.
    pub refusals: Option<Refusals>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusals {
    pub objects: usize,
    /// When the first of them was refused; it has not been zero since.
    pub since: Instant,
}

impl Status {
    /// Age of the oldest commit that the bucket does not have: the health figure.
    pub fn unshipped_for(&self, now: Instant) -> Option<Duration> {
        self.unshipped_since.map(|since| now.saturating_duration_since(since))
    }
}

/// The writing side of one entry.
#[derive(Debug)]
pub struct StatusWriter {
    status: watch::Sender<Status>,
    counts: Arc<Counts>,
    /// What is captured and not confirmed, each with the moment after which its first commit was
    /// made: that of the capture before. Under sustained writes there is always something to ship,
    /// and only this tells how old it is.
    underway: VecDeque<(Txid, Instant)>,
    /// When the newest capture was made.
    captured_at: Option<Instant>,
}

impl StatusWriter {
    pub fn new() -> (StatusWriter, watch::Receiver<Status>) {
        let (sender, receiver) = watch::channel(Status::default());
        let (counts, underway) = (Arc::default(), VecDeque::new());
        (StatusWriter { status: sender, counts, underway, captured_at: None }, receiver)
    }

    /// What is counted for this entry.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    pub fn get(&self) -> Status {
        *self.status.borrow()
    }

    /// There is something to ship that was not there before `now`.
    pub fn noticed(&self, now: Instant) {
        self.status.send_modify(|status| {
            status.unshipped_since.get_or_insert(now);
        });
    }

    /// Everything that was committed before `now` is captured, as the TXIDs up to `txid`.
    pub fn captured(&mut self, txid: Txid, now: Instant) {
        let mut since = self.captured_at.replace(now).filter(|_| !self.underway.is_empty());
        // Files that were merged before they were sent have fewer TXIDs.
        while let Some((_, older)) = self.underway.pop_back_if(|(last, _)| *last >= txid) {
            since = Some(older);
        }
        let since = since.or(self.get().unshipped_since).unwrap_or(now);
        self.underway.push_back((txid, since));
        self.status.send_modify(|status| status.captured = Some(txid));
    }

    /// The bucket has not taken uploads since then. What is known already stays.
    pub fn outage_began(&self, since: Instant) {
        self.status.send_if_modified(|status| {
            let is_new = status.outage_since.is_none();
            status.outage_since.get_or_insert(since);
            is_new
        });
    }

    /// It does again.
    pub fn outage_ended(&self) {
        self.status.send_if_modified(|status| status.outage_since.take().is_some());
    }

    /// The bucket has everything up to `txid`, which it said at `at_ms`. A watermark never goes
    /// back, and never beyond what was captured.
    pub fn confirmed(&mut self, txid: Txid, at_ms: i64) {
        while self.underway.pop_front_if(|(first, _)| *first <= txid).is_some() {}
        let next = self.underway.front().map(|&(_, since)| since).or(self.captured_at);
        self.status.send_modify(|status| {
            assert!(status.confirmed <= Some(txid), "the confirmed watermark went back to {txid}");
            status.confirmed = Some(txid);
            status.confirmed_at_ms = Some(at_ms);
            status.outage_since = None;
            status.captured = status.captured.max(Some(txid));
            status.unshipped_since = status.unshipped_since.map(|since| next.unwrap_or(since));
        });
    }

    /// For retention, which runs beside replication.
    pub fn refusals(&self) -> RefusalWriter {
        RefusalWriter(self.status.clone(), self.counts.clone())
    }

    /// Nothing is left to ship.
    pub fn idle(&mut self) {
        self.underway.clear();
        self.status.send_if_modified(|status| status.unshipped_since.take().is_some());
    }
}

/// The writing side of [`Status::refusals`].
#[derive(Clone, Debug)]
pub struct RefusalWriter(watch::Sender<Status>, Arc<Counts>);

impl RefusalWriter {
    /// What is counted for this entry.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.1
    }

    /// So many expired objects cannot be deleted.
    pub fn refused(&self, objects: usize, now: Instant) {
        self.0.send_if_modified(|status| {
            let since = status.refusals.map_or(now, |refusals| refusals.since);
            let refusals = (objects > 0).then_some(Refusals { objects, since });
            std::mem::replace(&mut status.refusals, refusals) != refusals
        });
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
    /// What was found since then; `None`: nothing, or nothing was looked at.
    pub failed: Option<String>,
}

/// The writing side of one entry.
#[derive(Debug)]
pub struct ProofWriter(watch::Sender<Proofs>);

impl ProofWriter {
    pub fn new() -> (ProofWriter, watch::Receiver<Proofs>) {
        let (sender, receiver) = watch::channel(Proofs::default());
        (ProofWriter(sender), receiver)
    }

    pub fn proven(&self, proof: Proof) {
        self.0.send_replace(Proofs { proven: Some(proof), failed: None });
    }

    /// What was proven before stays in the status.
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

    const fn txid(n: u64) -> Txid {
        Txid::new(n).expect("not zero")
    }

    #[test]
    fn what_is_proven_needs_no_second_proof() {
        let (writer, reader) = ProofWriter::new();
        let (first, second) = (Txid::FIRST, Txid::FIRST.next().expect("two"));
        assert!(!writer.wants(None), "there is nothing to prove");
        assert!(writer.wants(Some(first)));
        writer.proven(Proof { txid: first, at_ms: 5, deep: true });
        assert!(!writer.wants(Some(first)) && writer.wants(Some(second)));
        writer.failed("a gap".into());
        assert!(writer.wants(Some(first)), "what failed is looked at again");
        assert_eq!(reader.borrow().proven.map(|proof| proof.at_ms), Some(5));
        writer.proven(Proof { txid: second, at_ms: 6, deep: true });
        assert_eq!(reader.borrow().failed, None);
    }

    #[tokio::test(start_paused = true)]
    async fn age_counts_from_the_first_unshipped_commit() {
        let (mut writer, reader) = StatusWriter::new();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let age = |writer: &StatusWriter| writer.get().unshipped_for(at(100)).map(|age| 100 - age.as_secs());
        writer.noticed(at(0));
        writer.noticed(at(5));
        assert_eq!(age(&writer), Some(0));
        writer.captured(txid(1), at(6));
        assert_eq!(age(&writer), Some(0), "captured is not shipped");
        writer.captured(txid(2), at(8));
        writer.captured(txid(3), at(9));
        writer.confirmed(txid(1), 10);
        assert_eq!(age(&writer), Some(6), "the first commit of 2 was made after the capture of 1");
        // 2 and 3 became one file.
        writer.captured(txid(2), at(10));
        writer.confirmed(txid(2), 20);
        assert_eq!(age(&writer), Some(10), "what is committed now was committed after the last capture");
        writer.idle();
        assert_eq!(age(&writer), None);
        let status = *reader.borrow();
        assert_eq!((status.confirmed, status.confirmed_at_ms), (Some(txid(2)), Some(20)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_lasts_until_something_arrives() {
        let (mut writer, reader) = StatusWriter::new();
        let start = Instant::now();
        writer.outage_began(start);
        writer.outage_began(start + Duration::from_secs(60));
        assert_eq!(reader.borrow().outage_since, Some(start));
        writer.confirmed(txid(1), 7);
        assert_eq!(reader.borrow().outage_since, None);
        writer.outage_began(start);
        writer.outage_ended();
        assert_eq!(reader.borrow().outage_since, None);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_count_from_the_first_until_there_is_none() {
        let (writer, mut reader) = StatusWriter::new();
        let writer = writer.refusals();
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        writer.refused(0, start);
        assert!(!reader.has_changed().expect("alive"), "nobody is woken for nothing");
        writer.refused(2, start);
        writer.refused(5, start + minute);
        assert_eq!(reader.borrow_and_update().refusals, Some(Refusals { objects: 5, since: start }));
        writer.refused(5, start + minute * 2);
        assert!(!reader.has_changed().expect("alive"));
        writer.refused(0, start + minute * 3);
        assert_eq!(reader.borrow_and_update().refusals, None);
        writer.refused(1, start + minute * 4);
        assert_eq!(reader.borrow_and_update().refusals, Some(Refusals { objects: 1, since: start + minute * 4 }));
    }
}
