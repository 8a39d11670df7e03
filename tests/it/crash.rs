//! Everything is killed at a random moment, again and again: what is restored is always the beginning of what was committed.
//!
//! The seed is printed; `MILLSTREAM_TEST_SEED` replays the schedule (the moments, not the machine's own timing).

use std::time::Duration;

use crate::harness::{Invocation, Rig};

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
        let ended = rig.restore(&output);
        if ended.code() != Some(0) {
            // Killed before the very first object: then nothing may be there at all.
            assert!(rig.remote.objects().is_empty(), "round {round}: {ended}");
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
    let mut argv = rig.app(&steps).into_iter();
    let program = argv.next().expect("not empty");
    let mut app = Invocation::new(program, rig.path("")).args(argv).spawn();
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
    app.signal(nix::sys::signal::Signal::SIGTERM);
    app.wait();
    let args = ["replicate".into(), "-once".into(), rig.db().into_os_string(), rig.remote.url().into()];
    rig.millstream(args).finish().assert_code(0);
    rig.assert_all_rows_are_safe();
}
