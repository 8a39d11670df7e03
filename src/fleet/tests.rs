//! Databases come and go while others are replicated. What a sync has answered is proved by a
//! restore.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::members::Syncing;
use super::testing::{App, cannot_be_locked};
use super::*;
use crate::remote::Layout;
use crate::replicate::{DatabaseId, Ended, Event, Limits, OnceWork, Ready, SnapshotError, SyncError};
use crate::store::memory::{Fault, MemoryStore, Op};
use crate::store::{Chunks, Deleted, FileStore, Head, Key, Listed, Put, Range, Store, StoreError};

const SOON: Duration = Duration::from_secs(30);

fn fleet() -> (FleetHandle, FleetEvents) {
    FleetHandle::new(Limits::default())
}

async fn views(fleet: &FleetHandle) -> Vec<DatabaseView> {
    fleet.databases().await.expect("asked")
}

/// One for each of them, all asked for before the first is answered.
async fn syncs(fleet: &FleetHandle, ids: &[DatabaseId]) -> Vec<Syncing> {
    let mut syncs = Vec::new();
    for id in ids {
        syncs.push(fleet.sync(*id, soon()).await.expect("runs"));
    }
    syncs
}

fn soon() -> Instant {
    Instant::now() + SOON
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON * 2, work).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

async fn until_ready(heard: &mut FleetEvents, ids: &[DatabaseId]) {
    let mut waited_for: BTreeSet<DatabaseId> = ids.iter().copied().collect();
    while !waited_for.is_empty() {
        let (id, event) = in_time("readiness", heard.next()).await;
        assert_eq!(event, Event::Ready(Ready::Armed), "{id:?}");
        assert!(waited_for.remove(&id), "{id:?} was ready twice, or was never added");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_come_and_go_while_others_are_replicated() {
    let dir = tempfile::tempdir().expect("tempdir");
    let bucket = dir.path().join("bucket");
    let [one, two] = ["one.db", "two.db"].map(|name| App::new(&dir, name, MemoryStore::new()));
    let three = App::new(&dir, "three.db", FileStore::new(bucket));
    let (fleet, mut heard) = fleet();
    let a = fleet.add(one.registration()).await.expect("new");
    let b = fleet.add(two.registration()).await.expect("new");
    until_ready(&mut heard, &[a, b]).await;
    assert_eq!(fleet.add(one.registration()).await, Err(FleetError::Known(one.path.clone())));
    one.write(10);
    two.write(10);
    for (app, id) in [(&one, a), (&two, b)] {
        in_time("a sync", fleet.sync(id, soon()).await.expect("runs")).await.expect("synced");
        assert_eq!(app.restored().await, 1);
    }

    // One stops, with its last commit safe; another comes meanwhile, and the second goes on.
    one.write(10);
    let stopped = fleet.stop(a, soon()).await.expect("runs");
    let c = fleet.add(three.registration()).await.expect("new");
    until_ready(&mut heard, &[c]).await;
    assert!(matches!(in_time("the end", stopped).await, Ended::Synced(Some(_))));
    assert_eq!(one.restored().await, 2);
    assert_eq!(fleet.sync(a, soon()).await.err(), Some(FleetError::Stopped(one.path.clone())));
    assert_eq!(fleet.start(b).await, Err(FleetError::Running(two.path.clone())));
    one.write(10);
    three.write(10);
    in_time("a sync", fleet.sync(c, soon()).await.expect("runs")).await.expect("synced");
    assert_eq!((one.restored().await, three.restored().await), (2, 1));

    // It starts again under its id, and has what was committed meanwhile.
    fleet.start(a).await.expect("stopped");
    until_ready(&mut heard, &[a]).await;
    in_time("a sync", fleet.sync(a, soon()).await.expect("runs")).await.expect("synced");
    assert_eq!(one.restored().await, 3);

    // One goes for good, and may come back.
    two.write(10);
    let gone = fleet.remove(b, soon()).await.expect("registered");
    assert!(fleet.find(two.path.clone()).await.expect("asked").is_none());
    assert_eq!(fleet.sync(b, soon()).await.err(), Some(FleetError::Unknown));
    assert!(matches!(in_time("the end", gone).await, Ended::Synced(Some(_))));
    assert_eq!(two.restored().await, 2);
    let ids = async || views(&fleet).await.into_iter().map(|view| view.id).collect::<Vec<_>>();
    assert_eq!(ids().await, [a, c]);
    let d = fleet.add(two.registration()).await.expect("it is gone");
    assert!(d > c, "a number is never used again");
    until_ready(&mut heard, &[d]).await;

    fleet.finish_by(soon()).await;
    let ended = in_time("all ends", join_all(fleet.ends().await)).await;
    assert!(ended.iter().all(|ended| matches!(ended, Ended::Synced(Some(_)))), "{ended:?}");
    assert_eq!(ids().await, [a, c, d]);
    assert_eq!(fleet.add(one.registration()).await, Err(FleetError::Ending));
    assert_eq!(fleet.start(a).await, Err(FleetError::Ending));
    assert!(views(&fleet).await.iter().all(|view| view.state == State::Stopped));
    assert!(!fleet.has_failed().await, "each was told to end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_of_a_database_has_a_status_of_its_own() {
    let dir = tempfile::tempdir().expect("tempdir");
    let app = App::new(&dir, "app.db", MemoryStore::new());
    let remote = Remote::new(Arc::new(MemoryStore::at("memory://mirror")), Layout::Directories);
    let mut registration = app.registration();
    registration.mirrors.push(MirrorRegistration {
        settings: MirrorSettings { name: "far".into(), sync_interval: Duration::ZERO, lifecycle: None },
        remote: remote.clone(),
        store: StoreKey::named("another"),
    });
    let (fleet, mut heard) = fleet();
    let id = fleet.add(registration).await.expect("new");
    until_ready(&mut heard, &[id]).await;
    app.write(10);
    let synced = in_time("a sync", fleet.sync(id, soon()).await.expect("runs")).await.expect("synced");
    let followed = async {
        while fleet.databases().await.expect("asked")[0].replicas[1].status.confirmed < synced {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("the mirror", followed).await;
    let view = fleet.find(app.path.clone()).await.expect("asked").expect("registered");
    let shown: Vec<_> = view.replicas.iter().map(|replica| (replica.name.as_str(), replica.address.as_str())).collect();
    assert_eq!(shown, [("first", app.remote.address()), ("far", "memory://mirror")]);
    assert_eq!((view.id, &view.path, view.state), (id, &app.path, State::Ready(Ready::Armed)));
    assert!(view.replicas.iter().all(|replica| replica.status.confirmed_at_ms.is_some()));
    fleet.finish_by(soon()).await;
    in_time("all ends", join_all(fleet.ends().await)).await;
    let mirrored = App { remote, ..app };
    assert_eq!(mirrored.restored().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_waits_for_the_bucket_and_not_for_the_pace() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = MemoryStore::new();
    let app = App::new(&dir, "app.db", store.clone());
    let (fleet, mut heard) = fleet();
    let id = fleet.add(app.registration()).await.expect("new");
    until_ready(&mut heard, &[id]).await;
    for rows in 1..20 {
        app.write(10);
        if rows % 3 == 0 {
            store.inject(Op::Put, Fault::Delay(Duration::from_millis(30)), 1);
        }
        let txid = in_time("a sync", fleet.sync(id, soon()).await.expect("runs")).await.expect("synced");
        assert_eq!(app.restored().await, rows, "at TXID {txid:?}");
    }
    // Nothing to do is an answer, too, and no request.
    let puts = store.calls(Op::Put);
    let answers = syncs(&fleet, &[id; 100]).await;
    assert!(in_time("many syncs", join_all(answers)).await.iter().all(Result::is_ok));
    assert_eq!(store.calls(Op::Put), puts);

    store.inject(Op::Put, Fault::Fail(|detail| StoreError::Transient { detail }), u64::MAX as usize);
    app.write(10);
    let by = Instant::now() + Duration::from_millis(500);
    let answer = in_time("the deadline", fleet.sync(id, by).await.expect("runs")).await;
    let Err(SyncError::TimedOut { .. }) = answer else { panic!("{answer:?}") };
    let waiting = fleet.sync(id, soon()).await.expect("runs");
    let ended = fleet.stop(id, Instant::now() + Duration::from_millis(300)).await.expect("runs");
    assert!(matches!(in_time("the end", ended).await, Ended::Unsynced { .. }));
    assert!(matches!(in_time("the answer", waiting).await, Err(SyncError::Ended(_))), "whoever waits hears of the end");
    store.heal();
    fleet.start(id).await.expect("stopped");
    until_ready(&mut heard, &[id]).await;
    in_time("a sync", fleet.sync(id, soon()).await.expect("runs")).await.expect("synced");
    assert_eq!(app.restored().await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_made_when_somebody_asks() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = MemoryStore::new();
    let app = App::new(&dir, "app.db", store.clone());
    let (fleet, mut heard) = fleet();
    let id = fleet.add(app.registration()).await.expect("new");
    until_ready(&mut heard, &[id]).await;
    for _ in 0..3 {
        app.write(10);
        in_time("a sync", fleet.sync(id, soon()).await.expect("runs")).await.expect("synced");
    }
    let newest = views(&fleet).await[0].status().confirmed.expect("synced");
    let txid = in_time("a snapshot", fleet.snapshot(id).await.expect("runs")).await.expect("made");
    assert_eq!(txid, newest);
    let name = format!("ltx/9/{:016x}-{:016x}.ltx", 1, newest.get());
    assert!(store.names().contains(&name), "{:?}", store.names());
    let puts = store.calls(Op::Put);
    assert_eq!(in_time("a snapshot", fleet.snapshot(id).await.expect("runs")).await, Ok(newest), "it is there already");
    assert_eq!(store.calls(Op::Put), puts);
    store.inject(Op::Put, Fault::Fail(|detail| StoreError::Permanent { detail }), 1000);
    app.write(10);
    store.heal();
    in_time("a sync", fleet.sync(id, soon()).await.expect("runs")).await.expect("synced");
    store.inject(Op::Put, Fault::Fail(|detail| StoreError::Permanent { detail }), 1000);
    let failed = in_time("a failure", fleet.snapshot(id).await.expect("runs")).await;
    assert!(matches!(failed, Err(SnapshotError::Failed { .. })), "{failed:?}");
}

/// A bucket that takes its time, and counts who is there.
#[derive(Clone, Default)]
struct Counting {
    inner: MemoryStore,
    count: Arc<std::sync::Mutex<(usize, usize)>>,
}

#[async_trait]
impl Store for Counting {
    fn address(&self) -> &str {
        self.inner.address()
    }

    async fn put(&self, key: &Key, put: Put) -> crate::store::Result<()> {
        {
            let mut count = self.count.lock().expect("count");
            count.0 += 1;
            count.1 = count.1.max(count.0);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let done = self.inner.put(key, put).await;
        self.count.lock().expect("count").0 -= 1;
        done
    }

    async fn get(&self, key: &Key, range: Range) -> crate::store::Result<Chunks> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &Key) -> crate::store::Result<Head> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> crate::store::Result<Vec<Listed>> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, keys: &[Key]) -> crate::store::Result<Deleted> {
        self.inner.delete(keys).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_that_wake_up_together_take_turns_and_share_the_memory() {
    let dir = tempfile::tempdir().expect("tempdir");
    let count = Arc::default();
    // Less memory than one of the writes below needs for each of five databases.
    let limits = Limits { starts: 2, uploads: 3, memory_bytes: 5 * 40_000, ..Limits::default() };
    let (fleet, mut heard) = FleetHandle::new(limits);
    let apps: Vec<App> = (0..30)
        .map(|n| App::new(&dir, &format!("{n}.db"), Counting { count: Arc::clone(&count), ..Counting::default() }))
        .collect();
    let mut ids = Vec::new();
    for app in &apps {
        ids.push(fleet.add(app.registration()).await.expect("new"));
    }
    until_ready(&mut heard, &ids).await;
    for round in 1..4 {
        apps.iter().for_each(|app| app.write(30_000));
        let syncs = syncs(&fleet, &ids).await;
        let answers = in_time("all syncs", join_all(syncs)).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        for app in [&apps[0], &apps[29]] {
            assert_eq!(app.restored().await, round);
        }
    }
    let most = count.lock().expect("count").1;
    assert!((2..=3).contains(&most), "{most} uploads at the same time");
    fleet.finish_by(soon()).await;
    in_time("all ends", join_all(fleet.ends().await)).await;
    assert!(fleet.governor().memory_in_use() <= 5 * 40_960);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_databases_end_by_themselves_although_nobody_listens() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (fleet, _heard) = fleet();
    for n in 0..100 {
        let app = App::new(&dir, &format!("{n}.db"), MemoryStore::new());
        let mut registration = app.registration();
        Arc::make_mut(&mut registration.settings).once = Some(OnceWork::default());
        fleet.add(registration).await.expect("new");
    }
    let ended = in_time("all ends", join_all(fleet.ends().await)).await;
    assert!(ended.iter().all(|ended| matches!(ended, Ended::Synced(Some(_)))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_heard_an_event_finds_it_in_the_state() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (fleet, mut heard) = fleet();
    let good = App::new(&dir, "good.db", MemoryStore::new());
    let a = fleet.add(good.registration()).await.expect("new");
    until_ready(&mut heard, &[a]).await;
    let registration = cannot_be_locked(&App::new(&dir, "bad.db", MemoryStore::new()));
    let b = fleet.add(registration).await.expect("new");
    let why = loop {
        if let (id, Event::Failed { why }) = in_time("the failure", heard.next()).await {
            assert_eq!(id, b);
            break why;
        }
    };
    let states: Vec<State> = views(&fleet).await.into_iter().map(|view| view.state).collect();
    assert_eq!(states, [State::Ready(Ready::Armed), State::Halted { why }]);
    assert!(!fleet.has_failed().await, "the other one is replicated on");
    in_time("the end", fleet.remove(a, soon()).await.expect("registered")).await;
    assert!(fleet.has_failed().await);
    assert!(matches!(fleet.stop(b, soon()).await.err(), Some(FleetError::Stopped(_))), "it has ended by itself");
    fleet.start(b).await.expect("stopped");
    in_time("the end", fleet.remove(b, soon()).await.expect("registered")).await;
    assert!(!fleet.has_failed().await, "nothing is left that could have failed");
}

/// It is no member, and is told to whoever asks, up to the end.
#[tokio::test]
async fn a_database_that_was_left_out_is_shown_with_the_reason_and_counts_at_the_end() {
    let (fleet, _heard) = fleet();
    fleet.leave_out("/data/b.db".into(), "/data/.b.db-millstream".into(), "it is damaged".into()).await;
    let view = fleet.find("/data/b.db".into()).await.expect("asked").expect("shown");
    assert_eq!(view.state, State::Halted { why: "it is damaged".into() });
    assert_eq!((views(&fleet).await.len(), view.replicas.len()), (1, 0));
    assert_eq!(fleet.start(view.id).await, Err(FleetError::LeftOut("/data/b.db".into())));
    assert!(!fleet.has_failed().await, "it is none that was replicated");
    fleet.finish_by(soon()).await;
    let ends = join_all(fleet.ends().await).await;
    assert!(matches!(ends.as_slice(), [Ended::Failed { why }] if why.contains("/data/b.db was left out")), "{ends:?}");
}
