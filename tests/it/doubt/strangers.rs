//! Another database in the place of the one that was replicated.

use super::*;

/// Small databases that have nothing to do with the history but what many databases have.
const STRANGERS: &[(&str, &str, &str)] = &[
    (
        "one of two pages",
        "CREATE TABLE a(x); INSERT INTO a VALUES ('own content')",
        "CREATE TABLE b(x); INSERT INTO b VALUES (1)",
    ),
    (
        "a map of pointers",
        "PRAGMA auto_vacuum=FULL; CREATE TABLE a(x); INSERT INTO a VALUES ('own content')",
        "PRAGMA auto_vacuum=FULL; CREATE TABLE b(x); INSERT INTO b VALUES ('other content')",
    ),
    (
        "empty tables and a freelist",
        "CREATE TABLE a(x); CREATE TABLE b(x); CREATE TABLE c(x); INSERT INTO c VALUES (zeroblob(20000)); DROP TABLE c; \
         INSERT INTO a VALUES ('own content')",
        "CREATE TABLE d(x); CREATE TABLE e(x); CREATE TABLE f(x); INSERT INTO f VALUES (zeroblob(20000)); DROP TABLE f; \
         INSERT INTO d VALUES ('other content')",
    ),
    (
        "the version of a schema, and nothing else",
        "CREATE TABLE v(x); INSERT INTO v VALUES ('20260101000000'); CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); \
         INSERT INTO users(name) VALUES ('alice of the old'), ('bob of the old'), ('carol of the old')",
        "CREATE TABLE v(x); INSERT INTO v VALUES ('20260101000000'); CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT)",
    ),
];

#[test]
fn a_small_stranger_is_not_taken_for_the_same_history_and_no_application_starts_on_it() {
    for (case, ours, other) in STRANGERS {
        let mut rig = Rig::on_file();
        sql(&rig.db(), ours);
        ship(&rig).assert_code(0);
        let (before, theirs) = (rig.remote.level0(), rig.restored());
        let path = rig.path("other.db");
        sql(&path, other);
        remove_wal_and_shm(&rig);
        fs::rename(path, rig.db()).expect("rename");
        let started = rig.path("started");
        let ended = rig.supervise(rig.app(&[&format!("touch:{}", started.display())])).finish();
        println!("{case}\n{ended}");
        ended.assert_code(73).assert_says(&["is not the database whose history"]);
        assert!(!started.exists(), "{case}: the application was started");
        assert_eq!(ended.stderr.matches("is not the database whose history").count(), 1, "{case}: told twice");
        assert_eq!(rig.remote.level0(), before, "{case}");
        let restored = rig.restored();
        oracle::assert_same_pages(&theirs, &restored);
    }
}

#[test]
fn a_halted_database_keeps_its_lock() {
    let rig = replicated();
    let [ready, go] = ["ready", "go"].map(|name| rig.path(name).display().to_string());
    let steps = ["open", &format!("touch:{ready}"), &format!("until-file:{go}")];
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    running.wait_until("the application is ready", || rig.path("ready").exists());
    fs::File::options().write(true).truncate(true).open(rig.db()).map(drop).expect("truncate");
    running.wait_until_says(0, &["replication has ended"]);
    sql(&rig.path("other.db"), SCHEMA);
    fs::rename(rig.path("other.db"), rig.db()).expect("rename");
    let args = ["replicate".into(), rig.db().into_os_string(), rig.remote.url().into()];
    let mut second = rig.millstream::<OsString>(args).spawn();
    second.wait_until_says(0, &["standing by"]);
    second.signal(Signal::SIGTERM);
    second.wait();
    fs::write(go, "").expect("write");
    running.wait().assert_code(74);
}
