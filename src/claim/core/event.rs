//! What a core is told, and what it wants to be done.

use tokio::time::Instant;

use crate::claim::seen::{Seen, Why};
use crate::claim::wire::Beat;
use crate::remote::Epoch;

#[derive(Clone, Debug)]
pub enum Event {
    Looked(Result<Seen, Trouble>),
    /// Whether the claim after ours exists.
    Peeked(Result<bool, Trouble>),
    Claimed(Result<Claimed, Trouble>),
    Beaten(Result<(), Trouble>),
    /// Old claims are removed, or will be another time.
    Removed,
    /// Every database is at the newest state, and has one more TXID, which this process created.
    Sealed,
    /// The application has stopped, and everything that it committed is in the replicas; after
    /// [`Event::Fenced`], or at the end of the time for it, what can still be had there is. After
    /// [`Effect::Retreat`]: the application has stopped.
    Drained,
    /// Another writer has created the next TXID.
    Fenced,
    /// Another node says that it has written what is waited for here.
    Woke,
    /// The process is to end.
    Stop(Stop),
    /// The moment has come that [`super::Core::wake_at`] named.
    Timer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    Won,
    /// Another process has this number.
    Lost,
}

/// Why a request was not answered as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may have been carried out.
    Away(String),
    /// It is not permitted.
    Denied(String),
}

impl Trouble {
    pub fn why(&self) -> &str {
        match self {
            Trouble::Away(why) | Trouble::Denied(why) => why,
        }
    }
}

/// What a process has to be permitted before it can hold a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Create,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    pub deadline: Instant,
    /// The application ended by itself, and should not have.
    pub failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read the claims and the beats that count.
    Look,
    /// Does this claim exist?
    Peek(Epoch),
    Claim {
        epoch: Epoch,
        parent: Option<Epoch>,
        why: Why,
    },
    Beat(Epoch, Beat),
    Remove(Vec<Epoch>),
    /// Bring every database to the newest state, and create its next TXID. It is tried until it is
    /// done, and no request is sent after [`super::Core::seal_until`].
    Seal,
    /// The bucket is away, and the database is here: start the application without a claim. Nothing
    /// of it may be uploaded before [`Effect::Seal`].
    Alone,
    /// There is, or was, another holder: stop the application that was started without a claim, and
    /// upload nothing of it.
    Retreat,
    /// Nothing that an earlier holder sends can become part of the history any more: migrate, and
    /// start the application, unless it runs.
    Open,
    /// Stop sealing; stop the application if it runs; upload what it committed. It is tried until
    /// it is done, or another writer is met.
    Drain,
    /// Tell the other nodes to look, if they can be reached. It may be in vain: they look all the
    /// same, later.
    Wake,
    Say(Notice),
}

/// For the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Claims cannot be read or written.
    Outage(String),
    Back,
    /// This host still holds the claim.
    WaitsFor(String),
    /// It has not answered in time.
    TakenForDead(String),
    /// This host came later.
    SupersededBy(String),
    StandsBy,
    ComesBack(Why),
    /// The application is started without a claim.
    Alone,
    /// This host holds the claim, or did: the application without one is stopped.
    Retreats(String),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This process holds nothing any more, and has said so.
    Released,
    /// There was no claim to release.
    Nothing,
    /// There was no time to say so.
    Unreleased,
    /// Another writer has the history, and no claim says who it is.
    Foreign,
    /// The store does not permit this process to read or to create claims, and never has.
    Denied(Access, String),
}
