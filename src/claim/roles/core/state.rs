//! Where a core stands, and what it knows there.

use std::time::Duration;

use super::event::Outcome;
use crate::claim::seen::Why;
use crate::remote::Epoch;

#[derive(Clone, Debug)]
pub enum State {
    /// Who writes is not known.
    Looking,
    Following(Step),
    Claiming(Claiming),
    /// For earlier holders to release, or to show no life.
    Waiting,
    /// The next TXIDs are being created, or are there already and it must be shown that this claim
    /// is the newest still.
    Sealing {
        is_done: bool,
        /// By the boot clock.
        since: Duration,
    },
    Serving,
    /// The claim was not renewed in time: the application cannot write.
    Closed,
    Draining,
    /// The claim is to be released before the end.
    Leaving,
    Ended(Outcome),
}

/// How a follower becomes the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is a primary, or it is not for this node to be it.
    Resting,
    /// It will claim when everything is installed; asked for at this time by the boot clock.
    CatchingUp(Duration),
    /// Everything was, at this time by the boot clock.
    CaughtUp(Duration),
}

#[derive(Clone, Debug)]
pub struct Claiming {
    pub epoch: Epoch,
    pub parent: Option<Epoch>,
    pub why: Why,
    /// The answer was lost.
    pub is_unsettled: bool,
}
