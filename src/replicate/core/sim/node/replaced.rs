//! Another file is put in the place of the database while it is replicated.

use super::super::bucket::Content;
use super::super::oracle::Violation;
use super::{Node, Progress, Replaced};
use crate::db::ImageReason;
use crate::replicate::core::{LocalDone, LocalOrder, Reopened, Trouble};

impl Node {
    /// Its own maintenance, or a stranger. The WAL of the old file goes with it.
    pub fn replace_running(&mut self, content: Content, how: Replaced) {
        let Some(process) = &mut self.process else { return };
        process.replaced = Some(how);
        process.wal_from = content.len();
        (self.disk.content, self.disk.is_known, self.disk.restored_to) = (content, false, None);
    }

    /// What an order finds that needs the old file; the others are carried out as ever.
    pub(super) fn carry_out_on_replaced(&mut self, order: LocalOrder) -> Result<Option<LocalDone>, Violation> {
        let Some(replaced) = self.process.as_ref().and_then(|process| process.replaced) else { return Ok(None) };
        let gone = || Trouble::Replaced("another file lies there".into());
        let done = match order {
            LocalOrder::TakeUp => return Ok(None),
            _ if replaced.is_closed => return Err(format!("{order:?} on a database that is not open")),
            LocalOrder::Close => LocalDone::Closed(Err(gone())),
            LocalOrder::OpenAgain => LocalDone::OpenedAgain(Err(gone())),
            LocalOrder::Glance => LocalDone::Glanced(Err(gone())),
            LocalOrder::Capture => LocalDone::Captured(Err(gone())),
            LocalOrder::Seal => LocalDone::Sealing(Err(gone())),
            LocalOrder::Spill => LocalDone::Spilled(Err(gone())),
            LocalOrder::BeginAnew(_) => LocalDone::BegunAnew(Err(gone())),
            LocalOrder::Follow => LocalDone::Followed(Ok(0)),
            LocalOrder::Relieve(_) => LocalDone::Relieved(Err(Trouble::passing("replaced"))),
            _ => return Ok(None),
        };
        Ok(Some(done))
    }

    pub(super) fn take_up(&mut self, now_ms: u64) -> Reopened {
        let Some(process) = &mut self.process else { return Reopened::Done };
        let Some(replaced) = &mut process.replaced else { return Reopened::Done };
        let why = "it was replaced".to_owned();
        if now_ms < replaced.missing_until {
            return Reopened::Missing { why };
        }
        if now_ms < replaced.in_use_until {
            return Reopened::InUse { why, pid: 1 };
        }
        replaced.is_closed = true;
        if now_ms < replaced.busy_until {
            return Reopened::Busy { why };
        }
        (process.replaced, process.closed) = (None, None);
        // Until now the application kept its WAL short itself.
        process.wal_from = self.disk.content.len();
        let captured = match process.progress {
            Progress::Known(txid, _) | Progress::Unknown { last: txid, .. } => txid,
        };
        // Its pages were in the old file.
        let dropped = process.batch.take_if(|batch| !batch.in_memory);
        let last = captured - u64::from(dropped.is_some());
        self.start_over_keeping(last, if last == 0 { ImageReason::FirstBackup } else { ImageReason::FileReplaced });
        Reopened::Done
    }
}
