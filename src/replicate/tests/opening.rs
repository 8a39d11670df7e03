//! When the application may start, and what it finds then.

use super::*;

/// Armed means that the WAL is pinned: whatever the application commits from then on is captured
/// before a checkpoint frees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_the_application_may_start_no_checkpoint_takes_a_commit_away() {
    let mut rig = Rig::new(|_| {});
    rig.write(100);
    rig.start();
    assert_eq!(rig.event().await, Event::Ready(Ready::Armed));
    rig.write(100);
    rig.run("PRAGMA busy_timeout=0");
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let is_blocked: bool = rig.app.query_row(checkpoint, [], |row| row.get(0)).expect("checkpoint");
    assert!(is_blocked, "the WAL could be emptied");
    rig.run("PRAGMA busy_timeout=5000");
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
}

/// As long as something keeps the database from being armed, the application is not started, and it
/// hears of no wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_locked_keeps_the_application_waiting() {
    let mut rig = Rig::new(|settings| settings.tuning.busy_timeout = Duration::from_millis(50));
    rig.run("PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE; INSERT INTO t(x) VALUES (1); COMMIT");
    rig.start();
    let waited = tokio::time::timeout(Duration::from_millis(1500), rig.heard.recv()).await;
    assert!(waited.is_err(), "{waited:?}");
    rig.run("PRAGMA locking_mode=NORMAL; SELECT count(*) FROM t");
    assert_eq!(rig.event().await, Event::Ready(Ready::Armed));
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_appears_and_vanishes_between_looks_is_shipped() {
    let mut rig = Rig::new(|_| {});
    rig.settings.path = rig.dir.path().join("late.db");
    rig.start();
    assert!(matches!(rig.event().await, Event::Ready(Ready::NoDatabaseYet)));
    rig.app = rusqlite::Connection::open(&rig.settings.path).expect("open");
    rig.run("CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t(x) VALUES (1)");
    assert!(matches!(rig.finish().await, Ended::Synced(Some(_))));
    rig.assert_restores();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_created_anew_is_not_shipped_over_an_old_history() {
    let mut rig = Rig::new(|_| {});
    rig.start();
    rig.until_objects(1).await;
    rig.finish().await;
    rig.settings.path = rig.dir.path().join("new.db");
    rig.start();
    assert!(matches!(rig.event().await, Event::Ready(Ready::NoDatabaseYet)));
    rusqlite::Connection::open(&rig.settings.path).and_then(|c| c.execute_batch("CREATE TABLE t(x)")).expect("create");
    match rig.event().await {
        Event::Failed { why } => assert!(why.contains("restore it first"), "{why}"),
        event => panic!("{event:?}"),
    }
    assert_eq!(rig.objects().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_replicator_stands_by_and_takes_over() {
    let mut rig = Rig::new(|_| {});
    rig.start();
    rig.until_objects(1).await;
    let first = rig.replication.take().expect("started");
    rig.start();
    assert!(matches!(rig.event().await, Event::Ready(Ready::Standby)));
    rig.write(10);
    rig.until_objects(2).await;
    first.task.abort();
    rig.write(10);
    rig.until_objects(3).await;
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
    assert_eq!(rig.images(), 1);
}
