//! An operator who breaks things one at a time is told by `doctor` what it is and what to do; nothing of theirs is changed.
//! `explain` says what a configuration does.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::doubt::sql;
use crate::harness::gateway::{Gateway, Mood};
use crate::harness::process::setting;
use crate::harness::remote::BUCKET;
use crate::harness::{Finished, Invocation, Rig};

fn doctor(rig: &Rig, flags: &[&str]) -> Invocation {
    let argv = [OsString::from("doctor"), "-config".into(), rig.config().into(), "-json".into()];
    rig.millstream(argv).args(flags.iter().map(OsString::from))
}

/// What was found, after it was made sure that no secret is in it.
#[track_caller]
fn found(ended: &Finished) -> Value {
    let secret = setting("MILLSTREAM_TEST_S3_SECRET_KEY");
    for text in [&ended.stdout, &ended.stderr] {
        assert!(!text.contains(&secret) && !text.contains(WRONG), "a secret was said: {ended}");
    }
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"))
}

/// A secret key that opens nothing.
const WRONG: &str = "no-such-secret-0123456789";

/// One check of one kind: some of that name has this verdict, and says or advises all the words.
#[track_caller]
fn assert_check(ended: &Finished, check: &str, verdict: &str, words: &[&str]) {
    let all = found(ended);
    let checks = all["checks"].as_array().expect("a list");
    let is_it = |one: &&Value| {
        let text = format!("{} {}", one["found"], one["advice"]).to_lowercase();
        one["check"] == check && one["verdict"] == verdict && words.iter().all(|w| text.contains(&w.to_lowercase()))
    };
    assert!(checks.iter().any(|one| is_it(&one)), "no {verdict} {check:?} with {words:?}\n{ended}");
    if verdict == "problem" {
        let has_advice = |one: &Value| one["advice"].as_str().is_some_and(|advice| !advice.is_empty());
        assert!(checks.iter().filter(is_it).all(has_advice), "nothing is advised\n{ended}");
    }
}

/// With a replicated database.
fn shipped(mut rig: Rig) -> Rig {
    rig.settings = "grace: 5s\n".into();
    rig.supervise(rig.app(&["create", "rows:5"])).finish().assert_code(0);
    rig
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("list").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[test]
fn all_is_well_and_stays_as_it_was() {
    for rig in [shipped(Rig::on_s3()), shipped(Rig::on_file())] {
        let (objects, files) = (rig.remote.objects(), names(&rig.path("data")));
        let database = fs::read(rig.db()).expect("read");
        for flags in [&[][..], &["-deep"]] {
            let ended = doctor(&rig, flags).finish();
            ended.assert_code(0);
            let all = found(&ended);
            assert_eq!(all["problems"], 0, "{ended}");
            for check in ["list", "create", "create-if-absent", "eight at once", "read ranges", "list after writing"] {
                assert_check(&ended, check, "ok", &[]);
            }
            for check in ["upload in parts", "abort uploads", "delete", "clock", "database", "writing", "free space"] {
                assert_check(&ended, check, "ok", &[]);
            }
            assert_check(&ended, "backup", "ok", &[if flags.is_empty() { "up to TXID" } else { "proven" }]);
        }
        assert_eq!(rig.remote.objects().keys().collect::<Vec<_>>(), objects.keys().collect::<Vec<_>>());
        assert_eq!(names(&rig.path("data")), files);
        assert!(fs::read(rig.db()).expect("read") == database, "the database has changed");
    }
}

#[test]
fn before_the_first_start_nothing_is_made() {
    let rig = Rig::on_file();
    let ended = doctor(&rig, &[]).finish();
    ended.assert_code(0);
    assert_check(&ended, "database", "ok", &["not there yet"]);
    assert_check(&ended, "backup", "ok", &["none yet"]);
    assert!(!rig.path("replica").exists() && names(&rig.path("data")).is_empty(), "{ended}");
    sql(&rig.db(), "CREATE TABLE t(x)");
    let before = (fs::read(rig.db()).expect("read"), names(&rig.path("data")));
    let ended = doctor(&rig, &[]).finish();
    assert_check(&ended, "database", "warning", &["rollback mode"]);
    assert_check(&ended, "backup", "warning", &["there is none, although there is a database"]);
    assert_eq!((fs::read(rig.db()).expect("read"), names(&rig.path("data"))), before);
}

#[test]
fn a_wrong_key_and_a_bucket_that_is_missing_are_told_apart() {
    let rig = Rig::on_s3();
    let ended =
        doctor(&rig, &[]).env("AWS_SECRET_ACCESS_KEY", WRONG).env("LITESTREAM_SECRET_ACCESS_KEY", WRONG).finish();
    ended.assert_code(77);
    assert_check(&ended, "list", "problem", &["check the keys"]);
    assert_check(&ended, "backup", "not checked", &[]);
    let url = rig.remote.url().replace(BUCKET, "no-such-bucket-of-ours");
    let ended = rig.millstream(["doctor".into(), "-json".into(), url]).finish();
    ended.assert_code(78);
    assert_check(&ended, "list", "problem", &["no-such-bucket-of-ours", "create the bucket"]);
    let away = "s3://bucket/p?endpoint=http://127.0.0.1:1&region=us-east-1&forcePathStyle=true";
    let ended = rig.millstream(["doctor", "-json", away]).finish();
    ended.assert_code(69);
    assert_check(&ended, "list", "problem", &["check the endpoint"]);
}

/// What a store is found to do that stands between.
fn behind(mood: Mood) -> (Gateway, Rig, Finished) {
    let gateway = Gateway::start(mood);
    let mut rig = Rig::on_s3();
    rig.remote = rig.remote.through(gateway.endpoint());
    let ended = doctor(&rig, &[]).finish();
    (gateway, rig, ended)
}

#[test]
fn a_delete_that_is_denied_is_named_with_what_stays() {
    let (_gateway, rig, ended) = behind(Mood::NoDeletes);
    ended.assert_code(77);
    assert_check(&ended, "delete", "problem", &["AccessDenied", "probes/", "s3:DeleteObject"]);
    let left: Vec<String> = rig.remote.objects().into_keys().collect();
    assert!(!left.is_empty() && left.iter().all(|name| name.starts_with("probes/")), "{left:?}");
}

#[test]
fn a_store_that_ignores_or_refuses_conditions_is_warned_of() {
    for (mood, words) in
        [(Mood::IgnoresConditions, "replaced the first"), (Mood::NoConditions, "refuses If-None-Match")]
    {
        let (_gateway, rig, ended) = behind(mood);
        ended.assert_code(0);
        assert_check(&ended, "create-if-absent", "warning", &[words, "one writer"]);
        assert!(rig.remote.objects().is_empty(), "{mood:?}");
    }
}

#[test]
fn a_store_that_ignores_ranges_is_warned_of() {
    let (_gateway, _rig, ended) = behind(Mood::NoRanges);
    ended.assert_code(0);
    assert_check(&ended, "read ranges", "warning", &["more than the range"]);
}

#[test]
fn a_clock_two_hours_off_is_measured() {
    let (_gateway, _rig, ended) = behind(Mood::TwoHoursLater);
    ended.assert_code(78);
    assert_check(&ended, "clock", "problem", &["behind", "NTP"]);
}

#[test]
fn a_portal_is_no_store() {
    let (_gateway, _rig, ended) = behind(Mood::Portal);
    ended.assert_code(69);
    assert_check(&ended, "list", "problem", &["not S3's"]);
}

/// In a mount namespace of its own, where `sh` has prepared the directory `$0`.
fn prepared(rig: &Rig, script: &str) -> Finished {
    let argv: [OsString; 5] =
        ["-m".into(), "sh".into(), "-c".into(), format!("{script} && exec \"$@\"").into(), rig.path("data").into()];
    doctor(rig, &[]).under("unshare", argv).finish()
}

#[test]
fn a_full_disk_is_a_problem_of_this_machine() {
    let rig = Rig::on_file();
    let full = "mount -t tmpfs -o size=64k tmpfs \"$0\" && (head -c 65536 /dev/zero > \"$0/filler\" || true)";
    let ended = prepared(&rig, full);
    ended.assert_code(73);
    assert_check(&ended, "writing", "problem", &["no space left", "free some space"]);
    assert_check(&ended, "free space", "problem", &["0 bytes"]);
    assert_check(&ended, "file system", "warning", &["tmpfs", "memory"]);
}

#[test]
fn a_read_only_directory_is_a_problem_of_this_machine() {
    let rig = Rig::on_file();
    sql(&rig.db(), "PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
    let ended = prepared(&rig, "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\"");
    ended.assert_code(73);
    assert_check(&ended, "writing", "problem", &["read-only", "mount it for writing"]);
    assert_check(&ended, "database", "problem", &["read-only"]);
}

#[test]
fn an_application_that_keeps_the_database_to_itself_is_named() {
    for mode in ["WAL", "DELETE"] {
        let rig = Rig::on_file();
        let script = "import sqlite3, sys, time\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                      c.execute('PRAGMA locking_mode=EXCLUSIVE')\nc.execute('PRAGMA journal_mode=' + sys.argv[2])\n\
                      c.execute('CREATE TABLE t(x)')\nopen(sys.argv[3], 'w').close()\ntime.sleep(600)\n";
        let mut running = Invocation::new(crate::harness::rig::python(), rig.path(""))
            .args(["-c".into(), script.into(), rig.db().into_os_string(), mode.into(), rig.path("up").into()])
            .spawn();
        running.wait_until("the database is open", || rig.path("up").exists());
        let ended = doctor(&rig, &[]).finish();
        ended.assert_code(73);
        let pid = format!("pid {}", running.id());
        assert_check(&ended, "locking mode", "problem", &["EXCLUSIVE", &pid, "cannot be replicated"]);
        assert_check(&ended, "application", "ok", &[&pid]);
    }
}

#[test]
fn the_sqlite_of_a_running_application_is_seen() {
    let rig = Rig::on_file();
    let mut running = rig.bare("a", &["create", "rows:1", "idle"]).spawn();
    running.wait_until("the database is there", || rig.path("data/app.db-shm").exists());
    let ended = doctor(&rig, &[]).finish();
    assert_check(&ended, "application", "ok", &[&format!("pid {}", running.id())]);
    let version = std::process::Command::new(crate::harness::rig::python())
        .args(["-c", "import sqlite3; print(sqlite3.sqlite_version)"])
        .output()
        .expect("python");
    let version = String::from_utf8(version.stdout).expect("text");
    let said = |verdict: &str| {
        let checks = found(&ended);
        let mut all = checks["checks"].as_array().expect("a list").clone();
        all.retain(|one| one["check"] == "SQLite" && one["verdict"] == verdict);
        all.iter().any(|one| one["found"].to_string().contains(version.trim()))
    };
    assert!(said("ok") || said("warning"), "SQLite {version} is not named\n{ended}");
}

#[test]
fn too_few_descriptors_are_counted() {
    let rig = Rig::on_file();
    let dbs: String = (0..20)
        .map(|n| {
            let (db, replica) = (rig.path(&format!("data/{n}.db")), rig.path(&format!("replica/{n}")));
            format!("  - {{path: {}, replica: {{path: {}}}}}\n", db.display(), replica.display())
        })
        .collect();
    let config = rig.path("many.yml");
    fs::write(&config, format!("dbs:\n{dbs}")).expect("write");
    let argv = [OsString::from("doctor"), "-config".into(), config.into(), "-json".into()];
    let ended = rig.millstream(argv).under("sh", ["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]).finish();
    ended.assert_code(78);
    assert_check(&ended, "open files", "problem", &["20 databases", "64", "ulimit"]);
}

#[test]
fn a_configuration_that_cannot_be_read_is_the_finding() {
    let rig = Rig::on_file();
    let config = rig.path("broken.yml");
    fs::write(&config, "dbs:\n  - path: /x\n    replica: {typo: s3://b/p}\n").expect("write");
    let argv = [OsString::from("doctor"), "-config".into(), config.clone().into(), "-json".into()];
    let ended = rig.millstream(argv).finish();
    ended.assert_code(78);
    assert_check(&ended, "configuration", "problem", &["broken.yml"]);
    let ended = rig.millstream([OsString::from("doctor"), "-config".into(), config.into()]).finish();
    assert!(ended.stdout.contains("PROBLEM") && ended.stdout.contains("1 problem"), "{ended}");
    rig.millstream(["doctor", "one.db", "two.db"]).finish().assert_code(64);
}

#[test]
fn a_configuration_is_explained_with_what_can_be_brought_back() {
    for rig in [shipped(Rig::on_s3()), shipped(Rig::on_file())] {
        let argv = |flags: &[&str]| {
            let argv = [OsString::from("explain"), "-config".into(), rig.config().into()];
            rig.millstream(argv).args(flags.iter().map(OsString::from)).finish()
        };
        let ended = argv(&[]);
        ended.assert_code(0);
        for words in ["restores", "ships", "keeps", "can lose", "these can be brought back now", "last 24 h"] {
            assert!(ended.stdout.contains(words), "{words}: {ended}");
        }
        let ended = argv(&["-json"]);
        let all = found(&ended);
        let replica = &all[1]["replicas"][0];
        assert!(replica["points"]["ranges"].as_array().is_some_and(|ranges| !ranges.is_empty()), "{ended}");
    }
    let rig = Rig::on_file();
    let ended = rig.millstream([OsString::from("explain"), "-config".into(), rig.config().into()]).finish();
    ended.assert_code(0);
    assert!(ended.stdout.contains("moments"), "{ended}");
}
