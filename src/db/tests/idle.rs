//! The connections are closed while nothing happens, and no commit is missed.

use super::*;
use crate::clock::Dice;

/// Longer than the kernel's step of a file's time.
const TICK: Duration = Duration::from_millis(40);

impl Rig {
    /// Everything is captured, and the connections are closed.
    fn close(&mut self) {
        self.capture();
        assert_eq!(self.reset(), Reset::Done);
        std::thread::sleep(TICK);
        assert!(self.db.close(MACHINE, TICK / 2).expect("close"));
        assert!(!self.db.glance().expect("look"), "nothing has happened");
    }

    /// What the first capture after opening it again is: nothing, a difference, or an image.
    fn open_again(&mut self) -> Option<Option<ImageReason>> {
        self.db.open_again().expect("open");
        self.capture().map(|batch| batch.image)
    }

    /// The application closes the database, which deletes the WAL, and opens it anew.
    fn app_restarts(&mut self) {
        let path = path_in(&self.dir);
        std::mem::replace(&mut self.app, rusqlite::Connection::open_in_memory().expect("open")).close().expect("close");
        assert!(!path.with_extension("db-wal").exists(), "it was the last connection");
        self.app = open_app(&path);
    }
}

fn rig() -> Rig {
    let mut rig = Rig::new(&format!("{SETUP}; INSERT INTO t(x) VALUES ('first')"));
    rig.close();
    rig
}

const UPDATE: &str = "UPDATE t SET x = x || '.'";
const CHECKPOINT: &str = "PRAGMA wal_checkpoint(PASSIVE)";

#[test]
fn what_is_committed_while_it_is_closed_is_captured_when_it_is_opened_again() {
    let mut rig = rig();
    rig.run(UPDATE);
    assert!(rig.db.glance().expect("look"));
    assert_eq!(rig.open_again(), Some(None));
    rig.run(UPDATE);
    assert!(!is_image(&rig.capture()), "it goes on as ever");
}

#[test]
fn nothing_is_captured_where_nothing_was_committed() {
    let mut rig = rig();
    assert_eq!(rig.open_again(), None);
    rig.close();
    rig.app_restarts();
    assert_eq!(rig.open_again(), None, "the WAL was deleted, and it held nothing");
}

/// A database that is closed while a reader of the application keeps the WAL from being started
/// over.
fn rig_with_reader() -> (Rig, rusqlite::Connection) {
    let mut rig = Rig::new(&format!("{SETUP}; INSERT INTO t(x) VALUES ('first')"));
    let reader = open_app(&path_in(&rig.dir));
    rig.capture();
    reader.execute_batch("BEGIN; SELECT * FROM t").expect("read");
    rig.close();
    (rig, reader)
}

#[test]
fn a_checkpoint_does_not_hide_what_is_still_in_the_wal() {
    let (mut rig, reader) = rig_with_reader();
    rig.run(UPDATE);
    reader.execute_batch("COMMIT").expect("end");
    rig.run(CHECKPOINT);
    assert_eq!(rig.open_again(), Some(None));
}

/// The next commit goes on in the WAL, is checkpointed, and is gone when the WAL is started over at
/// last: that it was started over only once does not show that nothing is missing.
#[test]
fn a_generation_that_went_on_after_the_closing_is_not_taken_for_complete() {
    let (mut rig, reader) = rig_with_reader();
    rig.run(UPDATE);
    reader.execute_batch("COMMIT").expect("end");
    rig.run(&format!("INSERT INTO t(x) VALUES (1); {CHECKPOINT}; INSERT INTO t(x) VALUES (2); {CHECKPOINT}"));
    assert_eq!(rig.open_again(), Some(Some(ImageReason::LocalChanges)));
}

#[test]
fn a_new_wal_beside_an_untouched_file_holds_everything() {
    let mut rig = rig();
    rig.app_restarts();
    rig.run(UPDATE);
    assert_eq!(rig.open_again(), Some(None));
}

#[test]
fn what_the_wal_does_not_hold_any_more_is_found_by_an_image() {
    let mut begun_anew = rig();
    begun_anew.run(&format!("{UPDATE}; {CHECKPOINT}; {UPDATE}"));
    assert_eq!(begun_anew.open_again(), Some(Some(ImageReason::LocalChanges)));
    let mut deleted = rig();
    deleted.run(UPDATE);
    deleted.app_restarts();
    assert_eq!(deleted.open_again(), Some(Some(ImageReason::LocalChanges)));
}

#[test]
fn a_write_past_sqlite_is_told_from_a_checkpoint() {
    for update in ["", UPDATE] {
        let mut rig = rig();
        rig.run(update);
        overwritten::patch(&rig);
        assert!(rig.db.glance().expect("look"));
        rig.db.open_again().expect("open");
        let batch = rig.db.capture(|| 1).expect("capture").expect("a batch");
        assert_eq!(batch.image, Some(ImageReason::FileOverwritten), "{update:?}");
    }
}

#[test]
fn another_file_in_its_place_is_not_opened() {
    let mut rig = rig();
    let path = path_in(&rig.dir);
    let other = path.with_extension("other");
    open_app(&other).execute_batch(SETUP).expect("create");
    std::fs::rename(&other, &path).expect("replace");
    assert!(matches!(rig.db.glance(), Err(DbError::Replaced { .. })));
    assert!(matches!(rig.db.open_again(), Err(DbError::Replaced { .. })));
    assert!(matches!(rig.db.open_again(), Err(DbError::Replaced { .. })), "it is still closed");
}

/// Only who rests has nothing in the WAL that the next connection would have to know.
#[test]
fn what_is_not_at_rest_is_not_closed() {
    let mut rig = Rig::new(SETUP);
    assert!(!rig.db.close(MACHINE, Duration::ZERO).expect("close"), "nothing is captured");
    rig.run("INSERT INTO t(x) VALUES (1)");
    rig.capture();
    assert!(!rig.db.close(MACHINE, Duration::ZERO).expect("close"), "the WAL is not copied into the file");
    assert_eq!(rig.reset(), Reset::Done);
    rig.run(UPDATE);
    assert!(!rig.db.close(MACHINE, Duration::ZERO).expect("close"), "a commit is not captured");
    assert!(!is_image(&rig.capture()), "nothing has changed");
    assert_eq!(rig.reset(), Reset::Done);
    assert!(!rig.db.close(MACHINE, TICK * 1000).expect("close"), "the next change might leave the same time");
}

/// Whatever the application does meanwhile, the copy equals the database afterwards.
#[test]
fn nothing_is_missed_whatever_happens_meanwhile() {
    let mut dice = Dice::from_env();
    let mut rig = rig();
    let mut reader = None;
    for round in 0..100 {
        for _ in 0..dice.roll(6) {
            match dice.roll(10) {
                0..4 => rig.run(UPDATE),
                8 => {
                    let new = open_app(&path_in(&rig.dir));
                    new.execute_batch("BEGIN; SELECT * FROM t").expect("read");
                    reader = Some(new);
                }
                9 => reader = None,
                4 => rig.run("INSERT INTO t(x) VALUES (zeroblob(3000))"),
                5 => rig.run(CHECKPOINT),
                6 => rig.run(["DELETE FROM t WHERE id > 3", "VACUUM"][dice.roll(2) as usize]),
                _ => {
                    reader = None;
                    rig.app_restarts();
                }
            }
        }
        println!("round {round}");
        rig.open_again();
        // One that stands in the middle of the WAL would keep it from being copied.
        reader = reader.filter(|_| dice.roll(2) == 0);
        if let Some(reader) = &reader {
            reader.execute_batch("COMMIT; BEGIN; SELECT * FROM t").expect("read again");
        }
        rig.close();
    }
}

/// It is not closed a second time where no other process has it open.
#[test]
fn what_was_missed_once_is_not_risked_again() {
    let mut rig = rig();
    rig.run(UPDATE);
    rig.app_restarts();
    rig.open_again();
    assert!(rig.db.was_missed);
    assert_eq!(rig.reset(), Reset::Done);
    assert!(!rig.db.close_idle(MACHINE).expect("close"));
}
