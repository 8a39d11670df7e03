//! When the application may start, once the database is armed (before that: `opening/`).
//!
//! A bucket that does not answer must not keep the application from its own disk: where the last
//! run ended in order, with this file, it starts at once. After an end in the middle, and with a
//! file that was not replicated from here before, the first look at the bucket is waited for, but
//! not for ever. Where the bucket tells that the history has gone on, or may be another database's,
//! it is found out first what that means.

use std::time::Duration;

use tokio::time::Instant;

use super::event::{Effect, Notice};
use super::{Common, Now, Plan};

/// How long the start of the application may wait to hear where the history ends.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// What is known when the database is armed and the bucket has not answered yet.
#[derive(Clone, Copy, Debug)]
pub struct AtArming {
    /// The application may have started before: there was no database then, or another process
    /// replicated it.
    pub is_started: bool,
    /// The last run here ended in the middle.
    pub was_cut_off: bool,
    /// It is the file that was replicated from here before.
    pub is_known: bool,
}

/// Whether the application may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// The first look at the bucket is waited for until then.
    OpensAt(Instant),
    /// It is found out first what became of the history.
    Held,
    Open,
}

impl Gate {
    pub fn new(known: AtArming, now: Now) -> Gate {
        match known {
            AtArming { is_started: true, .. } => Gate::Open,
            AtArming { was_cut_off: false, is_known: true, .. } => Gate::OpensAt(now.instant),
            AtArming { .. } => Gate::OpensAt(now.instant + LOOK_TIME),
        }
    }
}

impl Common {
    pub(super) fn open_gate(&mut self, plan: &mut Plan) {
        if self.gate != Gate::Open {
            self.gate = Gate::Open;
            plan.push(Effect::Open);
        }
    }

    /// The application does not start before it is known what became of the history. Too late if it
    /// has started.
    pub(super) fn hold_gate(&mut self, why: Notice, plan: &mut Plan) {
        if matches!(self.gate, Gate::OpensAt(_)) {
            self.gate = Gate::Held;
            plan.push(Effect::Say(why));
        }
    }

    /// A bucket that does not answer is not waited for.
    pub(super) fn open_gate_in_time(&mut self, now: Now, plan: &mut Plan) {
        if let Gate::OpensAt(at) = self.gate
            && plan.is_due(at, now)
        {
            self.open_gate(plan);
        }
    }

    /// Nor for one that cannot be asked.
    pub(super) fn open_gate_unless_held(&mut self, plan: &mut Plan) {
        if self.gate != Gate::Held {
            self.open_gate(plan);
        }
    }
}
