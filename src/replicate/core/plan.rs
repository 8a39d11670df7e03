//! What a core has decided on an event: what is to be done now, and when to plan again if nothing
//! happens until then.

use tokio::time::Instant;

use super::event::Effect;
use crate::clock::Now;

#[derive(Debug)]
pub struct Plan<E = Effect> {
    pub effects: Vec<E>,
    pub wake_at: Option<Instant>,
}

impl<E> Default for Plan<E> {
    fn default() -> Plan<E> {
        Plan { effects: Vec::new(), wake_at: None }
    }
}

impl<E> Plan<E> {
    pub fn push(&mut self, effect: E) {
        self.effects.push(effect);
    }

    pub fn wake(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Whether `at` has come; if not, it is waited for.
    pub fn is_due(&mut self, at: Instant, now: Now) -> bool {
        let is_due = at <= now.instant;
        if !is_due {
            self.wake(at);
        }
        is_due
    }
}
