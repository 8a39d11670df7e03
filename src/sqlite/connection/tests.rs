use super::*;

struct Rig {
    _dir: tempfile::TempDir,
    app: rusqlite::Connection,
    ours: Connection,
    spare: Connection,
}

/// An application's connection to a fresh WAL database, and two of ours.
fn rig() -> Rig {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("app.db");
    let app = rusqlite::Connection::open(&path).expect("open");
    app.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)").expect("create");
    app.busy_timeout(Duration::ZERO).expect("timeout");
    let open = || Connection::open(&path, Duration::ZERO).expect("open");
    Rig { app, ours: open(), spare: open(), _dir: dir }
}

impl Rig {
    fn commit(&self) {
        self.app.execute("INSERT INTO t VALUES (1)", []).expect("insert");
    }

    /// The application's own TRUNCATE checkpoint: whether it was kept from emptying the WAL.
    fn app_truncate_is_busy(&self) -> bool {
        let busy: i64 =
            self.app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).expect("checkpoint");
        busy != 0
    }

    fn wal(&self) -> super::super::mark::WalMark {
        let mark = self.spare.pin().expect("pin").wal.expect("frames");
        self.spare.end().expect("end");
        mark
    }
}

#[test]
fn a_pin_names_the_frame_and_the_size_it_sees() {
    let rig = rig();
    rig.commit();
    let before = rig.ours.pin().expect("pin");
    rig.commit();
    let after = rig.wal();
    let wal = before.wal.expect("frames");
    assert_eq!(wal.salts, after.salts);
    assert!(wal.frames < after.frames, "{wal:?} must be older than {after:?}");
    assert_eq!(before.pages, 2);
    assert_eq!(before.page_size.get(), 4096);
}

#[test]
fn a_pin_keeps_the_wal_even_when_all_of_it_is_backfilled() {
    let rig = rig();
    rig.commit();
    assert!(rig.spare.checkpoint(CheckpointMode::Passive).expect("checkpoint").is_complete());
    let pinned = rig.ours.pin().expect("pin").wal.expect("frames");
    assert!(rig.app_truncate_is_busy());
    rig.commit();
    assert_eq!(rig.wal().salts, pinned.salts, "a writer restarted a pinned WAL");
    rig.ours.end().expect("end");
    assert!(!rig.app_truncate_is_busy(), "the check must be able to fail");
}

#[test]
fn a_rest_lets_the_wal_restart_once_and_keeps_the_new_frames() {
    let rig = rig();
    rig.commit();
    assert!(rig.spare.checkpoint(CheckpointMode::Passive).expect("checkpoint").is_complete());
    let old = rig.wal();
    rig.ours.rest().expect("rest");
    rig.commit();
    let new = rig.wal();
    assert_ne!(new.salts, old.salts, "the writer should have restarted the WAL");
    assert!(rig.app_truncate_is_busy(), "the new frames were backfilled under a resting reader");
    rig.commit();
    assert_eq!(rig.wal().salts, new.salts, "the WAL restarted a second time");
}

#[test]
fn the_write_lock_keeps_writers_out_and_writes_nothing() {
    let rig = rig();
    rig.commit();
    let before = rig.wal();
    assert!(rig.ours.begin_write().expect("the write lock"));
    assert!(!rig.spare.begin_write().expect("answer"), "two writers at once");
    assert!(rig.app.execute("INSERT INTO t VALUES (2)", []).is_err());
    rig.ours.end().expect("end");
    assert_eq!(rig.wal(), before);
    rig.commit();
}

#[test]
fn a_wal_that_was_emptied_before_its_first_commit_knows_no_size() {
    let rig = rig();
    rig.commit();
    let path = rig.ours.path.clone();
    let Rig { app, ours, spare, _dir } = rig;
    drop((ours, spare));
    drop(app);
    // The wal-index is built anew from nothing, and then counts an empty generation on.
    let app = rusqlite::Connection::open(&path).expect("open");
    let open = || Connection::open(&path, Duration::ZERO).expect("open");
    let rig = Rig { app, ours: open(), spare: open(), _dir };
    assert!(!rig.app_truncate_is_busy());
    let mark = rig.ours.pin().expect("a pin needs no frames");
    assert_eq!((mark.page_size.get(), mark.pages, mark.wal.map_or(0, |wal| wal.frames)), (4096, 2, 0));
    rig.commit();
    assert_eq!(rig.spare.pin().map(|mark| (mark.pages, mark.wal.map(|wal| wal.frames))).ok(), Some((2, Some(1))));
}

#[test]
fn looking_changes_nothing_and_sees_one_commit() {
    let rig = rig();
    rig.commit();
    let mut path = rig.ours.path.clone();
    let looking = Connection::open_to_read(&path, false, Duration::ZERO).expect("open");
    let mark = looking.pin().expect("pin");
    assert_eq!(mark.wal, Some(rig.wal()));
    assert!(rig.app_truncate_is_busy(), "a look pins the WAL as any other reader");
    assert!(looking.execute("INSERT INTO t VALUES (3)").is_err());
    drop(looking);
    let Rig { app, ours, spare, _dir } = rig;
    drop((ours, spare));
    drop(app);
    let copy = _dir.path().join("ä ?#%x.db");
    std::fs::copy(&path, &copy).expect("copy");
    path = copy;
    let before = std::fs::read_dir(_dir.path()).expect("list").count();
    let looking = Connection::open_to_read(&path, true, Duration::ZERO).expect("open");
    let mark = looking.pin().expect("pin");
    assert_eq!((mark.wal, mark.pages > 0), (None, true));
    drop(looking);
    assert_eq!(std::fs::read_dir(_dir.path()).expect("list").count(), before);
}

#[test]
fn an_empty_wal_has_no_frame_to_name() {
    let rig = rig();
    rig.commit();
    assert!(!rig.app_truncate_is_busy());
    let mark = rig.ours.pin().expect("pin");
    assert_eq!(mark.wal.map_or(0, |w| w.frames), 0, "{mark:?}");
    assert_eq!(mark.pages, 2);
}

#[test]
fn a_wal_that_was_deleted_has_no_frame_to_name() {
    let rig = rig();
    rig.commit();
    rig.app.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("checkpoint");
    let path = rig.ours.path.clone();
    let Rig { app, ours, spare, _dir } = rig;
    drop((app, ours, spare));
    for suffix in ["-wal", "-shm"] {
        crate::fsx::remove_file_if_exists(&crate::fsx::with_suffix(&path, suffix)).expect("remove");
    }
    let app = rusqlite::Connection::open(&path).expect("open");
    // Recovered from nothing, then truncated: a wal-index header with salts and without a page
    // size.
    app.execute_batch("SELECT count(*) FROM t; PRAGMA wal_checkpoint(TRUNCATE)").expect("recover");
    let [ours, spare] = [(); 2].map(|()| Connection::open(&path, Duration::ZERO).expect("open"));
    for connection in [&ours, &spare, &ours, &spare] {
        let mark = connection.pin().expect("pin");
        assert_eq!((mark.wal.map_or(0, |w| w.frames), mark.pages), (0, 2), "{mark:?}");
        connection.end().expect("end");
    }
}

#[test]
fn pages_are_those_of_the_open_transaction() {
    let rig = rig();
    rig.commit();
    let mark = rig.ours.pin().expect("pin");
    let snapshot = |c: &Connection| {
        let mut pages = Vec::new();
        c.for_each_page(mark.page_size, |pgno, page| -> Result<(), SqliteError> {
            pages.push((pgno, page.to_vec()));
            Ok(())
        })
        .expect("read");
        pages
    };
    let before = snapshot(&rig.ours);
    assert_eq!(before.len(), mark.pages as usize);
    rig.commit();
    assert_eq!(snapshot(&rig.ours), before);
    rig.spare.pin().expect("pin");
    assert_ne!(snapshot(&rig.spare), before);
    let mut page = vec![7; 4096];
    let beyond = crate::page::Pgno::new(99).expect("non-zero");
    rig.ours.read_page(beyond, &mut page).expect("read");
    assert!(page.iter().all(|b| *b == 0));
}

#[test]
fn closing_leaves_the_wal_for_the_next_start() {
    let rig = rig();
    rig.commit();
    let path = rig.ours.path.clone();
    let Rig { app, ours, spare, _dir } = rig;
    drop(app);
    drop(spare);
    drop(ours);
    assert!(crate::fsx::with_suffix(&path, "-wal").exists());
}
