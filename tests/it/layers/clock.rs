//! Which files take the clock of the machine instead of one that they are given (`src/clock.rs`).

use super::circles::house;

/// All others are given one, so that tests can give another. This list gets longer only for what is
/// of this machine in any case.
const TAKE_THE_MACHINES: &[&str] = &[
    "cli/destination",
    "cli/reset",
    "cli/restore",
    "cli/stderr",
    "db/nearby",
    "fuzz", // All of it is test code.
    "remote",
    "restore/target",
    "run/connect",
    "run/monitor",
    "run/stages",
    "run/untouched",
    "run/verify",
    "store/counted",
    "store/file/publish",
    "store/file/walk",
    "store/probe",
    "store/throttle",
    "supervise/child",
    "supervise/defect",
    "supervise/drive",
    "supervise/reaper",
];

#[test]
fn only_some_files_take_the_clock_of_the_machine() {
    let files = house().files_that_import("clock", "MACHINE");
    assert_eq!(files, TAKE_THE_MACHINES, "give a new file a clock (Settings, Remote), or list it here");
}
