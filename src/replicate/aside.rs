//! Commits that are in no history: kept, locally and (if the bucket lets us) under `orphaned/`, and
//! named.
//!
//! Nothing is overwritten and nothing of ours is mixed into another writer's history. What was
//! committed here after that writer took over was acknowledged all the same.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::disk::Disk;
use super::error::StepError;
use super::local::LocalSide;
use super::on_thread::blocking;
use crate::fsx;
use crate::remote::Remote;
use crate::state::SpilledFile;
use crate::store::{Key, Put};

const UPLOAD_TIMEOUT: Duration = Duration::from_secs(5);

impl LocalSide {
    /// Another writer owns the history, and the application has stopped: keeps what was captured or
    /// committed here and is not in the bucket.
    pub async fn keep_tail(&mut self, deadline: Instant) {
        let spilled = self.disk.with(spill_tail).await;
        let kept = match spilled {
            Ok(()) => self.set_spill_aside(deadline).await,
            Err(error) => Err(error),
        };
        let has_position = self.disk.here().db.has_position();
        match kept {
            Ok(_) if !has_position => {
                tracing::warn!(db = %self.name(), "what was committed here and is not in the history stays in the database")
            }
            Ok(0) => tracing::info!(db = %self.name(), "every commit made here is in the replica"),
            Ok(kept) => {
                tracing::warn!(db = %self.name(), "{kept} LTX files with commits that are in no history were kept")
            }
            Err(error) => {
                tracing::error!(db = %self.name(), "commits that are in no history stay in the database only: {error}")
            }
        }
    }

    /// Moves the files that wait for their upload to `orphaned`: they are in no history. Returns
    /// their number.
    pub async fn set_spill_aside(&mut self, deadline: Instant) -> Result<usize, StepError> {
        if self.front_file().is_none() {
            return Ok(0);
        }
        let (state, _) = self.notes();
        let directory = blocking(move || state.orphaned()).await?;
        let clock = self.settings.clock;
        let branch = format!("{}-{:08x}", clock.unix_ms(), clock.random_u64() as u32);
        let mut kept = 0;
        while let Some(file) = self.front_file() {
            let name = format!("{}-{}.ltx", file.header.min_txid, file.header.max_txid);
            let path = directory.join(format!("{branch}-{name}"));
            upload_aside(&self.remote, &file, &format!("orphaned/{branch}/{name}"), deadline).await;
            let aside = path.clone();
            self.disk.with(move |disk| disk.spill.set_front_aside(&aside)).await?;
            tracing::warn!(db = %self.name(), "TXID {} of this branch is kept in {}", file.header.min_txid, path.display());
            kept += 1;
        }
        Ok(kept)
    }

    /// The oldest local file.
    pub fn front_file(&self) -> Option<SpilledFile> {
        self.disk.here().spill.front().cloned()
    }
}

fn spill_tail(disk: &mut Disk) -> Result<(), StepError> {
    // What the tail of an unverified database is cannot be told. All of it lies where it is.
    disk.put_doubt_back();
    disk.drop_seal();
    if disk.db.has_position() {
        disk.spill_batch()?;
        disk.spill_new_commits()?;
    }
    Ok(())
}

/// Best effort: the local file is kept in any case.
async fn upload_aside(remote: &Remote, file: &SpilledFile, name: &str, deadline: Instant) {
    let path: PathBuf = file.path.clone();
    let upload = async {
        let bytes = blocking(move || fsx::read(&path)).await.map_err(|e| e.to_string())?;
        let key = Key::new(name).ok_or("not a valid name")?;
        remote.store().put(&key, Put::create(bytes)).await.map_err(|e| e.to_string())
    };
    let limit = deadline.min(remote.clock().instant() + UPLOAD_TIMEOUT);
    match tokio::time::timeout_at(limit, upload).await {
        Ok(Ok(())) => tracing::warn!("kept as {name} in {}", remote.address()),
        Ok(Err(error)) => tracing::warn!("could not keep {name} in the replica: {error}"),
        Err(_) => tracing::warn!("could not keep {name} in the replica: no time left"),
    }
}
