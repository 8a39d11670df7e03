//! What a batch is, and what waits to be sent.

use crate::db::{Batch, ImageReason};
use crate::ltx::Txid;

/// What one level-0 file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// What changed since the TXID before it.
    Delta,
    /// Nothing has changed: it only takes the next TXID.
    Seal,
    /// The whole database; the history leads up to it all the same.
    Image(ImageReason),
    /// The whole database, and no restore gets from what came before to it: it is followed by a
    /// snapshot of itself.
    Rebase(ImageReason),
    /// The whole database, only because the WAL cannot tell whether less will do: it is compared
    /// with the bucket first.
    Unverified(ImageReason),
}

impl BatchKind {
    /// Of a batch that was just captured.
    pub fn captured(batch: &Batch) -> BatchKind {
        match batch.doubt() {
            Some(reason) => BatchKind::Unverified(reason),
            None => BatchKind::verified(batch),
        }
    }

    /// Of a batch that was compared with the bucket where that was called for.
    pub fn verified(batch: &Batch) -> BatchKind {
        match batch.image {
            None if batch.is_seal => BatchKind::Seal,
            None => BatchKind::Delta,
            Some(reason) if reason.begins_anew() => BatchKind::Rebase(reason),
            Some(reason) => BatchKind::Image(reason),
        }
    }

    pub fn is_image(self) -> bool {
        !matches!(self, BatchKind::Delta | BatchKind::Seal)
    }
}

/// Captured, and not known to be in the bucket. Local files come before the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// First and last TXID of the local files.
    pub files: Option<(Txid, Txid)>,
    pub batch: Option<Waiting>,
}

/// The batch that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub txid: Txid,
    pub kind: BatchKind,
    /// Its bytes are in memory; else they are read from the WAL or the database while it is sent.
    pub in_memory: bool,
}

/// Where the next object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    File(Txid),
    Memory(Txid),
    Database(Txid),
    /// It has to be compared first.
    Unverified(Txid),
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.front().is_none()
    }

    /// What has to be sent next.
    pub fn front(&self) -> Option<Front> {
        match (self.files, self.batch) {
            (Some((first, _)), _) => Some(Front::File(first)),
            (None, Some(batch)) if matches!(batch.kind, BatchKind::Unverified(_)) => {
                Some(Front::Unverified(batch.txid))
            }
            (None, Some(batch)) if batch.in_memory => Some(Front::Memory(batch.txid)),
            (None, Some(batch)) => Some(Front::Database(batch.txid)),
            (None, None) => None,
        }
    }

    /// The newest TXID that has its number for good.
    pub fn last(&self) -> Option<Txid> {
        let numbered = self.batch.filter(|batch| !matches!(batch.kind, BatchKind::Unverified(_)));
        numbered.map(|batch| batch.txid).or(self.files.map(|(_, last)| last))
    }
}

impl Front {
    pub fn txid(self) -> Txid {
        match self {
            Front::File(txid) | Front::Memory(txid) | Front::Database(txid) | Front::Unverified(txid) => txid,
        }
    }
}
