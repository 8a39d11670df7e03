//! Our own claim, and what its beat is to say.

use std::time::Duration;

use tokio::time::Instant;

use super::seen::SeenClaim;
use super::wire::{Beat, BeatState};
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
    /// Until then by the boot clock this was the newest claim, or others could not take its holder
    /// for dead.
    safe: Option<Duration>,
    /// When the next one is due.
    due: Instant,
}

impl Mine {
    pub fn new(epoch: Epoch, now: Now) -> Mine {
        let state = BeatState::Waiting;
        Mine { epoch, state, sealed: false, count: 0, written: None, sent: None, safe: None, due: now.instant }
    }

    /// The claim of an earlier process of this instance, which is gone.
    pub fn inherited(epoch: Epoch, seen: &SeenClaim, now: Now) -> Mine {
        let beat = seen.beat.clone();
        let (count, sealed) = beat.as_ref().map_or((0, false), |beat| (beat.count, beat.sealed));
        let state = beat.as_ref().map_or(BeatState::Waiting, |beat| beat.state.clone());
        Mine { epoch, state, sealed, count, written: beat, sent: None, safe: None, due: now.instant }
    }

    pub fn say(&mut self, state: BeatState) {
        self.state = state;
    }

    pub fn is_sealed(&mut self) {
        self.sealed = true;
    }

    /// Whether it has sealed.
    pub fn has_sealed(&self) -> bool {
        self.sealed
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

    pub fn is_written(&mut self, ttl: Duration) {
        if let Some((beat, at)) = self.sent.take() {
            self.written = Some(beat);
            // After a longer time without a beat others may have gone on, and a beat changes
            // nothing.
            if self.safe.is_some_and(|safe| at.saturating_sub(safe) < ttl) {
                self.safe = Some(at);
            }
        }
    }

    /// The beat was written, and after that there was no later claim: whoever claims from now on
    /// sees the beat, and waits.
    pub fn is_renewed(&mut self) {
        if let Some((beat, at)) = self.sent.take() {
            self.written = Some(beat);
            self.safe = self.safe.max(Some(at));
        }
    }

    /// A look that was asked for at this time has shown no later claim.
    pub fn is_newest(&mut self, asked: Duration) {
        self.safe = self.safe.max(Some(asked));
    }

    /// Others cannot go on without us before this time, by the boot clock.
    pub fn safe_until(&self, ttl: Duration) -> Option<Duration> {
        self.safe.map(|at| at + ttl)
    }

    /// Whether others cannot have gone on without us.
    pub fn is_safe(&self, ttl: Duration, now: Now) -> bool {
        self.safe_until(ttl).is_some_and(|until| now.boot < until)
    }

    /// What lies in the bucket. A beat that was late may have come over a newer one.
    pub fn is_seen(&mut self, beat: Option<&Beat>) {
        if self.written.is_some() && self.written.as_ref() != beat {
            self.written = None;
        }
    }

    /// What was written just now is what another node waits for: this one is there, or it has
    /// released.
    pub fn is_news(&self) -> bool {
        self.written.as_ref().is_some_and(|beat| beat.count == 1 || beat.is_released())
    }

    pub fn is_released(&self) -> bool {
        matches!(self.state, BeatState::Released { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(15);

    #[test]
    fn a_beat_after_a_long_pause_does_not_make_a_claim_the_newest() {
        let start = crate::clock::MACHINE.instant();
        let at = |secs| Now { instant: start + Duration::from_secs(secs), boot: Duration::from_secs(secs) };
        let mut mine = Mine::new(Epoch::FIRST, at(100));
        let beat = |mine: &mut Mine, secs| {
            mine.beat(TTL / 3, at(secs));
            mine.is_written(TTL);
        };
        beat(&mut mine, 100);
        assert!(!mine.is_safe(TTL, at(100)), "no look has shown it");
        mine.is_newest(at(101).boot);
        beat(&mut mine, 105);
        beat(&mut mine, 115);
        assert!(mine.is_safe(TTL, at(129)) && !mine.is_safe(TTL, at(130)));
        beat(&mut mine, 200);
        assert!(!mine.is_safe(TTL, at(200)), "others may have gone on");
        mine.is_newest(at(201).boot);
        assert!(mine.is_safe(TTL, at(202)));
    }
}
