//! One piece of work on a replica, and what it came to. Nothing is decided here.

use super::inspect;
use super::write::{Input, WriteError, write};
use crate::remote::{Level, Listing, LtxObject, ReadError, Remote};
use crate::replicate::governor::Governor;
use crate::store::{Deleted, Key, StoreError};

pub(super) enum Work {
    List,
    Probe(LtxObject),
    Write { level: Level, inputs: Vec<Input> },
    Prove(LtxObject),
    Delete(Vec<LtxObject>),
}

pub(super) enum Done {
    Listed(Result<Listing, StoreError>),
    Probed(LtxObject, Result<bool, ReadError>),
    Wrote(Level, Box<Result<LtxObject, WriteError>>),
    Proved(LtxObject, Result<inspect::Verdict, ReadError>),
    Deleted(Vec<LtxObject>, Result<Deleted, StoreError>),
}

impl Work {
    pub async fn run(self, remote: Remote, governor: Governor) -> Done {
        match self {
            Work::List => Done::Listed(remote.listing().await),
            Work::Probe(object) => {
                let image = inspect::is_image(&remote, &object).await;
                Done::Probed(object, image)
            }
            Work::Write { level, inputs } => {
                let _turn = governor.merge().await;
                Done::Wrote(level, Box::new(write(&remote, level, inputs).await))
            }
            Work::Prove(object) => {
                let verdict = inspect::is_sound(&remote, &object).await;
                Done::Proved(object, verdict)
            }
            Work::Delete(objects) => {
                let keys: Vec<Key> = objects.iter().map(|o| o.name.clone()).collect();
                let deleted = remote.store().delete(&keys).await;
                Done::Deleted(objects, deleted)
            }
        }
    }
}
