//! What a node gives its mirror while the bucket is away: it must be the same that the bucket gets
//! in the end.

use std::collections::BTreeMap;

use super::bucket::{Bucket, Object};
use super::node::Disk;
use super::oracle::Violation;
use crate::ltx::Txid;

#[derive(Debug, Default)]
pub struct Mirror {
    /// The core has said that it may have the local files.
    pub is_served: bool,
    /// Another node has gone on in the bucket: what this one gives to the mirror is a branch of its
    /// own.
    is_apart: bool,
    /// What it has and the bucket does not.
    beyond: BTreeMap<u64, Object>,
    /// Everything that it was given.
    given: BTreeMap<u64, Object>,
}

impl Mirror {
    /// It gets the local files that have their numbers for good.
    pub fn take(&mut self, disk: &Disk) {
        for file in disk.spill.iter().filter(|file| self.is_served && file.txid <= disk.kept_to) {
            if !self.is_apart {
                self.beyond.entry(file.txid).or_insert_with(|| file.object.clone());
            }
            self.given.entry(file.txid).or_insert_with(|| file.object.clone());
        }
    }

    /// What the bucket has got meanwhile is the same, unless another node has gone on there.
    pub fn agrees(&mut self, node: usize, bucket: &Bucket) -> Result<(), Violation> {
        while let Some(oldest) = self.beyond.first_entry() {
            match bucket.objects.get(oldest.key()) {
                None => return Ok(()),
                Some(there) if there.made_by.0 != node => {
                    self.is_apart = true;
                    self.beyond.clear();
                    return Ok(());
                }
                Some(there) if there.made_by != oldest.get().made_by => {
                    return Err(format!("TXID {} is another one in the mirror than in the bucket", oldest.key()));
                }
                Some(_) => drop(oldest.remove()),
            }
        }
        Ok(())
    }

    /// The end was called safe if the mirror has everything up to there (I2).
    pub fn has_all(&self, kept: Txid, disk: &Disk) -> Result<(), Violation> {
        let Some(last) = disk.spill.back().filter(|last| last.txid == kept.get()) else {
            return Err(format!("TXID {kept} was said to be kept, and is not"));
        };
        if last.object.content != disk.content {
            return Err(format!("TXID {kept} was said to hold every commit, and does not"));
        }
        // A mirror that was not given it, or has another one from a branch of its own, does not
        // confirm it.
        match self.given.get(&kept.get()) {
            Some(object) if object.made_by == last.object.made_by && object.content != disk.content => {
                Err(format!("the mirror has TXID {kept}, and it does not hold every commit"))
            }
            _ => Ok(()),
        }
    }
}
