//! Compaction, snapshots and retention: the global keys, and what a database or a replica says
//! otherwise.

use super::options::{Lifecycle, SnapshotPolicy};
use super::section::Section;

/// Litestream's: level 0 is implied, level 9 is for snapshots.
const LEVELS_MAX: usize = 8;

/// What the top level of the file says.
pub fn global(root: &Section) -> Result<Lifecycle, String> {
    let defaults = Lifecycle::default();
    let levels = match root.sections("levels") {
        None => defaults.levels,
        Some(levels) if levels.len() > LEVELS_MAX => {
            return Err(format!("levels: {} are too many, there can be {LEVELS_MAX}", levels.len()));
        }
        Some(levels) => {
            let interval = |(index, level): (usize, &Section)| match level.duration("interval") {
                Some(interval) if !interval.is_zero() => Ok(interval),
                _ => Err(format!("levels[{index}].interval is missing or zero")),
            };
            levels.iter().enumerate().map(interval).collect::<Result<_, _>>()?
        }
    };
    let check = defaults.l0_retention_check_interval;
    Ok(Lifecycle {
        levels,
        snapshot: match root.section("snapshot") {
            None => defaults.snapshot,
            Some(section) => SnapshotPolicy {
                interval: section.positive("snapshot", "interval", defaults.snapshot.interval)?,
                retention: section.positive("snapshot", "retention", defaults.snapshot.retention)?,
                ..defaults.snapshot
            },
        },
        l0_retention: root.duration("l0-retention").unwrap_or(defaults.l0_retention),
        l0_retention_check_interval: root.positive("", "l0-retention-check-interval", check)?,
        retention_enabled: root.section("retention").and_then(|r| r.bool("enabled")).unwrap_or(true),
    })
}

/// 0.3's keys of the replica, else 0.5's of the database, else the global ones.
pub fn snapshot_policy(
    db: &Section,
    replica: &Section,
    lifecycle: &Lifecycle,
    db_place: &str,
    replica_place: &str,
) -> Result<SnapshotPolicy, String> {
    let global = lifecycle.snapshot;
    let of_db = match db.section("snapshot") {
        None => global,
        Some(section) => {
            let place = format!("{db_place}.snapshot");
            SnapshotPolicy {
                interval: section.positive(&place, "interval", global.interval)?,
                retention: section.positive(&place, "retention", global.retention)?,
                ..global
            }
        }
    };
    Ok(SnapshotPolicy {
        interval: replica.positive(replica_place, "snapshot-interval", of_db.interval)?,
        retention: replica.positive(replica_place, "retention", of_db.retention)?,
        check_interval: replica.positive(replica_place, "retention-check-interval", of_db.check_interval)?,
    })
}
