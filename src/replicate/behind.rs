//! Is the database here exactly an earlier state of the history, with no commit of its own?
//!
//! A node that ended in order, or was killed when everything was in the replica, and comes back
//! after another node had its turn; a power loss that took the last frames of the WAL. Such a disk
//! has nothing that the history has not, so it is replaced by the newest state before the
//! application starts (`run/forward.rs`). A disk with commits of its own is not behind: what
//! becomes of it is decided later (`start.rs`).
//!
//! Proofs, the cheapest first; what is not proved is not behind:
//!
//! 1. the note of how far this disk is in step names the frame of the WAL, or says that the file is
//!    that TXID, and nothing follows;
//! 2. a level-0 object ends at the very frame at which the WAL ends, and its pages are the pages of
//!    those frames;
//! 3. every page is what the history has at the TXID of the note.
//!
//! The history may have gone on from this very disk, too: what proves that it is the end is looked
//! for first.

use std::path::PathBuf;

use super::by_note;
use super::difference::is_exactly;
use super::look::{End, Seen, look};
use super::not_known::{LOOK_TIME, NotKnown};
use super::on_thread::{OnThread, blocking};
use super::start::fetch_pages;
use crate::db::{Db, Position, Side, Tuning, WalRelation, litestream_was_here};
use crate::ltx::{Header, Txid};
use crate::page::PageSize;
use crate::remote::{Level, Listing, LtxObject, Remote};
use crate::state::{LastSynced, LocalState, ReplicaState, ResetOrder, SyncedTo};

/// A database that is an earlier state of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    pub here: Txid,
    pub page_size: PageSize,
    pub pages: u32,
    /// Where the history ends.
    pub end: Txid,
}

/// The database to look at.
#[derive(Clone, Debug)]
pub struct Place {
    pub path: PathBuf,
    pub meta_path: PathBuf,
    pub tuning: Tuning,
}

/// Looks whether the database is behind. No other task of this process may have it open; the lock
/// must be held.
pub async fn look_behind(place: &Place, remote: &Remote) -> Result<Option<Behind>, NotKnown> {
    let state = LocalState::open(&place.path, &place.meta_path);
    let replica = state.replica(remote.address());
    let (noted, of_replica) = (state.clone(), replica.clone());
    let last_synced = blocking(move || {
        // What was captured here and never uploaded is a commit of its own.
        let is_spill_empty = noted.spill().is_ok_and(|spill| spill.is_empty());
        (noted.reset_order() != ResetOrder::ThisFile && is_spill_empty).then(|| of_replica.last_synced())
    });
    let Some(last_synced) = last_synced.await else { return Ok(None) };
    let silent = |_| NotKnown::Silent(remote.address().to_owned());
    let Seen { listing, end, .. } = tokio::time::timeout(LOOK_TIME, look(remote)).await.map_err(silent)??;
    let Some(end) = end else { return Ok(None) };
    let (opened, tuning) = (place.path.clone(), place.tuning);
    let db = blocking(move || Db::open(&opened, tuning)).await?;
    let notes = (state, replica);
    let mut search = Search { place, remote, notes, last_synced, db: OnThread::new(db) };
    let found = match search.is_the_end(&end).await? {
        true => None,
        false => search.earlier(&end, &listing).await?,
    };
    let (page_size, pages) = search.ask(|db| db.size()).await;
    Ok(found.filter(|here| *here < end.txid).map(|here| Behind { here, page_size, pages, end: end.txid }))
}

struct Search<'a> {
    place: &'a Place,
    remote: &'a Remote,
    notes: (LocalState, ReplicaState),
    last_synced: LastSynced,
    db: OnThread<Db>,
}

impl Search<'_> {
    async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Db) -> T + Send + 'static) -> T {
        self.db.with(|db| question(db)).await
    }

    /// Whether the database came to the end of the history, and perhaps went on from there.
    async fn is_the_end(&mut self, end: &End) -> Result<bool, NotKnown> {
        if self.is_at_by_note(end.txid).await?.is_some() {
            return Ok(true);
        }
        let Some((object, header)) = &end.l0 else { return Ok(false) };
        let (place, newest) = (self.place.clone(), *header);
        let (was_made_here, side) = self
            .ask(move |db| {
                let by_litestream = litestream_was_here(&place.path, &place.meta_path, &newest);
                (by_litestream || db.wal_relation(&newest) == WalRelation::Later, db.side_of(&newest))
            })
            .await;
        Ok(was_made_here
            || matches!(side, Side::Before | Side::Here) && self.confirmed(header, object).await?.is_some())
    }

    /// The TXID that it is, if it is one.
    async fn earlier(&mut self, end: &End, listing: &Listing) -> Result<Option<Txid>, NotKnown> {
        if let Some(txid) = self.last_synced.txid()
            && let Some(position) = self.is_at_by_note(txid).await?
            && self.ask(move |db| db.ends_at(&position)).await
        {
            return Ok(Some(txid));
        }
        if let Some(txid) = self.by_wal(listing).await? {
            return Ok(Some(txid));
        }
        let Some(txid) = self.synced_and_sent(listing).await?.filter(|txid| *txid < end.txid) else { return Ok(None) };
        Ok(is_exactly(&self.db, self.remote, listing, txid).await?.then_some(txid))
    }

    /// How far the history is this disk's own, with the object that was under way when its
    /// replicator was killed.
    async fn synced_and_sent(&self, listing: &Listing) -> Result<Option<Txid>, NotKnown> {
        let noted = self.last_synced.txid();
        let next = noted.and_then(Txid::next);
        let Some(object) = listing.level(Level::L0).iter().find(|object| Some(object.min_txid) == next) else {
            return Ok(noted);
        };
        let header = self.remote.check_header(object).await?.ok();
        Ok(self.last_synced.synced_to(header.as_ref()).and_then(SyncedTo::txid))
    }

    /// Where `txid` is found here, by a note.
    async fn is_at_by_note(&self, txid: Txid) -> Result<Option<Position>, NotKnown> {
        let ((state, replica), synced) = (self.notes.clone(), self.last_synced.resume_point());
        let look = move |db: &Db| {
            let points = synced.into_iter().chain(replica.resume_point(txid));
            by_note::position_of(db, (&state, &replica), None, txid, points)
        };
        Ok(self.ask(look).await?)
    }

    /// The level-0 object that ends where the WAL ends. Objects made from one WAL end further and
    /// further in it, so it is found by halving.
    async fn by_wal(&mut self, listing: &Listing) -> Result<Option<Txid>, NotKnown> {
        let objects = listing.level(Level::L0);
        let (mut from, mut to) = (0, objects.len());
        while from < to {
            let at = from + (to - from) / 2;
            let Ok(header) = self.remote.check_header(&objects[at]).await? else { return Ok(None) };
            let is_before = match self.ask(move |db| db.side_of(&header)).await {
                Side::Here => {
                    let Some(position) = self.confirmed(&header, &objects[at]).await? else { return Ok(None) };
                    let is_end = self.ask(move |db| db.ends_at(&position)).await;
                    return Ok(is_end.then_some(header.max_txid));
                }
                Side::Before => true,
                Side::Behind => false,
                // Another disk's: before this one was restored from it, or after this one had its
                // turn.
                Side::Elsewhere => self.last_synced.txid() >= Some(header.max_txid),
            };
            if is_before { from = at + 1 } else { to = at }
        }
        Ok(None)
    }

    /// The position of the object's end in the WAL, if its pages are the pages of the frames that
    /// it claims.
    async fn confirmed(&mut self, header: &Header, object: &LtxObject) -> Result<Option<Position>, NotKnown> {
        let header = *header;
        let Ok(candidate) = self.ask(move |db| db.candidate(&header)).await? else { return Ok(None) };
        let pages = match candidate.has_pages() {
            true => fetch_pages(self.remote, &candidate, object).await?,
            false => Vec::new(),
        };
        Ok(self.ask(move |db| db.confirm(&candidate, &pages)).await?)
    }
}
