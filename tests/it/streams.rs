//! What the application inherits: exactly what it would have had if it had been started without us.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::harness::rig::python;
use crate::harness::{Invocation, Rig};

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// The same argv started by the test itself, under the same `under`.
fn bare(rig: &Rig, argv: &[OsString]) -> Invocation {
    Invocation::new(argv[0].clone(), rig.path("")).args(argv[1..].to_vec())
}

#[test]
fn stdin_reaches_the_child_and_ends() {
    let rig = Rig::on_file();
    let ended = rig.supervise(["cat"]).stdin("one\ntwo\n").finish();
    ended.assert_code(0);
    assert_eq!(ended.stdout, "one\ntwo\n", "{ended}");
}

#[test]
fn stdout_is_the_childs_alone() {
    let rig = Rig::on_file();
    let ended = rig.supervise(["sh", "-c", "echo out; echo err >&2"]).finish();
    assert_eq!(ended.stdout, "out\n", "{ended}");
    assert!(ended.stderr.lines().any(|line| line == "err"), "{ended}");
}

#[test]
fn the_signal_mask_and_dispositions_are_those_of_a_direct_start() {
    let rig = Rig::on_file();
    let argv = words(&["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]);
    // Once as it is, once with signals that the parent ignores: both must arrive as they are.
    for prepare in ["exec \"$@\"", "trap '' USR1 TTOU PIPE; exec \"$@\""] {
        let shell = ["-c", prepare, "sh"];
        let direct = bare(&rig, &argv).under("sh", shell).finish();
        let ours = rig.supervise(argv.clone()).under("sh", shell).finish();
        assert_eq!(ours.stdout, direct.stdout, "{prepare}\n{ours}");
    }
}

#[test]
fn no_descriptor_of_ours_reaches_the_child() {
    let rig = Rig::on_file();
    rig.run_bare(&["create", "rows:1"]);
    let argv = words(&["sh", "-c", "ls /proc/$$/fd"]);
    let direct = bare(&rig, &argv).finish();
    let ours = rig.supervise(argv).finish();
    assert_eq!(ours.stdout, direct.stdout, "{ours}");
}

#[test]
fn directory_umask_and_limits_are_untouched() {
    let rig = Rig::on_file();
    fs::create_dir(rig.path("elsewhere")).expect("create a directory");
    let argv = words(&["sh", "-c", "pwd; umask; ulimit -a; nice"]);
    let shell = ["-c", "umask 027; ulimit -n 300; exec nice -n 3 \"$@\"", "sh"];
    let direct = bare(&rig, &argv).cwd(rig.path("elsewhere")).under("sh", shell).finish();
    let ours = rig.supervise(argv).cwd(rig.path("elsewhere")).under("sh", shell).finish();
    assert_eq!(ours.stdout, direct.stdout, "{ours}");
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let rig = Rig::on_file();
    let odd = ["printf", "<%s>\\n", "", "a b", "--", "-x", "it's \"quoted\"", "two\nlines", "$HOME && *", "\u{fc}ber"];
    let ours = rig.supervise(odd).finish();
    assert_eq!(
        ours.stdout, "<>\n<a b>\n<-->\n<-x>\n<it's \"quoted\">\n<two\nlines>\n<$HOME && *>\n<\u{fc}ber>\n",
        "{ours}"
    );
}

#[test]
fn the_environment_arrives_byte_for_byte() {
    let rig = Rig::on_file();
    let odd = OsString::from_vec(b"50% \xff\xfe\n=x".to_vec());
    let run = |invocation: Invocation| {
        let file = rig.path("environ");
        invocation.env("ODD", odd.clone()).env("EMPTY", "").finish().assert_code(0);
        let bytes = fs::read(&file).expect("the child wrote its environment");
        bytes.split(|byte| *byte == 0).filter(|entry| entry.starts_with(b"ODD=") || *entry == b"EMPTY=").count()
    };
    let script = format!("cat /proc/$$/environ > {}", rig.path("environ").display());
    assert_eq!(run(rig.supervise(["sh", "-c", &script])), 2);
    let bytes = fs::read(rig.path("environ")).expect("written");
    let found = bytes.split(|byte| *byte == 0).find(|entry| entry.starts_with(b"ODD="));
    assert_eq!(found, Some(&b"ODD=50% \xff\xfe\n=x"[..]));
}

/// What only we need can be kept from the application and the migration, by flag and by file together.
#[test]
fn variables_can_be_kept_from_the_child() {
    let mut rig = Rig::on_file();
    let env = |name: &str| format!("env > {}", rig.path(name).display());
    let (migrate, app) = (env("migration"), env("application"));
    rig.settings += &format!("strip-env: [FIRST]\nmigrate: sh -c '{migrate}'\n");
    let args = words(&["run", "-strip-env", "SECOND", "-strip-env=THIRD"]);
    let mut args: Vec<OsString> = args;
    args.extend([OsString::from("-config"), rig.config().into()]);
    args.extend(words(&["--", "sh", "-c", &app]));
    let names = ["FIRST", "SECOND", "THIRD", "FOURTH"];
    let ours = names.iter().fold(rig.millstream(args), |ours, name| ours.env(name, "secret"));
    ours.finish().assert_code(0);
    for file in ["migration", "application"] {
        let seen = fs::read_to_string(rig.path(file)).expect("it ran");
        let left: Vec<_> = seen.lines().filter(|line| line.ends_with("=secret")).collect();
        assert_eq!(left, ["FOURTH=secret"], "{file}");
    }
}

/// Plays a user on a terminal; what the terminal showed comes back with the exit code.
fn on_a_terminal(rig: &Rig, play: &[&str], argv: Vec<OsString>) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/terminal.py");
    let shown = rig.path("terminal");
    let mut driver: Vec<OsString> = vec![script.into(), shown.clone().into()];
    driver.extend(words(play));
    driver.push("--".into());
    let ended = rig.supervise(argv).under(python(), driver).finish();
    (ended.code(), fs::read_to_string(shown).unwrap_or_default())
}

#[test]
fn a_terminal_stays_a_terminal_and_can_be_read() {
    let rig = Rig::on_file();
    let script =
        "test -t 0 && test -t 1 && test -t 2 && echo all-tty; echo ready; read line && echo \"got $line\"; exit 4";
    let play = ["expect:ready", "send:hello\\n", "expect:got hello"];
    let (code, shown) = on_a_terminal(&rig, &play, words(&["sh", "-c", script]));
    assert_eq!(code, Some(4), "{shown}");
    assert!(shown.contains("all-tty"), "{shown}");
}

#[test]
fn ctrl_c_reaches_the_child_once_and_the_last_row_is_safe() {
    let mut rig = Rig::on_file();
    let record = format!("record:{}", rig.path("signals").display());
    let argv = rig.app(&["create", "rows:2", &record, "say:ready", "pause:1500", "rows:1", "exit:6"]);
    let (code, shown) = on_a_terminal(&rig, &["expect:ready", "send:\\x03"], argv);
    assert_eq!(code, Some(6), "{shown}");
    assert_eq!(rig.says("signals"), "INT\n", "{shown}");
    assert_eq!(rig.assert_all_rows_are_safe(), 3);
}

#[test]
fn a_shell_with_job_control_works_on_a_terminal() {
    let rig = Rig::on_file();
    let play = ["expect:$ ", "send:sleep 0.1 & wait; echo do''ne\\n", "expect:done", "send:exit 8\\n"];
    let mut argv = words(&["env", "PS1=$ ", "ENV=", "sh"]);
    argv.push("-im".into());
    let (code, shown) = on_a_terminal(&rig, &play, argv);
    assert_eq!(code, Some(8), "{shown}");
    assert!(!shown.contains("job control turned off") && !shown.contains("can't access tty"), "{shown}");
}
