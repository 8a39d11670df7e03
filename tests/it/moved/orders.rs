//! What `millstream reset` accepts, once, and what it refuses.

use super::*;

#[test]
fn a_stranger_is_accepted_by_order_and_only_then() {
    let cases: [fn(&Rig) -> PathBuf; 2] = [stranger, |rig| {
        let path = rig.path("other.db");
        sql(&path, "PRAGMA page_size=1024; CREATE TABLE one(x); INSERT INTO one VALUES (randomblob(90000))");
        path
    }];
    for other in cases {
        let mut rig = replicated();
        let (before, end) = (rig.restored(), *rig.remote.level0().last().expect("objects"));
        let other = other(&rig);
        remove_wal_and_shm(&rig);
        fs::rename(other, rig.db()).expect("rename");
        ship(&rig).assert_code(74).assert_says(&["is not the database whose history", "millstream reset"]);
        reset(&rig, &["-config", &rig.config().display().to_string()]).assert_code(0);
        ship(&rig).assert_code(0);
        let restored = rig.restored();
        oracle::assert_same_pages(&rig.db(), &restored);
        let earlier = restored_at(&mut rig, end);
        oracle::assert_same_pages(&before, &earlier);
        // From here on it is the database of this history.
        sql_killed(&rig.db(), "CREATE TABLE more(x)");
        let ended = ship(&rig);
        ended.assert_code(0);
        assert!(!ended.stderr.contains("whole database"), "{ended}");
        let restored = rig.restored_by_litestream();
        oracle::assert_same_pages(&rig.db(), &restored);
    }
}

#[test]
fn an_order_is_for_the_file_that_it_was_given_for() {
    let mut rig = replicated();
    reset(&rig, &[]).assert_code(0);
    let other = stranger(&rig);
    remove_wal_and_shm(&rig);
    fs::rename(other, rig.db()).expect("rename");
    let before = rig.remote.level0();
    ship(&rig).assert_code(74).assert_says(&["another file than this"]);
    assert_eq!(rig.remote.level0(), before);
    // And not for what is restored in its place.
    reset(&rig, &[]).assert_code(0);
    rig.lose_the_disk();
    let ended = rig.supervise(rig.app(&["open", "rows:1"])).finish();
    ended.assert_code(0);
    assert!(!ended.stderr.contains("whole database"), "{ended}");
    rig.assert_all_rows_are_safe();
}

#[test]
fn a_reset_is_refused_where_it_makes_no_sense() {
    let rig = replicated();
    let args = ["replicate".into(), rig.db().into_os_string(), rig.remote.url().into()];
    let mut running = rig.millstream::<OsString>(args).spawn();
    running.wait_until_says(0, &["history"]);
    for flags in [[].as_slice(), &["-dry-run"]] {
        reset(&rig, flags).assert_code(73).assert_says(&["running millstream", "stop it first"]);
    }
    drop(running);
    let unknown =
        rig.millstream([OsString::from("reset"), "-config".into(), rig.config().into(), "/no/such.db".into()]);
    unknown.finish().assert_code(78).assert_says(&["no database is configured"]);
    rig.millstream(["reset", "s3://bucket/path"]).finish().assert_code(64).assert_says(&["not the URL"]);
    let dir = rig.path("empty");
    fs::create_dir(&dir).expect("create a directory");
    let missing = dir.join("missing.db").into_os_string();
    rig.millstream([OsString::from("reset"), "-dry-run".into(), missing]).finish().assert_code(73);
    assert_eq!(fs::read_dir(&dir).expect("list").count(), 0, "a dry run leaves nothing behind");
}
