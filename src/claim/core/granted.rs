//! What the store has permitted this process to do with claims.
//!
//! A process that was never permitted to read claims, or to create one, is configured wrongly: it
//! ends and says what is missing, before anything is started. What was permitted once and is not
//! any more (keys that have expired, a policy that was changed) is a bucket that is away: the
//! application goes on, and people are told.

use super::Core;
use super::alone::Alone;
use super::event::{Access, Outcome, Trouble};
use super::state::State;

#[derive(Clone, Copy, Debug, Default)]
pub struct Granted {
    read: bool,
    create: bool,
}

impl Granted {
    fn of(&mut self, access: Access) -> &mut bool {
        match access {
            Access::Read => &mut self.read,
            Access::Create => &mut self.create,
        }
    }
}

impl Core {
    /// An answer that shows whether it is permitted. An application that runs without a claim is
    /// not stopped for it.
    pub(super) fn note<T>(&mut self, access: Access, answer: &Result<T, Trouble>) {
        match answer {
            Ok(_) => *self.granted.of(access) = true,
            Err(Trouble::Denied(why)) if !*self.granted.of(access) && self.alone != Alone::Runs => {
                self.state = State::Ended(Outcome::Denied(access, why.clone()));
            }
            Err(_) => {}
        }
    }
}
