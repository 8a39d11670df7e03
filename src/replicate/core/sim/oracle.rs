//! What must hold after every step, and at the end. It looks at the bucket and the disks only,
//! never into a core.

use super::bucket::{Bucket, Object};
use super::node::Batch;
use crate::ltx::Txid;

pub type Violation = String;

#[derive(Debug, Default)]
pub struct Oracle {
    /// An older copy of the database has become the newest state, as `start.rs` says: what came
    /// after it is restorable only by its TXID, so the newest state need not hold every commit any
    /// more.
    pub older_copy_won: bool,
    /// Commits of databases that have nothing to do with the history.
    pub strange: std::collections::BTreeSet<u32>,
}

impl Oracle {
    /// An object is created: it continues the history, whole and in order (I1, I4).
    pub fn created(&self, txid: u64, object: &Object, before: &Bucket) -> Result<(), Violation> {
        if before.objects.contains_key(&txid) {
            return Err(format!("TXID {txid} was replaced"));
        }
        if object.content.iter().any(|commit| self.strange.contains(commit)) {
            return Err(format!("TXID {txid} is another database's"));
        }
        let newest = before.newest();
        if newest.map_or(0, |(newest, _)| newest) + 1 != txid {
            return Err(format!("TXID {txid} follows {:?}", newest.map(|(newest, _)| newest)));
        }
        match (&object.base, newest) {
            (None, _) => Ok(()),
            (Some(base), Some((_, last))) if *base == last.content => Ok(()),
            (Some(_), _) => Err(format!("TXID {txid} does not apply to what is before it: a restore mixes two states")),
        }
    }

    /// What is confirmed is in the bucket, and it is ours (I3).
    pub fn confirmed(&self, node: usize, txid: Txid, bucket: &Bucket) -> Result<(), Violation> {
        match bucket.objects.get(&txid.get()) {
            None => Err(format!("node {node} confirmed TXID {txid}, which is not in the bucket")),
            Some(object) if object.made_by.0 != node => {
                Err(format!("node {node} confirmed TXID {txid}, which is not its own"))
            }
            Some(_) => Ok(()),
        }
    }

    /// The history is sealed: an object is there that this process made (I10).
    pub fn sealed(&self, node: usize, first_serial: u64, bucket: &Bucket) -> Result<(), Violation> {
        let is_own = |object: &Object| object.made_by.0 == node && object.made_by.1 > first_serial;
        match bucket.objects.values().any(is_own) {
            true => Ok(()),
            false => Err(format!("node {node} has sealed the history, and no object is its own")),
        }
    }

    /// A local copy may go: the bucket has the very same (I2).
    pub fn is_safe(&self, batch: &Batch, bucket: &Bucket) -> Result<(), Violation> {
        match bucket.objects.get(&batch.txid) {
            Some(there) if there.made_by == batch.object.made_by => Ok(()),
            _ => Err(format!("TXID {} was dropped, and the bucket does not have it", batch.txid)),
        }
    }

    /// A sync was answered: the bucket has what was committed before it was asked for (I2).
    pub fn holds(&self, node: usize, committed: Option<(usize, u32)>, bucket: &Bucket) -> Result<(), Violation> {
        let Some((len, last)) = committed else { return Ok(()) };
        let restored = bucket.newest().map_or(&[][..], |(_, object)| &object.content);
        // Commits have numbers of their own, and whoever has one has all before it.
        match restored.get(len - 1) == Some(&last) || self.older_copy_won {
            true => Ok(()),
            false => Err(format!("node {node} answered a sync, and a restore does not give commit {last}")),
        }
    }

    /// "Synced": the bucket alone restores the last commit (I2).
    pub fn synced(&self, node: usize, content: &[u32], bucket: &Bucket) -> Result<(), Violation> {
        let restored = bucket.newest().map_or(&[][..], |(_, object)| &object.content);
        match restored.starts_with(content) || self.older_copy_won {
            true => Ok(()),
            false => Err(format!(
                "node {node} ended as synced with {} commits, of which a restore gives {}",
                content.len(),
                restored.len()
            )),
        }
    }
}
