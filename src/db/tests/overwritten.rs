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
    rig.db.compare_samples().expect("compare");
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
    rig.db.compare_samples().expect("compare");
    assert!(!rig.db.is_overwritten());
}

/// Another program writes to page 2.
pub(super) fn patch(rig: &Rig) {
    let file = std::fs::File::options().write(true).open(path_in(&rig.dir)).expect("open");
    std::os::unix::fs::FileExt::write_all_at(&file, b"past SQLite", 1024 + 1000).expect("patch");
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
    rig.db.compare_samples().expect("compare");
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
    rig.db.compare_samples().expect("compare");
    assert!(rig.db.is_overwritten());
}
