//! The bucket: claims, beats and the log. Every request is carried out at one moment, or never.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::claim::core::Access;
use crate::claim::seen::{Seen, SeenClaim};
use crate::claim::wire::{Beat, Claim};
use crate::remote::Epoch;

/// A process, for ever. No two have the same number.
pub type Life = u32;

/// An object of the log: a seal has no rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub by: Life,
    /// The container of that process.
    pub at: usize,
    pub serial: u32,
    pub rows: Vec<u32>,
}

#[derive(Clone, Debug)]
pub enum Request {
    Look,
    Peek(Epoch),
    Claim(Epoch, Arc<Claim>),
    Beat(Epoch, Beat),
    Remove(Vec<Epoch>),
    ReadBeat(Epoch),
    /// How long the log is.
    Tail,
    /// Create the object of this TXID.
    Append(usize, Arc<Batch>),
}

impl Request {
    /// What has to be permitted for it.
    pub fn access(&self) -> Option<Access> {
        match self {
            Request::Look | Request::Peek(_) | Request::ReadBeat(_) => Some(Access::Read),
            Request::Claim(..) | Request::Beat(..) => Some(Access::Create),
            Request::Remove(_) | Request::Tail | Request::Append(..) => None,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Answer {
    Seen(Seen),
    Exists(bool),
    Created(bool),
    Done,
    Beat(Option<Beat>),
    Tail(usize),
    /// Whose the object is.
    Appended(Arc<Batch>),
    /// It is not permitted, and was not done.
    Denied,
}

#[derive(Default)]
pub struct Bucket {
    pub claims: BTreeMap<Epoch, (Arc<Claim>, i64)>,
    pub beats: BTreeMap<Epoch, Beat>,
    pub log: Vec<Arc<Batch>>,
    /// The highest number that was ever given.
    pub highest: Option<Epoch>,
}

/// Which beats are read beside the newest ones.
const ALWAYS_READ: usize = 4;

impl Bucket {
    /// Carries a request out. `now_ms` is the time of the bucket.
    pub fn carry_out(&mut self, request: &Request, now_ms: i64) -> Answer {
        match request {
            Request::Look => Answer::Seen(self.seen()),
            Request::Peek(epoch) => Answer::Exists(self.claims.contains_key(epoch)),
            Request::Claim(epoch, claim) => {
                let is_new = !self.claims.contains_key(epoch);
                if is_new {
                    self.claims.insert(*epoch, (claim.clone(), now_ms));
                    self.highest = self.highest.max(Some(*epoch));
                }
                Answer::Created(is_new)
            }
            Request::Beat(epoch, beat) => {
                self.beats.insert(*epoch, beat.clone());
                Answer::Done
            }
            Request::Remove(epochs) => {
                for epoch in epochs {
                    self.claims.remove(epoch);
                    self.beats.remove(epoch);
                }
                Answer::Done
            }
            Request::ReadBeat(epoch) => Answer::Beat(self.beats.get(epoch).cloned()),
            Request::Tail => Answer::Tail(self.log.len()),
            Request::Append(at, batch) => {
                if *at == self.log.len() {
                    self.log.push(batch.clone());
                }
                Answer::Appended(self.log[*at].clone())
            }
        }
    }

    fn seen(&self) -> Seen {
        let mut seen = BTreeMap::new();
        let mut is_over = false;
        for (at, (epoch, (claim, modified_ms))) in self.claims.iter().rev().enumerate() {
            let beat = self.beats.get(epoch);
            // What stands below does not count, and is not read.
            let is_read = !is_over || at < ALWAYS_READ;
            is_over |= beat.is_some_and(|beat| beat.sealed);
            let beat = beat.filter(|beat| is_read || beat.is_released()).cloned();
            seen.insert(*epoch, SeenClaim { claim: claim.clone(), modified_ms: *modified_ms, beat });
        }
        Seen(seen)
    }
}
