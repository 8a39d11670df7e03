//! Restores what Litestream 0.3 wrote: a snapshot, and the WALs that went on from it, applied by
//! our own reader.
//!
//! ```text
//! plan (pure) → files fetched ahead, in order → LZ4 frames → snapshot into the temporary file
//!             → WAL by WAL: frames checked, committed pages written → integrity → fsync
//!             → the same end as every restore
//! ```
//!
//! The format does not say how long a WAL was, so a last segment that is missing leaves no trace in
//! the names: SQLite itself looks at every database that comes out, asked or not.
//!
//! There are no TXIDs in this format: what comes out belongs to no LTX history, and a replication
//! begins a new one.

mod apply;
mod feed;
mod plan;

use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::engine::{self, Failure};
use super::progress::Progress;
use super::target::{Temporary, scratch};
use super::{Integrity, Request, RestoreError};
use crate::remote::{OldReplica, Remote};
use feed::Broken;

pub use plan::OldPlan;
pub(super) use plan::{NoOldPlan, best_snapshot_ms, plan};

/// Large objects are read in ranges of this many bytes.
const RANGE: u64 = 4 * 1024 * 1024;

/// Whether the names show an unbroken way to the newest state; `Err` says what is wrong.
pub fn check(replica: &OldReplica) -> Result<(), String> {
    match plan(replica, None) {
        Ok(_) | Err(NoOldPlan::Nothing | NoOldPlan::TooEarly) => Ok(()),
        Err(NoOldPlan::Gap { generation, missing, beyond, last_ms }) => {
            Err(RestoreError::OldGap { generation, missing, beyond: beyond.name, last_ms }.to_string())
        }
        Err(NoOldPlan::NoSnapshot { stray }) => Err(format!("{}: no snapshot that it could be applied to", stray.name)),
    }
}

/// Puts the database of a plan together in a temporary file beside `output`, whole and durable; and
/// says how long it is. What is damaged is read once more, in case that happened on its way.
pub(super) async fn carry_out(
    remote: &Remote,
    request: &Request,
    plan: &Arc<OldPlan>,
    output: &Path,
    progress: &Arc<Progress>,
) -> Result<(Temporary, u64), Failure> {
    match attempt(remote, request, plan, output, progress).await {
        Err(Failure::Damaged { name, why }) => {
            tracing::debug!("{name}: {why}; reading everything again");
            let again = attempt(remote, request, plan, output, progress).await;
            // No other file could stand in for it.
            again.map_err(|failure| Failure::Final(failure.into_error()))
        }
        done => done,
    }
}

async fn attempt(
    remote: &Remote,
    request: &Request,
    plan: &Arc<OldPlan>,
    output: &Path,
    progress: &Arc<Progress>,
) -> Result<(Temporary, u64), Failure> {
    let progress = progress.begin(plan.bytes(), 0);
    let (target, mode, owner) = (output.to_owned(), request.mode, request.owner);
    let create = move || Ok((Temporary::create(&target, 0, mode, owner)?, scratch(&target)?));
    let created: Result<(Temporary, std::fs::File), crate::fsx::FsError> = spawn_blocking(create).await?;
    let (temporary, spool) = created?;

    let mut site = apply::Site { file: temporary.writer()?, spool, path: temporary.path().to_owned() };
    let (sender, objects) = feed::channel(progress);
    let applying = plan.clone();
    let apply = spawn_blocking(move || apply::apply(&applying, objects, &mut site));
    let old = remote.old();
    let (fetched, applied) = tokio::join!(feed::fetch(&old, plan, request.parallelism, sender), apply);
    fetched?;
    let len = applied?.map_err(|failure| match failure {
        apply::Failure::Disk(error) => error.into(),
        apply::Failure::Object { name, broken: Broken::Encrypted } => {
            Failure::Final(RestoreError::Encrypted { name: name.to_string() })
        }
        apply::Failure::Object { name, broken } => Failure::Damaged { name, why: broken.to_string() },
    })?;
    let integrity = match request.integrity {
        Integrity::None => Integrity::Quick,
        asked => asked,
    };
    Ok((engine::seal(temporary, integrity).await?, len))
}

#[cfg(test)]
mod tests;
