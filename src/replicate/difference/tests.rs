//! Whatever happened while nothing replicated: the objects alone give the live database back, and
//! no more is uploaded than differs.

mod left_behind;
mod others;
mod verdicts;

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
