//! The requests that change claims. Each has a time-out: what takes longer may have been carried
//! out, which a look finds out.

use std::time::Duration;

use super::core::{Claimed, Trouble};
use super::look::LookError;
use super::wire::{self, Beat, Claim};
use crate::remote::{Epoch, Remote};
use crate::store::StoreError;

/// A request that takes longer is given up.
pub const REQUEST_TIME: Duration = Duration::from_secs(5);

pub async fn create(remote: &Remote, epoch: Epoch, claim: Claim) -> Result<Claimed, Trouble> {
    match remote.create_claim(epoch, wire::encode(&claim)).await {
        Ok(()) => Ok(Claimed::Won),
        Err(StoreError::AlreadyExists { .. }) => {
            let read = remote.read_claim(epoch).await;
            let bytes = read.map_err(|error| Trouble::Away(error.to_string()))?;
            let there = wire::decode::<Claim>(&format!("claims/{epoch}.json"), &bytes);
            let there = there.map_err(|error| Trouble::Away(error.to_string()))?;
            Ok(if there.process == claim.process { Claimed::Won } else { Claimed::Lost })
        }
        Err(error) => Err(trouble(error)),
    }
}

pub async fn write(remote: &Remote, epoch: Epoch, beat: Beat) -> Result<(), Trouble> {
    remote.write_beat(epoch, wire::encode(&beat)).await.map_err(trouble)
}

pub async fn in_time<T>(limit: Duration, request: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let late = |_| Trouble::Away(format!("no answer within {limit:?}"));
    tokio::time::timeout(limit, request).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
}

pub fn untold(error: LookError) -> Trouble {
    match error {
        LookError::Store(error) => trouble(error),
        LookError::Unreadable(error) => Trouble::Away(error.to_string()),
    }
}

pub fn trouble(error: StoreError) -> Trouble {
    match error {
        StoreError::Denied { detail } => Trouble::Denied(detail),
        error => Trouble::Away(error.to_string()),
    }
}
