//! A program wrote to the database file past SQLite while it was replicated (`cp`, `dd`, `rsync
//! --inplace`; or it only touched it).
//!
//! What SQLite reads then is what lies in the file, covered by what the WAL has of newer pages. So
//! the WAL is brought into the file and emptied first, as any checkpoint of the application would
//! do. Then the file is opened anew, since our connections remember pages that are gone, and is
//! compared with the history as at a start, like a file that is not known: equal, a difference, or
//! a stranger. What is malformed now is not uploaded.

use super::core::{Examined, Reopened, Trouble};
use super::disk::Disk;
use super::doubt::DoubtState;
use super::error::StepError;
use super::local::LocalSide;
use super::on_thread::blocking;
use crate::db::{Db, ImageReason, Remains, Reset};
use crate::state::FileAttributes;

impl Disk {
    /// Brings the WAL into the file. `false` while the file is written to, or a reader or a writer
    /// is in the way.
    fn bring_wal_into_file(&mut self) -> Result<bool, StepError> {
        if !self.db.is_quiet()? || self.relieve_fully()? != Reset::Done {
            return Ok(false);
        }
        Ok(self.db.empty_wal()?)
    }
}

impl LocalSide {
    /// Prepares the file for a comparison: the next capture is an image that is not verified.
    pub async fn examine(&mut self) -> Result<Examined, Trouble> {
        match self.disk.with(Disk::bring_wal_into_file).await {
            Ok(true) => {}
            Ok(false) => return Ok(Examined::NotYet),
            Err(error) => return Err(self.trouble(error).await),
        }
        let (_, replica) = self.notes();
        if let Err(error) = blocking(move || replica.forget_known_file()).await {
            tracing::debug!(db = %self.name(), "{error}");
        }
        Ok(match self.open_overwritten().await? {
            Reopened::Busy { why } => Examined::Closed { why },
            _ => Examined::Ready,
        })
    }

    /// Tries to open the file anew. Once the connections have ended, nothing else can be done with
    /// the database.
    pub async fn open_overwritten(&mut self) -> Result<Reopened, Trouble> {
        let last = self.disk.with(|disk| disk.db.txid()).await;
        if self.reopen(Remains::none()).await?.is_some() {
            let why = "was written to past SQLite, and another program kept it locked until the end";
            return Ok(Reopened::Busy { why: format!("{} {why}: start again, it is then compared", self.name()) });
        }
        self.disk.with(move |disk| disk.db.start_over(last, ImageReason::FileOverwritten)).await;
        self.doubt = DoubtState::default();
        Ok(Reopened::Done)
    }

    /// Whether a program wrote to the file since the last run ended in order, and nothing shows
    /// that it was a checkpoint: what stands in the WAL proves nothing of the pages that it does
    /// not hold.
    pub async fn was_written_to(&mut self) -> bool {
        let Some((left, point)) = self.disk.here().last_synced.left() else { return false };
        let look = move |db: &mut Db| {
            let is_changed = FileAttributes::of(db.path()).is_ok_and(|now| left.stamp.was_written_to(&now));
            is_changed && !db.was_backfilled_since(point.wal.salts, left.backfilled)
        };
        self.with_db(look).await
    }

    /// Fails when the database is malformed after a program wrote to it past SQLite.
    pub async fn check_overwritten(&mut self, reason: ImageReason) -> Result<(), StepError> {
        if reason != ImageReason::FileOverwritten {
            return Ok(());
        }
        match self.with_db(|db| db.damage()).await? {
            None => Ok(()),
            Some(damage) => {
                let (path, address) = (self.name(), self.remote.address().to_owned());
                Err(StepError::Damaged { path, address, damage })
            }
        }
    }
}
