//! A configuration that would put the backup in the wrong place starts nothing, and the one that is meant is understood.

use std::fs;

use crate::harness::{Finished, Rig};

/// `run` with a file of these lines; the application leaves a trace.
fn run(rig: &Rig, lines: &str, env: &[(&str, &str)]) -> Finished {
    let path = rig.path("litestream.yml");
    fs::write(&path, lines).expect("write the configuration");
    let mut invocation =
        rig.millstream(["run".into(), "-config".into(), path, "--".into(), "touch".into(), rig.path("started")]);
    for (name, value) in env {
        invocation = invocation.env(name, value);
    }
    invocation.finish()
}

#[test]
fn a_variable_without_a_value_starts_nothing() {
    let rig = Rig::on_file();
    rig.run_bare(&["create", "rows:1"]);
    let db = rig.db().display().to_string();
    for (replica, env) in [
        ("url: ${MILLSTREAM_TEST_UNSET}/data", &[][..]),
        ("url: ${MILLSTREAM_TEST_UNSET}/data", &[("MILLSTREAM_TEST_UNSET", "")]),
        ("path: /backup/${MILLSTREAM_TEST_UNSET}", &[]),
        ("{type: s3, bucket: \"b-${MILLSTREAM_TEST_UNSET}\", path: app}", &[]),
        ("{url: 's3://b/app', endpoint: '$MILLSTREAM_TEST_UNSET'}", &[]),
    ] {
        let ended = run(&rig, &format!("dbs:\n  - path: {db}\n    replica:\n      {replica}\n"), env);
        ended.assert_code(78).assert_says(&["litestream.yml:4: dbs[0].replica.", "${MILLSTREAM_TEST_UNSET}"]);
        assert!(!rig.path("started").exists(), "{replica}");
    }
    let kept = rig.path("kept");
    let with_default = format!("${{MILLSTREAM_TEST_UNSET:-{}}}/data", kept.display());
    run(&rig, &format!("dbs:\n  - path: {db}\n    replica:\n      url: file://{with_default}\n"), &[]).assert_code(0);
    assert!(rig.path("started").exists());
}

#[test]
fn a_replica_that_would_be_lost_with_its_database_is_refused() {
    let rig = Rig::on_file();
    rig.run_bare(&["create", "rows:1"]);
    let db = rig.db().display().to_string();
    let file = |dir: &str| format!("dbs:\n  - path: {db}\n    replica: {{path: '{}'}}\n", rig.path(dir).display());
    for (dir, part) in
        [("data", "contains the database"), ("data/backup", "the database's own directory"), (".", "contains")]
    {
        run(&rig, &file(dir), &[]).assert_code(78).assert_says(&[part]);
        assert!(!rig.path("started").exists(), "{dir}");
    }
    run(&rig, &file("backup"), &[]).assert_code(0).assert_says(&["WARN", "same file system"]);
}

#[test]
fn databases_by_their_sqlite_names() {
    let mut rig = Rig::on_file();
    let (db, url) = (rig.db().display().to_string(), rig.remote.url());
    rig.run_bare(&["create", "rows:3"]);
    let uri = format!("sqlite://{db}");
    rig.millstream(["replicate", "-once", &uri, &url]).finish().assert_code(0);
    let file = rig.path("litestream.yml");
    fs::write(&file, format!("dbs:\n  - path: 'file:{db}?mode=rwc'\n    replica: {{url: '{url}'}}\n")).expect("write");
    let file = file.display().to_string();
    let copy = rig.path("copy.db");
    let output = format!("sqlite3://{}", copy.display());
    rig.millstream(["restore", "-config", &file, "-o", &output, &uri]).finish().assert_code(0);
    rig.oracle.check_complete(&copy);
    rig.millstream(["ltx", "-config", &file, &format!("sqlite:{db}")]).finish().assert_code(0);
    rig.millstream(["run", "-db", &uri, "-replica", &url, "--", "true"]).finish().assert_code(0);
}
