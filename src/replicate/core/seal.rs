//! A new holder of the history creates the next TXID before its application is started, whether
//! there is something to upload or not: nothing that an earlier holder still sends fits after that
//! (`claim/`).
//!
//! What this process created since its start counts, whatever it holds; what an earlier process
//! left here does not, because others may have gone on after that.
//!
//! Until then no request that creates an object is sent without permission: who was paused in the
//! middle of this may have been taken for dead, and its successor be the holder.

use std::time::Duration;

use super::{Common, Now};
use crate::ltx::Txid;

/// Whether objects may be created before the history is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealPermit {
    No,
    /// Before this time, by the boot clock.
    Until(Duration),
    /// At any time; nothing has to be sealed any more.
    Free,
}

impl SealPermit {
    pub fn allows(self, now: Now) -> bool {
        match self {
            SealPermit::No => false,
            SealPermit::Until(until) => now.boot < until,
            SealPermit::Free => true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    NotWanted,
    /// The first object after this TXID that gets into the bucket is the seal.
    Wanted {
        after: Option<Txid>,
    },
}

impl Seal {
    /// The history ends here, or with what an earlier process left.
    pub fn begin(permit: Option<SealPermit>, after: Option<Txid>) -> Seal {
        match permit {
            None | Some(SealPermit::Free) => Seal::NotWanted,
            Some(_) => Seal::Wanted { after },
        }
    }

    pub fn is_wanted(self) -> bool {
        self != Seal::NotWanted
    }

    /// Nothing waits: whatever is sent from now on, this process has made.
    pub fn nothing_waits(&mut self, confirmed: Option<Txid>) {
        if let Seal::Wanted { after } = self {
            *after = confirmed;
        }
    }

    /// The bucket has this TXID. Whether that sealed the history.
    pub fn is_done_by(&mut self, txid: Txid) -> bool {
        let is_done = matches!(self, Seal::Wanted { after } if Some(txid) > *after);
        if is_done {
            *self = Seal::NotWanted;
        }
        is_done
    }
}

impl Common {
    /// Whether an object may be created now.
    pub(super) fn may_create(&self, seal: Seal, now: Now) -> bool {
        !seal.is_wanted() || self.permit.is_none_or(|permit| permit.allows(now))
    }
}
