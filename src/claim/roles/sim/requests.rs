//! What becomes of requests: which are lost, and what an answer means for the core.

use std::sync::Arc;

use super::broken::Broken;
use super::node::{At, Tailing, Task};
use super::world::{Due, Fate, GIVEN_UP_MS, LATE_MS, World};
use crate::claim::core::{Claimed, Trouble};
use crate::claim::roles::core::{Event, Observed, Reach};
use crate::claim::seen::Seen;
use crate::claim::sim::bucket::{Answer, Life, Request};
use crate::claim::wire::{Beat, BeatState};

/// Between two attempts of an upload.
pub const RETRY_MS: u64 = 500;

impl World {
    pub fn send(&mut self, at: At, request: Request) {
        let life = self.process(at).life;
        let mut fate = match self.dice.roll(100) < self.faults {
            true => [Fate::Lost, Fate::LostReply, Fate::Late][self.dice.roll(3) as usize],
            false => Fate::Answered,
        };
        let is_upload = matches!(request, Request::Append(..));
        if self.nodes[at].is_partitioned || is_upload && self.nodes[at].cannot_upload {
            fate = Fate::Lost;
        }
        let (late, latency) = (self.dice.roll(LATE_MS), 2 + self.dice.roll(self.latency_ms));
        self.say(|| format!("{at}: {request:?} {fate:?}"));
        if fate != Fate::Answered {
            let (request, answer) = (request.clone(), None);
            self.later(GIVEN_UP_MS, Due::Answered { at, life, request, answer });
        }
        match fate {
            Fate::Lost => {}
            Fate::Answered | Fate::LostReply => self.later(latency, Due::Arrives { at, life, request, fate }),
            Fate::Late => self.later(GIVEN_UP_MS + late, Due::Arrives { at, life, request, fate }),
        }
    }

    pub fn arrives(&mut self, at: At, life: Life, request: Request, fate: Fate) -> Result<(), String> {
        let is_alive = self.nodes[at].process.as_ref().is_some_and(|process| process.life == life);
        let is_denied = self.nodes[at].denied.is_some_and(|denied| request.access() == Some(denied));
        if is_alive && fate != Fate::Late && !is_denied {
            self.is_requested(at, &request)?;
        }
        let answer = match is_denied {
            true => Answer::Denied,
            false => self.bucket.carry_out(&request, i64::try_from(self.now_ms).expect("small")),
        };
        self.logged_ms.resize(self.bucket.log.len(), self.now_ms);
        if fate == Fate::Answered {
            let (latency, answer) = (1 + self.dice.roll(self.latency_ms), Some(answer));
            self.later(latency, Due::Answered { at, life, request, answer });
        }
        Ok(())
    }

    /// An answer arrives; `None` is none in time.
    pub fn answered(&mut self, at: At, request: &Request, answer: Option<Answer>) -> Result<(), String> {
        let trouble = match &answer {
            Some(Answer::Denied) => Trouble::Denied("denied".into()),
            _ => Trouble::Away("no answer".into()),
        };
        let event = match (request, answer) {
            // An attempt before that is answered again says nothing about what is under way now.
            (Request::Append(base, _), Some(Answer::Appended(_))) if *base != self.nodes[at].disk.base => return Ok(()),
            (Request::Append(..), Some(Answer::Appended(there))) => return self.appended(at, &there),
            (Request::Append(..), _) => {
                let life = self.process(at).life;
                self.later(RETRY_MS, Due::Retry { at, life });
                return Ok(());
            }
            (Request::Tail, answer) => return self.tailed(at, answer),
            (Request::Look, Some(Answer::Seen(seen))) => Event::Looked(Ok(self.spoil(at, seen))),
            (Request::Look, _) => Event::Looked(Err(trouble)),
            (Request::ReadBeat(epoch), Some(Answer::Beat(beat))) => {
                let next = epoch.next().expect("not the last");
                self.process(at).observing = Some((*epoch, beat));
                self.send(at, Request::Peek(next));
                return Ok(());
            }
            (Request::ReadBeat(_), _) => Event::Observed(Err(trouble)),
            (Request::Beat(..), Some(Answer::Done)) if self.process(at).renewing.is_some() => {
                let next = self.process(at).renewing.expect("it is").next().expect("not the last");
                self.send(at, Request::Peek(next));
                return Ok(());
            }
            (Request::Beat(..), _) => {
                self.process(at).renewing = None;
                Event::Renewed(Err(trouble))
            }
            (Request::Peek(_), answer) => {
                let is_blind = self.broken == Some(Broken::IgnoresLaterClaims);
                let exists = match answer {
                    Some(Answer::Exists(exists)) => Ok(exists && !is_blind),
                    _ => Err(trouble),
                };
                match self.process(at).renewing.take() {
                    Some(_) => Event::Renewed(exists),
                    None => self.observed(at, exists),
                }
            }
            (Request::Claim(epoch, claim), Some(Answer::Created(is_new))) => {
                // It is read back: a repeated request of ours may have created it.
                let there = self.bucket.claims.get(epoch);
                let is_mine = is_new || there.is_some_and(|(there, _)| there.process == claim.process);
                Event::Claimed(Ok(if is_mine { Claimed::Won } else { Claimed::Lost }))
            }
            (Request::Claim(..), _) => Event::Claimed(Err(trouble)),
            (Request::Remove(_), _) => Event::Removed,
        };
        self.tell(at, event)
    }

    fn observed(&mut self, at: At, exists: Result<bool, Trouble>) -> Event {
        let Some((epoch, beat)) = self.process(at).observing.take() else {
            return Event::Observed(Err(Trouble::Away("nothing was asked".into())));
        };
        let beat = match self.broken {
            Some(Broken::ReadsOldBeats | Broken::GoesByTheWallClock) => {
                let mut seen = Seen::default();
                if let Some((claim, modified_ms)) = self.bucket.claims.get(&epoch).cloned() {
                    seen.0.insert(epoch, crate::claim::seen::SeenClaim { claim, modified_ms, beat });
                }
                self.spoil(at, seen).0.remove(&epoch).and_then(|claim| claim.beat)
            }
            _ => beat,
        };
        Event::Observed(exists.map(|has_later| Observed { beat, has_later }))
    }

    fn tailed(&mut self, at: At, answer: Option<Answer>) -> Result<(), String> {
        let Some(why) = self.process(at).waits_for_tail.take() else { return Ok(()) };
        let Some(Answer::Tail(len)) = answer else {
            return if why == Tailing::CatchUp { self.tell(at, Event::CaughtUp(Reach::Behind)) } else { Ok(()) };
        };
        if self.process(at).task != Task::Follow {
            return Ok(());
        }
        let ahead = usize::from(self.broken == Some(Broken::InstallsWhatIsNotConfirmed));
        self.install_up_to(at, len + ahead);
        match why {
            Tailing::CatchUp => self.tell(at, Event::CaughtUp(Reach::Everything)),
            Tailing::Install => Ok(()),
        }
    }

    /// What a broken executor makes of a look.
    fn spoil(&mut self, at: At, mut seen: Seen) -> Seen {
        let released = || Beat {
            count: 9,
            state: BeatState::Released { to: None, told_to_end: false },
            sealed: true,
            every_ms: 1000,
        };
        let (broken, now_ms) = (self.broken, self.now_ms);
        let wall_ms = i64::try_from(now_ms).expect("small") + self.nodes[at].clock.wall_ms;
        let instance = self.nodes[at].instance.clone();
        let process = self.process(at);
        let life = process.life.to_string();
        let serves = process.writes;
        let own = seen.0.iter().rev().find(|(_, claim)| claim.claim.instance == instance).map(|(epoch, _)| *epoch);
        let epochs: Vec<_> = seen.0.keys().copied().collect();
        for epoch in epochs {
            let claim = seen.0.get_mut(&epoch).expect("it is there");
            if claim.claim.process == life {
                continue;
            }
            match broken {
                Some(Broken::GoesByTheWallClock) if wall_ms - claim.modified_ms > 18_000 => {
                    claim.beat = Some(released());
                }
                Some(Broken::ReadsOldBeats) => {
                    claim.beat = Some(Beat { count: 1, state: BeatState::Held, sealed: true, every_ms: 5000 });
                }
                Some(Broken::ForgetsThatItWasSuperseded) if own.is_some_and(|own| epoch > own) => {
                    drop(seen.0.remove(&epoch));
                }
                Some(Broken::IgnoresLaterClaims) if serves => drop(seen.0.remove(&epoch)),
                _ => {}
            }
        }
        seen
    }

    /// The same object again.
    pub fn retry(&mut self, at: At) -> Result<(), String> {
        let base = self.nodes[at].disk.base;
        if self.process(at).task == Task::Seal && !self.may_seal(at) {
            let life = self.process(at).life;
            self.later(RETRY_MS, Due::Retry { at, life });
            return Ok(());
        }
        match self.process(at).in_flight.clone() {
            Some(batch) => {
                self.send(at, Request::Append(base, Arc::clone(&batch)));
                Ok(())
            }
            None => self.go_on(at),
        }
    }
}
