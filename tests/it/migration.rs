//! The migration: after the restore, before the application, and replicated like everything else.

use std::ffi::OsString;
use std::fs;

use nix::sys::signal::Signal;

use crate::harness::rig::shell;
use crate::harness::{Invocation, Rig};

/// `run -config F -migrate CMD -- ARGV`.
fn run_with_migration(rig: &Rig, migrate: &str, argv: Vec<OsString>) -> Invocation {
    let args =
        ["run".into(), "-config".into(), rig.config().into_os_string(), "-migrate".into(), migrate.into(), "--".into()];
    rig.millstream(args).args(argv)
}

#[test]
fn it_runs_after_the_restore_and_before_the_application() {
    let mut rig = Rig::on_file();
    rig.supervise(rig.app(&["create", "rows:2"])).finish().assert_code(0);
    rig.lose_the_disk();
    let log = rig.path("order");
    let migrate = format!("sh -c 'test -s {} && echo migrate-on-restored >> {}'", rig.db().display(), log.display());
    let app = shell(rig.app(&["rows:1"]));
    let script = format!("echo app >> {}; exec {app}", log.display());
    run_with_migration(&rig, &migrate, ["sh", "-c", &script].map(OsString::from).to_vec()).finish().assert_code(0);
    assert_eq!(rig.says("order"), "migrate-on-restored\napp\n");
    assert_eq!(rig.assert_all_rows_are_safe(), 3);
}

#[test]
fn its_own_commits_are_replicated() {
    let mut rig = Rig::on_file();
    let migrate = shell(rig.app(&["create", "rows:4"]));
    run_with_migration(&rig, &migrate, ["true"].map(OsString::from).to_vec()).finish().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 4);
}

#[test]
fn a_failed_migration_ends_with_its_own_code_and_the_application_is_not_started() {
    let rig = Rig::on_file();
    let started = rig.path("started");
    let argv = vec!["touch".into(), started.clone().into()];
    let ended = run_with_migration(&rig, "sh -c 'exit 9'", argv).finish();
    ended.assert_code(9).assert_says(&["migrat"]);
    assert!(!started.exists(), "the application was started");
}

#[test]
fn a_failed_migrations_commits_are_replicated_all_the_same() {
    let mut rig = Rig::on_file();
    let migrate = shell(rig.app(&["create", "rows:4", "exit:9"]));
    run_with_migration(&rig, &migrate, ["true"].map(OsString::from).to_vec()).finish().assert_code(9);
    assert_eq!(rig.assert_all_rows_are_safe(), 4);
}

#[test]
fn sigterm_during_the_migration_reaches_it_and_the_application_is_not_started() {
    let mut rig = Rig::on_file();
    let started = rig.path("started");
    let ready = format!("touch:{}", rig.path("ready").display());
    let migrate = shell(rig.app(&["create", "rows:1", &ready, "idle", "term-row", "term-exit:143"]));
    let argv = vec!["touch".into(), started.clone().into()];
    let mut running = run_with_migration(&rig, &migrate, argv).spawn();
    running.wait_until("the migration runs", || rig.path("ready").exists());
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
    assert!(!started.exists(), "the application was started");
    assert_eq!(rig.assert_all_rows_are_safe(), 2);
}

#[test]
fn migrate_and_exec_in_the_file_make_run_enough() {
    let mut rig = Rig::on_file();
    let (migrate, exec) = (shell(rig.app(&["create", "rows:1"])), shell(rig.app(&["rows:2", "exit:3"])));
    rig.settings += &format!("migrate: {migrate:?}\nexec: {exec:?}\n");
    let config = rig.config();
    rig.millstream(["run".into(), "-config".into(), config.into_os_string()]).finish().assert_code(3);
    assert_eq!(rig.assert_all_rows_are_safe(), 3);
}

#[test]
fn a_command_on_the_command_line_wins_over_the_file() {
    let mut rig = Rig::on_file();
    rig.settings += "exec: sh -c 'exit 1'\n";
    rig.supervise(["sh", "-c", "exit 2"]).finish().assert_code(2);
}

#[test]
fn flags_alone_are_enough() {
    let mut rig = Rig::on_file();
    let migrate = shell(rig.app(&["create", "rows:1"]));
    let args: Vec<OsString> = vec![
        "run".into(),
        "-db".into(),
        rig.db().into(),
        "-replica".into(),
        rig.remote.url().into(),
        "-migrate".into(),
        migrate.into(),
        "-exec".into(),
        shell(rig.app(&["rows:2", "exit:4"])).into(),
    ];
    rig.millstream(args).finish().assert_code(4);
    assert_eq!(rig.assert_all_rows_are_safe(), 3);
    assert!(fs::metadata(rig.db()).is_ok());
}

#[test]
fn a_migration_that_takes_too_long_is_stopped_and_the_application_is_not_started() {
    let rig = Rig::on_file();
    let started = rig.path("started");
    let args =
        ["run".into(), "-config".into(), rig.config().into_os_string(), "-migrate-timeout".into(), "300ms".into()];
    let args = args
        .into_iter()
        .chain(["-migrate", "sleep 60", "--", "touch"].map(OsString::from))
        .chain([started.clone().into()]);
    let ended = rig.millstream(args).finish();
    ended.assert_code(143).assert_says(&["takes longer than"]);
    assert!(!started.exists(), "the application was started");
}
