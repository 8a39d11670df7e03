//! The connections of a database in which nothing happens are closed.

use super::super::broken::Broken;
use super::super::oracle::Violation;
use super::{Node, Progress, SinceClosed, Surroundings};
use crate::db::ImageReason;
use crate::replicate::core::{LocalDone, LocalOrder};

impl Node {
    /// The application commits, and its own checkpoint may let the WAL start over when no reader
    /// keeps it from that.
    pub fn checkpoint_of_application(&mut self) {
        if let Some(SinceClosed { has_lost_commits }) =
            self.process.as_mut().and_then(|process| process.closed.as_mut())
        {
            *has_lost_commits = true;
        }
    }

    /// Of a closed database only this may be asked.
    pub(super) fn carry_out_on_closed(
        &mut self,
        order: LocalOrder,
        around: &Surroundings,
    ) -> Result<Option<LocalDone>, Violation> {
        let Some(closed) = self.process.as_ref().and_then(|process| process.closed) else { return Ok(None) };
        match order {
            LocalOrder::OpenAgain => {
                self.open_again(closed, around.broken);
                Ok(Some(LocalDone::OpenedAgain(Ok(()))))
            }
            LocalOrder::Glance => Ok(Some(LocalDone::Glanced(Ok(self.backlog() > 0)))),
            LocalOrder::TakeUp => Ok(None),
            order => Err(format!("{order:?} on a database that is closed")),
        }
    }

    pub(super) fn close(&mut self, around: &mut Surroundings) -> Result<bool, Violation> {
        let process = self.process_mut();
        if process.batch.is_some() || !matches!(process.progress, Progress::Known(..)) {
            return Err("the database is closed although something waits".into());
        }
        // Otherwise a writer is in the way, or no other program has it open.
        let may_be = self.backlog() == 0 && !around.has_reader && around.dice.roll(4) > 0;
        if may_be {
            let all = self.disk.content.len();
            let process = self.process_mut();
            (process.closed, process.wal_from) = (Some(SinceClosed::default()), all);
        }
        Ok(may_be)
    }

    fn open_again(&mut self, closed: SinceClosed, broken: Option<Broken>) {
        let all = self.disk.content.len();
        let process = self.process_mut();
        process.closed = None;
        let Progress::Known(last, _) = process.progress else { return };
        if !closed.has_lost_commits {
            return;
        }
        process.wal_from = all;
        match broken {
            Some(Broken::MissesWhatCameWhileClosed) => self.continue_from(last, all),
            _ => self.start_over_keeping(last, ImageReason::LocalChanges),
        }
    }
}
