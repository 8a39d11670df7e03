//! Copies of a replica: on the same kind of store or another one, whole or of one state.

use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Finished, Remote, Rig, oracle};

fn copy(rig: &Rig, flags: &[&str], to: &Remote) -> Finished {
    rig.millstream([&["copy"], flags, &[&rig.remote.url(), &to.url()]].concat()).finish()
}

#[track_caller]
fn json(finished: &Finished) -> Value {
    finished.assert_code(0);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}\n{finished}"))
}

/// The real Litestream restores the copy.
#[track_caller]
fn restored_by_litestream(rig: &mut Rig, from: &Remote) -> std::path::PathBuf {
    let output = rig.next_output();
    let args: [OsString; 4] = ["restore".into(), "-o".into(), output.clone().into(), from.url().into()];
    rig.litestream(args).finish().assert_code(0);
    output
}

/// Compacted, with a snapshot and single commits.
fn a_replica(rig: &mut Rig) {
    rig.settings += "levels:\n  - interval: 1s\nsnapshot:\n  interval: 2s\n";
    rig.supervise(rig.app(&["create", "rows:5", "pause:1500", "rows:5", "pause:1500", "rows:2"]))
        .finish()
        .assert_code(0);
}

fn a_state_and_a_history_are_copied(mut rig: Rig, places: [Remote; 3]) {
    a_replica(&mut rig);
    let [latest, older, whole] = places;
    let dry = json(&copy(&rig, &["-dry-run", "-json"], &latest));
    assert!(latest.objects().is_empty(), "a dry run has copied something");
    let done = json(&copy(&rig, &["-json"], &latest));
    assert_eq!((&done["txid"], &done["files"]), (&dry["txid"], &dry["files"]));
    assert_eq!(done["copied_files"], done["files"]);
    assert_eq!(latest.objects().len() as u64, done["files"].as_u64().expect("a number"));
    let output = restored_by_litestream(&mut rig, &latest);
    oracle::assert_same_pages(&rig.db(), &output);
    let again = json(&copy(&rig, &["-json"], &latest));
    assert_eq!((&again["copied_files"], &again["files_there_before"]), (&0.into(), &done["files"]));

    let first = rig.remote.level0()[0];
    copy(&rig, &["-txid", &format!("{first:016x}")], &older).assert_code(0);
    restored_by_litestream(&mut rig, &older);
    assert_eq!(json(&copy(&rig, &["-json", "-dry-run"], &older))["txid"], done["txid"]);
    let earlier = format!("{first:016x}");
    copy(&rig, &["-txid", &earlier], &latest).assert_code(73).assert_says(&["no part of this copy"]);

    rig.millstream(["mark", "here", &rig.remote.url()]).finish().assert_code(0);
    let everything = json(&copy(&rig, &["-json", "-history"], &whole));
    assert_eq!(everything["marks"], 1);
    let (ours, theirs) = (rig.remote.moment(), whole.moment());
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    assert!(ours.iter().all(|(name, (bytes, _))| theirs[name].0 == *bytes), "other bytes");
    let output = restored_by_litestream(&mut rig, &whole);
    oracle::assert_same_pages(&rig.db(), &output);
    let output = rig.next_output();
    let args: [OsString; 6] =
        ["restore".into(), "-mark".into(), "here".into(), "-o".into(), output.clone().into(), whole.url().into()];
    rig.millstream(args).finish().assert_code(0);
    oracle::assert_same_pages(&rig.db(), &output);
}

#[test]
fn from_a_directory_to_directories() {
    let rig = Rig::on_file();
    let places = ["a", "b", "c"].map(|name| Remote::file(rig.path(name)));
    a_state_and_a_history_are_copied(rig, places);
}

#[test]
fn from_s3_to_directories_and_the_other_way_round() {
    let rig = Rig::on_s3();
    let places = ["a", "b", "c"].map(|name| Remote::file(rig.path(name)));
    a_state_and_a_history_are_copied(rig, places);
    a_state_and_a_history_are_copied(Rig::on_file(), [Remote::s3(), Remote::s3(), Remote::s3()]);
}

#[test]
fn what_cannot_be_copied_is_said() {
    let mut rig = Rig::on_file();
    let to = Remote::file(rig.path("copy"));
    copy(&rig, &[], &to).assert_code(76).assert_says(&["no backup"]);
    rig.supervise(rig.app(&["create", "rows:3"])).finish().assert_code(0);
    copy(&rig, &[], &rig.remote).assert_code(64).assert_says(&["onto itself"]);
    rig.millstream(["copy", "file:///a"]).finish().assert_code(64).assert_says(&["FROM TO"]);

    // Somebody else's replica is left alone, and so is one that goes on.
    let other = Rig::on_file();
    other.supervise(other.app_of("b", &["create", "rows:3"])).finish().assert_code(0);
    let before = other.remote.objects();
    copy(&rig, &[], &other.remote).assert_code(73);
    copy(&rig, &["-history"], &other.remote).assert_code(73);
    assert!(other.remote.objects() == before);

    // Damage is not spread.
    let damaged = rig.remote.level0_name(rig.remote.level0()[0]);
    let mut bytes = rig.remote.objects()[&damaged].clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    rig.remote.put(&damaged, &bytes);
    copy(&rig, &["-history"], &to).assert_code(76).assert_says(&["damaged"]);
    assert!(!to.objects().contains_key(&damaged));
    let output = rig.next_output();
    assert!(!Path::new(&output).exists());
}
