//! A program wrote to the database file past SQLite: when to examine it.
//!
//! Until it is examined and compared with the bucket, what is committed is shipped as ever, but
//! nothing is called safe: no sync is answered, and the end is not reached. It is examined when
//! whoever writes to it has come to an end, and again while a reader or a writer of the application
//! is in the way.

use std::time::Duration;

use tokio::time::Instant;

use super::{Common, LocalOrder, Now, Plan};

/// A copy under way is not worth a look.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Examination {
    due_at: Option<Instant>,
}

impl Examination {
    /// Orders it if it is due; the database's lane is free. Whether it did.
    pub fn order_if_due(&mut self, common: &mut Common, now: Now, plan: &mut Plan) -> bool {
        if !common.lane.is_overwritten {
            self.due_at = None;
            return false;
        }
        let due_at = *self.due_at.get_or_insert(now.instant + PAUSE);
        let is_due = plan.is_due(due_at, now);
        if is_due {
            self.due_at = None;
            common.order(LocalOrder::Examine, now, plan);
        }
        is_due
    }
}
