//! Callers that ask for a sync, as an application does that must know its commits in the bucket
//! before it goes on; some for a checkpoint, too, and some only for the TXID that their commits are
//! in, or will be.

use super::bucket::{Bucket, Object};
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
    wants: Wants,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    Sync,
    /// It waits until the WAL is in the database file, too.
    Checkpoint,
    Position,
}

/// What a node has when it answers.
#[derive(Clone, Copy, Debug)]
pub struct Here {
    /// Commits in the database file.
    pub in_file: usize,
    /// Everything that is captured is confirmed: what it calls its newest TXID is in the bucket.
    pub is_settled: bool,
}

/// A caller was told that its commits are, or will be, in this TXID.
#[derive(Clone, Copy, Debug)]
struct Promise {
    node: usize,
    txid: u64,
    committed: (usize, u32),
}

#[derive(Debug, Default)]
pub struct Callers {
    waiting: Vec<Caller>,
    promises: Vec<Promise>,
    asked: u64,
}

impl Callers {
    pub fn ask(&mut self, node: usize, wants: Wants, content: &[u32], by_ms: u64, is_in_peace: bool) -> SyncId {
        self.asked += 1;
        let id = SyncId(self.asked);
        let committed = content.last().map(|last| (content.len(), *last));
        self.waiting.push(Caller { node, id, committed, by_ms, is_in_peace, wants });
        id
    }

    /// A process is gone, and who waited for it hears that from the operating system.
    pub fn gone(&mut self, node: usize) {
        self.waiting.retain(|caller| caller.node != node);
        self.forget_promises(node);
    }

    /// What was committed there may be gone.
    pub fn forget_promises(&mut self, node: usize) {
        self.promises.retain(|promise| promise.node != node);
    }

    /// Every request that the node has not answered.
    pub fn of(&self, node: usize) -> Vec<SyncId> {
        self.waiting.iter().filter(|caller| caller.node == node).map(|caller| caller.id).collect()
    }

    /// Those that wait for the bucket.
    pub fn that_sync(&self, node: usize) -> Vec<SyncId> {
        let waits = |caller: &&Caller| caller.node == node && caller.wants != Wants::Position;
        self.waiting.iter().filter(waits).map(|caller| caller.id).collect()
    }

    /// An object is created: whoever was told that its commits will be in it, or before it, must
    /// find them there. Where another node has gone on, they are in no history.
    pub fn created(&self, txid: u64, object: &Object, oracle: &Oracle) -> Result<(), Violation> {
        let kept = |promise: &Promise| {
            let (len, last) = promise.committed;
            promise.node != object.made_by.0 || txid < promise.txid || object.content.get(len - 1) == Some(&last)
        };
        match self.promises.iter().find(|promise| !kept(promise)) {
            Some(broken) if !oracle.older_copy_won => Err(format!("{broken:?} is not kept by TXID {txid}")),
            _ => Ok(()),
        }
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
        here: Here,
    ) -> Result<(), Violation> {
        let Some(at) = self.waiting.iter().position(|caller| caller.id == id) else {
            return Err(format!("{id:?} was answered twice"));
        };
        let Caller { node, committed, by_ms, is_in_peace, wants, .. } = self.waiting.swap_remove(at);
        match answer {
            Ok(Some(txid)) if wants == Wants::Position => {
                let there = bucket.objects.get(&txid.get()).filter(|_| here.is_settled);
                self.promised(node, txid.get(), committed, there, oracle)
            }
            Ok(None) if wants == Wants::Position && committed.is_some() => {
                Err(format!("{id:?} was told that its commits will be in no TXID"))
            }
            Ok(_) if wants == Wants::Checkpoint && committed.is_some_and(|(count, _)| here.in_file < count) => {
                Err(format!("{id:?} was told that the WAL is in the file, and {} commits are", here.in_file))
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

    fn promised(
        &mut self,
        node: usize,
        txid: u64,
        committed: Option<(usize, u32)>,
        there: Option<&Object>,
        oracle: &Oracle,
    ) -> Result<(), Violation> {
        let Some(committed) = committed else { return Ok(()) };
        self.promises.push(Promise { node, txid, committed });
        there.map_or(Ok(()), |object| self.created(txid, object, oracle))
    }

    /// No caller waits longer than the deadline.
    pub fn check(&self, now_ms: u64) -> Result<(), Violation> {
        match self.waiting.iter().find(|caller| now_ms > caller.by_ms + LATE_MS) {
            Some(caller) => Err(format!("{:?} on node {} waits beyond its deadline", caller.id, caller.node)),
            None => Ok(()),
        }
    }
}
