//! The supervisor: signals in, signals out, and the last commit safe before the exit code is passed on.
//!
//! Run on Litestream 0.5.17 (see `harness`) most of these fail, which is why they are here.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Invocation, Proxy, Rig, Running, oracle};

mod signals;

fn wait_for_file(running: &mut Running, rig: &Rig, name: &str) {
    running.wait_until(&format!("the application wrote {name}"), || rig.path(name).exists());
}

fn file_step(rig: &Rig, step: &str, name: &str) -> String {
    format!("{step}:{}", rig.path(name).display())
}

/// Starts the application, waits until it idles, sends SIGTERM and expects the exit code and every row.
fn term_row_is_safe(mut rig: Rig, last: &[&str], code: i32) {
    let ready = file_step(&rig, "touch", "ready");
    let steps = [&["create", "rows:3", &ready, "idle", "term-row"], last].concat();
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    wait_for_file(&mut running, &rig, "ready");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(code);
    assert_eq!(rig.assert_all_rows_are_safe(), 4);
}

#[test]
fn a_row_committed_on_sigterm_is_safe_when_the_child_exits_0() {
    term_row_is_safe(Rig::on_file(), &["term-exit:0"], 0);
}

#[test]
fn a_row_committed_on_sigterm_is_safe_when_the_child_exits_1() {
    term_row_is_safe(Rig::on_file(), &["term-exit:1"], 1);
}

#[test]
fn a_row_committed_on_sigterm_is_safe_when_the_child_exits_143() {
    term_row_is_safe(Rig::on_file(), &["term-exit:143"], 143);
}

#[test]
fn a_row_committed_on_sigterm_is_safe_when_the_child_dies_of_the_signal() {
    term_row_is_safe(Rig::on_file(), &["term-die:TERM"], 143);
}

#[test]
fn a_row_committed_on_sigterm_is_safe_when_the_child_kills_itself() {
    term_row_is_safe(Rig::on_file(), &["term-die:KILL"], 137);
}

#[test]
fn a_row_committed_on_sigterm_is_safe_on_s3() {
    term_row_is_safe(Rig::on_s3(), &["term-exit:143"], 143);
}

#[test]
fn a_second_sigterm_reaches_the_child_and_the_final_sync_still_runs() {
    let mut rig = Rig::on_file();
    let (ready, record) = (file_step(&rig, "touch", "ready"), file_step(&rig, "record", "signals"));
    let steps = ["create", "rows:1", &record, &ready, "idle", "term-pause:1500", "term-row", "term-exit:0"];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    wait_for_file(&mut running, &rig, "ready");
    running.signal(Signal::SIGTERM);
    running.wait_until("the first SIGTERM arrived", || rig.says("signals").lines().count() == 1);
    running.signal(Signal::SIGTERM);
    running.wait_until("the second SIGTERM arrived", || rig.says("signals").lines().count() == 2);
    running.wait().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 2);
}

#[test]
fn a_child_that_lives_for_an_instant_is_replicated() {
    for _ in 0..3 {
        let mut rig = Rig::on_file();
        rig.supervise(rig.app(&["create", "rows:1", "exit:0"])).finish().assert_code(0);
        assert_eq!(rig.assert_all_rows_are_safe(), 1);
    }
}

#[test]
fn a_child_that_crashes_is_replicated() {
    let mut rig = Rig::on_file();
    rig.supervise(rig.app(&["create", "rows:25", "die:KILL"])).finish().assert_code(137);
    assert_eq!(rig.assert_all_rows_are_safe(), 25);
}

#[test]
fn a_stopped_child_still_ends() {
    let mut rig = Rig::on_file();
    let (ready, pid) = (file_step(&rig, "touch", "ready"), file_step(&rig, "pid", "pid"));
    let mut running =
        rig.supervise(rig.app(&["create", "rows:2", &pid, &ready, "idle", "term-row", "term-exit:0"])).spawn();
    wait_for_file(&mut running, &rig, "ready");
    let child = Pid::from_raw(rig.says("pid").parse().expect("a pid"));
    kill(child, Signal::SIGSTOP).expect("the application runs");
    // Stopped is not ended.
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.is_running(), "a stopped child was taken for a dead one\n{running}");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 3);
}

#[test]
fn a_child_that_ignores_sigterm_is_killed_in_time_for_the_final_sync() {
    let mut rig = Rig::on_file();
    rig.settings = "grace: 3s\n".into();
    let ready = file_step(&rig, "touch", "ready");
    let mut running = rig.supervise(rig.app(&["ignore-term", "create", "rows:1", &ready, "forever:20"])).spawn();
    wait_for_file(&mut running, &rig, "ready");
    running.signal(Signal::SIGTERM);
    running.wait_at_most(Duration::from_secs(20)).assert_code(137);
    assert!(rig.assert_all_rows_are_safe() > 1);
}

/// The main process ends; what it left behind must be gone before the last look at the WAL.
fn orphans_end_before_the_final_sync(step: &str) {
    let mut rig = Rig::on_file();
    let ended = rig.supervise(rig.app(&["create", "rows:1", step, "pause:400", "exit:5"])).finish();
    ended.assert_code(5);
    let acknowledged = rig.oracle.acknowledged();
    assert!(acknowledged > 1, "the grandchild wrote nothing\n{ended}");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(rig.oracle.acknowledged(), acknowledged, "a grandchild still commits after the end");
    rig.assert_all_rows_are_safe();
}

#[test]
fn grandchildren_end_before_the_final_sync() {
    orphans_end_before_the_final_sync("fork:10");
}

#[test]
fn grandchildren_in_their_own_session_end_before_the_final_sync() {
    orphans_end_before_the_final_sync("fork-setsid:10");
}

#[test]
fn a_final_sync_that_fails_is_74_within_the_grace_time() {
    let mut rig = Rig::on_s3();
    rig.settings = "grace: 4s\n".into();
    let proxy = Proxy::start();
    rig.remote = rig.remote.through(proxy.endpoint());
    let (ready, go) = (file_step(&rig, "touch", "ready"), file_step(&rig, "until-file", "go"));
    let (done, steps_end) = (file_step(&rig, "touch", "done"), "term-exit:0");
    let mut running =
        rig.supervise(rig.app(&["create", "rows:1", &ready, &go, "rows:1", &done, "idle", steps_end])).spawn();
    wait_for_file(&mut running, &rig, "ready");
    running.wait_until("the first row is in the bucket", || !rig.remote.level0().is_empty());
    proxy.down();
    fs::write(rig.path("go"), "").expect("write");
    wait_for_file(&mut running, &rig, "done");
    running.signal(Signal::SIGTERM);
    running.wait_at_most(Duration::from_secs(15)).assert_code(74).assert_says(&["not in the replica", "74"]);
}

#[test]
fn the_childs_own_failure_is_not_hidden_by_a_failed_sync() {
    let mut rig = Rig::on_s3();
    rig.settings = "grace: 4s\n".into();
    let proxy = Proxy::start();
    rig.remote = rig.remote.through(proxy.endpoint());
    let ready = file_step(&rig, "touch", "ready");
    let mut running = rig.supervise(rig.app(&["create", "rows:1", &ready, "idle", "term-row", "term-exit:9"])).spawn();
    wait_for_file(&mut running, &rig, "ready");
    running.wait_until("the first row is in the bucket", || !rig.remote.level0().is_empty());
    proxy.down();
    running.signal(Signal::SIGTERM);
    running.wait_at_most(Duration::from_secs(15)).assert_code(9).assert_says(&["code 9", "not in the replica"]);
}

/// The last row cannot be uploaded, and the application ends by these steps after SIGTERM.
fn ends_without_the_last_row(settings: &str, first: &[&str], last: &[&str], code: i32) {
    let mut rig = Rig::on_s3();
    rig.settings = settings.into();
    let proxy = Proxy::start();
    rig.remote = rig.remote.through(proxy.endpoint());
    let ready = file_step(&rig, "touch", "ready");
    let steps = [first, &["create", "rows:1", &ready], last].concat();
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    wait_for_file(&mut running, &rig, "ready");
    running.wait_until("the first row is in the bucket", || !rig.remote.level0().is_empty());
    proxy.down();
    running.signal(Signal::SIGTERM);
    running
        .wait_at_most(Duration::from_secs(20))
        .assert_code(code)
        .assert_says(&["not in the replica", &format!("exit code {code}")]);
}

#[test]
fn death_by_the_forwarded_signal_does_not_hide_that_the_last_row_is_missing() {
    ends_without_the_last_row("grace: 4s\n", &[], &["idle", "term-row", "term-die:TERM"], 74);
}

#[test]
fn an_exit_code_that_tells_of_the_forwarded_signal_hides_it_as_little() {
    ends_without_the_last_row("grace: 4s\n", &[], &["idle", "term-row", "term-exit:143"], 74);
}

#[test]
fn our_own_sigkill_at_the_deadline_hides_it_as_little() {
    ends_without_the_last_row("grace: 2s\n", &["ignore-term"], &["forever:20"], 74);
}

#[test]
fn a_crash_while_it_stops_keeps_its_own_code() {
    ends_without_the_last_row("grace: 4s\n", &[], &["idle", "term-row", "term-die:SEGV"], 139);
}

#[test]
fn more_databases_than_the_soft_limit_of_descriptors_allows() {
    let rig = Rig::on_file();
    let mut config = String::from("dbs:\n");
    let count = 60;
    for number in 0..count {
        let db = rig.path(&format!("data/{number}.db"));
        let create = "PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (1)";
        rusqlite::Connection::open(&db).and_then(|db| db.execute_batch(create)).expect("create");
        let replica = rig.path(&format!("many/{number}"));
        config += &format!("  - path: {}\n    replica: {{url: \"file://{}\"}}\n", db.display(), replica.display());
    }
    let path = rig.path("many.yml");
    fs::write(&path, config).expect("write");
    let script = "ulimit -Sn; sed -n 's/^Max open files *\\([0-9]*\\).*/\\1/p' /proc/$PPID/limits";
    let run =
        ["run".into(), "-config".into(), path.into_os_string(), "--".into(), "sh".into(), "-c".into(), script.into()];
    let ended = rig.millstream::<OsString>(run).under("sh", ["-c", "ulimit -Sn 200; exec \"$@\"", "sh"]).finish();
    ended.assert_code(0).assert_says(&[&format!("every commit of {count} databases is in the replica")]);
    let limits: Vec<u64> = ended.stdout.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(limits[0] == 200 && limits[1] > 200, "the child's, ours: {limits:?}");
}

/// As PID 1 of a namespace of its own: `unshare` needs no container engine, and root only where the kernel says so.
fn as_pid_1(rig: &Rig, argv: Vec<OsString>) -> Invocation {
    let flags = if nix::unistd::geteuid().is_root() { "-pf" } else { "-Urpf" };
    rig.supervise(argv).under("unshare", [flags, "--mount-proc", "--kill-child"])
}

#[test]
fn as_pid_1_it_leaves_no_zombie() {
    let rig = Rig::on_file();
    // Each `sleep` outlives the shell that started it and falls to PID 1.
    let script = "for i in 1 2 3 4 5 6; do sh -c 'sleep 0.2 & :'; done; sleep 1; \
                  grep -l '^State:.Z' /proc/[0-9]*/status | wc -l; exit 3";
    let ended = as_pid_1(&rig, ["sh", "-c", script].map(OsString::from).to_vec()).finish();
    ended.assert_code(3);
    assert_eq!(ended.stdout.lines().last().map(str::trim), Some("0"), "zombies\n{ended}");
}

#[test]
fn as_pid_1_a_sigterm_is_obeyed_and_the_last_row_is_safe() {
    let mut rig = Rig::on_file();
    let mut argv: Vec<OsString> =
        ["sh", "-c", "(sleep 0.7; kill -TERM 1) & exec \"$@\"", "sh"].map(OsString::from).to_vec();
    argv.extend(rig.app(&["create", "rows:2", "idle", "term-row", "term-exit:143"]));
    as_pid_1(&rig, argv).finish().assert_code(143);
    assert_eq!(rig.assert_all_rows_are_safe(), 3);
}

#[test]
fn exec_refuses_what_only_a_shell_can_do_and_says_how() {
    let rig = Rig::on_file();
    let marker = rig.path("started");
    for (command, operator) in [
        (format!("touch {0} && touch {0}", marker.display()), "&&"),
        (format!("touch {0}; touch {0}", marker.display()), ";"),
        (format!("touch {} | cat", marker.display()), "|"),
    ] {
        let ended = rig.replicate_exec(&command).finish();
        assert!(matches!(ended.code(), Some(64 | 78)), "{command}\n{ended}");
        ended.assert_says(&[operator]).assert_says(&["sh -c"]);
        assert!(!marker.exists(), "{command}: a part of it was run");
    }
}

/// A panic ends the program in order: the application is told, what it commits last is replicated, and the code is 70.
#[test]
fn a_defect_of_our_own_ends_the_application_in_order() {
    let mut rig = Rig::on_file();
    let trigger = rig.path("hush-trigger");
    let steps = ["create", "rows:3", &format!("touch:{}", trigger.display()), "forever:20", "term-row", "term-exit:0"];
    let ended = rig.supervise(rig.app(&steps)).env("MILLSTREAM_TEST_PANIC", &trigger).finish();
    ended.assert_code(70).assert_says(&["a defect of millstream, please report it", "src/cli/defect.rs:"]);
    ended.assert_says(&["exit code 70"]);
    assert!(!ended.stderr.contains("hush"), "the words of a panic may hold anything\n{ended}");
    assert!(rig.assert_all_rows_are_safe() >= 4);
}

/// The same where the thread that sees to everything has met it: nobody is left who could replicate on, but the application is
/// told, and waited for.
#[test]
fn a_defect_in_the_thread_that_supervises_ends_the_application_in_order() {
    let mut rig = Rig::on_file();
    let trigger = rig.path("hush-trigger");
    let steps = [
        "create",
        "rows:3",
        &format!("touch:{}", trigger.display()),
        "idle",
        "term-pause:300",
        "term-row",
        "term-exit:0",
    ];
    let ended = rig.supervise(rig.app(&steps)).env("MILLSTREAM_TEST_PANIC_HERE", &trigger).finish();
    ended
        .assert_code(70)
        .assert_says(&["a defect of millstream, please report it", "thread main at src/cli/defect.rs:"]);
    for foreign in ["hush", "panicked at", "RUST_BACKTRACE"] {
        assert!(!ended.stderr.contains(foreign), "{foreign}\n{ended}");
    }
    assert_eq!(rig.oracle.acknowledged(), 4, "it was told to end, and did");
    let restored = rig.restored();
    assert!(rig.oracle.check(&restored) >= 3);
}
