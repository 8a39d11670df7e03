//! What was asked for could not even be tried, because nothing more can be opened: it is asked for
//! again, until the deadline. Databases at rest close their files, so that is soon over where only
//! the start needs more of them than may be open.

use std::time::Duration;

use tokio::time::Instant;

use super::event::{Effect, Notice, Order, Outcome};
use super::{Common, Now, Plan, RETRY_INTERVAL};

const SAY_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Postponed {
    /// The order that is under way, or waits.
    order: Option<Order>,
    again_at: Option<Instant>,
    said_at: Option<Instant>,
}

impl Postponed {
    /// These are asked for now.
    pub fn note<D>(&mut self, effects: &[Effect<D>]) {
        let orders =
            effects.iter().filter_map(|effect| if let Effect::Do(order) = effect { Some(*order) } else { None });
        if let Some(order) = orders.last() {
            self.order = Some(order);
        }
    }

    /// It could not be tried.
    pub fn put_off<D>(
        &mut self,
        why: String,
        common: &Common,
        now: Now,
        plan: &mut Plan<Effect<D>>,
    ) -> Option<Outcome<D>> {
        if common.finish.is_some_and(|deadline| deadline <= now.instant) {
            return Some(Outcome::Failed(why));
        }
        if self.said_at.is_none_or(|said| now.instant - said >= SAY_EVERY) {
            self.said_at = Some(now.instant);
            plan.push(Effect::Say(Notice::OutOfFiles(why)));
        }
        self.again_at = Some(now.instant + RETRY_INTERVAL);
        None
    }

    pub fn plan<D>(&mut self, common: &Common, now: Now, plan: &mut Plan<Effect<D>>) {
        let (Some(at), Some(order)) = (self.again_at, self.order) else { return };
        // Beyond the deadline it is tried once more.
        let at = common.finish.map_or(at, |deadline| at.min(deadline));
        if plan.is_due(at, now) {
            self.again_at = None;
            plan.push(Effect::Do(order.for_the_end(common.is_ending())));
        }
    }
}

impl Order {
    /// At the end there is no time to wait for a turn.
    fn for_the_end(self, is_ending: bool) -> Order {
        match self {
            Order::Open { in_turn, forget_note } => Order::Open { in_turn: in_turn && !is_ending, forget_note },
            order => order,
        }
    }
}
