//! Where a node tells others of itself.

use tokio::sync::watch;

use super::Standing;
use super::shown::Shown;
use crate::status::Freshness;

pub struct Says {
    pub standing: watch::Sender<Standing>,
    /// Whether its application may write.
    pub writes: watch::Sender<bool>,
    pub shown: Shown,
    /// How old is what a follower shows.
    pub freshness: watch::Sender<Freshness>,
}
