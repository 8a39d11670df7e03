//! Another file is at the path.

use super::*;

/// What replication says when it refuses what lies at the path.
async fn refusal(rig: &mut Rig) -> String {
    let before = rig.objects();
    rig.start();
    let why = loop {
        if let Event::Failed { why } = rig.event().await {
            break why;
        }
    };
    assert!(matches!(rig.finish().await, Ended::Failed { .. }));
    assert_eq!(rig.objects(), before, "nothing was uploaded");
    why
}

fn replace(rig: &mut Rig, sql: &str) {
    close(rig);
    for suffix in ["", "-wal", "-shm"] {
        fsx::remove_file_if_exists(&fsx::with_suffix(&rig.settings.path, suffix)).expect("remove");
    }
    open(rig);
    rig.run("PRAGMA page_size=1024; PRAGMA journal_mode=WAL");
    rig.run(sql);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_at_the_path_is_refused() {
    for sql in [
        "CREATE TABLE other(a, b); INSERT INTO other VALUES (1, randomblob(50000))",
        // The same application, which has begun anew.
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE TABLE ballast(b); INSERT INTO t(x) VALUES ('hello')",
    ] {
        let mut rig = shipped().await;
        replace(&mut rig, sql);
        let why = refusal(&mut rig).await;
        assert!(why.contains("is not the database whose history"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_tables_never_replaces_one_that_has_some() {
    let mut rig = shipped().await;
    away(&mut rig, "DROP TABLE t; DROP TABLE ballast; VACUUM");
    let why = refusal(&mut rig).await;
    assert!(why.contains("has no table"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_page_size_is_an_image_of_the_same_application_and_a_stranger_otherwise() {
    let mut rig = shipped().await;
    close(&mut rig);
    open(&mut rig);
    rig.run("PRAGMA journal_mode=DELETE; PRAGMA page_size=4096; VACUUM; PRAGMA journal_mode=WAL");
    rig.start();
    assert_eq!(synced(&mut rig).await, 3);
    assert_eq!(pages_of_newest(&rig) as u64, live_pages(&rig));
    assert!(has_snapshot(&rig, 3), "nothing leads from pages of one size to those of another");
    let mut rig = shipped().await;
    let copy = rig.dir.path().join("copy.db");
    rig.run(&format!("PRAGMA page_size=4096; VACUUM INTO '{}'", copy.display()));
    close(&mut rig);
    for suffix in ["-wal", "-shm"] {
        fsx::remove_file_if_exists(&fsx::with_suffix(&rig.settings.path, suffix)).expect("remove");
    }
    let resized = rusqlite::Connection::open(&copy).expect("open");
    resized.execute_batch("PRAGMA page_size=4096; VACUUM").expect("resize");
    drop(resized);
    std::fs::rename(&copy, &rig.settings.path).expect("rename");
    open(&mut rig);
    rig.start();
    assert_eq!(synced(&mut rig).await, 3, "its rows are the history's");
    assert!(has_snapshot(&rig, 3));
    let mut rig = shipped().await;
    replace(
        &mut rig,
        "PRAGMA journal_mode=DELETE; PRAGMA page_size=4096; VACUUM; PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (randomblob(9000))",
    );
    let why = refusal(&mut rig).await;
    assert!(why.contains("page size"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_backup_in_its_place_becomes_the_newest_state() {
    for in_place in [true, false] {
        let mut rig = shipped().await;
        let backup = rig.dir.path().join("backup.db");
        close(&mut rig);
        open(&mut rig);
        rig.run("PRAGMA wal_checkpoint(TRUNCATE)");
        std::fs::copy(&rig.settings.path, &backup).expect("copy");
        rig.start();
        for _ in 0..5 {
            rig.write(3000);
        }
        let txid = synced(&mut rig).await;
        close(&mut rig);
        for suffix in ["-wal", "-shm"] {
            fsx::remove_file_if_exists(&fsx::with_suffix(&rig.settings.path, suffix)).expect("remove");
        }
        if in_place {
            std::fs::copy(&backup, &rig.settings.path).expect("copy");
        } else {
            std::fs::rename(&backup, &rig.settings.path).expect("rename");
        }
        open(&mut rig);
        rig.start();
        assert_eq!(synced(&mut rig).await, txid + 1, "in place: {in_place}");
        rig.assert_restores();
        assert_eq!(rig.images(), 1, "in place: {in_place}");
    }
}
