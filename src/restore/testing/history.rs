//! A made-up history in a bucket, with the database at every transaction kept to compare with.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ltx::{Decoder, Encoder, Header, Txid, WalPosition, merge, merged_header};
use crate::page::{PageSize, Pgno};
use crate::remote::{Layout, Level, Remote};
use crate::store::Body;
use crate::store::memory::MemoryStore;

pub struct History {
    pub store: MemoryStore,
    pub remote: Remote,
    pub page_size: PageSize,
    /// The database after each transaction, TXID 1 first.
    pub databases: Vec<Vec<u8>>,
    l0: Vec<Vec<u8>>,
}

pub fn txid(number: u64) -> Txid {
    Txid::new(number).expect("not zero")
}

/// `0003/…` as `ltx/3/…`.
pub fn as_in_a_directory(name: &str) -> String {
    format!("ltx/{}", &name[3..])
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

impl History {
    pub fn new(page_size: u32) -> History {
        let store = MemoryStore::new();
        let remote = Remote::new(Arc::new(store.clone()), Layout::S3);
        let page_size = PageSize::new(page_size).expect("valid");
        History { store, remote, page_size, databases: Vec::new(), l0: Vec::new() }
    }

    pub fn txid(&self) -> u64 {
        self.databases.len() as u64
    }

    /// The time of a transaction.
    pub fn time_ms(txid: u64) -> i64 {
        1_795_000_000_000 + txid as i64 * 1000
    }

    /// One transaction: the database gets `commit` pages, those in `changed` and new ones are
    /// written.
    pub async fn write(&mut self, commit: u32, changed: impl IntoIterator<Item = u32>) {
        let txid = self.txid() + 1;
        let len = self.page_size.bytes();
        let mut database = self.databases.last().cloned().unwrap_or_default();
        let old = (database.len() / len) as u32;
        database.resize(len * commit as usize, 0);
        let mut pages: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for number in changed.into_iter().filter(|n| *n <= commit).chain(old + 1..=commit) {
            pages.insert(number, noise(txid << 32 | u64::from(number), len));
        }
        let header = self.header(commit, txid, txid);
        let mut encoder = Encoder::new(Vec::new(), header).expect("header");
        for (number, data) in &pages {
            database[(*number as usize - 1) * len..][..len].copy_from_slice(data);
            encoder.page(Pgno::new(*number).expect("not zero"), data).expect("page");
        }
        let file = encoder.finish().expect("complete").writer;
        self.put(Level::L0, &header, file.clone()).await;
        self.l0.push(file);
        self.databases.push(database);
    }

    fn header(&self, commit: u32, min: u64, max: u64) -> Header {
        Header {
            page_size: self.page_size,
            commit,
            min_txid: txid(min),
            max_txid: txid(max),
            timestamp_ms: History::time_ms(max),
            wal: WalPosition { offset: 32, size: max * 100, salt1: 1, salt2: 2 },
        }
    }

    async fn put(&self, level: Level, header: &Header, file: Vec<u8>) {
        self.remote.put(level, header, Body::Bytes(file.into())).await.expect("put");
    }

    /// Merges the transactions `min` to `max` into one file of a level.
    pub async fn compact(&self, level: u8, min: u64, max: u64) {
        let inputs: Vec<_> = (min..=max).map(|n| Decoder::new(&self.l0[n as usize - 1][..]).expect("header")).collect();
        let headers: Vec<Header> = inputs.iter().map(|d| *d.header()).collect();
        let target = merged_header(&headers).expect("one history");
        let file = merge(inputs, target, Vec::new()).expect("merge").writer;
        self.put(Level::new(level).expect("level"), &target, file).await;
    }

    pub fn name(&self, level: u8, min: u64, max: u64) -> String {
        Layout::S3.key(Level::new(level).expect("level"), txid(min), txid(max)).to_string()
    }

    pub fn remove(&self, level: u8, min: u64, max: u64) {
        assert!(self.store.remove(&self.name(level, min, max)), "{level}:{min}-{max} is there");
    }

    /// Changes the bytes of an object where they are.
    pub fn damage(&self, level: u8, min: u64, max: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let name = self.name(level, min, max);
        let mut bytes = self.store.bytes(&name).expect("there").to_vec();
        change(&mut bytes);
        self.store.insert(&name, bytes, History::time_ms(max));
    }

    /// The same objects in another bucket, each under another name.
    pub fn renamed(&self, rename: impl Fn(&str) -> String) -> (MemoryStore, Remote) {
        let store = MemoryStore::new();
        for name in self.store.names() {
            store.insert(&rename(&name), self.store.bytes(&name).expect("listed").to_vec(), 5);
        }
        (store.clone(), Remote::new(Arc::new(store), Layout::S3))
    }
}
