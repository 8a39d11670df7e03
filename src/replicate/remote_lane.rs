//! The bucket's lane: one order of the core at a time, and what comes of it.
//!
//! An order that waits for its turn is small: thousands of databases may begin together.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Settings;
use super::core::{RemoteOrder, Trouble};
use super::disk::Outbox;
use super::governor::Governor;
use super::lifecycle::Shipped;
use super::local::trouble;
use super::look::Seen;
use super::mirror::{Mirror, look_at_all};
use super::send::{prove, send};
use crate::ltx::Txid;
use crate::remote::Remote;

/// What came of an order, or of a measurement.
pub(super) enum Arrived {
    Looked(Result<Box<Seen>, Trouble>),
    Proved(Result<Option<Txid>, Trouble>),
    Sent(Result<Shipped, Trouble>),
    WalMeasured(u64),
}

/// What an order is carried out with.
pub(super) struct RemoteLane {
    pub settings: Arc<Settings>,
    pub remote: Remote,
    pub mirrors: Vec<Mirror>,
    pub governor: Governor,
}

impl RemoteLane {
    pub async fn carry_out(self, order: RemoteOrder, outbox: Outbox) -> Arrived {
        match order {
            RemoteOrder::Look => self.look().await,
            RemoteOrder::Prove => {
                let _turn = self.governor.look().await;
                Arrived::Proved(Box::pin(prove(&self.remote)).await.map_err(trouble))
            }
            RemoteOrder::SendBatch(_) | RemoteOrder::SendFile(_) => {
                let _turn = self.governor.upload().await;
                Arrived::Sent(Box::pin(send(&self.remote, order, outbox)).await.map_err(trouble))
            }
        }
    }

    async fn look(self) -> Arrived {
        let seen = look_at_all(&self.settings, &self.remote, &self.mirrors, &self.governor).await;
        Arrived::Looked(seen.map(Box::new))
    }
}

/// A look at the bucket that is under way while the database is opened, as soon as the lock is
/// ours.
pub(super) struct FirstLook(JoinSet<Arrived>);

impl FirstLook {
    pub fn none() -> FirstLook {
        FirstLook(JoinSet::new())
    }

    pub fn begin(&mut self, lane: RemoteLane) {
        self.0.spawn(lane.look());
    }

    pub fn under_way(self) -> JoinSet<Arrived> {
        self.0
    }
}
