//! Where a core stands, and what it knows there.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::event::Outcome;
use crate::claim::seen::Why;
use crate::claim::watch::Watch;
use crate::claim::wire::Beat;
use crate::remote::Epoch;

#[derive(Clone, Debug)]
pub enum State {
    /// Who writes is not known.
    Looking,
    /// The application that was started without a claim is being stopped.
    Retreating,
    Claiming(Claiming),
    /// For earlier holders to release.
    Waiting {
        for_: Option<Watch<Beats>>,
        /// An earlier holder sealed after us: it is waited for as well.
        is_wary: bool,
    },
    /// The next TXIDs are being created, or are there already and a look must show that this claim
    /// is the newest still.
    Sealing {
        is_done: bool,
    },
    Serving {
        opened: Duration,
        /// There is a later claim, whose holder has not shown life.
        has_ghost: bool,
    },
    Draining,
    StandingBy(StandingBy),
    /// The claim is to be released before the end.
    Leaving,
    Ended(Outcome),
}

#[derive(Clone, Debug)]
pub struct Claiming {
    pub epoch: Epoch,
    pub parent: Option<Epoch>,
    pub why: Why,
    /// The answer was lost.
    pub is_unsettled: bool,
    /// The claim of this instance that others came after.
    pub stood_by: Option<Epoch>,
}

#[derive(Clone, Debug)]
pub struct StandingBy {
    pub own: Epoch,
    /// Those that came later.
    pub above: BTreeMap<Epoch, Watch<Option<Beat>>>,
    /// The place is offered to another instance.
    pub offered: Option<Watch<Epoch>>,
    /// Another writer was met: since then, whether earlier claims show that it is one of them.
    pub fenced: Option<Watch<Beats>>,
    pub look_every: Duration,
}

pub type Beats = Vec<(Epoch, Option<Beat>)>;

/// The one request to the bucket.
#[derive(Clone, Debug)]
pub enum Work {
    Idle,
    /// Since then by the boot clock.
    Busy(Duration),
    /// After a failure.
    Paused(Instant),
}
