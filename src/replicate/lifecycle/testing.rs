//! Histories for the tests of this room.

use super::Policy;
use crate::ltx::Txid;
use crate::remote::{Layout, Level, Listing, LtxObject};
use std::time::Duration;

pub fn txid(number: u64) -> Txid {
    Txid::new(number).expect("not zero")
}

pub fn object((level, min, max, modified_ms): (u8, u64, u64, i64)) -> LtxObject {
    let level = Level::new(level).expect("a level");
    let name = Layout::S3.key(level, txid(min), txid(max));
    LtxObject { level, min_txid: txid(min), max_txid: txid(max), size: 500, modified_ms, name }
}

/// Level, first and last TXID, time.
pub fn listing(objects: &[(u8, u64, u64, i64)]) -> Listing {
    let mut listing = Listing::default();
    objects.iter().for_each(|o| listing.insert(object(*o)));
    listing
}

pub fn names<'a>(objects: impl IntoIterator<Item = &'a LtxObject>) -> Vec<(u8, u64, u64)> {
    objects.into_iter().map(|o| (o.level.get(), o.min_txid.get(), o.max_txid.get())).collect()
}

/// Two levels (10 and 50 ms), a snapshot every 200 ms that is kept for 400 ms, level 0 for 30 ms.
pub fn policy() -> Policy {
    let ms = Duration::from_millis;
    Policy {
        levels: vec![ms(10), ms(50)],
        snapshot_interval: ms(200),
        snapshot_retention: ms(400),
        snapshot_check_interval: ms(1),
        l0_retention: ms(30),
        l0_check_interval: ms(1),
        grace: ms(5),
        delete: true,
        listing_lasts: ms(20),
    }
}
