//! Our own claim, and what its beat is to say.

use std::time::Duration;

use tokio::time::Instant;

use crate::claim::seen::SeenClaim;
use crate::claim::wire::{Beat, BeatState};
use crate::clock::Now;
use crate::remote::Epoch;

#[derive(Clone, Debug)]
pub struct Mine {
    pub epoch: Epoch,
    state: BeatState,
    sealed: bool,
    count: u64,
    /// What the bucket has for certain.
    written: Option<Beat>,
    /// On its way, since then by the boot clock.
    sent: Option<(Beat, Duration)>,
    /// When the last one that certainly arrived was sent, by the boot clock.
    life_shown: Option<Duration>,
    /// When the next one is due.
    due: Instant,
}

impl Mine {
    pub fn new(epoch: Epoch, now: Now) -> Mine {
        let state = BeatState::Waiting;
        Mine { epoch, state, sealed: false, count: 0, written: None, sent: None, life_shown: None, due: now.instant }
    }

    /// The claim of an earlier process of this instance, which is gone.
    pub fn inherited(epoch: Epoch, seen: &SeenClaim, now: Now) -> Mine {
        let beat = seen.beat.clone();
        let (count, sealed) = beat.as_ref().map_or((0, false), |beat| (beat.count, beat.sealed));
        let state = beat.as_ref().map_or(BeatState::Waiting, |beat| beat.state.clone());
        Mine { epoch, state, sealed, count, written: beat, sent: None, life_shown: None, due: now.instant }
    }

    pub fn say(&mut self, state: BeatState) {
        self.state = state;
    }

    pub fn is_sealed(&mut self) {
        self.sealed = true;
    }

    /// A released claim says so once. All others are told again and again.
    pub fn is_owed(&self, now: Now) -> bool {
        let is_said = self.written.as_ref().is_some_and(|beat| beat.state == self.state && beat.sealed == self.sealed);
        !is_said || (!self.is_released() && self.due <= now.instant)
    }

    /// When it is owed the next time, if nothing changes.
    pub fn due(&self) -> Option<Instant> {
        (!self.is_released()).then_some(self.due)
    }

    /// The beat to write; the next one comes within `every`.
    pub fn beat(&mut self, every: Duration, now: Now) -> Beat {
        self.count += 1;
        self.due = now.instant + every;
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        let beat = Beat { count: self.count, state: self.state.clone(), sealed: self.sealed, every_ms };
        // Until it is answered, what is there is not known.
        self.written = None;
        self.sent.insert((beat, now.boot)).0.clone()
    }

    pub fn is_written(&mut self) {
        if let Some((beat, at)) = self.sent.take() {
            (self.written, self.life_shown) = (Some(beat), Some(at));
        }
    }

    /// How long ago others could last see a change, at the least.
    pub fn showed_life(&self, now: Now) -> Option<Duration> {
        self.life_shown.map(|at| now.boot.saturating_sub(at))
    }

    /// What lies in the bucket. A beat that was late may have come over a newer one.
    pub fn is_seen(&mut self, beat: Option<&Beat>) {
        if self.written.is_some() && self.written.as_ref() != beat {
            self.written = None;
        }
    }

    fn is_released(&self) -> bool {
        matches!(self.state, BeatState::Released { .. })
    }
}
