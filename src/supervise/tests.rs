//! The room as a whole, with real processes.
//!
//! Signals, children and subreapers belong to a process, not to a test: so every test here runs its body in a process of its own,
//! which is this test binary started again with the name of that one test.

use std::borrow::BorrowMut;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::child::{Child, ChildEvent, GroupEnd};
use super::drive::Ended;
use super::exit::Exit;
use super::*;

const INSIDE: &str = "SUPERVISE_TEST_INSIDE";
const LONG: Duration = Duration::from_secs(60);

fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// This binary, to run the body of one test.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", &format!("supervise::tests::{test}"), "--nocapture", "--test-threads=1"]);
    command.env(INSIDE, "1").stdin(Stdio::null()).process_group(0);
    with_signals(&mut command, &[], &[]);
    command
}

/// Starts the command with these signals ignored and these blocked, and no others, whoever has started the tests: a shell without job
/// control has INT and QUIT ignored for what runs in its background.
fn with_signals(command: &mut Command, ignored: &'static [i32], blocked: &'static [i32]) {
    let prepare = move || {
        let mask = sys::signal_set(|signal| blocked.contains(&signal.number()));
        // SAFETY: async-signal-safe calls on plain values, between fork and exec. What cannot be set is left as it is.
        unsafe {
            libc::sigprocmask(libc::SIG_SETMASK, &mask, std::ptr::null_mut());
            for number in 1..=signal::MAX {
                let action = if ignored.contains(&number) { libc::SIG_IGN } else { libc::SIG_DFL };
                libc::signal(number, action);
            }
        }
        Ok(())
    };
    // SAFETY: the closure allocates nothing.
    unsafe { command.pre_exec(prepare) };
}

/// Its output goes to a file: what a failing test leaves running may hold a pipe open, but not this test.
fn run_again(mut command: impl BorrowMut<Command>) {
    let mut output = tempfile::tempfile().expect("tempfile");
    let copy = || output.try_clone().expect("a second descriptor");
    let status = command.borrow_mut().stdout(copy()).stderr(copy()).status().expect("run this binary");
    let mut text = Vec::new();
    output.rewind().and_then(|()| output.read_to_end(&mut text)).expect("read the output");
    let text = String::from_utf8_lossy(&text);
    assert!(status.success() && text.contains("1 passed"), "{status}\n{text}");
}

/// Runs `body` in a process of its own, within a runtime like the program's.
fn isolated<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    if !inside() {
        return run_again(again(test));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let hung = runtime.expect("runtime").block_on(async { tokio::time::timeout(LONG, body()).await.is_err() });
    assert!(!hung, "still not done after {LONG:?}");
}

struct Room {
    signals: Signals,
    nursery: Nursery,
    dir: tempfile::TempDir,
}

impl Room {
    fn new() -> Room {
        let (signals, nursery) = install().expect("install");
        Room { signals, nursery, dir: tempfile::tempdir().expect("tempdir") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A shell script, which finds `$D`, a directory of its own.
    async fn sh(&self, script: &str) -> Child {
        let command = command(&["sh", "-c", script]);
        let extra_env = vec![("D".into(), self.dir.path().into())];
        let options = SpawnOptions { extra_env, ..SpawnOptions::default() };
        self.nursery.spawn(&command, &options).await.expect("spawn sh")
    }

    async fn supervise(&mut self, child: &mut Child, grace: Duration) -> Ended {
        supervise(child, &mut self.signals, StopPolicy::new(grace), &CancellationToken::new()).await
    }

    async fn exit_of(&mut self, script: &str) -> Exit {
        let mut child = self.sh(script).await;
        self.supervise(&mut child, LONG).await.exit
    }

    async fn written(&self, name: &str) -> String {
        wait_for(|| fs::read_to_string(self.path(name)).ok().filter(|text| text.ends_with('\n'))).await
    }
}

fn command(words: &[&str]) -> CommandLine {
    CommandLine::new(words.iter().map(OsString::from).collect()).expect("a command")
}

async fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn send_self(signal: Signal) {
    sys::kill(sys::own_pid(), signal).expect("signal this process");
}

fn zombies() -> usize {
    let own = sys::own_pid();
    group::scan().expect("proc").iter().filter(|process| process.zombie && process.parent == own).count()
}

fn alive(pid: libc::pid_t) -> bool {
    group::read_process(pid).is_some_and(|process| !process.zombie)
}

#[test]
fn exit_codes_pass_even_when_the_child_ends_at_once() {
    isolated("exit_codes_pass_even_when_the_child_ends_at_once", async || {
        let mut room = Room::new();
        for code in [0, 1, 3, 42, 126, 127, 128, 143, 254, 255] {
            assert_eq!(room.exit_of(&format!("exit {code}")).await, Exit::Code(code));
        }
        for signal in [Signal::KILL, Signal::TERM, Signal::HUP, "RTMIN+5".parse().expect("a signal")] {
            let exit = room.exit_of(&format!("kill -{} $$", signal.number())).await;
            assert_eq!(exit, Exit::Signal(signal));
        }
        for _ in 0..100 {
            let mut child = room.nursery.spawn(&command(&["true"]), &SpawnOptions::default()).await.expect("spawn");
            assert_eq!(child.event().await, ChildEvent::Ended(Exit::Code(0)));
            assert_eq!(child.event().await, ChildEvent::Ended(Exit::Code(0)), "told again and again");
        }
        assert_eq!(zombies(), 0);
    });
}

#[test]
fn what_cannot_be_executed_says_why() {
    isolated("what_cannot_be_executed_says_why", async || {
        let room = Room::new();
        let file = |name: &str, content: &str, mode: u32| {
            use std::os::unix::fs::PermissionsExt;
            fs::write(room.path(name), content).expect("write");
            fs::set_permissions(room.path(name), fs::Permissions::from_mode(mode)).expect("chmod");
        };
        // As root, a file that nobody may execute is still refused.
        file("plain", "#!/bin/sh\n", 0o644);
        file("no-magic", "echo this is not run by a shell behind your back > $D/trace\n", 0o755);
        file("no-interpreter", "#!/nonexistent/ruby\n", 0o755);
        for (program, code, word) in [
            (PathBuf::from("no-such-program"), 127, "PATH"),
            (PathBuf::from("app --flag"), 127, "one word"),
            (room.path("absent"), 127, "not found"),
            (room.path("no-interpreter"), 127, "interpreter"),
            (room.path("plain"), 126, "executable"),
            (room.path("no-magic"), 126, "#!/bin/sh"),
            (room.path(""), 126, "directory"),
            (room.path("plain/x"), 127, "not found"),
        ] {
            let command = CommandLine::new(vec![program.clone().into()]).expect("a command");
            let error = room.nursery.spawn(&command, &SpawnOptions::default()).await.err().expect("an error");
            assert_eq!(error.exit_code(), code, "{program:?}: {error}");
            assert!(error.to_string().contains(word), "{program:?}: {error}");
            assert!(error.to_string().contains(program.to_str().expect("UTF-8")), "{error}");
        }
        assert!(!room.path("trace").exists());
        assert_eq!(zombies(), 0);
    });
}

#[test]
fn mask_and_dispositions_are_those_of_a_direct_exec() {
    const TEST: &str = "mask_and_dispositions_are_those_of_a_direct_exec";
    if inside() {
        return isolated(TEST, async || {
            let mut room = Room::new();
            if std::env::var_os("NOHUP").is_some() {
                send_self(Signal::HUP);
                send_self(Signal::USR1);
                let mut arrived = [room.signals.recv().await, room.signals.recv().await];
                arrived.sort();
                assert_eq!(arrived, [Signal::HUP, Signal::USR1], "to be passed on");
                assert!(!Signals::heeds(Signal::HUP), "whoever started us had HUP ignored: it asks us for nothing");
                assert!(Signals::heeds(Signal::USR1) && Signals::heeds(Signal::TERM));
                assert_eq!(room.signals.try_recv(), None);
            }
            let status = std::env::var("STATUS_FILE").expect("set by the test");
            // No shell: some of them clear the mask before anybody can look at it.
            let copy = command(&["cp", "/proc/self/status", &status]);
            let mut child = room.nursery.spawn(&copy, &SpawnOptions::default()).await.expect("spawn");
            assert_eq!(room.supervise(&mut child, LONG).await.exit, Exit::Code(0));
        });
    }
    let dir = tempfile::tempdir().expect("tempdir");
    for (name, ignored, blocked) in [
        ("plain", &[][..], &[][..]),
        ("nohup", &[libc::SIGHUP][..], &[][..]),
        ("odd", &[libc::SIGHUP, libc::SIGPIPE, libc::SIGCHLD, libc::SIGTTOU][..], &[libc::SIGTERM, libc::SIGWINCH][..]),
    ] {
        let (direct, ours) = (dir.path().join(format!("{name}-direct")), dir.path().join(format!("{name}-ours")));
        let mut reference = Command::new("cp");
        reference.arg("/proc/self/status").arg(&direct);
        // Whether it can be waited for depends on SIGCHLD here, not there.
        with_signals(&mut reference, ignored, blocked);
        assert!(reference.status().expect("cp").success());
        let mut command = again(TEST);
        command.env("STATUS_FILE", &ours);
        if ignored.contains(&libc::SIGHUP) {
            command.env("NOHUP", "1");
        }
        with_signals(&mut command, ignored, blocked);
        run_again(command);
        let read = |path: &Path| {
            let status = fs::read_to_string(path).expect("status");
            let signals =
                status.lines().filter(|line| ["SigB", "SigI", "SigC"].iter().any(|start| line.starts_with(start)));
            signals.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(read(&ours).len(), 3);
        assert_eq!(read(&ours), read(&direct), "{name}");
    }
}

#[test]
fn descriptors_directory_and_environment_are_inherited_and_nothing_else() {
    const TEST: &str = "descriptors_directory_and_environment_are_inherited_and_nothing_else";
    if !inside() {
        // A descriptor that our parent passes on is the child's too; so is a service manager's LISTEN_PID, rewritten.
        let dir = tempfile::tempdir().expect("tempdir");
        let mut shell = Command::new("sh");
        let script = "umask 027; exec 3</dev/null; for fd in /proc/$$/fd/*; do echo ${fd##*/}; done > $PASSED_ON; \
                      LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
        let inner = again(TEST);
        shell.args(["-c", script]).arg(inner.get_program()).args(inner.get_args()).env(INSIDE, "1");
        shell.env("PASSED_ON", dir.path().join("fds")).env("SECRET", "x").env("EMPTY", "");
        shell.env("PERCENT", "%s%n").env("LINES", "a\nb").env("BYTES", OsStr::from_bytes(b"\xff\xfe"));
        return run_again(shell.stdin(Stdio::null()).process_group(0));
    }
    isolated(TEST, async || {
        let room = Room::new();
        let _own = fs::File::open("/dev/null").expect("a descriptor of ours");
        let script = "cat /proc/self/environ > $D/env; umask > $D/umask; pwd > $D/pwd; echo $$ $LISTEN_PID > $D/pids; \
                      readlink /proc/self/fd/0 > $D/stdin; for fd in /proc/$$/fd/*; do echo ${fd##*/}; done > $D/fds; \
                      sed -n 's/^PPid.//p' /proc/$$/status > $D/parent";
        let options = SpawnOptions {
            strip_env: vec!["SECRET".into()],
            extra_env: vec![("D".into(), room.dir.path().into()), ("EMPTY".into(), "no more".into())],
            ..SpawnOptions::default()
        };
        let mut child = room.nursery.spawn(&command(&["sh", "-c", script]), &options).await.expect("spawn");
        assert_eq!(child.event().await, ChildEvent::Ended(Exit::Code(0)));

        let read = |name: &str| fs::read(room.path(name)).expect(name);
        let text = |name: &str| String::from_utf8(read(name)).expect("UTF-8").trim().to_owned();
        // The shells on both sides keep a few of their own.
        let changed = ["LISTEN_PID=", "_=", "PWD=", "OLDPWD=", "SHLVL=", "D=", "EMPTY=", "SECRET="];
        let set = |bytes: Vec<u8>| {
            let mut entries: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
            entries.retain(|entry| !changed.iter().any(|name| entry.starts_with(name.as_bytes())));
            entries
        };
        let (mut ours, mut theirs) = (set(fs::read("/proc/self/environ").expect("environ")), set(read("env")));
        ours.sort();
        theirs.sort();
        assert_eq!(theirs, ours);
        let env = String::from_utf8_lossy(&read("env")).into_owned();
        assert!(env.contains("EMPTY=no more\0") && !env.contains("SECRET="), "{env:?}");

        assert_eq!(text("pids"), format!("{0} {0}", child.pid()));
        assert_eq!(text("umask"), "0027");
        assert_eq!(Path::new(&text("pwd")), std::env::current_dir().expect("cwd"));
        assert_eq!(text("stdin"), "/dev/null");
        let passed_on = fs::read_to_string(std::env::var("PASSED_ON").expect("set by the test")).expect("fds");
        assert!(passed_on.lines().any(|fd| fd == "3"), "{passed_on}");
        assert_eq!(text("fds"), passed_on.trim());
    });
}

#[test]
fn every_signal_reaches_the_child() {
    isolated("every_signal_reaches_the_child", async || {
        let mut room = Room::new();
        // Before there is a child: kept for it.
        send_self(Signal::USR2);
        let mut child = room
            .sh("for s in HUP INT QUIT USR1 USR2 ALRM WINCH PWR IO URG VTALRM PROF 34 64; do trap \"echo $s >> $D/got\" $s; done; \
                 trap 'echo TERM >> $D/got; exit 9' TERM; echo > $D/ready; while :; do sleep 0.01; done")
            .await;
        room.written("ready").await;
        let (got, dir) = (room.path("got"), room.dir.path().to_owned());
        let driver = tokio::spawn(async move {
            let has = |name: &str| {
                let text = fs::read_to_string(&got).unwrap_or_default();
                text.lines().any(|line| line == name).then_some(())
            };
            for name in [
                "USR2", "HUP", "INT", "QUIT", "USR1", "ALRM", "WINCH", "PWR", "IO", "URG", "VTALRM", "PROF", "34", "64",
            ] {
                if name != "USR2" {
                    send_self(name.parse().expect("a signal"));
                }
                wait_for(|| has(name)).await;
            }
            send_self(Signal::TERM);
            dir
        });
        let ended = room.supervise(&mut child, LONG).await;
        driver.await.expect("driver");
        assert_eq!(ended.exit, Exit::Code(9));
        assert_eq!((ended.first_signal, ended.killed), (Some(Signal::INT), false), "HUP and USR2 ask for nothing");
        assert!(ended.stop_requested_at.is_some());
        let got = fs::read_to_string(room.path("got")).expect("got");
        assert_eq!(got.lines().count(), 15, "each once: {got}");
    });
}

#[test]
fn a_second_signal_is_forwarded_and_a_storm_loses_not_the_last_one() {
    isolated("a_second_signal_is_forwarded_and_a_storm_loses_not_the_last_one", async || {
        let mut room = Room::new();
        let mut child = room
            .sh("n=0; trap 'n=$((n+1)); echo $n > $D/count; [ $n = 1 ] || exit 9' TERM; trap : USR1; echo > $D/ready; \
                 while :; do sleep 0.01; done")
            .await;
        room.written("ready").await;
        let count = room.path("count");
        let driver = tokio::spawn(async move {
            send_self(Signal::TERM);
            wait_for(|| fs::read_to_string(&count).ok().filter(|text| text == "1\n")).await;
            for _ in 0..1_000 {
                send_self(Signal::USR1);
            }
            send_self(Signal::TERM);
        });
        let ended = room.supervise(&mut child, LONG).await;
        driver.await.expect("driver");
        assert_eq!((ended.exit, ended.killed), (Exit::Code(9), false));
    });
}

#[test]
fn signals_go_to_the_group_or_to_the_command_alone() {
    isolated("signals_go_to_the_group_or_to_the_command_alone", async || {
        for (scope, expected) in [(Scope::Group, vec!["command", "helper"]), (Scope::Command, vec!["command"])] {
            let mut room = Room::new();
            let loop_forever = "while :; do sleep 0.01; done";
            let helper = format!("trap \"echo helper >> $D/got\" USR1; echo > $D/helper; {loop_forever}");
            let mut child = room
                .sh(&format!(
                    "sh -c '{helper}' & trap 'echo command >> $D/got' USR1; trap 'exit 3' TERM; echo > $D/ready; {loop_forever}"
                ))
                .await;
            room.written("helper").await;
            room.written("ready").await;
            let got = room.path("got");
            let lines = move || {
                let mut lines: Vec<String> = fs::read_to_string(&got).ok()?.lines().map(str::to_owned).collect();
                lines.sort();
                Some(lines)
            };
            let (look, count) = (lines.clone(), expected.len());
            let driver = tokio::spawn(async move {
                send_self(Signal::USR1);
                wait_for(|| look().filter(|lines| lines.len() >= count)).await;
                send_self(Signal::TERM);
            });
            let policy = StopPolicy { scope, ..StopPolicy::new(LONG) };
            let ended = supervise(&mut child, &mut room.signals, policy, &CancellationToken::new()).await;
            driver.await.expect("driver");
            assert_eq!(ended.exit, Exit::Code(3));
            assert!(child.end_group(LONG).await.survivors.is_empty());
            assert_eq!(lines().expect("got"), expected, "{scope:?}");
        }
    });
}

#[test]
fn who_ignores_term_is_killed_with_the_group() {
    isolated("who_ignores_term_is_killed_with_the_group", async || {
        let mut room = Room::new();
        let mut child = room.sh("trap '' TERM; sh -c 'echo $$ > $D/pid; exec sleep 300' & sleep 300").await;
        let grandchild: i32 = room.written("pid").await.trim().parse().expect("a pid");
        send_self(Signal::TERM);
        let ended = room.supervise(&mut child, Duration::from_millis(50)).await;
        assert_eq!((ended.exit, ended.killed), (Exit::Signal(Signal::KILL), true));
        assert_eq!(ended.first_signal, Some(Signal::TERM));
        assert!(child.end_group(LONG).await.survivors.is_empty());
        assert!(!alive(grandchild));
    });
}

#[test]
fn a_stopped_child_is_neither_ended_nor_unstoppable() {
    isolated("a_stopped_child_is_neither_ended_nor_unstoppable", async || {
        let mut room = Room::new();
        let mut child = room.sh("kill -STOP $$; exit 3").await;
        assert_eq!(child.event().await, ChildEvent::Stopped(Signal::STOP));
        child.signal(Signal::CONT).await;
        assert_eq!(wait_for_end(&mut child).await, Exit::Code(3));

        let mut child = room.sh("kill -STOP $$; sleep 300").await;
        assert_eq!(child.event().await, ChildEvent::Stopped(Signal::STOP));
        let stop = CancellationToken::new();
        stop.cancel();
        let ended = supervise(&mut child, &mut room.signals, StopPolicy::new(LONG), &stop).await;
        assert_eq!((ended.exit, ended.first_signal), (Exit::Signal(Signal::TERM), None));
        assert!(ended.stop_requested_at.is_some());
        child.signal(Signal::TERM).await;
    });
}

async fn wait_for_end(child: &mut Child) -> Exit {
    loop {
        if let ChildEvent::Ended(exit) = child.event().await {
            return exit;
        }
    }
}

#[test]
fn nothing_that_the_command_started_outlives_end_group() {
    isolated("nothing_that_the_command_started_outlives_end_group", async || {
        let mut room = Room::new();
        // One that stays in the group, one that leaves it, one that leaves it twice, and one that will not be asked.
        let mut child = room
            .sh("for n in 1 2; do sh -c 'echo $$ > $D/'$n'; exec sleep 300' & done; \
                 setsid sh -c 'echo $$ > $D/3; sleep 300; :' & \
                 setsid sh -c '(setsid sh -c \"echo \\$\\$ > $D/4; exec sleep 300\" &)' & \
                 setsid sh -c 'trap \"\" TERM; echo $$ > $D/5; while :; do sleep 300; done' & \
                 for n in 1 2 3 4 5; do until [ -s $D/$n ]; do sleep 0.01; done; done; exit 7")
            .await;
        let ended = room.supervise(&mut child, LONG).await;
        assert_eq!(ended.exit, Exit::Code(7), "who holds stdout cannot hold us");
        let mut pids = Vec::new();
        for name in ["1", "2", "3", "4", "5"] {
            pids.push(room.written(name).await.trim().parse::<i32>().expect("a pid"));
        }
        assert!(pids.iter().all(|pid| alive(*pid)), "they are there at first");
        // A helper of another part of the process: not the command's.
        let mut helper = Command::new("sleep").arg("300").spawn().expect("sleep");
        let end = child.end_group(Duration::from_millis(200)).await;
        assert!(end.survivors.is_empty());
        assert!(end.asked >= 5 && end.killed >= 1, "{end:?}");
        assert!(pids.iter().all(|pid| !alive(*pid)), "{pids:?}");
        assert!(helper.try_wait().expect("helper").is_none(), "the helper lives on");
        helper.kill().expect("kill the helper");
        assert_eq!(helper.wait().expect("the helper's status is its owner's").signal(), Some(libc::SIGKILL));
        assert_eq!(child.end_group(LONG).await, GroupEnd::default(), "nothing left to end");
    });
}

#[test]
fn what_was_there_before_us_is_not_ended_with_the_command() {
    const TEST: &str = "what_was_there_before_us_is_not_ended_with_the_command";
    if !inside() {
        let mut shell = Command::new("sh");
        let inner = again(TEST);
        // An entrypoint script: a daemon in the background, then exec.
        shell.args(["-c", "setsid sleep 300 >/dev/null 2>&1 & DAEMON=$! exec \"$0\" \"$@\""]);
        shell.arg(inner.get_program()).args(inner.get_args()).env(INSIDE, "1").stdin(Stdio::null()).process_group(0);
        return run_again(shell);
    }
    isolated(TEST, async || {
        let daemon: i32 = std::env::var("DAEMON").expect("set by the test").parse().expect("a pid");
        let mut room = Room::new();
        let mut child = room.sh("setsid sleep 300 & exit 5").await;
        assert_eq!(room.supervise(&mut child, LONG).await.exit, Exit::Code(5));
        let end = child.end_group(LONG).await;
        assert_eq!((end.asked, end.survivors), (1, vec![]));
        assert!(alive(daemon));
        sys::kill(daemon, Signal::KILL).expect("it is there");
        wait_for(|| (!alive(daemon) && zombies() == 0).then_some(())).await;
    });
}

#[test]
fn orphans_are_reaped_and_helpers_are_not() {
    isolated("orphans_are_reaped_and_helpers_are_not", async || {
        let mut room = Room::new();
        let helpers = std::thread::spawn(|| {
            for _ in 0..50 {
                let status = Command::new("sh").args(["-c", "exit 7"]).status().expect("a status of its own");
                assert_eq!(status.code(), Some(7));
            }
        });
        let script = "n=0; while [ $n -lt 200 ]; do (sh -c : &); n=$((n+1)); done; exit 5";
        assert_eq!(room.exit_of(script).await, Exit::Code(5));
        helpers.join().expect("helpers");
        wait_for(|| (zombies() == 0).then_some(())).await;
    });
}

#[test]
fn the_command_does_not_outlive_a_killed_supervisor() {
    const TEST: &str = "the_command_does_not_outlive_a_killed_supervisor";
    if inside() {
        return isolated(TEST, async || {
            let room = Room::new();
            let script = "echo $$ > $PID_FILE; exec sleep 300";
            let _child =
                room.nursery.spawn(&command(&["sh", "-c", script]), &SpawnOptions::default()).await.expect("spawn");
            tokio::time::sleep(LONG).await;
        });
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("pid");
    let mut supervisor = again(TEST).env("PID_FILE", &file).stdout(Stdio::null()).spawn().expect("run this binary");
    let pid: i32 = loop {
        match fs::read_to_string(&file) {
            Ok(text) if text.ends_with('\n') => break text.trim().parse().expect("a pid"),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(alive(pid));
    supervisor.kill().expect("kill -9");
    supervisor.wait().expect("wait");
    while alive(pid) {
        std::thread::sleep(Duration::from_millis(5));
    }
}
