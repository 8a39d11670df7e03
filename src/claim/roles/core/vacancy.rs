//! Whether there is a primary, and if not, whether it is for this node to be it.
//!
//! Clocks are not compared: the holder of a claim is silent when its beat has not changed for as
//! long as its claim lasts, and a margin for clocks that run at different speeds, by our own clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Config;
use crate::claim::seen::{Seen, SeenClaim, Why};
use crate::claim::watch::Watch;
use crate::claim::wire::{Beat, BeatState};
use crate::remote::Epoch;

/// No beat is waited for longer, whatever it says.
const EVERY_MAX: Duration = Duration::from_secs(3600);

/// What is about to be released is looked at this often, while it lasts.
const DRAINING_PAUSE: Duration = Duration::from_millis(250);

/// For how long each claim that is not released has shown the same beat.
#[derive(Clone, Debug, Default)]
pub struct Watches(BTreeMap<Epoch, Watch<Option<Beat>>>);

impl Watches {
    /// Looked at again after `step`.
    pub fn observe(&mut self, seen: &Seen, step: Duration) {
        self.0.retain(|epoch, _| seen.0.contains_key(epoch));
        for (epoch, claim) in &seen.0 {
            let watch = self.0.entry(*epoch);
            watch
                .and_modify(|watch| watch.observe(claim.beat.clone(), step))
                .or_insert_with(|| Watch::begin(claim.beat.clone()));
        }
    }

    /// A claim of our own that was made late: nothing that was watched before counts.
    pub fn begin_anew(&mut self) {
        self.0.clear();
    }

    /// Whether its holder can do nothing any more.
    pub fn is_silent(&self, epoch: Epoch, claim: &SeenClaim) -> bool {
        self.0.get(&epoch).is_some_and(|watch| watch.still() >= silence(claim))
    }

    /// When to look again: a beat counts as silent from the look that showed it first, so that look
    /// should come soon after the beat. One comes shortly before the next beat is due, then others
    /// in short steps, and one when the time of silence is over.
    pub fn look_after(&self, config: &Config, seen: &Seen) -> Duration {
        let others = seen.0.iter().filter(|(_, claim)| claim.claim.process != config.me.process);
        let pauses = others.filter_map(|(epoch, claim)| self.pause(*epoch, claim, config.look_every()));
        pauses.min().unwrap_or(config.look_every())
    }

    fn pause(&self, epoch: Epoch, claim: &SeenClaim, usual: Duration) -> Option<Duration> {
        let watch = self.0.get(&epoch).filter(|_| !claim.is_released())?;
        let left = silence(claim).checked_sub(watch.still()).filter(|left| !left.is_zero())?;
        let beat = claim.beat.as_ref()?;
        let every = Duration::from_millis(beat.every_ms);
        // Whatever the beat says, this never becomes a loop of requests.
        let step = (every / 5).max(usual / 10);
        let pause = match every.saturating_sub(step).checked_sub(watch.still()).filter(|due| !due.is_zero()) {
            // It is about to release its claim.
            _ if beat.state == BeatState::Draining => (step / 2).min(DRAINING_PAUSE),
            // One that is no node of a cluster shows life rarely.
            _ if every > usual * 2 => usual,
            Some(due) => due.min(usual),
            None => step,
        };
        Some(pause.min(left))
    }
}

/// After so long without a change of its beat a holder has stopped its application by itself. One
/// that is no node of a cluster shows life rarely.
fn silence(claim: &SeenClaim) -> Duration {
    let ttl = Duration::from_millis(claim.claim.ttl_ms).min(EVERY_MAX);
    let every = claim.beat.as_ref().map_or(Duration::ZERO, |beat| Duration::from_millis(beat.every_ms));
    let lasts = ttl.max(every.min(EVERY_MAX) * 3);
    lasts + margin(lasts)
}

/// For clocks that run at different speeds; those of machines differ by less than a thousandth.
pub fn margin(ttl: Duration) -> Duration {
    ttl / 20
}

/// Why this node is to claim, if it is.
pub fn vacancy(config: &Config, seen: &Seen, watches: &Watches, is_promoted: bool, holds_off: bool) -> Option<Why> {
    let me = &config.me;
    if is_promoted {
        return Some(Why::Promoted);
    }
    let Some((newest, last)) = seen.newest() else { return config.is_candidate.then_some(Why::First) };
    let is_mine = last.claim.instance == me.instance;
    let is_earlier = is_mine && last.claim.process != me.process;
    match last.released_to() {
        _ if !config.is_candidate || holds_off => None,
        _ if is_earlier => Some(Why::Restart),
        Some(to) if to == me.instance => Some(Why::HandedOver),
        _ if !config.is_automatic => None,
        // It is offered to another node, which may be gone.
        Some(_) => watches.is_silent(newest, last).then_some(Why::Free),
        None if last.is_released() => Some(Why::Free),
        None => {
            let all = newest.next().map(|next| seen.not_released(next, me)).unwrap_or_default();
            let is_over = all.iter().all(|(epoch, claim)| watches.is_silent(*epoch, claim));
            (is_over && !is_mine).then_some(Why::PrimarySilent)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::claim::seen::Identity;
    use crate::claim::wire::Claim;

    #[test]
    fn a_beat_that_promises_another_at_once_makes_no_loop_of_requests() {
        let ttl = Duration::from_secs(15);
        let me = Identity { instance: "me".into(), process: "1".into() };
        let config = Config { me, ttl, is_candidate: true, is_automatic: true };
        let claim = Claim {
            node: "a".into(),
            instance: "a".into(),
            process: "2".into(),
            hostname: "a".into(),
            url: None,
            cluster_url: None,
            ttl_ms: 15_000,
            parent: None,
            why: String::new(),
        };
        for state in [BeatState::Held, BeatState::Draining] {
            let beat = Some(Beat { count: 1, state, sealed: true, every_ms: 0 });
            let mut seen = Seen::default();
            seen.0.insert(Epoch::FIRST, SeenClaim { claim: Arc::new(claim.clone()), modified_ms: 0, beat });
            let mut watches = Watches::default();
            watches.observe(&seen, Duration::ZERO);
            assert!(watches.look_after(&config, &seen) >= ttl / 120);
        }
    }
}
