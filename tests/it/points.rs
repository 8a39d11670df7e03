//! Looking at a replica and going back in it: `ltx`, `points`, `restore -timestamp`, `-dry-run`, to stdout and to a gzip file.

use std::ffi::OsString;
use std::path::Path;

use rusqlite::Connection;

use crate::harness::process::binary;
use crate::harness::rig::{python, shell};
use crate::harness::{Finished, Invocation, Rig, oracle};

/// A replica with several levels, by the real Litestream.
fn a_replica(rig: &mut Rig) {
    rig.settings = "levels:\n  - interval: 1s\n  - interval: 2s\nsnapshot:\n  interval: 2s\n".into();
    let exec = shell([
        "sh",
        "-c",
        &format!("sleep 1; {}; sleep 2", shell(rig.app(&["create", "rows:5", "pause:1500", "rows:5"]))),
    ]);
    let args: [OsString; 5] = ["replicate".into(), "-config".into(), rig.config().into(), "-exec".into(), exec.into()];
    rig.litestream(args).finish().assert_code(0);
}

fn ours(rig: &Rig, args: &[&str]) -> Finished {
    rig.millstream(args.iter().copied().chain([rig.remote.url().as_str()])).finish()
}

fn ltx_lists_what_litestream_lists(mut rig: Rig) {
    a_replica(&mut rig);
    for args in [
        ["ltx"].as_slice(),
        &["ltx", "-level", "all"],
        &["ltx", "-level", "all", "-json"],
        &["ltx", "-level", "1"],
        &["ltx", "-level", "8"],
        &["ltx", "-level=8", "-json"],
    ] {
        let theirs = rig.litestream(args.iter().copied().chain([rig.remote.url().as_str()])).finish();
        let ours = ours(&rig, args);
        ours.assert_code(0);
        assert_eq!(ours.stdout, theirs.stdout, "{args:?}");
    }
    ours(&rig, &["wal"]).assert_code(0).assert_says(&["wal", "old name", "ltx"]);
    let by_path: [OsString; 4] = ["ltx".into(), "-config".into(), rig.config().into(), rig.db().into()];
    assert_eq!(rig.millstream(by_path).finish().stdout, ours(&rig, &["ltx"]).stdout);
}

#[test]
fn ltx_lists_what_litestream_lists_in_a_directory() {
    ltx_lists_what_litestream_lists(Rig::on_file());
}

#[test]
fn ltx_lists_what_litestream_lists_on_s3() {
    ltx_lists_what_litestream_lists(Rig::on_s3());
}

/// Every end that `points` names can be restored, and what lies outside is refused with the window.
fn points_are_what_can_be_restored(mut rig: Rig) {
    ours(&rig, &["points"]).assert_code(76).assert_says(&["no backup"]);
    a_replica(&mut rig);
    let shown = ours(&rig, &["points", "-json"]);
    shown.assert_code(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(shown["holes"], serde_json::json!([]));
    for end in ["oldest", "newest"] {
        let txid = shown[end]["txid"].as_str().expect("a TXID");
        let output = rig.next_output();
        let output_text = output.display().to_string();
        ours(&rig, &["restore", "-txid", txid, "-o", &output_text]).assert_code(0);
        Connection::open(&output).and_then(|db| db.query_row("PRAGMA integrity_check", [], |_| Ok(()))).expect("sound");
    }
    let text = ours(&rig, &["points"]).stdout;
    assert!(text.contains("newest  20") && text.contains("every commit"), "{text}");

    let output = rig.next_output();
    let output_text = output.display().to_string();
    let restore = |when: &str| ours(&rig, &["restore", "-timestamp", when, "-o", &output_text]);
    restore("2 hours ago").assert_code(76).assert_says(&["does not go back that far", "it begins at 20"]);
    restore("the day before").assert_code(64).assert_says(&["10m ago"]);
    assert!(!output.exists());
    restore("now").assert_code(0);
    assert_eq!(rig.oracle.check_complete(&output), 10);
    oracle::assert_same_pages(&rig.db(), &output);

    let dry = ours(&rig, &["restore", "-dry-run", "-json", "-o", "x.db"]);
    let dry: serde_json::Value = serde_json::from_str(&dry.stdout).expect("JSON");
    assert_eq!(dry["max_txid"], shown["newest"]["txid"]);
    assert!(dry["requests"].as_u64() > Some(1) && dry["bytes"].as_u64() > Some(100), "{dry}");
    // A snapshot carries the time at which it was made, which is later than the commit that it ends with.
    assert!(dry["timestamp"].as_str() >= shown["newest"]["timestamp"].as_str(), "{dry} {shown}");
}

#[test]
fn points_are_what_can_be_restored_from_a_directory() {
    points_are_what_can_be_restored(Rig::on_file());
}

#[test]
fn points_are_what_can_be_restored_from_s3() {
    points_are_what_can_be_restored(Rig::on_s3());
}

fn same_bytes(a: &Path, b: &Path) -> bool {
    std::fs::read(a).expect("read") == std::fs::read(b).expect("read")
}

#[test]
fn a_database_is_restored_to_stdout_and_to_a_gzip_file() {
    let mut rig = Rig::on_file();
    rig.supervise(rig.app(&["create", "rows:5", "big:20:30000"])).finish().assert_code(0);
    let restored = rig.restored();
    let (piped, packed, unpacked) = (rig.path("piped.db"), rig.path("copy.db.gz"), rig.path("unpacked.db"));
    let temporary = rig.path("tmp");
    std::fs::create_dir(&temporary).expect("mkdir");

    let line = "exec \"$0\" restore -o - \"$1\" > \"$2\"";
    let args: [OsString; 5] =
        ["-c".into(), line.into(), binary().into(), rig.remote.url().into(), piped.clone().into()];
    Invocation::new("sh", rig.path("")).env("TMPDIR", &temporary).args(args).finish().assert_code(0);
    assert!(same_bytes(&restored, &piped), "stdout is the database, and not a byte else");
    assert_eq!(std::fs::read_dir(&temporary).expect("list").count(), 0, "something stayed in TMPDIR");

    let packed_text = packed.display().to_string();
    ours(&rig, &["restore", "-o", &packed_text]).assert_code(0);
    let script = "import gzip, shutil, sys; shutil.copyfileobj(gzip.open(sys.argv[1]), open(sys.argv[2], 'wb'))";
    let args: [OsString; 4] = ["-c".into(), script.into(), packed.clone().into(), unpacked.clone().into()];
    Invocation::new(python(), rig.path("")).args(args).finish().assert_code(0);
    assert!(same_bytes(&restored, &unpacked));
    assert!(std::fs::metadata(&packed).expect("stat").len() < std::fs::metadata(&restored).expect("stat").len());

    ours(&rig, &["restore", "-o", &packed_text]).assert_code(73).assert_says(&["exists already"]);
    ours(&rig, &["restore", "-if-db-not-exists", "-o", &packed_text]).assert_code(0);
    ours(&rig, &["restore", "-force", "-o", &packed_text]).assert_code(0);
}
