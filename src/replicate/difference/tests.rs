//! Whatever happened while nothing replicated: the objects alone give the live database back, and
//! no more is uploaded than differs.

use super::super::tests::{Rig, transient};
use super::super::{Ended, Event};
use super::judge::{FAILURES_MAX, PLAN_FILES_MAX, related_wanted};
use super::*;
use crate::fsx;
use crate::ltx::Decoder;
use crate::remote::Level;
use crate::state::{LocalState, SyncedTo};
use crate::store::Key;
use crate::store::memory::{Fault, Op};

/// A database of about 300 pages, shipped, and its replication ended.
async fn shipped() -> Rig {
    let mut rig = Rig::new(|_| {});
    rig.run("PRAGMA auto_vacuum=INCREMENTAL; VACUUM");
    rig.run("INSERT INTO t(x) SELECT randomblob(900) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) SELECT i FROM n)");
    rig.start();
    rig.until_objects(1).await;
    rig.write(10);
    rig.until_objects(2).await;
    assert!(matches!(rig.finish().await, Ended::Synced(Some(txid)) if txid.get() == 2));
    rig
}

/// Everybody lets go; the last connection checkpoints and deletes the WAL.
fn close(rig: &mut Rig) {
    rig.app = rusqlite::Connection::open_in_memory().expect("open");
}

fn open(rig: &mut Rig) {
    rig.app = rusqlite::Connection::open(&rig.settings.path).expect("open");
    rig.run("PRAGMA busy_timeout=5000; PRAGMA wal_autocheckpoint=0");
}

/// Work with the database while nothing replicates it, after which nothing of the old WAL is left.
fn away(rig: &mut Rig, sql: &str) {
    close(rig);
    open(rig);
    // A blocking piece of a crashed replication's work may hold the database for a moment, and a
    // change of the journal mode does not wait.
    let is_busy = |error: &rusqlite::Error| error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while let Err(error) = rig.app.execute_batch(sql) {
        assert!(is_busy(&error) && std::time::Instant::now() < deadline, "{sql}: {error}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    rig.run("PRAGMA wal_checkpoint(TRUNCATE)");
    close(rig);
    let _ = fsx::remove_file_if_exists(&fsx::with_suffix(&rig.settings.path, "-wal")).expect("remove");
    open(rig);
}

/// Pages in the newest object.
fn pages_of_newest(rig: &Rig) -> usize {
    let name = rig.objects().pop().expect("objects");
    let bytes = rig.store.bytes(&name).expect("listed");
    let mut decoder = Decoder::new(bytes.as_ref()).expect("header");
    let mut page = vec![0; decoder.header().page_size.bytes()];
    std::iter::from_fn(|| decoder.next_page(&mut page).expect("page")).count()
}

async fn synced(rig: &mut Rig) -> u64 {
    match rig.finish().await {
        Ended::Synced(Some(txid)) => txid.get(),
        ended => panic!("{ended:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_changed_is_proved_equal_once_and_continued() {
    let mut rig = shipped().await;
    away(&mut rig, "");
    rig.start();
    assert_eq!(synced(&mut rig).await, 2, "nothing was uploaded");
    // The next start goes by the note that this one left: it reads no object but the header of the
    // newest.
    let before = rig.store.calls(Op::Get);
    rig.start();
    assert_eq!(synced(&mut rig).await, 2);
    assert!(rig.store.calls(Op::Get) <= before + 1, "compared again");
    rig.start();
    rig.write(10);
    assert_eq!(synced(&mut rig).await, 3);
    rig.assert_restores();
    assert_eq!(rig.images(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_equal_database_with_a_wal_is_continued_by_the_note_of_its_frame() {
    let mut rig = shipped().await;
    away(&mut rig, "UPDATE t SET x = x WHERE id = 7");
    // Frames that change nothing: the database is what it was, only the WAL is another.
    rig.run("BEGIN; UPDATE t SET x = zeroblob(900) WHERE id = 9; ROLLBACK; UPDATE t SET x = x WHERE id = 7");
    rig.start();
    let txid = synced(&mut rig).await;
    let (objects, gets) = (rig.objects().len(), rig.store.calls(Op::Get));
    rig.start();
    assert_eq!(synced(&mut rig).await, txid);
    assert!(rig.store.calls(Op::Get) <= gets + 2, "compared again");
    rig.start();
    rig.write(10);
    assert_eq!(synced(&mut rig).await, txid + 1);
    assert_eq!(rig.objects().len(), objects + 1);
    rig.assert_restores();
    assert_eq!(rig.images(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_differs_is_uploaded() {
    for sql in [
        "UPDATE t SET x = randomblob(900) WHERE id IN (5, 100)",
        "DELETE FROM t WHERE id > 240",
        "INSERT INTO t(x) VALUES (randomblob(20000))",
        "CREATE TABLE u(y); DROP TABLE ballast",
    ] {
        let mut rig = shipped().await;
        away(&mut rig, sql);
        rig.start();
        assert_eq!(synced(&mut rig).await, 3, "{sql}");
        assert!(pages_of_newest(&rig) < 60, "{sql}: {} pages", pages_of_newest(&rig));
        rig.assert_restores();
        // And from there as from any other object.
        rig.start();
        rig.write(10);
        assert_eq!(synced(&mut rig).await, 4, "{sql}");
        rig.assert_restores();
        assert_eq!(rig.images(), 1, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_from_a_difference_without_another_look() {
    let mut rig = shipped().await;
    away(&mut rig, "UPDATE t SET x = 1 WHERE id = 5");
    rig.run("UPDATE t SET x = 2 WHERE id = 6");
    rig.start();
    assert_eq!(synced(&mut rig).await, 3);
    let gets = rig.store.calls(Op::Get);
    rig.run("UPDATE t SET x = 3 WHERE id = 6");
    rig.start();
    assert_eq!(synced(&mut rig).await, 4);
    assert!(rig.store.calls(Op::Get) <= gets + 3, "compared again");
    rig.assert_restores();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wal_that_was_rewritten_after_a_difference_is_not_continued() {
    let mut rig = shipped().await;
    away(&mut rig, "UPDATE t SET x = 1 WHERE id = 5");
    let wal = fsx::with_suffix(&rig.settings.path, "-wal");
    rig.run("UPDATE t SET x = x WHERE id = 6");
    let keep = std::fs::metadata(&wal).expect("stat").len();
    // These pages are what the bucket has, so they differ from nothing.
    rig.run("UPDATE t SET x = x WHERE id = 20");
    rig.start();
    assert_eq!(synced(&mut rig).await, 3);
    // A power loss: the last transaction is gone, and another one was written in its place with the
    // same salts.
    rig.app.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("config");
    close(&mut rig);
    let frames = std::fs::read(&wal).expect("read");
    std::fs::write(&wal, &frames[..keep as usize]).expect("cut");
    open(&mut rig);
    rig.run("UPDATE t SET x = 'other' WHERE id = 30; UPDATE t SET x = 'other' WHERE id = 31");
    rig.start();
    synced(&mut rig).await;
    rig.assert_restores();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_mostly_new_or_small_is_uploaded_whole() {
    let mut rig = shipped().await;
    away(&mut rig, "UPDATE t SET x = randomblob(900)");
    rig.start();
    assert_eq!(synced(&mut rig).await, 3);
    rig.assert_restores();
    assert_eq!(rig.images(), 2);
    let mut rig = Rig::new(|_| {});
    rig.start();
    assert_eq!(synced(&mut rig).await, 1);
    away(&mut rig, "INSERT INTO t(x) VALUES (1)");
    rig.start();
    assert_eq!(synced(&mut rig).await, 2);
    rig.assert_restores();
    assert_eq!(rig.images(), 2, "it is small");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_or_incomplete_history_gets_an_image() {
    for damage in ["flip", "gap"] {
        let mut rig = shipped().await;
        let name = rig.objects()[0].clone();
        let mut bytes = rig.store.bytes(&name).expect("listed").to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        rig.store.remove(&name);
        if damage == "flip" {
            rig.store.insert(&name, bytes, 1);
        }
        away(&mut rig, "UPDATE t SET x = 1 WHERE id = 5");
        rig.start();
        assert_eq!(synced(&mut rig).await, 3);
        assert_eq!(pages_of_newest(&rig) as u64, live_pages(&rig), "{damage}: an image");
        assert!(has_snapshot(&rig, 3), "{damage}: nothing leads to the image");
    }
}

fn has_snapshot(rig: &Rig, txid: u64) -> bool {
    let name = format!("0009/0000000000000001-{txid:016x}.ltx");
    let Some(bytes) = rig.store.bytes(&name) else { return false };
    let decoded = Decoder::new(bytes.as_ref()).and_then(Decoder::finish).expect("a whole file");
    decoded.pages == live_pages(rig)
}

fn live_pages(rig: &Rig) -> u64 {
    rig.app.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).expect("pragma").unsigned_abs()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_store_are_waited_out() {
    let mut rig = shipped().await;
    away(&mut rig, "UPDATE t SET x = 1 WHERE id = 5");
    rig.store.inject(Op::List, Fault::Fail(transient), 2);
    rig.store.inject(Op::Get, Fault::Break(100), 3);
    rig.store.inject(Op::Get, Fault::Fail(transient), 2);
    rig.store.inject(Op::Put, Fault::LostReply, 1);
    rig.start();
    rig.until_objects(3).await;
    assert_eq!(synced(&mut rig).await, 3);
    rig.assert_restores();
    assert_eq!(rig.images(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_in_the_middle_of_a_comparison_is_not_missed() {
    let mut rig = shipped().await;
    away(&mut rig, "UPDATE t SET x = 1 WHERE id = 5");
    rig.store.inject(Op::Get, Fault::Delay(std::time::Duration::ZERO), 1);
    rig.store.inject(Op::Get, Fault::Hang, usize::MAX);
    rig.start();
    let gets = rig.store.calls(Op::Get);
    rig.until("the comparison", |rig| rig.store.calls(Op::Get) > gets + 1).await;
    // Half of the time for the comparison, which hangs, and half for the image.
    assert_eq!(rig.finish_within(std::time::Duration::from_secs(4)).await, Some(3));
    rig.assert_restores();
    assert_eq!(rig.images(), 2, "whatever can finish");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_compares_the_application_writes_on() {
    let mut rig = shipped().await;
    away(&mut rig, "UPDATE t SET x = 1 WHERE id = 5");
    rig.store.inject(Op::Get, Fault::Delay(std::time::Duration::from_millis(300)), 3);
    rig.start();
    for id in 0..20 {
        rig.run("PRAGMA busy_timeout=0");
        rig.run(&format!("UPDATE t SET x = randomblob(900) WHERE id = {}", 10 + id));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    synced(&mut rig).await;
    rig.assert_restores();
    assert_eq!(rig.images(), 1);
}

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

/// Random histories, random tampering while nothing replicates, faults of the store: the objects
/// alone are always the live database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happened_meanwhile_the_bucket_gives_the_live_database_back() {
    let seed = std::env::var("MILLSTREAM_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| crate::clock::MACHINE.random_u64());
    println!("MILLSTREAM_TEST_SEED={seed}");
    let mut random = seed;
    let mut dice = move |sides: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % sides
    };
    let mut rig = shipped().await;
    for round in 0..40 {
        rig.start();
        for _ in 0..dice(6) {
            work(&rig, dice(7), dice(300));
            tokio::time::sleep(std::time::Duration::from_millis(dice(15))).await;
        }
        if dice(3) == 0 {
            rig.crash().await;
        } else {
            rig.store.heal();
            synced(&mut rig).await;
            rig.assert_restores();
            // Not after a crash: a file that is not known yet and whose pages have all moved is
            // rightly taken for a stranger's.
            if dice(8) == 0 {
                away(&mut rig, "VACUUM");
                rig.start();
                synced(&mut rig).await;
            }
        }
        tamper(&mut rig, &mut dice);
        println!("round {round}: {} objects, {} images", rig.objects().len(), rig.images());
        match dice(5) {
            0 => rig.store.inject(Op::Get, Fault::Break(dice(5000) as usize), 1 + dice(8) as usize),
            1 => rig.store.inject(Op::Get, Fault::Truncate(dice(5000) as usize), 1 + dice(3) as usize),
            2 => rig.store.inject(Op::List, Fault::Fail(transient), 1),
            3 => rig.store.inject(Op::Put, Fault::LostReply, 1),
            _ => {}
        }
    }
    rig.store.heal();
    rig.start();
    synced(&mut rig).await;
    rig.assert_restores();
}

fn work(rig: &Rig, kind: u64, n: u64) {
    match kind {
        0..=2 => rig.write(n as u32 * 10),
        3 => rig.run(&format!("UPDATE t SET x = randomblob(900) WHERE id % 50 = {}", n % 50)),
        4 => rig.run(&format!("DELETE FROM t WHERE id % 40 = {}", n % 40)),
        5 => rig.run("PRAGMA incremental_vacuum(5)"),
        _ => rig.run("PRAGMA busy_timeout=0; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout=5000"),
    }
}

fn tamper(rig: &mut Rig, dice: &mut impl FnMut(u64) -> u64) {
    for _ in 0..dice(4) {
        work(rig, dice(7), dice(300));
    }
    match dice(8) {
        0 => away(rig, ""),
        1 => away(rig, "PRAGMA incremental_vacuum"),
        2 => rig.run("PRAGMA wal_checkpoint(RESTART); UPDATE t SET x = 1 WHERE id % 9 = 0"),
        3 => away(rig, "PRAGMA journal_mode=DELETE; UPDATE t SET x = 2 WHERE id % 70 = 3; PRAGMA journal_mode=WAL"),
        4 => {
            close(rig);
            open(rig);
        }
        5 => away(rig, "INSERT INTO t(x) VALUES (randomblob(30000))"),
        6 => {
            // The same database as another file, as on another volume.
            away(rig, "UPDATE t SET x = 3 WHERE id % 90 = 1");
            close(rig);
            let copy = rig.dir.path().join("copy.db");
            std::fs::copy(&rig.settings.path, &copy)
                .and_then(|_| std::fs::rename(&copy, &rig.settings.path))
                .expect("copy");
            for suffix in ["-wal", "-shm"] {
                fsx::remove_file_if_exists(&fsx::with_suffix(&rig.settings.path, suffix)).expect("remove");
            }
            open(rig);
        }
        _ => {}
    }
}

#[test]
fn the_bucket_is_asked_only_where_it_pays() {
    let known = Local { pages: 100, is_small: false, is_known: true, is_blank: false, suspected: None };
    let unknown = Local { is_known: false, ..known };
    let reason = ImageReason::LocalChanges;
    assert!(skip(known, reason, 0).is_none());
    assert!(skip(known, reason, FAILURES_MAX).is_some());
    assert!(skip(known, ImageReason::PageSizeChanged, 0).is_some());
    assert!(skip(unknown, reason, FAILURES_MAX).is_none(), "whose it is must be found out");
    assert!(skip(Local { is_blank: true, ..known }, reason, FAILURES_MAX).is_none());

    let file = |size| LtxObject {
        level: Level::L0,
        min_txid: Txid::FIRST,
        max_txid: Txid::FIRST,
        size,
        modified_ms: 0,
        name: Key::new("x").expect("valid"),
    };
    let refused = |files: &[LtxObject], local, other_pages| refuse(files, other_pages, 1000, local).is_some();
    assert!(!refused(&[file(2000)], known, 100));
    assert!(refused(&[file(2001)], known, 100) && !refused(&[file(2001)], unknown, 100));
    assert!(refused(&vec![file(1); PLAN_FILES_MAX + 1], known, 100));
    let suspected = Local { suspected: Some(SyncedTo::up_to(Some(Txid::FIRST))), ..known };
    assert!(skip(suspected, reason, FAILURES_MAX).is_none(), "what went on elsewhere must be found out");
    assert!(!refused(&vec![file(2001); PLAN_FILES_MAX + 1], suspected, 100));
    assert!(!refused(&[file(2000)], Local { is_small: true, ..suspected }, 100));
    let small = Local { is_small: true, ..known };
    assert!(refused(&[file(2000)], small, 201) && !refused(&[file(9000)], small, 202), "where is the rest of it?");
}

#[test]
fn the_verdicts() {
    let known = Local { pages: 160, is_small: false, is_known: true, is_blank: false, suspected: None };
    let unknown = Local { is_known: false, ..known };
    let blank = Local { is_blank: true, ..known };
    let small = Local { pages: 10, is_small: true, ..known };
    // Pages that differ, that show the same lineage, and whether the schema is another's.
    let seen = |local: Local, differing, related, foreign_schema| {
        let comparison = Comparison::made_up(local.pages, differing, related, foreign_schema);
        judge(local, &Found::Compared(comparison, Scope { bytes: 0, other_pages: 160 }))
    };
    assert_eq!(seen(known, 0, 0, false), Verdict::Equal);
    assert_eq!(seen(unknown, 0, 0, false), Verdict::Equal, "a copy is as good as the original");
    assert_eq!(seen(known, 80, 0, false), Verdict::Difference);
    assert_eq!(seen(unknown, 80, 10, false), Verdict::Difference);
    assert!(matches!(seen(unknown, 80, 9, false), Verdict::Stranger(_)));
    assert!(matches!(seen(unknown, 81, 10, false), Verdict::Image(_)));
    assert!(matches!(seen(known, 160, 0, false), Verdict::Image(_)), "a VACUUM leaves no page where it was");
    assert!(matches!(seen(known, 160, 0, true), Verdict::Stranger(_)));
    assert!(matches!(seen(known, 81, 10, true), Verdict::Image(_)), "tables were renamed");
    assert!(matches!(seen(small, 9, 1, false), Verdict::Stranger(_)));
    let by_rows = |local: Local, theirs, shared| {
        let comparison = Comparison::made_up(local.pages, 160, 0, true).with_rows(theirs, shared);
        judge(local, &Found::Compared(comparison, Scope { bytes: 0, other_pages: 160 }))
    };
    assert!(
        matches!(by_rows(unknown, 1000, 501), Verdict::Image(_)),
        "built anew: no page is where it was, the rows are"
    );
    assert!(matches!(by_rows(unknown, 1000, 500), Verdict::Stranger(_)));
    assert!(matches!(by_rows(unknown, 0, 0), Verdict::Stranger(_)));
    let resized = |theirs, shared| judge(unknown, &Found::PageSize(Rows { theirs, shared }));
    assert!(matches!(resized(10, 9), Verdict::Beginning(..)));
    assert!(matches!(resized(10, 1), Verdict::Stranger(_)));
    assert!(matches!(seen(small, 1, 8, false), Verdict::Difference));
    for (local, skipped, resized, broken) in
        [(known, true, true, true), (unknown, false, false, false), (blank, false, false, false)]
    {
        let is_shipped = |found| !matches!(judge(local, &found), Verdict::Stranger(_));
        assert_eq!(is_shipped(Found::Skipped("x".into())), skipped, "{local:?}");
        assert_eq!(is_shipped(Found::PageSize(Rows::default())), resized, "{local:?}");
        assert_eq!(is_shipped(Found::Broken("x".into())), broken, "{local:?}");
    }
}

#[test]
fn a_comparison_with_what_was_written_since_avoids_files_from_before_and_after() {
    let txid = |number| Txid::new(number).expect("not zero");
    let mut listing = crate::remote::Listing::default();
    for (level, min, max) in
        [(Level::L0, 1, 1), (Level::L0, 2, 2), (Level::L0, 3, 3), (Level::L0, 4, 4), (Level::SNAPSHOT, 1, 3)]
    {
        listing.insert(LtxObject {
            level,
            min_txid: txid(min),
            max_txid: txid(max),
            size: 1000,
            modified_ms: 0,
            name: Key::new(format!("{level:?}/{min}-{max}")).expect("valid"),
        });
    }
    let ranges = |listing: &_, own, end| {
        let files = files_apart(listing, SyncedTo::up_to(own), txid(end))?;
        Some(files.iter().map(|file| (file.min_txid.get(), file.max_txid.get())).collect::<Vec<_>>())
    };
    assert_eq!(ranges(&listing, Some(txid(2)), 4), Some(vec![(1, 1), (2, 2), (3, 3), (4, 4)]));
    assert_eq!(ranges(&listing, Some(txid(3)), 4), Some(vec![(1, 3), (4, 4)]));
    assert_eq!(ranges(&listing, None, 4), Some(vec![(1, 3), (4, 4)]));
    listing.retain(|file| file.level != Level::L0 || file.min_txid != txid(2));
    assert_eq!(ranges(&listing, Some(txid(2)), 4), None, "the only way leads over a file from before and after");
}

#[test]
fn a_history_that_went_on_is_continued_only_by_what_came_after_it() {
    let own = SyncedTo::up_to(Some(Txid::FIRST));
    let local = Local { pages: 160, is_small: false, is_known: true, is_blank: false, suspected: Some(own) };
    let seen = |local: Local, differing, moved, kept| {
        let comparison = Comparison::made_up(160, differing, 100, false).since(moved, kept);
        judge(local, &Found::Compared(comparison, Scope { bytes: 0, other_pages: 160 }))
    };
    let moved_on = |verdict| matches!(verdict, Verdict::MovedOn(up_to, _) if up_to == own);
    // Pages that differ, that were written since, that show that this came after them.
    let table =
        [(7, 4, 2, true), (7, 5, 2, false), (7, 1, 1, true), (7, 0, 0, false), (7, 1, 0, false), (160, 9, 5, true)];
    for (differing, moved, kept, came_after) in table {
        assert_eq!(!moved_on(seen(local, differing, moved, kept)), came_after, "{kept} of {moved}");
    }
    assert_eq!(seen(local, 7, 4, 4), Verdict::Difference);
    assert!(matches!(seen(local, 160, 9, 9), Verdict::Image(_)));
    assert_eq!(seen(local, 0, 3, 0), Verdict::Equal, "equal is equal");
    // A file that is not known, or one without a table, is no better.
    for worse in [Local { is_known: false, ..local }, Local { is_blank: true, ..local }] {
        assert!(moved_on(seen(worse, 7, 5, 2)));
    }
    let text = || "x".to_owned();
    for found in [Found::Skipped(text()), Found::PageSize(Rows::default()), Found::Broken(text())] {
        assert!(moved_on(judge(local, &found)));
        assert!(!moved_on(judge(Local { suspected: None, ..local }, &found)));
    }
    let mut cut_short = Comparison::made_up(160, 7, 100, false).since(4, 4);
    cut_short.whole = false;
    assert!(moved_on(judge(local, &Found::Compared(cut_short, Scope { bytes: 0, other_pages: 160 }))));
}

/// Another node with a copy of the database, on the same bucket.
async fn copied_node(rig: &mut Rig) -> Rig {
    away(rig, "");
    let mut other = Rig::new(|_| {});
    close(&mut other);
    for suffix in ["-wal", "-shm"] {
        fsx::remove_file_if_exists(&fsx::with_suffix(&other.settings.path, suffix)).expect("remove");
    }
    close(rig);
    std::fs::copy(&rig.settings.path, &other.settings.path).expect("copy");
    open(rig);
    open(&mut other);
    other.store = rig.store.clone();
    other
}

/// Everything that a replication says until it ends.
async fn all_events(rig: &mut Rig) -> Vec<&'static str> {
    let mut said = Vec::new();
    loop {
        match rig.event().await {
            Event::Ready(_) => said.push("ready"),
            Event::Failed { .. } => said.push("failed"),
            Event::Exclusive { .. } => said.push("exclusive"),
            Event::Fenced => {
                said.push("fenced");
                return said;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_left_behind_is_never_the_newest_state() {
    let mut rig = shipped().await;
    let mut other = copied_node(&mut rig).await;
    other.start();
    for _ in 0..3 {
        other.write(300);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    synced(&mut other).await;
    let objects = rig.objects();
    // With and without commits of its own; after an end in the middle the application is not even
    // started.
    for cut_off in [false, true] {
        if cut_off {
            rig.start();
            while !matches!(rig.event().await, Event::Fenced) {}
            rig.crash().await;
            rig.write(300);
        }
        rig.start();
        let said = all_events(&mut rig).await;
        assert!(!cut_off || said == ["fenced"], "{said:?}");
        match rig.finish().await {
            Ended::Fenced => {}
            ended => panic!("{ended:?}"),
        }
        assert_eq!(rig.objects(), objects, "nothing was uploaded");
    }
    // The other one goes on as if nothing had happened.
    other.start();
    other.write(10);
    synced(&mut other).await;
    other.assert_restores();
    // Until a human decides.
    let state = LocalState::open(&rig.settings.path, &rig.settings.meta_path);
    let steps = state.plan_reset("x").expect("plan");
    state.order_reset(&steps).expect("order");
    let images = rig.images();
    rig.start();
    assert!(matches!(rig.event().await, Event::Ready(_)));
    let txid = synced(&mut rig).await;
    assert_eq!((rig.images(), has_snapshot(&rig, txid)), (images + 1, true));
    rig.assert_restores();
    // It was said for once.
    rig.start();
    rig.write(10);
    assert_eq!(synced(&mut rig).await, txid + 1);
    assert_eq!(rig.images(), images + 1);
    rig.assert_restores();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_which_nobody_heard_is_not_somebody_elses() {
    let mut rig = shipped().await;
    rig.start();
    rig.store.inject(Op::Put, Fault::LostReply, 1);
    rig.store.inject(Op::Put, Fault::Hang, usize::MAX);
    rig.write(10);
    rig.until("the object", |rig| rig.objects().len() == 3).await;
    rig.crash().await;
    rig.store.heal();
    // All that it wrote is written anew, by a program that leaves no WAL.
    away(&mut rig, "UPDATE t SET x = randomblob(20) WHERE id > 240");
    rig.start();
    assert_eq!(synced(&mut rig).await, 4);
    rig.assert_restores();
    assert_eq!(rig.images(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_and_was_overtaken_is_kept_and_stops_nobody() {
    let mut rig = shipped().await;
    let mut other = copied_node(&mut rig).await;
    rig.settings.tuning.max_sync_wal_bytes = 20_000;
    rig.start();
    rig.until("the start", |rig| rig.store.calls(Op::List) > 0).await;
    rig.store.inject(Op::Put, Fault::Fail(transient), usize::MAX);
    for _ in 0..20 {
        rig.write(3000);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    rig.until("a spilled file", |rig| spilled(rig) > 0).await;
    rig.crash().await;
    rig.store.heal();
    other.start();
    other.write(300);
    synced(&mut other).await;
    let objects = rig.objects();
    for _ in 0..2 {
        rig.start();
        assert_eq!(all_events(&mut rig).await, ["fenced"]);
        assert!(matches!(rig.finish().await, Ended::Fenced));
        assert_eq!((spilled(&rig), rig.objects()), (0, objects.clone()));
        let kept = std::fs::read_dir(rig.settings.meta_path.join("orphaned")).expect("kept").count();
        assert!(kept > 0 && rig.store.names().iter().any(|name| name.starts_with("orphaned/")));
    }
}

fn spilled(rig: &Rig) -> usize {
    std::fs::read_dir(rig.settings.meta_path.join("spill")).map_or(0, Iterator::count)
}

#[test]
fn sizes_are_said_in_round_numbers() {
    let said = [50, 50_400, 512_000_000].map(|bytes| Size(bytes).to_string());
    assert_eq!(said, ["50 bytes", "50 KB", "512 MB"]);
}

#[test]
fn the_more_there_is_the_more_kin_is_wanted() {
    let table = [
        (3, 1, 1),
        (2, 2, 2),
        (3, 3, 2),
        (12, 9, 3),
        (12, 100_000, 8),
        (100_000, 100_000, 6250),
        (1000, 30, 62),
        (2, 0, 1),
    ];
    for (live, other, wanted) in table {
        assert_eq!(related_wanted(live, other), wanted, "{live} pages here, {other} there");
    }
}
