//! Where the history in the bucket ends, and whether this database continues it.
//!
//! The first look at the bucket is under way while the database is opened. If the history turns out
//! to have gone on since this disk was in step with it, the application waits until it is known
//! what that means (`gate.rs`).

use tokio::time::Instant;

use super::event::{Effect, Event, LocalDone, LocalOrder, Notice, RemoteDone, RemoteOrder, Report, Trouble};
use super::start::{Begin, NewDatabase, Search, Seen, StartDone};
use super::stream::Streaming;
use super::{Common, Now, Outcome, Plan, State};

enum Step {
    /// The bucket is asked.
    Looking,
    /// It has answered: whether the database continues the history is found out.
    Searching(Search),
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
            Event::Remote(RemoteDone::Looked(Ok(seen))) => self.looked(seen, common, plan),
            Event::Remote(RemoteDone::Looked(Err(trouble))) => {
                common.open_gate_unless_held(plan);
                self.failed(trouble, common, now, plan)
            }
            Event::Local(LocalDone::Start(Ok(done)), _) => self.on_done(done, common, now, plan),
            // The database was needed for its WAL: the same is asked again.
            Event::Local(LocalDone::Start(Err(Trouble::Interrupted)), _) => None,
            Event::Local(LocalDone::Start(Err(trouble)), _) => self.failed(trouble, common, now, plan),
            _ => None,
        }
    }

    /// The application waits while it may turn out that it must not start.
    fn looked(&mut self, seen: Seen, common: &mut Common, plan: &mut Plan) -> Option<State> {
        match (seen.is_ahead(), seen.is_foreign()) {
            (true, _) => common.hold_gate(Notice::CheckingHistory, plan),
            (false, true) => common.hold_gate(Notice::CheckingFile, plan),
            (false, false) => common.open_gate(plan),
        }
        match Search::begin(seen, common.lane.queue.files) {
            Ok(search) => {
                self.step = Step::Searching(search);
                None
            }
            Err(NewDatabase(txid)) => Some(State::Ended(Outcome::NewDatabase(txid))),
        }
    }

    fn on_done(&mut self, done: StartDone, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        let Step::Searching(search) = &mut self.step else { return None };
        let begin = search.on_done(done, common.lane.queue.files)?;
        let seen = *search.seen();
        Some(begun(&seen, begin, common, now, plan))
    }

    pub fn plan(&mut self, common: &mut Common, now: Now, plan: &mut Plan) -> Option<State> {
        if let Some(ended) = common.out_of_time(now, plan) {
            return Some(ended);
        }
        common.open_gate_in_time(now, plan);
        let files = common.lane.queue.files;
        if let Step::Searching(search) = &self.step
            && search.is_outdated(files)
            && let Ok(again) = Search::begin(*search.seen(), files)
        {
            self.step = Step::Searching(again);
        }
        match &self.step {
            Step::Waiting(until) if plan.is_due(*until, now) => {
                self.step = Step::Looking;
                plan.push(Effect::Remote(RemoteOrder::Look));
            }
            Step::Searching(search) if common.is_free() && !common.relief.is_urgent(now.instant) => {
                common.order(LocalOrder::Start(search.order()), now, plan);
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
}

fn begun(seen: &Seen, begin: Begin, common: &mut Common, now: Now, plan: &mut Plan) -> State {
    common.is_back(now, plan);
    if let Some(txid) = seen.end {
        plan.push(Effect::Report(Report::Confirmed(txid)));
    }
    State::Streaming(Box::new(Streaming::begin(seen, begin, common, plan)))
}
