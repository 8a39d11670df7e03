//! Days of one replica, and crashes at chosen moments.

use super::*;
use crate::store::StoreError;

pub(super) fn transient(detail: String) -> StoreError {
    StoreError::Transient { detail }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_of_a_replica_in_seconds() {
    let mut soak = Soak::new(Dice::from_env());
    soak.start();
    for _ in 0..100 {
        soak.round().await;
        soak.check().await;
    }
    soak.store.inner.heal();
    for marked in std::mem::take(&mut soak.marks) {
        Soak::remote(soak.store.inner.clone()).drop_mark(&marked.name).await.expect("dropped");
    }
    assert!(soak.marks_made > 5, "{} marks", soak.marks_made);
    soak.write(10);
    let store = soak.store.inner.clone();
    until_quiet(&store).await;
    let left = store.names();
    assert!(left.len() <= 5, "not drained: {left:#?}");
    soak.check().await;
    let levels: Vec<&str> = left.iter().filter_map(|name| name.split('/').next()).collect();
    assert!(levels.contains(&"0009") && levels.contains(&"0000"), "{left:?}");
    soak.ends_whole().await;
    let written = soak.store.twist.written.lock().expect("no panic").clone();
    let of = |level: &str| written.iter().filter(|name| name.starts_with(level)).count();
    let counts = [of("0000"), of("0001"), of("0002"), of("0009")];
    println!("{counts:?} objects in levels 0, 1, 2, 9; {} restores, {} objects left", soak.restores, left.len());
    assert!(counts[0] > 20 && counts[1..].iter().all(|count| *count > 2), "this was no life: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_page_size_starts_a_new_snapshot() {
    let mut soak = Soak::new(Dice::of(1));
    soak.start();
    for _ in 0..10 {
        soak.write(2000);
        tokio::time::sleep(ms(10)).await;
    }
    soak.crash().await;
    soak.change_page_size().await;
    soak.write(100);
    soak.start();
    for _ in 0..300 {
        tokio::time::sleep(ms(20)).await;
        let (_, listing) = soak.frozen().await;
        let newest = listing.newest_l0().map(|o| o.max_txid);
        if listing.level(Level::SNAPSHOT).last().is_some_and(|o| Some(o.max_txid) == newest) {
            break;
        }
    }
    for _ in 0..10 {
        soak.write(2000);
        tokio::time::sleep(ms(20)).await;
    }
    soak.check().await;
}

/// A history to go on from, however slow this machine is.
async fn write_and_ship(soak: &mut Soak, bytes: u64) {
    let before = soak.newest().await;
    soak.write(bytes);
    newer_than(soak, before).await;
    // Who ends before it has noted what it has made does not know it as its own.
    let replication = soak.replication.as_ref().expect("started");
    replication.sync(Instant::now() + Duration::from_secs(60)).await.expect("in the bucket");
}

async fn newer_than(soak: &mut Soak, before: Option<Txid>) {
    for _ in 0..6000 {
        if soak.newest().await > before {
            return;
        }
        tokio::time::sleep(ms(10)).await;
    }
    let ended = soak.replication.as_ref().is_some_and(Replication::has_ended);
    panic!("{before:?} is still the newest TXID; the replication has ended: {ended}");
}

/// Starts a run that begins the history anew, and ends it when its image has arrived and the
/// snapshot of it has not.
async fn crash_between_image_and_snapshot(soak: &mut Soak) {
    let before = soak.newest().await;
    soak.store.twist.hangs_at_snapshots.store(true, Ordering::Relaxed);
    soak.start();
    newer_than(soak, before).await;
    soak.crash().await;
    soak.store.twist.hangs_at_snapshots.store(false, Ordering::Relaxed);
    let (copy, _) = soak.frozen().await;
    let output = soak.dir.path().join("unreachable");
    let (request, cancel, progress) = (Request::new(&output), CancellationToken::new(), Arc::default());
    let restored = restore(&Soak::remote(copy), &request, &cancel, &progress).await;
    assert!(restored.is_err(), "nothing leads to the image: is its snapshot still needed?");
}

/// The next run makes up for it at once, whether the application writes or not and whether
/// anything is ever compacted or not.
async fn is_restored_after_the_next_start(soak: &mut Soak) {
    soak.settings.lifecycle = None;
    soak.start();
    let replication = soak.replication.take().expect("started");
    tokio::time::sleep(ms(50)).await;
    replication.finish_by(Instant::now() + Duration::from_secs(20));
    let ended = replication.ended().await;
    assert!(matches!(ended, Ended::Synced(_)), "{ended:?}");
    let (copy, listing) = soak.frozen().await;
    let newest = listing.newest_l0().expect("shipped").max_txid;
    let (txid, file) = soak.restored(&copy, Target::Latest).await;
    assert_eq!(txid, newest);
    soak.states.assert_is(txid, &file, "latest");
    // Once is enough.
    soak.start();
    let replication = soak.replication.take().expect("started");
    tokio::time::sleep(ms(50)).await;
    replication.finish_by(Instant::now() + Duration::from_secs(20));
    assert!(matches!(replication.ended().await, Ended::Synced(_)));
    assert_eq!(soak.newest().await, Some(newest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_an_image_of_another_page_size_and_its_snapshot_is_mended() {
    for ballast in [true, false] {
        let mut soak = Soak::new(Dice::of(1));
        if !ballast {
            // So small that it is not looked at whether it is an image.
            soak.run("DROP TABLE ballast; VACUUM");
        }
        soak.start();
        write_and_ship(&mut soak, 2000).await;
        soak.crash().await;
        soak.change_page_size().await;
        soak.write(100);
        crash_between_image_and_snapshot(&mut soak).await;
        is_restored_after_the_next_start(&mut soak).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_an_image_behind_a_hole_and_its_snapshot_is_mended() {
    let mut soak = Soak::new(Dice::of(1));
    soak.settings.lifecycle = None;
    soak.start();
    for _ in 0..4 {
        write_and_ship(&mut soak, 200).await;
    }
    soak.crash().await;
    let newest = soak.newest().await.expect("shipped").get();
    assert!(newest > 2, "{newest}");
    // The lost file is known to the oracle all the same.
    soak.store.inner.remove(&format!("0000/{:016x}-{:016x}.ltx", newest - 1, newest - 1));
    // In doubt, so that the hole is met.
    soak.run("PRAGMA wal_checkpoint(TRUNCATE)");
    soak.write(10);
    crash_between_image_and_snapshot(&mut soak).await;
    is_restored_after_the_next_start(&mut soak).await;
}
