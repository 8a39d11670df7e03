//! Tables, and random histories: whatever goes, every moment of the window restores what it
//! restored before.

use std::cell::RefCell;

use super::super::testing::{listing, names, policy, txid};
use super::*;
use crate::clock::Dice;

const PROVED: fn(&LtxObject) -> Option<i64> = |_| Some(i64::MIN);
const YES: fn(&LtxObject) -> bool = |_| true;
const NO: fn(&LtxObject) -> bool = |_| false;

fn at(listing: &Listing, newest: u64, now_ms: i64) -> Verdict {
    decide(listing, txid(newest), &policy(), now_ms, &Known { proved: &PROVED, refused: &NO, marked: &[] })
}

fn marked(number: u64, expires_ms: Option<i64>) -> Marked {
    Marked { txid: txid(number), expires_ms }
}

#[test]
fn what_a_mark_needs_stays_until_it_has_expired() {
    let objects = [
        (9, 1, 1, 0),
        (0, 2, 2, 100),
        (0, 3, 3, 100),
        (0, 4, 4, 110),
        (0, 5, 5, 110),
        (0, 6, 6, 110),
        (1, 2, 3, 100),
        (1, 4, 6, 110),
        (9, 1, 6, 120),
        (1, 7, 8, 700),
        (2, 7, 8, 700),
    ];
    let objects = listing(&objects);
    let at = |now_ms, marked: &[Marked]| {
        decide(&objects, txid(8), &policy(), now_ms, &Known { proved: &PROVED, refused: &NO, marked })
    };
    let all = [(1, 2, 3), (1, 4, 6), (9, 1, 1)];
    let l0 = [(0, 2, 2), (0, 3, 3), (0, 4, 4), (0, 5, 5)];
    assert_eq!(sorted(&at(2000, &[]).delete), [l0.as_slice(), &all].concat());
    // The plan of 5: 1-1, 2-3, 4-4, 5-5.
    let kept = at(2000, &[marked(5, None)]);
    assert_eq!((sorted(&kept.delete), kept.next_ms), (vec![(0, 2, 2), (0, 3, 3), (1, 4, 6)], None));
    let until = at(2000, &[marked(5, Some(3000))]);
    assert_eq!((sorted(&until.delete), until.next_ms), (vec![(0, 2, 2), (0, 3, 3), (1, 4, 6)], Some(3000)));
    assert_eq!(at(2000, &[marked(5, Some(3000)), marked(5, Some(4000))]).next_ms, Some(4000), "the longest counts");
    assert_eq!(sorted(&at(3000, &[marked(5, Some(3000))]).delete), [l0.as_slice(), &all].concat(), "expired");
    // A snapshot that is no base any more, and what nothing reaches, changes nothing for the
    // others.
    assert_eq!(sorted(&at(2000, &[marked(6, None)]).delete), [l0.as_slice(), &all].concat(), "the snapshot is it");
    assert_eq!(sorted(&at(2000, &[marked(1, None)]).delete), [l0.as_slice(), &all[..2]].concat());
}

#[test]
fn a_marks_plan_is_looked_into_before_anything_goes_that_could_stand_in_for_it() {
    let objects = listing(&[(9, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 0), (0, 4, 4, 0), (1, 2, 3, 0), (2, 2, 4, 0)]);
    let second = |o: &LtxObject| (o.level.get() == 2).then_some(0);
    let mark = [marked(3, None)];
    let known = Known { proved: &second, refused: &NO, marked: &mark };
    let verdict = decide(&objects, txid(5), &policy(), 300, &known);
    assert_eq!((names(&verdict.delete), names(&verdict.unproved)), (vec![], vec![(9, 1, 1), (1, 2, 3)]));
    let all = Known { proved: &PROVED, ..known };
    assert_eq!(names(&decide(&objects, txid(5), &policy(), 300, &all).delete), [(0, 2, 2), (0, 3, 3)]);
}

fn gone(objects: &[(u8, u64, u64, i64)], now_ms: i64) -> Vec<(u8, u64, u64)> {
    let newest = objects.iter().map(|o| o.2).max().unwrap_or(1);
    names(&at(&listing(objects), newest, now_ms).delete)
}

#[test]
fn level_0_goes_when_it_is_old_and_compacted() {
    let objects = [(9, 1, 1, 0), (0, 2, 2, 100), (0, 3, 3, 100), (0, 4, 4, 110), (0, 5, 5, 110), (1, 2, 4, 110)];
    assert_eq!(gone(&objects, 135), []);
    assert_eq!(at(&listing(&objects), 5, 135).next_ms, Some(136));
    assert_eq!(gone(&objects, 136), [(0, 2, 2), (0, 3, 3)]);
    assert_eq!(gone(&objects, 1000), [(0, 2, 2), (0, 3, 3), (0, 4, 4)], "5 is in no level, and the newest");
    assert_eq!(
        gone(&[(9, 1, 1, 0), (0, 2, 2, 0), (1, 2, 2, 0)], 1000),
        [],
        "the newest stays although it is compacted"
    );
    assert_eq!(gone(&[(9, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 0), (2, 2, 3, 0)], 300), [(0, 2, 2)], "any level will do");
}

#[test]
fn the_first_image_is_kept_as_a_snapshot_before_it_goes() {
    let mut objects = vec![(0, 1, 1, 100), (0, 2, 2, 100), (1, 2, 2, 100)];
    let early = at(&listing(&objects), 2, 135);
    assert!(!early.keep_first_image && early.next_ms == Some(136));
    let due = at(&listing(&objects), 2, 136);
    assert!(due.keep_first_image && due.delete.is_empty());
    objects.push((9, 1, 1, 100));
    assert_eq!(gone(&objects, 136), [(0, 1, 1)]);
    assert!(!at(&listing(&[(0, 1, 1, 100)]), 1, 10_000).keep_first_image, "alone it does not expire");
}

#[test]
fn an_image_in_the_middle_goes_once_its_snapshot_is_there_and_level_1_is_past_it() {
    let mut objects = vec![(9, 1, 1, 0), (0, 5, 5, 100), (0, 6, 6, 100), (0, 7, 7, 100), (1, 2, 4, 99)];
    assert_eq!(gone(&objects, 200), []);
    objects.push((9, 1, 5, 100));
    assert_eq!(gone(&objects, 200), [], "level 1 may still take it in");
    objects.push((1, 6, 7, 100));
    assert_eq!(gone(&objects, 200), [(0, 5, 5), (0, 6, 6)]);
}

#[test]
fn the_base_of_the_window_stays_and_what_it_replaces_goes() {
    let objects = [
        (9, 1, 10, 0),
        (9, 1, 20, 200),
        (9, 1, 30, 400),
        (2, 2, 10, 0),
        (2, 11, 20, 200),
        (2, 21, 30, 400),
        (1, 2, 10, 0),
        (1, 11, 30, 400),
        (0, 30, 30, 400),
    ];
    let listing = listing(&objects);
    assert_eq!(names(&at(&listing, 30, 405).delete), [], "the first snapshot is no base yet");
    assert_eq!(sorted(&at(&listing, 30, 406).delete), [(1, 2, 10), (2, 2, 10)]);
    assert_eq!(at(&listing, 30, 406).next_ms, Some(606));
    assert_eq!(sorted(&at(&listing, 30, 606).delete), [(1, 2, 10), (2, 2, 10), (2, 11, 20), (9, 1, 10)]);
    let last = at(&listing, 30, 10_000);
    let kept: Vec<_> = names(listing.objects()).into_iter().filter(|o| !names(&last.delete).contains(o)).collect();
    assert_eq!(kept, [(0, 30, 30), (1, 11, 30), (2, 21, 30), (9, 1, 30)], "the newest of every level");
    assert_eq!(last.next_ms, None);
}

fn sorted(objects: &[LtxObject]) -> Vec<(u8, u64, u64)> {
    let mut names = names(objects);
    names.sort_unstable();
    names
}

#[test]
fn nothing_rests_on_what_was_not_looked_into() {
    let objects = [(9, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 0), (1, 2, 3, 0), (2, 2, 3, 0)];
    let listing = listing(&objects);
    let verdict = decide(&listing, txid(3), &policy(), 300, &Known { proved: &|_| None, refused: &NO, marked: &[] });
    assert_eq!((names(&verdict.delete), names(&verdict.unproved)), (vec![], vec![(1, 2, 3)]));
    let second = |o: &LtxObject| (o.level.get() == 2).then_some(0);
    let verdict = decide(&listing, txid(3), &policy(), 300, &Known { proved: &second, refused: &NO, marked: &[] });
    assert_eq!((names(&verdict.delete), names(&verdict.unproved)), (vec![(0, 2, 2)], vec![]));
}

#[test]
fn what_replaces_an_object_has_been_there_for_the_grace_time() {
    let listing = listing(&[(9, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 0), (1, 2, 3, 0), (2, 2, 3, 0)]);
    let since = |o: &LtxObject| Some(if o.level.get() == 1 { 310 } else { 305 });
    let decide =
        |now_ms| decide(&listing, txid(3), &policy(), now_ms, &Known { proved: &since, refused: &NO, marked: &[] });
    assert_eq!((names(&decide(300).delete), decide(300).next_ms), (vec![], Some(305)));
    assert_eq!(names(&decide(305).delete), [(0, 2, 2)]);
}

#[test]
fn what_the_store_keeps_is_not_asked_for_again() {
    let objects = [(9, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 0), (1, 2, 3, 0)];
    let verdict =
        decide(&listing(&objects), txid(3), &policy(), 300, &Known { proved: &PROVED, refused: &YES, marked: &[] });
    assert_eq!((names(&verdict.delete), verdict.next_ms), (vec![], None));
}

#[test]
fn switches_switch_deletion_off() {
    let objects = [(9, 1, 1, 0), (9, 1, 3, 0), (0, 2, 2, 0), (0, 3, 3, 0), (1, 2, 3, 0)];
    let known = Known { proved: &PROVED, refused: &NO, marked: &[] };
    let decide = |policy: &Policy| names(&decide(&listing(&objects), txid(3), policy, 1000, &known).delete);
    assert_eq!(decide(&policy()), [(9, 1, 1), (0, 2, 2)]);
    assert_eq!(decide(&Policy { l0_retention: std::time::Duration::ZERO, ..policy() }), [(9, 1, 1)]);
    assert_eq!(decide(&Policy { delete: false, ..policy() }), []);
}

#[test]
fn strangers_are_neither_deleted_nor_believed() {
    let max = u64::MAX;
    let objects =
        [(9, 1, 1, 0), (9, 1, max, 0), (9, 2, 2, 0), (0, 2, 2, 0), (0, 3, 3, 0), (1, 2, max, 0), (0, 9, 9, 0)];
    assert_eq!(names(&at(&listing(&objects), 3, 100_000).delete), []);
}

/// A history as the schedule makes it, with an image now and then, and retention in between.
struct History {
    random: Dice,
    listing: Listing,
    now_ms: i64,
    newest: u64,
    /// When each TXID was committed.
    times: Vec<i64>,
    images: std::collections::BTreeMap<Txid, bool>,
}

impl History {
    fn new(random: Dice) -> History {
        let mut history = History {
            random,
            listing: Listing::default(),
            now_ms: 10_000,
            newest: 0,
            times: vec![0],
            images: std::collections::BTreeMap::new(),
        };
        history.commit();
        history
    }

    fn commit(&mut self) {
        self.newest += 1;
        self.times.push(self.now_ms);
        let object = super::super::testing::object((0, self.newest, self.newest, self.now_ms));
        self.listing.insert(object);
        if self.newest > 1 && self.random.roll(25) == 0 {
            self.images.insert(txid(self.newest), true);
        }
    }

    /// One step of the schedule; `false` when nothing is due.
    fn work(&mut self) -> bool {
        use super::super::schedule::{Step, View, next};
        let view = View { listing: &self.listing, newest: txid(self.newest), images: &self.images, blocked: &[] };
        let (level, inputs, first) = match next(&view, &policy(), self.now_ms) {
            Step::Compact { level, inputs } => (level.get(), inputs.clone(), inputs[0].min_txid.get()),
            Step::Snapshot { inputs } => (9, inputs, 1),
            Step::Probe(object) => return self.images.insert(object.max_txid, false).is_none(),
            Step::Wait(_) => return false,
        };
        self.write(level, first, &inputs);
        true
    }

    fn write(&mut self, level: u8, first: u64, inputs: &[LtxObject]) {
        let last = inputs[inputs.len() - 1].max_txid.get();
        self.listing.insert(super::super::testing::object((level, first, last, self.times[last as usize])));
    }

    /// What a restore of the state strictly before `moment` gives.
    fn restored_before(listing: &Listing, moment: i64) -> Option<u64> {
        let mut earlier = listing.clone();
        earlier.retain(|o| o.modified_ms < moment);
        plan::files_up_to(&earlier, txid(u64::MAX)).last().map(|o| o.max_txid.get())
    }

    /// Deletes what may go and checks every moment of the window.
    fn retain(&mut self) {
        let verdict = at(&self.listing, self.newest, self.now_ms);
        if verdict.keep_first_image {
            let first = self.listing.level(Level::L0)[0].clone();
            self.write(9, 1, &[first]);
        }
        let before = self.listing.clone();
        self.listing.retain(|o| !verdict.delete.contains(o));
        let end = |listing: &Listing| plan::files_up_to(listing, txid(self.newest)).last().map(|o| o.max_txid.get());
        assert_eq!(end(&self.listing), Some(self.newest));
        assert_eq!(self.listing.newest_l0().map(|o| o.max_txid.get()), Some(self.newest));
        let window = self.now_ms - super::super::schedule::ms(policy().snapshot_retention);
        for moment in window.max(self.times[1] + 1)..=self.now_ms + 1 {
            let (was, is) = (Self::restored_before(&before, moment), Self::restored_before(&self.listing, moment));
            assert!(
                is.is_some(),
                "at {} nothing is left of {moment}: {:?}",
                self.now_ms,
                names(self.listing.objects())
            );
            if was != is {
                // Only as Litestream loses it: single uploads that are old enough and part of a
                // compacted file.
                let l0_window = self.now_ms - super::super::schedule::ms(policy().l0_retention);
                let (was, is) = (was.expect("before"), is.expect("after"));
                assert!(is < was && self.times[is as usize + 1] < l0_window, "{was} became {is} at {moment}");
                let next_cut = before.objects().filter(|o| o.level != Level::L0 && o.max_txid.get() > is);
                let next_cut = next_cut.map(|o| o.max_txid.get()).min().expect("a compacted file");
                assert!(next_cut > was, "{was} could still be restored from a compacted file");
            }
        }
    }
}

#[test]
fn every_moment_of_the_window_restores_what_it_restored() {
    let mut seeds = Dice::from_env();
    let deleted = RefCell::new(0);
    for _ in 0..12 {
        let mut history = History::new(Dice::of(seeds.roll(u64::MAX)));
        for _ in 0..500 {
            history.now_ms += i64::try_from(history.random.roll(12)).expect("small");
            match history.random.roll(8) {
                0..=4 => history.commit(),
                5 => while history.work() {},
                6 => history.now_ms += 40,
                _ => {
                    let before = history.listing.objects().count();
                    history.retain();
                    *deleted.borrow_mut() += before.saturating_sub(history.listing.objects().count());
                }
            }
        }
        // Without commits it drains, and then nothing is left to do.
        for _ in 0..400 {
            history.now_ms += 20;
            while history.work() {}
            history.retain();
        }
        let left = names(history.listing.objects());
        assert!(left.len() <= 6, "not drained: {left:?}");
        assert_eq!(at(&history.listing, history.newest, history.now_ms).next_ms, None);
    }
    assert!(*deleted.borrow() > 1000, "only {} objects were deleted", deleted.borrow());
}
