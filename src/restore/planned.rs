//! The plan alone: what would be restored.

use tokio_util::sync::CancellationToken;

use super::checked_plan::{self, Found};
use super::{MAX_ATTEMPTS, RestoreError, Target};
use crate::remote::Remote;

/// What a restore would read, without reading more than it takes to know.
pub async fn plan(remote: &Remote, target: Target, cancel: &CancellationToken) -> Result<Found, RestoreError> {
    let attempts = async {
        let mut attempt = 1;
        loop {
            match checked_plan::checked_plan(remote, target, &[]).await {
                Err(checked_plan::Failure::Moved(_)) if attempt < MAX_ATTEMPTS => attempt += 1,
                done => return done.map_err(checked_plan::Failure::into_error),
            }
        }
    };
    cancel.run_until_cancelled(attempts).await.unwrap_or(Err(RestoreError::Cancelled))
}
