//! A database that never appears: a wrong path must not look like a backup.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::rig::shell;
use crate::harness::{Invocation, Rig, Running};

/// `run` or `replicate` with a database at `path`, while the application writes to another one.
fn with_path(rig: &Rig, path: &Path, more: &str, command: &[&str]) -> Invocation {
    let config = rig.path("wrong.yml");
    let (path, url) = (path.display(), rig.remote.url());
    fs::write(&config, format!("dbs:\n  - path: '{path}'\n{more}    replica: {{url: \"{url}\"}}\n")).expect("write");
    let args = [command[0].into(), "-config".into(), config.into_os_string()];
    rig.millstream::<OsString>(args.into_iter().chain(command[1..].iter().map(OsString::from)))
}

fn ready(rig: &Rig) -> String {
    format!("touch:{}", rig.path("ready").display())
}

fn wait_until_ready(rig: &Rig, running: &mut Running) {
    running.wait_until("the application runs", || rig.path("ready").exists());
}

#[test]
fn a_path_that_is_wrong_by_a_letter_is_warned_of_and_74_at_the_end() {
    let rig = Rig::on_file();
    let app = rig.app(&["create", "rows:3", &ready(&rig), "forever:50", "term-die:TERM"]);
    let invocation = with_path(&rig, &rig.path("data/ap.db"), "", &["run", "--"]);
    let mut running = invocation.args(app).spawn();
    wait_until_ready(&rig, &mut running);
    running.wait_until_says(0, &["WARN", "no database at", "data/ap.db", "data/app.db (", "open"]);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(74).assert_says(&["nothing was replicated", "data/app.db", "exit code 74"]);
}

/// The path is that of a database from an earlier time.
#[test]
fn an_application_that_uses_another_database_is_warned_of() {
    let rig = Rig::on_file();
    let other = rig.path("data/ap.db");
    let connection = rusqlite::Connection::open(&other).expect("open");
    connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").expect("create");
    drop(connection);
    let app = rig.app(&["create", "rows:3", &ready(&rig), "forever:50", "term-die:TERM"]);
    let mut running = with_path(&rig, &other, "", &["run", "--"]).args(app).spawn();
    wait_until_ready(&rig, &mut running);
    running.wait_until_says(
        0,
        &["WARN", "the application has", "data/app.db open, which is not replicated", "correct `path`"],
    );
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
}

#[test]
fn a_pattern_or_a_directory_as_a_path_is_said_to_be_none() {
    let rig = Rig::on_file();
    let app = rig.app(&["create", "rows:1", "exit:0"]);
    let ended = with_path(&rig, &rig.path("data/*.db"), "", &["run", "--"]).args(app.clone()).finish();
    ended.assert_code(74).assert_says(&["patterns stand for nothing", "data/app.db ("]);
    // Nothing is restored to a directory, and nothing is started.
    let directory = rig.path("data/directory");
    std::fs::create_dir(&directory).expect("create a directory");
    let ended = with_path(&rig, &directory, "", &["run", "--"]).args(app.clone()).finish();
    ended.assert_code(73).assert_says(&["data/directory", "it is a directory"]);
    let ended = with_path(&rig, &directory, "", &["replicate", "-exec", &shell(app)]).finish();
    ended.assert_code(73).assert_says(&["data/directory", "it is a directory"]);
}

#[test]
fn a_failure_of_the_application_keeps_its_code() {
    let rig = Rig::on_file();
    let invocation = with_path(&rig, &rig.path("data/ap.db"), "", &["run", "--"]);
    invocation
        .args(rig.app(&["create", "rows:1", "exit:9"]))
        .finish()
        .assert_code(9)
        .assert_says(&["nothing was replicated"]);
}

#[test]
fn an_optional_database_may_be_missing() {
    let rig = Rig::on_file();
    let ended = with_path(&rig, &rig.path("data/ap.db"), "    optional: true\n", &["run", "--", "true"]).finish();
    ended.assert_code(0).assert_says(&["nothing to replicate"]);
    let once = with_path(&rig, &rig.path("data/ap.db"), "    optional: true\n", &["replicate", "-once"]).finish();
    once.assert_code(0);
    with_path(&rig, &rig.path("data/ap.db"), "", &["replicate", "-once"]).finish().assert_code(73);
}

#[test]
fn replicate_without_an_application_tells_too() {
    let rig = Rig::on_file();
    rig.run_bare(&["create", "rows:1"]);
    let mut running = with_path(&rig, &rig.path("data/ap.db"), "", &["replicate"]).spawn();
    // By then it waits for signals only.
    running.wait_until_says(0, &["WARN", "no database at", "data/app.db ("]);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(74).assert_says(&["data/ap.db", "data/app.db ("]);
}

/// A database that is copied onto the path while it is waited for: at first only a part of it is there.
#[test]
fn a_database_that_is_still_being_copied_is_waited_for() {
    use std::io::Write;
    let mut rig = Rig::on_file();
    let source = rig.path("source.db");
    rig.run_bare(&["create", "rows:200"]);
    let db = crate::harness::oracle::open(&rig.db());
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("checkpoint");
    drop(db);
    fs::rename(rig.db(), &source).expect("move");
    let bytes = fs::read(&source).expect("read");
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let mut running = with_path(&rig, &rig.db(), "", &["replicate"]).spawn();
    running.wait_until_says(0, &["INFO", "no database yet"]);
    let mut copy = fs::File::create(rig.db()).expect("create");
    copy.write_all(first).expect("write");
    running.wait_until_says(0, &["WARN", "is it still being copied?"]);
    copy.write_all(rest).expect("write");
    running.wait_until_says(0, &["INFO", "the first upload of this run is made"]);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    let restored = rig.restored();
    crate::harness::oracle::assert_same_pages(&source, &restored);
    // A part that stays a part is said to be damaged.
    fs::write(rig.db(), first).expect("write");
    let ended = with_path(&rig, &rig.db(), "", &["replicate", "-once"]).finish();
    assert_ne!(ended.code(), Some(0), "{ended}");
    ended.assert_says(&["malformed"]);
}
