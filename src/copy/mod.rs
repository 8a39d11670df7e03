//! A replica copied to another place, on the same kind of store or on another one.
//!
//! The files keep their bytes; only their names are those of the store that they go to. Each is
//! verified while it is read, and created, never replaced: what is in the way is compared. The
//! newest files go first, and one that a restore begins with goes only when all that go before it
//! are there: so a part of a copy is no replica that could be taken for a whole one. A copy that
//! was interrupted goes on where it was when the same state is asked for again.
//!
//! ```text
//!   error.rs   what can be in the way
//!   object.rs  one file
//!   place.rs   what may be there already
//! ```

mod error;
mod object;
mod place;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use crate::figures;
use crate::ltx::Txid;
use crate::remote::{Created, LtxObject, Mark, Remote};
use crate::restore::{Found, RestoreError, Target, nothing_in, plan as planned, refuse_rival};
use crate::store::StoreError;
pub use error::CopyError;
use error::{of_store, read_failure};
use object::{Sent, send};
use place::Place;

/// Files on their way at the same time.
const FILES_IN_FLIGHT: usize = 4;

/// What is to be copied.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub target: Target,
    /// Every file and every mark, not only what a restore of the target reads.
    pub history: bool,
}

/// What a copy is made of.
#[derive(Clone, Debug)]
pub struct CopyPlan {
    /// The newest first.
    pub files: Vec<LtxObject>,
    /// The state that a restore of the copy brings back, and when that was.
    pub txid: Txid,
    pub timestamp_ms: i64,
    pub marks: Vec<Mark>,
}

impl CopyPlan {
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|object| object.size).fold(0, u64::saturating_add)
    }
}

/// What was copied now, and what was there from before.
#[derive(Debug, Default)]
pub struct Tally {
    files: AtomicU64,
    bytes: AtomicU64,
    there: AtomicU64,
}

impl Tally {
    /// Files and bytes that were copied, and files that were there.
    pub fn now(&self) -> (u64, u64, u64) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (get(&self.files), get(&self.bytes), get(&self.there))
    }

    fn sent(&self, sent: Sent, bytes: u64) {
        match sent {
            Sent::Copied => {
                self.files.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Sent::There => {
                self.there.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// What would be copied.
pub async fn plan_copy(from: &Remote, order: Order, cancel: &CancellationToken) -> Result<CopyPlan, CopyError> {
    let found = planned(from, order.target, cancel).await.map_err(CopyError::From)?;
    let Found::Ltx(checked) = found else {
        return Err(CopyError::From(RestoreError::NoTxids { address: from.address().to_owned() }));
    };
    let (txid, timestamp_ms) = (checked.plan.txid(), checked.newest.timestamp_ms);
    let mut files = checked.plan.files;
    let mut marks = Vec::new();
    if order.history {
        let listing = from.listing().await.map_err(of_store)?;
        refuse_rival(from, &listing).map_err(CopyError::From)?;
        if listing.is_empty() {
            return Err(CopyError::From(nothing_in(from, &listing)));
        }
        if listing.old.objects().next().is_some() {
            tracing::warn!("the files of Litestream 0.3 in {} are not copied", from.address());
        }
        files = listing.objects().cloned().collect();
        marks = marks_of(from).await?;
    }
    files.sort_by_key(|object| std::cmp::Reverse((object.max_txid, object.min_txid)));
    Ok(CopyPlan { files, txid, timestamp_ms, marks })
}

async fn marks_of(from: &Remote) -> Result<Vec<Mark>, CopyError> {
    let found = from.marks().await.map_err(|error| CopyError::From(read_failure(error)))?;
    for (name, why) in &found.unreadable {
        tracing::warn!("{name} in {} is no mark, and is not copied: {why}", from.address());
    }
    Ok(found.marks)
}

/// Copies, and makes sure that the copy can be restored.
pub async fn copy(
    from: &Remote,
    to: &Remote,
    order: Order,
    tally: &Tally,
    cancel: &CancellationToken,
) -> Result<CopyPlan, CopyError> {
    let work = async {
        let mut plan = plan_copy(from, order, cancel).await?;
        let mut place = Place::look(from, to, plan.txid, order.history).await?;
        // What is copied next must end with the same state.
        let order = if order.history { order } else { Order { target: Target::Txid(plan.txid), ..order } };
        for _ in 0..error::ROUNDS_MAX {
            place.expect(&plan.files)?;
            announce(from, to, order, &plan);
            if send_all(from, to, &mut place, &plan, tally).await? {
                send_marks(to, &plan.marks).await?;
                restorable(to, &plan, cancel).await?;
                return Ok(plan);
            }
            plan = plan_copy(from, order, cancel).await?;
        }
        Err(CopyError::Moving { address: from.address().to_owned() })
    };
    cancel.run_until_cancelled(work).await.unwrap_or(Err(CopyError::Cancelled))
}

fn announce(from: &Remote, to: &Remote, order: Order, plan: &CopyPlan) {
    let (files, bytes, from, to) = (plan.files.len(), plan.bytes(), from.address(), to.address());
    let again = if order.history { "the same command".to_owned() } else { format!("-txid {}", plan.txid) };
    tracing::info!(
        "copying {} with {bytes} bytes from {from} to {to}; if it is interrupted, {again} goes on with it",
        figures::count(files, "file")
    );
}

/// `false`: some of the files are gone, because the source has changed.
async fn send_all(
    from: &Remote,
    to: &Remote,
    place: &mut Place,
    plan: &CopyPlan,
    tally: &Tally,
) -> Result<bool, CopyError> {
    // Nothing is written beside the files of another history, which may have the same names.
    let (there, missing): (Vec<LtxObject>, Vec<LtxObject>) =
        place.missing(&plan.files).into_iter().partition(|object| place.has(object));
    let compared = send_each(from, to, place, there, tally).await?;
    let sent = send_each(from, to, place, missing, tally).await?;
    Ok(compared && sent)
}

/// Compares or sends these.
async fn send_each(
    from: &Remote,
    to: &Remote,
    place: &mut Place,
    objects: Vec<LtxObject>,
    tally: &Tally,
) -> Result<bool, CopyError> {
    let mut waiting = objects.into_iter().peekable();
    let mut running = FuturesUnordered::new();
    let mut is_whole = true;
    loop {
        while running.len() < FILES_IN_FLIGHT
            && let Some(object) = waiting.next_if(|next| next.min_txid != Txid::FIRST || running.is_empty())
        {
            let there = place.has(&object);
            running.push(async move {
                let sent = send(from, to, &object, there).await;
                (object, sent)
            });
        }
        let Some((object, sent)) = running.next().await else { return Ok(is_whole) };
        match sent {
            Ok(sent) => {
                tally.sent(sent, object.size);
                place.done(&object);
            }
            Err(CopyError::From(RestoreError::CannotTell(StoreError::NotFound { .. }))) => is_whole = false,
            Err(error) => return Err(error),
        }
    }
}

async fn send_marks(to: &Remote, marks: &[Mark]) -> Result<(), CopyError> {
    for mark in marks {
        match to.create_mark(mark).await.map_err(CopyError::To)? {
            Created::Done => {}
            Created::InUse(there) if there.as_deref() == Some(mark) => {}
            Created::InUse(_) => {
                return Err(CopyError::Occupied {
                    address: to.address().to_owned(),
                    name: format!("another mark {}", mark.name),
                });
            }
        }
    }
    Ok(())
}

/// The planner has the last word on what a copy is worth.
async fn restorable(to: &Remote, plan: &CopyPlan, cancel: &CancellationToken) -> Result<(), CopyError> {
    let incomplete = |error| CopyError::Incomplete { address: to.address().to_owned(), error };
    match planned(to, Target::Txid(plan.txid), cancel).await {
        Ok(_) => Ok(()),
        Err(RestoreError::CannotTell(error)) => Err(CopyError::To(error)),
        Err(error) => Err(incomplete(error)),
    }
}
