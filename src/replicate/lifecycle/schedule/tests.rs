//! Tables: a listing, what is due in it, and when.

use super::super::testing::{listing, names, object, policy, txid};
use super::*;

struct Scene {
    listing: Listing,
    newest: u64,
    images: BTreeMap<Txid, bool>,
    blocked: Vec<Level>,
}

impl Scene {
    fn new(objects: &[(u8, u64, u64, i64)]) -> Scene {
        let newest = objects.iter().map(|o| o.2).max().unwrap_or(1);
        Scene { listing: listing(objects), newest, images: BTreeMap::new(), blocked: Vec::new() }
    }

    fn with_images(mut self, images: &[u64]) -> Scene {
        self.images = images.iter().map(|n| (txid(*n), true)).collect();
        self
    }

    fn at(&self, now_ms: i64) -> Step {
        let Scene { listing, newest, images, blocked } = self;
        next(&View { listing, newest: txid(*newest), images, blocked }, &policy(), now_ms)
    }
}

fn compact(level: u8, inputs: &[(u8, u64, u64)]) -> (u8, Vec<(u8, u64, u64)>) {
    (level, inputs.to_vec())
}

fn told(step: Step) -> (u8, Vec<(u8, u64, u64)>) {
    match step {
        Step::Compact { level, inputs } => (level.get(), names(&inputs)),
        Step::Snapshot { inputs } => (9, names(&inputs)),
        step => panic!("{step:?}"),
    }
}

#[test]
fn boundaries_are_multiples_of_the_interval() {
    for (ms, interval, wanted) in
        [(0, 10, 10), (9, 10, 10), (10, 10, 20), (-1, 10, 0), (5, 0, 6), (i64::MAX, 7, i64::MAX)]
    {
        assert_eq!(boundary_after(ms, interval, 0), wanted, "{ms} {interval}");
    }
}

#[test]
fn many_databases_are_due_all_over_the_interval_and_each_always_at_the_same_moment_of_it() {
    let day = 86_400_000;
    let mut due: Vec<i64> = (0..1000)
        .map(|n| {
            let path = format!("/data/tenant-{n}.db");
            let spread = spread_of(path.as_ref(), "s3://backup/tenants");
            assert_eq!(spread, spread_of(path.as_ref(), "s3://backup/tenants"));
            let due = boundary_after(5 * day, day, spread);
            assert!((5 * day + 1..=6 * day).contains(&due), "once in every interval");
            assert_eq!(boundary_after(due, day, spread), due + day);
            assert_eq!(boundary_after(due - 1, day, spread), due);
            due
        })
        .collect();
    due.sort_unstable();
    let busiest = due.chunk_by(|a, b| b / (day / 100) == a / (day / 100)).map(<[i64]>::len).max();
    assert!(busiest < Some(40), "{busiest:?} of 1,000 in one hundredth of the day");
    assert_ne!(spread_of("/data/app.db".as_ref(), "s3://a/1"), spread_of("/data/app.db".as_ref(), "s3://a/2"));
}

#[test]
fn a_level_is_due_at_the_boundary_after_its_oldest_input() {
    let scene = Scene::new(&[(9, 1, 1, 103), (0, 2, 2, 104), (0, 3, 3, 112)]);
    assert_eq!(scene.at(109), Step::Wait(Some(110)));
    assert_eq!(told(scene.at(110)), compact(1, &[(0, 2, 2), (0, 3, 3)]), "what came meanwhile goes along");
}

#[test]
fn a_first_image_alone_is_no_work() {
    assert_eq!(Scene::new(&[(0, 1, 1, 103)]).at(1_000_000), Step::Wait(None));
    assert_eq!(Scene::new(&[]).at(1_000_000), Step::Wait(None));
    // Nor is what another program has made of it multiplied.
    let scene = Scene::new(&[(0, 1, 1, 103), (1, 1, 1, 103)]);
    assert_eq!(scene.at(1_000_000), Step::Wait(None));
}

#[test]
fn the_first_image_is_a_snapshot_before_level_1_goes_on_behind_it() {
    // Litestream deletes from level 0 what level 1 is past: without a snapshot nothing could be
    // restored any more.
    let mut scene = Scene::new(&[(0, 1, 1, 103), (0, 2, 2, 104)]);
    assert_eq!(scene.at(109), Step::Wait(Some(110)));
    assert_eq!(told(scene.at(110)), compact(9, &[(0, 1, 1)]));
    scene.blocked = vec![Level::SNAPSHOT];
    assert_eq!(told(scene.at(110)).0, 1, "a store that takes no snapshot does not stop everything");
    for whole in [(9, 1, 1, 110), (9, 1, 2, 110), (1, 1, 1, 110)] {
        let mut scene = Scene::new(&[(0, 1, 1, 103), (0, 2, 2, 104), (0, 3, 3, 104), whole]);
        scene.images.insert(txid(2), false);
        assert_eq!(told(scene.at(110)).0, 1, "{whole:?} holds it");
    }
}

#[test]
fn what_a_snapshot_ends_with_is_looked_into_however_small_it_is() {
    // An image of another page size, of an earlier run: whoever took it for less would merge it
    // with what came before.
    let objects = [(9, 1, 1, 103), (2, 2, 3, 103), (0, 4, 4, 104), (9, 1, 4, 104), (0, 5, 5, 105)];
    assert_eq!(Scene::new(&objects).at(110), Step::Probe(object((0, 4, 4, 104))));
    assert_eq!(told(Scene::new(&objects).with_images(&[4]).at(110)), compact(1, &[(0, 5, 5)]));
}

#[test]
fn a_history_drains_from_level_to_level_into_a_snapshot() {
    let mut objects = vec![(0, 1, 1, 103), (0, 2, 2, 104), (0, 3, 3, 105)];
    let wanted = [
        (110, compact(9, &[(0, 1, 1)]), (9, 1, 1, 103)),
        (110, compact(1, &[(0, 2, 2), (0, 3, 3)]), (1, 2, 3, 105)),
        (150, compact(2, &[(1, 2, 3)]), (2, 2, 3, 105)),
        (200, compact(9, &[(9, 1, 1), (2, 2, 3)]), (9, 1, 3, 105)),
    ];
    for (at, step, written) in wanted {
        let scene = Scene::new(&objects);
        assert!(matches!(scene.at(at - 1), Step::Wait(Some(due)) if due == at) || step.0 == 1, "not before {at}");
        assert_eq!(told(scene.at(at)), step);
        objects.push(written);
    }
    assert_eq!(Scene::new(&objects).at(i64::MAX), Step::Wait(None), "drained");
}

#[test]
fn an_image_in_the_middle_becomes_a_snapshot_and_is_not_compacted() {
    let before = [(9, 1, 1, 1), (1, 2, 3, 100), (0, 4, 4, 101), (0, 5, 5, 102), (0, 6, 6, 103), (0, 7, 7, 104)];
    let scene = Scene::new(&before).with_images(&[5]);
    assert_eq!(told(scene.at(110)), compact(1, &[(0, 4, 4)]), "up to the image");
    let mut objects = before.to_vec();
    objects.push((1, 4, 4, 101));
    let scene = Scene::new(&objects).with_images(&[5]);
    assert_eq!(told(scene.at(110)), compact(9, &[(0, 5, 5)]));
    objects.push((9, 1, 5, 102));
    let scene = Scene::new(&objects).with_images(&[5]);
    assert_eq!(told(scene.at(110)), compact(2, &[(1, 2, 3), (1, 4, 4)]), "first what ends before the hole");
    objects.push((2, 2, 4, 102));
    let scene = Scene::new(&objects).with_images(&[5]);
    assert_eq!(told(scene.at(110)), compact(1, &[(0, 6, 6), (0, 7, 7)]), "then what lies behind it");
}

#[test]
fn large_objects_of_an_earlier_run_are_looked_into_first() {
    let mut scene = Scene::new(&[(9, 1, 1, 1), (0, 2, 2, 100)]);
    scene.listing.insert(LtxObject { size: SMALL_IMAGE_BYTES, ..object((0, 3, 3, 101)) });
    scene.newest = 3;
    assert!(matches!(scene.at(110), Step::Probe(o) if o.max_txid == txid(3)));
    scene.images.insert(txid(3), true);
    assert_eq!(told(scene.at(110)), compact(1, &[(0, 2, 2)]));
    scene.images.insert(txid(3), false);
    assert_eq!(told(scene.at(110)), compact(1, &[(0, 2, 2), (0, 3, 3)]), "in one go, not each by itself");
}

#[test]
fn what_the_writer_does_not_know_is_left_alone() {
    let mut scene = Scene::new(&[(9, 1, 1, 1), (0, 2, 2, 1), (0, 3, 3, 1), (1, 3, u64::MAX, 1), (9, 1, u64::MAX, 1)]);
    scene.newest = 2;
    assert_eq!(told(scene.at(10)), compact(1, &[(0, 2, 2)]));
    scene.listing.insert(object((1, 2, 2, 1)));
    assert_eq!(told(scene.at(50)), compact(2, &[(1, 2, 2)]));
}

#[test]
fn a_gap_ends_a_merge() {
    let scene = Scene::new(&[(9, 1, 1, 1), (0, 2, 2, 1), (0, 4, 4, 1)]);
    assert_eq!(told(scene.at(10)), compact(1, &[(0, 2, 2)]));
}

#[test]
fn merges_have_a_limit_and_go_on_at_once() {
    let mut objects: Vec<_> = (2..=400).map(|n| (0, n, n, 1)).chain([(9, 1, 1, 1)]).collect();
    let step = Scene::new(&objects).at(10);
    let (_, inputs) = told(step);
    assert_eq!((inputs.len(), inputs[0].1), (MAX_INPUTS, 2));
    objects.push((1, 2, 129, 2));
    assert_eq!(told(Scene::new(&objects).at(10)).1[0].1, 130);
}

#[test]
fn a_level_that_fails_does_not_stop_the_others() {
    let mut scene = Scene::new(&[(0, 1, 1, 1), (1, 2, 3, 1), (0, 4, 4, 1)]);
    scene.blocked = vec![Level::new(1).expect("1")];
    assert_eq!(told(scene.at(50)), compact(2, &[(1, 2, 3)]));
    scene.blocked.push(Level::new(2).expect("2"));
    assert_eq!(told(scene.at(200)), compact(9, &[(0, 1, 1), (1, 2, 3), (0, 4, 4)]));
    scene.blocked.push(Level::SNAPSHOT);
    assert_eq!(scene.at(200), Step::Wait(None));
}
