//! The whole follower with real SQLite, on a replica in memory.

use std::time::Duration;

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use self::source::{Source, txid};
use super::*;
use crate::clock::Dice;
use crate::restore::Request;

mod source;

/// A follower that runs until this is dropped or stopped.
struct Running {
    cancel: CancellationToken,
    thread: Option<std::thread::JoinHandle<End>>,
}

impl Running {
    fn start(source: &Source, adopts: bool) -> Running {
        let cancel = CancellationToken::new();
        let copy = source.copy();
        let order = Order {
            held: None,
            told: None,
            feed: None,
            notes: copy.with_file_name(".copy.db-millstream"),
            request: Request::new(&copy),
            copy,
            interval: Duration::from_millis(10),
            adopts,
            locks: Vec::new(),
        };
        let (remote, stop) = (source.remote.clone(), cancel.clone());
        let follow = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(Follower::new(remote, order, stop).run())
        };
        Running { cancel, thread: Some(std::thread::spawn(follow)) }
    }

    fn end(&mut self) -> End {
        self.thread.take().expect("it runs").join().expect("no panic")
    }

    fn stop(mut self) -> End {
        self.cancel.cancel();
        self.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn told(source: &Source) -> Option<u64> {
    let text = std::fs::read_to_string(source.dir.path().join("copy.db-txid")).ok()?;
    u64::from_str_radix(text.trim_end(), 16).ok()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("gave up waiting: {what}");
}

async fn until_at(source: &Source, number: u64) {
    until(&format!("TXID {number}"), || told(source) == Some(number)).await;
}

fn rows(db: &Connection) -> Vec<(i64, Vec<u8>)> {
    let mut statement = db.prepare_cached("SELECT id, x FROM t ORDER BY id").expect("prepare");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("query");
    rows.collect::<Result<_, _>>().expect("read")
}

fn assert_intact(db: &Connection) {
    let found: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("check");
    assert_eq!(found, "ok");
}

/// Random work of an application.
fn work(dice: &mut Dice, turn: u64) -> String {
    match dice.roll(12) {
        0 => "DELETE FROM t WHERE id % 3 = 0".into(),
        1 => "VACUUM".into(),
        2 => format!("CREATE TABLE u{turn}(a, b); INSERT INTO u{turn} VALUES (1, zeroblob(3000))"),
        3 => format!("CREATE INDEX i{turn} ON t(y, x)"),
        4 => format!("ALTER TABLE t ADD COLUMN c{turn} DEFAULT 7"),
        5 => "PRAGMA incremental_vacuum(3)".into(),
        6 => "UPDATE t SET y = id WHERE id % 2 = 0".into(),
        _ => {
            let (count, size) = (1 + dice.roll(20), 1 + dice.roll(4000));
            format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
                 INSERT INTO t(x, y) SELECT randomblob({size}), i FROM n"
            )
        }
    }
}

/// Readers that keep the copy open from the first state on, with their statements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_state_of_the_source_is_seen_by_readers_that_stay() {
    let mut dice = Dice::from_env();
    for (page_size, auto_vacuum) in
        [(4096, "NONE"), (512, "FULL"), (1024, "INCREMENTAL"), (65536, "NONE"), (4096, "FULL")]
    {
        let mut source = Source::new(page_size, auto_vacuum);
        source.execute("INSERT INTO t(x) VALUES (randomblob(100))").await;
        let running = Running::start(&source, false);
        until("the copy is there", || source.copy().exists()).await;
        let reader = Connection::open(source.copy()).expect("open");
        reader.busy_timeout(Duration::from_secs(10)).expect("set");
        let long = Connection::open(source.copy()).expect("open");
        let count = |db: &Connection| db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
        for turn in 0..40 {
            long.execute_batch("BEGIN").expect("begin");
            let before = count(&long).expect("read");
            for _ in 0..dice.roll(4) {
                source.execute(&work(&mut dice, turn * 10 + source.txid())).await;
            }
            until_at(&source, source.txid().max(told(&source).unwrap_or(0))).await;
            assert_eq!(count(&long), Ok(before), "its transaction goes on");
            long.execute_batch("COMMIT").expect("commit");
            assert!(rows(&reader) == rows(&source.db), "page size {page_size}, turn {turn}");
            if turn % 10 == 0 {
                assert_intact(&reader);
            }
        }
        let written = reader.execute("DELETE FROM t", []);
        assert!(written.is_err(), "the write lock is held");
        source.assert_is_copied();
        let at = Position { txid: txid(source.txid()), timestamp_ms: Source::time_ms(source.txid()) };
        assert_eq!(running.stop(), End::Stopped(Some(at)));
    }
}

/// Stopped, and written to by another program: told from what was left by the checksum.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_program_has_written_is_undone() {
    let mut source = Source::new(4096, "NONE");
    source.execute("INSERT INTO t(x) VALUES (randomblob(50000))").await;
    let running = Running::start(&source, false);
    until("the copy is there", || source.copy().exists()).await;
    source.execute("INSERT INTO t(x) VALUES (randomblob(100))").await;
    until_at(&source, 2).await;
    running.stop();
    for sql in ["DELETE FROM t", "CREATE TABLE stray(x); INSERT INTO stray VALUES (zeroblob(90000))", "VACUUM"] {
        let stray = Connection::open(source.copy()).expect("open");
        stray.execute_batch(sql).expect(sql);
        let reader = Connection::open(source.copy()).expect("open");
        let running = Running::start(&source, false);
        until(sql, || rows_if(&reader) == Some(rows(&source.db))).await;
        source.execute("INSERT INTO t(x) VALUES (randomblob(100))").await;
        until_at(&source, source.txid()).await;
        assert!(rows(&reader) == rows(&source.db));
        assert_intact(&reader);
        running.stop();
        source.assert_is_copied();
    }
}

fn rows_if(db: &Connection) -> Option<Vec<(i64, Vec<u8>)>> {
    db.prepare("SELECT id, x FROM t").is_ok().then(|| rows(db))
}

/// Level 0 is gone when the copy comes back: compacted files bridge it, or a whole image does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_has_removed_is_bridged() {
    for whole in [false, true] {
        let mut source = Source::new(4096, "NONE");
        for _ in 0..3 {
            source.execute("INSERT INTO t(x) VALUES (randomblob(5000))").await;
        }
        let running = Running::start(&source, false);
        until("the copy is there", || source.copy().exists()).await;
        running.stop();
        for _ in 0..5 {
            source.execute("INSERT INTO t(x) VALUES (randomblob(5000)); DELETE FROM t WHERE id % 2").await;
        }
        match whole {
            false => source.compact(1, 2, 7).await,
            true => source.compact(9, 1, 7).await,
        }
        source.remove_l0(1, 7);
        let reader = Connection::open(source.copy()).expect("open");
        let before = rows(&reader);
        let running = Running::start(&source, false);
        until_at(&source, 8).await;
        assert!(rows(&reader) == rows(&source.db) && rows(&reader) != before);
        running.stop();
        source.assert_is_copied();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_history_takes_the_place_of_the_first() {
    for length in [1, 4] {
        let mut source = Source::new(4096, "NONE");
        source.execute("INSERT INTO t(x) VALUES (randomblob(5000))").await;
        source.execute("INSERT INTO t(x) VALUES (randomblob(5000))").await;
        let running = Running::start(&source, false);
        until("the copy is there", || source.copy().exists()).await;
        let reader = Connection::open(source.copy()).expect("open");
        until("the first history", || rows_if(&reader) == Some(rows(&source.db))).await;
        running.stop();
        source.begin_anew();
        source.db.execute_batch("DELETE FROM t").expect("delete");
        let mut other = Source::new(4096, "NONE");
        other.db.execute_batch("INSERT INTO t(x) VALUES (x'aa')").expect("insert");
        std::mem::swap(&mut source.db, &mut other.db);
        for _ in 0..length {
            source.execute("INSERT INTO t(x) VALUES (randomblob(700))").await;
            // Its commits are of other moments than those of the first.
            let name = Source::name(0, source.txid(), source.txid());
            let (bytes, at) = (source.store.bytes(&name).expect("there"), Source::time_ms(source.txid()) + 500);
            source.store.insert(&name, moved_to(&bytes, at), at);
        }
        let running = Running::start(&source, false);
        until("the other history", || rows_if(&reader) == Some(rows(&source.db))).await;
        running.stop();
        source.assert_is_copied();
    }
}

/// The same file of another moment.
fn moved_to(file: &[u8], timestamp_ms: i64) -> Vec<u8> {
    use crate::ltx::{Decoder, Encoder, Header};
    let mut decoder = Decoder::new(file).expect("header");
    let header = Header { timestamp_ms, ..*decoder.header() };
    let mut encoder = Encoder::new(Vec::new(), header).expect("header");
    let mut page = vec![0; header.page_size.bytes()];
    while let Some(pgno) = decoder.next_page(&mut page).expect("page") {
        encoder.page(pgno, &page).expect("page");
    }
    encoder.finish().expect("complete").writer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_no_copy_is_left_alone_unless_told_otherwise() {
    let mut source = Source::new(4096, "NONE");
    source.execute("INSERT INTO t(x) VALUES (randomblob(500))").await;
    let own = Connection::open(source.copy()).expect("open");
    own.execute_batch("PRAGMA page_size=4096; CREATE TABLE mine(x)").expect("create");
    drop(own);
    let before = std::fs::read(source.copy()).expect("read");
    let end = Running::start(&source, false).end();
    assert!(matches!(&end, End::Failed(Reason::CannotWrite, why) if why.contains("no copy of a replica")), "{end:?}");
    assert!(std::fs::read(source.copy()).expect("read") == before);
    let running = Running::start(&source, true);
    until_at(&source, 1).await;
    running.stop();
    source.assert_is_copied();
    source.begin_anew();
    std::fs::remove_file(source.copy()).expect("remove");
    let end = Running::start(&source, false).end();
    assert!(matches!(end, End::Failed(Reason::NoBackup, _)), "{end:?}");
}

/// Past byte 0x40000000, whose page SQLite never uses, and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_page_is_grown_over_and_cut_off() {
    let mut source = Source::new(65536, "NONE");
    source.execute("INSERT INTO t(x) VALUES (randomblob(500))").await;
    let running = Running::start(&source, false);
    until("the copy is there", || source.copy().exists()).await;
    let reader = Connection::open(source.copy()).expect("open");
    reader.busy_timeout(Duration::from_secs(10)).expect("set");
    source.execute("INSERT INTO t(id, x) VALUES (900, zeroblob(600000000)), (901, zeroblob(480000000))").await;
    until_at(&source, 2).await;
    assert_intact(&reader);
    let pages = |db: &Connection| db.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).expect("count");
    assert!(pages(&reader) > 0x4000_0000 / 65536 + 1);
    source.execute("UPDATE t SET x = randomblob(70000) WHERE id = 1").await;
    until_at(&source, 3).await;
    source.db.execute_batch("DELETE FROM t WHERE id >= 900").expect("delete");
    source.execute("VACUUM").await;
    until_at(&source, 4).await;
    assert!(rows(&reader) == rows(&source.db) && pages(&reader) < 20);
    assert_intact(&reader);
    running.stop();
    source.assert_is_copied();
}
