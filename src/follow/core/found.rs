//! What was found at the place of the copy, or put there.

use std::time::Duration;

use super::current::Current;
use super::event::{Effect, Found, Notice, Trouble};
use super::{Core, Known, Proof};
use crate::clock::Now;

impl Core {
    pub(super) fn looked(&mut self, looked: Result<Found, Trouble>, now: Now, effects: &mut Vec<Effect>) {
        let found = match looked {
            Ok(found) => found,
            Err(trouble) => return self.troubled(trouble, now, effects),
        };
        (self.wants_whole, self.proof, self.current) = (true, Proof::Nothing, Current::default());
        self.is_locked = matches!(found, Found::At(_) | Found::Doubt(_));
        self.known = match found {
            Found::Missing => Known::Missing,
            Found::At(position) => Known::At(position),
            Found::Doubt(doubt) => {
                effects.push(Effect::Say(Notice::Doubts(doubt)));
                Known::Doubt(None)
            }
            Found::Unreadable(why) => {
                effects.push(Effect::Say(Notice::Unreadable(why)));
                Known::Unfit
            }
        };
    }

    /// A database that was restored is looked at as every other one.
    pub(super) fn in_place(&mut self, done: Result<(), Trouble>, now: Now, effects: &mut Vec<Effect>) {
        self.known = Known::Nothing;
        match done {
            Ok(()) => self.answered(effects),
            Err(trouble) => self.troubled(trouble, now, effects),
        }
    }

    pub(super) fn replaced(&mut self, done: Result<(), Trouble>, now: Now, effects: &mut Vec<Effect>) {
        match done {
            Ok(()) => {
                self.said.cannot_replace = false;
                effects.push(Effect::Say(Notice::Replaced));
                self.in_place(Ok(()), now, effects);
            }
            Err(Trouble::Passing(why)) => {
                if !std::mem::replace(&mut self.said.cannot_replace, true) {
                    effects.push(Effect::Say(Notice::CannotReplace(why)));
                }
                self.later(self.pace.interval().max(Duration::from_secs(1)), now);
            }
            Err(trouble) => self.troubled(trouble, now, effects),
        }
    }
}
