//! Two nodes, one after the other: a disk that the history has left behind is brought forward, if it has no commit of its own; one
//! that has stops with exit code 75 and changes nothing, until a human decides; whoever really continues the history is let through.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::doubt::{remove_wal_and_shm, replicated, ship, sql, sql_killed, stranger};
use crate::harness::{Finished, Remote, Rig, oracle};

mod orders;
mod waited;

const GONE_ON: [&str; 2] = ["goes on to TXID", "millstream reset"];

/// Another machine with an empty disk and the same replica.
fn another_node(first: &Rig) -> Rig {
    let mut node = Rig::on_file();
    node.remote = first.remote.clone();
    node
}

/// One life of the other node: it restores if its disk is empty, and commits so many rows.
fn a_life_elsewhere(node: &Rig, rows: u32) {
    node.supervise(node.app_of("b", &["open", &format!("rows:{rows}")])).finish().assert_code(0);
}

/// Commits and is killed: the disk stays as it is, and its note says nothing of a good end.
fn killed(rig: &Rig) {
    let ready = rig.path("ready");
    let _ = fs::remove_file(&ready);
    let steps = ["open", "rows:1", &format!("touch:{}", ready.display()), "idle"];
    let before = rig.remote.level0().len();
    let mut running = rig.supervise(rig.app(&steps)).spawn();
    running.wait_until("its row is in the replica", || ready.exists() && rig.remote.level0().len() > before);
    let newest = rig.remote.level0().last().map(|txid| format!("{txid:016x}")).expect("an object");
    let note = note(rig);
    // The note names it twice: before the PUT as what is being sent, and after it as what the disk is in step with.
    let in_step = format!("\"txid\":\"{newest}\"");
    running.wait_until("that is noted", || fs::read_to_string(&note).is_ok_and(|note| note.contains(&in_step)));
    running.kill_everything();
}

/// Starts the application again, which must not go well; says whether it ran.
fn comes_back(rig: &Rig) -> bool {
    let started = rig.path("started");
    let _ = fs::remove_file(&started);
    let before = rig.remote.objects();
    let steps = [&format!("touch:{}", started.display()), "open", "idle"];
    rig.supervise(rig.app_of("late", &steps)).finish().assert_code(75).assert_says(&GONE_ON);
    let kept_aside = |name: &String| name.starts_with("orphaned/");
    let after: Vec<_> = rig.remote.objects().into_iter().filter(|(name, _)| !kept_aside(name)).collect();
    let before: Vec<_> = before.into_iter().filter(|(name, _)| !kept_aside(name)).collect();
    assert!(after == before, "the replica is not what it was");
    started.exists()
}

/// Starts the application again, which finds the newest state; says what was said.
fn comes_forward(rig: &mut Rig) -> Finished {
    let newest = rig.restored();
    let before = rig.remote.level0();
    let look = rig.app_of("late", &["look"]);
    let ended = rig.supervise(look).finish();
    ended.assert_code(0).assert_says(&["has no commit of its own", "bringing it forward"]);
    assert_eq!(rig.remote.level0(), before, "something was uploaded\n{ended}");
    assert!(rig.leftovers().is_empty(), "{:?}", rig.leftovers());
    oracle::assert_same_pages(&rig.db(), &newest);
    ended
}

fn reset(rig: &Rig, flags: &[&str]) -> Finished {
    let words = ["reset"].iter().chain(flags).map(OsString::from);
    rig.millstream(words.chain([rig.db().into_os_string()])).finish()
}

fn restored_at(rig: &mut Rig, txid: u64) -> PathBuf {
    let output = rig.next_output();
    let words = ["restore", "-txid", &format!("{txid:016x}"), "-o"].map(OsString::from);
    rig.millstream(words.into_iter().chain([output.clone().into(), rig.remote.url().into()])).finish().assert_code(0);
    output
}

fn meta(rig: &Rig) -> PathBuf {
    rig.path("data/.app.db-millstream")
}

/// What is noted of the newest TXID of its one replica.
fn note(rig: &Rig) -> PathBuf {
    let mut replicas = fs::read_dir(meta(rig).join("replicas")).expect("notes about a replica");
    let replica = replicas.next().expect("a replica").expect("list");
    replica.path().join("last-synced.json")
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create a directory");
    for entry in fs::read_dir(from).expect("list").map(|entry| entry.expect("list").path()) {
        let to = to.join(entry.file_name().expect("a name"));
        match entry.is_dir() {
            true => copy_dir(&entry, &to),
            false => drop(fs::copy(&entry, &to).expect("copy")),
        }
    }
}

#[test]
fn commits_that_were_left_behind_stop_the_start_until_a_human_decides() {
    let mut a = replicated();
    killed(&a);
    sql_killed(&a.db(), "UPDATE t SET life = 'x' WHERE seq = 4");
    let mut b = another_node(&a);
    a_life_elsewhere(&b, 5);
    let end = *a.remote.level0().last().expect("objects");
    for _ in 0..2 {
        assert!(!comes_back(&a), "the application was started on a dead branch");
    }
    ship(&a).assert_code(75).assert_says(&GONE_ON);
    let theirs = a.restored();
    oracle::assert_same_pages(&b.db(), &theirs);

    let planned = reset(&a, &["-dry-run"]);
    planned.assert_code(0);
    assert!(planned.stdout.contains("would remove") && planned.stdout.contains("last-synced.json"), "{planned}");
    assert!(!comes_back(&a), "a dry run accepts nothing");
    reset(&a, &[]).assert_code(0);
    let ended = a.supervise(a.app(&["open"])).finish();
    ended.assert_code(0).assert_says(&["whole database"]).assert_says(&["millstream reset", "has ordered"]);
    for restored in [a.restored(), a.restored_by_litestream()] {
        oracle::assert_same_pages(&a.db(), &restored);
    }
    let still_theirs = restored_at(&mut a, end);
    oracle::assert_same_pages(&theirs, &still_theirs);
    // The order was for once, and now the other one is behind.
    a.supervise(a.app(&["open"])).finish().assert_code(0);
    comes_forward(&mut b);
    b.supervise(b.app_of("b", &["open", "rows:1"])).finish().assert_code(0);
    let newest = b.restored();
    oracle::assert_same_pages(&b.db(), &newest);
}

#[test]
fn a_node_that_was_fenced_does_no_harm_however_often_it_is_restarted() {
    let a = replicated();
    let (ready, go) = (a.path("ready"), a.path("go"));
    let steps = [
        "open",
        "rows:1",
        &format!("touch:{}", ready.display()),
        &format!("until-file:{}", go.display()),
        "rows:1",
        "idle",
    ];
    let before = a.remote.level0().len();
    let mut running = a.supervise(a.app(&steps)).spawn();
    running.wait_until("its row is in the replica", || ready.exists() && a.remote.level0().len() > before);
    let mut b = another_node(&a);
    a_life_elsewhere(&b, 3);
    fs::write(go, "").expect("write");
    running.wait().assert_code(75);
    for _ in 0..3 {
        assert!(!comes_back(&a), "the application was started on a dead branch");
        a_life_elsewhere(&b, 1);
    }
    let restored = b.restored();
    oracle::assert_same_pages(&b.db(), &restored);
    let kept = fs::read_dir(meta(&a).join("orphaned")).expect("kept").count();
    assert_eq!(kept, 1, "its last row is kept aside");
}

/// Everything that was not synced is gone: the last frames of the WAL, and what our note said of them, unless that survived.
fn lose_power(rig: &Rig, is_note_lost: bool) {
    killed(rig);
    let (wal, note) = (rig.path("data/app.db-wal"), note(rig));
    let kept = (fs::metadata(&wal).expect("stat").len(), fs::read(&note).expect("read"));
    killed(rig);
    let cut = fs::File::options().write(true).open(&wal).and_then(|wal| wal.set_len(kept.0));
    cut.expect("take it back");
    if is_note_lost {
        fs::write(&note, kept.1).expect("take it back");
    }
    fs::remove_file(rig.path("data/app.db-shm")).expect("remove");
}

#[test]
fn what_a_power_loss_took_from_the_disk_comes_back_before_anything_is_written() {
    for is_note_lost in [true, false] {
        let mut rig = replicated();
        lose_power(&rig, is_note_lost);
        comes_forward(&mut rig);
        rig.supervise(rig.app(&["open", "rows:1"])).finish().assert_code(0);
        rig.assert_all_rows_are_safe();
    }
}

/// Nobody else has gone on, so the application starts; that commits are missing here is said, and where they are.
#[test]
fn what_a_power_loss_took_before_more_was_written_is_said_and_stays_in_the_replica() {
    let mut rig = replicated();
    lose_power(&rig, true);
    let (end, lost) = (*rig.remote.level0().last().expect("objects"), rig.restored());
    sql_killed(&rig.db(), "UPDATE t SET life = 'x' WHERE seq = 4");
    let ended = rig.supervise(rig.app_of("late", &["open"])).finish();
    ended.assert_code(0).assert_says(&[&format!("{end:016x}"), "comparing"]);
    let newest = rig.restored();
    oracle::assert_same_pages(&rig.db(), &newest);
    let still_there = restored_at(&mut rig, end);
    oracle::assert_same_pages(&lost, &still_there);
}

/// A life of the other node that is so long that no level-0 object is left of what was there before.
fn a_long_life_elsewhere(node: &Rig) {
    let before = *node.remote.level0().last().expect("objects");
    let settings = "levels: [{interval: 1s}]\nl0-retention: 1s\nl0-retention-check-interval: 1s\n";
    let config = node.config();
    let text = settings.to_owned() + &fs::read_to_string(&config).expect("read");
    let config = config.with_file_name("keep-little.yml");
    fs::write(&config, text).expect("write");
    let words = ["run".into(), "-config".into(), config.into_os_string(), "--".into()];
    let args = words.into_iter().chain(node.app_of("b", &["open", "forever:100", "term-exit:0"]));
    let mut running = node.millstream(args).spawn();
    running.wait_until("level 0 is compacted and expired", || node.remote.level0()[0] > before);
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(0);
}

#[test]
fn a_node_that_comes_back_after_another_ones_turn_is_brought_forward() {
    type Case = (&'static str, fn(&Rig), fn(&Rig));
    let cases: [Case; 5] = [
        ("it ended in order", |_| {}, |_| {}),
        ("it was killed", killed, |_| {}),
        ("it ended in order, and level 0 is gone", |_| {}, a_long_life_elsewhere),
        ("it was killed, and level 0 is gone", killed, a_long_life_elsewhere),
        (
            "its WAL was checkpointed and deleted",
            |rig| {
                killed(rig);
                sql(&rig.db(), "SELECT count(*) FROM t");
                remove_wal_and_shm(rig);
            },
            |_| {},
        ),
    ];
    for (case, end, meanwhile) in cases {
        println!("{case}");
        let mut a = replicated();
        end(&a);
        let mut b = another_node(&a);
        for turn in 0..2 {
            a_life_elsewhere(&b, 5);
            meanwhile(&b);
            println!("{case}, turn {turn}\n{}", comes_forward(&mut a));
            // And it goes on from there.
            a.supervise(a.app(&["open", "rows:2"])).finish().assert_code(0);
            comes_forward(&mut b);
        }
        let newest = a.restored();
        oracle::assert_same_pages(&a.db(), &newest);
    }
}

#[test]
fn an_old_copy_of_a_disk_with_its_notes_is_brought_forward_or_stopped() {
    for how in ["in order", "killed"] {
        for commits in [false, true] {
            let mut rig = replicated();
            if how == "killed" {
                killed(&rig);
            }
            copy_dir(&rig.path("data"), &rig.path("snapshot"));
            rig.supervise(rig.app(&["open", "rows:5", "big:1:9000"])).finish().assert_code(0);
            let newest = rig.restored();
            fs::remove_dir_all(rig.path("data")).expect("remove");
            copy_dir(&rig.path("snapshot"), &rig.path("data"));
            match commits {
                true => {
                    sql_killed(&rig.db(), "UPDATE t SET life = 'x' WHERE seq = 4");
                    let ran = comes_back(&rig);
                    assert!(how == "in order" || !ran, "{how}: the application was started on a dead branch");
                    assert!(!comes_back(&rig), "{how}: now it is known");
                }
                false => drop(comes_forward(&mut rig)),
            }
            let restored = rig.restored();
            oracle::assert_same_pages(&newest, &restored);
        }
    }
}

#[test]
fn a_database_that_another_program_has_open_is_not_replaced() {
    let a = replicated();
    let mut b = another_node(&a);
    a_life_elsewhere(&b, 2);
    let other = rusqlite::Connection::open(a.db()).expect("open");
    other.query_row("SELECT count(*) FROM t", [], |_| Ok(())).expect("read");
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(a.db()).expect("stat"));
    a.supervise(a.app(&["look"])).finish().assert_code(75).assert_says(&["another program has it open"]);
    assert_eq!(inode, std::os::unix::fs::MetadataExt::ino(&fs::metadata(a.db()).expect("stat")));
    drop(other);
    let newest = b.restored();
    oracle::assert_same_pages(&b.db(), &newest);
}

/// Litestream replicates while the application commits, and is killed when everything is shipped.
fn litestreams_turn(rig: &Rig) {
    let config: OsString = rig.config().into();
    let before = rig.remote.level0().last().copied();
    let mut litestream = rig.litestream(["replicate".into(), "-config".into(), config]).spawn();
    rig.run_bare(&["open", "rows:3"]);
    litestream.wait_until("Litestream has shipped", || rig.remote.level0().last().copied() > before);
    std::thread::sleep(Duration::from_millis(1500));
    litestream.kill_everything();
}

#[test]
fn litestreams_turn_with_this_disk_goes_on_whatever_became_of_the_wal() {
    type Case = (&'static str, fn(&Rig));
    let cases: [Case; 6] = [
        ("the WAL stands", |_| {}),
        ("commits", |rig| sql_killed(&rig.db(), "UPDATE t SET life = 'b' WHERE seq = 3")),
        ("a reset and commits", |rig| {
            let text = "UPDATE t SET life = 'b' WHERE seq = 3; PRAGMA wal_checkpoint(RESTART); UPDATE t SET life = 'b' WHERE seq = 4";
            sql_killed(&rig.db(), text);
        }),
        ("commits, and the WAL was deleted", |rig| rig.run_bare(&["open", "rows:3"])),
        ("the WAL was deleted", |rig| sql(&rig.db(), "SELECT count(*) FROM t")),
        ("VACUUM moved every page, and the WAL was deleted", |rig| {
            let mode = if rig.remote.level0().len() % 2 == 0 { "FULL" } else { "NONE" };
            sql(&rig.db(), &format!("PRAGMA auto_vacuum={mode}; UPDATE t SET life = upper(life) || 'x'; VACUUM"));
        }),
    ];
    for (case, happen) in cases {
        let mut rig = replicated();
        for turn in 0..2 {
            litestreams_turn(&rig);
            happen(&rig);
            let images = rig.remote.objects().values().filter(|bytes| bytes.len() > 300_000).count();
            let ended = ship(&rig);
            println!("{case}, turn {turn}\n{ended}");
            ended.assert_code(0);
            // Litestream may begin each of its turns with an image; more than two are not read to compare with.
            let is_image = ended.stderr.contains("whole database");
            assert!(case.starts_with("VACUUM") || images > 2 || !is_image, "{case}, turn {turn}");
            let restored = rig.restored();
            oracle::assert_same_pages(&rig.db(), &restored);
            // Litestream goes on only from an object that says where in the WAL it ends.
            rig.supervise(rig.app(&["open", "rows:1"])).finish().assert_code(0);
        }
    }
}

#[test]
fn a_note_that_is_old_or_lost_stops_nobody_whose_wal_proves_it() {
    for lost in [false, true] {
        let mut rig = replicated();
        let note = note(&rig);
        let old = fs::read(&note).expect("a note");
        killed(&rig);
        match lost {
            true => fs::remove_file(&note).expect("remove"),
            false => fs::write(&note, &old).expect("write"),
        }
        let ended = rig.supervise(rig.app(&["open", "rows:1"])).finish();
        ended.assert_code(0).assert_says(&["continuing the history after TXID"]);
        assert!(!ended.stderr.contains("comparing"), "{ended}");
        rig.assert_all_rows_are_safe();
    }
}
