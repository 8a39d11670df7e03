//! Names and limits that are unusual and allowed: long ones, bytes that are no text, replicas inside one another, a limit for files.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rusqlite::Connection;

use crate::harness::process::{Invocation, binary};
use crate::harness::{Remote, Rig, oracle};

fn make_database(path: &Path) {
    let app = Connection::open(path).expect("open");
    app.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (randomblob(200000))")
        .expect("write");
}

/// Up to what SQLite itself can open: it appends `-journal`.
#[test]
fn databases_with_long_names_and_names_that_are_no_text_live_and_are_restored() {
    for name in [vec![b'x'; 247], "é".repeat(123).into_bytes(), vec![0xff; 247], b"a\xff\n.db".to_vec()] {
        let rig = Rig::on_file();
        let db = rig.path("data").join(OsStr::from_bytes(&name));
        make_database(&db);
        let url = || OsString::from(rig.remote.url());
        let once = rig.millstream([OsString::from("replicate"), "-once".into(), db.clone().into(), url()]).finish();
        once.assert_code(0);
        let copy = rig.path("copy").join(OsStr::from_bytes(&name));
        rig.millstream([OsString::from("restore"), "-o".into(), copy.clone().into(), url()]).finish().assert_code(0);
        oracle::assert_same_pages(&db, &copy);
        for path in fs::read_dir(rig.path("data")).expect("list").map(|entry| entry.expect("entry").file_name()) {
            let path = path.into_vec();
            assert!(path.windows(8).all(|w| w != "\u{fffd}\u{fffd}".as_bytes()), "a mangled name: {path:?}");
        }
    }
}

#[test]
fn a_url_with_a_line_break_is_refused_and_touches_nothing() {
    let rig = Rig::on_file();
    make_database(&rig.db());
    let url = format!("{}\n", rig.remote.url());
    for args in
        [vec!["restore", "-o", "x.db", &url], vec!["points", &url], vec!["replicate", "-once", "data/app.db", &url]]
    {
        let ended = rig.millstream(args).finish();
        ended.assert_code(64);
        ended.assert_says(&["contains '\\n'"]);
    }
    assert!(!rig.path("x.db").exists() && rig.remote.objects().is_empty());
}

/// An error names its cause once.
#[test]
fn no_error_is_said_twice_in_one_line() {
    let rig = Rig::on_file();
    make_database(&rig.db());
    let url = rig.remote.url();
    rig.millstream(["replicate", "-once", "data/app.db", &url]).finish().assert_code(0);
    let ended = rig.millstream(["restore", "-o", "/proc/nonexistent/x.db", &url]).finish();
    ended.assert_code(73);
    assert_eq!(ended.stderr.matches("os error").count(), 1, "{ended}");
}

/// One replica lies below the other: no object of it is wondered about, and nothing keeps either from starting fresh.
#[test]
fn replicas_inside_one_another_are_no_strangers_when_both_are_configured() {
    for rig in [Rig::on_file(), Rig::on_s3()] {
        let inner = match &rig.remote {
            Remote::File(dir) => Remote::file(dir.join("inner")),
            Remote::S3 { endpoint, prefix } => {
                Remote::S3 { endpoint: endpoint.clone(), prefix: format!("{prefix}/inner") }
            }
        };
        let (outer_db, inner_db) = (rig.path("data/outer.db"), rig.path("data/inner.db"));
        let entry = |db: &Path, remote: &Remote| {
            format!("  - path: {}\n    replica:\n      url: \"{}\"\n", db.display(), remote.url())
        };
        let config = rig.path("nested.yml");
        fs::write(&config, format!("dbs:\n{}{}", entry(&outer_db, &rig.remote), entry(&inner_db, &inner)))
            .expect("write");
        let staged = rig.path("staged.db");
        make_database(&staged);
        // The outer database is made by the application, when a whole replica lies below its place already.
        // It appears whole: half a copy could be seen, and replicated.
        let script = format!("test -e {0} || mv {1} {0}", outer_db.display(), staged.display());
        let run = |script: &str| {
            let args = [OsString::from("run"), "-config".into(), config.clone().into(), "--".into()];
            rig.millstream(args).args(["sh", "-c", script]).finish()
        };
        make_database(&inner_db);
        rig.millstream([OsString::from("replicate"), "-once".into(), inner_db.into(), inner.url().into()])
            .finish()
            .assert_code(0);
        for _ in 0..2 {
            let ended = run(&script);
            ended.assert_code(0);
            assert!(!ended.stderr.contains("ignoring"), "{ended}");
        }
        assert_eq!((inner.level0(), rig.remote.level0()), (vec![1], vec![1]));
    }
}

/// Without our ignoring SIGXFSZ the upload would end the process, and the application with it.
#[test]
fn a_limit_for_file_sizes_is_an_error_and_not_the_end() {
    let mut rig = Rig::on_file();
    rig.settings = "grace: 3s\nshutdown-sync-timeout: 2s\n".into();
    make_database(&rig.db());
    let script = format!(
        "ulimit -f 128; exec {} run -config {} -- sh -c 'grep SigIgn /proc/self/status > {}'",
        binary().display(),
        rig.config().display(),
        rig.path("child").display()
    );
    let ended = Invocation::new("sh", rig.path("")).args(["-c", &script]).finish();
    ended.assert_code(74);
    ended.assert_says(&["File too large"]);
    let child = rig.says("child");
    let ignored = child.split_whitespace().nth(1).and_then(|mask| u64::from_str_radix(mask, 16).ok()).expect("a mask");
    let own = fs::read_to_string("/proc/self/status").expect("status");
    let own = own.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a line").trim().to_owned();
    let bit = 1 << (nix::libc::SIGXFSZ - 1);
    assert_eq!(
        ignored & bit,
        u64::from_str_radix(&own, 16).expect("a mask") & bit,
        "the child's disposition is as it was"
    );
}
