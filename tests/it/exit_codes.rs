//! The exit code is the one sentence an orchestrator reads: the child's own when there was one, ours when there was none.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::Rig;

#[test]
fn the_childs_exit_code_is_ours() {
    let rig = Rig::on_file();
    for code in [0, 1, 3, 42, 126, 255] {
        rig.supervise(["sh", "-c", &format!("exit {code}")]).finish().assert_code(code);
    }
}

#[test]
fn a_childs_death_by_signal_is_128_plus_its_number() {
    let rig = Rig::on_file();
    for (name, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11), ("USR1", 10)] {
        rig.supervise(["sh", "-c", &format!("kill -{name} $$")]).finish().assert_code(128 + number);
    }
}

#[test]
fn a_command_that_is_not_there_is_127_and_named() {
    let rig = Rig::on_file();
    rig.supervise(["no-such-command-here"]).finish().assert_code(127).assert_says(&["no-such-command-here"]);
}

#[test]
fn a_command_that_cannot_be_executed_is_126_and_named() {
    let rig = Rig::on_file();
    let script = rig.path("not-executable");
    fs::write(&script, "#!/bin/sh\n").expect("write");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).expect("chmod");
    rig.supervise([script]).finish().assert_code(126).assert_says(&["not-executable"]);
    rig.supervise([rig.path("data")]).finish().assert_code(126).assert_says(&["data"]);
}

#[test]
fn replicate_exec_passes_the_childs_code_on_too() {
    let rig = Rig::on_file();
    rig.replicate_exec("sh -c 'exit 42'").finish().assert_code(42);
    rig.replicate_exec("sh -c 'kill -KILL $$'").finish().assert_code(137);
}

#[test]
fn a_wrong_command_line_is_64_and_touches_nothing() {
    let rig = Rig::on_file();
    for args in [
        &["replicat"][..],
        &["run", "-no-such-flag", "--", "true"],
        &["restore"],
        &["restore", "-txid", "not-a-txid", "-o", "out.db", "file:///nowhere"],
        &["restore", "-integrity-check", "perhaps", "-o", "out.db", "file:///nowhere"],
        &["replicate", "-once", "-exec", "true", "x.db", "file:///nowhere"],
    ] {
        let ended = rig.millstream(args).finish();
        assert_eq!(ended.code(), Some(64), "{args:?}\n{ended}");
        assert!(!ended.stderr.is_empty(), "{args:?} says nothing");
    }
    assert!(rig.leftovers().is_empty());
}

#[test]
fn a_misspelt_command_gets_a_suggestion() {
    let rig = Rig::on_file();
    rig.millstream(["replicat"]).finish().assert_code(64).assert_says(&["replicate"]);
}

#[test]
fn a_configuration_that_is_not_there_or_not_yaml_is_78() {
    let rig = Rig::on_file();
    let missing = rig.path("missing.yml");
    let argv = |config: &std::path::Path| {
        ["run".into(), "-config".into(), config.as_os_str().to_owned(), "--".into(), "true".into()]
    };
    rig.millstream(argv(&missing)).finish().assert_code(78).assert_says(&["missing.yml"]);
    let broken = rig.path("broken.yml");
    fs::write(&broken, "dbs: [{path: x").expect("write");
    rig.millstream(argv(&broken)).finish().assert_code(78).assert_says(&["broken.yml"]);
}

#[test]
fn an_unknown_configuration_key_is_78_and_the_right_one_is_suggested() {
    let mut rig = Rig::on_file();
    rig.settings = "sync-intervall: 1s\n".into();
    let ended = rig.supervise(["touch".into(), rig.path("started")]).finish();
    ended.assert_code(78).assert_says(&["sync-intervall"]).assert_says(&["`sync-interval`"]);
    assert!(!rig.path("started").exists(), "the application was started");
}

#[test]
fn help_and_version_are_answers_and_not_errors() {
    let rig = Rig::on_file();
    for args in [&["version"][..], &["-h"], &["--help"], &["run", "-h"], &["restore", "-help"]] {
        let ended = rig.millstream(args).finish();
        ended.assert_code(0);
        assert!(!ended.stdout.is_empty(), "{args:?} says nothing on stdout");
    }
}
