//! The capture oracle: a copy that is fed by nothing but captured LTX files must equal the database, page for page, after
//! every capture, whatever the application does to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::ltx::{Decoder, Header, Txid, Versions};
use crate::page::Pgno;

struct Rig {
    dir: tempfile::TempDir,
    app: rusqlite::Connection,
    db: Db,
    copy: Vec<Vec<u8>>,
    last: Option<Header>,
}

impl Rig {
    fn new(setup: &str) -> Rig {
        let dir = tempfile::tempdir().expect("tempdir");
        let app = open_app(&path_in(&dir));
        app.execute_batch(setup).expect("setup");
        let db = Db::open(&path_in(&dir), tuning()).expect("open");
        Rig { dir, app, db, copy: Vec::new(), last: None }
    }

    fn run(&self, sql: &str) {
        self.app.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// Captures once, applies the result to the copy, and compares; returns what the batch was.
    fn capture(&mut self) -> Option<Batch> {
        let batch = self.db.capture(|| 1).expect("capture");
        if let Some(batch) = &batch {
            let bytes = self.db.encode(batch, Vec::new()).expect("encode").writer;
            self.apply(&bytes);
        }
        self.compare();
        batch
    }

    fn reset(&mut self) -> Reset {
        let mut tail = None;
        let reset = self.db.reset_wal(
            || 1,
            |_, bytes| -> Result<(), DbError> {
                tail = Some(bytes);
                Ok(())
            },
        );
        if let Some(bytes) = tail {
            self.apply(&bytes);
        }
        reset.expect("reset")
    }

    fn apply(&mut self, bytes: &[u8]) {
        let mut decoder = Decoder::new(bytes).expect("header");
        let header = *decoder.header();
        assert_eq!(header.min_txid, header.max_txid);
        if let Some(last) = self.last {
            assert_eq!(last.max_txid.next(), Some(header.min_txid), "TXIDs are consecutive");
        }
        let mut page = vec![0; header.page_size.bytes()];
        let old_len = self.copy.len();
        self.copy.resize(header.commit as usize, Vec::new());
        while let Some(pgno) = decoder.next_page(&mut page).expect("page") {
            self.copy[pgno.index()] = page.clone();
        }
        decoder.finish().expect("verified");
        for number in old_len..self.copy.len() {
            assert!(!self.copy[number].is_empty(), "page {} of the grown database is in no file", number + 1);
        }
        self.last = Some(header);
    }

    /// The copy equals what SQLite shows of the newest captured commit.
    fn compare(&self) {
        let live = self.live_pages();
        assert_eq!(self.copy.len(), live.len(), "size in pages");
        for (index, page) in live.iter().enumerate() {
            assert!(self.copy[index] == *page, "page {} differs", index + 1);
        }
    }

    fn live_pages(&self) -> Vec<Vec<u8>> {
        let mut statement = self.app.prepare("SELECT data FROM sqlite_dbpage('main')").expect("dbpage");
        let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("query");
        rows.map(|page| page.expect("page")).collect()
    }

    /// Ends this process's hold on the database and opens it again, as after a restart.
    fn restart(self) -> Rig {
        let Rig { dir, app, db, copy, last } = self;
        drop(db);
        let db = Db::open(&path_in(&dir), tuning()).expect("open");
        Rig { dir, app, db, copy, last }
    }

    /// Resumes as replication does: by the newest header and that object's pages.
    fn resume(&mut self) -> Result<(), ImageReason> {
        let header = self.last.expect("something was captured");
        let candidate = match self.db.candidate(&header).expect("look") {
            Ok(candidate) => candidate,
            Err(reason) => {
                self.db.start_over(Some(header.max_txid), reason);
                return Err(reason);
            }
        };
        let pages: Vec<(Pgno, Vec<u8>)> =
            candidate.pages(1000).into_iter().map(|pgno| (pgno, self.copy[pgno.index()].clone())).collect();
        match self.db.confirm(&candidate, &pages).expect("compare") {
            Some(position) => {
                self.db.continue_from(position);
                Ok(())
            }
            None => {
                self.db.start_over(Some(header.max_txid), ImageReason::WalRewritten);
                Err(ImageReason::WalRewritten)
            }
        }
    }
}

fn path_in(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().canonicalize().expect("tempdir").join("app.db")
}

fn open_app(path: &Path) -> rusqlite::Connection {
    let app = rusqlite::Connection::open(path).expect("open");
    app.busy_timeout(Duration::from_secs(5)).expect("timeout");
    app
}

fn tuning() -> Tuning {
    let (busy_timeout, max_sync_wal_bytes) = (Duration::from_secs(1), 64 << 20);
    Tuning { busy_timeout, min_checkpoint_page_count: 1000, truncate_page_n: 0, max_sync_wal_bytes }
}

const SETUP: &str = "PRAGMA page_size=1024; PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, x)";

fn is_image(batch: &Option<Batch>) -> bool {
    batch.as_ref().is_some_and(|batch| batch.image.is_some())
}

#[test]
fn the_first_capture_is_an_image_and_the_following_ones_are_not() {
    let mut rig = Rig::new(SETUP);
    let first = rig.capture();
    assert_eq!(first.as_ref().and_then(|b| b.image), Some(ImageReason::FirstBackup));
    assert_eq!(rig.last.map(|h| h.min_txid), Some(Txid::FIRST));
    assert!(rig.capture().is_none(), "nothing is new");
    rig.run("INSERT INTO t(x) VALUES (1)");
    let second = rig.capture();
    assert!(second.is_some() && !is_image(&second));
    assert!(rig.capture().is_none());
}

#[test]
fn growth_shrinking_and_vacuum_are_followed() {
    let mut rig = Rig::new(&format!("PRAGMA auto_vacuum=FULL; {SETUP}"));
    rig.capture();
    for sql in [
        "INSERT INTO t(x) SELECT zeroblob(3000) FROM generate_series(1, 50)",
        "DELETE FROM t WHERE id % 2",
        "VACUUM",
        "CREATE TABLE big AS SELECT zeroblob(100000) AS b; DROP TABLE big",
        "INSERT INTO t(x) VALUES (zeroblob(200000)); DELETE FROM t",
    ] {
        let sql = sql.replace("SELECT zeroblob(3000) FROM generate_series(1, 50)", SERIES);
        rig.run(&sql);
        assert!(!is_image(&rig.capture()), "{sql}");
    }
}

/// Fifty rows, without the series extension.
const SERIES: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) SELECT zeroblob(3000) FROM n";

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

/// Killed between the two copies of the wal-index header, a writer leaves an index that must be built anew, and for that somebody
/// must get the checkpoint lock.
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
    // Everybody leaves. Who comes first recovers the WAL and no longer knows that all of it is in the database file: the next
    // commit goes behind the sealed end. A checkpoint, and one more starts the WAL over and overwrites both.
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
        // As after a crash: nobody has the database open, and the last transaction never reached the disk.
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

#[test]
fn another_journal_mode_is_converted() {
    let mut rig = Rig::new("PRAGMA journal_mode=DELETE; CREATE TABLE t(id INTEGER PRIMARY KEY, x)");
    rig.capture();
    rig.run("INSERT INTO t(x) VALUES (1)");
    assert!(!is_image(&rig.capture()));
    let mode: String = rig.app.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("pragma");
    assert_eq!(mode, "wal");
}

#[test]
fn a_glance_sees_commits_and_a_replaced_file() {
    let mut rig = Rig::new(SETUP);
    rig.capture();
    assert!(!rig.db.glance().expect("look"));
    rig.run("INSERT INTO t(x) VALUES (1)");
    assert!(rig.db.glance().expect("look"));
    rig.capture();
    assert!(!rig.db.glance().expect("look"));
    rig.reset();
    assert!(!rig.db.glance().expect("look"));
    rig.run("INSERT INTO t(x) VALUES (1)");
    assert!(rig.db.glance().expect("look"));
    let path = path_in(&rig.dir);
    std::fs::rename(&path, path.with_extension("old")).expect("rename");
    assert!(matches!(rig.db.glance(), Err(DbError::Replaced { .. })));
}

/// Random work of an application, with captures, resets and restarts in between; every capture is compared.
#[test]
fn whatever_the_application_does_the_copy_follows() {
    let mut random = crate::clock::Dice::from_env();
    let mut dice = move |sides| random.roll(sides);
    let mut rig = Rig::new(&format!("PRAGMA auto_vacuum=INCREMENTAL; {SETUP}; PRAGMA wal_autocheckpoint=20"));
    rig.capture();
    let mut images = 0;
    for step in 0..300 {
        match dice(12) {
            0..=3 => rig.run(&format!("INSERT INTO t(x) VALUES (zeroblob({}))", dice(4000))),
            4 => rig.run(&format!("UPDATE t SET x = {} WHERE id % {} = 0", dice(1000), dice(7) + 1)),
            5 if dice(3) == 0 => {
                rig.run(
                    "BEGIN; INSERT INTO t(id, x) VALUES (-1, zeroblob(30000)); DELETE FROM t WHERE id = -1; COMMIT",
                );
            }
            5 => rig.run(&format!("DELETE FROM t WHERE id % {} = 0", dice(5) + 2)),
            6 => rig.run(if dice(4) == 0 { "VACUUM" } else { "PRAGMA incremental_vacuum(3)" }),
            7 => rig.run("PRAGMA busy_timeout=0; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout=5000"),
            8 => {
                rig.reset();
            }
            9 if dice(4) == 0 => {
                rig = rig.restart();
                images += u32::from(rig.resume().is_err());
                rig.capture();
            }
            _ => {
                let batch = rig.capture();
                assert!(!rig.db.is_overwritten(), "step {step}: everything here goes through SQLite");
                let allowed = batch.as_ref().is_none_or(|b| b.image.is_none());
                assert!(allowed, "step {step}: an image while we never let go: {:?}", batch.map(|b| b.image));
            }
        }
    }
    rig.capture();
    println!("{images} restarts could not be proved");
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

/// Text in UTF-16 and bytes reserved at the end of each page are nobody's business here.
#[test]
fn pages_are_opaque() {
    let mut rig = Rig::new(&format!("PRAGMA encoding='UTF-16le'; {SETUP}; INSERT INTO t(x) VALUES ('grün')"));
    rig.capture();
    rig.run("INSERT INTO t(x) VALUES ('größer')");
    assert!(!is_image(&rig.capture()));
    rig.run("VACUUM");
    let mut reserved: std::ffi::c_int = 32;
    // SAFETY: the handle is open, "main" is NUL-terminated, and this control reads and writes one int.
    let code = unsafe {
        rusqlite::ffi::sqlite3_file_control(
            rig.app.handle(),
            c"main".as_ptr(),
            rusqlite::ffi::SQLITE_FCNTL_RESERVE_BYTES,
            std::ptr::from_mut(&mut reserved).cast(),
        )
    };
    assert_eq!(code, rusqlite::ffi::SQLITE_OK);
    rig.run("VACUUM; INSERT INTO t(x) VALUES (zeroblob(5000))");
    assert!(!is_image(&rig.capture()));
    let header = rig.live_pages().remove(0);
    assert_eq!((header[20], header[59]), (32, 2), "reserved bytes, UTF-16");
}

/// A database that ends just before, with, and just behind the page that is never stored.
#[test]
fn the_lock_page_is_in_no_file_and_in_no_comparison() {
    struct Zeros(u32, Vec<u8>, Vec<u8>);
    impl OtherPages for Zeros {
        type Error = DbError;
        fn page(&mut self, pgno: Pgno) -> Result<Option<Versions<'_>>, DbError> {
            assert_ne!(pgno.get(), self.0, "the lock page was asked for");
            let page = if pgno == Pgno::FIRST { &self.2 } else { &self.1 };
            Ok(Some(Versions { pgno, page, is_since: false, before: None }))
        }
    }
    let page_size = crate::page::PageSize::MAX;
    let lock = page_size.lock_page().get();
    for pages in [lock - 1, lock, lock + 1] {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = path_in(&dir);
        rusqlite::Connection::open(&path)
            .and_then(|app| app.execute_batch("PRAGMA page_size=65536; PRAGMA journal_mode=WAL; CREATE TABLE t(x)"))
            .expect("create");
        // Pages that were never written are a hole in the file.
        let file = std::fs::File::options().read(true).write(true).open(&path).expect("open");
        file.set_len(page_size.database_len(pages)).expect("grow");
        std::os::unix::fs::FileExt::write_all_at(&file, &pages.to_be_bytes(), 28).expect("patch");
        drop(file);
        let mut db = Db::open(&path, tuning()).expect("open");
        db.start_over(Some(Txid::FIRST), ImageReason::LocalChanges);
        let batch = db.capture(|| 1).expect("capture").expect("an image");
        assert_eq!(batch.header.commit, pages);
        let mut first = vec![0; page_size.bytes()];
        db.reader.read_page(Pgno::FIRST, &mut first).expect("read");
        let limits = Limits { differing_max: 0, kin_wanted: 0, rows: false };
        let compared =
            db.compare(&batch, &mut Zeros(lock, vec![0; 65536], first), &Limits { differing_max: 9, ..limits });
        let compared = compared.expect("compare");
        assert!(compared.whole);
        assert_eq!(compared.compared, pages - u32::from(pages >= lock));
        // The table's own root page.
        assert_eq!(compared.differing, 1);
        let narrow = db.narrow(&batch, compared).expect("narrow");
        let bytes = db.encode(&narrow, Vec::new()).expect("encode").writer;
        let mut decoder = Decoder::new(&bytes[..]).expect("header");
        assert_eq!((decoder.header().commit, decoder.header().max_txid.get()), (pages, 2));
        let mut page = vec![0; page_size.bytes()];
        let numbers: Vec<u32> =
            std::iter::from_fn(|| decoder.next_page(&mut page).expect("page")).map(Pgno::get).collect();
        assert_eq!(numbers, [2]);
        decoder.finish().expect("verified");
    }
}
