//! What happens beside the work: the writer ships, the wall clock is set, restores begin, strangers
//! lie in the bucket.

use bytes::Bytes;

use super::bucket::Object;
use super::oracle::Restore;
use super::request::OBJECT_BYTES;
use super::world::{EPOCH_MS, MINUTE_MS, World};
use crate::ltx::{Header, Txid, WalPosition};
use crate::page::PageSize;
use crate::remote::{Level, LtxObject, plan};
use crate::replicate::lifecycle::Shipped;
use crate::store::Key;

const IMAGE_BYTES: u64 = 100_000;
/// Objects that belong to others.
const STRANGERS: usize = 4;

impl World {
    /// The writer ships one more transaction, as long as its process lives.
    pub fn commit(&mut self) {
        if self.process.is_none() {
            return;
        }
        let number = self.stamps_ms.len() as u64 + 1;
        let txid = Txid::new(number).expect("not zero");
        let stamp = self.stamps_ms.last().map_or(self.wall_ms(), |last| self.wall_ms().max(*last));
        self.stamps_ms.push(stamp);
        self.times.committed_ms.push(stamp.min(self.true_ms()));
        self.times.latest_ms = self.times.latest_ms.max(stamp);
        let is_image = number == 1 || self.dice.roll(30) == 0;
        let size = if is_image { IMAGE_BYTES } else { OBJECT_BYTES };
        if is_image {
            self.images.insert(txid);
        }
        let modified_ms = self.modified_ms(txid, self.true_ms());
        let name = self.layout.key(Level::L0, txid, txid);
        let ltx = LtxObject { level: Level::L0, min_txid: txid, max_txid: txid, size, modified_ms, name };
        self.bucket.insert(Object { ltx, is_sound: true, is_foreign: false, is_image }, self.boot_ms);
        self.count.commits += 1;
        self.say(|| format!("TXID {number}{}", if is_image { ", an image" } else { "" }));
        // Sometimes it is not heard of.
        if !self.in_peace && self.dice.roll(40) == 0 {
            return;
        }
        let bytes = (self.dice.roll(3) > 0).then(|| Bytes::from_static(b"here"));
        let image = (self.dice.roll(4) > 0).then_some(is_image);
        let shipped = Shipped { header: header(txid, stamp), size, bytes, image };
        let moment = self.moment();
        self.process.as_mut().expect("it lives").shipped(shipped, moment);
    }

    /// The wall clock of the process is set.
    pub fn jump(&mut self) {
        let far = [1_000, MINUTE_MS, 60 * MINUTE_MS][usize::try_from(self.dice.roll(3)).expect("small")];
        let by = i64::try_from(self.dice.roll(2 * far)).expect("small") - i64::try_from(far).expect("small");
        // Most often back to what is right.
        self.skew_ms = if self.dice.roll(2) == 0 { 0 } else { self.skew_ms + by };
        let skew = self.skew_ms;
        self.say(|| format!("the wall clock is {skew} ms off"));
        self.times.jumps += 1;
        self.count.jumps += 1;
    }

    /// A reader lists the bucket and begins to read.
    pub fn begin_restore(&mut self) {
        self.look_at_the_clocks();
        let newest = self.times.newest();
        let ends: Vec<Txid> = self.bucket.truth.objects().map(|o| o.max_txid).collect();
        let is_latest = self.dice.roll(2) == 0;
        let roll = self.dice.roll(ends.len() as u64);
        let target = if is_latest { newest } else { ends[usize::try_from(roll).expect("small")] };
        let files = plan::files_up_to(&self.bucket.truth, target);
        if files.last().is_none_or(|last| last.max_txid != target) || !self.times.is_promised(&files, &self.policy) {
            return;
        }
        let files: Vec<Key> = files.into_iter().map(|o| o.name.clone()).collect();
        self.count.restores += 1;
        self.say(|| format!("a restore of TXID {target} begins: {files:?}"));
        let until_ms = self.boot_ms + u64::try_from(self.policy.grace.as_millis()).expect("small");
        self.restores.retain(|restore| restore.until_ms >= self.boot_ms);
        self.restores.push(Restore { files, target, is_latest: target == newest, until_ms, jumps: self.times.jumps });
    }

    /// Objects of others, by names that ours could have.
    pub fn strangers(&mut self) {
        let far = Txid::new(u64::MAX).expect("not zero");
        let beyond = Txid::new(1_000_000).expect("not zero");
        let second = Txid::new(2).expect("not zero");
        let names: [(Level, Txid, Txid); STRANGERS] = [
            (Level::L0, beyond, beyond),
            (Level::SNAPSHOT, Txid::FIRST, far),
            (Level::SNAPSHOT, second, second),
            (Level::new(1).expect("a level"), second, far),
        ];
        for (level, min_txid, max_txid) in names {
            let name = self.layout.key(level, min_txid, max_txid);
            let ltx = LtxObject { level, min_txid, max_txid, size: 700, modified_ms: EPOCH_MS, name };
            self.bucket.insert(Object { ltx, is_sound: true, is_foreign: true, is_image: false }, 0);
        }
    }
}

fn header(txid: Txid, timestamp_ms: i64) -> Header {
    let wal = WalPosition::default();
    Header { page_size: PageSize::MAX, commit: 10, min_txid: txid, max_txid: txid, timestamp_ms, wal }
}
