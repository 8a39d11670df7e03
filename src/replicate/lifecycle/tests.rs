//! Writing and deleting objects over a store with faults.

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

/// Does not delete, and says so or not.
struct Keeping {
    says_so: bool,
}

#[async_trait]
impl Twist for Keeping {
    async fn delete(&self, inner: &MemoryStore, keys: &[Key]) -> crate::store::Result<Deleted> {
        inner.delete(&[]).await?;
        let denied = |key: &Key| (key.clone(), StoreError::Denied { detail: "object lock".into() });
        match self.says_so {
            true => Ok(Deleted { deleted: 0, refused: keys.iter().map(denied).collect() }),
            false => Ok(Deleted { deleted: keys.len(), refused: Vec::new() }),
        }
    }
}

/// A running task over `remote`.
fn start(remote: &Remote) -> (Lifecycle, watch::Sender<Stop>) {
    let (stop, stopped) = watch::channel(None);
    (Lifecycle::start(policy(), remote.clone(), StatusWriter::new().0.refusals(), stopped, governor()), stop)
}

/// Ships TXIDs `numbers` at the present time.
async fn ship_all(lifecycle: &Lifecycle, remote: &Remote, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let header = Header { timestamp_ms: MACHINE.unix_ms(), ..header(512, 4, number) };
        let numbers = if number == 1 { vec![1, 2, 3, 4] } else { vec![2] };
        let pages = numbers.into_iter().map(|n| (n, page(512, number * 1000 + u64::from(n)))).collect();
        let bytes = encode(header, &pages);
        remote.put_l0(&header, Body::Bytes(bytes.clone())).await.expect("put");
        let size = bytes.len() as u64;
        lifecycle.shipped(Shipped { header, size, bytes: Some(bytes), image: Some(number == 1) });
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_drains_and_then_makes_no_request() {
    let store = MemoryStore::new();
    let remote = remote_on(store.clone());
    let (lifecycle, stop) = start(&remote);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(calls(&store), [0; 5], "nothing was shipped");
    ship_all(&lifecycle, &remote, 1..=40).await;
    until_quiet(&store).await;
    let listing = remote.listing().await.expect("list");
    let left = names(listing.objects());
    let of = |level: u8| left.iter().filter(|o| o.0 == level).map(|o| (o.1, o.2)).collect::<Vec<_>>();
    assert_eq!((of(0), of(9)), (vec![(40, 40)], vec![(1, 40)]), "{left:?}");
    assert!(of(1).len() == 1 && of(2).len() == 1, "{left:?}");
    let before = calls(&store);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(calls(&store), before, "idle, and requests were made");
    // The image was written once at level 9 to outlive level 0, and once as the snapshot of the
    // end.
    stop.send_replace(Some(tokio::time::Instant::now()));
    tokio::time::timeout(Duration::from_secs(5), async {
        while !lifecycle.task.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("it ends at stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_keeps_everything_stops_nothing() {
    // Object by object, behind a friendly answer, or the request as such.
    for (says_so, denied) in [(true, false), (false, false), (true, true)] {
        let store = MemoryStore::new();
        if denied {
            store.inject(Op::Delete, Fault::Fail(|detail| StoreError::Denied { detail }), usize::MAX);
        }
        let keeping = Twisted { inner: store.clone(), twist: Keeping { says_so } };
        let remote = remote_on(keeping);
        let (writer, status) = StatusWriter::new();
        let (_stop, stopped) = watch::channel(None);
        let lifecycle = Lifecycle::start(policy(), remote.clone(), writer.refusals(), stopped, governor());
        ship_all(&lifecycle, &remote, 1..=40).await;
        until_quiet(&store).await;
        let listing = remote.listing().await.expect("list");
        let refusals = status.borrow().refusals.expect("somebody must learn of it");
        assert!((39..=listing.objects().count()).contains(&refusals.objects), "{refusals:?}");
        assert_eq!(listing.level(Level::L0).len(), 40);
        assert_eq!(listing.level(Level::SNAPSHOT).last().map(|o| o.max_txid), Some(txid(40)));
        // Each was asked for once.
        assert!(store.calls(Op::Delete) <= listing.objects().count(), "{} deletes", store.calls(Op::Delete));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_others_are_never_touched() {
    let store = MemoryStore::new();
    let others = [
        "claims/0000000000000001.json",
        "orphaned/1-0000/0000000000000001-0000000000000001.ltx",
        "probes/1",
        "lock.json",
        "generations/0123456789abcdef/snapshots/00000000.snapshot.lz4",
        "0001/notes.txt",
        "0009/0000000000000001-0000000000000001.ltx.tmp",
    ];
    others.iter().for_each(|name| store.insert(name, vec![7; 300], 1));
    let remote = remote_on(store.clone());
    let (lifecycle, _stop) = start(&remote);
    ship_all(&lifecycle, &remote, 1..=20).await;
    until_quiet(&store).await;
    let left = store.names();
    assert!(others.iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");
    assert!(store.calls(Op::Delete) > 0, "nothing was deleted at all");
}

/// An object of this run that is unsound although its name is fine: what it claims to hold stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsound_object_of_an_earlier_run_holds_nothing() {
    let store = MemoryStore::new();
    let remote = remote_on(store.clone());
    for number in 1..=20 {
        ship(&remote, 4, number, if number == 1 { &[1, 2, 3, 4] } else { &[2] }).await;
    }
    store.insert("0001/0000000000000002-0000000000000014.ltx", vec![7; 300], 1);
    let (lifecycle, _stop) = start(&remote);
    ship_all(&lifecycle, &remote, 21..=25).await;
    until_quiet(&store).await;
    let (h, pages) = decode(&store.bytes("0009/0000000000000001-0000000000000019.ltx").expect("a snapshot"));
    assert_eq!((h.commit, pages[&2].clone()), (4, page(512, 25_002)));
}

/// `-once -force-snapshot`: one object of level 9 that holds what the newest transaction left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_on_demand_ends_with_the_newest_transaction() {
    let (store, remote) = small_history().await;
    let once = OnceWork { snapshot: true, retention: false };
    do_once(once, &policy(), &remote, txid(3)).await.expect("a snapshot");
    let (h, pages) = decode(&store.bytes(L9_1_3).expect("there"));
    assert_eq!((h.min_txid, h.max_txid), (txid(1), txid(3)));
    assert_eq!(pages.into_values().collect::<Vec<_>>(), [1001, 2002, 3003, 1004].map(|seed| page(512, seed)));
    assert_eq!(store.names().len(), 4, "and nothing else");
    let puts = store.calls(Op::Put);
    do_once(once, &policy(), &remote, txid(3)).await.expect("it is there");
    assert_eq!(store.calls(Op::Put), puts);
    // The first image alone is made one, too.
    let store = MemoryStore::new();
    let remote = remote_on(store.clone());
    ship(&remote, 4, 1, &[1, 2, 3, 4]).await;
    do_once(once, &policy(), &remote, txid(1)).await.expect("a snapshot");
    assert!(store.bytes("0009/0000000000000001-0000000000000001.ltx").is_some());
    store.remove("0009/0000000000000001-0000000000000001.ltx");
    store.remove("0000/0000000000000001-0000000000000001.ltx");
    let error = do_once(once, &policy(), &remote, txid(1)).await.expect_err("nothing is left");
    assert!(error.to_string().contains("no file there begins at the first transaction"), "{error}");
}

/// A history that was not compacted for long is shortened first, so that no merge has more inputs
/// than memory is meant for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_history_becomes_a_snapshot_too() {
    let store = MemoryStore::new();
    let remote = remote_on(store.clone());
    for number in 1..=300 {
        // Another page size in the middle: only a full image can bring it.
        let (size, pages): (u32, &[u32]) = match number {
            1 => (512, &[1, 2, 3, 4]),
            200 => (1024, &[1, 2, 3, 4]),
            201.. => (1024, &[3]),
            _ => (512, &[2]),
        };
        let header = header(size, 4, number);
        let pages = pages.iter().map(|n| (*n, page(size, number * 1000 + u64::from(*n)))).collect();
        remote.put_l0(&header, Body::Bytes(encode(header, &pages))).await.expect("put");
    }
    do_once(OnceWork { snapshot: true, retention: false }, &policy(), &remote, txid(300)).await.expect("a snapshot");
    let (_, pages) = decode(&store.bytes("0009/0000000000000001-000000000000012c.ltx").expect("there"));
    let expected = [200_001, 200_002, 300_003, 200_004].map(|seed| page(1024, seed));
    assert_eq!(pages.into_values().collect::<Vec<_>>(), expected);
}

/// `-once -enforce-retention`: what has expired goes at once, whatever the check intervals are; the
/// newest state stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_on_demand_deletes_what_has_expired() {
    let (store, remote) = small_history().await;
    let hours = Duration::from_secs(7200);
    let policy = Policy { snapshot_check_interval: hours, l0_check_interval: hours, ..policy() };
    let both = OnceWork { snapshot: true, retention: true };
    do_once(both, &policy, &remote, txid(3)).await.expect("a snapshot");
    ship(&remote, 4, 4, &[2]).await;
    do_once(both, &policy, &remote, txid(4)).await.expect("another");
    let before = store.names();
    do_once(
        OnceWork { snapshot: false, retention: true },
        &Policy { delete: false, ..policy.clone() },
        &remote,
        txid(4),
    )
    .await
    .expect("nothing to do");
    assert_eq!(store.names(), before, "retention is switched off");
    tokio::time::sleep(policy.snapshot_retention + policy.grace * 2).await;
    let retain = || do_once(OnceWork { snapshot: false, retention: true }, &policy, &remote, txid(4));
    store.inject(Op::Delete, Fault::Fail(|detail| StoreError::Denied { detail }), 1);
    let error = retain().await.expect_err("not allowed to");
    assert!(error.to_string().contains("cannot be deleted and will stay"), "{error}");
    retain().await.expect("allowed");
    let left = names(remote.listing().await.expect("list").objects());
    assert_eq!(left, [(0, 4, 4), (9, 1, 4)]);
}

/// Shows no marks, and says that they may not be listed.
#[derive(Clone)]
struct HidingMarks(Arc<AtomicBool>);

#[async_trait]
impl Twist for HidingMarks {
    async fn list(&self, inner: &MemoryStore, prefix: &str) -> crate::store::Result<Vec<Listed>> {
        match prefix == "marks/" && self.0.load(Ordering::Relaxed) {
            true => Err(StoreError::Denied { detail: "not allowed".into() }),
            false => inner.list(prefix).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_marks_cannot_be_listed_nothing_is_deleted() {
    let (store, hides) = (MemoryStore::new(), Arc::new(AtomicBool::new(true)));
    let remote = remote_on(Twisted { inner: store.clone(), twist: HidingMarks(hides.clone()) });
    let (lifecycle, _stop) = start(&remote);
    ship_all(&lifecycle, &remote, 1..=20).await;
    let compacted = || store.names().iter().any(|name| name.starts_with("0009/") && name.ends_with("14.ltx"));
    eventually("the snapshot is there", compacted).await;
    tokio::time::sleep(policy().snapshot_retention * 2).await;
    assert_eq!(store.calls(Op::Delete), 0, "{:?}", store.names());
    hides.store(false, Ordering::Relaxed);
    let is_short = || store.names().iter().filter(|name| name.starts_with("0000/")).count() == 1;
    eventually("what has expired is gone", is_short).await;
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a minute has passed before {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_on_demand_keeps_what_is_marked() {
    let (store, remote) = small_history().await;
    let hours = Duration::from_secs(7200);
    let policy = Policy { snapshot_check_interval: hours, l0_check_interval: hours, ..policy() };
    let both = OnceWork { snapshot: true, retention: true };
    do_once(both, &policy, &remote, txid(3)).await.expect("a snapshot");
    ship(&remote, 4, 4, &[2]).await;
    do_once(both, &policy, &remote, txid(4)).await.expect("another");
    let (expires_ms, note, by) = (None, None, String::new());
    let mark = Mark { name: "m".into(), txid: txid(3), timestamp_ms: 1, created_ms: 1, expires_ms, note, by };
    remote.create_mark(&mark).await.expect("created");
    tokio::time::sleep(policy.snapshot_retention + policy.grace * 2).await;
    let retain = || do_once(OnceWork { snapshot: false, retention: true }, &policy, &remote, txid(4));
    store.inject_at("marks/m.json", Fault::Fail(|detail| StoreError::Denied { detail }), 1);
    let before = store.names();
    retain().await.expect_err("what is marked is not known");
    assert_eq!(store.names(), before);
    retain().await.expect("done");
    assert_eq!(names(remote.listing().await.expect("list").objects()), [(0, 4, 4), (9, 1, 3), (9, 1, 4)]);
    remote.drop_mark("m").await.expect("dropped");
    retain().await.expect("done");
    assert_eq!(names(remote.listing().await.expect("list").objects()), [(0, 4, 4), (9, 1, 4)]);
}
