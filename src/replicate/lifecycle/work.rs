//! One piece of work on a replica, and what it came to. Nothing is decided here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::inspect;
use super::marks::{self, Read};
use super::write::{Input, WriteError, write};
use crate::remote::{Level, Listing, LtxObject, ReadError, Remote};
use crate::replicate::governor::Governor;
use crate::status::Counts;
use crate::store::{Deleted, Key, StoreError};

pub(super) enum Work {
    List,
    Probe(LtxObject),
    Write {
        level: Level,
        inputs: Vec<Input>,
    },
    Prove(LtxObject),
    /// Look at the marks; what is known to be unchanged is not read again.
    Marks(HashMap<String, (u64, i64)>),
    Delete(Vec<LtxObject>),
}

pub(super) enum Done {
    Listed(Result<Listing, StoreError>),
    Probed(LtxObject, Result<bool, ReadError>),
    Wrote(Level, Box<Result<LtxObject, WriteError>>),
    Proved(LtxObject, Result<inspect::Verdict, ReadError>),
    Marks(Result<Vec<Read>, ReadError>),
    Deleted(Vec<LtxObject>, Result<Deleted, StoreError>),
}

impl Work {
    /// While it waits for its turn, it is small.
    pub async fn run(self, remote: Remote, governor: Governor, counts: Arc<Counts>) -> Done {
        match self {
            Work::List => {
                let _turn = governor.look().await;
                Done::Listed(Box::pin(remote.listing()).await)
            }
            Work::Probe(object) => {
                let image = Box::pin(inspect::is_image(&remote, &object)).await;
                Done::Probed(object, image)
            }
            Work::Write { level, inputs } => {
                let _turn = governor.merge().await;
                let began = remote.clock().instant();
                let written = Box::pin(write(&remote, level, inputs)).await;
                count(&counts, level, &written, remote.clock().instant().saturating_duration_since(began));
                Done::Wrote(level, Box::new(written))
            }
            Work::Prove(object) => {
                let verdict = Box::pin(inspect::is_sound(&remote, &object)).await;
                Done::Proved(object, verdict)
            }
            Work::Marks(unchanged) => Done::Marks(Box::pin(marks::look(&remote, &unchanged)).await),
            Work::Delete(objects) => {
                let keys: Vec<Key> = objects.iter().map(|o| o.name.clone()).collect();
                let deleted = remote.store().delete(&keys).await;
                Done::Deleted(objects, deleted)
            }
        }
    }
}

fn count(counts: &Counts, level: Level, written: &Result<LtxObject, WriteError>, took: Duration) {
    let tally = if level == Level::SNAPSHOT { &counts.snapshots } else { &counts.compactions };
    tally.add(took, written.is_ok());
    if let Err(WriteError::Unproved { .. }) = written {
        counts.unproved.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}
