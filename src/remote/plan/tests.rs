use proptest::prelude::*;

use super::*;
use crate::remote::Layout;
use crate::store::Listed;

/// `level:min-max`, as many as there are words.
fn listing(text: &str) -> Listing {
    let entries = text.split_whitespace().map(|word| {
        let (level, range) = word.split_once(':').expect("level:range");
        let (min, max) = range.split_once('-').unwrap_or((range, range));
        let number = |s: &str| if s == "MAX" { u64::MAX } else { s.parse().expect("a number") };
        let name = format!("{:04x}/{:016x}-{:016x}.ltx", number(level), number(min), number(max));
        Listed { name, size: 1000, modified_ms: 7 }
    });
    Listing::parse(Layout::S3, entries.collect())
}

fn show(object: &LtxObject) -> String {
    let number = |t: Txid| if t.get() == u64::MAX { "MAX".into() } else { t.get().to_string() };
    match (number(object.min_txid), number(object.max_txid)) {
        (min, max) if min == max => format!("{}:{min}", object.level),
        (min, max) => format!("{}:{min}-{max}", object.level),
    }
}

fn outcome(result: Result<Plan, NoPlan>) -> String {
    let number = |t: Option<Txid>| t.map_or("none".into(), |t| t.get().to_string());
    match result {
        Ok(plan) => plan.files.iter().map(show).collect::<Vec<_>>().join(" "),
        Err(NoPlan::Nothing) => "nothing".into(),
        Err(NoPlan::TooEarly) => "too early".into(),
        Err(NoPlan::Gap { reached, beyond }) => format!("gap from {} to {}", number(reached), show(&beyond)),
        Err(NoPlan::NotReached { below, above }) => format!("not reached: {} or {}", number(below), number(above)),
    }
}

fn txid(number: u64) -> Txid {
    Txid::new(number).expect("not zero")
}

#[test]
fn latest_follows_the_history_to_its_end() {
    let cases = [
        ("", "nothing"),
        ("0:1", "0:1"),
        ("0:1 0:2 0:3", "0:1 0:2 0:3"),
        ("9:1-1 0:1", "9:1"),
        ("9:1-3 0:1 0:2 0:3 0:4", "9:1-3 0:4"),
        // No snapshot, but a file from the first TXID on.
        ("1:1-4 0:4 0:5", "1:1-4 0:5"),
        ("3:1-9 2:10-12 1:13-13 0:13 0:14", "3:1-9 2:10-12 1:13 0:14"),
        // Overlaps are legal.
        ("9:1-5 2:4-8 1:7-9", "9:1-5 2:4-8 1:7-9"),
        // What is within a later file is not needed.
        ("9:1-1 1:1-4", "1:1-4"),
        ("9:1-1 0:2 0:3 1:1-4 0:5", "1:1-4 0:5"),
        ("9:1-4 0:5 1:6-7 2:5-9", "9:1-4 2:5-9"),
        ("9:1-4 0:5 1:4-9", "9:1-4 1:4-9"),
        // Inside a snapshot nothing is needed.
        ("9:1-9 1:2-5 0:5 0:9", "9:1-9"),
        // The newest snapshot counts, not the first.
        ("9:1-3 9:1-7 0:8", "9:1-7 0:8"),
        // What gets furthest wins; then what covers most; then the higher level.
        ("9:1-2 0:3 0:4 1:3-4 2:3-6 1:3-6", "9:1-2 2:3-6"),
        ("9:1-2 1:3-6 1:2-6", "9:1-2 1:2-6"),
        // A file that begins earlier than needed but reaches further is better than the one that
        // fits.
        ("9:1-10 1:11-12 2:5-20 0:21", "9:1-10 2:5-20 0:21"),
        // Something other than a snapshot in level 9 is no base, but a file like any other.
        ("9:3-5 0:1 0:2", "0:1 0:2 9:3-5"),
    ];
    for (files, wanted) in cases {
        assert_eq!(outcome(latest(&listing(files))), wanted, "{files}");
    }
}

#[test]
fn a_gap_is_never_passed_over_in_silence() {
    let cases = [
        ("0:2 0:3", "gap from none to 0:2"),
        ("9:1-4 0:6 0:7", "gap from 4 to 0:6"),
        ("9:1-4 0:5 1:8-9 0:7", "gap from 5 to 0:7"),
        ("0:1 0:MAX", "gap from 1 to 0:MAX"),
        ("0:MAX", "gap from none to 0:MAX"),
        ("9:2-5", "gap from none to 9:2-5"),
        ("9:1-MAX 0:1", "9:1-MAX"),
        ("0:1 1:2-MAX 0:MAX", "0:1 1:2-MAX"),
    ];
    for (files, wanted) in cases {
        assert_eq!(outcome(latest(&listing(files))), wanted, "{files}");
    }
}

#[test]
fn a_txid_is_reached_exactly_or_not_at_all() {
    let history = "9:1-4 9:1-9 2:5-8 1:5-6 1:7-8 1:9-12 0:11 0:12 0:13";
    let cases = [
        (history, 4, "9:1-4"),
        (history, 6, "9:1-4 1:5-6"),
        (history, 8, "9:1-4 2:5-8"),
        (history, 9, "9:1-9"),
        (history, 12, "9:1-9 1:9-12"),
        (history, 13, "9:1-9 1:9-12 0:13"),
        // Inside a compacted range, even where its last parts are still there.
        (history, 7, "not reached: 6 or 8"),
        (history, 11, "not reached: 9 or 12"),
        (history, 1, "not reached: none or 4"),
        (history, 14, "not reached: 13 or none"),
        ("9:1-4 0:6 0:7", 7, "gap from 4 to 0:6"),
        ("9:1-4 0:6 0:7", 6, "gap from 4 to 0:6"),
        ("9:1-4 0:6 0:7", 5, "not reached: 4 or none"),
        ("9:1-4 0:6 0:7", 4, "9:1-4"),
        ("0:2 0:3", 3, "gap from none to 0:2"),
        ("0:1 0:MAX", u64::MAX, "gap from 1 to 0:MAX"),
        ("", 1, "nothing"),
    ];
    for (files, wanted_txid, wanted) in cases {
        assert_eq!(outcome(at_txid(&listing(files), txid(wanted_txid))), wanted, "{files} at {wanted_txid}");
    }
}

#[test]
fn a_point_in_time_is_as_far_as_the_files_before_it_get() {
    let cases = [
        ("9:1-4 0:5 0:6", "9:1-4 0:5 0:6", "9:1-4 0:5 0:6"),
        ("9:1-4 0:5 0:6", "9:1-4 0:5", "9:1-4 0:5"),
        ("9:1-4 0:5 0:6", "", "too early"),
        ("", "", "nothing"),
        // The level-1 file that bridges 5 and 6 is too young, the level-0 files of 7 and 8 are out
        // of reach: not a loss.
        ("9:1-4 1:5-9 0:7 0:8 0:9", "9:1-4 0:7 0:8", "9:1-4"),
        // Here nothing bridges them.
        ("9:1-4 0:7 0:8 0:9", "9:1-4 0:7 0:8", "gap from 4 to 0:7"),
        ("9:1-4 0:7 0:8 0:9", "9:1-4", "9:1-4"),
    ];
    for (files, earlier, wanted) in cases {
        assert_eq!(outcome(before(&listing(files), &listing(earlier))), wanted, "{files} cut to {earlier}");
    }
}

#[test]
fn the_files_up_to_a_txid_go_as_far_as_they_connect() {
    let history = listing("9:1-10 3:2-8 2:9-15 1:11-13 1:16-18 0:19 0:21");
    for (limit, wanted) in [(30, "9:1-10 2:9-15 1:16-18 0:19"), (13, "9:1-10 1:11-13"), (9, "")] {
        let files: Vec<_> = files_up_to(&history, txid(limit)).into_iter().map(show).collect();
        assert_eq!(files.join(" "), wanted, "up to {limit}");
    }
}

#[test]
fn a_plan_knows_its_size_and_end() {
    let plan = latest(&listing("9:1-4 0:5")).expect("plan");
    assert_eq!((plan.bytes(), plan.txid(), plan.newest().level), (2000, txid(5), Level::L0));
}

proptest! {
    /// Whatever is there: a plan starts at the beginning, connects, and advances with every file.
    #[test]
    fn plans_connect(objects in prop::collection::vec((0u8..10, 1u64..12, 0u64..6), 0..25), limit in 1u64..18) {
        let text: Vec<_> = objects.iter().map(|(level, min, more)| format!("{level}:{min}-{}", min + more)).collect();
        let listing = listing(&text.join(" "));
        for plan in [latest(&listing), at_txid(&listing, txid(limit))].into_iter().flatten() {
            let mut end = 0;
            for file in &plan.files {
                prop_assert!(file.min_txid.get() <= end + 1 && file.max_txid.get() > end, "{plan:?}");
                end = file.max_txid.get();
            }
            prop_assert!(plan.files.is_sorted_by(|older, newer| older.min_txid < newer.min_txid), "{plan:?}");
        }
        if let Ok(plan) = at_txid(&listing, txid(limit)) {
            prop_assert_eq!(plan.txid().get(), limit);
        }
        if let Err(NoPlan::Gap { reached, beyond }) = latest(&listing) {
            prop_assert!(beyond.min_txid.get() > reached.map_or(0, Txid::get) + 1);
        }
    }
}
