//! Callers that ask for a sync, as an application does that must know its commits in the bucket
//! before it goes on; some for a checkpoint, too.

use super::bucket::Bucket;
use super::oracle::{Oracle, Violation};
use crate::ltx::Txid;
use crate::replicate::core::{SyncError, SyncId};

/// An answer is this late at most.
const LATE_MS: u64 = 10;

/// A request that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub node: usize,
    pub id: SyncId,
    /// How many commits there were, and the last of them.
    committed: Option<(usize, u32)>,
    by_ms: u64,
    /// Nothing is in the way: it must be answered before its deadline.
    is_in_peace: bool,
    /// It waits until the WAL is in the database file, too.
    checkpoints: bool,
}

#[derive(Debug, Default)]
pub struct Callers {
    waiting: Vec<Caller>,
    asked: u64,
}

impl Callers {
    pub fn ask(&mut self, node: usize, content: &[u32], by_ms: u64, is_in_peace: bool) -> SyncId {
        self.asked += 1;
        let id = SyncId(self.asked);
        let committed = content.last().map(|last| (content.len(), *last));
        self.waiting.push(Caller { node, id, committed, by_ms, is_in_peace, checkpoints: false });
        id
    }

    /// The last one that asked asks for a checkpoint.
    pub fn wants_checkpoint(&mut self) {
        self.waiting.last_mut().expect("one has asked").checkpoints = true;
    }

    /// A process is gone, and who waited for it hears that from the operating system.
    pub fn gone(&mut self, node: usize) {
        self.waiting.retain(|caller| caller.node != node);
    }

    /// Every request that the node has not answered.
    pub fn of(&self, node: usize) -> Vec<SyncId> {
        self.waiting.iter().filter(|caller| caller.node == node).map(|caller| caller.id).collect()
    }

    /// What was committed when it was asked for must be in the bucket, and no caller is told too
    /// early that there was no time.
    pub fn answered(
        &mut self,
        id: SyncId,
        answer: &Result<Option<Txid>, SyncError>,
        now_ms: u64,
        bucket: &Bucket,
        oracle: &Oracle,
        in_file: usize,
    ) -> Result<(), Violation> {
        let Some(at) = self.waiting.iter().position(|caller| caller.id == id) else {
            return Err(format!("{id:?} was answered twice"));
        };
        let Caller { node, committed, by_ms, is_in_peace, checkpoints, .. } = self.waiting.swap_remove(at);
        match answer {
            Ok(_) if checkpoints && committed.is_some_and(|(count, _)| in_file < count) => {
                Err(format!("{id:?} was told that the WAL is in the file, and {in_file} commits are"))
            }
            Ok(_) => oracle.holds(node, committed, bucket),
            Err(SyncError::TimedOut { .. } | SyncError::NotReset { .. }) if now_ms < by_ms => {
                Err(format!("{id:?} timed out too early"))
            }
            Err(SyncError::TimedOut { .. } | SyncError::NotReset { .. }) if is_in_peace => {
                Err(format!("{id:?} was never answered"))
            }
            Err(_) => Ok(()),
        }
    }

    /// No caller waits longer than the deadline.
    pub fn check(&self, now_ms: u64) -> Result<(), Violation> {
        match self.waiting.iter().find(|caller| now_ms > caller.by_ms + LATE_MS) {
            Some(caller) => Err(format!("{:?} on node {} waits beyond its deadline", caller.id, caller.node)),
            None => Ok(()),
        }
    }
}
