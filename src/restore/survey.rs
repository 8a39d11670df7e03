//! From a listing to a plan that can be trusted: looks into the objects on which the plan hinges.
//!
//! A bucket is a shared place, and names are only names. Two kinds of object decide more than they should by their name alone:
//! the one that a plan ends with (a stray `1-ffffffffffffffff` would win over everything), and the first one behind a gap (a
//! stray one makes a whole history look broken). Both are opened. What does not hold what its name says is set aside and said;
//! what does is believed, so a true gap is an error.
//!
//! A level-0 object that connects is never set aside: it is either the last commit or damaged, and only a person may choose
//! to do without it. A compacted one may be, because level 0 keeps its newest object: if that is out of reach without it,
//! there is a gap.

use super::plan::{self, NoPlan, Plan};
use super::{RestoreError, Target};
use crate::ltx::{Header, Txid};
use crate::remote::{Level, Listing, LtxObject, ReadError, Remote};
use crate::store::{Key, StoreError};

/// A plan and what its end says.
#[derive(Clone, Debug)]
pub struct Survey {
    pub plan: Plan,
    /// The header of the newest file.
    pub newest: Header,
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
    let detail = format!("{name} was listed and is gone, again and again");
    RestoreError::CannotTell(StoreError::Transient { detail })
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Final(RestoreError::CannotTell(error))
    }
}

/// Lists, plans and looks, leaving out the objects in `avoid`.
pub(super) async fn survey(remote: &Remote, target: Target, avoid: &[(Key, String)]) -> Result<Survey, Failure> {
    let mut listing = remote.listing().await?;
    for ignored in &listing.ignored {
        tracing::warn!("ignoring {}: {}", ignored.name, ignored.why);
    }
    let avoided: Vec<LtxObject> = listing.objects().filter(|o| avoid.iter().any(|a| a.0 == o.name)).cloned().collect();
    for object in avoided {
        listing.set_aside(&object, "it is damaged");
    }
    let mut earlier = match target {
        Target::Before(before_ms) => Some(remote.listing_before(&listing, before_ms).await.map_err(moved_or_final)?),
        _ => None,
    };
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
                    Ok(newest) => return Ok(Survey { plan, newest }),
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
        (NoPlan::TooEarly, _) => match window(remote, listing).await {
            Ok((oldest_ms, newest_ms)) => RestoreError::TooEarly { oldest_ms, newest_ms },
            Err(error) => RestoreError::CannotTell(error),
        },
        (NoPlan::Gap { reached, beyond }, _) => gap(reached, &beyond),
        _ => nothing(remote, listing),
    })
}

/// No LTX object is left. That is "no backup" only if none was there that had the name of one.
fn nothing(remote: &Remote, listing: &Listing) -> RestoreError {
    let address = remote.address().to_owned();
    if let Some(ignored) = listing.ignored.iter().find(|i| i.is_ltx_name) {
        return RestoreError::Corrupt { name: ignored.name.clone(), why: ignored.why.clone() };
    }
    if listing.has_v03 { RestoreError::OldFormatOnly { address } } else { RestoreError::NoBackup { address } }
}

/// The points in time between which anything can be restored.
async fn window(remote: &Remote, listing: &Listing) -> Result<(i64, i64), StoreError> {
    let begins = listing.objects().filter(|o| o.min_txid == Txid::FIRST).min_by_key(|o| (o.max_txid, o.modified_ms));
    let ends = listing.objects().max_by_key(|o| o.max_txid);
    let oldest_ms = match begins {
        Some(object) => remote.created_ms(object).await?,
        None => 0,
    };
    let newest_ms = match ends {
        Some(object) => remote.created_ms(object).await?,
        None => 0,
    };
    Ok((oldest_ms, newest_ms))
}
