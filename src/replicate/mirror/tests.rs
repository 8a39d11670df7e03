//! A database with several replicas, real SQLite, and stores with faults. Each replica alone must
//! give the database back.

mod histories;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ltx::{Decoder, Txid};
use crate::remote::plan;
use crate::replicate::tests::{Rig, remote, transient};
use crate::replicate::{Ended, OnceWork, Policy};
use crate::state::LocalState;
use crate::store::memory::{Fault, MemoryStore, Op};

const FOR_EVER: usize = 1_000_000;

fn rig(mirrors: usize) -> Rig {
    let mut rig = Rig::new(|_| {});
    rig.mirrors = (0..mirrors).map(|number| MemoryStore::at(&format!("memory://mirror/{number}"))).collect();
    rig
}

fn objects(store: &MemoryStore) -> BTreeMap<String, bytes::Bytes> {
    let names = store.names().into_iter().filter(|name| name.starts_with("0000/"));
    names.map(|name| (name.clone(), store.bytes(&name).expect("listed"))).collect()
}

fn newest(store: &MemoryStore) -> u64 {
    let txid = |name: &String| u64::from_str_radix(&name[22..38], 16).expect("a TXID");
    store.names().iter().filter(|name| name.starts_with("000")).map(txid).max().unwrap_or(0)
}

fn down(store: &MemoryStore) {
    for op in [Op::Put, Op::Get, Op::Head, Op::List, Op::Delete] {
        store.inject(op, Fault::Fail(transient), FOR_EVER);
    }
}

async fn until_newest(rig: &Rig, mirror: usize, wanted: u64) {
    rig.until(&format!("TXID {wanted} in mirror {mirror}"), |rig| newest(&rig.mirrors[mirror]) >= wanted).await;
}

async fn write(rig: &Rig, commits: u64) {
    write_each(rig, commits, 100).await;
}

/// Commits of so many bytes, each in the first replica before the next.
async fn write_each(rig: &Rig, commits: u64, bytes: u32) {
    for _ in 0..commits {
        let next = newest(&rig.store) + 1;
        rig.write(bytes);
        rig.until("the next object", |rig| newest(&rig.store) >= next).await;
    }
}

/// Commits while the first replica is away, each in the mirror before the next.
async fn write_to_the_mirror(rig: &Rig, commits: u64) {
    let first = newest(&rig.store);
    for _ in 0..commits {
        let before = newest(&rig.mirrors[0]);
        rig.write(100);
        until_newest(rig, 0, before + 1).await;
        assert_eq!(newest(&rig.store), first);
    }
}

/// What a restore would read of this store alone is the database.
async fn assert_restores(rig: &Rig, store: &MemoryStore) {
    let listing = remote(store).listing().await.expect("a listing");
    let plan = plan::latest(&listing).expect("a plan");
    let mut copy: Vec<Vec<u8>> = Vec::new();
    for object in &plan.files {
        let bytes = store.bytes(object.name.as_str()).expect("listed");
        let mut decoder = Decoder::new(bytes.as_ref()).expect("header");
        let mut page = vec![0; decoder.header().page_size.bytes()];
        copy.resize(decoder.header().commit as usize, Vec::new());
        while let Some(pgno) = decoder.next_page(&mut page).expect("page") {
            copy[pgno.index()] = page.clone();
        }
        decoder.finish().expect("verified");
    }
    let mut statement = rig.app.prepare("SELECT data FROM sqlite_dbpage('main')").expect("dbpage");
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("query");
    let live: Vec<Vec<u8>> = rows.map(|page| page.expect("page")).collect();
    assert!(live == copy, "the restored pages differ");
}

/// Level 0 of a mirror is, as far as it goes, the same bytes.
fn assert_same_objects(rig: &Rig, mirror: usize) {
    let first = objects(&rig.store);
    for (name, bytes) in objects(&rig.mirrors[mirror]) {
        assert!(first.get(&name).is_none_or(|other| *other == bytes), "{name} differs");
        Decoder::new(bytes.as_ref()).and_then(Decoder::finish).expect("verified");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirrors_get_the_same_bytes_and_idleness_makes_no_request() {
    let mut rig = rig(2);
    rig.start();
    rig.until_objects(1).await;
    write(&rig, 5).await;
    until_newest(&rig, 0, 6).await;
    until_newest(&rig, 1, 6).await;
    let calls = |rig: &Rig| {
        let stores = std::iter::once(&rig.store).chain(&rig.mirrors);
        stores.map(|store| [Op::Put, Op::Get, Op::Head, Op::List].map(|op| store.calls(op))).collect::<Vec<_>>()
    };
    rig.until("the last answers", |rig| {
        rig.replication().mirrors().iter().all(|mirror| {
            let status = *mirror.status.borrow();
            status.confirmed == Txid::new(6) && status.unshipped_since.is_none()
        })
    })
    .await;
    let before = calls(&rig);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(calls(&rig), before, "an idle database made requests");
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    for mirror in 0..2 {
        assert_eq!(objects(&rig.mirrors[mirror]), objects(&rig.store));
        assert_restores(&rig, &rig.mirrors[mirror]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_mirror_holds_up_nobody_and_ends_complete() {
    let mut rig = rig(1);
    rig.mirrors[0].inject(Op::Put, Fault::Delay(Duration::from_millis(100)), FOR_EVER);
    rig.start();
    rig.until_objects(1).await;
    let began = tokio::time::Instant::now();
    write(&rig, 20).await;
    assert!(newest(&rig.mirrors[0]) < 21 || began.elapsed() > Duration::from_secs(2), "it was waited for");
    assert!(matches!(rig.finish().await, Ended::Synced(Some(txid)) if txid.get() == 21));
    assert_eq!(objects(&rig.mirrors[0]), objects(&rig.store));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_was_away_is_brought_up_from_the_first_replica() {
    let mut rig = rig(1);
    rig.start();
    rig.until_objects(1).await;
    until_newest(&rig, 0, 1).await;
    down(&rig.mirrors[0]);
    // More than may wait in memory.
    write_each(&rig, 10, 1 << 20).await;
    // A large commit goes through a local file.
    rig.until("nothing waits on the local disk for a mirror", |rig| rig.spilled() == 0).await;
    assert_eq!(newest(&rig.mirrors[0]), 1);
    rig.mirrors[0].heal();
    until_newest(&rig, 0, 11).await;
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    assert_eq!(objects(&rig.mirrors[0]), objects(&rig.store));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_was_away_for_too_long_begins_anew_with_a_snapshot() {
    let mut rig = rig(1);
    rig.settings.lifecycle = Some(Policy::of_hours().into());
    rig.mirror_policy = Some(Policy::of_hours());
    rig.start();
    rig.until_objects(1).await;
    write(&rig, 2).await;
    until_newest(&rig, 0, 3).await;
    down(&rig.mirrors[0]);
    // More than may wait in memory.
    write_each(&rig, 5, 1 << 20).await;
    let snapshot = rig.replication().snapshot().await.expect("a snapshot");
    assert_eq!(snapshot.get(), 8);
    // As retention does.
    for name in objects(&rig.store).into_keys().filter(|name| name.as_str() < "0000/0000000000000007") {
        assert!(rig.store.remove(&name));
    }
    write(&rig, 2).await;
    rig.mirrors[0].heal();
    until_newest(&rig, 0, 10).await;
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    assert_same_objects(&rig, 0);
    assert!(rig.mirrors[0].names().iter().any(|name| name.starts_with("0009/0000000000000001-")));
    assert_restores(&rig, &rig.mirrors[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_is_added_later_begins_with_a_snapshot_and_goes_on_after_a_restart() {
    let mut rig = rig(0);
    rig.settings.lifecycle = Some(Policy::of_hours().into());
    rig.start();
    rig.until_objects(1).await;
    write(&rig, 4).await;
    rig.replication().snapshot().await.expect("a snapshot");
    for name in objects(&rig.store).into_keys().take(3) {
        assert!(rig.store.remove(&name));
    }
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.mirrors.push(MemoryStore::at("memory://mirror/0"));
    rig.start();
    until_newest(&rig, 0, 5).await;
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    assert_restores(&rig, &rig.mirrors[0]).await;
    for lose_notes in [false, true] {
        if lose_notes {
            std::fs::remove_dir_all(&rig.settings.meta_path).expect("remove the notes");
        }
        rig.start();
        let next = newest(&rig.store) + 1;
        rig.write(100);
        until_newest(&rig, 0, next).await;
        assert!(matches!(rig.finish().await, Ended::Synced(_)));
        assert_same_objects(&rig, 0);
        assert_restores(&rig, &rig.mirrors[0]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_with_another_history_is_refused_and_stops_nobody() {
    let mut stranger = rig(0);
    stranger.start();
    stranger.until_objects(1).await;
    write(&stranger, 2).await;
    assert!(matches!(stranger.finish().await, Ended::Synced(_)));
    // Shorter than this database's history, and longer.
    for commits in [1, 6] {
        let mut rig = rig(2);
        for (name, bytes) in objects(&stranger.store) {
            rig.mirrors[0].insert(&name, bytes.to_vec(), 5);
        }
        rig.start();
        rig.until_objects(1).await;
        write(&rig, commits).await;
        until_newest(&rig, 1, commits + 1).await;
        assert!(matches!(rig.finish().await, Ended::Synced(_)));
        assert_eq!(objects(&rig.mirrors[0]), objects(&stranger.store), "nothing was written there");
        assert_eq!(objects(&rig.mirrors[1]), objects(&rig.store));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirrors_go_on_while_the_first_replica_is_away_and_it_gets_the_same_in_the_end() {
    let mut rig = rig(1);
    rig.start();
    rig.until_objects(1).await;
    write(&rig, 2).await;
    until_newest(&rig, 0, 3).await;
    down(&rig.store);
    write_to_the_mirror(&rig, 3).await;
    assert_eq!(newest(&rig.store), 3);
    assert_restores(&rig, &rig.mirrors[0]).await;
    rig.store.heal();
    let wanted = newest(&rig.mirrors[0]);
    rig.until("the first replica has it", |rig| newest(&rig.store) >= wanted).await;
    write(&rig, 2).await;
    until_newest(&rig, 0, wanted + 2).await;
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
    assert_eq!(objects(&rig.mirrors[0]), objects(&rig.store));
    assert_eq!(rig.spilled(), 0);
}

/// A kill in the middle of an outage: what a mirror may have keeps its number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mirrors_were_given_keeps_its_number_over_a_restart() {
    let mut rig = rig(1);
    rig.start();
    rig.until_objects(1).await;
    until_newest(&rig, 0, 1).await;
    down(&rig.store);
    write_to_the_mirror(&rig, 3).await;
    rig.crash().await;
    let copied = objects(&rig.mirrors[0]);
    for _ in 0..3 {
        rig.write(3000);
    }
    let attempts = rig.store.calls(Op::List);
    rig.start();
    rig.until("two attempts", |rig| rig.store.calls(Op::List) > attempts + 1).await;
    rig.store.heal();
    until_newest(&rig, 0, 5).await;
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
    for (name, bytes) in copied {
        assert_eq!(rig.store.bytes(&name), Some(bytes), "{name}");
    }
    assert_eq!(objects(&rig.mirrors[0]), objects(&rig.store));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_mirror_has_at_the_end_is_safe_and_comes_back_to_the_first_replica() {
    let mut rig = rig(1);
    rig.start();
    rig.until_objects(1).await;
    write(&rig, 2).await;
    until_newest(&rig, 0, 3).await;
    down(&rig.store);
    rig.write(100);
    rig.write(100);
    let ended = rig.finish().await;
    let Ended::SyncedElsewhere { txid, replica, .. } = ended else { panic!("{ended:?}") };
    assert_eq!((txid.get(), replica.as_str()), (newest(&rig.mirrors[0]), "mirror 0"));
    assert_eq!(newest(&rig.store), 3);
    assert_restores(&rig, &rig.mirrors[0]).await;
    // The disk is lost, and the database comes back from the mirror.
    let meta = &rig.settings.meta_path;
    std::fs::remove_dir_all(meta).expect("remove the notes");
    let state = LocalState::open(&rig.settings.path, meta);
    rig.run("PRAGMA wal_checkpoint(TRUNCATE)");
    let page_size = crate::page::PageSize::new(1024).expect("a page size");
    let pages = rig.app.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("pages");
    let address = remote(&rig.mirrors[0]).address().to_owned();
    let marker = crate::state::RestoreMarker::of(&rig.settings.path, &address, txid, page_size, pages);
    state.prepare().and_then(|()| state.mark_restored(&marker.expect("a marker"))).expect("mark");
    rig.store.heal();
    rig.start();
    rig.until("the first replica has it", |rig| newest(&rig.store) >= txid.get()).await;
    write(&rig, 1).await;
    until_newest(&rig, 0, txid.get() + 1).await;
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
    assert_eq!(objects(&rig.mirrors[0]), objects(&rig.store));
    assert_eq!(rig.images(), 1, "the database was not uploaded again");
}

/// With `-once` a mirror has half a minute to follow. Whoever moves the deadline meanwhile is
/// heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_heard_while_a_mirror_is_waited_for() {
    let mut rig = rig(1);
    rig.settings.once = Some(OnceWork::default());
    for op in [Op::Put, Op::Get, Op::Head, Op::List] {
        rig.mirrors[0].inject(op, Fault::Hang, FOR_EVER);
    }
    rig.start();
    rig.until("the mirror is asked", |rig| newest(&rig.store) == 1 && rig.mirrors[0].calls(Op::List) > 1).await;
    rig.replication().finish_by(tokio::time::Instant::now() + Duration::from_secs(3));
    let ended = tokio::time::timeout(Duration::from_secs(30), rig.replication().ended()).await;
    let ended = ended.expect("an end in time");
    assert!(matches!(ended, Ended::Synced(Some(_))), "{ended:?}");
}
