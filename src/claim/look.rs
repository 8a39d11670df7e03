//! Reads the claims and the beats that count, with as few requests as can be.
//!
//! A claim never changes and a released beat is final, so each is read once. Beats are read from
//! the newest on until one is sealed: what came before it does not count. That of our own instance
//! is read in any case, because a restarted process decides by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::seen::{Seen, SeenClaim};
use super::wire::{self, Beat, Claim, Unreadable};
use crate::remote::{Epoch, ListedClaim, Remote};
use crate::store::StoreError;

/// Requests at the same time.
const AT_ONCE: usize = 16;
/// Older claims are of nodes that are gone.
const NEIGHBOURS: usize = 4;
/// So many beats are read together.
const TOGETHER: usize = 4;

/// Why it is not known who writes.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// What need not be read again.
#[derive(Clone, Debug, Default)]
pub struct Known {
    claims: BTreeMap<Epoch, Arc<Claim>>,
    released: BTreeMap<Epoch, Beat>,
}

impl Known {
    /// Where the nodes of the newest claims are reached, without that of this process.
    pub fn urls(&self, own_process: &str) -> Vec<String> {
        let others = self.claims.values().rev().filter(|claim| claim.process != own_process);
        let mut urls: Vec<String> = Vec::new();
        for url in others.filter_map(|claim| claim.url.clone()) {
            if urls.len() < NEIGHBOURS && !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }

    pub fn newest(&self) -> Option<&Claim> {
        self.claims.last_key_value().map(|(_, claim)| &**claim)
    }
}

/// Looks at everything that is there, and adds to what is known.
pub async fn look(remote: &Remote, instance: &str, mut known: Known) -> Result<(Seen, Known), LookError> {
    let listed = remote.claims().await?;
    known.claims.retain(|epoch, _| listed.contains_key(epoch));
    known.released.retain(|epoch, _| listed.contains_key(epoch));
    let unknown: Vec<Epoch> = listed.keys().copied().filter(|epoch| !known.claims.contains_key(epoch)).collect();
    let read = stream::iter(unknown).map(|epoch| read_claim(remote, epoch)).buffer_unordered(AT_ONCE);
    known.claims.extend(read.try_collect::<Vec<_>>().await?);
    let own = known.claims.iter().rev().find(|(_, claim)| claim.instance == instance).map(|(epoch, _)| *epoch);
    let beats = read_beats(remote, &listed, own, &known.released).await?;
    known
        .released
        .extend(beats.iter().filter(|(_, beat)| beat.is_released()).map(|(epoch, beat)| (*epoch, beat.clone())));
    let seen = |(epoch, claim): (&Epoch, &Arc<Claim>)| {
        let beat = beats.get(epoch).or_else(|| known.released.get(epoch)).cloned();
        (*epoch, SeenClaim { claim: claim.clone(), modified_ms: listed[epoch].modified_ms, beat })
    };
    Ok((Seen(known.claims.iter().map(seen).collect()), known))
}

/// The beats from the newest on until one is sealed, and that of `own`.
async fn read_beats(
    remote: &Remote,
    listed: &BTreeMap<Epoch, ListedClaim>,
    own: Option<Epoch>,
    released: &BTreeMap<Epoch, Beat>,
) -> Result<BTreeMap<Epoch, Beat>, LookError> {
    let with_beat: Vec<Epoch> =
        listed.iter().rev().filter(|(_, claim)| claim.has_beat).map(|(epoch, _)| *epoch).collect();
    let mut beats = BTreeMap::new();
    let mut wanted: Vec<Epoch> = own.into_iter().filter(|own| with_beat.contains(own)).collect();
    for some in with_beat.chunks(TOGETHER) {
        wanted.extend(some.iter().filter(|epoch| Some(**epoch) != own));
        wanted.retain(|epoch| !released.contains_key(epoch));
        let read = stream::iter(std::mem::take(&mut wanted)).map(|epoch| read_beat(remote, epoch));
        let read: Vec<Option<(Epoch, Beat)>> = read.buffer_unordered(AT_ONCE).try_collect().await?;
        beats.extend(read.into_iter().flatten());
        let is_sealed =
            |epoch: &Epoch| beats.get(epoch).or_else(|| released.get(epoch)).is_some_and(|beat| beat.sealed);
        if some.iter().any(is_sealed) {
            break;
        }
    }
    Ok(beats)
}

async fn read_claim(remote: &Remote, epoch: Epoch) -> Result<(Epoch, Arc<Claim>), LookError> {
    let bytes = remote.read_claim(epoch).await?;
    Ok((epoch, Arc::new(wire::decode(&format!("claims/{epoch}.json"), &bytes)?)))
}

/// `None`: it was removed after it was listed.
pub async fn read_beat(remote: &Remote, epoch: Epoch) -> Result<Option<(Epoch, Beat)>, LookError> {
    match remote.read_beat(epoch).await {
        Ok(bytes) => Ok(Some((epoch, wire::decode(&format!("claims/{epoch}.beat"), &bytes)?))),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
