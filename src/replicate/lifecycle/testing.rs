//! What the tests of this room share: histories, and stores in memory that differ from good ones in
//! some calls.

use std::time::Duration;

use async_trait::async_trait;

use super::Policy;
use crate::ltx::Txid;
use crate::remote::{Layout, Level, Listing, LtxObject};
use crate::store::memory::{MemoryStore, Op};
use crate::store::{Chunks, Deleted, Head, Key, Listed, Put, Range, Result, Store};

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
        spread: 0,
    }
}

/// Which calls of a store in memory are different, and how.
#[async_trait]
pub trait Twist: Send + Sync {
    async fn put(&self, inner: &MemoryStore, key: &Key, put: Put) -> Result<()> {
        inner.put(key, put).await
    }

    async fn list(&self, inner: &MemoryStore, prefix: &str) -> Result<Vec<Listed>> {
        inner.list(prefix).await
    }

    async fn delete(&self, inner: &MemoryStore, keys: &[Key]) -> Result<Deleted> {
        inner.delete(keys).await
    }
}

#[derive(Clone, Default)]
pub struct Twisted<T> {
    pub inner: MemoryStore,
    pub twist: T,
}

#[async_trait]
impl<T: Twist> Store for Twisted<T> {
    fn address(&self) -> &str {
        self.inner.address()
    }

    async fn put(&self, key: &Key, put: Put) -> Result<()> {
        self.twist.put(&self.inner, key, put).await
    }

    async fn get(&self, key: &Key, range: Range) -> Result<Chunks> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<Head> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        self.twist.list(&self.inner, prefix).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Deleted> {
        self.twist.delete(&self.inner, keys).await
    }
}

/// Requests so far, of each kind.
pub fn calls(store: &MemoryStore) -> [usize; 5] {
    [Op::Put, Op::Get, Op::Head, Op::List, Op::Delete].map(|op| store.calls(op))
}

/// Waits until no request was made for a while.
pub async fn until_quiet(store: &MemoryStore) {
    let (mut before, mut quiet) = (calls(store), 0);
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = calls(store);
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        if quiet == 40 {
            return;
        }
    }
    panic!("it never came to rest: {:?}", store.names());
}
