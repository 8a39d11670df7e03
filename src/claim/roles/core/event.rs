//! What a core is told, and what it wants to be done.

use std::time::Duration;

pub use crate::claim::core::{Access, Claimed, Outcome, Stop, Trouble};
use crate::claim::seen::{Seen, Why};
use crate::claim::wire::Beat;
use crate::remote::Epoch;

#[derive(Clone, Debug)]
pub enum Event {
    Looked(Result<Seen, Trouble>),
    Observed(Result<Observed, Trouble>),
    Claimed(Result<Claimed, Trouble>),
    /// The beat was written; after that, whether there was a later claim.
    Renewed(Result<bool, Trouble>),
    /// Old claims are removed, or will be another time.
    Removed,
    CaughtUp(Reach),
    /// Every database is at the newest state, and has one more TXID, which this process created.
    Sealed,
    /// No application can commit here, and what was committed is in the replicas; after
    /// [`Event::Fenced`], or at the end of the time for it, what can still be had there is.
    Drained,
    /// Another writer has created the next TXID.
    Fenced,
    /// A person wants this node to be the primary.
    Promote,
    /// A person wants another node to be it: this instance, or any.
    HandOver(Option<String>),
    /// The process is to end.
    Stop(Stop),
    /// Something has happened to the primary, perhaps: it is worth a look.
    Woke,
    /// The moment has come that [`super::Core::wake_at`] named.
    Timer,
}

/// The newest claim that was known, looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    pub beat: Option<Beat>,
    /// There is a later claim.
    pub has_later: bool,
}

/// How far the databases of a follower are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything that a listing showed, which was asked for after [`Effect::CatchUp`].
    Everything,
    /// There is no history, and no database here.
    Nothing,
    /// Something is missing still, or it cannot be told.
    Behind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read the claims and the beats that count.
    Look,
    /// Read the beat of this claim, and whether there is a later one.
    Observe(Epoch),
    Claim {
        epoch: Epoch,
        parent: Option<Epoch>,
        why: Why,
    },
    /// Write the beat, and once that is done look whether there is a later claim.
    Renew {
        epoch: Epoch,
        beat: Beat,
    },
    Remove(Vec<Epoch>),
    /// Keep live copies of the databases; no application can write.
    Follow,
    /// Install what a new listing shows; answered by [`Event::CaughtUp`].
    CatchUp,
    /// Bring every database to the newest state, and create its next TXID. It is tried until it is
    /// done, and no request is sent after [`super::Core::valid_until`].
    Seal,
    /// The application may write.
    Open,
    /// Before this time by the boot clock no application may write here any more. What was
    /// committed is uploaded still.
    Close(Duration),
    /// No application may write from now on; upload what was committed. It is tried until it is
    /// done, or another writer is met.
    Drain,
    Say(Notice),
}

/// For the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Claims cannot be read or written.
    Outage(String),
    Back,
    /// This node has the newest claim, and the node that it names may still write.
    WaitsFor(String),
    /// It has not answered in time.
    TakenForDead(String),
    /// This node has a later claim.
    SupersededBy(String),
    Claims(Why),
    /// The claim cannot be renewed, and others may go on soon.
    Closed,
    /// It is renewed, and no one has claimed meanwhile.
    Reopened,
    /// It would claim, and is not at the newest state.
    IsBehind,
    /// It has the claim, and cannot create the next TXIDs.
    CannotSeal,
}
