//! Requests of a node to the bucket: how they are carried out, answered, or not.

use super::super::broken::Broken;
use super::super::bucket::{Created, Fate};
use super::super::node::Batch;
use super::super::oracle::Violation;
use super::{Due, GIVEN_UP_MS, World};
use crate::replicate::core::{LocalDone, LocalOrder, RemoteDone, StartOrder, Trouble};

#[derive(Clone, Debug)]
pub enum Request {
    Look,
    Prove,
    Start(StartOrder),
    Compare,
    /// From memory or a file.
    Create(Box<Batch>),
    /// From the database.
    Send(Box<Batch>),
}

impl Request {
    pub fn is_lent(&self) -> bool {
        matches!(self, Request::Start(_) | Request::Compare | Request::Send(_))
    }
}

#[derive(Debug)]
pub enum Answer {
    Remote(RemoteDone),
    Local(LocalDone),
}

impl World {
    pub fn request(&mut self, node: usize, request: Request) {
        let life = self.nodes[node].life;
        let fate = self.bucket.fate(&mut self.dice);
        if self.broken == Some(Broken::ConfirmsBeforeTheAnswer)
            && let Request::Create(batch) = &request
        {
            let txid = crate::ltx::Txid::new(batch.txid).expect("not zero");
            self.later(0, Due::Answer { node, life, answer: Answer::Remote(RemoteDone::Sent(Ok(txid))) });
        }
        let pause = 1 + self.dice.roll(10);
        self.later(pause, Due::Request { node, life, request, fate });
    }

    pub fn interrupt(&mut self, node: usize) {
        let life = self.nodes[node].life;
        // Whatever was asked for goes on in the bucket, but no answer of it counts any more.
        for due in self.due.values_mut() {
            match due {
                Due::Request { node: n, life: l, request, .. } if *n == node && *l == life && request.is_lent() => {
                    *l = u32::MAX
                }
                Due::Answer { node: n, life: l, answer: Answer::Local(_) } if *n == node && *l == life => *l = u32::MAX,
                _ => {}
            }
        }
        let done = match self.lent[node] {
            Some(LocalOrder::Start(_)) => LocalDone::Start(Err(Trouble::Interrupted)),
            Some(LocalOrder::Compare) => LocalDone::Compared(Err(Trouble::Interrupted)),
            _ => LocalDone::Sent(Err(Trouble::Interrupted)),
        };
        self.later(1, Due::Answer { node, life, answer: Answer::Local(done) });
    }

    /// The bucket carries out a request, or not, and answers, or not.
    pub fn carry_out(&mut self, node: usize, life: u32, request: Request, fate: Fate) -> Result<(), Violation> {
        let is_carried_out = !matches!(fate, Fate::Failed | Fate::Refused | Fate::Hangs { carried_out: false });
        let mut created = None;
        if let (true, Request::Create(batch) | Request::Send(batch)) = (is_carried_out, &request) {
            created = Some(self.create(batch)?);
        }
        if !self.lives(node, life) {
            return Ok(());
        }
        let failed = || Trouble::Passing { why: format!("{fate:?}"), refused: fate == Fate::Refused };
        let is_answered = fate == Fate::Answered;
        let answer = match request {
            Request::Look if is_answered => {
                let seen = self.nodes[node].seen(&self.bucket, self.now().boot);
                Answer::Remote(RemoteDone::Looked(Ok(seen)))
            }
            Request::Look => Answer::Remote(RemoteDone::Looked(Err(failed()))),
            Request::Prove if is_answered => {
                let newest = self.bucket.newest().and_then(|(txid, _)| crate::ltx::Txid::new(txid));
                Answer::Remote(RemoteDone::Proved(Ok(newest)))
            }
            Request::Prove => Answer::Remote(RemoteDone::Proved(Err(failed()))),
            Request::Start(order) if is_answered => {
                Answer::Local(LocalDone::Start(Ok(self.with(node, |node, around| node.start_step(order, around)).0?)))
            }
            Request::Start(_) => Answer::Local(LocalDone::Start(Err(failed()))),
            Request::Compare if is_answered => {
                Answer::Local(LocalDone::Compared(self.with(node, |node, around| node.compare(around)).0))
            }
            Request::Compare => Answer::Local(LocalDone::Compared(Err(failed()))),
            Request::Create(batch) => {
                Answer::Remote(RemoteDone::Sent(self.sent(node, &batch, created, is_answered, failed)))
            }
            Request::Send(batch) => {
                Answer::Local(LocalDone::Sent(self.sent(node, &batch, created, is_answered, failed)))
            }
        };
        // What is never answered is given up in the end (`upload.rs`, and the stores themselves).
        let pause = if let Fate::Hangs { .. } = fate { GIVEN_UP_MS } else { self.dice.roll(5) };
        self.later(pause, Due::Answer { node, life, answer });
        Ok(())
    }

    fn sent(
        &mut self,
        node: usize,
        batch: &Batch,
        created: Option<Created>,
        is_answered: bool,
        failed: impl Fn() -> Trouble,
    ) -> Result<crate::ltx::Txid, Trouble> {
        let txid = crate::ltx::Txid::new(batch.txid).expect("not zero");
        match created {
            Some(created) if is_answered => self.with(node, |node, around| node.settle(batch, created, around)).0,
            _ if self.broken == Some(Broken::ConfirmsFailures) => Ok(txid),
            _ => {
                if self.broken == Some(Broken::DropsFailedFiles) {
                    self.nodes[node].disk.spill.pop_front();
                }
                Err(failed())
            }
        }
    }

    fn create(&mut self, batch: &Batch) -> Result<Created, Violation> {
        if self.broken == Some(Broken::Overwrites) {
            let is_new = self.bucket.objects.get(&batch.txid).is_none_or(|there| there.made_by == batch.object.made_by);
            if !is_new {
                self.oracle.created(batch.txid, &batch.object, &self.bucket)?;
            }
        }
        if !self.bucket.objects.contains_key(&batch.txid) {
            self.oracle.created(batch.txid, &batch.object, &self.bucket)?;
            self.callers.created(batch.txid, &batch.object, &self.oracle)?;
            self.say(|| format!("bucket: TXID {} by {:?}", batch.txid, batch.object.made_by));
        }
        Ok(self.bucket.create(batch.txid, &batch.object))
    }
}
