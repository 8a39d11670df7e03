//! When the WAL cannot prove that the database continues the history: each way to get there has one outcome, and none is silent.
//!
//! The outcomes: *continue* (proved from the WAL), *equal* (compared, nothing to upload), *difference*, *image*, and *halt*: nothing
//! is uploaded and the history stays as it was. After all but the last, a restore is the live database page for page.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::harness::rig::python;
use crate::harness::{Finished, Invocation, Remote, Rig, oracle};

mod litestream;
mod running;
mod strangers;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Continue,
    Equal,
    Difference,
    Image,
    /// With what the log says.
    Halt(&'static str),
}

impl Outcome {
    /// What some line of the log has, and what none has.
    fn words(self) -> (Vec<&'static str>, Vec<&'static str>) {
        let compared = "comparing the database with it";
        match self {
            Outcome::Continue => (vec!["continuing the history after TXID"], vec![compared, "whole database"]),
            Outcome::Equal => (vec![compared, "proved equal to TXID"], vec!["uploading"]),
            Outcome::Difference => (vec![compared, "differ, uploading"], vec!["whole database"]),
            Outcome::Image => (vec![compared, "uploading the whole database"], vec![]),
            Outcome::Halt(why) => (vec![why, "replication has ended"], vec!["uploading"]),
        }
    }
}

/// About 150 pages, all of them in the replica, and nobody there any more. The last rows came after the first image: the newest
/// object says where in the WAL it ends.
pub fn replicated() -> Rig {
    let rig = Rig::on_file();
    let go = rig.path("image");
    let until = format!("until-file:{}", go.display());
    let mut running = rig.supervise(rig.app(&["create", "rows:20", "big:20:20000", &until, "rows:5"])).spawn();
    running.wait_until("the first image is in the replica", || !rig.remote.level0().is_empty());
    fs::write(go, "").expect("write");
    running.wait().assert_code(0);
    rig
}

fn beside(rig: &Rig, suffix: &str) -> PathBuf {
    rig.path(&format!("data/app.db{suffix}"))
}

pub fn remove_wal_and_shm(rig: &Rig) {
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(beside(rig, suffix));
    }
}

/// Another program, which checkpoints and deletes the WAL when it closes.
pub fn sql(path: &Path, text: &str) {
    let db = Connection::open(path).expect("open the database");
    db.execute_batch(text).unwrap_or_else(|error| panic!("{text}: {error}"));
}

/// Another program that dies: its WAL stays.
pub fn sql_killed(path: &Path, text: &str) {
    let db = Connection::open(path).expect("open the database");
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("configure");
    db.execute_batch(text).unwrap_or_else(|error| panic!("{text}: {error}"));
}

/// Ships what is there and ends.
pub fn ship(rig: &Rig) -> Finished {
    let args = ["replicate".into(), "-once".into(), rig.db().into_os_string(), rig.remote.url().into()];
    rig.millstream::<OsString>(args).finish()
}

#[track_caller]
fn assert_outcome(rig: &mut Rig, case: &str, expected: Outcome, before: &[u64]) {
    let ended = ship(rig);
    println!("{case}: {expected:?}\n{ended}");
    let (said, unsaid) = expected.words();
    for words in said {
        ended.assert_says(&[words]);
    }
    for words in unsaid {
        assert!(!ended.stderr.contains(words), "{case}: {words:?} was said\n{ended}");
    }
    match expected {
        Outcome::Halt(_) => {
            ended.assert_code(74);
            assert_eq!(rig.remote.level0(), before, "{case}: the history is not what it was");
            // What is protected can still be restored.
            let output = rig.next_output();
            rig.restore(&output).assert_code(0);
            return;
        }
        Outcome::Equal => assert_eq!(rig.remote.level0(), before, "{case}: something was uploaded"),
        Outcome::Difference | Outcome::Image => {
            assert_eq!(rig.remote.level0().len(), before.len() + 1, "{case}: one object more");
        }
        Outcome::Continue => {}
    }
    ended.assert_code(0);
    let restored = rig.restored();
    oracle::assert_same_pages(&rig.db(), &restored);
}

type Case = (&'static str, fn(&mut Rig), Outcome);

/// Each happens while nobody replicates.
const AWAY: &[Case] = &[
    ("nothing", |_| {}, Outcome::Continue),
    (
        "the application was killed after more commits",
        |rig| sql_killed(&rig.db(), "UPDATE t SET life = 'b' WHERE seq = 3"),
        Outcome::Continue,
    ),
    (
        "a foreign PASSIVE checkpoint, and no commit after it",
        |rig| sql_killed(&rig.db(), "UPDATE t SET life = 'b' WHERE seq = 3; PRAGMA wal_checkpoint(PASSIVE)"),
        // Once the wal-index is gone, nothing tells it from a write past SQLite.
        Outcome::Difference,
    ),
    (
        "a foreign RESTART checkpoint of a WAL that was shipped to its end, and commits after it",
        |rig| sql_killed(&rig.db(), "PRAGMA wal_checkpoint(RESTART); UPDATE t SET life = 'b' WHERE seq = 3"),
        // It could be continued if an even longer generation had been there before (`db/tests.rs`).
        Outcome::Difference,
    ),
    (
        "commits, a foreign RESTART checkpoint, and commits after it",
        |rig| {
            let text = "UPDATE t SET life = 'b' WHERE seq = 3; PRAGMA wal_checkpoint(RESTART); UPDATE t SET life = 'b' \
                        WHERE seq = 4";
            sql_killed(&rig.db(), text);
        },
        Outcome::Difference,
    ),
    (
        "a foreign TRUNCATE checkpoint, and commits after it",
        |rig| sql_killed(&rig.db(), "PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET life = 'b' WHERE seq = 3"),
        Outcome::Difference,
    ),
    (
        "two resets of the WAL in one blind window",
        |rig| {
            let text = "PRAGMA wal_checkpoint(RESTART); UPDATE t SET life = 'b' WHERE seq = 3; \
                        PRAGMA wal_checkpoint(RESTART); UPDATE t SET life = 'b' WHERE seq = 4";
            sql_killed(&rig.db(), text);
        },
        Outcome::Difference,
    ),
    ("a clean close by another program", |rig| sql(&rig.db(), "SELECT count(*) FROM t"), Outcome::Equal),
    (
        "the WAL was deleted once it was checkpointed",
        |rig| {
            sql_killed(&rig.db(), "PRAGMA wal_checkpoint(TRUNCATE)");
            remove_wal_and_shm(rig);
        },
        Outcome::Equal,
    ),
    (
        "the WAL was deleted with commits in it that the replica has",
        |rig| {
            sql(&rig.db(), "SELECT count(*) FROM t");
            assert!(ship(rig).code() == Some(0));
            rig.run_bare(&["open", "rows:3"]);
            sql_killed(&rig.db(), "UPDATE t SET life = 'b' WHERE seq = 3");
            assert!(ship(rig).code() == Some(0));
            remove_wal_and_shm(rig);
        },
        Outcome::Difference,
    ),
    ("the -shm was deleted", |rig| fs::remove_file(beside(rig, "-shm")).expect("remove"), Outcome::Continue),
    (
        "journal_mode=DELETE and back",
        |rig| {
            sql(&rig.db(), "PRAGMA journal_mode=DELETE; UPDATE t SET life = 'b' WHERE seq = 3; PRAGMA journal_mode=WAL")
        },
        Outcome::Difference,
    ),
    (
        "journal_mode=DELETE, and left so",
        |rig| sql(&rig.db(), "PRAGMA journal_mode=DELETE; UPDATE t SET life = 'b' WHERE seq = 3"),
        Outcome::Difference,
    ),
    ("VACUUM of a database with holes", |rig| sql(&rig.db(), "DELETE FROM big WHERE id < 15; VACUUM"), Outcome::Image),
    ("growth", |rig| sql(&rig.db(), "INSERT INTO big(data) VALUES (randomblob(100000))"), Outcome::Difference),
    (
        "another page size",
        |rig| sql(&rig.db(), "PRAGMA journal_mode=DELETE; PRAGMA page_size=512; VACUUM; PRAGMA journal_mode=WAL"),
        Outcome::Image,
    ),
    (
        "an older copy of it, copied over it",
        |rig| with_an_older_copy(rig, |copy, db| assert!(fs::copy(copy, db).is_ok())),
        Outcome::Difference,
    ),
    (
        "an older copy of it, renamed over it",
        |rig| with_an_older_copy(rig, |copy, db| fs::rename(copy, db).expect("rename")),
        Outcome::Difference,
    ),
    (
        "deleted, and created anew by the same application",
        |rig| {
            remove_wal_and_shm(rig);
            fs::remove_file(rig.db()).expect("remove");
            sql(&rig.db(), SCHEMA);
            sql(&rig.db(), "INSERT INTO t VALUES (1, 'new', 'another life'); INSERT INTO big VALUES (1, 'x')");
        },
        Outcome::Halt("is not the database whose history"),
    ),
    (
        "truncated to nothing, and created anew by the same application",
        |rig| {
            remove_wal_and_shm(rig);
            fs::write(rig.db(), "").expect("truncate");
            sql(&rig.db(), SCHEMA);
        },
        Outcome::Halt("is not the database whose history"),
    ),
    (
        "a new database without any table",
        |rig| {
            remove_wal_and_shm(rig);
            fs::write(rig.db(), "").expect("truncate");
            sql(&rig.db(), "PRAGMA journal_mode=WAL; CREATE TABLE x(y); DROP TABLE x");
        },
        Outcome::Halt("has no table"),
    ),
    (
        "a stranger, renamed over it",
        |rig| {
            let other = stranger(rig);
            remove_wal_and_shm(rig);
            fs::rename(other, rig.db()).expect("rename");
        },
        Outcome::Halt("is not the database whose history"),
    ),
    (
        "a stranger, copied over it",
        |rig| {
            let other = stranger(rig);
            remove_wal_and_shm(rig);
            fs::copy(other, rig.db()).expect("copy");
        },
        Outcome::Halt("is not the database whose history"),
    ),
    (
        "a file that is damaged already",
        |rig| {
            sql(&rig.db(), "PRAGMA journal_mode=DELETE");
            let mut bytes = fs::read(rig.db()).expect("read");
            bytes[3 * 4096 + 10..3 * 4096 + 400].fill(0xee);
            fs::write(rig.db(), bytes).expect("write");
        },
        Outcome::Difference,
    ),
];

const SCHEMA: &str = "PRAGMA journal_mode=WAL; \
    CREATE TABLE t (seq INTEGER PRIMARY KEY, life TEXT NOT NULL, body TEXT NOT NULL); \
    CREATE INDEX t_body ON t (body); CREATE TABLE big (id INTEGER PRIMARY KEY, data BLOB)";

pub fn stranger(rig: &Rig) -> PathBuf {
    let path = rig.path("stranger.db");
    let text = "PRAGMA journal_mode=WAL; CREATE TABLE accounts(id INTEGER PRIMARY KEY, name); \
                INSERT INTO accounts(name) VALUES (randomblob(300000)); PRAGMA journal_mode=DELETE";
    sql(&path, text);
    path
}

/// The state of now, put back after more has been committed and shipped.
fn with_an_older_copy(rig: &mut Rig, put_back: fn(&Path, &Path)) {
    sql(&rig.db(), "PRAGMA journal_mode=DELETE");
    let copy = rig.path("older.db");
    fs::copy(rig.db(), &copy).expect("copy");
    rig.supervise(rig.app(&["create", "rows:5", "big:2:5000"])).finish().assert_code(0);
    remove_wal_and_shm(rig);
    put_back(&copy, &rig.db());
}

#[test]
fn whatever_happens_while_nobody_replicates_has_its_outcome() {
    let only = std::env::var("MILLSTREAM_TEST_CASE").ok();
    let mut failed = Vec::new();
    for (case, happen, outcome) in AWAY {
        if only.as_ref().is_some_and(|only| !case.contains(only.as_str())) {
            continue;
        }
        // Every case is tried, so that one run shows the whole table.
        let tried = std::panic::catch_unwind(|| {
            let mut rig = replicated();
            happen(&mut rig);
            let before = rig.remote.level0();
            assert_outcome(&mut rig, case, *outcome, &before);
        });
        if tried.is_err() {
            failed.push(*case);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn an_unclean_end_of_everything_is_continued() {
    let mut rig = replicated();
    let mut running = rig.supervise(rig.app(&["open", "forever:5"])).spawn();
    let rows = rig.oracle.acknowledged();
    running.wait_until("more rows", || rig.oracle.acknowledged() > rows + 20);
    running.kill_everything();
    let before = rig.remote.level0();
    assert_outcome(&mut rig, "killed", Outcome::Continue, &before);
    rig.assert_all_rows_are_safe();
}

#[test]
fn an_older_copy_is_said_to_be_another_file_of_the_same_history() {
    let mut rig = replicated();
    with_an_older_copy(&mut rig, |copy, db| fs::rename(copy, db).expect("rename"));
    ship(&rig).assert_code(0).assert_says(&["another file", "of the same history"]);
}

type Rebuilt = (&'static str, fn(&Rig, &Path));

/// What a maintenance makes of the database, before it takes its place. Each is the same application's.
const REBUILT: &[Rebuilt] = &[
    ("VACUUM INTO", |rig, copy| {
        sql(&rig.db(), &format!("DELETE FROM big WHERE id < 6; VACUUM INTO '{}'", copy.display()))
    }),
    (".dump", |rig, copy| {
        let script = "import sqlite3, sys; old, new = map(sqlite3.connect, sys.argv[1:]); new.executescript('\\n'.join(old.iterdump()))";
        let args = ["-c".into(), script.into(), rig.db().into_os_string(), copy.into()];
        Invocation::new(python(), rig.path("")).args::<[OsString; 4]>(args).finish().assert_code(0);
    }),
    (".dump, with pages of another size", |rig, copy| {
        sql(copy, "PRAGMA page_size=1024; VACUUM");
        REBUILT[1].1(rig, copy);
    }),
    ("a migration builds new tables", |rig, copy| {
        let text = format!(
            "ATTACH '{}' AS old; PRAGMA auto_vacuum=FULL; {SCHEMA}; CREATE TABLE tags(name TEXT); \
             INSERT INTO big SELECT * FROM old.big ORDER BY id; INSERT INTO t SELECT * FROM old.t; \
             DETACH old; PRAGMA journal_mode=DELETE",
            rig.db().display()
        );
        sql(copy, &text);
    }),
];

#[test]
fn a_database_that_was_built_anew_while_nobody_looked_goes_on() {
    for (case, rebuild) in REBUILT {
        let mut rig = replicated();
        let copy = rig.path("copy.db");
        rebuild(&rig, &copy);
        remove_wal_and_shm(&rig);
        fs::rename(copy, rig.db()).expect("rename");
        let ended = rig.supervise(rig.app(&["open", "rows:2"])).finish();
        println!("{case}\n{ended}");
        ended.assert_code(0).assert_says(&["another file than the one", "of the same history"]);
        let restored = rig.restored();
        oracle::assert_same_pages(&rig.db(), &restored);
        rig.assert_all_rows_are_safe();
    }
}

fn shipped_bytes(remote: &Remote) -> usize {
    remote.objects().values().map(Vec::len).sum()
}
