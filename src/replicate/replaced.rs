//! A maintenance has put another file in the database's place while it was replicated (`VACUUM
//! INTO` or `.dump`, and a rename).
//!
//! What was captured of the old file is uploaded, then the new one is opened and compared with the
//! history like any file that is not known: the same application's database becomes the newest
//! state, a stranger ends the replication. As long as another program has the old file open, its
//! commits go into a file without a name; that is said, and the new file waits until it lets go.
//! How long, and what is said, is decided in `core/reopen.rs`.

use super::core::{Reopened, Trouble};
use super::disk::Pending;
use super::doubt::DoubtState;
use super::local::LocalSide;
use super::on_thread::blocking;
use crate::db::{DbError, ImageReason, Remains};
use crate::sqlite::{Presence, look_at_file};

impl LocalSide {
    /// Tries to go on with the file that lies at the path now.
    pub async fn take_up(&mut self) -> Result<Reopened, Trouble> {
        let (name, path) = (self.name(), self.settings.path.clone());
        let remains = self.disk.with(|disk| disk.db.remains()).await;
        let left = remains.clone();
        let looked = blocking(move || (matches!(look_at_file(&path), Ok(Presence::Database(_))), left.user())).await;
        match looked {
            (false, _) => {
                let why =
                    format!("{name} was deleted or replaced while it was replicated, and no database lies there now");
                return Ok(Reopened::Missing { why });
            }
            (true, Some(pid)) => {
                let why = format!(
                    "{name} was replaced while it was replicated, and process {pid} had the old file open to the end"
                );
                return Ok(Reopened::InUse { why, pid });
            }
            (true, None) => {}
        }
        if let Some(busy) = self.reopen(remains).await? {
            let why = format!("{name} was replaced while it was replicated, and could not be opened in time: {busy}");
            return Ok(Reopened::Busy { why });
        }
        let last_confirmed = self.confirmed;
        self.disk
            .with(move |disk| {
                if let Some(Pending::Streamed(_) | Pending::Unverified(_)) = &disk.batch {
                    // Its pages were in the old file.
                    disk.batch = None;
                }
                let spilled = disk.spill.back().map(|file| file.header.max_txid);
                let waiting = disk.batch.as_ref().map(|batch| batch.header().max_txid);
                let last = last_confirmed.max(spilled).max(waiting);
                disk.db.start_over(last, last.map_or(ImageReason::FirstBackup, |_| ImageReason::FileReplaced));
            })
            .await;
        self.doubt = DoubtState::default();
        Ok(Reopened::Done)
    }

    /// Opens the new file, or says what keeps it busy. The connections to the old one have to end
    /// before anything beside it is touched.
    pub(super) async fn reopen(&mut self, remains: Remains) -> Result<Option<String>, Trouble> {
        let (path, tuning) = (self.settings.path.clone(), self.settings.tuning);
        let reopened =
            self.disk.with(move |disk| -> Result<(), DbError> { disk.db.reopen(&path, tuning, &remains) }).await;
        match reopened {
            Ok(()) => Ok(None),
            Err(error) if error.may_pass() => Ok(Some(error.to_string())),
            Err(error) => Err(Trouble::Halt(error.to_string())),
        }
    }
}
