//! The other replicas of a database.
//!
//! A database has one history: its TXIDs are numbered once, by the capture. The first replica fences; every other one
//! is a *mirror* and gets the same objects, byte for byte, each when its number is final. A mirror has a watermark,
//! compaction, retention and health of its own, and holds up nobody.

use std::time::Duration;

use super::governor::Governor;
use super::lifecycle::Policy;
use crate::remote::Remote;

/// How a mirror is kept.
#[derive(Clone, Debug)]
pub struct MirrorSettings {
    /// As it is configured, for logs.
    pub name: String,
    /// The least time between two rounds of uploads under sustained writes.
    pub sync_interval: Duration,
    /// What becomes of its files as they grow old; `None`: nothing.
    pub lifecycle: Option<Policy>,
}

/// A mirror, and what its store may be asked for.
#[derive(Clone)]
pub struct Mirror {
    pub settings: MirrorSettings,
    pub remote: Remote,
    pub governor: Governor,
}
