//! `verify` on real replicas: every planted fault is found and named, a sound replica is proven, and the live database is
//! compared while it is written to. For the same faults `restore` gives the best sound state or says what is missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::Value;

use crate::harness::{Finished, Remote, Rig, eventually};

type Objects = BTreeMap<String, Vec<u8>>;

/// Transactions of the replica that the faults are planted in; the first one makes the table, each other one adds a row.
const TXIDS: u64 = 6;

/// A database and its replica of one file for each transaction. The application's connection stays open: nobody checkpoints.
fn a_replica(page_size: u32, txids: u64, row_bytes: usize) -> (Rig, Connection) {
    let rig = Rig::on_file();
    let app = Connection::open(rig.db()).expect("open");
    app.execute_batch(&format!(
        "PRAGMA page_size={page_size}; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
         CREATE TABLE t (n INTEGER PRIMARY KEY, body TEXT); CREATE INDEX t_body ON t (body)"
    ))
    .expect("create");
    ship(&rig);
    for n in 2..=txids {
        add_row(&app, n, row_bytes);
        ship(&rig);
    }
    assert_eq!(rig.remote.level0(), (1..=txids).collect::<Vec<_>>());
    (rig, app)
}

fn add_row(app: &Connection, n: u64, bytes: usize) {
    let body = format!("{n}:{}", "x".repeat(bytes));
    app.execute("INSERT INTO t VALUES (?1, ?2)", (n as i64, body)).expect("insert");
}

/// Ships what was committed as one transaction.
fn ship(rig: &Rig) {
    let (db, url) = (rig.db().display().to_string(), rig.remote.url());
    rig.millstream(["replicate", "-once", &db, &url]).finish().assert_code(0);
}

fn verify(rig: &Rig, args: &[&str]) -> (Finished, Value) {
    let temporary = rig.path("tmp");
    std::fs::create_dir_all(&temporary).expect("mkdir");
    let words = ["verify", "-json"].into_iter().chain(args.iter().copied());
    let finished = rig.millstream(words).env("TMPDIR", &temporary).finish();
    assert_eq!(std::fs::read_dir(&temporary).expect("list").count(), 0, "something stayed in TMPDIR\n{finished}");
    let shown: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}\n{finished}"));
    assert_eq!(shown.as_array().map(Vec::len), Some(1), "one replica, one result");
    let shown = shown[0].clone();
    assert_eq!(shown["code"].as_i64(), finished.code().map(i64::from));
    (finished, shown)
}

/// Copies of the objects of a replica, with a fault in them.
fn planted(rig: &Rig, name: &str, plant: impl FnOnce(&mut Objects)) -> Remote {
    let mut objects = rig.remote.objects();
    plant(&mut objects);
    let remote = Remote::file(rig.path(&name.replace(' ', "-")));
    objects.iter().for_each(|(name, bytes)| remote.put(name, bytes));
    remote
}

fn l0(txid: u64) -> String {
    format!("ltx/0/{txid:016x}-{txid:016x}.ltx")
}

fn object(objects: &mut Objects, txid: u64) -> &mut Vec<u8> {
    objects.get_mut(&l0(txid)).expect("there")
}

fn flip(txid: u64, at: impl Fn(usize) -> usize) -> impl Fn(&mut Objects) {
    move |objects| {
        let bytes = object(objects, txid);
        let at = at(bytes.len());
        bytes[at] ^= 0x10;
    }
}

/// What a fault looks like from outside.
struct Case {
    name: &'static str,
    plant: Box<dyn Fn(&mut Objects)>,
    /// Kind of finding and what it names; on a first look, and on a deep one. `None`: it is not seen.
    shallow: Option<(&'static str, String)>,
    deep: Option<(&'static str, String)>,
    is_damage: bool,
    /// Rows of the restored database; or words of the refusal.
    restore: Result<u64, String>,
}

fn case(name: &'static str, plant: impl Fn(&mut Objects) + 'static) -> Case {
    let restore = Ok(TXIDS - 1);
    Case { name, plant: Box::new(plant), shallow: None, deep: None, is_damage: false, restore }
}

impl Case {
    /// Damage that both looks find; the restore is refused and names it.
    fn damage(self, kind: &'static str, named: impl Into<String>) -> Case {
        let named = named.into();
        let found = Some((kind, named.clone()));
        Case { shallow: found.clone(), deep: found, is_damage: true, restore: Err(named), ..self }
    }

    /// Damage that takes a deep look.
    fn deep_damage(self, kind: &'static str, named: impl Into<String>) -> Case {
        let damage = self.damage(kind, named);
        Case { shallow: None, ..damage }
    }

    fn remark(self, kind: &'static str, named: impl Into<String>) -> Case {
        let found = Some((kind, named.into()));
        Case { shallow: found.clone(), deep: found, ..self }
    }

    /// The refusal names the transactions, not the object: without it there is a hole.
    fn says(self, word: &str) -> Case {
        Case { restore: Err(word.into()), ..self }
    }

    fn restores(self, rows: u64) -> Case {
        Case { restore: Ok(rows), ..self }
    }

    fn check(&self, rig: &Rig) {
        let remote = planted(rig, self.name, &self.plant);
        let url = remote.url();
        self.check_verdict(&verify(rig, &[&url]), self.shallow.as_ref());
        self.check_verdict(&verify(rig, &["-deep", &url]), self.deep.as_ref());

        let output = rig.path(&format!("{}.db", self.name.replace(' ', "-")));
        let output_text = output.display().to_string();
        let restored = rig.millstream(["restore", "-o", &output_text, &url]).finish();
        match &self.restore {
            Ok(rows) => {
                restored.assert_code(0);
                assert_eq!(rows_of(&output), *rows, "{}", self.name);
            }
            Err(word) => {
                restored.assert_code(76).assert_says(&[word]);
                assert!(!output.exists(), "{}", self.name);
            }
        }
    }

    fn check_verdict(&self, (finished, shown): &(Finished, Value), wanted: Option<&(&'static str, String)>) {
        let name = self.name;
        let Some((kind, named)) = wanted else {
            finished.assert_code(0);
            assert_eq!(shown["verdict"], "proven", "{name}\n{finished}");
            return;
        };
        finished.assert_code(if self.is_damage { 76 } else { 0 });
        let severity = if self.is_damage { "damage" } else { "remark" };
        let is_it = |finding: &&Value| {
            let says = |key: &str| finding[key].as_str().is_some_and(|text| text.contains(named.as_str()));
            finding["kind"] == *kind && finding["severity"] == severity && says("message")
        };
        let findings = shown["findings"].as_array().expect("a list");
        assert!(findings.iter().any(|finding| is_it(&finding)), "{name}: no {kind} names {named}\n{finished}");
    }
}

/// Rows of a sound database.
fn rows_of(database: &Path) -> u64 {
    let db = Connection::open(database).expect("open");
    let report: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("check");
    assert_eq!(report, "ok");
    db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).expect("count") as u64
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn every_planted_fault_is_found_and_named() {
    let (rig, _app) = a_replica(4096, TXIDS, 300);
    let (stranger, _its_app) = a_replica(4096, TXIDS + 1, 40_000);
    let (other_pages, _its_app_too) = a_replica(1024, 3, 300);
    let strange = stranger.remote.objects().remove(&l0(TXIDS + 1)).expect("there");
    let small_pages = other_pages.remote.objects().remove(&l0(3)).expect("there");
    let max = "ffffffffffffffff";

    let cases = [
        case("nothing", |_| {}),
        case("a missing object", |objects| drop(objects.remove(&l0(3)))).damage("gap", "0000000000000003"),
        case("no beginning", |objects| drop(objects.remove(&l0(1))))
            .damage("no-beginning", l0(2))
            .says("0000000000000001"),
        case("the magic number", flip(4, |_| 0)).damage("damaged", l0(4)).says("0000000000000004"),
        case("a TXID in the header", flip(4, |_| 30)).damage("damaged", l0(4)).says("0000000000000004"),
        case("the page size in the header", flip(4, |_| 9)).damage("damaged", l0(4)).says("0000000000000004"),
        case("the time in the header", flip(4, |_| 38)).deep_damage("damaged", l0(4)),
        case("a page", flip(4, |len| len / 2)).deep_damage("damaged", l0(4)),
        case("the last page", flip(TXIDS, |len| len / 2)).deep_damage("damaged", l0(TXIDS)),
        case("the index", flip(4, |len| len - 30)).deep_damage("damaged", l0(4)),
        case("the size of the index", flip(4, |len| len - 20)).damage("damaged", l0(4)),
        case("the checksum", flip(4, |len| len - 1)).deep_damage("damaged", l0(4)),
        case("cut short", |objects| {
            let bytes = object(objects, 4);
            bytes.truncate(bytes.len() / 2);
        })
        .damage("damaged", l0(4)),
        case("cut to nothing", |objects| object(objects, 4).clear()).damage("damaged", l0(4)).says("0000000000000004"),
        case("the last one cut to nothing", |objects| object(objects, TXIDS).clear())
            .damage("damaged", l0(TXIDS))
            .restores(TXIDS - 2),
        case("two swapped", |objects| {
            let (third, fourth) = (object(objects, 3).clone(), object(objects, 4).clone());
            objects.extend([(l0(3), fourth), (l0(4), third)]);
        })
        .damage("damaged", l0(3))
        .says("0000000000000003"),
        case("another page size", move |objects| drop(objects.insert(l0(3), small_pages.clone())))
            .damage("damaged", l0(3)),
        case("a strange database goes on", move |objects| drop(objects.insert(l0(TXIDS + 1), strange.clone())))
            .deep_damage("not-restored", l0(TXIDS + 1)),
        case("a foreign file", |objects| drop(objects.insert("ltx/0/notes.txt".into(), b"hello".to_vec())))
            .remark("foreign", "ltx/0/notes.txt"),
        case("a foreign file beside the replica", |objects| {
            drop(objects.insert("notes.txt".into(), b"hello".to_vec()))
        })
        .remark("foreign", "notes.txt"),
        case("an unfinished name", |objects| drop(objects.insert("ltx/1/x.ltx".into(), vec![7; 500])))
            .remark("foreign", "ltx/1/x.ltx"),
        case("half a compaction", |objects| {
            let half = object(objects, 2)[..150].to_vec();
            objects.insert(format!("ltx/1/{:016x}-{:016x}.ltx", 2, 5), half);
        })
        .remark("damaged-redundant", "ltx/1/"),
        case("a copy on a level", |objects| {
            let copy = object(objects, 3).clone();
            objects.insert(format!("ltx/1/{:016x}-{:016x}.ltx", 3, 3), copy);
        }),
        case("a huge TXID", move |objects| drop(objects.insert(format!("ltx/0/{max}-{max}.ltx"), vec![7; 900])))
            .remark("stray", max),
        case("a huge snapshot", move |objects| {
            drop(objects.insert(format!("ltx/9/{:016x}-{max}.ltx", 1), vec![7; 900]));
        })
        .remark("stray", max),
        case("a file far behind", |objects| {
            let last = object(objects, TXIDS).clone();
            objects.insert(l0(99), last);
        })
        .remark("stray", l0(99)),
    ];
    cases.iter().for_each(|case| case.check(&rig));
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).expect("list").filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn config(rig: &Rig) -> String {
    rig.config().display().to_string()
}

#[test]
fn the_live_database_is_compared_and_left_alone() {
    let (rig, app) = a_replica(4096, 3, 300);
    let (config, db) = (config(&rig), rig.db().display().to_string());
    let live = |args: &[&str]| verify(&rig, &[&["-deep", "-config", config.as_str()], args].concat()).1["live"].clone();
    assert_eq!(live(&[&db])["result"], "equal");
    // Without a database all of the file are meant.
    assert_eq!(live(&[])["txid"], "0000000000000003");

    add_row(&app, 4, 300);
    let behind = live(&["-wait", "1s", &db]);
    assert_eq!(behind["result"], "not compared");
    assert!(behind["why"].as_str().is_some_and(|why| why.contains("0000000000000003")), "{behind}");
    ship(&rig);
    assert_eq!(live(&[&db])["txid"], "0000000000000004");

    // The WAL goes with the last connection, and everything is in the file. A look makes no files beside it.
    drop(app);
    let (before, bytes) = (entries(&rig.path("data")), std::fs::read(rig.db()).expect("read"));
    assert!(!before.contains(&"app.db-wal".into()), "{before:?}");
    assert_eq!(live(&[&db])["result"], "equal");
    assert_eq!(entries(&rig.path("data")), before);
    assert!(std::fs::read(rig.db()).expect("read") == bytes, "the database was written to");

    let app = Connection::open(rig.db()).expect("open");
    app.execute("UPDATE t SET body = 'other' WHERE n = 3", []).expect("update");
    drop(app);
    let (finished, shown) = verify(&rig, &["-deep", "-db", &db, &rig.remote.url()]);
    finished.assert_code(76);
    assert_eq!(shown["live"]["result"], "differs");
    assert!(finished.stdout.contains("it differs in"), "{finished}");
}

fn a_database_that_is_written_to_is_compared(rig: &Rig) {
    let mut running = rig.supervise(rig.app(&["create", "rows:20", "forever:3"])).spawn();
    running.wait_until("some transactions are in the replica", || rig.remote.level0().len() >= 2);
    let config = config(rig);
    for _ in 0..3 {
        let (finished, shown) = verify(rig, &["-deep", "-config", &config]);
        finished.assert_code(0);
        assert_eq!(shown["live"]["result"], "equal", "{finished}");
        assert_eq!(shown["live"]["txid"], shown["restored"]["txid"]);
    }
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
}

#[test]
fn a_database_that_is_written_to_is_compared_with_a_directory() {
    a_database_that_is_written_to_is_compared(&Rig::on_file());
}

#[test]
fn a_database_that_is_written_to_is_compared_with_s3() {
    a_database_that_is_written_to_is_compared(&Rig::on_s3());
}

#[test]
fn a_person_reads_the_verdict() {
    let (rig, _app) = a_replica(4096, 3, 300);
    let url = rig.remote.url();
    let shown = rig.millstream(["verify", &url]).finish();
    shown.assert_code(0);
    assert!(shown.stdout.starts_with(&format!("PROVEN  {url}\n")), "{shown}");
    assert!(shown.stdout.contains("TXID 0000000000000003") && shown.stdout.contains("3 sound files"), "{shown}");
    let damaged = planted(&rig, "damaged", |objects| drop(objects.remove(&l0(2))));
    let shown = rig.millstream(["verify", &damaged.url()]).finish();
    shown.assert_code(76);
    assert!(
        shown.stdout.contains("DAMAGED") && shown.stdout.contains("damage: no file holds 0000000000000002"),
        "{shown}"
    );
    rig.millstream(["verify", "-db", "x", &url]).finish().assert_code(64);
}

#[test]
fn doubt_has_codes_of_its_own() {
    let rig = Rig::on_file();
    let (finished, shown) = verify(&rig, &[&rig.remote.url()]);
    finished.assert_code(76);
    assert_eq!(shown["verdict"], "no-backup");
    // Nobody listens there.
    let url = "s3://bucket/app?endpoint=http://127.0.0.1:1&region=us-east-1&forcePathStyle=true";
    let (finished, shown) = verify(&rig, &[url]);
    finished.assert_code(69);
    assert_eq!(shown["verdict"], "unknown");
    let dir = rig.path("missing").display().to_string();
    let (rig, _app) = a_replica(4096, 2, 300);
    let (finished, _) = verify(&rig, &["-deep", "-dir", &dir, &rig.remote.url()]);
    finished.assert_code(73);
}

#[test]
fn a_signal_leaves_no_temporary_database() {
    let mut rig = Rig::on_file();
    rig.settings += "snapshot:\n  interval: 1h\n";
    rig.supervise(rig.app(&["create", "big:20:4000000"])).finish().assert_code(0);
    let temporary = rig.path("tmp");
    std::fs::create_dir(&temporary).expect("mkdir");
    let url = rig.remote.url();
    let mut running = rig.millstream(["verify", "-deep", &url]).env("TMPDIR", &temporary).spawn();
    eventually("it restores, or is done already", || !entries(&temporary).is_empty() || !running.is_running());
    running.signal_if_running(Signal::SIGTERM);
    let finished = running.wait();
    assert!([Some(0), Some(143)].contains(&finished.code()), "{finished}");
    assert_eq!(entries(&temporary), Vec::<String>::new(), "{finished}");
}

#[test]
fn replicas_are_proven_in_the_background() {
    let mut rig = Rig::on_file();
    rig.settings += "verify:\n  interval: 700ms\n";
    let temporary = rig.path("tmp");
    std::fs::create_dir(&temporary).expect("mkdir");
    let mut running = rig.supervise(rig.app(&["create", "rows:3", "forever:20"])).env("TMPDIR", &temporary).spawn();
    running.wait_until_says(0, &["the replica is proven up to TXID", "restored, and sound"]);

    let remote = rig.remote.clone();
    let Remote::File(dir) = &remote else { panic!("a directory") };
    let lost: PathBuf = dir.join(rig.remote.level0_name(2));
    running.wait_until("there are transactions on both sides", || rig.remote.level0().len() >= 4);
    std::fs::remove_file(&lost).expect("remove");
    let said = running.said();
    running.wait_until_says(said, &["THE REPLICA IS DAMAGED", "0000000000000002", "`millstream reset "]);
    // It goes on all the same.
    let newest = rig.remote.level0().last().copied();
    running.wait_until("later commits are uploaded", || rig.remote.level0().last().copied() > newest);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
    assert_eq!(entries(&temporary), Vec::<String>::new());
}
