//! The capture oracle: a copy that is fed by nothing but captured LTX files must equal the
//! database, page for page, after every capture, whatever the application does to it.

mod idle;
mod overwritten;
mod resets;
mod restarts;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::clock::MACHINE;
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
        let reset = self.db.reset_wal(MACHINE, |_, bytes| -> Result<(), DbError> {
            tail = Some(bytes);
            Ok(())
        });
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

/// Random work of an application, with captures, resets and restarts in between; every capture is
/// compared.
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

/// Text in UTF-16 and bytes reserved at the end of each page do not matter here.
#[test]
fn pages_are_opaque() {
    let mut rig = Rig::new(&format!("PRAGMA encoding='UTF-16le'; {SETUP}; INSERT INTO t(x) VALUES ('grün')"));
    rig.capture();
    rig.run("INSERT INTO t(x) VALUES ('größer')");
    assert!(!is_image(&rig.capture()));
    rig.run("VACUUM");
    let mut reserved: std::ffi::c_int = 32;
    // SAFETY: the handle is open, "main" is NUL-terminated, and this control reads and writes one
    // int.
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
        let limits = Limits { differing_max: 0, related_wanted: 0, rows: false };
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
