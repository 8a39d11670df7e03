//! The planner for replicas of Litestream 0.3: one snapshot and every WAL segment that goes on from
//! it. Pure.
//!
//! It chooses as 0.3 did: of all generations the snapshot that was written last, then everything of
//! that generation's WALs. Only places can be checked here; whether the segments of one WAL fit
//! together byte by byte shows when they are read. What the format cannot show is that the last
//! segment of a WAL is missing: nothing says how long a WAL was.
//!
//! ```text
//! snapshot 2 ─┬─ wal 2: 0 ──▶ 1038 ──▶ 4080
//!             ├─ wal 3: 0 ──▶ 2050
//!             └─ wal 5: …                 wal 4 is missing: a gap, never skipped
//! ```

use super::RANGE;
use crate::remote::{Generation, OldGeneration, OldObject, OldReplica, WalPlace};

/// A snapshot and the segments to apply to it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldPlan {
    pub generation: Generation,
    pub snapshot: OldObject,
    pub segments: Vec<OldObject>,
}

impl OldPlan {
    pub fn objects(&self) -> impl Iterator<Item = &OldObject> {
        std::iter::once(&self.snapshot).chain(&self.segments)
    }

    /// Sum of the files' sizes.
    pub fn bytes(&self) -> u64 {
        self.objects().map(|o| o.size).fold(0, u64::saturating_add)
    }

    /// GETs that it takes, when nothing has to be read twice.
    pub fn reads(&self) -> u64 {
        self.objects().map(|object| object.size.div_ceil(RANGE).max(1)).sum()
    }

    /// Where the last file begins in its WAL.
    pub fn place(&self) -> WalPlace {
        self.segments.last().unwrap_or(&self.snapshot).place
    }

    /// When the last file was written.
    pub fn time_ms(&self) -> i64 {
        self.segments.last().unwrap_or(&self.snapshot).modified_ms
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoOldPlan {
    /// Nothing at all.
    Nothing,
    /// WAL segments, and no snapshot that they could go on from.
    NoSnapshot { stray: OldObject },
    /// The oldest snapshot is younger than what was asked for.
    TooEarly,
    /// The WAL goes on at `beyond`, but what begins at `missing` is not there.
    Gap { generation: Generation, missing: WalPlace, beyond: OldObject, last_ms: i64 },
}

/// The newest state, or the last one that was written up to a moment, Unix milliseconds.
pub fn plan(replica: &OldReplica, until_ms: Option<i64>) -> Result<OldPlan, NoOldPlan> {
    let Some((generation, snapshot)) = best_snapshot(replica, until_ms) else {
        let any_snapshot = replica.generations.iter().any(|generation| !generation.snapshots.is_empty());
        return Err(match replica.objects().next() {
            Some(_) if any_snapshot => NoOldPlan::TooEarly,
            Some(stray) => NoOldPlan::NoSnapshot { stray: stray.clone() },
            None => NoOldPlan::Nothing,
        });
    };
    let in_time = |segment: &&OldObject| until_ms.is_none_or(|until_ms| segment.modified_ms <= until_ms);
    let behind = generation.segments.iter().filter(|segment| segment.place.index >= snapshot.place.index);
    let segments: Vec<OldObject> = behind.take_while(in_time).cloned().collect();
    let mut last = snapshot;
    for segment in &segments {
        if let Some(missing) = missing_before(segment, last, segments.first() == Some(segment)) {
            let (generation, beyond) = (generation.id, segment.clone());
            return Err(NoOldPlan::Gap { generation, missing, beyond, last_ms: last.modified_ms });
        }
        last = segment;
    }
    Ok(OldPlan { generation: generation.id, snapshot: snapshot.clone(), segments })
}

/// When the snapshot that a plan would begin with was written; for the choice between the formats.
pub fn best_snapshot_ms(replica: &OldReplica, until_ms: i64) -> Option<i64> {
    best_snapshot(replica, Some(until_ms)).map(|(_, snapshot)| snapshot.modified_ms)
}

/// Of snapshots of the same moment (a copied replica) the one whose generation went on for longest.
fn best_snapshot(replica: &OldReplica, until_ms: Option<i64>) -> Option<(&OldGeneration, &OldObject)> {
    let snapshots = replica.generations.iter().flat_map(|generation| {
        let newest_ms = generation.objects().map(|object| object.modified_ms).max();
        generation.snapshots.iter().map(move |snapshot| (generation, newest_ms, snapshot))
    });
    let in_time = snapshots.filter(|(_, _, s)| until_ms.is_none_or(|until_ms| s.modified_ms <= until_ms));
    let best = in_time.max_by_key(|(generation, newest_ms, s)| (s.modified_ms, *newest_ms, s.place, generation.id));
    best.map(|(generation, _, snapshot)| (generation, snapshot))
}

/// What has to lie between two files and does not.
fn missing_before(segment: &OldObject, last: &OldObject, is_first: bool) -> Option<WalPlace> {
    let (at, before) = (segment.place, last.place);
    let begins = |index| WalPlace { index, offset: 0 };
    let next = if is_first { before.index } else { before.index.saturating_add(1) };
    match at {
        _ if at.index == before.index && !is_first => None,
        WalPlace { index, .. } if index > next => Some(begins(next)),
        WalPlace { index, offset } => (offset > 0).then_some(begins(index)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{Layout, Listing};
    use crate::store::Listed;

    /// `a0` is the snapshot of WAL 0 in generation a, `a0:20` a segment of its WAL; `@` the time.
    fn replica(objects: &str) -> OldReplica {
        let listed = objects.split_whitespace().map(|word| {
            let (what, time) = word.split_once('@').expect("a time");
            let (generation, place) = what.split_at(1);
            let directory = format!("generations/{}", generation.repeat(16));
            let name = match place.split_once(':') {
                None => format!("{directory}/snapshots/{place:0>8}.snapshot.lz4"),
                Some((index, offset)) => format!("{directory}/wal/{index:0>8}_{offset:0>8}.wal.lz4"),
            };
            Listed { name, size: 10, modified_ms: time.parse().expect("a number") }
        });
        Listing::parse(Layout::S3, listed.collect()).old
    }

    /// The plan in the same words.
    fn planned(objects: &str, until_ms: Option<i64>) -> String {
        match plan(&replica(objects), until_ms) {
            Ok(plan) => {
                let generation = plan.generation.to_string();
                let mut words = vec![format!("{}{}", &generation[..1], plan.snapshot.place.index)];
                words.extend(plan.segments.iter().map(|s| format!("{}:{:x}", s.place.index, s.place.offset)));
                words.join(" ")
            }
            Err(NoOldPlan::Gap { missing, beyond, last_ms, .. }) => {
                format!("gap {missing} before {} after {last_ms}", beyond.place)
            }
            Err(other) => format!("{other:?}").split(' ').next().expect("a word").to_owned(),
        }
    }

    #[test]
    fn the_newest_snapshot_and_everything_behind_it() {
        let two = "a0@10 a0:0@11 a1:0@12 b0@20 b0:0@21 b0:20@22 b1:0@23 b1@24 b1:40@25 b2:0@26";
        for (until, wanted) in [
            (None, "b1 1:0 1:40 2:0"),
            (Some(25), "b1 1:0 1:40"),
            (Some(24), "b1 1:0"),
            (Some(23), "b0 0:0 0:20 1:0"),
            (Some(20), "b0"),
            (Some(19), "a0 0:0 1:0"),
            (Some(10), "a0"),
            (Some(9), "TooEarly"),
        ] {
            assert_eq!(planned(two, until), wanted, "until {until:?}");
        }
        assert_eq!(planned("a0@10 b0@10 a0:0@11", None), "a0 0:0", "of equal times the one that goes on");
    }

    #[test]
    fn gaps_are_named_and_never_skipped() {
        for (objects, wanted) in [
            ("a0@1 a0:0@2 a2:0@3", "gap 00000001_00000000 before 00000002_00000000 after 2"),
            ("a0@1 a0:20@2", "gap 00000000_00000000 before 00000000_00000020 after 1"),
            ("a1@1 a2:0@2", "gap 00000001_00000000 before 00000002_00000000 after 1"),
            ("a0@1 a0:0@2 a1:20@3", "gap 00000001_00000000 before 00000001_00000020 after 2"),
            ("a1@1 a0:20@0 a1:0@2", "a1 1:0"),
            ("a0:0@2 a0:20@3", "NoSnapshot"),
            ("", "Nothing"),
        ] {
            assert_eq!(planned(objects, None), wanted, "{objects}");
        }
        assert_eq!(planned("a0@1 a0:0@2 a2:0@3", Some(2)), "a0 0:0", "behind the moment nothing matters");
        assert_eq!(planned("a0@1 a0:0@2 a0:20@9 a0:40@3", Some(5)), "a0 0:0", "what comes later is not applied");
    }

    #[test]
    fn the_highest_places_break_nothing() {
        let replica = replica("affffffff@1 affffffff:0@2 affffffff:ffffffffffffffff@3");
        assert_eq!(plan(&replica, None).map(|plan| plan.segments.len()), Ok(2));
        assert_eq!(best_snapshot_ms(&replica, 0), None);
        assert_eq!(best_snapshot_ms(&replica, 1), Some(1));
    }
}
