//! From a listing to a plan that can be trusted: looks into the objects on which the plan hinges.
//!
//! A bucket is a shared place, and names are only names. Two kinds of object decide more than they
//! should by their name alone: the one that a plan ends with (a stray `1-ffffffffffffffff` would
//! win over everything), and the first one behind a gap (a stray one makes a whole history look
//! broken). Both are opened. What does not hold what its name says is set aside and said; what does
//! is believed, so a true gap is an error.
//!
//! A level-0 object that connects is never set aside: it is either the last commit or damaged, and
//! only a person may choose to do without it. A compacted one may be, because level 0 keeps its
//! newest object: if that is out of reach without it, there is a gap.

use std::sync::Arc;

use super::absence::{nothing_in, refuse_rival};
use super::format::{self, Format};
use super::open;
use super::v03::{self, NoOldPlan, OldPlan};
use super::{RestoreError, Target};
use crate::ltx::{Header, Txid};
use crate::remote::plan::{self, NoPlan, Plan};
use crate::remote::{Level, Listing, LtxObject, ReadError, Remote, Resembles};
use crate::store::{Key, StoreError};

/// A plan and what its end says.
#[derive(Clone, Debug)]
pub struct CheckedPlan {
    pub plan: Plan,
    /// The header of the newest file.
    pub newest: Header,
    /// LISTs that it took to know this.
    pub lists: u64,
}

impl CheckedPlan {
    /// LISTs and GETs of the whole restore, when nothing has to be read twice.
    pub fn requests(&self) -> u64 {
        let look_at_newest = 1;
        let reads: u64 = self.plan.files.iter().map(|object| open::reads(object.size)).sum();
        self.lists + look_at_newest + reads
    }
}

/// What a restore would read.
#[derive(Clone, Debug)]
pub enum Found {
    Ltx(CheckedPlan),
    Old(Arc<OldPlan>),
}

pub(super) enum Failure {
    /// An object vanished between the LIST and its reading: list again.
    Moved(Key),
    Final(RestoreError),
}

impl Failure {
    pub(super) fn into_error(self) -> RestoreError {
        match self {
            Failure::Final(error) => error,
            Failure::Moved(name) => vanishing(&name),
        }
    }
}

/// The error when listed objects keep vanishing.
pub(super) fn vanishing(name: &Key) -> RestoreError {
    let detail = format!("{name} is listed, but was gone at every attempt");
    RestoreError::CannotTell(StoreError::Transient { detail })
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Final(RestoreError::CannotTell(error))
    }
}

/// Lists, plans and looks, leaving out the objects in `avoid`.
pub(super) async fn checked_plan(remote: &Remote, target: Target, avoid: &[(Key, String)]) -> Result<Found, Failure> {
    let mut listing = remote.listing_with_old().await?;
    remote.announce(&listing);
    refuse_rival(remote, &listing).map_err(Failure::Final)?;
    let mut earlier = match target {
        Target::Before(before_ms) => Some(remote.listing_before(&listing, before_ms).await.map_err(moved_or_final)?),
        _ => None,
    };
    // Before anything is set aside: damage in one format is no reason to take the other.
    if choose(remote, target, &listing, earlier.as_ref()).await? == Format::Old {
        return old(remote, target, &listing).await;
    }
    let avoided: Vec<LtxObject> = listing.objects().filter(|o| avoid.iter().any(|a| a.0 == o.name)).cloned().collect();
    for object in avoided {
        listing.set_aside(&object, "it is damaged");
        if let Some(earlier) = &mut earlier {
            earlier.set_aside(&object, "it is damaged");
        }
    }
    loop {
        let planned = match (target, &earlier) {
            (Target::Txid(txid), _) => plan::at_txid(&listing, txid),
            (_, Some(earlier)) => plan::before(&listing, earlier),
            (_, None) => plan::latest(&listing),
        };
        let (suspect, found) = match planned {
            Ok(plan) => {
                let suspect = plan.newest().clone();
                match look(remote, &suspect).await? {
                    Ok(newest) => return Ok(Found::Ltx(CheckedPlan { plan, newest, lists: listing.lists })),
                    Err(why) if suspect.level == Level::L0 => return Err(Failure::Final(corrupt(&suspect, why))),
                    Err(why) => (suspect, why),
                }
            }
            Err(NoPlan::Gap { reached, beyond }) => match look(remote, &beyond).await? {
                Ok(_) => return Err(Failure::Final(gap(reached, &beyond))),
                Err(why) => (beyond, why),
            },
            Err(no_plan) => return Err(no_plan_error(remote, target, &listing, no_plan).await),
        };
        tracing::warn!("ignoring {}: {found}", suspect.name);
        listing.set_aside(&suspect, found.clone());
        if let Some(earlier) = &mut earlier {
            earlier.set_aside(&suspect, found);
        }
    }
}

/// Which format to restore from; it asks for times only where both are there.
async fn choose(
    remote: &Remote,
    target: Target,
    listing: &Listing,
    earlier: Option<&Listing>,
) -> Result<Format, Failure> {
    let has_ltx = !listing.is_empty() || listing.ignored.iter().any(|i| i.resembles == Resembles::Ltx);
    if matches!(target, Target::Txid(_)) || listing.old.is_empty() {
        return Ok(Format::Ltx);
    }
    if !has_ltx {
        return Ok(Format::Old);
    }
    let (newest, old_ms) = match (target, earlier) {
        (Target::Before(before_ms), Some(earlier)) => {
            let images = earlier.objects().filter(|object| object.min_txid == Txid::FIRST);
            (images.max_by_key(|object| object.max_txid), v03::best_snapshot_ms(&listing.old, before_ms))
        }
        // LTX objects that are all unreadable: that is damage to report, not a reason to go back to
        // older files.
        _ if listing.is_empty() => return Ok(Format::Ltx),
        _ => (listing.objects().max_by_key(|object| object.max_txid), listing.old.newest_ms()),
    };
    let ltx_ms = match newest {
        Some(object) => Some(remote.created_ms(object).await.map_err(moved_or_final)?),
        None => None,
    };
    let chosen = format::choose(ltx_ms, old_ms);
    tracing::debug!("LTX files and a replica of Litestream 0.3 are there: restoring from {chosen:?}");
    Ok(chosen)
}

async fn old(remote: &Remote, target: Target, listing: &Listing) -> Result<Found, Failure> {
    let until_ms = match target {
        Target::Before(until_ms) => Some(until_ms),
        _ => None,
    };
    Err(Failure::Final(match v03::plan(&listing.old, until_ms) {
        Ok(plan) => {
            if until_ms.is_none() && listing.old.newest_ms() > plan.objects().map(|object| object.modified_ms).max() {
                tracing::warn!(
                    "restoring generation {}; another one has newer WAL segments, but no newer snapshot",
                    plan.generation
                );
            }
            return Ok(Found::Old(Arc::new(plan)));
        }
        Err(NoOldPlan::Gap { generation, missing, beyond, last_ms }) => {
            RestoreError::OldGap { generation, missing, beyond: beyond.name, last_ms }
        }
        Err(NoOldPlan::NoSnapshot { stray }) => RestoreError::Corrupt {
            name: stray.name.to_string(),
            why: "there is no snapshot that it could be applied to".into(),
        },
        Err(NoOldPlan::TooEarly) => match window(remote, listing).await {
            Ok((oldest_ms, newest_ms)) => RestoreError::TooEarly { oldest_ms, newest_ms },
            Err(error) => RestoreError::CannotTell(error),
        },
        Err(NoOldPlan::Nothing) => nothing_in(remote, listing),
    }))
}

/// Whether an object holds what its name says.
async fn look(remote: &Remote, object: &LtxObject) -> Result<Result<Header, String>, Failure> {
    remote.check_header(object).await.map_err(|error| match error {
        ReadError::Gone { name } => Failure::Moved(name),
        ReadError::Store(error) => error.into(),
        ReadError::Invalid { .. } => Failure::Final(corrupt(object, error.to_string())),
    })
}

/// A HEAD that finds nothing means that the listing is out of date.
fn moved_or_final(error: StoreError) -> Failure {
    match error {
        StoreError::NotFound { detail } => Failure::Final(RestoreError::CannotTell(StoreError::Transient { detail })),
        error => error.into(),
    }
}

fn corrupt(object: &LtxObject, why: String) -> RestoreError {
    RestoreError::Corrupt { name: object.name.to_string(), why }
}

fn gap(reached: Option<Txid>, beyond: &LtxObject) -> RestoreError {
    let first_missing = reached.map_or(Some(Txid::FIRST), Txid::next).expect("something lies beyond it");
    let last_missing = Txid::new(beyond.min_txid.get() - 1).expect("something lies before it");
    RestoreError::Gap { reached, first_missing, last_missing, beyond: beyond.name.clone() }
}

async fn no_plan_error(remote: &Remote, target: Target, listing: &Listing, why: NoPlan) -> Failure {
    Failure::Final(match (why, target) {
        (NoPlan::NotReached { below, above }, Target::Txid(wanted)) => {
            RestoreError::NotReached { wanted, below, above }
        }
        (NoPlan::Nothing, Target::Txid(_)) if !listing.old.is_empty() => {
            RestoreError::NoTxids { address: remote.address().to_owned() }
        }
        (NoPlan::TooEarly, _) => match window(remote, listing).await {
            Ok((oldest_ms, newest_ms)) => RestoreError::TooEarly { oldest_ms, newest_ms },
            Err(error) => RestoreError::CannotTell(error),
        },
        (NoPlan::Gap { reached, beyond }, _) => gap(reached, &beyond),
        _ => nothing_in(remote, listing),
    })
}

/// The points in time between which anything can be restored.
async fn window(remote: &Remote, listing: &Listing) -> Result<(i64, i64), StoreError> {
    let begins = listing.objects().filter(|o| o.min_txid == Txid::FIRST).min_by_key(|o| (o.max_txid, o.modified_ms));
    let ends = listing.objects().max_by_key(|o| o.max_txid);
    let snapshots = listing.old.generations.iter().flat_map(|generation| &generation.snapshots);
    let mut oldest_ms = snapshots.map(|snapshot| snapshot.modified_ms).min();
    let mut newest_ms = listing.old.newest_ms();
    if let Some(object) = begins {
        let created_ms = remote.created_ms(object).await?;
        oldest_ms = Some(oldest_ms.map_or(created_ms, |oldest_ms| oldest_ms.min(created_ms)));
    }
    if let Some(object) = ends {
        newest_ms = newest_ms.max(Some(remote.created_ms(object).await?));
    }
    Ok((oldest_ms.unwrap_or(0), newest_ms.unwrap_or(0)))
}
