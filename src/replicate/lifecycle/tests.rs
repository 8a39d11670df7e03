//! Writing and deleting objects over a store with faults.

mod running;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::testing::{Twist, Twisted, calls, names, policy, txid, until_quiet};
use super::write::{Input, WriteError, write};
use super::*;
use crate::clock::MACHINE;
use crate::ltx::{Decoder, Encoder, WalPosition};
use crate::page::{PageSize, Pgno};
use crate::remote::{Layout, Level, Mark};
use crate::status::StatusWriter;
use crate::store::memory::{Fault, MemoryStore, Op};
use crate::store::{Body, Deleted, Key, Listed, Put, Store, StoreError};

type Pages = BTreeMap<u32, Vec<u8>>;

fn page(size: u32, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(byte).take(size as usize).collect()
}

fn header(page_size: u32, commit: u32, txid_: u64) -> Header {
    Header {
        page_size: PageSize::new(page_size).expect("valid"),
        commit,
        min_txid: txid(txid_),
        max_txid: txid(txid_),
        timestamp_ms: 1_000 * i64::try_from(txid_).expect("small"),
        wal: WalPosition { offset: 32, size: 4120, salt1: 1, salt2: 2 },
    }
}

fn encode(header: Header, pages: &Pages) -> Bytes {
    let mut encoder = Encoder::new(Vec::new(), header).expect("header");
    for (number, data) in pages {
        encoder.page(Pgno::new(*number).expect("not zero"), data).expect("page");
    }
    encoder.finish().expect("complete").writer.into()
}

fn decode(bytes: &[u8]) -> (Header, Pages) {
    let mut decoder = Decoder::new(bytes).expect("header");
    let header = *decoder.header();
    let (mut page, mut pages) = (vec![0; header.page_size.bytes()], Pages::new());
    while let Some(pgno) = decoder.next_page(&mut page).expect("page") {
        pages.insert(pgno.get(), page.clone());
    }
    decoder.finish().expect("sound");
    (header, pages)
}

fn remote_on(store: impl Store + 'static) -> Remote {
    Remote::new(Arc::new(store), Layout::S3)
}

/// Puts a level-0 object with these pages.
async fn ship(remote: &Remote, commit: u32, number: u64, pages: &[u32]) -> Shipped {
    let header = header(512, commit, number);
    let pages = pages.iter().map(|n| (*n, page(512, number * 1000 + u64::from(*n)))).collect();
    let bytes = encode(header, &pages);
    remote.put_l0(&header, Body::Bytes(bytes.clone())).await.expect("put");
    Shipped { header, size: bytes.len() as u64, bytes: Some(bytes), image: Some(false) }
}

async fn inputs(remote: &Remote, level: Level) -> Vec<Input> {
    let listing = remote.listing().await.expect("list");
    listing.level(level).iter().map(|o| Input { object: o.clone(), bytes: None }).collect()
}

fn level(number: u8) -> Level {
    Level::new(number).expect("a level")
}

/// Image 1, then 2 and 3 that change pages 2 and 3.
async fn small_history() -> (MemoryStore, Remote) {
    let store = MemoryStore::new();
    let remote = remote_on(store.clone());
    ship(&remote, 4, 1, &[1, 2, 3, 4]).await;
    ship(&remote, 4, 2, &[2, 3]).await;
    ship(&remote, 4, 3, &[3]).await;
    (store, remote)
}

const L1_2_3: &str = "0001/0000000000000002-0000000000000003.ltx";
const L9_1_3: &str = "0009/0000000000000001-0000000000000003.ltx";

fn governor() -> Governor {
    Governor::new(crate::replicate::Limits::default())
}

#[tokio::test]
async fn levels_and_snapshots_hold_what_their_inputs_hold() {
    let (store, remote) = small_history().await;
    let all = inputs(&remote, Level::L0).await;
    let written = write(&remote, level(1), all[1..].to_vec()).await.expect("compacted");
    assert_eq!(names([&written]), [(1, 2, 3)]);
    let (h, pages) = decode(&store.bytes(L1_2_3).expect("there"));
    assert_eq!((h.commit, h.timestamp_ms, h.wal), (4, 3000, WalPosition::default()));
    assert_eq!(pages, Pages::from([(2, page(512, 2002)), (3, page(512, 3003))]));
    let l1 = Input { object: written, bytes: None };
    write(&remote, Level::SNAPSHOT, vec![all[0].clone(), l1]).await.expect("a snapshot");
    let (h, pages) = decode(&store.bytes(L9_1_3).expect("there"));
    assert_eq!((h.min_txid, h.max_txid, h.timestamp_ms), (txid(1), txid(3), 3000));
    assert_eq!(pages.into_values().collect::<Vec<_>>(), [1001, 2002, 3003, 1004].map(|seed| page(512, seed)));
}

#[tokio::test]
async fn an_image_in_the_middle_becomes_a_snapshot_and_less_does_not() {
    let (store, remote) = small_history().await;
    ship(&remote, 2, 4, &[1, 2]).await;
    let all = inputs(&remote, Level::L0).await;
    write(&remote, Level::SNAPSHOT, vec![all[3].clone()]).await.expect("a whole database");
    let (h, pages) = decode(&store.bytes("0009/0000000000000001-0000000000000004.ltx").expect("there"));
    assert_eq!((h.min_txid, h.max_txid, pages.len()), (txid(1), txid(4), 2));
    let error = write(&remote, Level::SNAPSHOT, vec![all[2].clone()]).await.expect_err("page 3 alone");
    assert!(matches!(error, WriteError::Damaged { .. }), "{error}");
    assert!(store.bytes(L9_1_3).is_none());
    for (at, image) in [(0, true), (1, false), (3, true)] {
        assert_eq!(inspect::is_image(&remote, &all[at].object).await.expect("read"), image, "{at}");
    }
}

#[tokio::test]
async fn what_exists_is_compared_and_never_replaced() {
    let (store, remote) = small_history().await;
    let all = inputs(&remote, Level::L0).await;
    let compact = || write(&remote, level(1), all[1..].to_vec());
    compact().await.expect("first");
    let first = store.bytes(L1_2_3).expect("there");
    compact().await.expect("the same bytes");
    // The same content under another header, as another program writes it.
    let (h, pages) = decode(&first);
    let other = encode(Header { timestamp_ms: 9, ..h }, &pages);
    store.insert(L1_2_3, other.clone(), 1);
    compact().await.expect("a sound file of the same state");
    let foreign = encode(Header { commit: 3, ..h }, &pages);
    for bytes in [foreign, other.slice(..other.len() - 1), first.slice(1..)] {
        store.insert(L1_2_3, bytes.clone(), 1);
        let error = compact().await.expect_err("not ours");
        assert!(matches!(error, WriteError::Unproved { .. }), "{error}");
        assert_eq!(store.bytes(L1_2_3), Some(bytes), "it was replaced");
    }
}

#[tokio::test]
async fn an_output_that_arrives_damaged_is_noticed() {
    let (store, remote) = small_history().await;
    let all = inputs(&remote, Level::L0).await;
    let spoiled = Twisted { inner: store.clone(), twist: Spoiling };
    let error = write(&remote_on(spoiled), level(1), all[1..].to_vec()).await.expect_err("cut short");
    assert!(matches!(error, WriteError::Unproved { .. }), "{error}");
}

#[tokio::test]
async fn damaged_inputs_and_lost_ones_are_told_apart_and_nothing_appears() {
    let (store, remote) = small_history().await;
    let all = inputs(&remote, Level::L0).await;
    let compact = || write(&remote, level(1), all[1..].to_vec());
    let good = store.bytes(all[2].object.name.as_str()).expect("there");
    let mut bad = good.to_vec();
    bad[120] ^= 1;
    store.insert(all[2].object.name.as_str(), bad, 1);
    assert!(matches!(compact().await, Err(WriteError::Damaged { .. })));
    store.remove(all[2].object.name.as_str());
    assert!(matches!(compact().await, Err(WriteError::Read(crate::remote::ReadError::Gone { .. }))));
    store.insert(all[2].object.name.as_str(), good, 1);
    store.inject(Op::Get, Fault::Fail(|detail| StoreError::Denied { detail }), 1);
    assert!(matches!(compact().await, Err(WriteError::Read(crate::remote::ReadError::Store(_)))));
    assert!(store.bytes(L1_2_3).is_none());
    compact().await.expect("healed");
}

#[tokio::test]
async fn another_page_size_is_named() {
    let (_, remote) = small_history().await;
    let header = header(1024, 2, 4);
    let pages = Pages::from([(1, page(1024, 1)), (2, page(1024, 2))]);
    remote.put_l0(&header, Body::Bytes(encode(header, &pages))).await.expect("put");
    let all = inputs(&remote, Level::L0).await;
    match write(&remote, level(1), all[1..].to_vec()).await {
        Err(WriteError::PageSize(object)) => assert_eq!(object.max_txid, txid(4)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_inputs_are_streamed_over_a_bad_network() {
    let store = MemoryStore::new();
    let remote = remote_on(store.clone())
        .with_policy(crate::remote::ReadPolicy { first_pause: Duration::from_millis(1), ..Default::default() });
    let pages: Pages = (1..=8000).map(|n| (n, page(4096, n.into()))).collect();
    for number in [1, 2] {
        let header = header(4096, 8000, number);
        remote.put_l0(&header, Body::Bytes(encode(header, &pages))).await.expect("put");
    }
    store.inject(Op::Get, Fault::Break(100_000), 5);
    store.inject(Op::Get, Fault::Truncate(200_000), 5);
    let all = inputs(&remote, Level::L0).await;
    write(&remote, Level::SNAPSHOT, all).await.expect("a snapshot");
    let (_, merged) = decode(&store.bytes("0009/0000000000000001-0000000000000002.ltx").expect("there"));
    assert!(merged == pages);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_write_leaves_nothing() {
    let (store, remote) = small_history().await;
    let all = inputs(&remote, Level::L0).await;
    for op in [Op::Get, Op::Put] {
        store.inject(op, Fault::Hang, 1);
        let calls = store.calls(op);
        let writing = tokio::time::timeout(Duration::from_millis(100), write(&remote, level(1), all[1..].to_vec()));
        assert!(writing.await.is_err());
        assert!(store.calls(op) > calls, "{op:?} was never reached");
        store.heal();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(store.bytes(L1_2_3).is_none());
    write(&remote, level(1), all[1..].to_vec()).await.expect("again");
}

/// Cuts the last byte off what is stored.
struct Spoiling;

#[async_trait]
impl Twist for Spoiling {
    async fn put(&self, inner: &MemoryStore, key: &Key, put: Put) -> crate::store::Result<()> {
        inner.put(key, put).await?;
        let bytes = inner.bytes(key.as_str()).expect("just put");
        inner.insert(key.as_str(), bytes.slice(..bytes.len() - 1), 1);
        Ok(())
    }
}
