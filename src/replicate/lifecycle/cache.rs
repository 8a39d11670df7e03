//! The level-0 objects that were shipped a moment ago: what they are, and, within a budget, their
//! bytes.
//!
//! They are the inputs of the next compaction, which then reads nothing; and they complete a LIST
//! that does not show them yet.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::ltx::Txid;
use crate::remote::{Listing, LtxObject};

const BYTES_MAX: u64 = 8 << 20;
/// Larger ones are read back: one request for much content.
const OBJECT_BYTES_MAX: u64 = 1 << 20;
const OBJECTS_MAX: usize = 4096;

#[derive(Default)]
pub struct Cache {
    objects: BTreeMap<Txid, (LtxObject, Option<Bytes>)>,
    bytes: u64,
}

impl Cache {
    pub fn note(&mut self, object: LtxObject, bytes: Option<Bytes>) {
        let bytes = bytes.filter(|bytes| bytes.len() as u64 <= OBJECT_BYTES_MAX);
        self.bytes += len(&bytes);
        if let Some((_, replaced)) = self.objects.insert(object.max_txid, (object, bytes)) {
            self.bytes -= len(&replaced);
        }
        while self.objects.len() > OBJECTS_MAX {
            let (_, (_, bytes)) = self.objects.pop_first().expect("not empty");
            self.bytes -= len(&bytes);
        }
        let mut oldest = self.objects.values_mut();
        while self.bytes > BYTES_MAX {
            let (_, bytes) = oldest.next().expect("what is counted is there");
            self.bytes -= len(bytes);
            *bytes = None;
        }
    }

    /// The bytes of an object, if they are here.
    pub fn bytes(&self, object: &LtxObject) -> Option<Bytes> {
        let (known, bytes) = self.objects.get(&object.max_txid)?;
        bytes.clone().filter(|_| known.name == object.name && known.size == object.size)
    }

    /// Adds what the LIST did not show yet.
    pub fn complete(&self, listing: &mut Listing) {
        for (object, _) in self.objects.values() {
            if !listing.contains(object) {
                listing.insert(object.clone());
            }
        }
    }

    /// Level 1 holds everything up to here.
    pub fn forget_through(&mut self, txid: Txid) {
        let Some(next) = txid.next() else { return };
        let later = self.objects.split_off(&next);
        self.objects = later;
        self.bytes = self.objects.values().map(|(_, bytes)| len(bytes)).sum();
    }

    /// Keeps only these.
    pub fn retain(&mut self, stays: impl Fn(&LtxObject) -> bool) {
        self.objects.retain(|_, (object, _)| stays(object));
        self.bytes = self.objects.values().map(|(_, bytes)| len(bytes)).sum();
    }

    /// Nothing is certain any more.
    pub fn clear(&mut self) {
        *self = Cache::default();
    }
}

fn len(bytes: &Option<Bytes>) -> u64 {
    bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{listing, names, object, txid};
    use super::*;

    fn note(cache: &mut Cache, number: u64, len: usize) -> LtxObject {
        let object = LtxObject { size: len as u64, ..object((0, number, number, 1)) };
        cache.note(object.clone(), Some(vec![1; len].into()));
        object
    }

    #[test]
    fn the_newest_bytes_are_kept_within_the_budget() {
        let mut cache = Cache::default();
        let objects: Vec<_> = (1..=20).map(|n| note(&mut cache, n, 1_000_000)).collect();
        assert!(cache.bytes <= BYTES_MAX);
        let kept: Vec<bool> = objects.iter().map(|o| cache.bytes(o).is_some()).collect();
        assert_eq!(kept, [[false; 12].as_slice(), &[true; 8]].concat());
        let large = note(&mut cache, 21, 2_000_000);
        assert!(cache.bytes(&large).is_none(), "too large");
        let other = LtxObject { size: 7, ..objects[19].clone() };
        assert!(cache.bytes(&other).is_none(), "not the object that was shipped");
        cache.forget_through(txid(18));
        assert_eq!((cache.objects.len(), cache.bytes), (3, 2_000_000));
        cache.retain(|o| o.max_txid != txid(19));
        assert_eq!((cache.objects.len(), cache.bytes), (2, 1_000_000));
        (22..10_000).for_each(|n| drop(note(&mut cache, n, 1)));
        assert_eq!(cache.objects.len(), OBJECTS_MAX);
        cache.clear();
        assert_eq!(cache.bytes, 0);
    }

    #[test]
    fn a_list_that_lags_is_completed() {
        let mut cache = Cache::default();
        (2..=3).for_each(|n| drop(note(&mut cache, n, 500)));
        let mut seen = listing(&[(0, 1, 1, 1), (0, 2, 2, 9)]);
        cache.complete(&mut seen);
        assert_eq!(names(seen.objects()), [(0, 1, 1), (0, 2, 2), (0, 3, 3)]);
        assert_eq!(seen.objects().nth(1).map(|o| o.modified_ms), Some(9), "what the LIST says stands");
    }
}
