//! The bucket is away, or hangs.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_survived_with_a_bounded_wal() {
    let mut rig = Rig::new(|settings| settings.tuning.max_sync_wal_bytes = 100_000);
    rig.start();
    rig.until_objects(1).await;
    rig.store.inject(Op::Put, Fault::Fail(transient), usize::MAX);
    let wal = crate::fsx::with_suffix(&rig.settings.path, "-wal");
    for _ in 0..60 {
        rig.write(30_000);
        rig.run("DELETE FROM t WHERE id < (SELECT max(id) FROM t) - 3");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(rig.spilled() >= 1, "nothing was spilled");
    let len = std::fs::metadata(&wal).expect("stat").len();
    assert!(len < 1_500_000, "the WAL grew to {len} bytes during the outage");
    rig.store.heal();
    rig.until("catching up", |rig| rig.spilled() == 0).await;
    rig.write(10);
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
    assert_eq!(rig.images(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_during_an_outage_loses_nothing() {
    let mut rig = Rig::new(|settings| settings.tuning.max_sync_wal_bytes = 50_000);
    rig.start();
    rig.until_objects(1).await;
    rig.store.inject(Op::Put, Fault::Fail(transient), usize::MAX);
    for _ in 0..20 {
        rig.write(30_000);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.until("a spill", |rig| rig.spilled() > 0).await;
    rig.crash().await;
    rig.store.heal();
    rig.write(10);
    rig.start();
    rig.until("catching up", |rig| rig.spilled() == 0).await;
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
    assert_eq!(rig.images(), 1, "what was spilled is continued, not replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_tells_the_truth_about_an_outage() {
    let mut rig = Rig::new(|_| {});
    rig.start();
    rig.until_objects(1).await;
    rig.store.inject(Op::Put, Fault::Fail(transient), usize::MAX);
    rig.write(10);
    let replication = rig.replication.take().expect("started");
    replication.finish_by(Instant::now() + Duration::from_millis(300));
    assert!(matches!(replication.ended().await, Ended::Unsynced { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_store_does_not_outlive_the_deadline() {
    let mut rig = Rig::new(|_| {});
    rig.start();
    rig.until_objects(1).await;
    rig.store.inject(Op::Put, Fault::Hang, usize::MAX);
    rig.write(10);
    rig.until("the put", |rig| rig.store.calls(Op::Put) >= 2).await;
    let replication = rig.replication.take().expect("started");
    replication.finish_by(Instant::now() + Duration::from_millis(200));
    assert!(matches!(replication.ended().await, Ended::Unsynced { .. }));
}

/// A writer of so many bytes of frames, while uploads hang. The largest WAL that was seen.
async fn write_while_it_hangs(rig: &Rig, bytes: u64) -> u64 {
    let wal = crate::fsx::with_suffix(&rig.settings.path, "-wal");
    let (mut written, mut largest) = (0, 0);
    while written < bytes {
        rig.write(30_000);
        written += 31 * (1024 + 24);
        largest = largest.max(std::fs::metadata(&wal).expect("stat").len());
        // Some 10 MB a second: what an unoptimised build encodes beside other tests. Full speed is
        // for `scripts/bench writer`.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    largest
}

/// Without relief the WAL would grow to 16 times as much.
const HANG_BUDGET: u64 = 2 << 20;
const HANG_BUDGETS_MAX: u64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wal_stays_within_its_budget_while_a_put_hangs() {
    let mut rig = Rig::new(|settings| settings.tuning.max_sync_wal_bytes = HANG_BUDGET);
    rig.run("PRAGMA wal_autocheckpoint=0");
    rig.start();
    rig.until_objects(1).await;
    rig.store.inject(Op::Put, Fault::Hang, 1);
    rig.write(10);
    rig.until("the put", |rig| rig.store.calls(Op::Put) >= 2).await;
    let largest = write_while_it_hangs(&rig, 16 * HANG_BUDGET).await;
    assert!(largest <= HANG_BUDGETS_MAX * HANG_BUDGET, "the WAL grew to {largest} bytes");
    assert!(rig.finish_within(Duration::from_millis(200)).await.is_none(), "nothing was uploaded");
    rig.start();
    let ended = rig.finish().await;
    assert!(matches!(ended, Ended::Synced(_)), "{ended:?}");
    rig.assert_restores();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wal_stays_within_its_budget_while_an_image_hangs() {
    let mut rig = Rig::new(|settings| settings.tuning.max_sync_wal_bytes = HANG_BUDGET);
    rig.run("PRAGMA wal_autocheckpoint=0");
    // Larger than what is sent from memory.
    rig.write(12 << 20);
    rig.store.inject(Op::Put, Fault::Hang, 1);
    rig.start();
    rig.until("the put", |rig| rig.store.calls(Op::Put) >= 1).await;
    let before = std::fs::metadata(crate::fsx::with_suffix(&rig.settings.path, "-wal")).expect("stat").len();
    let largest = write_while_it_hangs(&rig, 16 * HANG_BUDGET).await;
    assert!(largest <= before + HANG_BUDGETS_MAX * HANG_BUDGET, "the WAL grew from {before} to {largest} bytes");
    assert!(matches!(rig.finish().await, Ended::Synced(_)), "the image is in a local file, and is sent again");
    rig.assert_restores();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wal_stays_within_its_budget_while_the_first_list_hangs() {
    let mut rig = Rig::new(|settings| settings.tuning.max_sync_wal_bytes = HANG_BUDGET);
    rig.run("PRAGMA wal_autocheckpoint=0");
    rig.store.inject(Op::List, Fault::Hang, 1);
    rig.start();
    rig.until("the list", |rig| rig.store.calls(Op::List) >= 1).await;
    let largest = write_while_it_hangs(&rig, 16 * HANG_BUDGET).await;
    assert!(largest <= HANG_BUDGETS_MAX * HANG_BUDGET, "the WAL grew to {largest} bytes");
    assert!(rig.finish_within(Duration::from_millis(200)).await.is_none(), "nothing was uploaded");
    rig.start();
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
}
