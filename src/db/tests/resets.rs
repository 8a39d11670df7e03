//! The WAL starts over, and nothing is lost with it.

use super::*;

#[test]
fn a_reset_lets_the_wal_start_over_without_an_image() {
    let mut rig = Rig::new(SETUP);
    rig.capture();
    for round in 0..5 {
        rig.run("INSERT INTO t(x) VALUES (zeroblob(5000))");
        rig.capture();
        let before = rig.db.wal_frames();
        assert_eq!(rig.reset(), Reset::Done, "round {round}");
        rig.compare();
        rig.run("INSERT INTO t(x) VALUES (1)");
        assert!(!is_image(&rig.capture()));
        assert!(rig.db.wal_frames() < before, "the WAL did not start over");
    }
}

#[test]
fn following_after_a_reset_leaves_it_to_the_next_writer_to_start_the_wal_over() {
    let mut rig = Rig::new(SETUP);
    rig.run("INSERT INTO t(x) VALUES (1)");
    rig.capture();
    assert_eq!(rig.reset(), Reset::Done);
    // The writer sleeps in its busy handler, and an upload is under way.
    assert_eq!(rig.db.follow().expect("follow"), 0);
    rig.run("INSERT INTO t(x) VALUES (2)");
    assert!(rig.db.follow().expect("follow") > 0);
    rig.capture();
    assert!(rig.db.wal_frames() < 5, "{} frames: the WAL went on behind its old ones", rig.db.wal_frames());
}

#[test]
fn a_reset_captures_the_tail_that_nobody_has_seen() {
    let mut rig = Rig::new(SETUP);
    rig.capture();
    rig.run("INSERT INTO t(x) VALUES (1)");
    assert_eq!(rig.reset(), Reset::Done);
    rig.compare();
    assert!(rig.capture().is_none());
}

#[test]
fn a_reset_waits_for_readers_and_writers_of_the_application() {
    let mut rig = Rig::new(SETUP);
    rig.run("INSERT INTO t(x) VALUES (1)");
    rig.capture();
    let reader = open_app(&path_in(&rig.dir));
    reader.execute_batch("BEGIN; SELECT * FROM t").expect("read");
    rig.run("INSERT INTO t(x) VALUES (2)");
    rig.capture();
    assert_eq!(rig.reset(), Reset::Deferred(Obstacle::Reader));
    rig.run("INSERT INTO t(x) VALUES (3)");
    assert!(!is_image(&rig.capture()));
    reader.execute_batch("COMMIT").expect("end");
    rig.run("BEGIN IMMEDIATE");
    assert_eq!(rig.reset(), Reset::Deferred(Obstacle::Writer));
    rig.run("COMMIT");
    assert_eq!(rig.reset(), Reset::Done);
}

#[test]
fn the_application_cannot_take_frames_away() {
    let mut rig = Rig::new(SETUP);
    rig.capture();
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        for _ in 0..2 {
            rig.run("PRAGMA busy_timeout=0; INSERT INTO t(x) VALUES (1)");
            rig.run(&format!("PRAGMA wal_checkpoint({mode})"));
            rig.run("INSERT INTO t(x) VALUES (2)");
            assert!(!is_image(&rig.capture()), "{mode}");
            rig.reset();
            rig.run(&format!("PRAGMA wal_checkpoint({mode})"));
        }
    }
}

/// Killed between the two copies of the wal-index header, a writer leaves an index that must be
/// built anew, and for that a process must get the checkpoint lock.
#[test]
fn following_builds_a_torn_wal_index_anew() {
    let mut rig = Rig::new(SETUP);
    rig.capture();
    rig.run("INSERT INTO t(x) VALUES (zeroblob(1500000))");
    rig.db.follow().expect("follow");
    assert!(rig.db.checkpoint_lock.excludes_others(), "there is nothing to test");
    for round in 0..3 {
        rig.run("INSERT INTO t(x) VALUES (1)");
        tear_wal_index(&path_in(&rig.dir));
        match round {
            0 => drop(rig.db.follow().expect("follow")),
            1 => drop(rig.db.backlog_bytes().expect("look")),
            _ => assert!(matches!(rig.reset(), Reset::Done | Reset::CaptureFirst)),
        }
        rig.run("INSERT INTO t(x) VALUES (2)");
        rig.db.follow().expect("follow");
        assert!(rig.db.checkpoint_lock.excludes_others(), "round {round}: SQLite's recovery let go of it for us");
        assert!(!is_image(&rig.capture()), "round {round}");
    }
    rig.db.let_go();
    assert!(!rig.db.checkpoint_lock.excludes_others());
}

/// Makes the first copy of the wal-index header another one than the second.
fn tear_wal_index(db: &Path) {
    use std::os::unix::fs::FileExt;
    let shm = std::fs::File::options().read(true).write(true).open(crate::fsx::with_suffix(db, "-shm")).expect("open");
    // Closing it would drop the locks of all connections here.
    let shm = std::mem::ManuallyDrop::new(shm);
    let mut changes = [0; 4];
    shm.read_exact_at(&mut changes, 8).expect("read");
    shm.write_all_at(&(u32::from_ne_bytes(changes) ^ 1).to_ne_bytes(), 8).expect("write");
}

#[test]
fn a_huge_wal_is_truncated_after_a_reset() {
    let mut rig = Rig::new(SETUP);
    rig.db.tuning.truncate_page_n = 10;
    rig.capture();
    rig.run("INSERT INTO t(x) VALUES (zeroblob(100000))");
    rig.capture();
    assert_eq!(rig.reset(), Reset::Done);
    assert_eq!(rig.db.wal_len().expect("stat"), 0);
    assert!(rig.capture().is_none());
    rig.run("INSERT INTO t(x) VALUES (1)");
    assert!(!is_image(&rig.capture()));
}

/// Where the position is not known, the next capture is an image, which keeps the WAL from starting
/// over. A writer that the reset has kept waiting comes first.
#[test]
fn a_writer_at_full_speed_starts_the_wal_over_before_an_image_is_read() {
    let mut rig = Rig::new(SETUP);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (stopped, app) = (stop.clone(), open_app(&path_in(&rig.dir)));
    let writer = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            app.execute_batch("INSERT INTO t(x) VALUES (zeroblob(3000))").expect("write");
        }
    });
    let (mut resets, mut started_over) = (0, 0);
    while resets < 5 {
        let before = rig.db.open_wal().expect("open").and_then(|wal| wal.header().expect("read"));
        if rig.reset() == Reset::Done {
            resets += 1;
            rig.db.capture(|| 1).expect("capture").expect("an image");
            let after = rig.db.open_wal().expect("open").and_then(|wal| wal.header().expect("read"));
            started_over += u32::from(before.map(|header| header.salts) != after.map(|header| header.salts));
            rig.db.start_over(None, ImageReason::FirstBackup);
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().expect("the writer");
    assert!(started_over > 0, "the WAL went on behind its old frames after each of {resets} resets");
}
