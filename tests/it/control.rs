//! The control socket: Litestream's commands work on ours, ours on Litestream's, and what they promise is in the replica.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::Value;

use crate::harness::litestream::NEWEST;
use crate::harness::process::{binary, setting};
use crate::harness::{Finished, Invocation, Remote, Rig, Running, eventually};

/// A configuration with the socket switched on, and a database with rows.
fn rig(mut rig: Rig) -> Rig {
    rig.settings += &format!("socket:\n  enabled: true\n  path: {}\n", socket(&rig));
    rig.run_bare(&["create", "rows:3"]);
    rig
}

fn socket(rig: &Rig) -> String {
    rig.path("control.sock").display().to_string()
}

fn db(rig: &Rig) -> String {
    rig.db().display().to_string()
}

/// `replicate -config`, listening.
fn replicating(rig: &Rig, program: impl Fn(Vec<OsString>) -> Invocation) -> Running {
    let mut running = program(vec!["replicate".into(), "-config".into(), rig.config().into()]).spawn();
    let socket = rig.path("control.sock");
    running.wait_until("the socket is there", || socket.exists());
    running
}

/// Ours or Litestream's command with the socket's path.
fn words(rig: &Rig, words: &[&str]) -> Vec<OsString> {
    let (command, rest) = words.split_first().expect("a command");
    let socket = socket(rig);
    [&[*command, "-socket", &socket], rest].concat().into_iter().map(OsString::from).collect()
}

fn ours(rig: &Rig, command: &[&str]) -> Finished {
    rig.millstream(words(rig, command)).finish()
}

fn theirs(rig: &Rig, command: &[&str]) -> Finished {
    rig.litestream(words(rig, command)).finish()
}

#[track_caller]
fn json(finished: &Finished) -> Value {
    finished.assert_code(0);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}\n{finished}"))
}

/// One more commit by another program than the one that replicates.
fn insert(db: &Path) {
    let connection = Connection::open(db).expect("open");
    connection.busy_timeout(Duration::from_secs(20)).expect("timeout");
    connection.execute_batch("CREATE TABLE IF NOT EXISTS x (n); INSERT INTO x VALUES (1)").expect("insert");
}

fn inserted(db: &Path) -> i64 {
    let connection = Connection::open(db).expect("open");
    connection.query_row("SELECT count(*) FROM x", [], |row| row.get(0)).expect("count")
}

/// A second database of the rig, with one row.
fn second(rig: &Rig) -> PathBuf {
    let path = rig.path("data/second.db");
    let connection = Connection::open(&path).expect("open");
    connection.execute_batch("PRAGMA journal_mode=WAL").expect("WAL");
    drop(connection);
    insert(&path);
    path
}

fn restored_from(rig: &mut Rig, url: &str) -> PathBuf {
    let output = rig.next_output();
    let words: Vec<OsString> = vec!["restore".into(), "-o".into(), output.clone().into(), url.into()];
    rig.litestream(words).finish().assert_code(0);
    output
}

/// The whole story of commands, whoever asks and whoever answers. `sync -wait` makes the replica complete each time.
fn story(rig: &mut Rig, is_ours: bool, ask: impl Fn(&Rig, &[&str]) -> Finished) {
    let path = db(rig);
    let info = json(&ask(rig, &["info", "-json"]));
    assert_eq!(info["database_count"], 1);
    assert!(info["pid"].is_u64() && info["version"].is_string() && info["uptime_seconds"].is_i64(), "{info}");
    let text = ask(rig, &["info"]).stdout;
    assert!(text.contains("PID:") && text.contains("Databases:  1"), "{text}");

    for commits in 1..4 {
        insert(&rig.db());
        let synced = json(&ask(rig, &["sync", "-wait", "-json", &path]));
        assert_eq!(synced["db_path"], path.as_str());
        assert_eq!(synced["txid"], synced["replica_txid"], "{synced}");
        let restored = rig.restored_by_litestream();
        assert_eq!(inserted(&restored), commits);
    }
    let listed = json(&ask(rig, &["list", "-json"]));
    assert_eq!(listed["databases"][0]["status"], "replicating");
    assert!(listed["databases"][0]["last_sync_at"].is_string(), "{listed}");
    let text = ask(rig, &["list"]).stdout;
    assert!(text.starts_with(&format!("{path} [replicating] (last sync: 2")), "{text}");

    insert(&rig.db());
    let stopped = json(&ask(rig, &["stop", "-json", &path]));
    assert_eq!((&stopped["status"], &stopped["state"]), (&"stopped".into(), &"stopped".into()));
    assert_eq!(stopped["socket"], socket(rig));
    assert_eq!(inserted(&rig.restored_by_litestream()), 4, "after a last sync");
    let text = ask(rig, &["stop", &path]).stdout;
    assert!(text.starts_with(&format!("status: already_stopped\ndb_path: {path}\nstate: stopped\ntxid: ")), "{text}");
    let refused = ask(rig, &["sync", "-wait", &path]);
    refused.assert_code(1).assert_says(&["sync failed: database not open"]);
    insert(&rig.db());
    assert_eq!(json(&ask(rig, &["start", "-json", &path]))["status"], "started");
    assert_eq!(json(&ask(rig, &["start", "-json", &path]))["status"], "already_running");
    let text = ask(rig, &["sync", "-wait", &path]).stdout;
    assert!(text.contains("\nreplica_txid: ") && text.contains("\nduration_ms: "), "{text}");
    let mut rows = 5;
    if !is_ours {
        // Litestream 0.5.17 confirms it, and what was committed while it was stopped comes with the next commit only.
        insert(&rig.db());
        ask(rig, &["sync", "-wait", &path]).assert_code(0);
        rows = 6;
    }
    assert_eq!(inserted(&rig.restored_by_litestream()), rows);
    ask(rig, &["sync", &path]).assert_code(0);

    let other = second(rig);
    let url = Remote::file(rig.path("second-replica")).url();
    let name = other.display().to_string();
    let registered = json(&ask(rig, &["register", "-json", "-replica", &url, &name]));
    assert_eq!((&registered["status"], &registered["replica"]), (&"registered".into(), &url.as_str().into()));
    let text = ask(rig, &["register", "-replica", &url, &name]).stdout;
    assert!(text.starts_with(&format!("status: already registered\ndb_path: {name}\nreplica: {url}\n")), "{text}");
    insert(&other);
    ask(rig, &["sync", "-wait", &name]).assert_code(0);
    assert_eq!(inserted(&restored_from(rig, &url)), 2);
    let preview = ask(rig, &["unregister", "-dry-run", &name]);
    assert!(preview.assert_code(0).stdout.ends_with("No unregister request was sent.\n"), "{preview}");
    insert(&other);
    let gone = json(&ask(rig, &["unregister", "-json", &name]));
    assert!(gone["status"] == "unregistered" && gone["final_txid"].as_u64() > Some(0), "{gone}");
    assert_eq!(inserted(&restored_from(rig, &url)), 3, "after a last sync");
    ask(rig, &["sync", &name]).assert_code(1).assert_says(&["sync failed: database not found"]);
    assert_eq!(json(&ask(rig, &["list", "-json"]))["databases"].as_array().map(Vec::len), Some(1));
}

/// Ended by a signal, with everything in the replica.
fn end(running: Running, rig: &Rig) {
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    assert!(!rig.path("control.sock").exists(), "the socket goes with its process");
}

#[test]
fn our_commands_on_our_socket() {
    let mut rig = rig(Rig::on_s3());
    let running = replicating(&rig, |words| rig.millstream(words));
    let mode = fs::symlink_metadata(rig.path("control.sock")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = ours(&rig, &["info"]).stdout;
    assert!(text.starts_with("millstream "), "{text}");
    story(&mut rig, true, ours);
    let made = json(&ours(&rig, &["snapshot", "-json", &db(&rig)]));
    assert!(made["txid"].as_u64() > Some(0), "{made}");
    checkpointed(&rig);
    end(running, &rig);
}

/// What is committed is in the file, and not before a reader lets go of what it reads.
fn checkpointed(rig: &Rig) {
    let alone = || inserted(&copy_of_the_file(rig));
    let app = Connection::open(rig.db()).expect("open");
    insert(&rig.db());
    let all = inserted(&rig.db());
    assert!(alone() < all, "it is in the WAL");
    app.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema").expect("read");
    insert(&rig.db());
    ours(rig, &["checkpoint", "-timeout", "1", &db(rig)])
        .assert_code(1)
        .assert_says(&["checkpoint failed", "before the WAL was in the database file"]);
    app.execute_batch("COMMIT").expect("let go");
    let done = json(&ours(rig, &["checkpoint", "-json", &db(rig)]));
    assert!(done["txid"].as_u64() > Some(0), "{done}");
    assert_eq!(alone(), all + 1);
    let text = ours(rig, &["checkpoint", &db(rig)]).stdout;
    assert!(text.starts_with(&format!("db_path: {}\ntxid: ", db(rig))), "nothing is to be done: {text}");
}

/// The database file without its WAL.
fn copy_of_the_file(rig: &Rig) -> PathBuf {
    let copy = rig.path("file-alone.db");
    fs::copy(rig.db(), &copy).expect("copy");
    copy
}

/// A registration survives the process where the configuration says so, until it is unregistered.
#[test]
fn what_is_registered_is_replicated_after_a_restart() {
    let mut rig = rig(Rig::on_s3());
    let file = rig.path("registered.json");
    rig.settings += &format!("  registrations: {}\n", file.display());
    let other = second(&rig);
    let (name, url) = (other.display().to_string(), Remote::file(rig.path("second-replica")).url());
    let running = replicating(&rig, |words| rig.millstream(words));
    for secret in ["s3://KEY:SECRET@bucket/p", "s3://bucket/p?secret-access-key=SECRET"] {
        let refused = ours(&rig, &["register", "-replica", secret, &name]);
        refused.assert_code(1).assert_says(&["the replica URL holds a key", "registered.json"]);
        assert!(!refused.stderr.contains("SECRET"), "{refused}");
    }
    ours(&rig, &["register", "-replica", &url, &name]).assert_code(0);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);

    insert(&other);
    let running = replicating(&rig, |words| rig.millstream(words));
    ours(&rig, &["sync", "-wait", &name]).assert_code(0);
    assert_eq!(inserted(&restored_from(&mut rig, &url)), 2);
    let config = rig.config().display().to_string();
    let configured = rig.millstream(["databases", "-config", &config]).finish();
    assert!(configured.assert_code(0).stdout.contains(&name), "{configured}");
    ours(&rig, &["unregister", &name]).assert_code(0);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);

    let running = replicating(&rig, |words| rig.millstream(words));
    ours(&rig, &["sync", "-wait", &db(&rig)]).assert_code(0);
    assert_eq!(json(&ours(&rig, &["list", "-json"]))["databases"].as_array().map(Vec::len), Some(1));
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
}

#[test]
fn litestreams_commands_on_our_socket() {
    let mut rig = rig(Rig::on_s3().with(NEWEST));
    let running = replicating(&rig, |words| rig.millstream(words));
    story(&mut rig, true, theirs);
    end(running, &rig);
}

#[test]
fn our_commands_on_litestreams_socket() {
    let mut rig = rig(Rig::on_file().with(NEWEST));
    // A key of ours.
    rig.settings = rig.settings.replace("grace: 20s\n", "");
    rig.optional = false;
    let running = replicating(&rig, |words| rig.litestream(words));
    eventually("it has found the database", || ours(&rig, &["sync", "-wait", &db(&rig)]).code() == Some(0));
    assert!(ours(&rig, &["info"]).stdout.starts_with("Litestream "));
    ours(&rig, &["snapshot", &db(&rig)]).assert_code(1).assert_says(&["snapshot failed", "404"]);
    story(&mut rig, false, ours);
    drop(running);
}

#[test]
fn a_database_that_is_registered_takes_over_what_the_file_presets() {
    let mut rig = rig(Rig::on_s3());
    let [id, secret] = ["MILLSTREAM_TEST_S3_ACCESS_KEY", "MILLSTREAM_TEST_S3_SECRET_KEY"].map(setting);
    rig.settings += &format!("access-key-id: {id}\nsecret-access-key: {secret}\n");
    // No keys in the environment.
    let running = replicating(&rig, |words| Invocation::new(binary(), rig.path("")).args(words));
    let (other, url) = (second(&rig), Remote::s3().url());
    let name = other.display().to_string();
    ours(&rig, &["register", "-replica", &url, &name]).assert_code(0);
    ours(&rig, &["sync", "-wait", &name]).assert_code(0);
    assert_eq!(inserted(&restored_from(&mut rig, &url)), 1);
    // What would destroy another replica is refused, also that of a database that was registered like this one.
    let third = rig.path("data/third.db").display().to_string();
    let file = Remote::file(rig.path("data")).url();
    for (taken, why) in [(rig.remote.url(), "same replica"), (url, "give each database its own"), (file, "contains")] {
        let refused = ours(&rig, &["register", "-replica", &taken, &third]);
        refused.assert_code(1).assert_says(&["register failed", why]);
    }
    let text = fs::write(&third, [b'x'; 4096]).map(|()| rig.path("third").display().to_string()).expect("write");
    let refused = ours(&rig, &["register", "-replica", &format!("file://{text}"), &third]);
    refused.assert_code(1).assert_says(&["register failed", "is not a SQLite database"]);
    let finished = {
        running.signal(Signal::SIGTERM);
        running.wait()
    };
    assert!(!finished.assert_code(0).stderr.contains(&secret), "{finished}");
}

#[test]
fn a_killed_process_leaves_a_socket_that_the_next_one_replaces() {
    let rig = rig(Rig::on_file());
    let running = replicating(&rig, |words| rig.millstream(words));
    ours(&rig, &["sync", "-wait", &db(&rig)]).assert_code(0);
    running.kill_everything();
    assert!(rig.path("control.sock").exists());
    ours(&rig, &["list"])
        .assert_code(69)
        .assert_says(&["cannot connect to the control socket", "socket: {enabled: true}"]);
    let status = json(&status(&rig, &["-json"]));
    assert_eq!((&status[0]["status"], &status[0]["process"]), (&"ok".into(), &"not running".into()));
    let mut running = rig.millstream(["replicate".into(), "-config".into(), rig.config()]).spawn();
    running.wait_until("it listens", || ours(&rig, &["list"]).code() == Some(0));
    ours(&rig, &["sync", "-wait", &db(&rig)]).assert_code(0);
    let status = json(&self::status(&rig, &["-json", &db(&rig)]));
    assert_eq!((&status[0]["status"], &status[0]["process"]), (&"ok".into(), &"replicating".into()));
    assert_eq!(
        (status[0]["local_txid"].as_str().map(str::len), &status[0]["local_txid"]),
        (Some(16), &status[0]["replica_txid"])
    );
    end(running, &rig);
}

fn status(rig: &Rig, flags: &[&str]) -> Finished {
    let config = rig.config().display().to_string();
    rig.millstream([&["status", "-config", &config], flags].concat()).finish()
}

#[test]
fn a_socket_that_was_asked_for_and_cannot_be_made_is_said_before_anything_starts() {
    let mut rig = Rig::on_file();
    fs::write(rig.path("control.sock"), "precious").expect("write");
    rig.settings += &format!("socket: {{enabled: true, path: {}}}\n", socket(&rig));
    let finished = rig.supervise(rig.app(&["create", "touch:started"])).finish();
    finished.assert_code(73).assert_says(&["control socket", "another file is there", "socket.path"]);
    assert!(!rig.path("started").exists());
    assert_eq!(fs::read_to_string(rig.path("control.sock")).expect("read"), "precious");
    // Switched off nothing is made, whatever the path.
    rig.settings = rig.settings.replace("enabled: true", "enabled: false");
    rig.supervise(rig.app(&["create", "rows:1"])).finish().assert_code(0);
}
