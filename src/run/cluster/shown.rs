//! Tells what each database of this node shows, whichever its role.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fleet::FleetHandle;
use crate::ltx::Txid;
use crate::replicate::DatabaseId;
use crate::run::proxying::follow;
use crate::status::Positions;

pub struct Shown {
    told: watch::Sender<Positions>,
    /// While this node is the primary.
    following: JoinSet<()>,
}

impl Shown {
    pub fn new(told: watch::Sender<Positions>) -> Shown {
        Shown { told, following: JoinSet::new() }
    }

    /// What the copies show.
    pub fn copies<'a>(&self, all: impl Iterator<Item = (&'a Path, Option<Txid>)>) {
        self.told
            .send_if_modified(|positions| all.fold(false, |is_new, (path, txid)| positions.set(path, txid) | is_new));
    }

    /// What is captured, from now on.
    pub async fn replications(&mut self, fleet: &FleetHandle, ids: &BTreeMap<PathBuf, DatabaseId>) {
        self.following = JoinSet::new();
        for (path, id) in ids {
            let Ok(replicas) = fleet.watch_replicas(*id).await else { continue };
            let Some(first) = replicas.into_iter().next() else { continue };
            let (told, path) = (self.told.clone(), path.clone());
            self.following.spawn(follow(first, move |status| {
                let captured = status.captured;
                told.send_if_modified(|positions| captured.is_some() && positions.set(&path, captured));
            }));
        }
    }

    /// The replications end.
    pub fn rest(&mut self) {
        self.following = JoinSet::new();
    }
}
