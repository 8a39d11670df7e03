//! One suite for every store: what `mod.rs` promises, checked against whatever is behind the trait.
//!
//! Mounted below for the directory and for memory, and in `s3/tests.rs` for a real S3 server. It
//! needs an empty store and leaves it empty. Knows no store by name: what a store cannot keep
//! (times, metadata) shows only through the trait.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, future, stream};
use tokio::sync::mpsc;

use super::{Body, BodyError, Deleted, Key, Put, Range, Result, Store, StoreError, probe};
use crate::clock::MACHINE;

const MIB: usize = 1 << 20;

pub async fn conformance(store: Arc<dyn Store>) {
    let store = store.as_ref();
    assert_eq!(names(store, "").await, Vec::<String>::new(), "the suite starts on an empty store");
    whole_objects(store).await;
    ranges(store).await;
    empty_object(store).await;
    create_never_replaces(store).await;
    one_winner_of_a_race(store).await;
    streamed_bodies(store).await;
    streamed_create_never_replaces(store).await;
    aborted_streams_leave_nothing(store).await;
    dropped_puts_leave_nothing(store).await;
    listing_by_prefix(store).await;
    odd_names(store).await;
    times_and_metadata(store).await;
    deletes(store).await;
    many_objects(store).await;
    assert!(probe::probe(store).await.expect("probe").honours_create, "the probe must agree with the suite");
    assert_eq!(names(store, "").await, Vec::<String>::new(), "the suite leaves nothing behind");
}

fn key(name: &str) -> Key {
    Key::new(name).expect("a valid key")
}

/// Bytes that differ at every offset a range could start from.
fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

fn replacing(bytes: impl Into<Bytes>) -> Put {
    Put { create: false, ..Put::create(bytes) }
}

async fn read(store: &dyn Store, name: &str, range: Range) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    let mut chunks = store.get(&key(name), range).await?;
    while let Some(chunk) = chunks.try_next().await? {
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

async fn names(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).await.expect("list").into_iter().map(|l| l.name).collect()
}

async fn remove(store: &dyn Store, names: &[&str]) {
    let keys: Vec<Key> = names.iter().copied().map(key).collect();
    let Deleted { deleted, refused } = store.delete(&keys).await.expect("delete");
    assert_eq!((deleted, refused.len()), (keys.len(), 0), "{refused:?}");
}

async fn whole_objects(store: &dyn Store) {
    let first = pattern(100_000);
    store.put(&key("whole/a"), replacing(first.clone())).await.expect("put");
    assert_eq!(read(store, "whole/a", Range::WHOLE).await.expect("get"), first);
    assert_eq!(store.head(&key("whole/a")).await.expect("head").size, 100_000);

    store.put(&key("whole/a"), replacing("short")).await.expect("replace");
    assert_eq!(read(store, "whole/a", Range::WHOLE).await.expect("get"), "short", "nothing of the longer one is left");

    for absent in ["whole/b", "whole", "whole/a/b", "nowhere/at/all"] {
        let head = store.head(&key(absent)).await;
        assert!(matches!(head, Err(StoreError::NotFound { .. })), "head {absent}: {head:?}");
        let get = read(store, absent, Range::WHOLE).await;
        assert!(matches!(get, Err(StoreError::NotFound { .. })), "get {absent}: {get:?}");
    }
    remove(store, &["whole/a"]).await;
    assert!(matches!(read(store, "whole/a", Range::WHOLE).await, Err(StoreError::NotFound { .. })));
}

async fn ranges(store: &dyn Store) {
    let size = 3 * MIB + 17;
    let content = pattern(size);
    store.put(&key("ranges"), replacing(content.clone())).await.expect("put");
    let part = |start: usize, len: usize| Range { start: start as u64, len: len as u64 };
    let cases = [
        (part(0, 1), 0..1),
        (part(0, size), 0..size),
        (part(100, 2 * MIB), 100..100 + 2 * MIB),
        (part(size - 1, 1), size - 1..size),
        (part(size - 10, 4096), size - 10..size),
        (part(5, usize::MAX), 5..size),
        (part(7, 0), 7..7),
    ];
    for (range, expected) in cases {
        let got = read(store, "ranges", range).await.unwrap_or_else(|e| panic!("{range:?}: {e}"));
        assert!(got == content[expected.clone()], "{range:?}: {} bytes, expected {expected:?}", got.len());
    }
    for past in [part(size, 1), part(size + 1, 10), part(usize::MAX - 1, 1)] {
        let got = read(store, "ranges", past).await;
        assert!(matches!(got, Err(StoreError::NotFound { .. })), "{past:?}: {got:?}");
    }
    for range in [part(0, 1), part(0, 0), Range::WHOLE] {
        let got = read(store, "ranges-absent", range).await;
        assert!(matches!(got, Err(StoreError::NotFound { .. })), "{range:?} of nothing: {got:?}");
    }
    remove(store, &["ranges"]).await;
}

async fn empty_object(store: &dyn Store) {
    store.put(&key("empty"), Put::create("")).await.expect("put");
    assert_eq!(store.head(&key("empty")).await.expect("head").size, 0);
    for range in [Range { start: 0, len: 1 }, Range::WHOLE] {
        let part = read(store, "empty", range).await;
        assert!(matches!(part, Err(StoreError::NotFound { .. })), "{part:?}");
    }
    remove(store, &["empty"]).await;
}

async fn create_never_replaces(store: &dyn Store) {
    store.put(&key("create/x"), Put::create("first")).await.expect("create");
    let again = store.put(&key("create/x"), Put::create("second")).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    assert_eq!(read(store, "create/x", Range::WHOLE).await.expect("get"), "first");

    remove(store, &["create/x"]).await;
    store.put(&key("create/x"), Put::create("third")).await.expect("a deleted name is free again");
    remove(store, &["create/x"]).await;
}

async fn one_winner_of_a_race(store: &dyn Store) {
    for round in 0..4 {
        let name = format!("race/{round}");
        let racers = (0..16).map(|racer| {
            let name = key(&name);
            async move { (racer, store.put(&name, Put::create(format!("racer {racer}"))).await) }
        });
        let mut winners = Vec::new();
        for (racer, result) in future::join_all(racers).await {
            match result {
                Ok(()) => winners.push(racer),
                // A store under contention may ask to come back (S3: 409); it may not say that both
                // won.
                Err(StoreError::AlreadyExists { .. } | StoreError::Transient { .. }) => {}
                Err(error) => panic!("racer {racer}: {error}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let content = read(store, &name, Range::WHOLE).await.expect("get");
        assert_eq!(content, format!("racer {}", winners[0]));
        remove(store, &[&name]).await;
    }
}

/// A streamed body of these chunks, ended as given.
fn streamed(chunks: Vec<Bytes>, end: Option<BodyError>, create: bool) -> Put {
    let (writer, body) = Body::channel(4, 0);
    tokio::task::spawn_blocking(move || {
        for chunk in chunks {
            if writer.blocking_send(chunk).is_err() {
                return;
            }
        }
        match end {
            None => writer.finish(),
            Some(error) => writer.abort(error),
        }
    });
    Put { create, body, modified_ms: None, metadata: Vec::new() }
}

async fn streamed_bodies(store: &dyn Store) {
    // Around S3's part size of 5 MiB: less, exactly one, exactly two, and a rest; in chunks that do
    // not divide it.
    for (size, chunk) in [(0, 1), (100, 7), (MIB, 8192), (5 * MIB, MIB), (10 * MIB, 65_537), (12 * MIB + 5, 300_000)] {
        let content = pattern(size);
        let chunks: Vec<Bytes> = content.chunks(chunk).map(Bytes::copy_from_slice).collect();
        store.put(&key("stream/a"), streamed(chunks, None, false)).await.expect("put stream");
        assert_eq!(store.head(&key("stream/a")).await.expect("head").size, size as u64);
        // Of nothing there is no range to read.
        if size > 0 {
            assert!(read(store, "stream/a", Range::WHOLE).await.expect("get") == content, "{size} bytes by {chunk}");
        }
    }
    let content = pattern(13 * MIB);
    store.put(&key("stream/a"), replacing(content.clone())).await.expect("put");
    assert!(read(store, "stream/a", Range::WHOLE).await.expect("get") == content, "large body at hand");
    remove(store, &["stream/a"]).await;
}

async fn streamed_create_never_replaces(store: &dyn Store) {
    for size in [100, 11 * MIB] {
        store.put(&key("stream/create"), Put::create("first")).await.expect("create");
        let put = streamed(pattern(size).chunks(MIB).map(Bytes::copy_from_slice).collect(), None, true);
        let again = store.put(&key("stream/create"), put).await;
        assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{size} bytes: {again:?}");
        assert_eq!(read(store, "stream/create", Range::WHOLE).await.expect("get"), "first");

        remove(store, &["stream/create"]).await;
        let put = streamed(pattern(size).chunks(MIB).map(Bytes::copy_from_slice).collect(), None, true);
        store.put(&key("stream/create"), put).await.expect("create by stream");
        assert_eq!(store.head(&key("stream/create")).await.expect("head").size, size as u64);
        remove(store, &["stream/create"]).await;
    }
}

async fn aborted_streams_leave_nothing(store: &dyn Store) {
    for size in [10, 6 * MIB, 12 * MIB] {
        let chunks = pattern(size).chunks(MIB).map(Bytes::copy_from_slice).collect();
        let put = streamed(chunks, Some(BodyError("the encoder gave up".into())), false);
        let error = store.put(&key("abort/a"), put).await.expect_err("the body was aborted");
        assert!(matches!(error, StoreError::Permanent { .. }), "{error:?}");
        assert!(error.to_string().contains("the encoder gave up"), "{error}");
        assert_eq!(names(store, "abort").await, Vec::<String>::new(), "{size} bytes");
    }
}

async fn dropped_puts_leave_nothing(store: &dyn Store) {
    for size in [10, 12 * MIB] {
        let (sender, receiver) = mpsc::channel(64);
        for chunk in pattern(size).chunks(MIB) {
            sender.try_send(Ok(Bytes::copy_from_slice(chunk))).expect("room for all");
        }
        let put = Put {
            create: false,
            body: Body::Stream { chunks: receiver, expected_len: 0 },
            modified_ms: None,
            metadata: Vec::new(),
        };
        let dropped = key("drop/a");
        let mut pending = store.put(&dropped, put);
        // Let it take everything there is; it cannot finish while the sender lives.
        while sender.capacity() < sender.max_capacity() {
            assert!(future::poll_immediate(&mut pending).await.is_none(), "the body has not ended");
            tokio::task::yield_now().await;
        }
        drop(pending);
        drop(sender);
        assert_eq!(names(store, "drop").await, Vec::<String>::new(), "{size} bytes");
    }
}

async fn listing_by_prefix(store: &dyn Store) {
    let all = ["list/0/a", "list/0/b", "list/00", "list/1/a", "list/1/a-b", "list/1/a.b", "list2/x", "lisu"];
    for (i, name) in all.iter().rev().enumerate() {
        store.put(&key(name), replacing(pattern(i + 1))).await.expect("put");
    }
    assert_eq!(names(store, "").await, {
        let mut sorted = all.to_vec();
        sorted.sort_unstable();
        sorted
    });
    assert_eq!(
        names(store, "list/").await,
        ["list/0/a", "list/0/b", "list/00", "list/1/a", "list/1/a-b", "list/1/a.b"]
    );
    assert_eq!(names(store, "list/0").await, ["list/0/a", "list/0/b", "list/00"]);
    assert_eq!(names(store, "list/0/").await, ["list/0/a", "list/0/b"]);
    assert_eq!(names(store, "list/1/a").await, ["list/1/a", "list/1/a-b", "list/1/a.b"]);
    assert_eq!(names(store, "lis").await.len(), all.len());
    for nothing in ["list/3/", "x", "list/0/c", "../", "list//", "./list"] {
        assert_eq!(names(store, nothing).await, Vec::<String>::new(), "{nothing}");
    }
    let sizes: Vec<u64> = store.list("list/0/").await.expect("list").iter().map(|l| l.size).collect();
    assert_eq!(sizes, [8, 7]);
    remove(store, &all).await;
}

async fn odd_names(store: &dyn Store) {
    let long = format!("odd/{}/{}", "d".repeat(200), "n".repeat(200));
    let odd = [
        "odd/space and+plus",
        "odd/100%41",
        "odd/quote'\"<&>",
        "odd/q?x=1&y=2#frag",
        "odd/ünïcode/日本",
        "odd/=:@,;$!*()[]{}|^~`",
        "odd/.hidden",
        "odd/..dots..",
        &long,
    ];
    for name in odd {
        store.put(&key(name), Put::create(name.to_owned())).await.unwrap_or_else(|e| panic!("put {name}: {e}"));
    }
    for name in odd {
        assert_eq!(read(store, name, Range::WHOLE).await.expect(name), name);
        assert_eq!(names(store, name).await, [name], "listed by its own name");
    }
    let mut sorted = odd.to_vec();
    sorted.sort_unstable();
    assert_eq!(names(store, "odd/").await, sorted);
    remove(store, &odd).await;
}

async fn times_and_metadata(store: &dyn Store) {
    let given_ms = 1_763_000_000_123;
    let before_ms = MACHINE.unix_ms();
    for body in [Body::Bytes(pattern(10)), streamed(vec![pattern(10)], None, false).body] {
        let metadata = vec![("litestream-timestamp", "2026-11-21T19:20:37.575Z".to_owned())];
        let put = Put { body, create: false, modified_ms: Some(given_ms), metadata };
        store.put(&key("meta/a"), put).await.expect("put");
        let head = store.head(&key("meta/a")).await.expect("head");
        let listed = store.list("meta/").await.expect("list");
        assert_eq!((listed.len(), listed[0].size, head.size), (1, 10, 10));

        let kept = ("litestream-timestamp".to_owned(), "2026-11-21T19:20:37.575Z".to_owned());
        let keeps_time = head.modified_ms == given_ms && listed[0].modified_ms == given_ms;
        assert!(keeps_time || head.metadata.contains(&kept), "the time must survive one way or the other: {head:?}");
        if !keeps_time {
            // The server's clock, in whole seconds at worst.
            let sane = before_ms - 2_000..MACHINE.unix_ms() + 2_000;
            assert!(sane.contains(&head.modified_ms), "head: {} not in {sane:?}", head.modified_ms);
            assert!(sane.contains(&listed[0].modified_ms), "list: {} not in {sane:?}", listed[0].modified_ms);
        }
        if !head.metadata.is_empty() {
            assert_eq!(head.metadata, [kept]);
        }
    }
    remove(store, &["meta/a"]).await;
}

async fn deletes(store: &dyn Store) {
    assert_eq!(store.delete(&[]).await.expect("nothing to do").deleted, 0);
    for name in ["del/a", "del/b & <c>", "del/d"] {
        store.put(&key(name), replacing("x")).await.expect("put");
    }
    remove(store, &["del/b & <c>", "del/never-was", "del/a", "nowhere/x", "del/a/below-a-file"]).await;
    assert_eq!(names(store, "del/").await, ["del/d"]);
    remove(store, &["del/d"]).await;
}

/// More objects than one page of a listing and one batch of a delete hold.
async fn many_objects(store: &dyn Store) {
    let all: Vec<String> = (0..1100).map(|i| format!("many/{i:016x}.ltx")).collect();
    let put = |name: &String| {
        let name = key(name);
        async move { store.put(&name, Put::create("x")).await.expect("put") }
    };
    stream::iter(&all).map(put).buffer_unordered(16).collect::<Vec<()>>().await;
    assert_eq!(names(store, "many/").await, all);
    remove(store, &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(names(store, "many/").await, Vec::<String>::new());
}

mod mounted {
    use super::super::FileStore;
    use super::super::memory::{Fault, MemoryStore, Op};
    use super::*;

    #[tokio::test]
    async fn memory() {
        conformance(Arc::new(MemoryStore::new())).await;
    }

    #[tokio::test]
    async fn directory() {
        let dir = tempfile::tempdir().expect("tempdir");
        conformance(Arc::new(FileStore::new(dir.path().join("not/yet/there")))).await;
    }
    /// The suite itself, shown stores that break their promises.
    async fn broken(op: Op, fault: Fault) {
        let store = MemoryStore::new();
        store.inject(op, fault, usize::MAX);
        conformance(Arc::new(store)).await;
    }

    #[tokio::test]
    #[should_panic(expected = "Ok(())")]
    async fn ignored_conditions_are_noticed() {
        broken(Op::Put, Fault::IgnoreCreate).await;
    }

    #[tokio::test]
    #[should_panic(expected = "left == right")]
    async fn short_bodies_are_noticed() {
        broken(Op::Get, Fault::Truncate(1000)).await;
    }

    #[tokio::test]
    #[should_panic(expected = "left == right")]
    async fn lagging_listings_are_noticed() {
        let store = MemoryStore::new();
        store.set_list_lag(1);
        conformance(Arc::new(store)).await;
    }
}
