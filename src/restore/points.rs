//! What can be brought back: from when to when, how densely, and where history has holes. Pure: a
//! listing in, a summary out.
//!
//! A point is a transaction at which the planner can stop: the last one of a file that connects to
//! the beginning by files that end no later. Retention thins points out with age, so the summary is
//! a few ranges, each with one density.
//!
//! ```text
//! oldest                                                          newest
//!   │ every 60m (level 3) │ every 5m (2) │ every 30s (1) │ every commit │
//! ```

use crate::ltx::Txid;
use crate::remote::{Generation, Level, Listing, LtxObject};

/// One transaction that can be restored exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    txid: Txid,
    /// Of the least compacted file that ends with it: compaction writes a file anew, later than the
    /// commit was.
    level: Level,
    time_ms: i64,
}

/// Points of one density.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointRange {
    pub from_ms: i64,
    pub to_ms: i64,
    pub points: usize,
    pub first_txid: Txid,
    pub last_txid: Txid,
    pub density: Density,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Density {
    /// Every upload is still there on its own.
    EveryCommit,
    /// Half of the neighbours are no further apart.
    Every { ms: i64 },
    /// One point has no neighbours.
    Single,
}

/// Transactions that no usable file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    pub first_missing: Txid,
    pub last_missing: Txid,
}

/// A generation of Litestream 0.3 that has a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldPointRange {
    pub generation: Generation,
    pub from_ms: i64,
    pub to_ms: i64,
    pub files: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Points {
    /// The files that the oldest and the newest point end with.
    pub ends: Option<(LtxObject, LtxObject)>,
    /// Oldest first.
    pub ranges: Vec<PointRange>,
    pub holes: Vec<Hole>,
    pub old: Vec<OldPointRange>,
}

impl Points {
    pub fn is_empty(&self) -> bool {
        self.ends.is_none() && self.old.is_empty()
    }
}

/// Summarises a listing. Times are those of the listing.
pub fn points(listing: &Listing) -> Points {
    let mut objects: Vec<&LtxObject> = listing.objects().collect();
    objects.sort_by_key(|object| (object.max_txid, object.min_txid, object.level));
    let (mut points, mut holes): (Vec<Point>, Vec<Hole>) = (Vec::new(), Vec::new());
    let (mut oldest, mut newest): (Option<&LtxObject>, Option<&LtxObject>) = (None, None);
    let mut end: Option<Txid> = None;
    for same_end in objects.chunk_by(|a, b| a.max_txid == b.max_txid) {
        let connects = |o: &&&LtxObject| o.min_txid.get() - 1 <= end.map_or(0, Txid::get);
        let (Some(first), true) = (same_end.first(), same_end.iter().any(|o| connects(&o))) else {
            // Older than the oldest point it is what retention leaves behind; behind it, it is a
            // hole.
            if let (Some(end), Some(nearest)) = (end, same_end.first()) {
                note_hole(&mut holes, end, nearest.min_txid);
            }
            continue;
        };
        let least = same_end.iter().copied().min_by_key(|object| object.level).unwrap_or(*first);
        points.push(Point { txid: least.max_txid, level: least.level, time_ms: least.modified_ms });
        (oldest, newest) = (oldest.or(Some(least)), Some(least));
        end = Some(least.max_txid);
    }
    let holds = |o: &&LtxObject, hole: &Hole| o.min_txid <= hole.first_missing && o.max_txid >= hole.last_missing;
    // Level 0 loses single uploads before their neighbours: a compacted file that ends later holds
    // them.
    holes.retain(|hole| !objects.iter().any(|o| o.level != Level::SNAPSHOT && holds(o, hole)));
    adopt_snapshots(&mut points);
    let old = listing.old.generations.iter().filter_map(|generation| {
        Some(OldPointRange {
            generation: generation.id,
            from_ms: generation.snapshots.iter().map(|snapshot| snapshot.modified_ms).min()?,
            to_ms: generation.objects().map(|object| object.modified_ms).max()?,
            files: generation.objects().count(),
        })
    });
    Points {
        ends: oldest.cloned().zip(newest.cloned()),
        ranges: points.chunk_by(|a, b| alike(*a, *b)).map(range).collect(),
        holes,
        old: old.collect(),
    }
}

/// A snapshot among compacted files is one more point of their range, not a range of its own.
fn adopt_snapshots(points: &mut [Point]) {
    let compacted = |level: Level| level != Level::L0 && level != Level::SNAPSHOT;
    for at in 0..points.len() {
        if points[at].level == Level::SNAPSHOT {
            let before = at.checked_sub(1).map(|at| points[at].level).filter(|level| compacted(*level));
            let after = points.get(at + 1).map(|point| point.level).filter(|level| compacted(*level));
            points[at].level = before.or(after).unwrap_or(Level::SNAPSHOT);
        }
    }
}

/// Whether two neighbours belong to one range. Of single uploads only those that follow each other
/// are every commit.
fn alike(a: Point, b: Point) -> bool {
    a.level == b.level && (a.level != Level::L0 || a.txid.next() == Some(b.txid))
}

/// A hole that several files are behind is one hole.
fn note_hole(holes: &mut Vec<Hole>, end: Txid, beyond: Txid) {
    let (Some(first_missing), Some(last_missing)) = (end.next(), Txid::new(beyond.get() - 1)) else { return };
    match holes.last_mut() {
        Some(hole) if hole.first_missing == first_missing => hole.last_missing = hole.last_missing.min(last_missing),
        _ => holes.push(Hole { first_missing, last_missing }),
    }
}

fn range(points: &[Point]) -> PointRange {
    let (first, last) = (points[0], points[points.len() - 1]);
    let mut gaps: Vec<i64> = points.windows(2).map(|pair| pair[1].time_ms - pair[0].time_ms).collect();
    gaps.sort_unstable();
    let density = match gaps.get(gaps.len() / 2) {
        _ if first.level == Level::L0 => Density::EveryCommit,
        Some(ms) => Density::Every { ms: (*ms).max(0) },
        None => Density::Single,
    };
    PointRange {
        from_ms: first.time_ms,
        to_ms: last.time_ms,
        points: points.len(),
        first_txid: first.txid,
        last_txid: last.txid,
        density,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{Layout, plan};
    use crate::store::Listed;

    /// `2:5-9@70` is a level-2 file of the TXIDs 5 to 9, written at 70 s.
    fn listing(objects: &str) -> Listing {
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let listed = objects.split_whitespace().map(|word| {
            let (what, time) = word.split_once('@').expect("a time");
            let (level, range) = what.split_once(':').expect("a level");
            let (min, max) = range.split_once('-').unwrap_or((range, range));
            let name = format!("{:04x}/{:016x}-{:016x}.ltx", number(level), number(min), number(max));
            Listed { name, size: 500, modified_ms: number(time) as i64 * 1000 }
        });
        Listing::parse(Layout::S3, listed.collect())
    }

    /// The summary in few words: ranges, then holes.
    fn summary(objects: &str) -> String {
        let points = points(&listing(objects));
        let ranges = points.ranges.iter().map(|s| {
            let density = match s.density {
                Density::EveryCommit => "all".into(),
                Density::Every { ms } => format!("{}s", ms / 1000),
                Density::Single => "one".into(),
            };
            format!(
                "{}-{}:{}@{}-{}:{density}",
                s.first_txid.get(),
                s.last_txid.get(),
                s.points,
                s.from_ms / 1000,
                s.to_ms / 1000
            )
        });
        let holes = points.holes.iter().map(|h| format!("!{}-{}", h.first_missing.get(), h.last_missing.get()));
        ranges.chain(holes).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn density_follows_age() {
        for (objects, wanted) in [
            ("", ""),
            ("0:1@10", "1-1:1@10-10:all"),
            ("0:1@10 0:2@11 0:3@20", "1-3:3@10-20:all"),
            ("9:1-4@40 1:5-9@70 1:10-14@100 1:15-19@130 0:20@131", "4-19:4@40-130:30s 20-20:1@131-131:all"),
            // Level 0 says best when a commit was; the compacted file that ends with it came later.
            ("0:1@10 0:2@11 1:1-2@30 9:1-2@60", "1-2:2@10-11:all"),
            // What retention leaves before the first snapshot cannot be used, and is no hole.
            ("1:5-9@70 1:10-14@100 9:1-14@110 0:15@120", "14-14:1@100-100:one 15-15:1@120-120:all"),
            ("9:1-4@40 0:7@50 0:8@51 1:5-8@60 0:9@70", "4-4:1@40-40:one 8-9:2@51-70:all"),
            ("9:1-4@40 1:5-6@45 0:8@51 0:9@52", "4-6:2@40-45:5s !7-7"),
            ("9:1-4@40 0:9@80", "4-4:1@40-40:one !5-8"),
            ("0:1@10 0:3@12 0:4@13 9:1-4@60 0:5@70", "1-1:1@10-10:all 4-5:2@13-70:all !2-2"),
        ] {
            assert_eq!(summary(objects), wanted, "{objects}");
        }
    }

    #[test]
    fn the_ends_are_those_the_planner_reaches() {
        for objects in
            ["0:1@1 0:2@2 0:3@3", "9:1-4@40 1:5-9@70 0:10@80", "1:5-9@7 9:1-9@8 2:3-12@9", "0:1@1 0:3@3 9:1-4@9"]
        {
            let listing = listing(objects);
            let (oldest, newest) = points(&listing).ends.expect("something");
            for end in [&oldest, &newest] {
                let plan = plan::at_txid(&listing, end.max_txid).expect("restorable");
                assert_eq!(plan.txid(), end.max_txid, "{objects}");
            }
            assert_eq!(plan::latest(&listing).map(|plan| plan.txid()), Ok(newest.max_txid));
        }
    }

    #[test]
    fn generations_of_litestream_03_are_there_too() {
        let name = |rest: &str| format!("generations/00000000000000a0/{rest}");
        let listed = |rest: &str, modified_ms| Listed { name: name(rest), size: 9, modified_ms };
        let listing = Listing::parse(
            Layout::S3,
            vec![
                listed("snapshots/00000001.snapshot.lz4", 500),
                listed("wal/00000001_00000000.wal.lz4", 900),
                Listed {
                    name: "generations/00000000000000b0/wal/00000000_00000000.wal.lz4".into(),
                    size: 9,
                    modified_ms: 1,
                },
            ],
        );
        let points = points(&listing);
        assert_eq!(
            (points.old.len(), points.old[0].from_ms, points.old[0].to_ms, points.old[0].files),
            (1, 500, 900, 2)
        );
        assert!(points.ends.is_none() && !points.is_empty());
    }
}
