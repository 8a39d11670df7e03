//! What is known of a database that cannot be proved to continue the history, while that is looked
//! into (`difference.rs`).

use tokio::time::Instant;

use crate::ltx::Txid;
use crate::state::SyncedTo;

/// What is known about the doubt that is being looked into.
#[derive(Debug, Default)]
pub(super) struct DoubtState {
    /// The TXID whose doubt has been said.
    pub said: Option<Txid>,
    /// Comparisons in a row that the store's objects did not let come to an end.
    pub failures: u32,
    /// When an image must be begun, once it is time to end.
    pub until: Option<Instant>,
    /// The note of the file's identity is up to date.
    pub is_noted: bool,
    /// The history went on since this disk was in step with it; how far it was.
    pub suspicion: Option<SyncedTo>,
}

impl DoubtState {
    /// The history may have gone on since the disk was in step with it up to there.
    pub fn suspect(&mut self, synced_to: Option<SyncedTo>) {
        self.suspicion = synced_to;
    }
}
