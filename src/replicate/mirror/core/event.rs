//! What happens to the core of a mirror, and what it asks for in return.

use std::time::Duration;

use tokio::time::Instant;

use crate::ltx::Txid;

#[derive(Debug)]
pub enum Event {
    /// Everything up to this TXID has its number for good, and can be read somewhere.
    Final(Txid),
    /// The first replica takes nothing, or does again.
    FirstIsAway(bool),
    Looked(Result<Found, Trouble>),
    /// The mirror has the object of this TXID.
    Copied(Result<Txid, Trouble>),
    /// It has a snapshot of this TXID.
    BegunAnew(Result<Txid, Trouble>),
    /// It must have everything by then; nothing more becomes final.
    Finish(Instant),
    /// The moment has come that [`Core::wake_at`] named.
    Timer,
}

/// What a look at the mirror has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Empty,
    /// It ends with this TXID of the database's history.
    Same(Txid),
    /// It ends with this TXID, and only an earlier part is known to be the database's history.
    SameBefore(Txid),
    Foreign(String),
}

/// Why an order was not carried out, by what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Try again. `refused` says that time alone does not cure it.
    Passing { why: String, refused: bool },
    /// What was to be copied is nowhere any more, or does not continue what the mirror has.
    Gone,
    /// The mirror has another history.
    Foreign(String),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    Look,
    /// Create this level-0 object in the mirror.
    Copy(Txid),
    /// Create a snapshot that ends behind this TXID.
    BeginAnew(Option<Txid>),
    /// The mirror has everything up to there.
    Confirmed(Txid),
    /// Compaction, snapshots and retention may work on it, or must not any more.
    Maintain(bool),
    Say(Notice),
}

/// For the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    Outage { why: String, lasting: Duration },
    Back { after: Duration },
    Refused(String),
    BegunAnew(Txid),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The mirror has everything up to there.
    pub newest: Option<Txid>,
    /// Why that is not all.
    pub why: Option<String>,
}
