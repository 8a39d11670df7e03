//! Whether the stores keep two primaries apart: without a create that only one can win there is no
//! cluster.
//!
//! A node that starts while a store is away cannot know it, and must not claim before it does.
//! Where all its databases are copies that it has followed before, its application reads them
//! meanwhile.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::notes::is_here;
use crate::claim::{Access, Outcome, RoleDriver, RoleOrder};
use crate::remote::Remote;
use crate::run::Job;
use crate::run::connect::store_failure;
use crate::run::exit::{CONFIG, Failure};
use crate::run::prepare::{Line, connect_all};
use crate::store::{StoreError, probe};

/// So often the store is asked.
const PROBES: u32 = 4;
const PROBE_PAUSE: Duration = Duration::from_millis(500);
/// The same while it is away.
const AWAY_PAUSE: Duration = Duration::from_secs(2);

pub enum Reliability {
    Proved,
    /// These are to be asked when they answer.
    Unknown(Vec<Remote>),
}

pub async fn connect(job: &Job) -> Result<(Vec<Line<'_>>, Reliability), Failure> {
    let (lines, failed) = connect_all(job, false).await;
    if let Some((_, failure)) = failed.into_iter().next() {
        return Err(failure);
    }
    for line in &lines {
        match is_reliable(&line.remote, PROBES).await {
            Ok(true) => {}
            Ok(false) => return Err(Failure::told(CONFIG, unreliable(&line.remote))),
            Err(error) if error.is_transient() && all_are_copies(&lines).await => {
                tracing::warn!(
                    "the bucket cannot be reached: the copies that are here are read meanwhile, and this node becomes no primary: \
                     {error}"
                );
                let stores = lines.iter().map(|line| line.remote.clone()).collect();
                return Ok((lines, Reliability::Unknown(stores)));
            }
            Err(error) => return Err(store_failure(&error)),
        }
    }
    Ok((lines, Reliability::Proved))
}

/// The roles, until they have ended, or the token says that it is over before they could begin.
pub fn begin(
    driver: RoleDriver,
    reliability: Reliability,
    orders: mpsc::UnboundedSender<RoleOrder>,
) -> (JoinHandle<Outcome>, CancellationToken) {
    let is_over = CancellationToken::new();
    if let Reliability::Unknown(_) = reliability {
        // The receiver is there until the roles have ended.
        let _ = orders.send(RoleOrder::Follow);
    }
    (tokio::spawn(roles(driver, reliability, is_over.clone())), is_over)
}

/// The roles, as soon as the stores are known.
async fn roles(driver: RoleDriver, reliability: Reliability, is_over: CancellationToken) -> Outcome {
    if let Reliability::Unknown(stores) = reliability {
        match is_over.run_until_cancelled(all_answer(&stores)).await {
            Some(Ok(())) => {}
            Some(Err(why)) => return Outcome::Denied(Access::Create, why),
            None => return Outcome::Nothing,
        }
    }
    driver.run().await
}

async fn all_answer(stores: &[Remote]) -> Result<(), String> {
    for store in stores {
        loop {
            match is_reliable(store, 0).await {
                Ok(true) => break,
                Ok(false) => return Err(unreliable(store)),
                Err(error) if error.is_transient() => tokio::time::sleep(AWAY_PAUSE).await,
                Err(error) => return Err(error.to_string()),
            }
        }
    }
    Ok(())
}

async fn is_reliable(remote: &Remote, more: u32) -> Result<bool, StoreError> {
    let mut tries = 0;
    loop {
        match probe::race(remote.store().as_ref()).await {
            Err(error) if error.is_transient() && tries < more => {
                tries += 1;
                tokio::time::sleep(PROBE_PAUSE * tries).await;
            }
            answer => return answer,
        }
    }
}

fn unreliable(remote: &Remote) -> String {
    format!(
        "cluster: several nodes can create the same object in {} at the same time, and the store says to each that it was the one: \
         two of them could write; use another store, or no cluster",
        remote.address()
    )
}

/// A database that is none may have commits of its own: what becomes of it, the claims say.
async fn all_are_copies(lines: &[Line<'_>]) -> bool {
    for line in lines {
        if is_here(line.database).await != (true, true) {
            return false;
        }
    }
    true
}
