//! The file of a database is written to past SQLite while it is replicated (`cp`, `dd`, `rsync --inplace`): same inode, and never
//! empty when somebody looks. Whatever comes of it, the exit code tells the truth: 0 means that the replica restores what lies
//! here, and 74 that it does not, and then the history is what it was.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use rusqlite::Connection;

use crate::doubt::{replicated, ship, sql, stranger};
use crate::harness::{Finished, Rig, Running, eventually, oracle};

/// The content of `from` in the place of what is in `to`, which is never shorter than both meanwhile.
fn overwrite(from: &Path, to: &Path) {
    let content = fs::read(from).expect("read");
    let mut file = File::options().write(true).open(to).expect("open");
    file.write_all(&content).and_then(|()| file.set_len(content.len() as u64)).expect("overwrite");
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{program} {args:?}");
}

fn cp(from: &Path, to: &Path) {
    run("cp", &[&from.display().to_string(), &to.display().to_string()]);
}

fn dd(from: &Path, to: &Path) {
    run(
        "dd",
        &["bs=64k", "conv=notrunc", "status=none", &format!("if={}", from.display()), &format!("of={}", to.display())],
    );
}

/// One page in the middle of the database, where there are blobs.
fn patch(database: &Path) {
    let middle = fs::metadata(database).expect("stat").len() / 2 / 4096 * 4096;
    let file = File::options().write(true).open(database).expect("open");
    file.write_all_at(b"past SQLite", middle + 2000).expect("patch");
}

/// The application runs, is idle, and has rows that came after a copy of the database was made.
struct Scene {
    rig: Rig,
    running: Running,
    older: PathBuf,
    before: Vec<u64>,
}

impl Scene {
    /// With the database open in the application, or closed; with the rows in the file, or in the WAL alone.
    fn set(is_open: bool, is_copied: bool) -> Scene {
        let mut rig = replicated();
        let older = rig.path("older.db");
        sql(&rig.db(), "PRAGMA journal_mode=DELETE");
        fs::copy(rig.db(), &older).expect("copy");
        sql(&rig.db(), "PRAGMA journal_mode=WAL");
        let ready = rig.path("ready");
        let touch = format!("touch:{}", ready.display());
        let mut running = match is_open {
            true => rig.supervise(rig.app(&["open", "rows:5", &touch, "idle", "term-exit:0"])).spawn(),
            false => {
                let rows = crate::harness::rig::shell(rig.app(&["open", "rows:5"]));
                let script =
                    format!("trap 'exit 0' TERM; {rows} && touch {}; while :; do sleep 0.05; done", ready.display());
                rig.supervise(["sh", "-c", &script]).spawn()
            }
        };
        running.wait_until("the application is ready", || ready.exists());
        let wanted = rig.oracle.acknowledged();
        running.wait_until("its rows are in the replica", || {
            let output = rig.next_output();
            rig.restore(&output).assert_code(0);
            rig.oracle.check(&output) >= wanted
        });
        if is_copied {
            checkpoint(&rig.db());
        }
        let before = rig.remote.level0();
        Scene { rig, running, older, before }
    }

    /// Ends it at once, and looks whether its exit code is the truth.
    fn end(mut self, case: &str) -> (Rig, Finished) {
        self.running.signal(Signal::SIGTERM);
        let ended = self.running.wait();
        println!("{case}\n{ended}");
        assert_truth(&mut self.rig, case, &ended, Some(&self.before));
        (self.rig, ended)
    }
}

/// Everything in the WAL is copied to the file, as far as the readers allow.
fn checkpoint(database: &Path) {
    let db = Connection::open(database).expect("open");
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).expect("checkpoint");
}

#[track_caller]
fn assert_truth(rig: &mut Rig, case: &str, ended: &Finished, before: Option<&[u64]>) {
    let restored = rig.restored();
    match ended.code() {
        Some(0) => oracle::assert_same_pages(&rig.db(), &restored),
        Some(74) => {
            if let Some(before) = before {
                assert_eq!(rig.remote.level0(), before, "{case}: something was uploaded\n{ended}");
            }
        }
        code => panic!("{case}: exit code {code:?}\n{ended}"),
    }
}

const OVERWRITTEN: [&str; 2] = ["past SQLite", "comparing"];

type Way = (&'static str, fn(&Path, &Path));

const WAYS: &[Way] = &[("in place", overwrite), ("cp", cp), ("dd", dd)];

#[test]
fn an_older_copy_over_the_file_of_a_database_is_found_at_the_latest_at_the_end() {
    for is_open in [true, false] {
        for (way, put) in WAYS {
            let case = format!("{way}, is_open={is_open}");
            let scene = Scene::set(is_open, true);
            put(&scene.older, &scene.rig.db());
            let (_, ended) = scene.end(&case);
            // A program that truncates first may be met in the middle.
            if *way != "cp" {
                ended.assert_says(&OVERWRITTEN).assert_code(0);
            }
        }
    }
}

#[test]
fn a_stranger_over_the_file_of_a_database_ends_the_replication() {
    for (way, put) in WAYS {
        for is_copied in [true, false] {
            let scene = Scene::set(true, is_copied);
            put(&stranger(&scene.rig), &scene.rig.db());
            let (_, ended) = scene.end(way);
            ended.assert_code(74);
        }
    }
}

#[test]
fn a_single_page_that_is_written_to_past_sqlite_is_found() {
    for is_open in [true, false] {
        let mut scene = Scene::set(is_open, false);
        let said = scene.running.said();
        patch(&scene.rig.db());
        // Not only at the end.
        scene.running.wait_until_says(said, &["differ, uploading"]);
        let (_, ended) = scene.end("one page");
        ended.assert_code(0).assert_says(&OVERWRITTEN);
    }
}

type Happening = fn(&Rig, &Path);

#[test]
fn what_does_not_change_the_file_is_no_reason_to_stop() {
    let touch: Happening = |_, db| {
        let file = File::options().append(true).open(db).expect("open");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("touch");
    };
    let write_the_same: Happening = |_, db| {
        let content = fs::read(db).expect("read");
        let mut file = File::options().write(true).open(db).expect("open");
        file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&content)).expect("write");
    };
    for (case, happen) in [("touch", touch), ("the same again", write_the_same)] {
        let scene = Scene::set(true, false);
        happen(&scene.rig, &scene.rig.db());
        let before = scene.before.clone();
        let (rig, ended) = scene.end(case);
        ended.assert_code(0).assert_says(&["proved equal"]);
        assert_eq!(rig.remote.level0(), before, "{case}: something was uploaded");
    }
}

#[test]
fn what_goes_through_sqlite_is_replicated_as_ever() {
    let backup: Happening = |rig, db| {
        run("sqlite3", &[&rig.path("older.db").display().to_string(), &format!(".backup {}", db.display())]);
    };
    let vacuum: Happening = |_, db| sql(db, "VACUUM");
    let checkpoints: Happening = |_, db| {
        for _ in 0..50 {
            sql(db, "UPDATE t SET life = 'b' WHERE seq = 3");
            checkpoint(db);
        }
    };
    for (case, happen) in [(".backup", backup), ("VACUUM", vacuum), ("checkpoints", checkpoints)] {
        let scene = Scene::set(true, false);
        happen(&scene.rig, &scene.rig.db());
        let Scene { mut rig, running, .. } = scene;
        running.signal(Signal::SIGTERM);
        let ended = running.wait();
        println!("{case}\n{ended}");
        ended.assert_code(0);
        assert!(!ended.stderr.contains(OVERWRITTEN[0]), "{case}: {ended}");
        assert_truth(&mut rig, case, &ended, None);
    }
}

/// The same while commits and checkpoints never rest: what the application makes of it is its own affair.
#[test]
fn an_older_copy_over_the_file_of_a_busy_database_is_found() {
    for pause in ["0", "20"] {
        let mut rig = replicated();
        let older = rig.path("older.db");
        sql(&rig.db(), "PRAGMA journal_mode=DELETE");
        fs::copy(rig.db(), &older).expect("copy");
        sql(&rig.db(), "PRAGMA journal_mode=WAL; UPDATE big SET data = randomblob(20000)");
        ship(&rig).assert_code(0);
        let busy = rig.path("busy");
        let steps = [
            "open",
            "until-followed",
            &format!("touch:{}", busy.display()),
            &format!("forever:{pause}"),
            "term-exit:0",
        ];
        let mut running = rig.supervise(rig.app(&steps)).spawn();
        running.wait_until("it is busy, and we checkpoint for it", || busy.exists());
        overwrite(&older, &rig.db());
        let rows = rig.oracle.acknowledged();
        // It may meet the damage, and end.
        eventually("it has gone on", || !running.is_running() || rig.oracle.acknowledged() > rows + 20);
        running.signal_if_running(Signal::SIGTERM);
        let ended = running.wait();
        println!("a pause of {pause} ms\n{ended}");
        ended.assert_says(&[OVERWRITTEN[0]]);
        if ended.code() != Some(1) {
            assert_truth(&mut rig, "busy", &ended, None);
        }
    }
}

/// The WAL stands and proves that no commit is missing, but it says nothing of pages that it does not hold.
#[test]
fn a_file_that_was_written_to_while_nobody_replicated_is_compared() {
    let with_the_wal = |older: &Path, db: &Path| {
        let wal = db.with_extension("db-wal");
        assert!(fs::metadata(&wal).expect("stat").len() > 0, "there is nothing that could mislead");
        match older.exists() {
            true => overwrite(older, db),
            false => patch(db),
        }
    };
    for is_whole in [true, false] {
        let mut rig = replicated();
        let older = rig.path("older.db");
        if is_whole {
            fs::copy(rig.db(), &older).expect("copy");
            sql(
                &rig.db(),
                "UPDATE big SET data = randomblob(20000); PRAGMA journal_mode=DELETE; PRAGMA journal_mode=WAL",
            );
        }
        // In the WAL are these rows alone.
        rig.supervise(rig.app(&["open", "rows:3"])).finish().assert_code(0);
        with_the_wal(&older, &rig.db());
        let ended = ship(&rig);
        println!("is_whole={is_whole}\n{ended}");
        ended.assert_says(&OVERWRITTEN);
        assert_truth(&mut rig, "away", &ended, None);
    }
}
