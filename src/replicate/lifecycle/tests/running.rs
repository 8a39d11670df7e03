//! The maintenance that runs beside a replication, and what is asked of it.

use super::*;

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
async fn ship_all(lifecycle: &mut Lifecycle, remote: &Remote, numbers: std::ops::RangeInclusive<u64>) {
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
    let (mut lifecycle, stop) = start(&remote);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(calls(&store), [0; 5], "nothing was shipped");
    ship_all(&mut lifecycle, &remote, 1..=40).await;
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
        while !lifecycle.is_finished() {
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
        let mut lifecycle = Lifecycle::start(policy(), remote.clone(), writer.refusals(), stopped, governor());
        ship_all(&mut lifecycle, &remote, 1..=40).await;
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
    let (mut lifecycle, _stop) = start(&remote);
    ship_all(&mut lifecycle, &remote, 1..=20).await;
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
    let (mut lifecycle, _stop) = start(&remote);
    ship_all(&mut lifecycle, &remote, 21..=25).await;
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

/// A history with a snapshot at TXID 3 and one at its end, where nothing is checked for hours.
async fn two_snapshots() -> (MemoryStore, Remote, Policy) {
    let (store, remote) = small_history().await;
    let hours = Duration::from_secs(7200);
    let policy = Policy { snapshot_check_interval: hours, l0_check_interval: hours, ..policy() };
    let both = OnceWork { snapshot: true, retention: true };
    do_once(both, &policy, &remote, txid(3)).await.expect("a snapshot");
    ship(&remote, 4, 4, &[2]).await;
    do_once(both, &policy, &remote, txid(4)).await.expect("another");
    (store, remote, policy)
}

/// `-once -enforce-retention`: what has expired goes at once, whatever the check intervals are; the
/// newest state stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_on_demand_deletes_what_has_expired() {
    let (store, remote, policy) = two_snapshots().await;
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
    let (mut lifecycle, _stop) = start(&remote);
    ship_all(&mut lifecycle, &remote, 1..=20).await;
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
    let (store, remote, policy) = two_snapshots().await;
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
