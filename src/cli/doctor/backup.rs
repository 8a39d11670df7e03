//! Whether there is a backup, how old it is, and whether it can be restored.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cli::timestamp;
use crate::doctor::{Blame, Check, human};
use crate::figures;
use crate::remote::{Listing, Remote};
use crate::restore::{Points, RestoreError, nothing_in, points};
use crate::verify::{self as proof, Deep, Live};

const WHAT: &str = "backup";
const PATIENCE: Duration = Duration::from_secs(30);
const PARALLELISM: usize = 8;

/// What is expected of the replica.
pub struct Order<'a> {
    /// Restore it.
    pub deep: bool,
    /// Whose backup it is, if that is known.
    pub database: Option<&'a Path>,
    /// The application must not start without one.
    pub requires: bool,
}

/// `window`: how far back every moment must be restorable.
pub async fn check(
    remote: &Remote,
    order: &Order<'_>,
    window: Option<Duration>,
    is_reachable: bool,
    cancel: &CancellationToken,
) -> Check {
    if !is_reachable {
        return Check::not_checked(WHAT, "the replica cannot be listed");
    }
    let listing = match cancel.run_until_cancelled(remote.listing_with_old()).await {
        None => return Check::not_checked(WHAT, "there was an interruption"),
        Some(Err(error)) => {
            return Check::problem(WHAT, Blame::Unreachable, error.to_string(), "ask again when the storage answers");
        }
        Some(Ok(listing)) => listing,
    };
    let points = points(&listing);
    if points.is_empty() {
        return nothing(remote, &listing, order);
    }
    match order.deep {
        true => proved(remote, order, window, cancel).await,
        false => by_names(remote, &listing, &points).await,
    }
}

fn nothing(remote: &Remote, listing: &Listing, order: &Order<'_>) -> Check {
    let has_database = order.database.is_some_and(Path::exists);
    match nothing_in(remote, listing) {
        RestoreError::NoBackup { .. } if order.requires => Check::problem(
            WHAT,
            Blame::Backup,
            "there is none, although `require-backup` is set: the application would not start on an empty disk",
            "correct the bucket or the path, or leave out `require-backup` for the first start",
        ),
        RestoreError::NoBackup { .. } if has_database => Check::warning(
            WHAT,
            "there is none, although there is a database",
            "start `millstream run` or `millstream replicate`; if it runs, look at its log, and check bucket and path",
        ),
        RestoreError::NoBackup { .. } => Check::ok(WHAT, "there is none yet"),
        error => Check::problem(WHAT, Blame::Backup, error.to_string(), "look at it with `millstream verify`"),
    }
}

/// By one listing.
async fn by_names(remote: &Remote, listing: &Listing, points: &Points) -> Check {
    let Some((_, newest)) = &points.ends else {
        let generations = points.old.len();
        return Check::ok(
            WHAT,
            format!(
                "{} of Litestream 0.3, which can be restored; -deep proves it",
                figures::count(generations, "generation")
            ),
        );
    };
    let newest_ms = remote.created_ms(newest).await.unwrap_or(newest.modified_ms);
    let age = age(remote.clock().unix_ms().saturating_sub(newest_ms));
    let (files, bytes) = (listing.objects().count(), listing.objects().map(|object| object.size).sum());
    let found = format!(
        "up to TXID {} of {} ({age} ago), in {} of {}",
        newest.max_txid,
        timestamp(newest_ms),
        figures::count(files, "file"),
        human(bytes)
    );
    match points.holes.len() {
        0 => Check::ok(WHAT, format!("{found}; -deep proves it")),
        holes => Check::warning(
            WHAT,
            format!("{found}; {holes} of its moments cannot be restored, because files are missing"),
            "look with `millstream points` and `millstream verify`",
        ),
    }
}

/// As `verify -deep` does it.
async fn proved(remote: &Remote, order: &Order<'_>, window: Option<Duration>, cancel: &CancellationToken) -> Check {
    let live = order.database.filter(|path| path.exists()).map(Path::to_owned);
    let deep = Deep { dir: std::env::temp_dir(), live, patience: PATIENCE };
    let order = proof::Order { deep: Some(deep), window, parallelism: PARALLELISM };
    let advice = "look at all of it with `millstream verify -deep`; restore from another replica, or begin anew with `millstream reset`";
    match proof::verify(remote, &order, cancel).await {
        Ok(verified) => {
            let damage: Vec<String> = verified.audit.damage().map(ToString::to_string).collect();
            if !damage.is_empty() {
                return Check::problem(WHAT, Blame::Backup, damage.join("; "), advice);
            }
            let newest = verified.newest().map(|(txid, ms)| format!("up to TXID {txid} of {}", timestamp(ms)));
            let compared = match &verified.live {
                Live::Equal { .. } => ", and equal to the database".to_owned(),
                Live::NotCompared { why } => format!(", and not compared with the database: {why}"),
                Live::NotAsked | Live::Differs => String::new(),
            };
            Check::ok(WHAT, format!("proven {}: restored, and sound{compared}", newest.unwrap_or_default()))
        }
        Err(RestoreError::CannotTell(error)) => {
            Check::problem(WHAT, Blame::Unreachable, error.to_string(), "ask again when the storage answers")
        }
        Err(RestoreError::Io(error)) => Check::problem(
            WHAT,
            Blame::Local,
            error.to_string(),
            "set TMPDIR to a directory with room for the database",
        ),
        Err(error) => Check::problem(WHAT, Blame::Backup, error.to_string(), advice),
    }
}

/// As people say it.
fn age(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
