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
pub(in super::super) enum Closed {
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

impl Closed {
    /// Something has changed.
    pub fn woke(&mut self) {
        match self {
            Closed::Closing { is_changed } | Closed::Glancing { is_changed } => *is_changed = true,
            Closed::Waiting { .. } => *self = Closed::Wanted,
            Closed::Wanted | Closed::Opening => {}
        }
    }

    /// It is closed, or was looked at.
    pub fn rest(&mut self, is_changed: bool, poll_interval: Duration, now: Now) {
        let was_told = match self {
            Closed::Closing { is_changed } | Closed::Glancing { is_changed } => *is_changed,
            Closed::Waiting { .. } => false,
            Closed::Wanted | Closed::Opening => true,
        };
        *self = match is_changed || was_told {
            true => Closed::Wanted,
            false => Closed::Waiting { poll_at: now.instant + poll_interval },
        };
    }

    /// The database's lane is free. `is_wanted`: whatever is committed must be captured now.
    pub fn order(&mut self, is_wanted: bool, common: &mut Common, now: Now, plan: &mut Plan) {
        match *self {
            Closed::Wanted | Closed::Waiting { .. } if is_wanted || *self == Closed::Wanted => {
                *self = Closed::Opening;
                common.order(LocalOrder::OpenAgain, now, plan);
            }
            Closed::Waiting { poll_at } if plan.is_due(poll_at, now) => {
                *self = Closed::Glancing { is_changed: false };
                common.order(LocalOrder::Glance, now, plan);
            }
            _ => {}
        }
    }
}
