//! Where the history in the bucket ends, whether this database continues it, and when the application may start.
//!
//! The first look at the bucket is under way while the database is opened. If the history turns out to have gone on since this
//! disk was in step with it, the application waits until it is known what that means. After an end in the middle (a crash, a
//! kill) it waits for the look itself, but not for ever: a bucket that does not answer must not keep it from its own disk.

use std::time::Duration;

use tokio::time::Instant;

use super::event::{Effect, Event, LocalDone, LocalOrder, Notice, RemoteDone, RemoteOrder, Report, Start, Trouble};
use super::stream::Streaming;
use super::{Common, Gate, Now, Plan, State};

enum Step {
    /// The bucket is asked.
    Looking,
    /// It has answered, at this boot-clock time.
    Seen(Duration),
    /// The database is compared with the answer.
    Verifying(Duration),
    /// It could not be asked.
    Waiting(Instant),
}

pub(super) struct Locating {
    step: Step,
}

impl Locating {
    pub fn begin() -> Locating {
        Locating { step: Step::Looking }
    }

    pub fn on_event(&mut self, event: Event, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        match event {
            Event::Remote(RemoteDone::Looked(Ok(seen))) => {
                self.step = Step::Seen(seen.at);
                match (seen.is_ahead, seen.is_foreign) {
                    (true, _) => common.hold_gate(Notice::CheckingHistory, plan),
                    (false, true) => common.hold_gate(Notice::CheckingFile, plan),
                    (false, false) => common.open_gate(plan),
                }
                None
            }
            Event::Remote(RemoteDone::Looked(Err(trouble))) => {
                if matches!(common.gate, Gate::OpensAt(_)) {
                    common.open_gate(plan);
                }
                self.failed(trouble, common, now, plan)
            }
            Event::Local(LocalDone::Verified(Ok(start)), _) => Some(self.located(start, common, now, plan)),
            Event::Local(LocalDone::Verified(Err(trouble)), _) => self.failed(trouble, common, now, plan),
            _ => None,
        }
    }

    pub fn plan(&mut self, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        if let Some(ended) = common.out_of_time(now, plan) {
            return Some(ended);
        }
        common.open_gate_in_time(now, plan);
        match self.step {
            Step::Waiting(until) if plan.is_due(until, now) => {
                self.step = Step::Looking;
                plan.push(Effect::Remote(RemoteOrder::Look));
            }
            Step::Seen(at) if common.is_free() && !common.relief.is_urgent(now.instant) => {
                self.step = Step::Verifying(at);
                common.order(LocalOrder::Verify, now, plan);
            }
            _ => {}
        }
        common.relieve(now, plan);
        None
    }

    fn failed(&mut self, trouble: Trouble, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        match common.failed(trouble, now, plan) {
            Ok(again_at) => {
                self.step = Step::Waiting(again_at);
                None
            }
            Err(ended) => Some(ended),
        }
    }

    fn located(&self, start: Start, common: &mut Common, now: Now, plan: &mut Plan) -> State {
        common.is_back(now, plan);
        if let Some(txid) = start.confirmed {
            plan.push(Effect::Report(Report::Confirmed(txid)));
        }
        let proved_at = match self.step {
            Step::Seen(at) | Step::Verifying(at) => at,
            Step::Looking | Step::Waiting(_) => Duration::ZERO,
        };
        State::Streaming(Box::new(Streaming::begin(start, proved_at, common, plan)))
    }
}
