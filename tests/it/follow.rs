//! A live copy of a replica, with real writers and readers in processes of their own, on a directory and on S3, from replicas of
//! ours and of Litestream.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::process::Running;
use crate::harness::rig::{eventually, python};
use crate::harness::{Finished, Invocation, Rig, oracle};

const MEMBER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/follower.py");

fn member(rig: &Rig, words: &[&str], db: &Path, more: &[&str]) -> Invocation {
    let argv =
        [MEMBER].iter().chain(words).map(OsString::from).chain([db.into()]).chain(more.iter().map(OsString::from));
    Invocation::new(python(), rig.path("")).args(argv.collect::<Vec<_>>())
}

fn copy(rig: &Rig) -> PathBuf {
    rig.path("copies/copy.db")
}

fn follow(rig: &Rig, interval: &str) -> Running {
    let (out, url) = (copy(rig), rig.remote.url());
    let words = ["follow", "-interval", interval, "-o", out.to_str().expect("text"), &url];
    rig.millstream(words).spawn()
}

fn write(rig: &Rig, seconds: &str, seed: &str) {
    let ended = member(rig, &["write"], &rig.db(), &[seconds, seed]).finish();
    ended.assert_code(0);
}

fn replicate(rig: &Rig) -> Running {
    let mut running = rig.millstream(["replicate".into(), "-config".into(), rig.config().into_os_string()]).spawn();
    running.wait_until("the first object is there", || !rig.remote.level0().is_empty());
    running
}

fn stop(running: Running) -> Finished {
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    ended.assert_code(0);
    ended
}

/// Everything that was committed is in the copy.
#[track_caller]
fn assert_catches_up(rig: &Rig) {
    let summary = |path: &Path| -> Option<(i64, i64, i64)> {
        let db = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        let query = "SELECT count(*), ifnull(max(k), 0), total(length(x)) FROM t";
        db.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, f64>(2)? as i64))).ok()
    };
    eventually("the copy is where the source is", || summary(&copy(rig)) == summary(&rig.db()));
}

#[track_caller]
fn violations(read: Finished) {
    read.assert_code(0);
    println!("{}", read.stdout);
    assert!(read.stdout.contains(" 0 violations"), "{read}");
    let states = read.stdout.split(", ").nth(1).and_then(|states| states.split(' ').next()?.parse::<usize>().ok());
    assert!(states.is_some_and(|states| states > 5), "too few states to show anything\n{read}");
}

fn readers_that_stay_see_whole_states(rig: &Rig) {
    write(rig, "0.2", "1");
    let replicating = replicate(rig);
    let following = follow(rig, "50ms");
    let reading: Vec<Running> = (0..2).map(|_| member(rig, &["read"], &copy(rig), &["8"]).spawn()).collect();
    write(rig, "7", "2");
    reading.into_iter().for_each(|reading| violations(reading.wait()));
    assert_catches_up(rig);
    stop(following).assert_says(&["stopped following, at TXID"]);
    stop(replicating);
    let intact = oracle::open(&copy(rig));
    oracle::assert_intact(&intact, &copy(rig));
}

#[test]
fn readers_that_stay_see_whole_states_of_a_directory() {
    readers_that_stay_see_whole_states(&Rig::on_file());
}

#[test]
fn readers_that_stay_see_whole_states_of_a_bucket() {
    readers_that_stay_see_whole_states(&Rig::on_s3());
}

/// Litestream's own way of following fails this: its readers keep pages that are no longer there.
#[test]
fn what_litestream_writes_is_followed_with_its_own_flags() {
    let rig = Rig::on_file();
    write(&rig, "0.2", "1");
    let url = rig.remote.url();
    let replicating = rig.litestream(["replicate", rig.db().to_str().expect("text"), &url]).spawn();
    eventually("Litestream has begun", || !rig.remote.level0().is_empty());
    let out = copy(&rig);
    fs::create_dir_all(out.parent().expect("a directory")).expect("mkdir");
    let words = ["restore", "-f", "-follow-interval", "50ms", "-o", out.to_str().expect("text"), &url];
    let following = rig.millstream(words).spawn();
    let reading = member(&rig, &["read"], &out, &["14"]).spawn();
    write(&rig, "13", "3");
    violations(reading.wait());
    assert_catches_up(&rig);
    stop(following);
    let txid = fs::read_to_string(rig.path("copies/copy.db-txid")).expect("Litestream's note");
    assert_eq!(u64::from_str_radix(txid.trim_end(), 16).ok().as_ref(), rig.remote.level0().last(), "{txid}");
    drop(replicating);
}

/// Whatever moment it is killed at, the copy is whole for readers, and the next run goes on.
#[test]
fn killed_at_any_moment_it_goes_on() {
    let rig = Rig::on_file();
    write(&rig, "0.2", "1");
    let replicating = replicate(&rig);
    let writing = member(&rig, &["write"], &rig.db(), &["12", "5"]).spawn();
    let reading = member(&rig, &["read"], &copy(&rig), &["11"]).spawn();
    let mut pause = 7_u64;
    for _ in 0..25 {
        let following = follow(&rig, "10ms");
        pause = pause.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(50 + (pause >> 33) % 350));
        following.kill_everything();
        if copy(&rig).exists() {
            oracle::assert_intact(&oracle::open(&copy(&rig)), &copy(&rig));
        }
    }
    violations(reading.wait());
    writing.wait().assert_code(0);
    let following = follow(&rig, "50ms");
    assert_catches_up(&rig);
    let ended = stop(following);
    assert!(!ended.stderr.contains("comparing it"), "a kill is no doubt\n{ended}");
    stop(replicating);
}

#[test]
fn foreign_writes_are_kept_out_or_undone_and_said() {
    let rig = Rig::on_file();
    write(&rig, "0.5", "1");
    let replicating = replicate(&rig);
    let mut following = follow(&rig, "10ms");
    following.wait_until("the copy is there", || rig.path("copies/copy.db-txid").exists());
    let writing = member(&rig, &["write"], &rig.db(), &["5", "2"]).spawn();
    let stray = member(&rig, &["stray"], &copy(&rig), &[]).finish();
    writing.wait().assert_code(0);
    assert_catches_up(&rig);
    let db = oracle::open(&copy(&rig));
    let total = |db: &rusqlite::Connection| db.query_row("SELECT total FROM s", [], |row| row.get::<_, f64>(0));
    eventually("what was written is undone", || total(&db).is_ok_and(|total| total >= 0.0));
    if stray.stdout.contains("slipped in") {
        following.wait_until_says(0, &["another program has written to this copy"]);
        following.wait_until_says(0, &["healed"]);
    }
    println!("{}", stray.stdout);
    stop(following);
    db.execute_batch("UPDATE s SET total = -1").expect("nothing keeps it out now");
    let following = follow(&rig, "10ms");
    eventually("what was written is undone", || total(&db).is_ok_and(|total| total >= 0.0));
    stop(following).assert_says(&["another program has written to it"]);
    stop(replicating);
}

#[test]
fn another_page_size_waits_until_no_program_has_the_copy_open() {
    let rig = Rig::on_file();
    let sql = |text: &str| rusqlite::Connection::open(rig.db()).expect("open").execute_batch(text).expect("execute");
    sql(
        "PRAGMA page_size=4096; PRAGMA journal_mode=WAL; CREATE TABLE t(k INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, zeroblob(9000))",
    );
    stop(replicate(&rig));
    let mut following = follow(&rig, "50ms");
    following.wait_until("the copy is there", || rig.path("copies/copy.db-txid").exists());
    let go = rig.path("go");
    let mut holding = member(&rig, &["hold"], &copy(&rig), &[go.to_str().expect("text")]).spawn();
    std::thread::sleep(Duration::from_millis(500));
    assert!(holding.is_running());
    sql(
        "PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM; PRAGMA journal_mode=WAL; INSERT INTO t VALUES (2, zeroblob(9000))",
    );
    let replicating = rig.millstream(["replicate".into(), "-config".into(), rig.config().into_os_string()]).spawn();
    following.wait_until_says(0, &["pages of another size"]);
    following.wait_until_says(0, &["was not replaced: stop it first"]);
    fs::write(&go, "").expect("write");
    holding.wait().assert_code(0);
    following.wait_until_says(0, &["the copy was replaced"]);
    assert_catches_up(&rig);
    stop(following);
    stop(replicating);
}

#[test]
fn a_copy_is_not_replicated_and_what_is_replicated_is_no_copy() {
    let rig = Rig::on_file();
    write(&rig, "0.2", "1");
    let config = rig.config();
    let config = config.to_str().expect("text");
    let replicating = replicate(&rig);
    let (db, url) = (rig.db(), rig.remote.url());
    let db = db.to_str().expect("text");
    rig.millstream(["follow", "-o", db, &url])
        .finish()
        .assert_code(73)
        .assert_says(&["replicated, restored or followed by"]);
    rig.millstream(["follow", "-config", config, "-o", db, db])
        .finish()
        .assert_code(78)
        .assert_says(&["name another file"]);
    rig.millstream(["restore", "-f", "-config", config, db])
        .finish()
        .assert_code(78)
        .assert_says(&["name another file"]);
    let mut following = follow(&rig, "50ms");
    following.wait_until("the copy is there", || rig.path("copies/copy.db-txid").exists());
    let out = copy(&rig);
    let out = out.to_str().expect("text");
    rig.millstream(["follow", "-o", out, &url]).finish().assert_code(73).assert_says(&["followed by millstream"]);
    let elsewhere = format!("file://{}", rig.path("elsewhere").display());
    for _ in 0..2 {
        let refused = rig.millstream(["replicate", out, &elsewhere]).finish();
        refused.assert_code(73).assert_says(&["is a live copy of", "remove"]);
        following.signal_if_running(Signal::SIGTERM);
        eventually("it has ended", || !following.is_running());
    }
    fs::remove_file(rig.path("copies/.copy.db-millstream/follows.json")).expect("remove");
    fs::remove_file(rig.path("copies/copy.db-txid")).expect("remove");
    rig.millstream(["follow", "-o", out, &url]).finish().assert_code(73).assert_says(&["no copy of a replica"]);
    rig.millstream(["replicate", "-once", out, &elsewhere]).finish().assert_code(0);
    stop(replicating);
}

#[test]
fn what_cannot_be_followed_is_said() {
    let rig = Rig::on_file();
    let (url, out) = (rig.remote.url(), rig.path("copy.db"));
    let out = out.to_str().expect("text");
    rig.millstream(["follow", "-o", out, &url]).finish().assert_code(76).assert_says(&["no backup"]);
    rig.millstream(["restore", "-f", "-if-replica-exists", "-o", out, &url]).finish().assert_code(0);
    rig.millstream(["follow", &url]).finish().assert_code(64).assert_says(&["-o PATH"]);
    rig.millstream(["follow", "-o", "-", &url]).finish().assert_code(64).assert_says(&["a database file"]);
    rig.millstream(["follow", "-interval", "0s", "-o", out, &url]).finish().assert_code(64);
    for flags in [["-txid", "0000000000000001"].as_slice(), &["-timestamp", "now"], &["-dry-run"], &["-mark", "x"]] {
        let words = [&["restore", "-f", "-o", out], flags, &[&url]].concat();
        rig.millstream(words).finish().assert_code(64).assert_says(&["-f cannot be combined with", flags[0]]);
    }
}
