//! What is left of a command, and of us, when it has ended.

use super::*;

#[test]
fn nothing_that_the_command_started_outlives_end_group() {
    isolated("ends::nothing_that_the_command_started_outlives_end_group", async || {
        let mut room = Room::new();
        // One that stays in the group, one that leaves it, one that leaves it twice, and one that
        // will not be asked.
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
    const TEST: &str = "ends::what_was_there_before_us_is_not_ended_with_the_command";
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
    isolated("ends::orphans_are_reaped_and_helpers_are_not", async || {
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
    const TEST: &str = "ends::the_command_does_not_outlive_a_killed_supervisor";
    if inside() {
        return isolated(TEST, async || {
            let room = Room::new();
            let script = "echo $$ > $PID_FILE; exec sleep 300";
            let _child =
                room.reaper.spawn(&command(&["sh", "-c", script]), &SpawnOptions::default()).await.expect("spawn");
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
