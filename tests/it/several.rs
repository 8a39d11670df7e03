//! Several replicas of one database: what is restored, shown and proved, and what is refused.
//!
//! Most copies are made here by copying directories, so that one is known to be older than the other.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::harness::litestream::litestream_03;
use crate::harness::rig::shell;
use crate::harness::{Finished, Invocation, Remote, Rig};

/// Nothing listens there.
const UNREACHABLE: &str = "s3://bucket/app?endpoint=http://127.0.0.1:9&region=us-east-1&forcePathStyle=true";

/// litestream.yml with these replicas, by name and URL.
fn config(rig: &Rig, replicas: &[(&str, &str)]) -> String {
    let path = rig.path("several.yml");
    let mut text = format!("{}dbs:\n  - path: {}\n    replicas:\n", rig.settings, rig.db().display());
    for (name, url) in replicas {
        text += &format!("      - name: {name}\n        url: \"{url}\"\n");
    }
    fs::write(&path, text).expect("write the configuration");
    path.display().to_string()
}

fn url(dir: &Path) -> String {
    Remote::file(dir).url()
}

/// A replica with `rows` rows, and an older copy of it, which is returned.
fn with_an_older_copy(rig: &Rig) -> PathBuf {
    rig.supervise(rig.app(&["create", "rows:3"])).finish().assert_code(0);
    let older = rig.path("older");
    copy(&rig.path("replica"), &older);
    rig.supervise(rig.app(&["open", "rows:4"])).finish().assert_code(0);
    older
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create a directory");
    for entry in fs::read_dir(from).expect("list").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copy")),
        }
    }
}

fn with_config(rig: &Rig, words: &[&str], config: &str) -> Finished {
    let (command, rest) = words.split_first().expect("a command");
    rig.millstream([&[*command, "-config", config], rest].concat()).finish()
}

/// The application under `run` with this configuration.
fn app(rig: &Rig, config: &str, steps: &[&str]) -> Invocation {
    let mut words = ["run", "-config", config, "--"].map(OsString::from).to_vec();
    words.extend(rig.app(steps));
    rig.millstream(words)
}

fn run(rig: &Rig, config: &str, steps: &[&str]) -> Finished {
    app(rig, config, steps).finish()
}

/// `restore FLAGS… DB` of the configuration, to a new file.
fn restore(rig: &mut Rig, config: &str, flags: &[&str]) -> (PathBuf, Finished) {
    let output = rig.next_output();
    let (db, path) = (rig.db().display().to_string(), output.display().to_string());
    let words = [&["restore", "-o", &path], flags, &[&db]].concat();
    let finished = with_config(rig, &words, config);
    (output, finished)
}

#[test]
fn restore_takes_the_newest_state_of_any_replica_and_names_it() {
    let mut rig = Rig::on_file();
    let older = with_an_older_copy(&rig);
    let (new, old) = (rig.remote.url(), url(&older));
    for (replicas, name) in [([("a", &*new), ("b", &*old)], "a"), ([("b", &*old), ("a", &*new)], "a")] {
        let config = config(&rig, &replicas);
        let (output, finished) = restore(&mut rig, &config, &["-json"]);
        finished.assert_code(0).assert_says(&["restoring from the replica a", "TXID"]);
        rig.oracle.check_complete(&output);
        let shown: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
        assert_eq!(shown["replica"], name, "{finished}");
        let (_, finished) = restore(&mut rig, &config, &["-dry-run"]);
        finished.assert_code(0);
        assert!(finished.stdout.contains("replica: a\n"), "{finished}");
        let (output, finished) = restore(&mut rig, &config, &["-replica", "b"]);
        finished.assert_code(0);
        assert_eq!((rig.oracle.check(&output), rig.oracle.acknowledged()), (3, 7));
        let (output, finished) = restore(&mut rig, &config, &["-replica", "c"]);
        finished.assert_code(78).assert_says(&["no replica \"c\"", "there are "]);
        assert!(!output.exists());
    }
    copy(&rig.path("replica"), &rig.path("equal"));
    let equal = config(&rig, &[("one", &url(&rig.path("equal"))), ("two", &new)]);
    restore(&mut rig, &equal, &[]).1.assert_code(0).assert_says(&["restoring from the replica one"]);
}

#[test]
fn run_restores_what_is_missing_from_the_replica_that_has_most() {
    let mut rig = Rig::on_file();
    let older = with_an_older_copy(&rig);
    rig.lose_the_disk();
    let config = config(&rig, &[("a", &rig.remote.url()), ("b", &url(&older))]);
    with_config(&rig, &["run", "--", "true"], &config).assert_code(0).assert_says(&["restoring from the replica a"]);
    rig.oracle.check_complete(&rig.db());
}

#[test]
fn run_goes_on_from_a_mirror_that_has_more_and_every_replica_is_whole_then() {
    let mut rig = Rig::on_file();
    let older = with_an_older_copy(&rig);
    rig.lose_the_disk();
    let config = config(&rig, &[("old", &url(&older)), ("new", &rig.remote.url())]);
    run(&rig, &config, &["open", "rows:2"]).assert_code(0).assert_says(&["restoring from the replica new"]);
    for name in ["old", "new"] {
        let (output, finished) = restore(&mut rig, &config, &["-replica", name]);
        finished.assert_code(0);
        assert_eq!(rig.oracle.check_complete(&output), 9, "{name}");
    }
}

/// The disk of a node that was away is an earlier state, and only the mirror has what came after it.
#[test]
fn an_old_disk_is_brought_forward_from_the_mirror_that_has_more() {
    let mut rig = Rig::on_file();
    let mirror = rig.path("mirror");
    let config = config(&rig, &[("first", &rig.remote.url()), ("mirror", &url(&mirror))]);
    run(&rig, &config, &["create", "rows:3"]).assert_code(0);
    copy(&rig.path("data"), &rig.path("old-disk"));
    copy(&rig.path("replica"), &rig.path("old-replica"));
    run(&rig, &config, &["open", "rows:4"]).assert_code(0);
    for (old, here) in [("old-disk", "data"), ("old-replica", "replica")] {
        fs::remove_dir_all(rig.path(here)).expect("remove");
        fs::rename(rig.path(old), rig.path(here)).expect("rename");
    }
    run(&rig, &config, &["open", "rows:2"]).assert_code(0).assert_says(&["bringing it forward", "mirror"]);
    assert_eq!(rig.oracle.check_complete(&rig.db()), 9);
    for name in ["first", "mirror"] {
        let (output, finished) = restore(&mut rig, &config, &["-replica", name]);
        finished.assert_code(0);
        assert_eq!(rig.oracle.check_complete(&output), 9, "{name}");
    }
}

#[test]
fn each_replica_is_proved_in_the_background() {
    let mut rig = Rig::on_file();
    rig.settings += "verify:\n  interval: 500ms\n";
    let mirror = rig.path("mirror");
    let config = config(&rig, &[("first", &rig.remote.url()), ("mirror", &url(&mirror))]);
    let mut running = app(&rig, &config, &["create", "rows:5", "idle"]).spawn();
    running.wait_until_says(0, &["the replica first is proven up to TXID"]);
    running.wait_until_says(0, &["the replica mirror is proven up to TXID"]);
    for (name, bytes) in Remote::file(&mirror).objects() {
        fs::write(mirror.join(name), &bytes[..bytes.len() / 2]).expect("write");
    }
    // Only what has grown since the last proof is looked at again.
    rig.bare("b", &["open", "rows:1"]).finish().assert_code(0);
    running.wait_until_says(0, &["the replica mirror is damaged", "verify -deep -replica mirror"]);
    running.signal(Signal::SIGTERM);
    running.wait();
}

/// Written by `run` to a directory and a bucket, and read by the real Litestream.
#[test]
fn litestream_restores_from_each_replica_what_was_committed() {
    let mut rig = Rig::on_file();
    let bucket = Remote::s3();
    let config = config(&rig, &[("near", &rig.remote.url()), ("far", &bucket.url())]);
    let finished = run(&rig, &config, &["create", "rows:20", "big:5:30000"]);
    finished.assert_code(0).assert_says(&["replicating to the replica near"]);
    finished.assert_says(&["replicating to the replica far"]);
    for replica in [rig.remote.url(), bucket.url()] {
        let output = rig.next_output();
        rig.litestream(["restore", "-o", &output.display().to_string(), &replica]).finish().assert_code(0);
        rig.oracle.check_complete(&output);
    }
    let db = rig.db().display().to_string();
    with_config(&rig, &["verify", "-deep", &db], &config).assert_code(0);
}

#[test]
fn what_cannot_be_asked_is_never_no_backup() {
    let mut rig = Rig::on_file();
    rig.supervise(rig.app(&["create", "rows:3"])).finish().assert_code(0);
    let full = rig.remote.url();

    let first_is_away = config(&rig, &[("far", UNREACHABLE), ("near", &full)]);
    let (output, finished) = restore(&mut rig, &first_is_away, &["-if-replica-exists"]);
    finished.assert_code(69).assert_says(&["replica far", "restore -replica", "near (up to TXID "]);
    assert!(!output.exists());
    let (output, finished) = restore(&mut rig, &first_is_away, &["-replica", "near"]);
    finished.assert_code(0);
    rig.oracle.check_complete(&output);

    let mirror_is_away = config(&rig, &[("near", &full), ("far", UNREACHABLE)]);
    let (output, finished) = restore(&mut rig, &mirror_is_away, &[]);
    finished.assert_code(0).assert_says(&["WARN", "the replica far does not answer"]);
    rig.oracle.check_complete(&output);

    let empty = config(&rig, &[("near", &url(&rig.path("nothing"))), ("far", UNREACHABLE)]);
    restore(&mut rig, &empty, &["-if-replica-exists"]).1.assert_code(69).assert_says(&["replica far"]);
}

#[test]
fn a_start_does_not_begin_before_it_is_known_whether_there_is_a_backup() {
    let rig = Rig::on_file();
    let empty = config(&rig, &[("near", &url(&rig.path("nothing"))), ("far", UNREACHABLE)]);
    let started = rig.path("started").display().to_string();
    with_config(&rig, &["run", "--", "touch", &started], &empty).assert_code(69).assert_says(&["not started", "far"]);
    assert!(!rig.path("started").exists());
}

#[test]
fn no_backup_is_what_all_of_them_say() {
    let mut rig = Rig::on_file();
    let [one, two] = ["one", "two"].map(|name| url(&rig.path(name)));
    let none = config(&rig, &[("a", &one), ("b", &two)]);
    restore(&mut rig, &none, &[]).1.assert_code(76).assert_says(&["there is no backup in", &one, &two]);
    let (output, finished) = restore(&mut rig, &none, &["-if-replica-exists"]);
    finished.assert_code(0);
    assert!(!output.exists());
    with_config(&rig, &["run", "-require-backup", "--", "true"], &none).assert_code(76).assert_says(&["no backup"]);

    rig.supervise(rig.app(&["create", "rows:3"])).finish().assert_code(0);
    let mirror_only = config(&rig, &[("a", &one), ("b", &rig.remote.url())]);
    let (output, finished) = restore(&mut rig, &mirror_only, &["-if-replica-exists"]);
    finished.assert_code(0).assert_says(&["restoring from the replica b"]);
    rig.oracle.check_complete(&output);
}

#[test]
fn a_damaged_replica_is_passed_over_if_another_has_as_much() {
    let mut rig = Rig::on_file();
    with_an_older_copy(&rig);
    let (whole, broken) = (rig.path("replica"), rig.path("broken"));
    copy(&whole, &broken);
    for (name, _) in Remote::file(&broken).objects() {
        let mut bytes = fs::read(broken.join(&name)).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs::write(broken.join(&name), bytes).expect("write");
    }
    let config = config(&rig, &[("bad", &url(&broken)), ("good", &url(&whole))]);
    let (output, finished) = restore(&mut rig, &config, &[]);
    finished.assert_code(0).assert_says(&["WARN", "replica bad"]);
    rig.oracle.check_complete(&output);
    restore(&mut rig, &config, &["-replica", "bad"]).1.assert_code(76);
}

#[test]
fn points_ltx_and_verify_tell_of_each_replica() {
    let rig = Rig::on_file();
    let older = with_an_older_copy(&rig);
    let config = config(&rig, &[("new", &rig.remote.url()), ("old", &url(&older))]);
    let db = rig.db().display().to_string();
    let json = |words: &[&str]| -> serde_json::Value {
        let finished = with_config(&rig, &[words, &["-json", &db]].concat(), &config);
        serde_json::from_str(&finished.assert_code(0).stdout).expect("JSON")
    };
    let (points, all) = (json(&["points"]), json(&["verify"]));
    for (at, name) in [(0, "new"), (1, "old")] {
        assert_eq!((&points[at]["replica"], &all[at]["name"]), (&name.into(), &name.into()), "{points} {all}");
        assert_eq!(
            (&all[at]["verdict"], &all[at]["newest"]["txid"]),
            (&"proven".into(), &points[at]["newest"]["txid"])
        );
    }
    assert!(points[0]["newest"]["txid"].as_str() > points[1]["newest"]["txid"].as_str(), "{points}");
    let files = json(&["ltx", "-level", "all"]);
    let of = |name: &str| files.as_array().expect("a list").iter().filter(|file| file["replica"] == name).count();
    assert!(of("new") > 0 && of("old") > 0 && of("new") + of("old") == files.as_array().expect("a list").len());

    for command in ["points", "ltx"] {
        let both = with_config(&rig, &[command, &db], &config).assert_code(0).stdout.clone();
        let one = with_config(&rig, &[command, "-replica", "old", &db], &config).assert_code(0).stdout.clone();
        assert!(both.starts_with("replica new\n") && both.ends_with(&format!("\n\nreplica old\n{one}")), "{both}");
        let by_url = rig.millstream([command, &url(&older)]).finish().assert_code(0).stdout.clone();
        assert_eq!(one, by_url, "one replica alone is told of as ever");
    }
    with_config(&rig, &["points", "-replica", "x", &db], &config).assert_code(78).assert_says(&["new, old"]);
    let databases = with_config(&rig, &["databases"], &config);
    assert!(databases.assert_code(0).stdout.contains("new,old"), "{databases}");

    fs::remove_dir_all(older.join("ltx")).expect("remove");
    let (text, code) = (with_config(&rig, &["verify"], &config), 76);
    text.assert_code(code);
    assert!(text.stdout.contains("(replica new)") && text.stdout.contains("NO BACKUP"), "{text}");
    with_config(&rig, &["verify", "-replica", "new", &db], &config).assert_code(0);
    with_config(&rig, &["verify", "-replica", "new"], &config).assert_code(0);
    with_config(&rig, &["verify", "-replica", "x"], &config)
        .assert_code(78)
        .assert_says(&["no database has a replica"]);
    let points = with_config(&rig, &["points", &db], &config);
    points.assert_code(76).assert_says(&["the replica old", "no backup"]);
    assert!(points.stdout.starts_with("replica new\n"), "{points}");
}

#[test]
fn replicas_that_are_no_copies_are_refused() {
    let rig = Rig::on_file();
    rig.run_bare(&["create", "rows:1"]);
    let started = rig.path("started").display().to_string();
    let [one, inside, files] = ["one", "data/x", "one/ltx"].map(|dir| url(&rig.path(dir)));
    for (replicas, part) in [
        ([("a", &one), ("b", &one)], "are the same place"),
        ([("a", &one), ("b", &inside)], "own directory"),
        ([("a", &one), ("b", &files)], "is among the files of the replica a"),
        ([("a", &one), ("a", &inside)], "two replicas have the name \"a\""),
    ] {
        let config = config(&rig, &replicas.map(|(name, url)| (name, url.as_str())));
        with_config(&rig, &["run", "--", "touch", &started], &config).assert_code(78).assert_says(&[part]);
        assert!(!rig.path("started").exists(), "{part}");
    }
    let db = rig.db().display().to_string();
    let twice = rig.millstream(["replicate", "-once", &db, &one, &one]).finish();
    twice.assert_code(78).assert_says(&["file and file-2", "same place"]);
}

/// Litestream 0.3 replicates to several places, and its configuration is read as it is.
#[test]
fn the_replicas_of_litestream_03_are_restored_by_its_configuration() {
    let mut rig = Rig::on_file();
    let [one, two] = ["one", "two"].map(|dir| url(&rig.path(dir)));
    let config = rig.path("old.yml").display().to_string();
    let text = format!(
        "dbs:\n  - path: {}\n    monitor-interval: 50ms\n    replicas:\n      - {{name: a, url: '{one}', sync-interval: 50ms}}\n      \
         - {{name: b, url: '{two}', sync-interval: 50ms}}\n",
        rig.db().display()
    );
    fs::write(&config, text).expect("write the configuration");
    // The pauses are for 0.3, which finds the database and its commits by looking now and then.
    let app = shell(rig.app(&["create", "pause:700", "rows:5", "pause:1500"]));
    litestream_03(&rig.path("")).args(["replicate", "-config", &config, "-exec", &app]).finish().assert_code(0);
    for flags in [&[][..], &["-replica", "a"], &["-replica", "b"]] {
        let (output, finished) = restore(&mut rig, &config, flags);
        finished.assert_code(0);
        rig.oracle.check_complete(&output);
    }
}
