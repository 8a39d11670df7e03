//! What a node gives its mirror while the bucket is away: it must be the same that the bucket gets in the end.

use std::collections::BTreeMap;

use super::bucket::{Bucket, Content, Object};
use super::node::Disk;
use super::oracle::Violation;
use crate::ltx::Txid;

#[derive(Debug, Default)]
pub struct Mirror {
    /// The core has said that it may have the local files.
    pub is_served: bool,
    /// Another node has gone on in the bucket: what this one gives to the mirror is a branch of its own.
    is_apart: bool,
    /// What it has and the bucket does not.
    beyond: BTreeMap<u64, Object>,
    /// The newest state that it has.
    content: Option<(u64, Content)>,
}

impl Mirror {
    /// It gets the local files that have their numbers for good.
    pub fn take(&mut self, disk: &Disk) {
        for file in disk.spill.iter().filter(|file| self.is_served && file.txid <= disk.kept_to) {
            if !self.is_apart {
                self.beyond.entry(file.txid).or_insert_with(|| file.object.clone());
            }
            if self.content.as_ref().is_none_or(|(newest, _)| *newest < file.txid) {
                self.content = Some((file.txid, file.object.content.clone()));
            }
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

    /// The end was called safe, because the mirror has everything up to there (I2).
    pub fn has_all(&self, kept: Txid, content: &Content) -> Result<(), Violation> {
        match &self.content {
            // What was not kept any more was not given to it, and it does not say that it has it.
            Some((newest, _)) if *newest < kept.get() => Ok(()),
            Some((_, there)) if there == content => Ok(()),
            _ => Err(format!("TXID {kept} was said to hold every commit, and does not")),
        }
    }
}
