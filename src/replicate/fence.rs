//! Another writer owns the history: it was met at work, or the history went on elsewhere while nobody was here.
//!
//! Nothing is overwritten and nothing of ours is mixed in. The application must not go on committing into a branch that nobody
//! will restore: its database is frozen by holding the write lock, and the program is told to stop it. What was committed
//! here and is in nobody's history is kept, locally and (if the bucket lets us) under `orphaned/`, and named.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::error::StepError;
use super::road::Traveller;
use super::ship::Pending;
use super::{Ended, Event};
use crate::clock;
use crate::db::{ASIDE_DIRECTORY, Spilled};
use crate::fsx;
use crate::remote::Remote;
use crate::store::{Key, Put};

const FREEZE_ATTEMPTS: u32 = 20;
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(5);

impl Traveller {
    pub async fn fenced(mut self, message: String, mut pending: Option<Pending>) -> Ended {
        self.lifecycle = None;
        // Of a database in doubt nobody knows what its tail is. All of it lies where it is.
        self.put_doubt_back(&mut pending);
        tracing::error!(db = %self.name(), "{message}: stopping, nothing was overwritten");
        let frozen = self.freeze().await;
        if frozen && self.settings.once.is_none() {
            let db = self.name();
            tracing::warn!(%db, "from here on the application's writes fail with \"database is locked\", because nobody would restore them");
        }
        let _ = self.events.send(Event::Fenced).await;
        let deadline = self.wait_for_stop().await;
        if frozen {
            // The application is gone: nobody is left to commit.
            if let Err(error) = self.with_db(|db| db.thaw()).await {
                tracing::warn!("{error}");
            }
        }
        match self.keep_tail_aside(pending, deadline).await {
            Ok(_) if !self.db().has_position() => {
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
        Ended::Fenced { message }
    }

    async fn freeze(&mut self) -> bool {
        for _ in 0..FREEZE_ATTEMPTS {
            match self.with_db(|db| db.freeze()).await {
                Ok(true) => return true,
                Ok(false) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => tracing::debug!("{error}"),
            }
        }
        false
    }

    async fn wait_for_stop(&mut self) -> Instant {
        if self.settings.once.is_some() {
            // There is no application to be stopped.
            return Instant::now() + UPLOAD_TIMEOUT;
        }
        loop {
            if let Some(deadline) = *self.stop.borrow_and_update() {
                return deadline;
            }
            if self.stop.changed().await.is_err() {
                return Instant::now();
            }
        }
    }

    /// Moves everything that was captured or committed here and not confirmed to `orphaned`; returns the number of files.
    async fn keep_tail_aside(&mut self, mut pending: Option<Pending>, deadline: Instant) -> Result<usize, StepError> {
        if self.db().has_position() {
            self.spill_pending(&mut pending).await?;
            self.spill_new_commits().await?;
        }
        self.set_spill_aside(deadline).await
    }

    /// Moves the files that wait for their upload to `orphaned`: they are in no history. Returns their number.
    pub async fn set_spill_aside(&mut self, deadline: Instant) -> Result<usize, StepError> {
        if self.spill.is_empty() {
            return Ok(0);
        }
        let directory = self.settings.meta_path.join(ASIDE_DIRECTORY);
        fsx::create_dir_all(&directory)?;
        let branch = format!("{}-{:08x}", clock::unix_ms(), clock::random_u64() as u32);
        let mut kept = 0;
        while let Some(file) = self.spill.front().cloned() {
            let name = format!("{}-{}.ltx", file.header.min_txid, file.header.max_txid);
            let path = directory.join(format!("{branch}-{name}"));
            upload_aside(&self.remote, &file, &format!("orphaned/{branch}/{name}"), deadline).await;
            self.spill.set_front_aside(&path)?;
            tracing::warn!(db = %self.name(), "TXID {} of this branch is kept in {}", file.header.min_txid, path.display());
            kept += 1;
        }
        Ok(kept)
    }
}

/// Best effort: the local file is kept in any case.
async fn upload_aside(remote: &Remote, file: &Spilled, name: &str, deadline: Instant) {
    let path: PathBuf = file.path.clone();
    let upload = async {
        let bytes = super::upload::blocking(move || fsx::read(&path)).await.map_err(|e| e.to_string())?;
        let key = Key::new(name).ok_or("not a valid name")?;
        remote.store().put(&key, Put::create(bytes)).await.map_err(|e| e.to_string())
    };
    let limit = deadline.min(Instant::now() + UPLOAD_TIMEOUT);
    match tokio::time::timeout_at(limit, upload).await {
        Ok(Ok(())) => tracing::warn!("kept as {name} in {}", remote.address()),
        Ok(Err(error)) => tracing::warn!("could not keep {name} in the replica: {error}"),
        Err(_) => tracing::warn!("could not keep {name} in the replica: no time left"),
    }
}
