//! What SQLite itself leaves in the database file is never taken for a write past it.

use super::*;

/// A checkpoint that our read transaction stops does not copy a page that was written again beyond
/// it. No other program has touched the file then, though it does not hold what was captured.
#[test]
fn a_page_that_a_checkpoint_has_left_out_is_no_suspicion() {
    let mut rig = Rig::new(&format!("{SETUP}; INSERT INTO t(x) VALUES ('first')"));
    rig.capture();
    rig.run("UPDATE t SET x = 'second'");
    rig.capture();
    rig.run("UPDATE t SET x = 'third'; PRAGMA wal_checkpoint(PASSIVE)");
    rig.db.look_at_writes().expect("look");
    rig.db.compare_with_file().expect("compare");
    assert!(!rig.db.is_overwritten());
    assert!(rig.db.writes.is_unsure, "it cannot be told before the commit is captured");
    rig.capture();
    assert!(!rig.db.is_overwritten());
    rig.run("PRAGMA wal_checkpoint(PASSIVE)");
    rig.capture();
    assert!(!rig.db.is_overwritten() && !rig.db.writes.is_unsure, "now it can");
}

/// The same with a database that grows: its last pages are not in the file yet.
#[test]
fn a_file_that_is_shorter_than_the_database_for_a_while_is_no_suspicion() {
    let mut rig = Rig::new(SETUP);
    rig.capture();
    rig.run("INSERT INTO t(x) VALUES (zeroblob(20000))");
    rig.capture();
    rig.run("UPDATE t SET x = zeroblob(20000); PRAGMA wal_checkpoint(PASSIVE)");
    rig.db.look_at_writes().expect("look");
    rig.db.compare_with_file().expect("compare");
    assert!(!rig.db.is_overwritten());
}

/// Another program writes to page 2.
pub(super) fn patch(rig: &Rig) {
    patch_page(rig, 2);
}

fn patch_page(rig: &Rig, page: u64) {
    let file = std::fs::File::options().write(true).open(path_in(&rig.dir)).expect("open");
    std::os::unix::fs::FileExt::write_all_at(&file, b"past SQLite", (page - 1) * 1024 + 1000).expect("patch");
    // Closing a descriptor drops the locks of this process, as another process would not.
    let _open = std::mem::ManuallyDrop::new(file);
}

/// The check can fail: a page is patched behind a checkpoint that explains the change.
#[test]
fn a_patch_behind_a_checkpoint_is_seen() {
    let mut rig = Rig::new(&format!("{SETUP}; INSERT INTO t(x) VALUES ('first')"));
    rig.capture();
    rig.run("UPDATE t SET x = 'second'");
    rig.capture();
    rig.run("PRAGMA wal_checkpoint(PASSIVE)");
    patch(&rig);
    rig.db.look_at_writes().expect("look");
    rig.db.compare_with_file().expect("compare");
    assert!(rig.db.is_overwritten());
}

/// The same right after an image, which does not say which frames its pages are in.
#[test]
fn a_patch_behind_the_checkpoint_after_an_image_is_seen() {
    let mut rig = Rig::new(&format!("{SETUP}; INSERT INTO t(x) VALUES ('first')"));
    rig.run("UPDATE t SET x = 'second'");
    rig.capture();
    rig.run("PRAGMA wal_checkpoint(PASSIVE)");
    patch(&rig);
    rig.db.look_at_writes().expect("look");
    rig.db.compare_with_file().expect("compare");
    assert!(rig.db.is_overwritten());
}

/// And where every page that the checkpoint has copied was written again since: only what it has
/// left alone tells.
#[test]
fn a_patch_is_seen_where_nothing_is_as_a_checkpoint_left_it() {
    for is_remembered in [true, false] {
        let mut rig = Rig::new(&format!("{SETUP}; CREATE TABLE old(x); INSERT INTO old VALUES (zeroblob(9000))"));
        rig.capture();
        rig.run("PRAGMA wal_checkpoint(PASSIVE)");
        rig.capture();
        for number in 0..3 {
            rig.run(&format!("INSERT INTO t(x) VALUES ({number})"));
            rig.capture();
        }
        if !is_remembered {
            rig.db.writes.settled.clear();
        }
        // Our read mark is before the last commit, whose pages are those of every other one.
        rig.run("INSERT INTO t(x) VALUES ('last'); PRAGMA wal_checkpoint(PASSIVE)");
        patch_page(&rig, 5);
        rig.db.capture(|| 1).expect("capture");
        assert_eq!(rig.db.is_overwritten(), is_remembered);
    }
}

/// Neither a page that is cut off, comes back and is copied, nor one that is written for the first
/// time in many generations of the WAL, is taken for a patch.
#[test]
fn what_sqlite_writes_later_is_no_suspicion() {
    let mut rig = Rig::new(&format!("{SETUP}; CREATE TABLE old(x); INSERT INTO old VALUES (zeroblob(40000))"));
    rig.capture();
    // Our read mark is in the way of some of them.
    rig.app.busy_timeout(Duration::ZERO).expect("set");
    let steps = [
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "INSERT INTO t(x) VALUES (1)",
        "PRAGMA wal_checkpoint(RESTART)",
        "UPDATE old SET x = zeroblob(39000)",
        "PRAGMA wal_checkpoint(PASSIVE)",
        "DELETE FROM old; PRAGMA wal_checkpoint(PASSIVE)",
        "VACUUM; PRAGMA wal_checkpoint(PASSIVE)",
        "INSERT INTO old VALUES (randomblob(60000))",
        "PRAGMA wal_checkpoint(TRUNCATE); UPDATE old SET x = randomblob(60000)",
        "PRAGMA wal_checkpoint(PASSIVE)",
    ];
    for step in steps.iter().cycle().take(40) {
        rig.run(step);
        for _ in 0..2 {
            rig.capture();
            assert!(!rig.db.is_overwritten(), "{step}");
        }
    }
    assert!(!rig.db.writes.is_unsure && rig.db.writes.settled.iter().count() > 0);
}
