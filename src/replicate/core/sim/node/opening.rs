//! A process that does not replicate yet: its opening, the application meanwhile, and the orders,
//! carried out as `open.rs` does it.

use super::super::broken::Broken;
use super::super::oracle::Violation;
use super::{File, Node};
use crate::db::{AtPath, Surroundings};
use crate::replicate::Ready;
use crate::replicate::core::opening::{Done, Extent, Opened, Opening, Order};
use crate::sqlite::{Holder, Journal, Locked};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Application {
    NotStarted,
    Runs,
    Stopped,
}

pub struct Starting {
    pub opening: Opening,
    /// Tells answers for this process from those for an earlier one.
    pub start: u32,
    pub application: Application,
    /// It was said that the application may start.
    pub may_run: bool,
    /// The bucket is being looked at.
    pub has_asked_bucket: bool,
    /// By when it must have ended.
    pub deadline_ms: Option<u64>,
}

impl Node {
    pub fn begin(&mut self, opening: Opening, broken: Option<Broken>) -> u32 {
        self.starts += 1;
        let application = match broken {
            Some(Broken::StartsTheApplicationFirst) => Application::Runs,
            _ => Application::NotStarted,
        };
        self.starting = Some(Starting {
            opening,
            start: self.starts,
            application,
            may_run: false,
            has_asked_bucket: false,
            deadline_ms: None,
        });
        self.starts
    }

    /// The application may start: only where no commit can be missed, or where there is nothing to
    /// miss (I5).
    pub fn may_start(&self, ready: Ready) -> Result<(), Violation> {
        let is_true = match ready {
            Ready::Armed => false,
            Ready::NoDatabaseYet => self.disk.file == File::Missing,
            Ready::AfterApplication => self.disk.was_exclusive,
            Ready::Standby => self.process.is_some(),
        };
        match is_true {
            true => Ok(()),
            false => Err(format!("the application on node {} was started as {ready:?}, which is not so", self.number)),
        }
    }

    pub fn carry_out_opening(
        &mut self,
        order: Order,
        now_ms: u64,
        broken: Option<Broken>,
    ) -> Result<Done<()>, Violation> {
        let is_busy = now_ms < self.busy_until;
        Ok(match order {
            Order::LookAtFile => Done::File(Ok(self.disk.file != File::Missing)),
            Order::LookAround => Done::LookedAround(Surroundings { at_path: AtPath::Nothing, neighbours: Vec::new() }),
            Order::TakeLock => Done::Lock(Ok(self.process.is_none() || broken == Some(Broken::NeverWaitsForTheLock))),
            Order::ReadNote => Done::Note(self.disk.was_exclusive),
            Order::NoteExclusive => {
                self.disk.was_exclusive = true;
                Done::Noted
            }
            Order::LookAtLocks if is_busy => Done::Locks(Ok(Locked::Exclusively(Holder {
                name: "another program".into(),
                is_wal: self.is_exclusive,
                journal: if self.is_exclusive { Journal::Missing } else { Journal::Hot },
                size_and_time: (0, 0, 0),
            }))),
            Order::LookAtLocks => Done::Locks(Ok(Locked::No)),
            Order::Open { forget_note, .. } => Done::Opened(self.open(forget_note, is_busy)?),
        })
    }

    fn open(&mut self, forget_note: bool, is_busy: bool) -> Result<Opened<()>, Violation> {
        Ok(match self.disk.file {
            _ if self.process.is_some() => {
                return Err(format!("two processes replicate the database of node {}", self.number));
            }
            File::Missing => Opened::Failed("there is no database".into()),
            _ if is_busy => Opened::Busy("the database is locked".into()),
            File::Part(len) => Opened::Part { why: "malformed".into(), seen: Some(Extent { len, modified: None }) },
            File::Database => {
                self.disk.was_exclusive &= !forget_note;
                Opened::Armed(())
            }
        })
    }
}
