//! Directories of databases: found, watched, restored as a whole, one broken among them; and the same with the real Litestream.

mod damaged;
mod descriptors;
mod followed;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use rusqlite::Connection;

use crate::harness::oracle::{assert_intact, open};
use crate::harness::{Finished, Invocation, Remote, Rig, Running};

/// A database in WAL mode, open, with so many more rows.
fn database(path: &Path, rows: u32) -> Connection {
    fs::create_dir_all(path.parent().expect("has a parent")).expect("create a directory");
    let connection = Connection::open(path).expect("open");
    connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t (x)").expect("create");
    write(&connection, rows);
    connection
}

fn write(connection: &Connection, rows: u32) {
    for _ in 0..rows {
        connection.execute("INSERT INTO t VALUES (randomblob(500))", []).expect("insert");
    }
}

/// The rows of a database that nobody has open.
#[track_caller]
fn rows(path: &Path) -> u32 {
    let connection = open(path);
    assert_intact(&connection, path);
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("count")
}

/// litestream.yml with an entry for the directory `data`, with these further lines in it.
fn config(rig: &Rig, lines: &[&str]) -> PathBuf {
    let path = rig.path("directory.yml");
    let (settings, dir, url) = (&rig.settings, rig.path("data"), rig.remote.url());
    let mut text = format!("{settings}dbs:\n  - dir: {}\n    pattern: \"*.db\"\n", dir.display());
    for line in lines {
        text += &format!("    {line}\n");
    }
    text += &format!("    replica:\n      url: \"{url}\"\n");
    fs::write(&path, text).expect("write the configuration");
    path
}

fn with_config(rig: &Rig, words: &[&str], config: &Path) -> Invocation {
    let (command, rest) = words.split_first().expect("a command");
    let mut argv = vec![OsString::from(command), "-config".into(), config.into()];
    argv.extend(rest.iter().map(OsString::from));
    rig.millstream(argv)
}

/// The replica of the database at this relative path.
fn below(remote: &Remote, relative: &str) -> Remote {
    match remote {
        Remote::File(dir) => Remote::file(dir.join(relative)),
        Remote::S3 { endpoint, prefix } => {
            Remote::S3 { endpoint: endpoint.clone(), prefix: format!("{prefix}/{relative}") }
        }
    }
}

/// Waits until so many rows of the database are in its replica.
fn wait_until_replicated(rig: &mut Rig, running: &mut Running, relative: &str, wanted: u32) {
    let url = below(&rig.remote, relative).url();
    running.wait_until(&format!("{wanted} rows of {relative} are in the replica"), || {
        let output = rig.next_output();
        let ended = rig.millstream(["restore", "-o", output.to_str().expect("text"), &url]).finish();
        ended.code() == Some(0) && rows(&output) == wanted
    });
}

/// Moves a database with what lies beside it.
fn rename(from: &Path, to: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        if name(from).exists() {
            fs::rename(name(from), name(to)).expect("rename");
        }
    }
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
    assert!(!path.exists());
}

/// Everything that lies in the remote, by the path of its database.
fn replicated(remote: &Remote) -> BTreeSet<String> {
    let root = |name: &String| {
        let (at, _) = name.match_indices('/').rev().nth(1)?;
        Some(name[..at].trim_end_matches("/ltx").to_owned())
    };
    remote.objects().keys().filter_map(root).collect()
}

/// Ends it with TERM.
#[track_caller]
fn terminate(running: Running) -> Finished {
    running.signal(Signal::SIGTERM);
    let finished = running.wait();
    finished.assert_code(0);
    finished
}

#[test]
fn databases_that_come_and_go_are_replicated_as_they_do() {
    let mut rig = Rig::on_file();
    let data = rig.path("data");
    let socket = rig.path("control.sock").display().to_string();
    rig.settings += &format!("socket:\n  enabled: true\n  path: {socket}\n");
    let config = config(&rig, &["recursive: true", "watch: true"]);
    let a = database(&data.join("a.db"), 3);
    let mut running = with_config(&rig, &["replicate"], &config).spawn();
    wait_until_replicated(&mut rig, &mut running, "a.db", 3);

    // New ones: beside it, in a new directory, and in a directory that was filled elsewhere.
    fs::write(data.join("text.db"), "no database").expect("write");
    let b = database(&data.join("sub/b.db"), 5);
    let c = database(&data.join("c.db"), 1);
    drop(database(&rig.path("elsewhere/deep/d.db"), 2));
    fs::rename(rig.path("elsewhere"), data.join("came")).expect("rename");
    for (name, count) in [("sub/b.db", 5), ("c.db", 1), ("came/deep/d.db", 2)] {
        wait_until_replicated(&mut rig, &mut running, name, count);
    }
    let list = |rig: &Rig| {
        let listed = rig.millstream(["list", "-json", "-socket", &socket]).finish();
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
        listed["databases"].as_array().map(Vec::len)
    };
    assert_eq!(list(&rig), Some(4));

    // Taken away, with a commit a moment before.
    write(&a, 1);
    wait_until_replicated(&mut rig, &mut running, "a.db", 4);
    drop(a);
    rename(&data.join("a.db"), &rig.path("away.db"));
    running.wait_until_says(0, &["a.db", "has disappeared is replicated no more"]);
    assert_eq!(list(&rig), Some(3));

    // Renamed, and written on.
    drop(b);
    rename(&data.join("sub/b.db"), &data.join("sub/renamed.db"));
    write(&Connection::open(data.join("sub/renamed.db")).expect("open"), 1);
    wait_until_replicated(&mut rig, &mut running, "sub/renamed.db", 6);
    running.wait_until_says(0, &["sub/b.db", "has disappeared is replicated no more"]);

    // Back, after it was used elsewhere.
    drop(database(&rig.path("away.db"), 3));
    rename(&rig.path("away.db"), &data.join("a.db"));
    wait_until_replicated(&mut rig, &mut running, "a.db", 7);
    let again = Connection::open(data.join("a.db")).expect("open");

    fs::remove_dir_all(data.join("came")).expect("remove");
    running.wait_until_says(0, &["came/deep/d.db", "has disappeared is replicated no more"]);
    write(&c, 4);
    write(&again, 1);
    terminate(running);
    assert_eq!(
        replicated(&rig.remote),
        ["a.db", "c.db", "came/deep/d.db", "sub/b.db", "sub/renamed.db"].map(Into::into).into()
    );
    let out = rig.path("out").display().to_string();
    rig.millstream(["restore", "-dir", &out, &rig.remote.url()]).finish().assert_code(0);
    for (name, count) in [("a.db", 8), ("c.db", 5), ("came/deep/d.db", 2), ("sub/b.db", 5), ("sub/renamed.db", 6)] {
        assert_eq!(rows(&rig.path("out").join(name)), count, "{name}");
    }
}

/// The exit code says that everything is safe, and a database that was made a moment before is part of everything.
#[test]
fn a_database_that_was_created_last_is_in_the_replica_when_the_application_has_ended() {
    let mut rig = Rig::on_file();
    let config = config(&rig, &["watch: true"]);
    let mut argv = ["run", "-config"].map(OsString::from).to_vec();
    argv.extend([config.into(), "--".into()]);
    argv.extend(rig.app(&["create", "rows:3"]));
    rig.millstream(argv).finish().assert_code(0);
    let restored = rig.next_output();
    let url = below(&rig.remote, "app.db").url();
    rig.millstream(["restore", "-o", restored.to_str().expect("text"), &url]).finish().assert_code(0);
    assert_eq!(rig.oracle.check_complete(&restored), 3);
}

/// Three databases, replicated once.
fn three(rig: &Rig, config: &Path) {
    for (name, count) in [("a.db", 1), ("b.db", 2), ("sub/c.db", 3)] {
        drop(database(&rig.path("data").join(name), count));
    }
    with_config(rig, &["replicate", "-once"], config).finish().assert_code(0);
}

#[test]
fn a_directory_is_restored_from_its_replicas_by_hand_and_by_run() {
    let rig = Rig::on_s3();
    let (config, data, out) = (config(&rig, &["recursive: true", "watch: true"]), rig.path("data"), rig.path("out"));
    three(&rig, &config);
    let (url, to) = (rig.remote.url(), out.display().to_string());
    let plan = rig.millstream(["restore", "-dir", &to, "-dry-run", &url]).finish();
    plan.assert_code(0);
    assert!(plan.stdout.contains("sub/c.db: TXID") && !out.exists(), "{plan}");
    let by_url = rig.millstream(["restore", "-dir", &to, "-json", &url]).finish();
    by_url.assert_code(0);
    let shown: serde_json::Value = serde_json::from_str(&by_url.stdout).expect("JSON");
    assert_eq!(shown.as_array().map(Vec::len), Some(3), "{by_url}");
    let check = |dir: &Path| {
        let counts = ["a.db", "b.db", "sub/c.db"].map(|name| rows(&dir.join(name)));
        assert_eq!(counts, [1, 2, 3]);
    };
    check(&out);

    // What is there is not replaced, and the others are restored all the same.
    fs::remove_file(out.join("b.db")).expect("remove");
    let again = rig.millstream(["restore", "-dir", &to, &url]).finish();
    again.assert_code(73).assert_says(&["restored: 1 of 3 databases"]).assert_says(&["sub/c.db", "exists already"]);
    check(&out);
    rig.millstream(["restore", "-dir", &to, "-if-db-not-exists", &url]).finish().assert_code(0);

    rig.lose_the_disk();
    with_config(&rig, &["restore", "-dir", data.to_str().expect("text")], &config).finish().assert_code(0);
    check(&data);

    // run: what is missing before the application starts, and nothing else.
    remove(&data.join("b.db"));
    fs::remove_dir_all(data.join("sub")).expect("remove");
    let run = with_config(&rig, &["run", "--", "test", "-f", "data/sub/c.db"], &config).finish();
    run.assert_code(0).assert_says(&["restoring 2 databases, because a backup is there"]);
    check(&data);

    let nothing = rig.millstream(["restore", "-dir", &to, &Remote::s3().url()]).finish();
    nothing.assert_code(76).assert_says(&["no backup"]);
    let unknown = with_config(&rig, &["restore", "-dir", "/nowhere"], &config).finish();
    unknown.assert_code(78).assert_says(&["no entry has `dir: /nowhere`"]);
}

#[test]
fn a_directory_without_databases_is_a_mistake_unless_it_is_watched() {
    let rig = Rig::on_file();
    let once = |lines: &[&str]| with_config(&rig, &["replicate", "-once"], &config(&rig, lines)).finish();
    once(&[]).assert_code(78).assert_says(&["no SQLite database", "*.db", "watch: true"]);
    once(&["watch: true"]).assert_code(0);
}

#[test]
fn all_databases_are_restored_to_one_instant_or_none_is() {
    let rig = Rig::on_file();
    let (data, config) = (rig.path("data"), rig.path("all.yml"));
    let replica = |name: &str| below(&rig.remote, name).url();
    let text = format!(
        "dbs:\n  - path: {0}/primary.db\n    replica: {{url: \"{1}\"}}\n  - path: {0}/queue.db\n    replica: {{url: \"{2}\"}}\n  \
         - dir: {0}/tenants\n    pattern: \"*.db\"\n    replica: {{url: \"{3}\"}}\n",
        data.display(),
        replica("primary"),
        replica("queue"),
        replica("tenants"),
    );
    fs::write(&config, text).expect("write");
    let names = ["primary.db", "queue.db", "tenants/one.db"];
    let round = |count: u32| {
        names.iter().zip(1..).for_each(|(name, more)| drop(database(&data.join(name), count + more)));
        with_config(&rig, &["replicate", "-once"], &config).finish().assert_code(0);
    };
    let instant = || {
        let then = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(1);
        while jiff::Timestamp::now() <= then {
            std::thread::yield_now();
        }
        then.to_string()
    };
    round(0);
    let then = instant();
    round(10);
    rig.lose_the_disk();
    let counts = || names.map(|name| rows(&data.join(name)));
    let all = |flags: &[&str]| with_config(&rig, &[&["restore", "-all"], flags].concat(), &config).finish();
    all(&["-timestamp", &then]).assert_code(0).assert_says(&["restored: 3 databases"]);
    assert_eq!(counts(), [1, 2, 3]);
    all(&["-force"]).assert_code(0);
    assert_eq!(counts(), [12, 14, 16]);

    // One that is in the way, and then one that is damaged: nothing changes.
    names[..2].iter().for_each(|name| remove(&data.join(name)));
    all(&[]).assert_code(73).assert_says(&["tenants/one.db", "exists already"]).assert_says(&[
        "primary.db",
        "not put in place",
        "another one",
    ]);
    damaged::damage(&below(&rig.remote, "queue"), "");
    all(&["-force"]).assert_code(76).assert_says(&["queue.db", "damaged"]);
    assert!(!data.join("primary.db").exists() && !data.join("queue.db").exists());
    assert_eq!(rows(&data.join("tenants/one.db")), 16);
    let left: Vec<_> = fs::read_dir(&data).expect("list").flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("restore")), "{left:?}");
}

/// The keys are the same, and each restores what the other has written.
#[test]
fn litestream_and_we_mean_the_same_by_a_directory() {
    let ours = Rig::on_s3();
    let theirs = Rig::on_s3();
    let wanted: BTreeSet<String> = ["a.db", "50% off.db", "sub/deep/c.db"].map(Into::into).into();
    for rig in [&ours, &theirs] {
        for (name, count) in wanted.iter().zip(1..) {
            drop(database(&rig.path("data").join(name), count));
        }
        fs::write(rig.path("data/text.db"), "no database").expect("write");
    }
    let lines = ["recursive: true"];
    with_config(&ours, &["replicate", "-once"], &config(&ours, &lines)).finish().assert_code(0);
    let once = [OsString::from("replicate"), "-config".into(), config(&theirs, &lines).into(), "-once".into()];
    theirs.litestream(once).finish().assert_code(0);
    assert_eq!(replicated(&ours.remote), wanted);
    assert_eq!(replicated(&theirs.remote), wanted);

    let out = theirs.path("out");
    theirs.millstream(["restore", "-dir", out.to_str().expect("text"), &theirs.remote.url()]).finish().assert_code(0);
    for (name, count) in wanted.iter().zip(1..) {
        assert_eq!(rows(&out.join(name)), count, "{name}");
        let restored = ours.path("out").join(name);
        fs::create_dir_all(restored.parent().expect("a parent")).expect("create");
        let url = below(&ours.remote, &name.replace('%', "%25")).url();
        let by_litestream = ours.litestream(["restore", "-o", restored.to_str().expect("text"), &url]).finish();
        by_litestream.assert_code(0);
        assert_eq!(rows(&restored), count, "{name}");
    }

    // We go on where Litestream has stopped, and the reverse.
    drop(database(&theirs.path("data/a.db"), 10));
    with_config(&theirs, &["replicate", "-once"], &config(&theirs, &lines)).finish().assert_code(0);
    let again = theirs.path("again");
    theirs.millstream(["restore", "-dir", again.to_str().expect("text"), &theirs.remote.url()]).finish().assert_code(0);
    assert_eq!(rows(&again.join("a.db")), 12);
}

#[test]
fn databases_and_status_show_those_of_directories() {
    let rig = Rig::on_file();
    let config = config(&rig, &["recursive: true"]);
    three(&rig, &config);
    let listed = with_config(&rig, &["databases"], &config).finish();
    listed.assert_code(0);
    let status = with_config(&rig, &["status"], &config).finish();
    status.assert_code(0);
    for name in ["a.db", "b.db", "sub/c.db"] {
        assert!(listed.stdout.contains(&format!("data/{name}")), "{listed}");
        assert!(
            status.stdout.lines().any(|line| line.contains(&format!("data/{name}")) && line.contains("ok")),
            "{status}"
        );
    }
    let db = rig.path("data/sub/c.db").display().to_string();
    let shown = with_config(&rig, &["ltx", &db], &config).finish();
    shown.assert_code(0);
    assert!(shown.stdout.contains("0000000000000001"), "{shown}");
}

#[test]
fn a_database_that_comes_later_is_proved_in_the_background_like_the_others() {
    let mut rig = Rig::on_file();
    rig.settings += "verify:\n  interval: 300ms\n";
    let config = config(&rig, &["watch: true"]);
    let first = database(&rig.path("data/first.db"), 1);
    let mut running = with_config(&rig, &["replicate"], &config).spawn();
    running.wait_until_says(0, &["first.db", "is proven up to TXID 0000000000000001"]);
    drop(database(&rig.path("data/later.db"), 2));
    running.wait_until_says(0, &["later.db", "is proven up to TXID"]);
    remove(&rig.path("data/later.db"));
    running.wait_until_says(0, &["later.db", "has disappeared is replicated no more"]);
    write(&first, 1);
    running.wait_until_says(0, &["first.db", "is proven up to TXID 0000000000000002"]);
    terminate(running);
}
