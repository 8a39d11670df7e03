//! Everything is killed at a random moment, again and again: what is restored is always the beginning of what was committed.
//!
//! The seed is printed; `MILLSTREAM_TEST_SEED` replays the schedule (the moments, not the machine's own timing).

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Rig, Running, oracle};

/// SplitMix64: the schedule needs a reproducible sequence, not a good one.
pub struct Schedule(u64);

impl Schedule {
    pub fn from_env() -> Schedule {
        let seed = std::env::var("MILLSTREAM_TEST_SEED")
            .ok()
            .map(|text| text.parse().expect("MILLSTREAM_TEST_SEED is a number"));
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 ^ u64::from(rig_time()));
        println!("MILLSTREAM_TEST_SEED={seed}");
        Schedule(seed)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn rig_time() -> u32 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid and writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_nsec as u32
}

/// Kills the supervisor and the application together, `rounds` times, at moments from start-up to steady state. The disk is
/// kept or lost by chance, so both ways of going on are taken: the old WAL, and a restore.
fn always_a_prefix(mut rig: Rig, rounds: u32) {
    let mut schedule = Schedule::from_env();
    let mut lost = Vec::new();
    for round in 0..rounds {
        let life = format!("life{round}");
        let pause = ["forever:2", "forever:20"][schedule.below(2) as usize];
        // The application checkpoints by itself too: small WALs are reset often.
        let running = rig.supervise(rig.app_of(&life, &["create", "big:1:200000", pause])).spawn();
        std::thread::sleep(Duration::from_millis(50 + schedule.below(1500)));
        running.kill_everything();
        let acknowledged = rig.oracle.acknowledged();
        let output = rig.next_output();
        let mut ended = rig.restore(&output);
        if ended.code() != Some(0) && has_backup(&rig) {
            // A PUT that was under way has come to its end at the server since.
            ended = rig.restore(&output);
        }
        if ended.code() != Some(0) {
            // Killed before the very first object: then nothing may be there at all.
            assert!(!has_backup(&rig), "round {round}: {ended}");
            continue;
        }
        let restored = rig.oracle.check(&output);
        lost.push(acknowledged.saturating_sub(restored));
        std::fs::remove_file(&output).expect("remove");
        if schedule.below(2) == 0 {
            rig.lose_the_disk();
            rig.oracle.continue_from(restored);
        }
    }
    let steps = ["create", "rows:1"];
    rig.supervise(rig.app_of("last", &steps)).finish().assert_code(0);
    let rows = rig.assert_all_rows_are_safe();
    lost.sort_unstable();
    println!("{rows} rows in the end; commits lost per kill: median {}, all {lost:?}", lost[lost.len() / 2]);
}

/// Whether there is anything but what a killed start leaves of its look at what the store can.
fn has_backup(rig: &Rig) -> bool {
    rig.remote.objects().iter().any(|(name, _)| !name.starts_with("probes/"))
}

#[test]
fn rows_restored_after_a_kill_are_a_prefix_of_the_committed_ones_on_s3() {
    always_a_prefix(Rig::on_s3(), 12);
}

#[test]
fn rows_restored_after_a_kill_are_a_prefix_of_the_committed_ones_in_a_directory() {
    always_a_prefix(Rig::on_file(), 12);
}

#[test]
fn a_killed_supervisor_goes_on_where_it_was_while_the_application_never_stopped() {
    // Only the supervisor is killed; the application commits and checkpoints on, and meets its successor.
    let mut rig = Rig::on_file();
    let steps = ["create", "forever:3"];
    let mut app = rig.bare("a", &steps).spawn();
    app.wait_until("the application writes", || rig.path("acks").exists());
    let mut schedule = Schedule::from_env();
    for _ in 0..8 {
        let args = ["replicate".into(), rig.db().into_os_string(), rig.remote.url().into()];
        let running = rig.millstream(args).spawn();
        std::thread::sleep(Duration::from_millis(100 + schedule.below(500)));
        running.kill_everything();
        if !rig.remote.level0().is_empty() {
            let restored = rig.restored();
            rig.oracle.check(&restored);
        }
    }
    app.signal(Signal::SIGTERM);
    app.wait();
    let args = ["replicate".into(), "-once".into(), rig.db().into_os_string(), rig.remote.url().into()];
    rig.millstream(args).finish().assert_code(0);
    rig.assert_all_rows_are_safe();
}

/// The application alone dies, at full speed, and its successor starts at once on whatever that has left.
/// `MILLSTREAM_TEST_KILLS` says how often.
#[test]
fn a_writer_killed_at_full_speed_has_a_successor_that_commits() {
    let kills = std::env::var("MILLSTREAM_TEST_KILLS").map_or(8, |text| text.parse().expect("a number"));
    let mut schedule = Schedule::from_env();
    let mut rig = Rig::on_file();
    rig.run_bare(&["create", "rows:1"]);
    let mut replicating = Torn::replicate(&rig);
    replicating.wait_until("the first row is in the replica", || !rig.remote.level0().is_empty());
    for life in 0..=kills {
        let before = rig.oracle.acknowledged();
        let mut app = rig.bare(&format!("life{life}"), &["open", "forever:0"]).spawn();
        app.wait_until("the successor commits", || rig.oracle.acknowledged() > before);
        // Long enough to be followed, now and then.
        std::thread::sleep(Duration::from_millis(schedule.below(700)));
        app.signal(Signal::SIGKILL);
        assert_eq!(app.wait().status.signal(), Some(libc::SIGKILL));
        assert!(replicating.is_running(), "{replicating}");
    }
    replicating.signal(Signal::SIGTERM);
    replicating.wait().assert_code(0);
    rig.assert_all_rows_are_safe();
    // The last kill may have come after a commit was written to the WAL and before it was in the wal-index. It was never
    // acknowledged and no reader saw it, but the recovery of whoever opens the database next brings it in.
    rig.millstream([OsString::from("replicate"), "-once".into(), "-config".into(), rig.config().into()])
        .finish()
        .assert_code(0);
    let rows = rig.assert_all_rows_are_safe();
    let restored = rig.restored();
    oracle::assert_same_pages(&rig.db(), &restored);
    println!("{rows} rows after {kills} kills");
}

/// An application that is killed between the two copies of the wal-index header leaves an index that the next one has to build
/// anew, for which it needs the checkpoint lock.
struct Torn {
    rig: Rig,
    running: Running,
}

impl Torn {
    fn replicated() -> Torn {
        let rig = Rig::on_file();
        rig.run_bare(&["create", "rows:3"]);
        let running = Torn::replicate(&rig);
        let mut torn = Torn { rig, running };
        torn.wait_until_shipped();
        torn
    }

    fn replicate(rig: &Rig) -> Running {
        rig.millstream([OsString::from("replicate"), "-config".into(), rig.config().into()]).spawn()
    }

    fn wait_until_shipped(&mut self) {
        let Torn { rig, running } = self;
        let wanted = rig.oracle.acknowledged();
        running.wait_until("all rows are in the replica", || {
            let output = rig.next_output();
            rig.restore(&output).code() == Some(0) && rig.oracle.check(&output) >= wanted
        });
    }

    /// An application of its own, which dies by its own hand.
    fn dies(&self, life: &str, steps: &[&str]) {
        let ended = self.rig.bare(life, steps).finish();
        assert_eq!(ended.status.signal(), Some(libc::SIGKILL), "{ended}");
    }

    /// The next application commits, everything is shipped, and the replica is the database.
    fn assert_survived(mut self) {
        self.rig.bare("next", &["open", "rows:5"]).finish().assert_code(0);
        assert!(self.running.is_running(), "{}", self.running);
        self.wait_until_shipped();
        self.running.signal(Signal::SIGTERM);
        self.running.wait().assert_code(0);
        let rows = self.rig.assert_all_rows_are_safe();
        assert!(rows > 8);
        let restored = self.rig.restored();
        oracle::assert_same_pages(&self.rig.db(), &restored);
    }
}

#[test]
fn a_torn_wal_index_is_recovered_while_a_busy_writer_is_followed() {
    let torn = Torn::replicated();
    torn.dies("busy", &["open", "until-followed", "tear:KILL"]);
    torn.assert_survived();
}

#[test]
fn a_torn_wal_index_is_recovered_while_nothing_is_written() {
    let torn = Torn::replicated();
    for life in ["one", "two", "three"] {
        torn.dies(life, &["open", "rows:2", "tear:KILL"]);
    }
    torn.assert_survived();
}

#[test]
fn replication_starts_on_a_torn_wal_index() {
    let rig = Rig::on_file();
    rig.run_bare(&["create", "rows:3"]);
    // Who else has it open keeps the index from being built anew for that reason alone.
    let reader = rig.bare("reader", &["open", "look", "idle"]).spawn();
    let ended = rig.bare("one", &["open", "rows:2", "tear:KILL"]).finish();
    assert_eq!(ended.status.signal(), Some(libc::SIGKILL), "{ended}");
    let running = Torn::replicate(&rig);
    let mut torn = Torn { rig, running };
    torn.wait_until_shipped();
    reader.kill_everything();
    torn.assert_survived();
}

/// SQLite gives up after ten seconds, and calls it a protocol error.
#[test]
fn a_writer_that_stands_still_inside_the_wal_index_is_waited_for() {
    let mut torn = Torn::replicated();
    let said = torn.running.said();
    let app = torn.rig.bare("one", &["open", "rows:2", "tear:STOP", "rows:2"]).spawn();
    torn.running.wait_until_says(said, &["cannot replicate", "locked"]);
    app.signal(Signal::SIGCONT);
    app.wait().assert_code(0);
    torn.assert_survived();
}
