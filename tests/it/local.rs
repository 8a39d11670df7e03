//! The path of a database, and who else is there: what is no database is left alone, what is open is not replaced, and our own
//! files never shut out the user that the database belongs to.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{geteuid, mkfifo};
use rusqlite::Connection;

use crate::doubt::{replicated, sql};
use crate::harness::rig::python;
use crate::harness::{Finished, Invocation, Rig, oracle};

mod owners;

/// A user of whom the system knows nothing.
const UID: u32 = 54321;

fn words(rig: &Rig, words: &[&OsStr]) -> Invocation {
    rig.millstream(words.iter().map(OsString::from))
}

fn restore(rig: &Rig, flags: &[&str], output: &Path) -> Finished {
    let mut argv: Vec<&OsStr> = vec!["restore".as_ref()];
    argv.extend(flags.iter().map(OsStr::new));
    let url = rig.remote.url();
    argv.extend::<[&OsStr; 3]>(["-o".as_ref(), output.as_ref(), url.as_ref()]);
    words(rig, &argv).finish()
}

/// `run`, `replicate` and `replicate -once` on a database at `path`. None may start or change anything.
fn lives(rig: &Rig, path: &Path) -> Vec<Finished> {
    let config = rig.path("elsewhere.yml");
    let url = rig.remote.url();
    fs::write(&config, format!("dbs:\n  - path: {}\n    replica:\n      url: \"{url}\"\n", path.display()))
        .expect("write");
    let started = rig.path("started");
    let ended: Vec<Finished> = [
        words(
            rig,
            &["run".as_ref(), "-config".as_ref(), config.as_ref(), "--".as_ref(), "touch".as_ref(), started.as_ref()],
        ),
        words(rig, &["replicate".as_ref(), path.as_ref(), url.as_ref()]),
        words(rig, &["replicate".as_ref(), "-once".as_ref(), path.as_ref(), url.as_ref()]),
    ]
    .into_iter()
    .map(Invocation::finish)
    .collect();
    assert!(!started.exists(), "the application was started: {}", ended[0]);
    ended
}

fn what(path: &Path) -> (u64, u64, u32) {
    let found: Metadata = fs::symlink_metadata(path).expect("it is there");
    (found.ino(), found.rdev(), found.mode())
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("list").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[test]
fn what_is_no_regular_file_is_refused_at_once_and_stays_what_it_is() {
    let rig = replicated();
    // A replica of its own directory would be refused first.
    let at = |name: &str| rig.path("data").join(name);
    mkfifo(&at("fifo"), Mode::S_IRWXU).expect("mkfifo");
    mkfifo(&at("fifo.gz"), Mode::S_IRWXU).expect("mkfifo");
    let _socket = UnixListener::bind(at("socket")).expect("bind");
    fs::create_dir(at("directory")).expect("mkdir");
    let mut kinds = vec![("fifo", "FIFO"), ("fifo.gz", "FIFO"), ("socket", "socket"), ("directory", "directory")];
    // Never the one in /dev: a version that fails this test would replace it.
    let null = makedev(1, 3);
    if mknod(&at("null"), SFlag::S_IFCHR, Mode::S_IRWXU, null).is_ok() {
        kinds.push(("null", "device"));
    } else {
        assert!(!geteuid().is_root(), "root can make a device node");
    }
    for (name, kind) in kinds {
        symlink(name, at(&format!("to-{name}"))).expect("link");
        for path in [at(name), at(&format!("to-{name}"))] {
            let (before, node_before) = (what(&path), what(&at(name)));
            for flags in [&[][..], &["-force"], &["-if-db-not-exists"], &["-dry-run"]] {
                let ended = restore(&rig, flags, &path);
                ended.assert_code(73).assert_says(&[name, kind, "verify -deep"]);
                assert_eq!(ended.stderr.matches("not a regular file").count(), 1, "{ended}");
            }
            for ended in lives(&rig, &path) {
                ended.assert_code(73).assert_says(&[name, kind]);
            }
            let url = rig.remote.url();
            let verify = ["verify".as_ref(), "-deep".as_ref(), "-db".as_ref(), path.as_os_str(), url.as_ref()];
            words(&rig, &verify).finish().assert_code(73).assert_says(&[name, kind]);
            assert_eq!((what(&path), what(&at(name))), (before, node_before), "{name} is another file now");
        }
    }
    assert!(fs::symlink_metadata(at("fifo")).expect("there").file_type().is_fifo());
    let url = rig.remote.url();
    let verify = |dir: &Path| {
        words(&rig, &["verify".as_ref(), "-deep".as_ref(), "-dir".as_ref(), dir.as_os_str(), url.as_ref()]).finish()
    };
    verify(&at("fifo")).assert_code(73).assert_says(&["-dir", "not a directory"]);
    // What is found under the name of a temporary file of ours is not waited for.
    mkfifo(&at("directory/.millstream-verify.db.millstream-restore.0123.tmp"), Mode::S_IRWXU).expect("mkfifo");
    verify(&at("directory")).assert_code(0);
}

#[test]
fn a_file_that_is_no_database_is_left_where_it_is() {
    let empty = Rig::on_file();
    let full = replicated();
    let seed: Vec<u8> = (1..=5000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as u8).collect();
    let mut impossible = fs::read(full.db()).expect("read");
    impossible[16..18].copy_from_slice(&4099_u16.to_be_bytes());
    let contents: [(&[u8], &str); 8] = [
        (&seed, "encrypted"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "gzip"),
        (b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCOMMIT;\n", "SQL dump"),
        (b"LTX1\0\0\0\0", "LTX"),
        (b"key = value\n", "text"),
        (&[0; 8192], "zeros"),
        (&impossible, "header is damaged"),
        (b"?", "text"),
    ];
    for rig in [&empty, &full] {
        for (content, word) in contents {
            let path = rig.path("data/other.db");
            fs::write(&path, content).expect("write");
            let mut all = lives(rig, &path);
            all.push(restore(rig, &[], &path));
            all.push(restore(rig, &["-if-db-not-exists", "-if-replica-exists"], &path));
            for ended in &all {
                ended.assert_code(73).assert_says(&["other.db", "is not a SQLite database", word]);
            }
            assert_eq!(fs::read(&path).expect("there"), content, "{word}");
        }
        let left: Vec<_> = names(&rig.path("data")).into_iter().filter(|name| name.contains("orphaned")).collect();
        assert!(left.is_empty(), "moved aside: {left:?}");
    }
    // By order of a human it is replaced, and kept all the same.
    let path = full.path("data/other.db");
    restore(&full, &["-force"], &path).assert_code(0);
    oracle::assert_same_pages(&full.db(), &path);
    assert!(names(&full.path("data")).iter().any(|name| name.starts_with("other.db.orphaned-")));
    // And zero bytes are nothing.
    fs::write(&path, "").expect("write");
    restore(&full, &[], &path).assert_code(0);
    oracle::assert_same_pages(&full.db(), &path);
}

/// A client of another language, in a process of its own, that does `work` and stands still until `go` exists.
fn client(rig: &Rig, path: &Path, work: &str, go: &Path) -> Invocation {
    let script = "import sqlite3, sys, os, time\n\
         db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
         for line in sys.argv[2].split(';'): db.execute(line).fetchall()\n\
         print('ready', flush=True)\n\
         while not os.path.exists(sys.argv[3]): time.sleep(0.01)\n\
         if db.in_transaction: db.execute('COMMIT')\n\
         db.execute('CREATE TABLE acknowledged(x)')\n";
    let argv: [OsString; 5] = ["-c".into(), script.into(), path.into(), work.into(), go.into()];
    Invocation::new(python(), rig.path("")).args(argv)
}

#[test]
fn a_database_that_a_client_has_open_is_not_replaced() {
    let rig = replicated();
    symlink("open.db", rig.path("link.db")).expect("link");
    let path = rig.path("open.db");
    for (at, work) in [
        "PRAGMA journal_mode=WAL; SELECT count(*) FROM sqlite_schema",
        "PRAGMA journal_mode=DELETE; BEGIN; SELECT count(*) FROM sqlite_schema",
        "PRAGMA journal_mode=TRUNCATE; BEGIN IMMEDIATE",
        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; SELECT count(*) FROM sqlite_schema",
        // It does nothing and has no lock: only its descriptor tells.
        "PRAGMA journal_mode=DELETE; SELECT count(*) FROM sqlite_schema",
    ]
    .into_iter()
    .enumerate()
    {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(rig.path(&format!("open.db{suffix}")));
        }
        sql(&path, "CREATE TABLE t(x)");
        let go = rig.path(&format!("go-{at}"));
        let said = rig.path(&format!("said-{at}"));
        // Its stdout goes to a file of its own through the shell.
        let shown = format!("exec \"$@\" > {}", said.display());
        let mut running = client(&rig, &path, work, &go).under("sh", ["-c", &shown, "sh"]).spawn();
        running
            .wait_until("the client is ready", || fs::read_to_string(&said).is_ok_and(|said| said.contains("ready")));
        let before = fs::metadata(&path).expect("stat").ino();
        for path in [&path, &rig.path("link.db")] {
            let ended = restore(&rig, &["-force"], path);
            ended.assert_code(73).assert_says(&["open.db", "python", &format!("pid {}", running.id()), "stop it"]);
        }
        assert_eq!(fs::metadata(&path).expect("stat").ino(), before);
        fs::write(&go, "").expect("write");
        running.wait().assert_code(0);
        let tables: i64 = Connection::open(&path)
            .and_then(|db| {
                db.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'acknowledged'", [], |r| r.get(0))
            })
            .expect("look");
        assert_eq!(tables, 1, "{work}: an acknowledged table is gone");
        restore(&rig, &["-force"], &path).assert_code(0);
        oracle::assert_same_pages(&rig.db(), &path);
    }
}

#[test]
fn a_database_that_is_replicated_is_not_replaced() {
    let mut rig = replicated();
    symlink(rig.db(), rig.path("link.db")).expect("link");
    let ready = rig.path("ready");
    let mut running = rig.supervise(["sh", "-c", &format!("touch {}; sleep 600 & wait", ready.display())]).spawn();
    running.wait_until("the application runs", || ready.exists());
    for path in [rig.db(), rig.path("link.db")] {
        let ended = restore(&rig, &["-force"], &path);
        ended.assert_code(73).assert_says(&["not replaced", "millstream", &format!("pid {}", running.id())]);
    }
    // A database that it is told to replace by the configuration is no other.
    let by_config = |rig: &Rig| {
        let (config, db) = (rig.config(), rig.db());
        words(rig, &["restore".as_ref(), "-config".as_ref(), config.as_ref(), "-force".as_ref(), db.as_ref()]).finish()
    };
    by_config(&rig).assert_code(73).assert_says(&["not replaced", "millstream"]);
    sql(&rig.db(), "CREATE TABLE acknowledged(x)");
    running.signal(Signal::SIGTERM);
    running.wait();
    let restored = rig.restored();
    oracle::assert_same_pages(&rig.db(), &restored);
    by_config(&rig).assert_code(0);
    oracle::assert_same_pages(&rig.db(), &restored);
}

#[test]
fn a_copy_by_hand_leaves_nothing_beside_it() {
    let rig = replicated();
    let dir = rig.path("drill");
    restore(&rig, &[], &dir.join("x.db")).assert_code(0);
    assert_eq!(names(&dir), ["x.db"]);
    restore(&rig, &[], &dir.join("x.db")).assert_code(73).assert_says(&["exists already", "-force"]);
    restore(&rig, &["-force"], &dir.join("x.db")).assert_code(0);
    assert_eq!(names(&dir), ["x.db"]);
    // As a database of the configuration it is replicated next, and continues what was restored.
    rig.lose_the_disk();
    let (config, db) = (rig.config(), rig.db());
    words(&rig, &["restore".as_ref(), "-config".as_ref(), config.as_ref(), db.as_ref()]).finish().assert_code(0);
    assert_eq!(names(&rig.path("data")), [".app.db-millstream", "app.db"]);
    let ended = rig.supervise(["true"]).finish();
    ended.assert_code(0);
    assert!(!ended.stderr.contains("whole database"), "{ended}");
}

#[test]
fn a_restore_that_cannot_tell_speaks_of_the_backup_only() {
    let rig = Rig::on_file();
    let url = "s3://bucket/x?endpoint=http://127.0.0.1:1&region=us-east-1";
    let output = rig.path("x.db");
    let argv = ["restore".as_ref(), "-o".as_ref(), output.as_os_str(), url.as_ref()];
    let ended = words(&rig, &argv).env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y").finish();
    ended.assert_code(69).assert_says(&["cannot tell whether there is a backup"]);
    assert!(!ended.stderr.contains("started"), "{ended}");
}

/// An application that keeps its database to itself, and writes until it is told to stop.
fn exclusive_app(rig: &Rig, mode: &str) -> Vec<OsString> {
    let script = "import sqlite3, sys, signal, time\n\
         signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n\
         db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=1)\n\
         db.execute('PRAGMA locking_mode=EXCLUSIVE')\n\
         db.execute('PRAGMA journal_mode=' + sys.argv[2])\n\
         db.execute('CREATE TABLE IF NOT EXISTS t(x)')\n\
         while True:\n    db.execute('INSERT INTO t VALUES (1)')\n    time.sleep(0.7)\n";
    vec![python(), "-c".into(), script.into(), rig.db().into(), mode.into()]
}

#[test]
fn an_application_that_keeps_its_database_to_itself_is_refused_by_name_each_time() {
    for mode in ["WAL", "DELETE"] {
        let mut rig = Rig::on_file();
        for deploy in ["first", "second"] {
            let ended = rig.supervise(exclusive_app(&rig, mode)).finish();
            println!("{mode}, {deploy}");
            ended.assert_code(73).assert_says(&["app.db", "python", "locking_mode=EXCLUSIVE", "remove"]);
            assert!(!ended.stderr.contains("soon after its start"), "{ended}");
        }
        // What it wrote was shipped when it was gone; and once it behaves, it is replicated.
        let restored = rig.restored();
        oracle::assert_same_pages(&rig.db(), &restored);
        let rows = "sqlite3 = __import__('sqlite3')";
        let quiet = format!(
            "{rows}; d = sqlite3.connect('{}', isolation_level=None); d.execute('INSERT INTO t VALUES (2)')",
            rig.db().display()
        );
        let argv: [OsString; 3] = [python(), "-c".into(), quiet.into()];
        rig.supervise(argv).finish().assert_code(0);
        let restored = rig.restored();
        oracle::assert_same_pages(&rig.db(), &restored);
    }
}

#[test]
fn an_application_that_dies_of_a_locked_database_gets_a_hint() {
    let rig = replicated();
    let ended = rig.supervise(exclusive_app(&rig, "WAL")).finish();
    ended.assert_code(1).assert_says(&["soon after its start", "locking_mode=EXCLUSIVE"]);
}
