//! Where a node tells others of itself.

use tokio::sync::watch;
use tokio::time::Instant;

use super::Standing;
use super::shown::Shown;

pub struct Says {
    pub standing: watch::Sender<Standing>,
    /// Whether its application may write.
    pub writes: watch::Sender<bool>,
    pub shown: Shown,
    /// When what a follower shows was the newest state for the last time.
    pub current: watch::Sender<Option<Instant>>,
}
