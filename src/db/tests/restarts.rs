//! What a later start makes of the WAL that it finds: continued, or an image.

use super::*;

#[test]
fn a_restart_continues_where_the_wal_still_stands() {
    let mut rig = Rig::new(SETUP);
    rig.capture();
    rig.run("INSERT INTO t(x) VALUES (1)");
    rig.capture();
    rig.run("INSERT INTO t(x) VALUES (2)");
    let mut rig = rig.restart();
    rig.resume().expect("provable");
    assert!(!is_image(&rig.capture()));
}

#[test]
fn a_restart_continues_across_one_foreign_wal_restart_if_the_end_is_visible() {
    for long_before in [true, false] {
        let mut rig = Rig::new(SETUP);
        if long_before {
            // What this generation leaves behind in the file shows how far the next one went.
            rig.run("INSERT INTO t(x) VALUES (zeroblob(90000))");
            rig.capture();
            assert_eq!(rig.reset(), Reset::Done);
        }
        rig.run("INSERT INTO t(x) VALUES (zeroblob(9000))");
        rig.capture();
        let Rig { dir, app, db, copy, last } = rig;
        drop(db);
        app.execute_batch("PRAGMA wal_checkpoint(PASSIVE); INSERT INTO t(x) VALUES (1)").expect("restart the WAL");
        let db = Db::open(&path_in(&dir), tuning()).expect("open");
        let mut rig = Rig { dir, app, db, copy, last };
        assert_eq!(rig.resume().is_ok(), long_before);
        assert_eq!(is_image(&rig.capture()), !long_before);
    }
}

#[test]
fn a_generation_that_grew_after_its_reset_is_not_taken_for_complete() {
    let mut rig = Rig::new(SETUP);
    rig.capture();
    rig.run("INSERT INTO t(x) VALUES (1)");
    rig.capture();
    let header = rig.last.expect("captured");
    assert_eq!(rig.reset(), Reset::Done);
    let Rig { dir, app, db, copy, last } = rig;
    // Everybody leaves. Who comes first recovers the WAL and no longer knows that all of it is in
    // the database file: the next commit goes behind the sealed end. A checkpoint, and one more
    // starts the WAL over and overwrites both.
    drop((app, db));
    let app = open_app(&path_in(&dir));
    app.execute_batch("INSERT INTO t(x) VALUES ('unseen'); PRAGMA wal_checkpoint(PASSIVE)").expect("write");
    app.execute_batch("INSERT INTO t(x) VALUES (zeroblob(50000))").expect("write");
    let db = Db::open(&path_in(&dir), tuning()).expect("open");
    let rig = Rig { dir, app, db, copy, last };
    let candidate = rig.db.candidate(&header).expect("look");
    assert_eq!(candidate.map(|_| "continued").unwrap_err(), ImageReason::LocalChanges);
}

#[test]
fn a_restart_after_unseen_changes_takes_an_image() {
    let mut rig = Rig::new(SETUP);
    rig.capture();
    rig.run("INSERT INTO t(x) VALUES (1)");
    rig.capture();
    let Rig { dir, app, db, copy, last } = rig;
    drop(db);
    // Commits that are checkpointed and overwritten before we look again.
    app.execute_batch("INSERT INTO t(x) VALUES (2); PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t(x) VALUES (3)")
        .expect("write");
    let db = Db::open(&path_in(&dir), tuning()).expect("open");
    let mut rig = Rig { dir, app, db, copy, last };
    assert_eq!(rig.resume(), Err(ImageReason::LocalChanges));
    assert!(is_image(&rig.capture()));
}

#[test]
fn a_wal_that_has_lost_commits_in_a_power_loss_is_not_continued() {
    let outcomes = [("", ImageReason::CommitsLost), ("INSERT INTO t(x) VALUES ('other')", ImageReason::WalRewritten)];
    for (then, reason) in outcomes {
        let mut rig = Rig::new(SETUP);
        rig.capture();
        let wal = crate::fsx::with_suffix(&path_in(&rig.dir), "-wal");
        let keep = std::fs::metadata(&wal).expect("stat").len();
        rig.run("INSERT INTO t(x) VALUES ('lost')");
        rig.capture();
        let Rig { dir, app, db, copy, last } = rig;
        // As after a crash: no process has the database open, and the last transaction never
        // reached the disk.
        app.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("config");
        drop((app, db));
        let cut = std::fs::read(&wal).expect("read");
        std::fs::write(&wal, &cut[..keep as usize]).expect("cut");
        let app = open_app(&path_in(&dir));
        app.execute_batch(then).expect("write");
        let db = Db::open(&path_in(&dir), tuning()).expect("open");
        let mut rig = Rig { dir, app, db, copy, last };
        assert_eq!(rig.db.wal_relation(&last.expect("captured")), WalRelation::Same);
        assert_eq!(rig.resume(), Err(reason));
        assert!(is_image(&rig.capture()));
    }
}

/// What SQLite's own recovery finds in a damaged WAL is what is captured: never more, never less.
#[test]
fn a_damaged_wal_is_captured_as_far_as_sqlite_recovers_it() {
    type Damage = fn(&mut Vec<u8>, usize);
    let damages: [(&str, Damage); 7] = [
        ("a flip in a frame's header", |wal, frame| wal[frame + 2] ^= 1),
        ("a flip in a frame's page", |wal, frame| wal[frame + 300] ^= 1),
        ("a flip in a frame's salt", |wal, frame| wal[frame + 9] ^= 1),
        ("half a frame at the end", |wal, frame| wal.truncate(frame + 500)),
        ("no commit frame at the end", |wal, _| wal.truncate(wal.len() - 1048)),
        ("a flip in the WAL's header", |wal, _| wal[17] ^= 1),
        ("frames of an older generation behind the end", |wal, frame| {
            let mut stale = wal[32..32 + 1048].to_vec();
            stale[8] ^= 1;
            wal.truncate(frame);
            wal.extend(stale);
        }),
    ];
    for (name, damage) in damages {
        for at in [0, 3, 7] {
            let mut rig = Rig::new(SETUP);
            rig.capture();
            for _ in 0..6 {
                rig.run("INSERT INTO t(x) VALUES (zeroblob(2000))");
            }
            rig.capture();
            let Rig { dir, app, db, copy, last } = rig;
            app.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("config");
            drop((app, db));
            let wal = crate::fsx::with_suffix(&path_in(&dir), "-wal");
            let mut bytes = std::fs::read(&wal).expect("read");
            damage(&mut bytes, 32 + at * 1048);
            std::fs::write(&wal, bytes).expect("write");
            crate::fsx::remove_file_if_exists(&crate::fsx::with_suffix(&path_in(&dir), "-shm")).expect("remove");
            // The oracle recovers a copy, so that it cannot help us.
            let oracle = tempfile::tempdir().expect("tempdir");
            for suffix in ["", "-wal"] {
                let name = format!("app.db{suffix}");
                std::fs::copy(dir.path().join(&name), oracle.path().join(&name)).expect("copy");
            }
            let recovered = open_app(&oracle.path().join("app.db"));
            let db = Db::open(&path_in(&dir), tuning()).expect("open");
            let mut rig = Rig { app: recovered, dir, db, copy, last };
            let _ = rig.resume();
            println!("{name} at frame {at}: image {}", is_image(&rig.db.capture(|| 1).expect("capture")));
            let mut rig = rig.restart();
            rig.db.start_over(rig.last.map(|h| h.max_txid), ImageReason::WalRewritten);
            rig.capture();
        }
    }
}

/// SQLite goes on with a WAL in the byte order in which it was begun, on whatever machine.
#[test]
fn a_wal_of_the_other_byte_order_is_followed() {
    let mut rig = Rig::new(SETUP);
    rig.run("INSERT INTO t(x) VALUES (zeroblob(5000))");
    let Rig { dir, app, db, copy, last } = rig;
    app.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("config");
    drop((app, db));
    let wal = crate::fsx::with_suffix(&path_in(&dir), "-wal");
    let bytes = std::fs::read(&wal).expect("read");
    std::fs::write(&wal, crate::sqlite::in_byte_order(&bytes, 1024, cfg!(target_endian = "little"))).expect("write");
    crate::fsx::remove_file_if_exists(&crate::fsx::with_suffix(&path_in(&dir), "-shm")).expect("remove");
    let (app, db) = (open_app(&path_in(&dir)), Db::open(&path_in(&dir), tuning()).expect("open"));
    rig = Rig { dir, app, db, copy, last };
    assert!(is_image(&rig.capture()));
    for round in 0..3 {
        rig.run("INSERT INTO t(x) VALUES (zeroblob(3000))");
        let batch = rig.capture().expect("something new");
        assert_eq!((batch.image, batch.header.wal.offset > 32), (None, true), "round {round}");
        rig = rig.restart();
        assert_eq!(rig.resume(), Ok(()), "round {round}");
    }
}

/// Nothing is known of the end of the history, and the WAL has to become shorter: commits that were
/// in it, and that were not captured, are in the file only.
#[test]
fn after_a_reset_before_the_place_was_known_nothing_is_continued() {
    let mut rig = Rig::new(SETUP);
    rig.run("INSERT INTO t(x) VALUES (zeroblob(30000))");
    rig.capture();
    assert_eq!(rig.reset(), Reset::Done);
    // A shorter generation, whose end is followed by frames of the one before.
    rig.run("INSERT INTO t(x) VALUES (zeroblob(5000))");
    rig.capture();
    assert_eq!(rig.reset(), Reset::Done);
    rig.run("INSERT INTO t(x) VALUES ('never captured')");
    let mut rig = rig.restart();
    assert_eq!(rig.reset(), Reset::Done);
    rig.run("UPDATE t SET x = 'later' WHERE id = 1");
    assert_eq!(rig.resume(), Err(ImageReason::WalRestarted));
    assert!(is_image(&rig.capture()));
}
