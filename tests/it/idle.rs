//! A database in which nothing happens is closed, and opened again at the next commit.

use std::ffi::OsString;
use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{Rig, Running};

/// The application with these steps, supervised; the connections are closed after 300 ms without a
/// change, once the file has not changed for some seconds.
fn start(rig: &Rig, steps: &[&str]) -> Running {
    let path = rig.path("idle.yml");
    let (db, url) = (rig.db(), rig.remote.url());
    let intervals = "monitor-interval: 5ms\n    checkpoint-interval: 200ms";
    let text =
        format!("grace: 20s\ndbs:\n  - path: {}\n    {intervals}\n    replica:\n      url: \"{url}\"\n", db.display());
    fs::write(&path, text).expect("write the configuration");
    let words = [OsString::from("run"), "-config".into(), path.into(), "--".into()];
    rig.millstream(words).args(rig.app(steps)).spawn()
}

/// Descriptors of the database, its WAL and its wal-index.
fn descriptors(pid: u32, rig: &Rig) -> usize {
    let database = rig.db().display().to_string();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("list the descriptors").filter_map(Result::ok);
    let links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with(&database)).count()
}

fn wait_until_closed(running: &mut Running, rig: &Rig) {
    let pid = running.id();
    running.wait_until("the database is open", || descriptors(pid, rig) > 0);
    running.wait_until("the database is closed", || descriptors(pid, rig) == 0);
}

#[test]
fn a_database_at_rest_has_no_descriptor_open_and_misses_no_commit() {
    let mut rig = Rig::on_file();
    let goes: Vec<_> = (0..3).map(|round| rig.path(&format!("go-{round}"))).collect();
    let waits: Vec<String> = goes.iter().map(|go| format!("until-file:{}", go.display())).collect();
    let mut steps = vec!["create", "rows:5"];
    waits.iter().for_each(|wait| steps.extend([wait, "rows:3"]));
    steps.extend(["idle", "term-exit:0"]);
    let mut running = start(&rig, &steps);
    for go in &goes {
        wait_until_closed(&mut running, &rig);
        let wanted = rig.oracle.acknowledged() + 3;
        fs::write(go, "").expect("create a file");
        running.wait_until("the new rows are in the replica", || {
            let output = rig.next_output();
            rig.restore(&output).assert_code(0);
            rig.oracle.check(&output) >= wanted
        });
    }
    wait_until_closed(&mut running, &rig);
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    ended.assert_code(0);
    assert!(!ended.stderr.contains("comparing"), "{ended}");
    rig.assert_all_rows_are_safe();
}

/// The application commits and closes the database at once: nobody may see its last WAL.
#[test]
fn the_last_commit_of_an_application_that_ends_is_safe_though_the_database_was_closed() {
    let mut rig = Rig::on_file();
    let mut running = start(&rig, &["create", "rows:5", "idle", "term-row", "term-exit:0"]);
    wait_until_closed(&mut running, &rig);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 6);
}

#[test]
fn a_file_that_is_put_in_the_place_of_a_closed_one_is_taken_up() {
    let mut rig = Rig::on_file();
    let mut running = start(&rig, &["create", "rows:5", "idle", "term-exit:0"]);
    wait_until_closed(&mut running, &rig);
    let new = rig.path("new.db");
    let from = rusqlite::Connection::open(rig.db()).expect("open");
    from.execute("VACUUM INTO ?", [new.to_str().expect("text")]).expect("vacuum");
    drop(from);
    fs::rename(&new, rig.db()).expect("replace");
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    ended.assert_code(0).assert_says(&["another file lies in the place of the database"]);
    rig.assert_all_rows_are_safe();
}
