//! One format, two programs: what either writes the other restores, on every store they share, and in turns on one path.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use nix::sys::signal::Signal;
use rusqlite::Connection;

use crate::harness::litestream::{NEWEST, litestream_03};
use crate::harness::remote::BUCKET;
use crate::harness::rig::shell;
use crate::harness::{Remote, Rig, oracle};

mod turns;

/// Rows, growth, deletes, VACUUM, and rows again, in one run and across a restart: 48 rows in the end.
fn a_life(rig: &mut Rig, write: impl Fn(&mut Rig, &[&str])) {
    write(
        rig,
        &["create", "rows:20", "pause:300", "big:30:20000", "delete", "pause:300", "rows:20", "vacuum", "rows:3"],
    );
    write(rig, &["open", "rows:4", "big:5:100000", "pause:200", "rows:1"]);
}

pub fn by_us(rig: &mut Rig, steps: &[&str]) {
    rig.supervise(rig.app(steps)).finish().assert_code(0);
}

/// The application beside a running `litestream replicate`, until Litestream itself can restore every row. (Its `-exec` does
/// not wait for anything: what a loaded machine had not shipped when the application ended would be missing.)
pub fn by_litestream(rig: &mut Rig, steps: &[&str]) {
    let config: OsString = rig.config().into();
    let mut litestream = rig.litestream(["replicate".into(), "-config".into(), config]).spawn();
    rig.run_bare(steps);
    let mut complete = || {
        let output = rig.next_output();
        let ended = rig.restore_by_litestream(&output);
        let wanted = rig.oracle.acknowledged();
        ended.code() == Some(0) && rig.oracle.check(&output) >= wanted
    };
    litestream.wait_until("Litestream has shipped every row", &mut complete);
    litestream.signal(Signal::SIGTERM);
    litestream.wait().assert_code(0);
}

fn litestream_restores_what_we_wrote(mut rig: Rig) {
    a_life(&mut rig, by_us);
    let restored = rig.restored_by_litestream();
    assert_eq!(rig.oracle.check_complete(&restored), 48);
    oracle::assert_same_pages(&rig.db(), &restored);
}

#[test]
fn litestream_restores_what_we_wrote_to_a_directory() {
    litestream_restores_what_we_wrote(Rig::on_file());
}

#[test]
fn litestream_restores_what_we_wrote_to_s3() {
    litestream_restores_what_we_wrote(Rig::on_s3());
}

/// Short levels, so that a replica is made of compacted files and snapshots as after days.
pub const SHORT_LEVELS: &str = "levels:\n  - interval: 1s\n  - interval: 2s\nl0-retention: 1s\nl0-retention-check-interval: 1s\n\
                            snapshot:\n  interval: 3s\n  retention: 1h\n";

/// The number of objects on each level, by name.
pub fn levels(remote: &Remote) -> BTreeMap<u8, usize> {
    let mut levels = BTreeMap::new();
    for name in remote.moment().keys() {
        let level = name.strip_prefix("ltx/").and_then(|name| name.split_once('/')).expect("an LTX name").0;
        *levels.entry(level.parse().expect("a level")).or_default() += 1;
    }
    levels
}

/// Whether the first page of an LTX file is an LZ4 frame; else it is a block.
pub fn is_in_frames(file: &[u8]) -> bool {
    match file[104..106] {
        [0, 0] => true,
        [0, 1] => false,
        _ => panic!("flags {:x?}", &file[104..106]),
    }
}

pub fn we_restore_what_litestream_wrote(mut rig: Rig) {
    rig.settings = SHORT_LEVELS.into();
    a_life(&mut rig, by_litestream);
    let is_compacted = || levels(&rig.remote).keys().any(|level| *level > 0);
    if !is_compacted() {
        // On a slow machine the rows were there before Litestream was ready.
        let config: OsString = rig.config().into();
        let mut litestream = rig.litestream(["replicate".into(), "-config".into(), config]).spawn();
        litestream.wait_until("it has compacted", is_compacted);
        litestream.signal(Signal::SIGTERM);
        litestream.wait().assert_code(0);
    }
    let restored = rig.restored();
    // Litestream's own two tables are in there as well.
    assert_eq!(rig.oracle.check_complete(&restored), 48);
    oracle::assert_same_pages(&rig.db(), &restored);
}

#[test]
fn we_restore_what_litestream_wrote_to_a_directory() {
    we_restore_what_litestream_wrote(Rig::on_file());
}

#[test]
fn we_restore_what_litestream_wrote_to_s3() {
    we_restore_what_litestream_wrote(Rig::on_s3());
}

/// The files are copied as they are, so they lie in the layout of the store they came from. Litestream sees nothing there, until
/// we have gone on: then it sees everything.
fn a_copied_replica_is_restored_and_continued(mut rig: Rig, to: Remote) {
    by_us(&mut rig, &["create", "rows:10", "big:5:20000"]);
    by_us(&mut rig, &["open", "rows:3"]);
    let from = std::mem::replace(&mut rig.remote, to);
    for (name, bytes) in from.objects() {
        rig.remote.put(&name, &bytes);
    }
    let restored = rig.restored();
    assert_eq!(rig.oracle.check_complete(&restored), 13);
    rig.lose_the_disk();
    by_us(&mut rig, &["open", "rows:4"]);
    let restored = rig.restored_by_litestream();
    assert_eq!(rig.oracle.check_complete(&restored), 17);
    by_litestream(&mut rig, &["open", "rows:2"]);
    by_us(&mut rig, &["open", "rows:1"]);
    let (ours, theirs) = (rig.restored(), rig.restored_by_litestream());
    assert_eq!(rig.oracle.check_complete(&ours), 20);
    oracle::assert_same_pages(&ours, &theirs);
}

#[test]
fn a_replica_copied_from_a_directory_to_s3_is_restored_and_continued() {
    a_copied_replica_is_restored_and_continued(Rig::on_file(), Remote::s3());
}

#[test]
fn a_replica_copied_from_s3_to_a_directory_is_restored_and_continued() {
    let rig = Rig::on_s3();
    let directory = Remote::file(rig.path("copied"));
    a_copied_replica_is_restored_and_continued(rig, directory);
}

/// One level too high or too low, on either store: the application is not started, and the reason is said.
#[test]
fn a_path_beside_the_replica_is_never_no_backup() {
    for mut rig in [Rig::on_file(), Rig::on_s3()] {
        by_us(&mut rig, &["create", "rows:2"]);
        rig.lose_the_disk();
        let objects = rig.remote.objects();
        for below in ["app/", "a/b/ltx/0/", ".."] {
            rig.remote = match &rig.remote {
                Remote::File(_) => Remote::file(rig.path(&format!("replica-{}", below.len()))),
                Remote::S3 { .. } => Remote::s3(),
            };
            for (name, bytes) in &objects {
                let moved = match below {
                    ".." => name.rsplit('/').next().expect("a file name").to_owned(),
                    below => format!("{below}{name}"),
                };
                rig.remote.put(&moved, bytes);
            }
            let ended = rig.supervise(rig.app(&["create", "rows:1"])).finish();
            ended.assert_code(76);
            ended.assert_says(&["looks like a file of one"]);
            assert!(!rig.db().exists(), "nothing was started");
        }
    }
}

/// `replicate -exec` by Litestream 0.3, which checkpoints all the time, so that there are many WALs.
fn by_litestream_03(rig: &Rig, steps: &[&str]) {
    let config = rig.path("litestream-03.yml");
    // 0.3 knows no query string: endpoint and path are keys of their own.
    let replica = match &rig.remote {
        Remote::File(dir) => format!("path: {}", dir.display()),
        Remote::S3 { endpoint, prefix } => format!(
            "type: s3\n        bucket: {BUCKET}\n        path: {prefix}\n        endpoint: {endpoint}\n        \
             region: us-east-1\n        force-path-style: true"
        ),
    };
    let text = format!(
        "dbs:\n  - path: {}\n    monitor-interval: 50ms\n    min-checkpoint-page-count: 10\n    replicas:\n      \
         - {replica}\n        sync-interval: 50ms\n",
        rig.db().display()
    );
    std::fs::write(&config, text).expect("write the configuration");
    let command = shell(rig.app(steps));
    let exec = shell(["sh", "-c", &format!("sleep 0.7; {command}; sleep 1.5")]);
    let args: [OsString; 5] = ["replicate".into(), "-config".into(), config.into(), "-exec".into(), exec.into()];
    litestream_03(&rig.path("")).args(args).finish().assert_code(0);
}

/// What 0.3 wrote is restored; the next life begins an LTX history beside it, which both programs then restore.
fn a_replica_of_litestream_03_is_restored_and_continued(mut rig: Rig) {
    // The pauses are for Litestream's checkpoints, each of which begins another WAL.
    let steps = [
        "create",
        "rows:10",
        "pause:1000",
        "big:30:20000",
        "pause:1000",
        "rows:10",
        "delete",
        "pause:1000",
        "rows:20",
        "vacuum",
        "pause:1000",
        "rows:3",
    ];
    by_litestream_03(&rig, &steps);
    let indexes = rig.remote.objects().into_keys().filter(|name| name.ends_with("_00000000.wal.lz4")).count();
    assert!(indexes >= 2, "one WAL is no test: {indexes}");
    let restored = rig.restored();
    assert_eq!(rig.oracle.check_complete(&restored), 43);
    oracle::assert_same_pages(&rig.db(), &restored);

    // A second life is a second generation only without the first one's files.
    rig.lose_the_disk();
    std::fs::copy(&restored, rig.db()).expect("copy");
    by_litestream_03(&rig, &["open", "rows:2"]);
    let restored = rig.restored();
    assert_eq!(rig.oracle.check_complete(&restored), 45);
    oracle::assert_same_pages(&rig.db(), &restored);

    rig.lose_the_disk();
    rig.supervise(rig.app(&["open", "rows:4"])).finish().assert_code(0).assert_says(&["Litestream 0.3"]);
    assert_eq!(rig.remote.level0().first(), Some(&1), "a history of its own");
    for restored in [rig.restored(), rig.restored_by_litestream()] {
        assert_eq!(rig.oracle.check_complete(&restored), 49);
        oracle::assert_same_pages(&rig.db(), &restored);
    }
}

#[test]
fn a_replica_of_litestream_03_in_a_directory_is_restored_and_continued() {
    a_replica_of_litestream_03_is_restored_and_continued(Rig::on_file());
}

#[test]
fn a_replica_of_litestream_03_on_s3_is_restored_and_continued() {
    a_replica_of_litestream_03_is_restored_and_continued(Rig::on_s3());
}

#[test]
fn a_replica_of_litestream_03_is_found_where_its_prefix_was_joined_as_a_path() {
    let mut rig = Rig::on_s3();
    let Remote::S3 { endpoint, prefix } = rig.remote.clone() else { panic!("not S3") };
    rig.remote = Remote::S3 { endpoint: endpoint.clone(), prefix: format!("{prefix}/joined") };
    by_litestream_03(&rig, &["create", "rows:7"]);
    // 0.5 and millstream write the prefix as it is: `x/` makes `x//0000/…`, `x/.` makes `x/./0000/…`.
    let config = rig.path("slash.yml");
    for written in [format!("{prefix}/joined/"), format!("{prefix}//joined/.")] {
        let text = format!(
            "dbs:\n  - path: {}\n    replica:\n      type: s3\n      bucket: {BUCKET}\n      path: {written}\n      \
             endpoint: {endpoint}\n      region: us-east-1\n      force-path-style: true\n",
            rig.db().display()
        );
        std::fs::write(&config, text).expect("write the configuration");
        let output = rig.next_output();
        let args: [OsString; 6] = [
            "restore".into(),
            "-config".into(),
            config.clone().into(),
            "-o".into(),
            output.clone().into(),
            rig.db().into(),
        ];
        rig.millstream(args).finish().assert_code(0);
        assert_eq!(rig.oracle.check_complete(&output), 7);
    }
}

/// One database and one replica path, handed from one program to the other and back.
pub fn they_take_turns(mut rig: Rig, lose_the_disk: bool) {
    for turn in 0..4 {
        let steps = if turn == 0 { vec!["create", "rows:10"] } else { vec!["open", "rows:10", "big:2:50000"] };
        let write = if turn % 2 == 0 { by_us } else { by_litestream };
        write(&mut rig, &steps);
        let ours = rig.restored();
        let theirs = rig.restored_by_litestream();
        for restored in [&ours, &theirs] {
            assert_eq!(rig.oracle.check_complete(restored), 10 * (turn + 1), "turn {turn}");
        }
        oracle::assert_same_pages(&theirs, &ours);
        let newest = rig.remote.level0().last().map(|txid| rig.remote.level0_name(*txid)).expect("shipped");
        // We begin in frames, and go on as whoever had the turn before us.
        let frames = turn == 0 || rig.version != NEWEST;
        assert_eq!(is_in_frames(&rig.remote.objects()[&newest]), frames, "turn {turn}");
        if lose_the_disk {
            rig.lose_the_disk();
            let args = ["restore".into(), "-o".into(), rig.db().into_os_string(), rig.remote.url().into()];
            rig.millstream(args).finish().assert_code(0);
        }
    }
}

#[test]
fn they_take_turns_on_one_path_in_a_directory() {
    they_take_turns(Rig::on_file(), false);
}

#[test]
fn they_take_turns_on_one_path_on_s3_across_lost_disks() {
    they_take_turns(Rig::on_s3(), true);
}

/// Byte 0x40000000 of a database holds SQLite's locks; its page is in no LTX file and must not disturb anything.
#[test]
fn a_database_that_grows_across_the_lock_page_is_restored_by_both() {
    let mut rig = Rig::on_file();
    {
        let db = Connection::open(rig.db()).expect("create the database");
        db.execute_batch(
            "PRAGMA page_size = 65536; PRAGMA synchronous = OFF; CREATE TABLE big (id INTEGER PRIMARY KEY, data BLOB)",
        )
        .expect("set up");
        // 16,320 pages of 65,536 bytes: 64 before the lock page. Zeros, because only the page numbers matter here.
        for _ in 0..16 {
            db.execute("INSERT INTO big (data) VALUES (zeroblob(66846720))", []).expect("insert");
        }
        db.execute_batch("PRAGMA journal_mode = WAL").expect("WAL mode");
    }
    let boundary = 0x4000_0000;
    assert!(std::fs::metadata(rig.db()).expect("stat").len() < boundary);
    // The image ships the first part, the WAL the part that crosses.
    rig.supervise(rig.app(&["create", "rows:1", "grow:8000000", "rows:1"])).finish().assert_code(0);
    let ours = rig.restored();
    assert!(std::fs::metadata(&ours).expect("stat").len() > boundary);
    assert_eq!(rig.oracle.check_complete(&ours), 2);
    oracle::assert_same_pages(&rig.db(), &ours);
    std::fs::remove_file(&ours).expect("remove");
    // And once more from an image that contains the lock page.
    rig.remote = Remote::file(rig.path("second-replica"));
    rig.supervise(rig.app(&["open", "rows:1"])).finish().assert_code(0);
    let theirs = rig.restored_by_litestream();
    assert_eq!(rig.oracle.check_complete(&theirs), 3);
    oracle::assert_same_pages(&rig.db(), &theirs);
}

/// Nobody has the database open, so there is no WAL in which the end of what we upload could be found. Litestream has to go on
/// from an image, and then from a difference, of that kind.
#[test]
fn litestream_goes_on_from_a_database_without_a_wal() {
    let mut rig = Rig::on_file();
    let once = |rig: &Rig| {
        let args: [OsString; 4] = ["replicate".into(), "-once".into(), "-config".into(), rig.config().into()];
        rig.millstream(args).finish()
    };
    rig.run_bare(&["create", "big:40:4000", "rows:4"]);
    once(&rig).assert_code(0);
    by_litestream(&mut rig, &["open", "rows:3"]);
    rig.run_bare(&["open", "rows:2"]);
    once(&rig).assert_code(0);
    by_litestream(&mut rig, &["open", "rows:3"]);
    let restored = rig.restored();
    assert_eq!(rig.oracle.check_complete(&restored), 12);
}

#[test]
fn litestream_follows_us_while_we_run() {
    // Restores by the real Litestream from a replica that is being written: always a prefix, never an error.
    let mut rig = Rig::on_s3();
    let mut running = rig.supervise(rig.app(&["create", "forever:5"])).spawn();
    running.wait_until("something was shipped", || !rig.remote.level0().is_empty());
    let mut last = 0;
    for _ in 0..8 {
        let restored = rig.restored_by_litestream();
        let rows = rig.oracle.check(&restored);
        assert!(rows >= last, "a restore point went backwards");
        last = rows;
        std::thread::sleep(Duration::from_millis(200));
    }
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
    assert!(rig.assert_all_rows_are_safe() > last);
}
