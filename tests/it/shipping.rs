//! Shipping: every commit arrives, nothing else changes, an outage is caught up, and two writers never mix.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::remote::BUCKET;
use crate::harness::{Proxy, Rig, eventually, oracle};

fn touch(rig: &Rig, name: &str) -> String {
    format!("touch:{}", rig.path(name).display())
}

fn until(rig: &Rig, name: &str) -> String {
    format!("until-file:{}", rig.path(name).display())
}

/// Rows arrive while the application runs, not only at its end.
fn rows_arrive_while_the_application_runs(mut rig: Rig) {
    let mut running = rig.supervise(rig.app(&["create", "forever:20"])).spawn();
    let mut seen = 0;
    for _ in 0..3 {
        let wanted = rig.oracle.acknowledged() + 1;
        running.wait_until("more rows are acknowledged", || rig.oracle.acknowledged() >= wanted);
        let (mut restored_rows, deadline) = (0, std::time::Instant::now() + Duration::from_secs(30));
        while restored_rows < wanted && std::time::Instant::now() < deadline {
            let output = rig.next_output();
            // The very first object may not be there yet.
            if rig.restore(&output).code() == Some(0) && output.exists() {
                restored_rows = rig.oracle.check(&output);
            }
        }
        assert!(restored_rows >= wanted, "{restored_rows} rows restored, {wanted} wanted\n{running}");
        assert!(restored_rows >= seen, "a restore point went backwards");
        seen = restored_rows;
    }
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
    rig.assert_all_rows_are_safe();
}

#[test]
fn rows_arrive_in_a_directory_while_the_application_runs() {
    rows_arrive_while_the_application_runs(Rig::on_file());
}

#[test]
fn rows_arrive_on_s3_while_the_application_runs() {
    rows_arrive_while_the_application_runs(Rig::on_s3());
}

#[test]
fn the_users_schema_is_untouched() {
    let rig = Rig::on_file();
    rig.run_bare(&["create", "rows:1"]);
    let before = oracle::schema(&rig.db());
    rig.supervise(rig.app(&["open", "rows:50", "pause:300"])).finish().assert_code(0);
    assert_eq!(oracle::schema(&rig.db()), before, "tables or indexes appeared in the user's database");
    assert!(before.iter().all(|entry| !entry.contains("_litestream")));
}

#[test]
fn a_restored_database_equals_its_source_page_for_page() {
    for rig in [Rig::on_file(), Rig::on_s3()] {
        let mut rig = rig;
        let steps = ["create", "rows:40", "big:10:30000", "delete", "rows:40", "vacuum", "rows:5"];
        rig.supervise(rig.app(&steps)).finish().assert_code(0);
        let restored = rig.restored();
        oracle::assert_same_pages(&rig.db(), &restored);
        let by_litestream = rig.restored_by_litestream();
        oracle::assert_same_pages(&rig.db(), &by_litestream);
    }
}

#[test]
fn an_outage_is_caught_up() {
    let mut rig = Rig::on_s3();
    let direct = rig.remote.clone();
    let proxy = Proxy::start();
    rig.remote = direct.through(proxy.endpoint());
    let steps = [
        "create",
        "rows:1",
        &touch(&rig, "before"),
        &until(&rig, "go"),
        "rows:30",
        &touch(&rig, "during"),
        "idle",
        "term-exit:0",
    ];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    running.wait_until("the first row is in the bucket", || !direct.level0().is_empty());
    running.wait_until_says(0, &["the first upload of this run is made", BUCKET]);
    let said = running.said();
    proxy.down();
    fs::write(rig.path("go"), "").expect("write");
    running.wait_until("rows were committed during the outage", || rig.path("during").exists());
    running.wait_until_says(said, &[BUCKET]);
    let before = direct.level0();
    proxy.up();
    running.wait_until("the bucket caught up", || direct.level0().len() > before.len());
    rig.remote = direct;
    let wanted = rig.oracle.acknowledged();
    eventually("all rows of the outage are in the bucket", || {
        let output = rig.next_output();
        rig.restore(&output).assert_code(0);
        rig.oracle.check(&output) >= wanted
    });
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    rig.assert_all_rows_are_safe();
}

#[test]
fn an_outage_that_hangs_is_caught_up() {
    let mut rig = Rig::on_s3();
    let direct = rig.remote.clone();
    let proxy = Proxy::start();
    rig.remote = direct.through(proxy.endpoint());
    let steps = ["create", "rows:1", &until(&rig, "go"), "rows:30", &touch(&rig, "during"), "idle", "term-exit:0"];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    running.wait_until("the first row is in the bucket", || !direct.level0().is_empty());
    proxy.fall_silent_after(0);
    fs::write(rig.path("go"), "").expect("write");
    running.wait_until("rows were committed during the outage", || rig.path("during").exists());
    std::thread::sleep(Duration::from_millis(1500));
    proxy.up();
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    rig.remote = direct;
    rig.assert_all_rows_are_safe();
}

/// The log is the lock: whoever creates the next object owns the history. The other stops and overwrites nothing.
fn a_second_writer_is_fenced(mut rig: Rig) {
    let steps = ["create", "rows:3", &touch(&rig, "ready"), &until(&rig, "go"), "rows:1", "idle", "term-exit:0"];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    running.wait_until("the first rows are written", || rig.path("ready").exists());
    running.wait_until("the first rows are shipped", || {
        let output = rig.next_output();
        rig.restore(&output).code() == Some(0) && output.exists() && rig.oracle.check(&output) == 3
    });
    let last = *rig.remote.level0().last().expect("something was shipped");
    let foreign = rig.remote.level0_name(last + 1);
    // Another writer's transaction: a real LTX file, only not ours.
    let content = rig.remote.objects().remove(&rig.remote.level0_name(last)).expect("listed");
    rig.remote.put(&foreign, &content);
    fs::write(rig.path("go"), "").expect("write");
    running.wait().assert_code(75).assert_says(&["writer"]).assert_says(&["writes fail with", "database is locked"]);
    let objects = rig.remote.objects();
    assert_eq!(objects.get(&foreign), Some(&content), "the other writer's object was overwritten");
    assert_eq!(rig.remote.level0().last(), Some(&(last + 1)), "written on after being fenced");
}

#[test]
fn a_second_writer_is_fenced_on_s3() {
    a_second_writer_is_fenced(Rig::on_s3());
}

#[test]
fn a_second_writer_is_fenced_in_a_directory() {
    a_second_writer_is_fenced(Rig::on_file());
}

#[test]
fn two_running_writers_never_mix() {
    let mut rig = Rig::on_s3();
    let mut first = rig.supervise(rig.app(&["create", "forever:30"])).spawn();
    first.wait_until("the first writer has shipped", || !rig.remote.level0().is_empty());
    // A second container on another disk, pointed at the same path.
    let mut second = Rig::on_file();
    second.remote = rig.remote.clone();
    let mut newcomer = second.supervise(second.app_of("b", &["create", "forever:30"])).spawn();
    std::thread::sleep(Duration::from_secs(3));
    newcomer.signal_if_running(Signal::SIGTERM);
    first.signal_if_running(Signal::SIGTERM);
    let codes = [first.wait().code(), newcomer.wait().code()];
    // The newcomer may find in time that its database is another one, and not start at all.
    let is_refused = codes[1] == Some(73);
    assert!(is_refused || codes.contains(&Some(75)) || codes == [Some(143); 2], "{codes:?}");
    // One history, whole: all rows of a prefix of a, perhaps followed by rows of b that were committed on top of it.
    let output = rig.next_output();
    rig.restore(&output).assert_code(0);
    let db = oracle::open(&output);
    oracle::assert_intact(&db, &output);
    let lives: Vec<String> = {
        let mut statement = db.prepare("SELECT life FROM t ORDER BY seq").expect("prepare");
        let rows = statement.query_map([], |row| row.get(0)).expect("query");
        rows.collect::<Result<_, _>>().expect("rows")
    };
    assert!(lives.is_sorted(), "two histories are mixed: {lives:?}");
}

#[test]
fn the_position_continues_after_a_restart_without_a_second_upload_of_the_database() {
    let mut rig = Rig::on_s3();
    rig.supervise(rig.app(&["create", "rows:1", "big:20:100000"])).finish().assert_code(0);
    let before: usize = rig.remote.objects().values().map(Vec::len).sum();
    for _ in 0..3 {
        rig.supervise(rig.app(&["open", "rows:1"])).finish().assert_code(0);
    }
    // And the same after a restore: its content is known.
    rig.lose_the_disk();
    rig.supervise(rig.app(&["open", "rows:1"])).finish().assert_code(0);
    let after: usize = rig.remote.objects().values().map(Vec::len).sum();
    assert!(after - before < 1_000_000, "{} bytes for four small commits", after - before);
    assert_eq!(rig.assert_all_rows_are_safe(), 5);
}

#[test]
fn replicate_once_ships_and_ends() {
    let mut rig = Rig::on_file();
    rig.run_bare(&["create", "rows:7"]);
    let args = ["replicate".into(), "-once".into(), rig.db().into_os_string(), rig.remote.url().into()];
    rig.millstream(args).finish().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 7);
}

#[test]
fn replicate_once_makes_a_snapshot_when_told_to() {
    let mut rig = Rig::on_file();
    rig.run_bare(&["create", "rows:7"]);
    for (flags, snapshots) in [(&["-once"][..], 0), (&["-once", "-force-snapshot", "-enforce-retention"], 1)] {
        let flags = std::iter::once("replicate").chain(flags.iter().copied()).map(OsString::from);
        let args = flags.chain([rig.db().into_os_string(), rig.remote.url().into()]);
        rig.millstream(args).finish().assert_code(0);
        let names: Vec<String> = rig.remote.objects().into_keys().collect();
        assert_eq!(names.iter().filter(|name| name.contains("ltx/9/")).count(), snapshots, "{names:?}");
    }
    assert_eq!(rig.assert_all_rows_are_safe(), 7);
    for flag in ["-force-snapshot", "-enforce-retention"] {
        rig.millstream(["replicate", flag]).finish().assert_code(64).assert_says(&[flag, "without -once"]);
    }
}

#[test]
fn replicate_without_a_child_ships_what_others_write_until_sigterm() {
    let mut rig = Rig::on_file();
    rig.run_bare(&["create", "rows:2"]);
    let args = ["replicate".into(), rig.db().into_os_string(), rig.remote.url().into()];
    let mut running = rig.millstream(args).spawn();
    running.wait_until("the first rows are shipped", || !rig.remote.level0().is_empty());
    rig.run_bare(&["open", "rows:3"]);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 5);
}

#[test]
fn no_secret_appears_in_any_output_or_object() {
    let mut rig = Rig::on_s3();
    let secret = crate::harness::process::setting("MILLSTREAM_TEST_S3_SECRET_KEY");
    rig.settings += "logging:\n  level: trace\n";
    let ended = rig.supervise(rig.app(&["create", "rows:2"])).env("LOG_LEVEL", "trace").finish();
    ended.assert_code(0);
    assert!(!ended.stderr.contains(&secret) && !ended.stdout.contains(&secret), "{ended}");
    for (name, bytes) in rig.remote.objects() {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{name}");
    }
}
