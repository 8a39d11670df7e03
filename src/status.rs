//! The status board: what each database has captured and what the bucket has confirmed.
//!
//! The only state that is shared between tasks. One road writes each entry, with what runs beside it; anybody may read it.
//! Numbers only: no policy.

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
#[derive(Clone, Debug)]
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

    /// So many expired objects cannot be deleted.
    pub fn refused(&self, objects: usize, now: Instant) {
        self.0.send_if_modified(|status| {
            let since = status.refusals.map_or(now, |refusals| refusals.since);
            let refusals = (objects > 0).then_some(Refusals { objects, since });
            std::mem::replace(&mut status.refusals, refusals) != refusals
        });
    }

    /// Nothing is left to ship.
    pub fn idle(&self) {
        self.0.send_if_modified(|status| status.unshipped_since.take().is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test(start_paused = true)]
    async fn refusals_count_from_the_first_until_there_is_none() {
        let (board, mut reader) = Board::new();
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        board.refused(0, start);
        assert!(!reader.has_changed().expect("alive"), "nobody is woken for nothing");
        board.refused(2, start);
        board.refused(5, start + minute);
        assert_eq!(reader.borrow_and_update().refusals, Some(Refusals { objects: 5, since: start }));
        board.refused(5, start + minute * 2);
        assert!(!reader.has_changed().expect("alive"));
        board.refused(0, start + minute * 3);
        assert_eq!(reader.borrow_and_update().refusals, None);
        board.refused(1, start + minute * 4);
        assert_eq!(reader.borrow_and_update().refusals, Some(Refusals { objects: 1, since: start + minute * 4 }));
    }
}
