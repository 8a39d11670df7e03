//! What the core has to say, in words.

use std::path::Path;

use tokio::time::Instant;

use super::core::Notice;
use crate::status::{Status, StatusWriter};

pub(super) fn say(notice: &Notice, path: &Path, address: &str, status: &Status, now: Instant) {
    let db = path.display();
    match notice {
        Notice::Outage { why, lasting } => {
            let age = status.unshipped_for(now).unwrap_or(*lasting).as_secs_f64();
            tracing::error!(
                db = %db,
                "cannot replicate to {address}: {why}; the oldest commit that is not in the replica is {age:.1} s old; still retrying"
            );
        }
        Notice::Back { after } => tracing::info!(db = %db, "{address} is back after {after:.1?}"),
        Notice::CheckingHistory => tracing::info!(
            db = %db,
            "{address} has transactions newer than this disk: checking before starting the application"
        ),
        Notice::CheckingFile => tracing::info!(
            db = %db,
            "this file was not replicated from here before: checking whether it belongs to the history in {address} before \
             starting the application"
        ),
        Notice::ReliefFailed(why) => tracing::warn!(db = %db, "{why}"),
        Notice::CheckpointBlocked(obstacle) => {
            tracing::warn!(db = %db, "the WAL cannot be reset and keeps growing: {obstacle}");
        }
        Notice::HistoryGone => tracing::error!(
            db = %db,
            "objects of the history are gone from {address}: uploading the whole database"
        ),
        Notice::Frozen => tracing::warn!(
            db = %db,
            "from here on the application's writes fail with \"database is locked\", because no restore would give them back"
        ),
        Notice::Replaced => tracing::warn!(
            db = %db,
            "another file lies in the place of the database that was replicated: looking at it"
        ),
        Notice::OldFileInUse(pid) => tracing::error!(
            db = %db,
            "the database was replaced, but process {pid} still has the old file open, and what it commits is nowhere \
             any more: restart it; the new file is replicated as soon as nothing has the old one open"
        ),
        Notice::Fenced(why) => tracing::error!(db = %db, "{why}: stopping, nothing was overwritten"),
    }
}

/// The status says an outage, too, and for as long as it lasts.
pub(super) fn note_outage(notice: &Notice, writer: &StatusWriter, now: Instant) {
    match notice {
        Notice::Outage { lasting, .. } => writer.outage_began(now.checked_sub(*lasting).unwrap_or(now)),
        Notice::Back { .. } => writer.outage_ended(),
        _ => {}
    }
}
