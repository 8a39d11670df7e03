//! What happens to the files while they are replicated.

use super::*;

/// Happens to the files of a database that is in use; the application ends with 0 after it.
fn while_it_runs(case: &str, words: &[&str], happen: impl Fn(&Rig)) {
    let mut rig = replicated();
    let said = |name: &str| rig.path(name).display().to_string();
    let steps =
        ["open".into(), "rows:1".into(), format!("touch:{}", said("ready")), format!("until-file:{}", said("go"))];
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    running.wait_until("the application is ready", || rig.path("ready").exists());
    let wanted = rig.oracle.acknowledged();
    running.wait_until("its row is in the replica", || {
        let output = rig.next_output();
        rig.restore(&output).assert_code(0);
        rig.oracle.check(&output) >= wanted
    });
    let before = rig.remote.level0();
    happen(&rig);
    running.wait_until_says(0, words);
    running.wait_until_says(0, &["replication has ended"]);
    fs::write(rig.path("go"), "").expect("write");
    // The truth about a run whose last part was not replicated.
    running.wait().assert_code(74);
    assert_eq!(rig.remote.level0(), before, "{case}: something was uploaded");
    let restored = rig.restored();
    assert_eq!(rig.oracle.check(&restored), wanted, "{case}");
}

#[test]
fn files_that_are_taken_away_while_it_runs_stop_the_replication_and_nothing_else() {
    while_it_runs("WAL deleted", &["app.db-wal was deleted or replaced"], |rig| {
        fs::remove_file(beside(rig, "-wal")).expect("remove");
    });
    while_it_runs("shm deleted", &["app.db-shm was deleted or replaced"], |rig| {
        fs::remove_file(beside(rig, "-shm")).expect("remove");
    });
    while_it_runs("deleted", &["app.db was deleted or replaced"], |rig| fs::remove_file(rig.db()).expect("remove"));
    while_it_runs("truncated", &["app.db was truncated to nothing"], |rig| {
        fs::File::options().write(true).truncate(true).open(rig.db()).map(drop).expect("truncate");
    });
}

#[test]
fn a_database_that_is_replaced_by_its_own_maintenance_while_it_runs_is_replicated_on() {
    for (case, rebuild) in REBUILT {
        let mut rig = replicated();
        let [ready, go] = ["ready", "go"].map(|name| rig.path(name).display().to_string());
        // The application closes the database, the maintenance works, and the application goes on.
        let first = rig.app(&["open", "rows:1"]);
        let then = rig.app(&["open", "rows:3"]);
        let script = format!(
            "{} && touch {ready}; until [ -e {go} ]; do sleep 0.05; done; {}",
            crate::harness::rig::shell(first),
            crate::harness::rig::shell(then)
        );
        let mut running = rig.supervise(["sh", "-c", &script]).spawn();
        running.wait_until("the application has let go", || rig.path("ready").exists());
        let copy = rig.path("copy.db");
        rebuild(&rig, &copy);
        let said = running.said();
        fs::rename(copy, rig.db()).expect("rename");
        running.wait_until_says(said, &["another file than the one", "of the same history"]);
        fs::write(&go, "").expect("write");
        let ended = running.wait();
        println!("{case}\n{ended}");
        ended.assert_code(0);
        let restored = rig.restored();
        oracle::assert_same_pages(&rig.db(), &restored);
        rig.assert_all_rows_are_safe();
    }
}

#[test]
fn a_file_that_was_replaced_under_an_application_that_keeps_the_old_one_open_is_said() {
    let mut rig = replicated();
    let [ready, go] = ["ready", "go"].map(|name| rig.path(name).display().to_string());
    let steps = ["open", "rows:1", &format!("touch:{ready}"), &format!("until-file:{go}")];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    running.wait_until("the application is ready", || rig.path("ready").exists());
    let copy = rig.path("copy.db");
    sql(&rig.db(), &format!("VACUUM INTO '{}'", copy.display()));
    fs::rename(copy, rig.db()).expect("rename");
    running.wait_until_says(0, &["still has the old file open", "restart it"]);
    fs::write(go, "").expect("write");
    running.wait().assert_code(0).assert_says(&["of the same history"]);
    let restored = rig.restored();
    oracle::assert_same_pages(&rig.db(), &restored);
    rig.assert_all_rows_are_safe();
}

#[test]
fn a_database_that_is_replicated_cannot_leave_wal_mode() {
    let mut rig = replicated();
    let ready = format!("touch:{}", rig.path("ready").display());
    let mut running = rig.supervise(rig.app(&["open", "rows:1", &ready, "idle", "term-exit:0"])).spawn();
    running.wait_until("the application is ready", || rig.path("ready").exists());
    let db = Connection::open(rig.db()).expect("open");
    db.busy_timeout(Duration::ZERO).expect("configure");
    let mode = db.query_row("PRAGMA journal_mode=DELETE", [], |row| row.get::<_, String>(0));
    assert!(mode.is_err() || mode.as_deref() == Ok("wal"), "{mode:?}");
    // Nor change its page size, which VACUUM does in any other mode.
    db.busy_timeout(Duration::from_secs(10)).expect("configure");
    db.execute_batch("PRAGMA page_size=512; VACUUM; UPDATE t SET life = 'b' WHERE seq = 3").expect("vacuum");
    drop(db);
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    ended.assert_code(0);
    assert!(!ended.stderr.contains("comparing"), "{ended}");
    let restored = rig.restored();
    oracle::assert_same_pages(&rig.db(), &restored);
}

#[test]
fn a_program_that_holds_the_database_exclusively_is_named() {
    let rig = replicated();
    let holder = Connection::open(rig.db()).expect("open");
    holder.execute_batch("PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE; COMMIT").expect("hold it");
    let args = ["replicate".into(), rig.db().into_os_string(), rig.remote.url().into()];
    let mut running = rig.millstream::<OsString>(args).spawn();
    running.wait_until_says(0, &["locked", "locking_mode=EXCLUSIVE"]);
    // Nothing is lost or changed by having waited.
    drop(holder);
    running.wait_until_says(0, &["history"]);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
}

#[test]
fn shrinking_by_auto_vacuum_is_followed() {
    for mode in ["FULL", "INCREMENTAL"] {
        let mut rig = Rig::on_file();
        sql(&rig.db(), &format!("PRAGMA auto_vacuum={mode}; {SCHEMA}"));
        rig.supervise(rig.app(&["create", "rows:5", "big:40:20000"])).finish().assert_code(0);
        sql(&rig.db(), "DELETE FROM big WHERE id > 36; PRAGMA incremental_vacuum");
        let before = rig.remote.level0();
        assert_outcome(&mut rig, mode, Outcome::Difference, &before);
    }
}

#[test]
fn a_transaction_larger_than_memory_is_streamed() {
    let mut rig = replicated();
    let ready = format!("touch:{}", rig.path("ready").display());
    let steps = ["open", "big:1:100000000", &ready, "idle", "term-exit:0"];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    let pid = running.id();
    running.wait_until("the transaction is committed", || rig.path("ready").exists());
    let before = rig.remote.level0().len();
    running
        .wait_until("it is shipped", || rig.remote.level0().len() > before || shipped_bytes(&rig.remote) > 100_000_000);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
    assert!(peak_kb < 80_000, "{peak_kb} kB for a transaction of 100 MB");
    let restored = rig.restored();
    oracle::assert_same_pages(&rig.db(), &restored);
}
