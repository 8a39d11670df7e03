//! What one look at the claims has shown, and what follows from it: pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::wire::{Beat, BeatState, Claim};
use crate::remote::Epoch;

/// So many of the newest claims stay: a restarted instance finds its own among them.
const KEPT: usize = 64;
/// Younger ones stay as well, by the clock of the store: a request that is still on its way cannot
/// be as old.
const KEPT_MS: i64 = 3_600_000;

/// Who this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub instance: String,
    pub process: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenClaim {
    pub claim: Arc<Claim>,
    /// By the clock of the store.
    pub modified_ms: i64,
    /// Not read where it does not count any more: below a claim that is sealed.
    pub beat: Option<Beat>,
}

impl SeenClaim {
    pub fn is_released(&self) -> bool {
        self.beat.as_ref().is_some_and(Beat::is_released)
    }

    /// Whom it was released to.
    pub fn released_to(&self) -> Option<&str> {
        match &self.beat.as_ref()?.state {
            BeatState::Released { to, .. } => to.as_deref(),
            _ => None,
        }
    }

    pub fn was_told_to_end(&self) -> bool {
        matches!(&self.beat, Some(Beat { state: BeatState::Released { told_to_end: true, .. }, .. }))
    }

    pub fn is_sealed(&self) -> bool {
        self.beat.as_ref().is_some_and(|beat| beat.sealed)
    }
}

/// The claims by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(pub BTreeMap<Epoch, SeenClaim>);

/// What a process that has just been started is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Claim the next number.
    Claim(Why),
    /// This instance had this claim, and others came after it.
    StandBy(Epoch),
}

/// Why a claim is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no claim.
    First,
    /// The newest claim is released.
    Free,
    /// The newest claim is held by another instance: it is to drain.
    Deploy,
    /// The newest claim is of an earlier process of this instance.
    Restart,
    /// Those that came after this instance have ended.
    SuccessorEnded,
    /// Those that came after it show no life.
    SuccessorSilent,
    /// The holder of an earlier claim, who was taken for dead, has sealed after this instance.
    Fenced,
    /// The holder has released its claim to this instance.
    HandedOver,
    /// The primary shows no life.
    PrimarySilent,
    /// A person wants it.
    Promoted,
}

impl Why {
    pub fn text(self) -> &'static str {
        match self {
            Why::First => "first",
            Why::Free => "free",
            Why::Deploy => "deploy",
            Why::Restart => "restart",
            Why::SuccessorEnded => "successor-ended",
            Why::SuccessorSilent => "successor-silent",
            Why::Fenced => "fenced",
            Why::HandedOver => "handed-over",
            Why::PrimarySilent => "primary-silent",
            Why::Promoted => "promoted",
        }
    }
}

impl Seen {
    pub fn newest(&self) -> Option<(Epoch, &SeenClaim)> {
        self.0.last_key_value().map(|(epoch, claim)| (*epoch, claim))
    }

    pub fn above(&self, epoch: Epoch) -> impl Iterator<Item = (Epoch, &SeenClaim)> {
        self.0.range(epoch..).skip_while(move |(at, _)| **at == epoch).map(|(at, claim)| (*at, claim))
    }

    /// What a process without a claim is to do.
    pub fn standing(&self, me: &Identity) -> Standing {
        let Some((newest, last)) = self.newest() else { return Standing::Claim(Why::First) };
        if last.claim.instance == me.instance {
            return match last.released_to() {
                // It failed soon after it was given the place, and offered it back.
                Some(to) if to != me.instance && !self.was_told_to_end(to) => Standing::StandBy(newest),
                _ => Standing::Claim(Why::Restart),
            };
        }
        match self.0.iter().rev().find(|(_, seen)| seen.claim.instance == me.instance) {
            Some((own, seen)) if !seen.was_told_to_end() => Standing::StandBy(*own),
            _ if last.is_released() => Standing::Claim(Why::Free),
            _ => Standing::Claim(Why::Deploy),
        }
    }

    /// Whether the newest process of this instance was told to end.
    pub fn was_told_to_end(&self, instance: &str) -> bool {
        let newest = self.0.values().rev().find(|seen| seen.claim.instance == instance);
        newest.is_some_and(SeenClaim::was_told_to_end)
    }

    /// Which holders below `epoch` may still have an application that runs. An earlier process of
    /// this instance is gone, and whoever came before a sealed claim can add nothing.
    pub fn not_released(&self, epoch: Epoch, me: &Identity) -> Vec<(Epoch, &SeenClaim)> {
        let mut found = Vec::new();
        for (at, seen) in self.0.range(..epoch).rev() {
            if !seen.is_released() && seen.claim.instance != me.instance {
                found.push((*at, seen));
            }
            if seen.is_sealed() {
                break;
            }
        }
        found
    }

    /// Old claims that may go; never one of the newest.
    pub fn removable(&self) -> Vec<Epoch> {
        let Some((_, newest)) = self.newest() else { return Vec::new() };
        let is_old = |seen: &SeenClaim| seen.modified_ms.saturating_add(KEPT_MS) <= newest.modified_ms;
        self.0.iter().rev().skip(KEPT).filter(|(_, seen)| is_old(seen)).map(|(epoch, _)| *epoch).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch::new(number).expect("not zero")
    }

    fn seen(instance: &str, state: Option<BeatState>, sealed: bool) -> SeenClaim {
        let claim = Claim {
            node: "n".into(),
            instance: instance.into(),
            process: format!("{instance}-1"),
            hostname: "h".into(),
            url: None,
            cluster_url: None,
            ttl_ms: 15_000,
            parent: None,
            why: "first".into(),
        };
        let beat = state.map(|state| Beat { count: 1, state, sealed, every_ms: 5000 });
        SeenClaim { claim: Arc::new(claim), modified_ms: 0, beat }
    }

    fn released(to: Option<&str>, told_to_end: bool) -> Option<BeatState> {
        Some(BeatState::Released { to: to.map(Into::into), told_to_end })
    }

    fn all(claims: &[SeenClaim]) -> Seen {
        Seen(claims.iter().cloned().enumerate().map(|(at, claim)| (epoch(at as u64 + 1), claim)).collect())
    }

    fn me() -> Identity {
        Identity { instance: "me".into(), process: "me-2".into() }
    }

    #[test]
    fn a_new_process_claims_or_stands_by() {
        let held = Some(BeatState::Held);
        let cases: &[(&[SeenClaim], Standing)] = &[
            (&[], Standing::Claim(Why::First)),
            (&[seen("a", held.clone(), true)], Standing::Claim(Why::Deploy)),
            (&[seen("a", None, false)], Standing::Claim(Why::Deploy)),
            (&[seen("a", released(None, true), true)], Standing::Claim(Why::Free)),
            (&[seen("me", held.clone(), true)], Standing::Claim(Why::Restart)),
            (&[seen("me", released(None, true), true)], Standing::Claim(Why::Restart)),
            (&[seen("me", released(Some("a"), false), true)], Standing::StandBy(epoch(1))),
            (&[seen("me", held.clone(), true), seen("a", None, false)], Standing::StandBy(epoch(1))),
            (
                &[seen("me", released(Some("a"), false), true), seen("a", held.clone(), true)],
                Standing::StandBy(epoch(1)),
            ),
            (
                &[seen("a", released(None, true), true), seen("me", released(Some("a"), false), true)],
                Standing::Claim(Why::Restart),
            ),
            // It was ended, and is started again: a rollback.
            (&[seen("me", released(None, true), true), seen("a", held, true)], Standing::Claim(Why::Deploy)),
        ];
        for (claims, standing) in cases {
            assert_eq!(all(claims).standing(&me()), *standing, "{claims:?}");
        }
    }

    #[test]
    fn only_those_are_waited_for_whose_application_may_run() {
        let held = || Some(BeatState::Held);
        let waits_for = |claims: &[SeenClaim], at| {
            let seen = all(claims);
            seen.not_released(epoch(at), &me()).into_iter().map(|(epoch, _)| epoch.get()).collect::<Vec<_>>()
        };
        let none = Vec::<u64>::new();
        assert_eq!(waits_for(&[seen("a", held(), true), seen("b", None, false), seen("me", None, false)], 3), [2, 1]);
        assert_eq!(waits_for(&[seen("a", held(), true), seen("b", held(), true), seen("me", None, false)], 3), [2]);
        let gave_up = seen("b", released(Some("me"), false), false);
        assert_eq!(waits_for(&[seen("a", held(), true), gave_up.clone(), seen("me", None, false)], 3), [1]);
        assert_eq!(waits_for(&[seen("a", None, false), seen("me", held(), true), seen("me", None, false)], 3), none);
        assert_eq!(waits_for(&[seen("a", released(None, true), true), gave_up], 3), none);
        // Those above do not matter.
        assert_eq!(waits_for(&[seen("me", None, false), seen("a", None, false)], 1), none);
    }

    #[test]
    fn old_claims_go_and_the_newest_stay() {
        let many = |count: u64, step_ms: i64| {
            let at = |n: u64| SeenClaim { modified_ms: n as i64 * step_ms, ..seen("a", None, false) };
            Seen((1..=count).map(|n| (epoch(n), at(n))).collect())
        };
        assert!(many(64, KEPT_MS).removable().is_empty(), "the newest stay, however old");
        assert!(many(1000, 1).removable().is_empty(), "the young stay, however many");
        let gone: Vec<u64> = many(70, KEPT_MS).removable().into_iter().map(Epoch::get).collect();
        assert_eq!(gone, [6, 5, 4, 3, 2, 1]);
        assert!(Seen::default().removable().is_empty());
    }
}
