//! Signals: which reach the child, which are ignored, and which are rewritten.

use super::*;

#[test]
fn signals_are_forwarded_and_mean_nothing_to_us() {
    let mut rig = Rig::on_file();
    let (ready, record) = (file_step(&rig, "touch", "ready"), file_step(&rig, "record", "signals"));
    let steps = ["create", &record, &ready, "idle", "term-row", "term-exit:7"];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    wait_for_file(&mut running, &rig, "ready");
    let signals = [
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGWINCH, "WINCH"),
        (Signal::SIGALRM, "ALRM"),
        (Signal::SIGINT, "INT"),
    ];
    for (signal, name) in signals {
        running.signal(signal);
        running.wait_until(&format!("SIG{name} arrived"), || rig.says("signals").lines().any(|line| line == name));
    }
    let expected: Vec<_> = signals.iter().map(|(_, name)| *name).collect();
    assert_eq!(rig.says("signals").lines().collect::<Vec<_>>(), expected, "each once, in order");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(7);
    assert_eq!(rig.assert_all_rows_are_safe(), 1);
}

#[test]
fn a_storm_of_signals_neither_kills_nor_deafens() {
    let mut rig = Rig::on_file();
    let (ready, record) = (file_step(&rig, "touch", "ready"), file_step(&rig, "record", "signals"));
    let steps = ["create", &record, &ready, "idle", "term-row", "term-exit:0"];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    wait_for_file(&mut running, &rig, "ready");
    for _ in 0..500 {
        running.signal(Signal::SIGUSR1);
        running.signal(Signal::SIGHUP);
    }
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 1);
}

/// A script without job control starts us in its background, or `nohup` does.
fn with_signals_ignored(invocation: Invocation) -> Invocation {
    invocation.under("sh", ["-c", "trap '' HUP INT QUIT; exec \"$@\"", "sh"])
}

#[test]
fn signals_ignored_at_the_start_reach_a_child_that_handles_them() {
    let mut rig = Rig::on_file();
    let (ready, record) = (file_step(&rig, "touch", "ready"), file_step(&rig, "record", "signals"));
    let steps = ["create", &record, &ready, "idle", "term-row", "term-exit:7"];
    let mut running = with_signals_ignored(rig.supervise(rig.app(&steps))).spawn();
    wait_for_file(&mut running, &rig, "ready");
    for (signal, name) in [(Signal::SIGHUP, "HUP"), (Signal::SIGINT, "INT"), (Signal::SIGQUIT, "QUIT")] {
        running.signal(signal);
        running.wait_until(&format!("SIG{name} arrived"), || rig.says("signals").lines().any(|line| line == name));
    }
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(7);
    assert_eq!(rig.assert_all_rows_are_safe(), 1);
}

#[test]
fn signals_ignored_at_the_start_end_neither_us_nor_a_child_that_ignores_them_too() {
    let mut rig = Rig::on_file();
    rig.settings = "grace: 1s\n".into();
    let ready = file_step(&rig, "touch", "ready");
    let steps = ["create", "rows:1", &ready, "idle", "term-row", "term-exit:0"];
    let mut running = with_signals_ignored(rig.supervise(rig.app(&steps))).spawn();
    wait_for_file(&mut running, &rig, "ready");
    let said = running.said();
    running.signal(Signal::SIGINT);
    running.wait_until_says(said, &["SIGINT", "forwarding it"]);
    // Longer than the grace time: no clock was started.
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(running.is_running(), "ended by a signal that everybody ignores\n{running}");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    assert_eq!(rig.assert_all_rows_are_safe(), 2);
}

#[test]
fn signals_are_rewritten_for_the_child_when_told_to() {
    let rig = Rig::on_file();
    let script = format!(
        "trap 'exit 7' QUIT; trap 'echo hup >>{0}' HUP; touch {1}; while :; do sleep 0.05; done",
        rig.path("signals").display(),
        rig.path("ready").display()
    );
    let args = ["run".into(), "-config".into(), rig.config().into_os_string()];
    let flags = ["-rewrite", "USR1:HUP", "-stop-signal", "QUIT", "--", "sh", "-c", &script].map(OsString::from);
    let mut running = rig.millstream(args.into_iter().chain(flags)).spawn();
    wait_for_file(&mut running, &rig, "ready");
    running.signal(Signal::SIGUSR1);
    running.wait_until("USR1 arrived as HUP", || rig.path("signals").exists());
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(7);
}

#[test]
fn a_signal_during_the_start_is_said_as_what_it_is_with_and_without_an_application() {
    let rig = Rig::on_file();
    rig.run_bare(&["create", "rows:1"]);
    let holder = oracle::open(&rig.db());
    holder.execute_batch("PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE; COMMIT").expect("hold it");
    let alone = rig.millstream::<OsString>(["replicate".into(), "-config".into(), rig.config().into()]);
    for invocation in [alone, rig.supervise(rig.app(&["idle"]))] {
        let mut running = invocation.spawn();
        running.wait_until_says(0, &["locking_mode=EXCLUSIVE"]);
        running.signal(Signal::SIGTERM);
        let ended = running.wait();
        ended.assert_code(143).assert_says(&["ended by SIGTERM before the replication was ready"]);
        assert!(!ended.stderr.contains("application was started"), "{ended}");
    }
}
