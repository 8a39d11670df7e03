//! Boot: the application starts on the right database or not at all.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::remote::BUCKET;
use crate::harness::{Finished, Proxy, Rig, Running, oracle};

/// An application that leaves a trace of having been started.
fn trace(rig: &Rig) -> (PathBuf, Vec<OsString>) {
    let started = rig.path("started");
    (started.clone(), vec!["touch".into(), started.into()])
}

/// A rig whose replica holds rows and whose disk is empty.
fn with_a_backup(rig: Rig, rows: usize) -> Rig {
    let steps = format!("rows:{rows}");
    rig.supervise(rig.app(&["create", &steps])).finish().assert_code(0);
    rig.lose_the_disk();
    rig
}

#[track_caller]
fn assert_nothing_happened(rig: &Rig, ended: &Finished) {
    assert!(!rig.path("started").exists(), "the application was started\n{ended}");
    assert!(!rig.db().exists(), "a database was made\n{ended}");
    assert!(rig.leftovers().is_empty(), "left behind: {:?}\n{ended}", rig.leftovers());
}

#[test]
fn a_missing_database_is_restored_and_replication_goes_on() {
    for rig in [Rig::on_file(), Rig::on_s3()] {
        let mut rig = with_a_backup(rig, 5);
        rig.supervise(rig.app_of("b", &["open", "rows:5"])).finish().assert_code(0);
        assert_eq!(rig.assert_all_rows_are_safe(), 10);
        let ours = rig.restored();
        assert_eq!(rig.oracle.check_complete(&ours), 10);
    }
}

#[test]
fn an_existing_database_is_never_replaced() {
    let mut rig = Rig::on_file();
    rig.supervise(rig.app(&["create", "rows:2"])).finish().assert_code(0);
    rig.run_bare(&["open", "rows:1"]);
    rig.supervise(rig.app(&["open", "rows:1"])).finish().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 4);
    let db = rig.db();
    assert_eq!(rig.oracle.check_complete(&db), 4);
}

#[test]
fn a_database_of_zero_bytes_counts_as_missing() {
    let mut rig = with_a_backup(Rig::on_file(), 3);
    fs::write(rig.db(), "").expect("write");
    rig.supervise(rig.app(&["open", "rows:1"])).finish().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 4);
}

#[test]
fn a_stale_wal_beside_a_missing_database_is_not_replayed() {
    let mut rig = with_a_backup(Rig::on_file(), 3);
    // A WAL of another life of the same schema, left behind by a kill: valid, and foreign.
    let foreign = Rig::on_file();
    let ready = format!("touch:{}", foreign.path("ready").display());
    let mut writer = foreign.bare("foreign", &["create", "rows:9", &ready, "idle"]).spawn();
    writer.wait_until("the foreign rows are there", || foreign.path("ready").exists());
    for suffix in ["-wal", "-shm"] {
        fs::copy(foreign.path(&format!("data/app.db{suffix}")), rig.path(&format!("data/app.db{suffix}")))
            .expect("copy");
    }
    writer.kill_everything();
    rig.supervise(rig.app(&["open", "rows:1"])).finish().assert_code(0);
    let db = rig.db();
    assert_eq!(rig.oracle.check_complete(&db), 4);
    assert_eq!(rig.assert_all_rows_are_safe(), 4);
}

#[test]
fn a_restored_database_is_readable_by_its_owner_alone() {
    let rig = with_a_backup(Rig::on_file(), 1);
    rig.supervise(["true"]).finish().assert_code(0);
    let mode = fs::metadata(rig.db()).expect("restored").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn no_backup_starts_fresh_and_says_so() {
    for rig in [Rig::on_file(), Rig::on_s3()] {
        let (started, argv) = trace(&rig);
        let ended = rig.supervise(argv).finish();
        ended.assert_code(0).assert_says(&["no backup"]);
        assert!(started.exists());
    }
}

#[test]
fn require_backup_refuses_to_start_fresh() {
    let rig = Rig::on_file();
    let (_, argv) = trace(&rig);
    let config = rig.config().into_os_string();
    let args = ["run".into(), "-config".into(), config, "-require-backup".into(), "--".into()];
    let ended = rig.millstream(args).args(argv).finish();
    assert!(ended.code().is_some_and(|code| code >= 64), "{ended}");
    ended.assert_says(&["backup"]);
    assert_nothing_happened(&rig, &ended);
}

#[test]
fn require_backup_is_content_with_a_backup() {
    let mut rig = with_a_backup(Rig::on_file(), 2);
    let config = rig.config().into_os_string();
    let args = ["run".into(), "-config".into(), config, "-require-backup".into(), "--".into()];
    rig.millstream(args).args(rig.app(&["open", "rows:1"])).finish().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 3);
}

#[test]
fn wrong_keys_are_77_and_never_an_empty_start() {
    let rig = with_a_backup(Rig::on_s3(), 2);
    let (_, argv) = trace(&rig);
    // Later settings of the environment win.
    let ended = rig.supervise(argv).env("AWS_SECRET_ACCESS_KEY", "not-the-secret").finish();
    ended.assert_code(77);
    assert!(!ended.stderr.contains("not-the-secret"), "a secret was printed\n{ended}");
    assert_nothing_happened(&rig, &ended);
}

#[test]
fn an_unreachable_bucket_is_69_and_never_an_empty_start() {
    let mut rig = Rig::on_s3();
    let proxy = Proxy::start();
    proxy.down();
    rig.remote = rig.remote.through(proxy.endpoint());
    let (_, argv) = trace(&rig);
    let ended = rig.supervise(argv).spawn().wait_at_most(Duration::from_secs(150));
    ended.assert_code(69);
    assert_nothing_happened(&rig, &ended);
}

#[test]
fn a_damaged_backup_is_76_and_never_an_empty_start() {
    let rig = with_a_backup(Rig::on_file(), 3);
    for (name, mut bytes) in rig.remote.objects() {
        if name.ends_with(".ltx") {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x20;
            rig.remote.put(&name, &bytes);
        }
    }
    let (_, argv) = trace(&rig);
    let ended = rig.supervise(argv).finish();
    ended.assert_code(76);
    assert_nothing_happened(&rig, &ended);
}

#[test]
fn a_stray_object_with_a_huge_name_does_not_stop_a_restore() {
    let mut rig = with_a_backup(Rig::on_file(), 3);
    rig.remote.put(&rig.remote.level0_name(u64::MAX), b"not an LTX file");
    rig.remote.put("ltx/0/readme.txt", b"hello");
    let ours = rig.restored();
    assert_eq!(rig.oracle.check_complete(&ours), 3);
}

/// A replica that cannot be written although there is a database: said at once, and never exit code 0.
fn cannot_be_replicated(rig: &mut Rig, words: &[&str]) {
    rig.settings = "grace: 4s\n".into();
    let ready = format!("touch:{}", rig.path("ready").display());
    let mut running = rig.supervise(rig.app(&["create", "rows:1", &ready, "idle", "term-row", "term-exit:0"])).spawn();
    let stops_by_itself = !wait_for(&mut running, || rig.path("ready").exists());
    if !stops_by_itself {
        running.wait_until_says(0, words);
        running.signal(Signal::SIGTERM);
    }
    let ended = running.wait_at_most(Duration::from_secs(150));
    assert!(ended.code().is_some_and(|code| code >= 64), "{ended}");
    ended.assert_says(words);
}

/// Whether the condition came to hold before the process ended.
fn wait_for(running: &mut Running, condition: impl Fn() -> bool) -> bool {
    while running.is_running() {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    condition()
}

#[test]
fn a_directory_that_cannot_be_made_is_said_and_never_exit_code_0() {
    let mut rig = Rig::on_file();
    rig.run_bare(&["create", "rows:1"]);
    fs::write(rig.path("replica"), "a file where the directory should be").expect("write");
    cannot_be_replicated(&mut rig, &["replica"]);
}

#[test]
fn a_bucket_unreachable_from_boot_is_said_and_never_exit_code_0() {
    let mut rig = Rig::on_s3();
    rig.run_bare(&["create", "rows:1"]);
    let proxy = Proxy::start();
    proxy.down();
    rig.remote = rig.remote.through(proxy.endpoint());
    // An address in the log alone would not do: it must be named together with what went wrong.
    cannot_be_replicated(&mut rig, &[BUCKET, "fail"]);
}

#[test]
fn sigterm_during_the_restore_ends_it_and_leaves_nothing() {
    let mut rig = Rig::on_s3();
    rig.supervise(rig.app(&["create", "rows:1", "big:8:1000000"])).finish().assert_code(0);
    rig.lose_the_disk();
    let proxy = Proxy::start();
    rig.remote = rig.remote.through(proxy.endpoint());
    let (_, argv) = trace(&rig);
    // Silent from the start (while planning), and silent in the middle of the download.
    for bytes in [0, 3_000_000] {
        proxy.fall_silent_after(bytes);
        let mut running = rig.supervise(argv.clone()).spawn();
        running.wait_until("the restore hangs", || proxy.is_silent());
        std::thread::sleep(Duration::from_millis(400));
        running.signal(Signal::SIGTERM);
        let ended = running.wait_at_most(Duration::from_secs(10));
        ended.assert_code(143);
        assert_nothing_happened(&rig, &ended);
        proxy.up();
    }
}

#[test]
fn a_restore_that_is_killed_leaves_no_database_and_the_next_one_works() {
    let mut rig = Rig::on_s3();
    rig.supervise(rig.app(&["create", "rows:1", "big:8:1000000"])).finish().assert_code(0);
    rig.lose_the_disk();
    let direct = rig.remote.clone();
    let proxy = Proxy::start();
    rig.remote = rig.remote.through(proxy.endpoint());
    proxy.fall_silent_after(3_000_000);
    let (started, argv) = trace(&rig);
    let mut running = rig.supervise(argv).spawn();
    running.wait_until("the restore hangs", || proxy.is_silent());
    std::thread::sleep(Duration::from_millis(400));
    running.kill_everything();
    assert!(!rig.db().exists() && !started.exists());
    rig.remote = direct;
    rig.supervise(rig.app(&["open", "rows:1"])).finish().assert_code(0);
    assert!(rig.leftovers().iter().all(|name| !name.contains("tmp")), "left behind: {:?}", rig.leftovers());
    assert_eq!(rig.assert_all_rows_are_safe(), 2);
}

#[test]
fn a_database_directory_that_cannot_be_written_is_73_and_named() {
    let rig = with_a_backup(Rig::on_file(), 1);
    fs::remove_dir(rig.path("data")).expect("remove");
    fs::write(rig.path("data"), "a file where the directory should be").expect("write");
    let (started, argv) = trace(&rig);
    rig.supervise(argv).finish().assert_code(73).assert_says(&["app.db"]);
    assert!(!started.exists(), "the application was started");
}

#[test]
fn a_missing_database_directory_is_made() {
    let mut rig = with_a_backup(Rig::on_file(), 2);
    fs::remove_dir(rig.path("data")).expect("remove");
    rig.supervise(rig.app(&["open", "rows:1"])).finish().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 3);
    oracle::open(&rig.db());
}

#[test]
fn a_custom_ca_bundle_in_the_environment_is_no_obstacle() {
    let mut rig = Rig::on_s3();
    let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/ca.pem");
    rig.supervise(rig.app(&["create", "rows:1"])).env("AWS_CA_BUNDLE", bundle).finish().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 1);
}
