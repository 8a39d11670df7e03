//! What replication does next: a state machine without I/O, clocks or tasks.
//!
//! [`Core::on_event`] takes what happened and returns what to do; `driver.rs` waits for events and
//! carries effects out, and `sim/` does the same with a model of the database and of the bucket. It
//! can be read as the specification of replication.
//!
//! ```text
//!           ┌──────────┐  place found   ┌───────────┐  time to end, and all of it is in the bucket   ┌───────┐
//! opening/ ▶│ Locating │ ─────────────▶ │ Streaming │ ─────────────────────────────────────────────▶ │ Ended │
//!           └────┬─────┘                └─────┬─────┘                                                └───▲───┘
//!                │     another writer owns the history                                                   │
//!                └──────────────┬─────────────┘                                                          │
//!                               ▼                                                                        │
//!                          ┌─────────┐  the application has stopped, and its last commits are kept aside │
//!                          │ Fencing │ ──────────────────────────────────────────────────────────────────┘
//!                          └─────────┘
//! ```
//!
//! Work goes on in two lanes, one order at a time in each: the database's ([`LocalOrder`]) and the
//! bucket's ([`RemoteOrder`]). While the bucket does not answer, the database's lane goes on: the
//! WAL is kept within its budget (`relief.rs`). Orders that need both are carried out in the
//! database's lane, and are interrupted when the WAL grows too much meanwhile.
//!
//! Three watermarks never cross: confirmed in the bucket ≤ captured ≤ committed in the WAL. A
//! captured commit is in the bucket, in the queue, or both, and the WAL is reset only when the
//! queue's part of it is in local files.
//!
//! ```text
//!   opening/    before all that: when the application may start, and when the database is armed
//!   config.rs   what a core is told once
//!   event.rs    what happens, and what is asked for
//!   batch.rs    what a batch is; the queue
//!   gate.rs     when the application may start
//!   locate.rs   where the history ends
//!   start.rs    from where to go on: what is asked, and what follows
//!   stream.rs   capture, upload, confirm
//!   examine.rs  the file was written to past SQLite
//!   reopen.rs   it is opened anew after that, or because another one lies in its place
//!               stream/idle.rs: nothing happens, and the connections are closed
//!   seal.rs     the next TXID must be ours before the application is started
//!   relief.rs   what keeps the WAL short
//!   away.rs     what the mirrors get while the first replica is away
//!   fence.rs    another writer owns the history
//!   sync.rs     who waits until everything is in the bucket
//!   positions.rs  who asks which TXID what is committed now is in, or will be
//!   checkpoint.rs  who waits until it is in the database file, too
//!   pace.rs     when the next upload may begin
//!   outage.rs   what to say of a failure, and when to try again
//!   plan.rs     effects, and when to plan again
//! ```

mod away;
mod batch;
mod checkpoint;
mod config;
mod event;
mod examine;
mod fence;
mod gate;
mod locate;
pub mod opening;
mod outage;
mod pace;
mod plan;
mod positions;
mod relief;
mod reopen;
mod seal;
mod start;
mod stream;
mod sync;

#[cfg(test)]
mod sim;

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Dice;

pub use crate::clock::Now;
use away::Away;
pub use batch::{BatchKind, Queue, Waiting};
use checkpoint::Checkpoints;
pub use config::Config;
pub use event::{
    Effect, Event, Examined, Lane, LocalDone, LocalOrder, Notice, Outcome, Relief, RemoteDone, RemoteOrder, Reopened,
    Report, SyncError, SyncId, Trouble,
};
use fence::Fencing;
pub use gate::AtArming;
use gate::Gate;
use locate::Locating;
pub use outage::Outage;
pub use pace::Pace;
pub use plan::Plan;
use positions::PositionRequests;
use relief::{Lent, WalRelief};
pub use seal::SealPermit;
pub use start::{Answer, Aside, Begin, Question, Seen, StartDone, StartOrder};
use stream::Streaming;
use sync::Syncs;

/// At the end, a store that refuses (permissions, a bucket that does not exist) is asked this
/// often; one that cannot be reached until the deadline.
const FINAL_REFUSALS_MAX: u32 = 3;
/// Who wants everything to be shipped once does not wait longer for a replica that is away.
const ONCE_TROUBLE_TIME: Duration = Duration::from_secs(30);

/// When to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    No,
    /// As soon as everything is in the bucket.
    WhenDone,
    /// The same, by then at the latest.
    By(Instant),
}

impl Finish {
    fn is_called_for(self) -> bool {
        self != Finish::No
    }

    fn deadline(self) -> Option<Instant> {
        match self {
            Finish::By(deadline) => Some(deadline),
            Finish::No | Finish::WhenDone => None,
        }
    }
}

/// Who has the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
    Free,
    /// An order that ends by itself.
    Working,
    /// An order that waits for the bucket.
    Lent(Lent),
}

enum State {
    Locating(Locating),
    Streaming(Box<Streaming>),
    Fencing(Fencing),
    Ended(Outcome),
}

/// What every state needs.
struct Common {
    config: Config,
    dice: Dice,
    finish: Finish,
    gate: Gate,
    busy: Busy,
    lane: Lane,
    outage: Outage,
    /// How often the store has refused since it is time to end.
    final_refusals: u32,
    relief: WalRelief,
    away: Away,
    syncs: Syncs,
    checkpoints: Checkpoints,
    positions: PositionRequests,
    permit: Option<SealPermit>,
}

pub struct Core {
    common: Common,
    state: State,
    wake_at: Option<Instant>,
}

impl Core {
    /// The database is armed and a first look at the bucket is under way. `lane` tells what earlier
    /// runs left.
    pub fn new(config: Config, seed: u64, lane: Lane, known: AtArming, now: Now) -> Core {
        let finish = if config.once { Finish::WhenDone } else { Finish::No };
        let common = Common {
            dice: Dice::of(seed),
            finish,
            gate: Gate::new(known, now),
            busy: Busy::Free,
            lane,
            outage: Outage::new(),
            final_refusals: 0,
            relief: WalRelief::new(now.instant),
            away: Away::new(now.instant),
            syncs: Syncs::default(),
            checkpoints: Checkpoints::default(),
            positions: PositionRequests::default(),
            permit: config.seal,
            config,
        };
        Core { common, state: State::Locating(Locating::begin()), wake_at: Some(now.instant) }
    }

    /// What is to be done after `event`.
    pub fn on_event(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut plan = Plan::default();
        self.common.take_note(&event, now, &mut plan);
        let next = match &mut self.state {
            State::Locating(state) => state.on_event(event, &mut self.common, now, &mut plan),
            State::Streaming(state) => state.on_event(event, &mut self.common, now, &mut plan),
            State::Fencing(state) => state.on_event(event, &mut plan),
            State::Ended(_) => None,
        };
        self.enter(next, &mut plan);
        let next = match &mut self.state {
            State::Locating(state) => state.plan(&mut self.common, now, &mut plan),
            State::Streaming(state) => state.plan(&mut self.common, now, &mut plan),
            State::Fencing(state) => state.plan(&mut self.common, now, &mut plan),
            State::Ended(_) => None,
        };
        self.enter(next, &mut plan);
        self.answer_late_syncs(now, &mut plan);
        self.wake_at = plan.wake_at;
        plan.effects
    }

    /// When [`Event::Timer`] is due.
    pub fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            State::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Whoever waits hears of the end, or of the deadline.
    fn answer_late_syncs(&mut self, now: Now, plan: &mut Plan) {
        let Common { syncs, checkpoints, positions, .. } = &mut self.common;
        checkpoints.take_up(syncs.going_on());
        let error = match &self.state {
            State::Locating(_) | State::Streaming(_) => {
                syncs.expire(now, plan);
                positions.expire(now, plan);
                return checkpoints.expire(now, plan);
            }
            State::Fencing(fencing) => SyncError::Fenced(fencing.why().to_owned()),
            State::Ended(outcome) => outcome.as_sync_error(),
        };
        syncs.fail(&error, plan);
        positions.fail(&error, plan);
        checkpoints.fail(&error, plan);
    }

    fn enter(&mut self, next: Option<State>, plan: &mut Plan) {
        let Some(next) = next else { return };
        match &next {
            State::Fencing(fencing) => {
                plan.push(Effect::Maintain(false));
                plan.push(Effect::Say(Notice::Fenced(fencing.why().to_owned())));
            }
            State::Ended(_) => plan.push(Effect::Maintain(false)),
            State::Locating(_) | State::Streaming(_) => {}
        }
        self.state = next;
    }
}

impl Common {
    /// What an event means in every state.
    fn take_note(&mut self, event: &Event, now: Now, plan: &mut Plan) {
        match event {
            Event::Woke => {
                self.relief.woke();
                self.away.woke();
            }
            Event::Sync(id, by) => self.syncs.ask(*id, *by),
            Event::Checkpoint(id, by) => self.syncs.ask_first(*id, *by),
            Event::Position(id, by) => self.positions.ask(*id, *by),
            Event::Permit(permit) => self.permit = self.permit.and(Some(*permit)),
            Event::Finish(deadline) => self.finish = Finish::By(*deadline),
            Event::Local(done, lane) => {
                (self.busy, self.lane) = (Busy::Free, *lane);
                self.relief.on_done(done, lane, &self.config, now.instant, plan);
                self.away.on_done(done, lane);
                self.checkpoints.on_done(done, plan);
            }
            Event::WalMeasured(len) => {
                let budget = self.config.max_sync_wal_bytes;
                if let Busy::Lent(lent) = &mut self.busy
                    && lent.measured(*len, budget, &self.relief, now.instant)
                {
                    plan.push(Effect::Interrupt);
                }
            }
            Event::Timer | Event::Remote(_) => {}
        }
    }

    fn is_free(&self) -> bool {
        self.busy == Busy::Free
    }

    /// Gives an order to the database's lane, which must be free.
    fn order(&mut self, order: LocalOrder, now: Now, plan: &mut Plan) {
        debug_assert!(self.is_free(), "{order:?} while the database is busy");
        self.busy = match order.is_lent() {
            true => Busy::Lent(Lent::begin(now.instant)),
            false => Busy::Working,
        };
        self.relief.on_order(order, now.instant);
        plan.push(Effect::Local(order));
        if order.is_lent() {
            plan.wake(now.instant);
        }
    }

    /// Whether the WAL holds frames that are not captured.
    fn glance(&mut self, now: Now, plan: &mut Plan) {
        self.positions.look_begins();
        self.order(LocalOrder::Glance, now, plan);
    }

    /// Nothing is certain any more of what the WAL and the queue hold.
    fn begin_requests_again(&mut self) {
        self.syncs.begin_again();
        self.positions.look_again();
    }

    /// An order was not carried out: when to try again, or what becomes of the replication.
    fn failed(&mut self, trouble: Trouble, now: Now, plan: &mut Plan) -> Result<Instant, State> {
        let (why, refused) = match trouble {
            Trouble::Interrupted => return Ok(now.instant),
            Trouble::Foreign(why) => return Err(State::Fencing(Fencing::begin(why, now))),
            Trouble::Replaced(why) | Trouble::Halt(why) => return Err(State::Ended(Outcome::Halted(why))),
            Trouble::Passing { why, refused } => (why, refused),
        };
        self.syncs.trouble(Some(&why));
        let failure = self.outage.failed(now.instant, !refused, &mut self.dice);
        if let Some(lasting) = failure.say {
            plan.push(Effect::Say(Notice::Outage { why: why.clone(), lasting }));
        }
        let Some(deadline) = self.finish.deadline() else {
            let is_too_long = self.outage.since().is_some_and(|since| now.instant - since >= ONCE_TROUBLE_TIME);
            return match self.config.once && is_too_long {
                true => Err(State::Ended(self.unsynced(why))),
                false => Ok(now.instant + failure.pause),
            };
        };
        self.final_refusals += u32::from(refused);
        let next = now.instant + failure.pause.min(self.config.final_retry_interval);
        match next >= deadline || self.final_refusals >= FINAL_REFUSALS_MAX {
            true => Err(State::Ended(self.unsynced(why))),
            false => Ok(next),
        }
    }

    /// The deadline has passed.
    fn out_of_time(&mut self, now: Now, plan: &mut Plan) -> Option<State> {
        let is_over = self.finish.deadline().is_some_and(|deadline| plan.is_due(deadline, now));
        let why = match self.lane.is_overwritten {
            true => "a program wrote to the database file past SQLite, and there was no time to compare it",
            false => "the storage did not take the last commits in time",
        };
        is_over.then(|| State::Ended(self.unsynced(why.into())))
    }

    fn unsynced(&self, why: String) -> Outcome {
        Outcome::Unsynced { why, kept: self.kept_for_mirrors() }
    }

    fn is_back(&mut self, now: Now, plan: &mut Plan) {
        self.syncs.trouble(None);
        if let Some(after) = self.outage.ended(now.instant) {
            plan.push(Effect::Say(Notice::Back { after }));
        }
    }
}
