//! What a command finds when it runs: what it would find without us.

use super::*;

#[test]
fn what_cannot_be_executed_says_why() {
    isolated("exec::what_cannot_be_executed_says_why", async || {
        let room = Room::new();
        let file = |name: &str, content: &str, mode: u32| {
            use std::os::unix::fs::PermissionsExt;
            fs::write(room.path(name), content).expect("write");
            fs::set_permissions(room.path(name), fs::Permissions::from_mode(mode)).expect("chmod");
        };
        // As root, a file without any execute permission is still refused.
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
            let error = room.reaper.spawn(&command, &SpawnOptions::default()).await.err().expect("an error");
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
    const TEST: &str = "exec::mask_and_dispositions_are_those_of_a_direct_exec";
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
            let mut child = room.reaper.spawn(&copy, &SpawnOptions::default()).await.expect("spawn");
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
    const TEST: &str = "exec::descriptors_directory_and_environment_are_inherited_and_nothing_else";
    if !inside() {
        // A descriptor that our parent passes on is the child's too; so is a service manager's
        // LISTEN_PID, rewritten.
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
        let mut child = room.reaper.spawn(&command(&["sh", "-c", script]), &options).await.expect("spawn");
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
