//! Which files take the clock of the machine instead of one that they are given (`src/clock.rs`).

use super::circles::house;

/// The rooms that hand it down; `fuzz` is all test code.
const HAND_IT_DOWN: &[&str] = &["cli", "run", "fuzz"];

/// Below those, what is of this machine in any case. All others are given a clock, so that tests
/// can give another.
const TAKE_THE_MACHINES: &[&str] = &[
    "db/nearby",
    "remote",
    "restore/target",
    "store/counted",
    "store/file/publish",
    "store/file/walk",
    "store/probe",
    "store/s3/counting",
    "store/throttle",
    "supervise/child",
    "supervise/defect",
    "supervise/drive",
    "supervise/reaper",
];

#[test]
fn only_some_files_take_the_clock_of_the_machine() {
    let mut files = house().files_that_import("clock", "MACHINE");
    files.retain(|file| !HAND_IT_DOWN.contains(&file.split('/').next().unwrap_or_default()));
    assert_eq!(files, TAKE_THE_MACHINES, "give a new file a clock (Settings, Remote), or list it here");
}
