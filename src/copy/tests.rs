//! Copies between stores in memory, with what can be in the way.

use std::sync::Arc;

use super::*;
use crate::ltx::{Encoder, Header, WalPosition};
use crate::page::{PageSize, Pgno};
use crate::remote::{Layout, Level, ReadPolicy};
use crate::store::Body;
use crate::store::memory::{Fault, MemoryStore, Op};

const WHOLE: Order = Order { target: Target::Latest, history: true };
const LATEST: Order = Order { target: Target::Latest, history: false };

fn txid(number: u64) -> Txid {
    Txid::new(number).expect("not zero")
}

fn file(min: u64, max: u64) -> (Header, Vec<u8>) {
    let (wal, page_size) = (WalPosition::default(), PageSize::new(512).expect("valid"));
    let timestamp_ms = 1_000_000 + i64::try_from(max).expect("small");
    let header = Header { page_size, commit: 1, min_txid: txid(min), max_txid: txid(max), timestamp_ms, wal };
    let mut encoder = Encoder::new(Vec::new(), header).expect("valid");
    encoder.page(Pgno::FIRST, &[u8::try_from(max).expect("small"); 512]).expect("page");
    (header, encoder.finish().expect("complete").writer)
}

fn remote(layout: Layout) -> (MemoryStore, Remote) {
    let store = MemoryStore::new();
    (store.clone(), Remote::new(Arc::new(store), layout).with_policy(ReadPolicy::impatient()))
}

async fn put(remote: &Remote, level: u8, min: u64, max: u64) {
    let (header, bytes) = file(min, max);
    let level = Level::new(level).expect("a level");
    remote.put(level, &header, Body::Bytes(bytes.into())).await.expect("put");
}

/// `9: 1-3`, `1: 4-5`, `0: 4, 5, 6`.
async fn source() -> (MemoryStore, Remote) {
    let (store, from) = remote(Layout::S3);
    for (level, min, max) in [(9, 1, 3), (1, 4, 5), (0, 4, 4), (0, 5, 5), (0, 6, 6)] {
        put(&from, level, min, max).await;
    }
    (store, from)
}

async fn run(from: &Remote, to: &Remote, order: Order) -> (Result<CopyPlan, CopyError>, (u64, u64, u64)) {
    let tally = Tally::default();
    let done = copy(from, to, order, &tally, &CancellationToken::new()).await;
    (done, tally.now())
}

#[tokio::test]
async fn what_a_restore_needs_is_copied_byte_for_byte_and_by_the_names_of_the_other_store() {
    let ((ours, from), (theirs, to)) = (source().await, remote(Layout::Directories));
    let (done, (files, bytes, there)) = run(&from, &to, LATEST).await;
    let plan = done.expect("copied");
    assert_eq!((plan.txid, files, bytes, there), (txid(6), 3, plan.bytes(), 0));
    let names = [
        "0/0000000000000006-0000000000000006",
        "1/0000000000000004-0000000000000005",
        "9/0000000000000001-0000000000000003",
    ];
    assert_eq!(theirs.names(), names.map(|name| format!("ltx/{name}.ltx")));
    for name in names {
        let bytes = ours.bytes(&format!("000{name}.ltx")).expect("there");
        assert_eq!(theirs.bytes(&format!("ltx/{name}.ltx")).as_deref(), Some(bytes.as_ref()));
    }
    let (done, tally) = run(&from, &to, LATEST).await;
    assert_eq!((done.is_ok(), tally), (true, (0, 0, 3)), "it is there");
}

#[tokio::test]
async fn an_older_state_and_the_whole_history_can_be_copied() {
    let (_, from) = source().await;
    let (theirs, to) = remote(Layout::S3);
    let order = Order { target: Target::Txid(txid(4)), history: false };
    let (done, tally) = run(&from, &to, order).await;
    assert_eq!((done.expect("copied").txid, tally.0), (txid(4), 2));
    assert_eq!(theirs.names().len(), 2);

    let (whole, to) = remote(Layout::S3);
    let by = "test".to_owned();
    let mark =
        Mark { name: "v1".into(), txid: txid(4), timestamp_ms: 5, created_ms: 6, expires_ms: None, note: None, by };
    from.create_mark(&mark).await.expect("marked");
    let (done, tally) = run(&from, &to, WHOLE).await;
    assert_eq!((done.is_ok(), tally.0, whole.names().len()), (true, 5, 6));
    assert_eq!(to.marks().await.expect("read").marks, [mark]);
}

#[tokio::test]
async fn a_copy_goes_on_where_it_was_and_a_foreign_place_is_left_alone() {
    let ((_, from), (theirs, to)) = (source().await, remote(Layout::S3));
    theirs.inject(Op::Put, Fault::Fail(|detail| StoreError::Denied { detail }), 1);
    assert!(matches!(run(&from, &to, LATEST).await.0, Err(CopyError::To(StoreError::Denied { .. }))));
    let (done, (files, _, there)) = run(&from, &to, LATEST).await;
    assert!(done.is_ok() && files > 0 && files + there == 3, "{files} {there}");

    put(&from, 0, 7, 7).await;
    let pinned = Order { target: Target::Txid(txid(6)), history: false };
    assert!(run(&from, &to, pinned).await.0.is_ok(), "the same state");
    let before = theirs.names();
    let (other, to) = remote(Layout::S3);
    put(&to, 0, 9, 9).await;
    let (done, tally) = run(&from, &to, LATEST).await;
    assert!(matches!(done, Err(CopyError::Occupied { .. })) && tally == (0, 0, 0), "{done:?}");
    assert_eq!((other.names().len(), theirs.names()), (1, before));
    let (other, to) = remote(Layout::S3);
    let (header, _) = file(4, 5);
    let (_, bytes) = file(5, 5);
    to.put(Level::new(1).expect("a level"), &header, Body::Bytes(bytes.into())).await.expect("put");
    assert!(matches!(run(&from, &to, LATEST).await.0, Err(CopyError::Occupied { .. })), "other bytes by its name");
    assert_eq!(other.names().len(), 1, "something was written beside it");
}

#[tokio::test]
async fn damage_is_not_spread() {
    let ((store, from), (theirs, to)) = (source().await, remote(Layout::S3));
    let name = "0001/0000000000000004-0000000000000005.ltx";
    let mut bytes = store.bytes(name).expect("there").to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    store.insert(name, bytes, 1);
    let (done, _) = run(&from, &to, LATEST).await;
    assert!(matches!(done, Err(CopyError::From(RestoreError::Corrupt { .. }))), "{done:?}");
    assert!(theirs.bytes(name).is_none());
}

#[tokio::test]
async fn what_is_asked_for_must_be_there() {
    let ((_, from), (theirs, to)) = (source().await, remote(Layout::S3));
    let order = Order { target: Target::Txid(txid(2)), history: false };
    let (done, _) = run(&from, &to, order).await;
    assert!(matches!(done, Err(CopyError::From(RestoreError::NotReached { .. }))), "{done:?}");
    let (_, empty) = remote(Layout::S3);
    let (done, _) = run(&empty, &to, WHOLE).await;
    assert!(matches!(done, Err(CopyError::From(RestoreError::NoBackup { .. }))), "{done:?}");
    assert_eq!(theirs.names(), Vec::<String>::new());
}

/// The source has put other files in the place of those that were copied.
#[tokio::test]
async fn a_copy_goes_on_although_the_source_was_compacted_meanwhile() {
    let ((store, from), (theirs, to)) = (source().await, remote(Layout::S3));
    put(&from, 0, 7, 7).await;
    let order = Order { target: Target::Txid(txid(7)), history: false };
    // 7-7 and 6-6 come over, and then the store fails.
    put(&to, 0, 7, 7).await;
    put(&to, 0, 6, 6).await;
    put(&from, 1, 6, 7).await;
    assert!(store.remove("0000/0000000000000006-0000000000000006.ltx"));
    let (done, (files, ..)) = run(&from, &to, order).await;
    assert_eq!((done.expect("copied").txid, files), (txid(7), 3));
    let names = theirs.names();
    assert_eq!(names.len(), 5, "{names:?}");
    put(&from, 0, 8, 8).await;
    for other in [5, 8] {
        let other = Order { target: Target::Txid(txid(other)), history: false };
        assert!(matches!(run(&from, &to, other).await.0, Err(CopyError::Occupied { .. })), "another state");
    }
    assert_eq!(theirs.names(), names);
}

/// Wherever a copy ends before its end, nothing can be restored from what is there.
#[tokio::test]
async fn a_part_of_a_copy_cannot_be_taken_for_a_whole_one() {
    let (ours, from) = source().await;
    let names = [
        "0000/0000000000000006-0000000000000006.ltx",
        "0001/0000000000000004-0000000000000005.ltx",
        "0009/0000000000000001-0000000000000003.ltx",
    ];
    for name in names {
        let (theirs, to) = remote(Layout::S3);
        let middle = ours.bytes(name).expect("there").len() / 2;
        ours.inject_at(name, Fault::Flip(middle), usize::MAX);
        assert!(run(&from, &to, LATEST).await.0.is_err());
        ours.heal();
        let found = planned(&to, Target::Latest, &CancellationToken::new()).await;
        assert!(found.is_err(), "without {name}: {:?}", theirs.names());
        assert!(run(&from, &to, LATEST).await.0.is_ok());
    }
}
