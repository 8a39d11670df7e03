//! Whether the application ended at once without having written to a database. One that fails to
//! get an exclusive lock does.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::Job;
use crate::clock::MACHINE;
use crate::fsx;
use crate::replicate::blocking;

/// An application that ran longer did not end because of a refused lock.
const SOON: Duration = Duration::from_secs(60);

/// State of the databases when the application started.
pub(super) struct Untouched {
    began: Instant,
    stamps: Vec<Option<Stamp>>,
}

type Stamp = (u64, i64, i64);

impl Untouched {
    pub async fn look(job: &Job) -> Untouched {
        Untouched { began: MACHINE.instant(), stamps: stamps(job).await }
    }

    /// Whether there is a database, none was written to, and not much time has passed.
    pub async fn is_so_still(&self, job: &Job) -> bool {
        MACHINE.instant() - self.began < SOON
            && self.stamps.iter().any(Option::is_some)
            && self.stamps == stamps(job).await
    }
}

/// Size and time of each database and its WAL; reading does not change them.
async fn stamps(job: &Job) -> Vec<Option<Stamp>> {
    let databases = job.options.databases.iter();
    let paths: Vec<PathBuf> = databases.flat_map(|d| [d.path.clone(), fsx::with_suffix(&d.path, "-wal")]).collect();
    let stamp = |found: Metadata| (found.len(), found.mtime(), found.mtime_nsec());
    blocking(move || paths.iter().map(|path| fs::metadata(path).ok().map(stamp)).collect()).await
}
