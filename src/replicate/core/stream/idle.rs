//! A database in which nothing happens: its connections are closed until something does.
//!
//! ```text
//!   Wal::Quiet ──for a while──▶ Closing ──▶ Waiting ◀─nothing──▶ Glancing    every so often, in case an event is missed
//!      ▲  something in the way ────┘           │                    │
//!      │                                       │ an event, a sync,  │ a change
//!      │                                       ▼ the end            ▼
//!   Wal::Changed ◀──────────────── Opening ◀── Wanted ◀─────────────┘
//! ```
//!
//! Nothing else may be done with the database meanwhile, and nothing has to be: everything that was
//! committed is in the bucket, and the WAL is empty.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{Common, LocalOrder, Now, Plan};

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum ClosedState {
    /// It is being closed. `is_changed`: something has happened since that was ordered.
    Closing {
        is_changed: bool,
    },
    Waiting {
        poll_at: Instant,
    },
    Glancing {
        is_changed: bool,
    },
    /// It must be opened.
    Wanted,
    Opening,
}

impl ClosedState {
    /// Something has changed.
    pub fn woke(&mut self) {
        match self {
            ClosedState::Closing { is_changed } | ClosedState::Glancing { is_changed } => *is_changed = true,
            ClosedState::Waiting { .. } => *self = ClosedState::Wanted,
            ClosedState::Wanted | ClosedState::Opening => {}
        }
    }

    /// It is closed, or was looked at.
    pub fn rest(&mut self, is_changed: bool, poll_interval: Duration, now: Now) {
        let was_told = match self {
            ClosedState::Closing { is_changed } | ClosedState::Glancing { is_changed } => *is_changed,
            ClosedState::Waiting { .. } => false,
            ClosedState::Wanted | ClosedState::Opening => true,
        };
        *self = match is_changed || was_told {
            true => ClosedState::Wanted,
            false => ClosedState::Waiting { poll_at: now.instant + poll_interval },
        };
    }

    /// The database's lane is free. `is_wanted`: whatever is committed must be captured now.
    pub fn order(&mut self, is_wanted: bool, common: &mut Common, now: Now, plan: &mut Plan) {
        match *self {
            ClosedState::Wanted | ClosedState::Waiting { .. } if is_wanted || *self == ClosedState::Wanted => {
                *self = ClosedState::Opening;
                common.order(LocalOrder::OpenAgain, now, plan);
            }
            ClosedState::Waiting { poll_at } if common.positions.is_look_wanted() || plan.is_due(poll_at, now) => {
                *self = ClosedState::Glancing { is_changed: false };
                common.glance(now, plan);
            }
            _ => {}
        }
    }
}
