//! What the core tells, in words.

use std::path::Path;

use super::core::{Doubt, Notice, Position};
use crate::figures::{count, timestamp};

/// `address` is that of the replica.
pub fn say(notice: &Notice, copy: &Path, address: &str) {
    let db = tracing::field::display(copy.display());
    match notice {
        Notice::Follows(at) => tracing::info!(db, "follows {address}: it is at {}", shown(*at)),
        Notice::Progress { position, installs, pages } => {
            let (installs, pages) = (count(*installs, "install"), count(*pages, "page"));
            tracing::info!(db, "is at {}: {installs} with {pages} since the last line", shown(*position));
        }
        Notice::Overtaken { from, to } => tracing::warn!(
            db,
            "{address} no longer has the files after TXID {from}, which retention has removed: installing the difference to a whole image, up to TXID {to}"
        ),
        Notice::Doubts(doubt) => {
            tracing::warn!(db, "{}; comparing it with {address} and installing the difference", why(doubt))
        }
        Notice::Healed { position, pages } => {
            let pages = count(*pages, "page");
            tracing::info!(db, "healed, and now at {}, after a difference of {pages}", shown(*position));
        }
        Notice::ForeignWrite { count: times } => tracing::error!(
            db,
            "another program has written to this copy, for the {times}. time: what it wrote is lost; open copies to read only"
        ),
        Notice::Locked => tracing::warn!(
            db,
            "another program holds the write lock of this copy: nothing is installed until it lets go; open copies to read only"
        ),
        Notice::Outage(why) => {
            tracing::warn!(db, "cannot go on now, and tries again: {why}; readers keep the state that is there")
        }
        Notice::Back => tracing::info!(db, "goes on with {address}"),
        Notice::Gap { reached: Some(reached), beyond } => tracing::error!(
            db,
            "{address} has a gap after TXID {reached}{}: waiting for a snapshot or a compacted file that bridges it",
            beyond.as_ref().map_or_else(String::new, |beyond| format!(", before {}", beyond.name))
        ),
        Notice::Gap { reached: None, .. } => {
            tracing::error!(db, "{address} holds no whole image of the database now: waiting for one");
        }
        Notice::Damaged { name, why } => {
            tracing::error!(db, "{name} in {address} is damaged, looking for other files that hold the same: {why}");
        }
        Notice::OtherPageSize(why) => tracing::error!(
            db,
            "the database has pages of another size now ({why}), which no program can see that has the copy open: it is replaced when none has"
        ),
        Notice::Unreadable(why) => {
            tracing::error!(db, "the copy cannot be read: {why}; it is replaced when no program has it open")
        }
        Notice::CannotReplace(why) => tracing::error!(db, "{why}; trying again until then"),
        Notice::Replaced => tracing::info!(db, "the copy was replaced"),
    }
}

fn shown(Position { txid, timestamp_ms }: Position) -> String {
    format!("TXID {txid} of {}", timestamp(timestamp_ms))
}

fn why(doubt: &Doubt) -> String {
    match doubt {
        Doubt::Changed => "the copy is not as it was left: another program has written to it".into(),
        Doubt::NotNoted => "the position of the copy is not known".into(),
        Doubt::OtherReplica(address) => format!("this was a copy of {address}"),
        Doubt::OtherHistory(why) => format!("the replica holds another history now: {why}"),
    }
}
