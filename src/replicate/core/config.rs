//! What a core is told once.

use std::time::Duration;

use super::seal::SealPermit;

#[derive(Clone, Debug)]
pub struct Config {
    /// How often to poll without being woken.
    pub monitor_interval: Duration,
    /// The WAL is reset after this time even if it is short.
    pub checkpoint_interval: Duration,
    /// The WAL is reset when it holds this many frames.
    pub min_checkpoint_page_count: u32,
    /// A WAL beyond this many frames is worth a warning even if only a checkpoint is in the way.
    pub truncate_page_n: u32,
    /// The average time between two uploads.
    pub sync_interval: Duration,
    /// WAL bytes that may wait for the bucket before they are moved to local files.
    pub max_sync_wal_bytes: u64,
    /// Pause between attempts at the end.
    pub final_retry_interval: Duration,
    /// Create-if-absent forgets deleted keys: after this time without an upload the history is
    /// listed again before the next.
    pub proof_lasts: Duration,
    /// End as soon as everything is in the bucket.
    pub once: bool,
    /// There are mirrors: the least time between two rounds of what they get while the first
    /// replica is away.
    pub mirror_interval: Option<Duration>,
    /// The connections are closed when nothing has happened for so long.
    pub close_after: Option<Duration>,
    /// The history is to be sealed, and whether it may be now.
    pub seal: Option<SealPermit>,
    /// The file may be deleted while it is replicated; whoever orders the end has seen that then.
    pub may_vanish: bool,
}
