//! Marks: a moment with a name outlives retention, until it is dropped or its time has passed.

use std::ffi::OsString;
use std::path::Path;

use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::Value;

use crate::harness::rig::shell;
use crate::harness::{Finished, Rig, Running, eventually};

/// A second is a long time in these replicas.
const SHORT: &str = "grace: 20s\nlevels:\n  - interval: 1s\n  - interval: 2s\nsnapshot:\n  interval: 1s\n  retention: 1s\n\
                     l0-retention: 1s\nl0-retention-check-interval: 500ms\n";

fn with_socket(mut rig: Rig, settings: &str) -> Rig {
    rig.settings = format!("{settings}socket:\n  enabled: true\n  path: {}\n", rig.path("control.sock").display());
    rig
}

fn by_file(rig: &Rig, words: &[&str]) -> Finished {
    let (command, rest) = words.split_first().expect("a command");
    let config = rig.config().display().to_string();
    rig.millstream([&[*command, "-config", &config], rest].concat()).finish()
}

fn by_url(rig: &Rig, words: &[&str]) -> Finished {
    rig.millstream([words, &[&rig.remote.url()]].concat()).finish()
}

#[track_caller]
fn json(finished: &Finished) -> Value {
    finished.assert_code(0);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}\n{finished}"))
}

fn rows(database: &Path) -> i64 {
    let connection = Connection::open(database).expect("open");
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("count")
}

fn restored(rig: &mut Rig, mark: &str) -> i64 {
    let output = rig.next_output();
    by_url(rig, &["restore", "-mark", mark, "-o", &output.display().to_string()]).assert_code(0);
    rig.oracle.check(&output);
    rows(&output)
}

fn running(rig: &Rig, steps: &[&str]) -> Running {
    let mut running = rig.supervise(rig.app(steps)).spawn();
    let socket = rig.path("control.sock");
    running.wait_until("the socket is there", || socket.exists());
    running
}

/// Three moments in the middle of what is written: not all of them are those at which a compacted
/// file happens to end.
fn a_marked_state_outlives_retention(rig: Rig) {
    let mut rig = with_socket(rig, SHORT);
    let mut app = running(&rig, &["create", "rows:3", "touch:ready", "forever:50"]);
    let ready = rig.path("ready");
    app.wait_until("the rows are there", || ready.exists());
    let db = rig.db().display().to_string();
    let mut made: Vec<(&str, String, i64)> = Vec::new();
    for name in ["one", "two", "three"] {
        let before = rows(&rig.db());
        let mark = json(&by_file(&rig, &["mark", "-json", "-note", "a note", name, &db]));
        let there = restored(&mut rig, name);
        assert!(there >= before, "what was committed before the call is inside: {there} of {before} rows");
        made.push((name, mark[0]["txid"].as_str().expect("a TXID").to_owned(), there));
    }
    by_file(&rig, &["mark", "three", &db]).assert_code(73).assert_says(&["three", "exists already", "marks TXID"]);

    let last = u64::from_str_radix(&made[2].1, 16).expect("hexadecimal");
    let behind = |rig: &Rig| rig.remote.level0().into_iter().find(|txid| *txid > last).unwrap_or_default();
    // Retention has deleted what is younger than the marks, more than once.
    app.wait_until("level 0 behind the marks was deleted", || behind(&rig) > last + 40);
    for (name, _, there) in &made {
        assert_eq!(restored(&mut rig, name), *there);
    }
    let shown = json(&by_url(&rig, &["points", "-json"]));
    assert_eq!((shown["marks"][0]["name"].as_str(), shown["marks"][0]["note"].as_str()), (Some("one"), Some("a note")));
    assert!(by_url(&rig, &["mark", "-list"]).stdout.contains("three"));

    for (name, ..) in &made {
        by_file(&rig, &["mark", "-drop", name]).assert_code(0);
    }
    let is_gone = |txid: &str| by_url(&rig, &["restore", "-dry-run", "-txid", txid, "-o", "x.db"]).code() == Some(76);
    app.wait_until("what only the marks kept is deleted", || made.iter().any(|(_, txid, _)| is_gone(txid)));
    by_url(&rig, &["restore", "-mark", "three", "-o", "x.db"]).assert_code(76).assert_says(&["no mark three"]);
    by_file(&rig, &["mark", "-drop", "three"]).assert_code(76);
    app.signal(Signal::SIGTERM);
    app.wait();
    rig.assert_all_rows_are_safe();
}

#[test]
fn a_marked_state_outlives_retention_in_a_directory() {
    a_marked_state_outlives_retention(Rig::on_file());
}

#[test]
fn a_marked_state_outlives_retention_on_s3() {
    a_marked_state_outlives_retention(Rig::on_s3());
}

#[test]
fn a_mark_is_of_a_state_that_can_be_restored_exactly() {
    let mut rig = Rig::on_file();
    by_url(&rig, &["mark", "x"]).assert_code(76).assert_says(&["no backup"]);
    rig.supervise(rig.app(&["create", "rows:3"])).finish().assert_code(0);
    let newest = rig.remote.level0().last().copied().expect("a commit");
    by_url(&rig, &["mark", "-txid", &format!("{:016x}", newest + 1), "x"]).assert_code(76).assert_says(&["nearest"]);
    by_url(&rig, &["mark", "-timestamp", "2000-01-01T00:00:00Z", "x"]).assert_code(76).assert_says(&["begins at"]);
    by_url(&rig, &["mark", "no name"]).assert_code(64).assert_says(&["no name for a mark"]);
    assert!(rig.remote.objects().keys().all(|name| !name.starts_with("marks/")));

    let txid = format!("{newest:016x}");
    by_url(&rig, &["mark", "-keep", "1h", "-txid", &txid, "x"]).assert_code(0);
    let listed = json(&by_url(&rig, &["mark", "-list", "-json"]));
    assert_eq!((listed[0]["txid"].as_str(), &listed[0]["expired"]), (Some(txid.as_str()), &Value::Bool(false)));
    assert_eq!(restored(&mut rig, "x"), 3);
    // The real Litestream sees nothing strange in the replica.
    assert_eq!(rig.assert_all_rows_are_safe(), 3);
}

#[test]
fn the_state_before_a_migration_is_marked_once() {
    let mut rig = Rig::on_file();
    let run = |rig: &Rig, steps: &[&str]| {
        let migrate = shell(rig.app_of("m", steps));
        let words = ["run".into(), "-config".into(), rig.config().into_os_string(), "-migrate".into(), migrate.into()];
        rig.millstream(words).args(["--", "true"].map(OsString::from)).finish()
    };
    let marks = |rig: &Rig| json(&by_url(rig, &["mark", "-list", "-json"])).as_array().expect("a list").clone();
    run(&rig, &["create", "rows:2"]).assert_code(0);
    assert!(marks(&rig).is_empty(), "there was nothing before");
    run(&rig, &["rows:1"]).assert_code(0).assert_says(&["is marked as before-migration-"]);
    let made = marks(&rig);
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(made[0]["expires"].is_string());
    let name = made[0]["name"].as_str().expect("a name").to_owned();
    assert_eq!(restored(&mut rig, &name), 2);
    // Nothing changes any more, however often it starts.
    run(&rig, &["open"]).assert_code(0);
    let after = marks(&rig).len();
    run(&rig, &["open"]).assert_code(0);
    run(&rig, &["open"]).assert_code(0);
    assert_eq!(marks(&rig).len(), after, "idle restarts pile up marks");
    rig.settings += "mark-before-migration: false\n";
    run(&rig, &["rows:1"]).assert_code(0);
    assert_eq!(marks(&rig).len(), after);
}

#[test]
fn a_restore_over_a_database_says_how_to_undo_it() {
    let rig = Rig::on_file();
    rig.supervise(rig.app(&["create", "rows:3"])).finish().assert_code(0);
    let older = format!("{:016x}", rig.remote.level0()[0]);
    let db = rig.db().display().to_string();
    let undone = by_file(&rig, &["restore", "-force", "-txid", &older, &db]);
    undone.assert_code(0).assert_says(&["to undo this restore: millstream restore -force -mark before-restore-", &db]);
    let line =
        undone.stderr.lines().find_map(|line| line.split_once("to undo this restore: millstream ")).expect("said");
    let command: Vec<String> = shell_words::split(line.1).expect("a command line");
    rig.millstream(command).finish().assert_code(0);
    assert_eq!(rows(&rig.db()), 3);
    eventually("both marks are there", || {
        json(&by_url(&rig, &["mark", "-list", "-json"])).as_array().is_some_and(|marks| !marks.is_empty())
    });
}

/// Who reads exit code 0 relies on what was committed before being inside.
#[test]
fn no_mark_is_made_of_what_cannot_be_uploaded() {
    let rig = with_socket(Rig::on_file(), "");
    let mut app = running(&rig, &["create", "rows:3", "touch:ready", "idle"]);
    let ready = rig.path("ready");
    app.wait_until("the rows are there", || ready.exists());
    let (db, socket) = (rig.db().display().to_string(), rig.path("control.sock").display().to_string());
    by_file(&rig, &["mark", "first", &db]).assert_code(0);
    rig.millstream(["stop", "-socket", &socket, &db]).finish().assert_code(0);
    by_file(&rig, &["mark", "second", &db]).assert_code(74).assert_says(&["second is not made", "URL"]);
    by_url(&rig, &["mark", "third"]).assert_code(0);
    let listed = json(&by_url(&rig, &["mark", "-list", "-json"]));
    let names: Vec<&str> = listed.as_array().into_iter().flatten().filter_map(|mark| mark["name"].as_str()).collect();
    assert_eq!(names, ["first", "third"]);
    app.signal(Signal::SIGTERM);
    app.wait();
}

fn at_the_same_time(rig: &Rig, words: &[&str]) -> Vec<Option<i32>> {
    let url = rig.remote.url();
    let command = || rig.millstream([words, &[&url]].concat()).spawn();
    let all: Vec<Running> = std::iter::repeat_with(command).take(4).collect();
    all.into_iter().map(|running| running.wait().code()).collect()
}

fn one_of_several_gets_a_name(rig: &Rig) {
    rig.supervise(rig.app(&["create", "rows:3"])).finish().assert_code(0);
    for _ in 0..2 {
        let mut made = at_the_same_time(rig, &["mark", "x"]);
        made.sort();
        assert_eq!(made, [Some(0), Some(73), Some(73), Some(73)]);
        let dropped = at_the_same_time(rig, &["mark", "-drop", "x"]);
        assert!(dropped.contains(&Some(0)) && dropped.iter().all(|code| [Some(0), Some(76)].contains(code)));
        assert_eq!(json(&by_url(rig, &["mark", "-list", "-json"])), Value::Array(Vec::new()));
    }
}

#[test]
fn one_of_several_processes_gets_a_name() {
    one_of_several_gets_a_name(&Rig::on_file());
    one_of_several_gets_a_name(&Rig::on_s3());
}
