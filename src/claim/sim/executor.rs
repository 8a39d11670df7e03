//! Carries out what a core wants, for one container: requests, the seal, the application, its
//! commits and their uploads.

use std::sync::Arc;

use super::broken::Broken;
use super::bucket::{Answer, Batch, Life, Request};
use super::container::{App, At, Process, Task};
use super::oracle;
use super::world::{Due, World};
use crate::claim::core::{Claimed, Effect, Event, Notice, Stop, Trouble};
use crate::claim::seen::Seen;
use crate::claim::wire::{Beat, BeatState, Claim};

/// Between two attempts of an upload.
const RETRY_MS: u64 = 500;

impl World {
    pub fn effect(&mut self, at: At, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::Look => self.send(at, Request::Look),
            Effect::Peek(epoch) => self.send(at, Request::Peek(epoch)),
            Effect::Claim { epoch, parent, why } => {
                let instance = self.containers[at].instance.clone();
                let process = self.process(at).life.to_string();
                let claim = Arc::new(Claim {
                    node: String::new(),
                    hostname: instance.clone(),
                    instance,
                    process,
                    url: None,
                    cluster_url: None,
                    ttl_ms: super::world::TTL_MS,
                    parent: parent.map(|parent| parent.to_string()),
                    why: why.text().into(),
                });
                self.process(at).claim = claim.clone();
                self.send(at, Request::Claim(epoch, claim));
            }
            Effect::Beat(epoch, beat) => self.send(at, Request::Beat(epoch, beat)),
            Effect::Remove(mut epochs) => {
                if self.broken == Some(Broken::RemovesTheNewest) {
                    epochs = self.bucket.claims.keys().copied().collect();
                }
                self.send(at, Request::Remove(epochs));
            }
            Effect::Seal => self.seal(at)?,
            Effect::Open => self.open(at)?,
            Effect::Alone => self.open_alone(at),
            Effect::Retreat => self.retreat(at)?,
            Effect::Drain => self.drain(at)?,
            Effect::Wake => self.wake_others(at),
            Effect::Say(notice) => self.count(&notice),
        }
        Ok(())
    }

    /// Some of them hear it.
    fn wake_others(&mut self, at: At) {
        if self.script.is_some() {
            return;
        }
        let others: Vec<(At, Life)> = self.others(at).collect();
        for (at, life) in others {
            if self.dice.roll(2) == 0 {
                let pause = self.dice.roll(500);
                self.later(pause, Due::Woken { at, life });
            }
        }
    }

    fn count(&mut self, notice: &Notice) {
        let what = match notice {
            Notice::TakenForDead(_) => "taken for dead",
            Notice::SupersededBy(_) => "superseded",
            Notice::StandsBy => "stands by",
            Notice::ComesBack(why) => why.text(),
            Notice::Alone => "alone",
            Notice::Retreats(_) => "retreats",
            Notice::Outage(_) | Notice::Back | Notice::WaitsFor(_) => return,
        };
        *self.counts.entry(what).or_default() += 1;
    }

    fn seal(&mut self, at: At) -> Result<(), String> {
        if self.broken == Some(Broken::NeverSeals) {
            self.catch_up(at);
            return self.tell(at, Event::Sealed);
        }
        self.process(at).task = Task::Seal;
        self.upload(at);
        Ok(())
    }

    fn open(&mut self, at: At) -> Result<(), String> {
        oracle::opens(self, at)?;
        let (now_ms, stays) = (self.now_ms, 1000 + self.dice.roll(4000));
        let is_broken = self.containers[at].is_broken;
        let process = self.process(at);
        let was_running = std::mem::replace(&mut process.app, App::Runs) == App::Runs;
        (process.task, process.opened_ms, process.is_alone) = (Task::Replicate, Some(now_ms), false);
        let life = process.life;
        *self.counts.entry("opens").or_default() += 1;
        if self.broken == Some(Broken::RemovesTheNewest) {
            self.effect(at, Effect::Remove(Vec::new()))?;
        }
        if was_running {
            self.upload(at);
            return self.check();
        }
        self.later(1, Due::Commit { at, life });
        if is_broken {
            self.later(stays, Due::AppFails { at, life });
        }
        self.check()
    }

    /// The bucket is away: the application is started all the same.
    fn open_alone(&mut self, at: At) {
        let (is_broken, stays) = (self.containers[at].is_broken, 1000 + self.dice.roll(4000));
        let uploads = self.broken == Some(Broken::UploadsAlone);
        let process = self.process(at);
        (process.app, process.is_alone) = (App::Runs, !uploads);
        process.task = if uploads { Task::Replicate } else { Task::Alone };
        let life = process.life;
        self.later(1, Due::Commit { at, life });
        if is_broken {
            self.later(stays, Due::AppFails { at, life });
        }
    }

    fn retreat(&mut self, at: At) -> Result<(), String> {
        if self.broken == Some(Broken::StaysAlone) {
            return self.tell(at, Event::Drained);
        }
        let takes = 100 + self.dice.roll(6000);
        let process = self.process(at);
        (process.app, process.task, process.is_alone) = (App::Stops, Task::Retreat, false);
        let life = process.life;
        self.later(takes, Due::AppStopped { at, life });
        Ok(())
    }

    fn drain(&mut self, at: At) -> Result<(), String> {
        let takes = 100 + self.dice.roll(6000);
        let leaves = self.broken == Some(Broken::LeavesTheApplication);
        let process = self.process(at);
        let life = process.life;
        process.is_alone = false;
        if process.task != Task::Fenced {
            process.task = Task::Drain;
        }
        if process.app == App::Runs && !leaves {
            process.app = App::Stops;
            self.later(takes, Due::AppStopped { at, life });
        } else if self.broken == Some(Broken::ReleasesBeforeTheLastUpload) || leaves {
            return self.tell(at, Event::Drained);
        }
        self.go_on(at)
    }

    pub fn app_stopped(&mut self, at: At) -> Result<(), String> {
        self.process(at).app = App::Off;
        if self.broken == Some(Broken::ReleasesBeforeTheLastUpload) {
            return self.tell(at, Event::Drained);
        }
        self.go_on(at)
    }

    /// The application ends by itself; the program ends with it.
    pub fn app_fails(&mut self, at: At) -> Result<(), String> {
        if self.process(at).app == App::Runs {
            self.say(|| format!("{at}: the application fails"));
            self.process(at).app = App::Off;
            let deadline = self.now(at).instant + std::time::Duration::from_secs(10);
            self.tell(at, Event::Stop(Stop { deadline, failed: true }))?;
        }
        Ok(())
    }

    pub fn commit(&mut self, at: At) -> Result<(), String> {
        let (row, pause) = (self.rows, 300 + self.dice.roll(self.commit_every_ms));
        let process = self.process(at);
        if process.app == App::Off {
            return Ok(());
        }
        let (life, is_fenced) = (process.life, process.task == Task::Fenced);
        if !is_fenced {
            self.rows += 1;
            self.containers[at].disk.pending.push(row);
            self.upload(at);
        }
        self.later(pause, Due::Commit { at, life });
        Ok(())
    }

    /// What is to be uploaded or told next.
    fn go_on(&mut self, at: At) -> Result<(), String> {
        let is_empty = self.containers[at].disk.pending.is_empty();
        let process = self.process(at);
        let is_off = process.app == App::Off && process.in_flight.is_none();
        match process.task {
            Task::Drain if is_empty && is_off => self.tell(at, Event::Drained),
            Task::Fenced | Task::Retreat if process.app == App::Off => {
                process.task = if process.task == Task::Retreat { Task::None } else { process.task };
                self.tell(at, Event::Drained)
            }
            Task::Seal | Task::Replicate | Task::Drain => {
                self.upload(at);
                Ok(())
            }
            Task::None | Task::Fenced | Task::Alone | Task::Retreat => Ok(()),
        }
    }

    pub fn upload(&mut self, at: At) {
        let disk = &self.containers[at].disk;
        let (base, pending) = (disk.base, disk.pending.clone());
        let process = self.process(at);
        let is_seal = process.task == Task::Seal;
        let uploads_nothing = matches!(process.task, Task::Fenced | Task::Alone | Task::Retreat);
        if process.in_flight.is_some() || !is_seal && (pending.is_empty() || uploads_nothing) {
            return;
        }
        if is_seal && !self.may_seal(at) {
            let life = self.process(at).life;
            return self.later(RETRY_MS, Due::Retry { at, life });
        }
        let process = self.process(at);
        process.serial += 1;
        // What was committed alone is the seal.
        let rows = if is_seal && !process.is_alone { Vec::new() } else { pending };
        let batch = Arc::new(Batch { by: process.life, at, serial: process.serial, rows });
        process.in_flight = Some(batch.clone());
        self.send(at, Request::Append(base, batch));
    }

    fn may_seal(&mut self, at: At) -> bool {
        let boot = self.now(at).boot;
        self.process(at).core.seal_until().is_some_and(|until| boot < until)
    }

    fn catch_up(&mut self, at: At) {
        let len = self.bucket.log.len();
        let disk = &mut self.containers[at].disk;
        let is_foreign = self.bucket.log.iter().skip(disk.base).any(|batch| batch.at != at);
        disk.base = len;
        if is_foreign {
            disk.orphaned += u32::try_from(std::mem::take(&mut disk.pending).len()).expect("small");
        }
    }

    /// The object of the next TXID is `there`.
    fn appended(&mut self, at: At, there: &Arc<Batch>) -> Result<(), String> {
        let process = self.process(at);
        let Some(sent) = process.in_flight.take() else { return Ok(()) };
        let task = process.task;
        if there.at == at {
            // Ours, or of an earlier process here.
            let disk = &mut self.containers[at].disk;
            disk.base += 1;
            disk.pending.retain(|row| !there.rows.contains(row));
            if task == Task::Seal && *there == sent {
                self.process(at).task = Task::None;
                return self.tell(at, Event::Sealed);
            }
            return self.go_on(at);
        }
        if matches!(task, Task::Seal | Task::None) && !self.process(at).is_alone {
            self.catch_up(at);
            return self.go_on(at);
        }
        let disk = &mut self.containers[at].disk;
        disk.orphaned += u32::try_from(std::mem::take(&mut disk.pending).len()).expect("small");
        self.process(at).task = Task::Fenced;
        self.tell(at, Event::Fenced)?;
        // It may have ended.
        if self.containers[at].process.is_some() { self.go_on(at) } else { Ok(()) }
    }

    /// An answer arrives; `None` is none in time.
    pub fn answered(&mut self, at: At, request: &Request, answer: Option<Answer>) -> Result<(), String> {
        let broken = self.broken;
        let is_denied = matches!(answer, Some(Answer::Denied)) && broken != Some(Broken::TriesForEver);
        let is_taken_for_one = answer.is_none() && broken == Some(Broken::TakesSilenceForADenial);
        let trouble = || match is_denied || is_taken_for_one {
            true => Trouble::Denied("denied".into()),
            false => Trouble::Away("no answer".into()),
        };
        let event = match (request, answer) {
            (Request::Append(..), None | Some(Answer::Denied)) => {
                let life = self.process(at).life;
                self.later(RETRY_MS, Due::Retry { at, life });
                return Ok(());
            }
            (Request::Append(..), Some(Answer::Appended(there))) => return self.appended(at, &there),
            (Request::Look, answer) => Event::Looked(match answer {
                Some(Answer::Seen(seen)) => Ok(self.spoil(at, seen)),
                _ => Err(trouble()),
            }),
            (Request::Peek(_), Some(Answer::Exists(exists))) => {
                Event::Peeked(Ok(exists && self.broken != Some(Broken::IgnoresLaterClaims)))
            }
            (Request::Peek(_), _) => Event::Peeked(Err(trouble())),
            (Request::Claim(epoch, claim), Some(Answer::Created(is_new))) => {
                // It is read back: a repeated request of ours may have created it.
                let is_mine =
                    is_new || self.bucket.claims.get(epoch).is_some_and(|(there, _)| there.process == claim.process);
                Event::Claimed(Ok(if is_mine { Claimed::Won } else { Claimed::Lost }))
            }
            (Request::Claim(..), _) if self.broken == Some(Broken::TakesALostReplyForALoss) => {
                Event::Claimed(Ok(Claimed::Lost))
            }
            (Request::Claim(..), _) => Event::Claimed(Err(trouble())),
            (Request::Beat(..), Some(Answer::Done)) => Event::Beaten(Ok(())),
            (Request::Beat(..), _) => Event::Beaten(Err(trouble())),
            (Request::Remove(_), _) => Event::Removed,
            (Request::ReadBeat(_) | Request::Tail, _) => return Err("it is not asked for here".into()),
            (Request::Append(..), Some(_)) => return Err("an answer to another question".into()),
        };
        self.tell(at, event)
    }

    /// The application goes on trying after an upload that failed: the same object again.
    pub fn retry(&mut self, at: At) {
        let base = self.containers[at].disk.base;
        if self.process(at).task == Task::Seal && !self.may_seal(at) {
            let life = self.process(at).life;
            return self.later(RETRY_MS, Due::Retry { at, life });
        }
        if self.process(at).in_flight.is_none() {
            return self.upload(at);
        }
        if let Some(batch) = self.process(at).in_flight.clone() {
            self.send(at, Request::Append(base, batch));
        }
    }

    /// What a broken executor makes of a look.
    fn spoil(&mut self, at: At, mut seen: Seen) -> Seen {
        let released = || Beat {
            count: 9,
            state: BeatState::Released { to: None, told_to_end: false },
            sealed: false,
            every_ms: 1000,
        };
        let (broken, now_ms) = (self.broken, self.now_ms);
        let wall_ms = i64::try_from(now_ms).expect("small") + self.containers[at].clock.wall_ms;
        let instance = self.containers[at].instance.clone();
        let process: &mut Process = self.process(at);
        let life = process.life.to_string();
        let epochs: Vec<_> = seen.0.keys().copied().collect();
        for epoch in epochs {
            let claim = seen.0.get_mut(&epoch).expect("it is there");
            if claim.claim.process == life {
                continue;
            }
            match broken {
                Some(Broken::GoesByTheWallClock) if wall_ms - claim.modified_ms > 15_000 => {
                    claim.beat = Some(released())
                }
                Some(Broken::OpensAtOnce) => claim.beat = Some(released()),
                Some(Broken::ReadsOldBeats) => {
                    claim.beat = process.old_beats.entry(epoch).or_insert_with(|| claim.beat.clone()).clone();
                }
                Some(Broken::ForgetsThatItWasSuperseded) if claim.claim.instance == instance => {
                    drop(seen.0.remove(&epoch));
                }
                Some(Broken::TakesALostReplyForALoss) => {}
                Some(Broken::IgnoresLaterClaims) if process.app == App::Runs => drop(seen.0.remove(&epoch)),
                _ => {}
            }
        }
        if broken == Some(Broken::TakesALostReplyForALoss) && process.claimed_ms.is_none() {
            // It does not know its own claim when it sees it.
            for claim in seen.0.values_mut().filter(|claim| claim.claim.process == life) {
                let other = Claim { instance: "another".into(), process: "another".into(), ..(*claim.claim).clone() };
                claim.claim = Arc::new(other);
            }
        }
        seen
    }
}
