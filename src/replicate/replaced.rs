//! A maintenance has put another file in the database's place while it was replicated (`VACUUM INTO` or `.dump`, and a rename).
//!
//! What was captured of the old file is uploaded, then the new one is opened and compared with the history like any file that is not
//! known: the same application's database becomes the newest state, a stranger ends the replication. As long as another program has the
//! old file open, its commits go into a file without a name; that is said, and the new file waits until it lets go.

use std::time::Duration;

use tokio::time::Instant;

use super::core::Trouble;
use super::difference::DoubtState;
use super::disk::Pending;
use super::local::LocalSide;
use super::on_thread::blocking;
use crate::clock::Clock;
use crate::db::{Db, DbError, ImageReason, Remains};
use crate::sqlite::{Presence, look_at_file};

/// How long to wait for a file where there is none any more.
const MISSING_TIME: Duration = Duration::from_secs(5);
/// A WAL is taken away, and the database is replaced a moment later.
const TORN_TIME: Duration = Duration::from_millis(1500);
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(200);
const SAY_EVERY: Duration = Duration::from_secs(60);

impl LocalSide {
    /// Goes on with the file that lies at the path now.
    pub async fn take_up(&mut self) -> Result<(), Trouble> {
        let last_confirmed = self.confirmed;
        self.open_replacement().await?;
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
        Ok(())
    }

    async fn open_replacement(&mut self) -> Result<(), Trouble> {
        let (name, path) = (self.name(), self.settings.path.clone());
        let gone = format!("{name} was deleted or replaced while it was replicated, and no database lies there now");
        let remains = self.disk.with(|disk| disk.db.remains()).await;
        match self.settings.may_vanish {
            true => tracing::debug!(db = %name, "the database was deleted or replaced: looking at what lies there"),
            false => {
                tracing::warn!(db = %name, "another file lies in the place of the database that was replicated: looking at it");
            }
        }
        let clock = self.settings.clock;
        let (began, mut last_said) = (clock.instant(), None::<Instant>);
        loop {
            let (looked, left) = (path.clone(), remains.clone());
            let (is_there, user) =
                blocking(move || (matches!(look_at_file(&looked), Ok(Presence::Database(_))), left.user())).await;
            if let (true, Some(pid)) = (is_there, user) {
                let now = clock.instant();
                if last_said.is_none_or(|at| now - at >= SAY_EVERY) {
                    last_said = Some(now);
                    tracing::error!(
                        db = %name,
                        "the database was replaced, but process {pid} still has the old file open, and what it commits is nowhere \
                         any more: restart it; the new file is replicated as soon as nothing has the old one open"
                    );
                }
            } else if is_there {
                if self.reopen(remains.clone()).await? {
                    return Ok(());
                }
            } else if clock.instant() - began >= MISSING_TIME || self.has_vanished() {
                return Err(Trouble::Halt(gone));
            }
            if self.deadline().is_some_and(|deadline| clock.instant() + RETRY_INTERVAL >= deadline) {
                return Err(Trouble::Halt(gone));
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Whoever has told it to end has seen that the file is gone, and waits for the end.
    fn has_vanished(&self) -> bool {
        self.settings.may_vanish && self.deadline().is_some()
    }

    /// Whether the new file could be opened; `false` while something keeps it busy. The connections to the old file have to
    /// end before anything beside it is touched.
    pub(super) async fn reopen(&mut self, remains: Remains) -> Result<bool, Trouble> {
        let (path, tuning) = (self.settings.path.clone(), self.settings.tuning);
        let reopened =
            self.disk.with(move |disk| -> Result<(), DbError> { disk.db.reopen(&path, tuning, &remains) }).await;
        match reopened {
            Ok(()) => Ok(true),
            Err(error) if error.is_busy() => Ok(false),
            Err(error) => Err(Trouble::Halt(error.to_string())),
        }
    }
}

/// What has really happened to the files, if a step has failed with this. A removed WAL may be the beginning of more.
pub(super) fn cause_of(db: &Db, error: DbError, clock: Clock) -> DbError {
    let began = clock.blocking_instant();
    loop {
        match db.check_identity() {
            Err(DbError::Torn { .. }) if clock.blocking_instant() - began < TORN_TIME => {
                clock.block_for(RETRY_INTERVAL)
            }
            // What SQLite says of a file that was taken away in the middle of a step is only a symptom.
            checked => return checked.err().unwrap_or(error),
        }
    }
}
