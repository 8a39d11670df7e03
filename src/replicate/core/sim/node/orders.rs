//! Orders of a core, carried out as `disk.rs`, `start.rs` and `difference/` do it, on a model of
//! the database.

use super::super::broken::Broken;
use super::super::bucket::{Bucket, Content, Created, Object};
use super::super::oracle::Violation;
use super::{Batch, COMMIT_BYTES, Node, Surroundings, txid};
use crate::db::{Comparison, ImageReason};
use crate::ltx::Txid;
use crate::replicate::core::{
    Answer, Aside, BatchKind, Begin, LocalDone, LocalOrder, Question, StartDone, StartOrder, Trouble,
};
use crate::replicate::difference::judge::{Found, Local, Scope, Verdict, judge};

impl Node {
    /// Carries out an order that waits for nothing but the disk; the others come with the bucket's
    /// answer.
    pub fn carry_out(&mut self, order: LocalOrder, around: &mut Surroundings) -> Result<LocalDone, Violation> {
        if let Some(done) = self.carry_out_on_replaced(order)? {
            return Ok(done);
        }
        if let Some(done) = self.carry_out_on_closed(order, around)? {
            return Ok(done);
        }
        Ok(match order {
            LocalOrder::Close => LocalDone::Closed(Ok(self.close(around)?)),
            LocalOrder::OpenAgain => return Err("it is open".into()),
            LocalOrder::Glance => LocalDone::Glanced(Ok(self.is_ahead())),
            LocalOrder::Capture => LocalDone::Captured(Ok(self.capture(around))),
            LocalOrder::Seal => LocalDone::Sealing(Ok(self.seal(around))),
            LocalOrder::Follow => LocalDone::Followed(Ok(self.backlog() as u64 * COMMIT_BYTES)),
            LocalOrder::LetGo => LocalDone::LetGo,
            LocalOrder::Relieve(relief) => LocalDone::Relieved(Ok(self.relieve(relief, around)?)),
            LocalOrder::Spill => {
                self.spill_batch();
                LocalDone::Spilled(Ok(()))
            }
            LocalOrder::Drop(up_to) => {
                self.drop_up_to(up_to.get(), around)?;
                LocalDone::Dropped(Ok(()))
            }
            LocalOrder::BeginAnew(last) => {
                self.forget_files();
                self.start_over(last.get(), ImageReason::HistoryGone);
                self.capture(around);
                LocalDone::BegunAnew(Ok(()))
            }
            LocalOrder::Freeze => {
                let is_frozen = around.dice.roll(4) > 0;
                self.process_mut().is_frozen |= is_frozen;
                LocalDone::Frozen(is_frozen)
            }
            LocalOrder::Thaw => {
                if !self.process_mut().has_stopped {
                    return Err("the database was thawed while the application runs".into());
                }
                LocalDone::Thawed
            }
            LocalOrder::KeepTail(_) => {
                self.put_doubt_back();
                self.spill_batch();
                self.forget_files();
                LocalDone::TailKept
            }
            LocalOrder::TakeUp => LocalDone::Reopened(Ok(self.take_up(around.now_ms))),
            LocalOrder::Examine | LocalOrder::Reopen => return Err("nothing was overwritten".into()),
            LocalOrder::Start(order @ (StartOrder::Uploaded(_) | StartOrder::Begin(_))) => {
                LocalDone::Start(Ok(self.start_step(order, around)?))
            }
            LocalOrder::Start(_) | LocalOrder::Compare | LocalOrder::Send => unreachable!("it waits for the bucket"),
        })
    }

    /// A step of the search for the place from which to go on (`start.rs`), as the bucket stands
    /// now.
    pub fn start_step(&mut self, order: StartOrder, around: &mut Surroundings) -> Result<StartDone, Violation> {
        match order {
            StartOrder::Ask(question) => return Ok(StartDone::Told(self.answer(question, around))),
            StartOrder::Uploaded(_) => {
                let file = self.disk.spill.pop_front().ok_or("no file waits")?;
                around.oracle.is_safe(&file, around.bucket)?;
                self.disk.in_step = Some(file.txid);
            }
            StartOrder::SetAside(aside) => {
                if let Aside::Taken(_, synced_to) = aside {
                    self.disk.in_step = synced_to.txid().map(Txid::get);
                }
                self.forget_files();
            }
            StartOrder::Begin(Begin::InStep(txid)) => {
                self.disk.in_step = Some(txid.get());
                self.disk.is_known |= !self.is_replaced();
            }
            StartOrder::Begin(Begin::AfterFiles) => {}
            StartOrder::Begin(Begin::Image { after, reason, suspected, .. }) => {
                self.process_mut().suspected = suspected;
                self.start_over(after.map_or(0, Txid::get), reason);
            }
        }
        Ok(StartDone::Done)
    }

    fn answer(&mut self, question: Question, around: &mut Surroundings) -> Answer {
        let newest = around.bucket.newest().map(|(txid, object)| (txid, object.clone()));
        let came_after = |content: &Content| self.disk.content.starts_with(content);
        match question {
            Question::IsOurs(_) => {
                let waits = self.disk.spill.front();
                let is_ours = waits.is_some_and(|file| {
                    around.bucket.objects.get(&file.txid).is_some_and(|there| there.made_by == file.object.made_by)
                });
                Answer::IsOurs(is_ours || around.broken == Some(Broken::TakesFilesForOurs))
            }
            Question::Continues(txid) => {
                let there = match self.disk.spill.back() {
                    Some(last) => Some(last.object.content.clone()),
                    None => newest.filter(|(number, _)| *number == txid.get()).map(|(_, object)| object.content),
                };
                let Some(content) = there else { return Answer::Continues(Err(ImageReason::LocalChanges)) };
                // Only a WAL that has all that came after can prove it, and not always; a note can,
                // of a restored file.
                let is_lucky = around.dice.roll(5) > 0 || self.disk.restored_to == Some(txid.get());
                let has_all = content.len() >= self.process_mut().wal_from;
                let is_proved = is_lucky && has_all && self.disk.content.starts_with(&content);
                if !is_proved && around.broken != Some(Broken::ContinuesAnything) {
                    return Answer::Continues(Err(ImageReason::LocalChanges));
                }
                self.continue_from(txid.get(), content.len().min(self.disk.content.len()));
                Answer::Continues(Ok(()))
            }
            Question::MadeHere(_) => {
                let came_after = newest.is_some_and(|(_, object)| came_after(&object.content));
                Answer::MadeHere(came_after && around.dice.roll(2) == 0)
            }
        }
    }

    /// Compares the unverified image with the end of the history, as `difference/` does: by the
    /// same verdict.
    pub fn compare(&mut self, around: &mut Surroundings) -> Result<(), Trouble> {
        let Some(image) = self.process_mut().batch.clone() else { return Ok(()) };
        let last = image.txid - 1;
        let Some((_, there)) = around.bucket.newest().filter(|(txid, _)| *txid == last) else {
            // The store's objects, or the spilled ones, are not what they were.
            return match around.bucket.newest() {
                Some((newest, _)) if newest > last => Err(Trouble::Foreign("another writer has gone on".into())),
                _ => self.prepare(Batch { kind: BatchKind::Image(ImageReason::LocalChanges), ..image }),
            };
        };
        let base = there.content.clone();
        let suspected = self.process_mut().suspected;
        let is_known = self.disk.is_known;
        let pages = u32::try_from(image.object.content.len()).expect("few");
        let is_blank = image.object.content.is_empty();
        let local = Local { pages, is_small: false, is_known, is_blank, suspected };
        let found = self.found(&image.object.content, &base, around.bucket);
        let verdict = judge(local, &found);
        if !image.object.content.starts_with(&base) && matches!(verdict, Verdict::Difference | Verdict::Image(_)) {
            // What equals an earlier state is taken for an older copy that was put there on
            // purpose.
            around.oracle.older_copy_won = true;
        }
        match verdict {
            Verdict::Stranger(_) if around.broken == Some(Broken::ShipsStrangers) => self.prepare(image)?,
            Verdict::Stranger(why) => return Err(Trouble::Halt(why)),
            Verdict::MovedOn(_, why) => return Err(Trouble::Foreign(why)),
            Verdict::Equal => {
                self.continue_from(last, base.len());
                (self.disk.in_step, self.process_mut().batch) = (Some(last), None);
            }
            Verdict::Difference => {
                let object = Object { base: Some(base), ..image.object };
                self.prepare(Batch { kind: BatchKind::Delta, object, ..image })?;
            }
            Verdict::Image(_) => self.prepare(Batch { kind: BatchKind::Image(ImageReason::LocalChanges), ..image })?,
            Verdict::Beginning(reason, _) => self.prepare(Batch { kind: BatchKind::Rebase(reason), ..image })?,
        }
        // What was compared is the file that is open, and the note is of the one that lies there
        // now.
        self.disk.is_known |= !self.is_replaced();
        self.process_mut().suspected = None;
        Ok(())
    }

    /// What a comparison finds, with a commit for a page.
    fn found(&self, live: &[u32], other: &[u32], bucket: &Bucket) -> Found {
        let count = |found: usize| u32::try_from(found).expect("few");
        let is_equal = |at: &usize| live.get(*at) == other.get(*at);
        let differing = (0..live.len()).filter(|at| !is_equal(at)).count();
        let related = (0..live.len().min(other.len())).filter(is_equal).count();
        let own = self.disk.in_step.and_then(|own| bucket.objects.get(&own)).map_or(0, |object| object.content.len());
        let moved = own.min(other.len())..other.len();
        let kept = moved.clone().filter(is_equal).count();
        let (related, moved) = ((count(related), count(other.len())), (count(moved.len()), count(kept)));
        let comparison = Comparison::modelled(count(live.len()), count(differing), related, moved);
        Found::Compared(comparison, Scope { bytes: 0, other_pages: count(other.len()) })
    }

    fn prepare(&mut self, batch: Batch) -> Result<(), Trouble> {
        self.process_mut().batch = Some(batch);
        Ok(())
    }

    /// What creating an object came to, read back where it exists already.
    pub fn settle(&self, batch: &Batch, created: Created, around: &Surroundings) -> Result<Txid, Trouble> {
        let there = around.bucket.objects.get(&batch.txid).map(|object| object.made_by);
        match created {
            Created::Exists if there != Some(batch.object.made_by) && around.broken != Some(Broken::NeverReadsBack) => {
                Err(Trouble::Foreign(format!("TXID {} is somebody else's", batch.txid)))
            }
            _ => Ok(txid(batch.txid)),
        }
    }
}
