//! A maintenance has put another file in the database's place while it was replicated (`VACUUM INTO` or `.dump`, and a rename).
//!
//! What was captured of the old file is uploaded, then the new one is opened and compared with the history like any file that is not
//! known: the same application's database becomes the newest state, a stranger ends the replication. As long as another program has the
//! old file open, its commits go into a file without a name; that is said, and the new file waits until it lets go.

use std::time::Duration;

use tokio::time::Instant;

use super::difference::Doubts;
use super::road::Traveller;
use super::ship::Pending;
use super::upload::blocking;
use crate::db::{Db, DbError, ImageReason};
use crate::sqlite::{Presence, look_at_file};

/// How long to wait for a file where there is none any more.
const MISSING_TIME: Duration = Duration::from_secs(5);
/// A WAL is taken away, and the database is replaced a moment later.
const TORN_TIME: Duration = Duration::from_millis(1500);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
const SAY_EVERY: Duration = Duration::from_secs(60);

impl Traveller {
    /// What has really happened to the files, if a step has failed with this. A removed WAL may be the beginning of more.
    pub async fn cause_of(&mut self, error: DbError) -> DbError {
        let began = Instant::now();
        loop {
            match self.with_db(|db| db.check_identity()).await {
                Err(DbError::Torn { .. }) if began.elapsed() < TORN_TIME => tokio::time::sleep(RETRY_INTERVAL).await,
                // What SQLite says of a file that was taken away in the middle of a step is only a symptom.
                checked => return checked.err().unwrap_or(error),
            }
        }
    }

    /// Goes on with the file that lies at the path now; `Err` says why not.
    pub async fn take_up(&mut self, error: DbError, pending: &mut Option<Pending>) -> Result<(), String> {
        if self.settings.once.is_some() {
            return Err(error.to_string());
        }
        let db = self.open_replacement(error).await?;
        self.db = Some(db);
        if let Some(Pending::Streamed(_) | Pending::Doubted(_)) = pending {
            // Its pages were in the old file.
            *pending = None;
        }
        let spilled = self.spill.back().map(|file| file.header.max_txid);
        let last = self.confirmed.max(spilled).max(pending.as_ref().map(Pending::txid));
        self.db().start_over(last, last.map_or(ImageReason::FirstBackup, |_| ImageReason::FileReplaced));
        self.doubts = Doubts::default();
        self.unpublished = None;
        (self.last_reset, self.no_reset_before) = (Instant::now(), Instant::now());
        Ok(())
    }

    async fn open_replacement(&mut self, error: DbError) -> Result<Db, String> {
        let (name, path, tuning) = (self.name(), self.settings.path.clone(), self.settings.tuning);
        let remains = self.db().remains();
        tracing::warn!(db = %name, "another file lies in the place of the database that was replicated: looking at it");
        let (began, mut last_said) = (Instant::now(), None::<Instant>);
        loop {
            let is_there = matches!(look_at_file(&path), Ok(Presence::Database(_)));
            let user = remains.user();
            if let (true, Some(pid)) = (is_there, user) {
                if last_said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                    last_said = Some(Instant::now());
                    tracing::error!(
                        db = %name,
                        "the database was replaced, but process {pid} still has the old file open, and what it commits is nowhere \
                         any more: restart it; the new file is replicated as soon as nothing has the old one open"
                    );
                }
            } else if is_there {
                // Connections to the old file end here, before anything beside it is touched.
                drop(self.db.take());
                let (opened, left) = (path.clone(), remains.clone());
                let db = blocking(move || {
                    left.clear()?;
                    Db::open(&opened, tuning)
                });
                match db.await {
                    Err(error) if error.is_busy() => {}
                    done => return done.map_err(|error| error.to_string()),
                }
            } else if began.elapsed() >= MISSING_TIME {
                return Err(error.to_string());
            }
            if self.deadline().is_some_and(|deadline| Instant::now() + RETRY_INTERVAL >= deadline) {
                return Err(error.to_string());
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
}
