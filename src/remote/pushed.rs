//! What another node says that the bucket has.
//!
//! A primary pushes the level-0 objects that were confirmed, so that a follower need not look for
//! them. That they follow what a copy is a state of is known by the position that they begin at:
//! the TXID before, and its moment, which another history does not have.

use std::fmt;

use bytes::Bytes;

use super::Epoch;
use crate::ltx::Txid;

/// A state of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub txid: Txid,
    /// When it was captured, Unix milliseconds.
    pub timestamp_ms: i64,
}

/// One level-0 object that is in the bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The claim of the node that says so.
    pub epoch: Epoch,
    /// The state that it changes, if that node knows it.
    pub onto: Option<Position>,
    /// The state that it makes.
    pub position: Position,
    /// The object. `None`: it is to be read from the bucket.
    pub bytes: Option<Bytes>,
}

impl Pushed {
    /// What it takes to keep it.
    pub fn size(&self) -> usize {
        self.bytes.as_ref().map_or(0, Bytes::len)
    }
}

impl fmt::Debug for Pushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pushed { epoch, onto, position, bytes } = self;
        let onto = onto.map(|onto| onto.txid);
        write!(f, "Pushed({epoch:?}, {onto:?} to {position:?}, {:?} bytes)", bytes.as_ref().map(Bytes::len))
    }
}
