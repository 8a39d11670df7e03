//! The room as a whole, with real processes.
//!
//! Signals, children and subreapers belong to a process, not to a test: so every test here runs its
//! body in a process of its own, which is this test binary started again with the name of that one
//! test.

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

mod ends;
mod exec;

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

/// Starts the command with these signals ignored and these blocked, and no others, whoever has
/// started the tests: a shell without job control has INT and QUIT ignored for what runs in its
/// background.
fn with_signals(command: &mut Command, ignored: &'static [i32], blocked: &'static [i32]) {
    let prepare = move || {
        let mask = sys::signal_set(|signal| blocked.contains(&signal.number()));
        // SAFETY: async-signal-safe calls on plain values, between fork and exec. What cannot be
        // set is left as it is.
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

/// Its output goes to a file: what a failing test leaves running may hold a pipe open, but not this
/// test.
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
    reaper: Reaper,
    dir: tempfile::TempDir,
}

impl Room {
    fn new() -> Room {
        let (signals, reaper) = install().expect("install");
        Room { signals, reaper, dir: tempfile::tempdir().expect("tempdir") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A shell script, which finds `$D`, a directory of its own.
    async fn sh(&self, script: &str) -> Child {
        let command = command(&["sh", "-c", script]);
        let extra_env = vec![("D".into(), self.dir.path().into())];
        let options = SpawnOptions { extra_env, ..SpawnOptions::default() };
        self.reaper.spawn(&command, &options).await.expect("spawn sh")
    }

    async fn supervise(&mut self, child: &mut Child, grace: Duration) -> Ended {
        supervise(child, &mut self.signals, StopPolicy::new(grace), &CancellationToken::new(), &Lead::default()).await
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
            let mut child = room.reaper.spawn(&command(&["true"]), &SpawnOptions::default()).await.expect("spawn");
            assert_eq!(child.event().await, ChildEvent::Ended(Exit::Code(0)));
            assert_eq!(child.event().await, ChildEvent::Ended(Exit::Code(0)), "told again and again");
        }
        assert_eq!(zombies(), 0);
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
            let ended =
                supervise(&mut child, &mut room.signals, policy, &CancellationToken::new(), &Lead::default()).await;
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
        let ended = supervise(&mut child, &mut room.signals, StopPolicy::new(LONG), &stop, &Lead::default()).await;
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
