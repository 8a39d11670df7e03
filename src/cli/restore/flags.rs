//! What the flags of `restore` mean, for one database and for many.

use std::path::Path;

use anyhow::anyhow;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use crate::cli::args::{IntegrityCheck, Restore};
use crate::cli::moment::Moment;
use crate::cli::{logger, variable};
use crate::clock::MACHINE;
use crate::config::{self, Logging, Options};
use crate::ltx::Txid;
use crate::restore::{self as restoring, Backup, Found, Integrity, Request, RestoreError, Target};
use crate::run::exit::{Failure, INTERNAL, USAGE};

/// What would be restored, and from the replica of which name.
pub(super) async fn plan(
    backups: &[Backup],
    target: Target,
    cancel: &CancellationToken,
) -> Result<(String, Found), RestoreError> {
    let ((name, remote), _) = restoring::newest(backups, target, cancel).await?;
    Ok((name.to_owned(), restoring::plan(remote, target, cancel).await?))
}

pub(super) fn start_logging(command: &Restore, options: Option<&Options>) {
    let configured = options.map(|options| options.logging);
    let level = match command.verbose {
        true => config::LogLevel::Debug,
        false => configured.map(|logging| logging.level).unwrap_or_default(),
    };
    logger::start(&Logging { level, format: configured.map(|logging| logging.format).unwrap_or_default() });
}

/// What the flags say.
pub(super) fn request(command: &Restore, output: &Path) -> Result<Request, Failure> {
    let mut request = Request::new(output);
    request.target = match (command.txid, &command.timestamp) {
        (Some(txid), _) => {
            let zero = || Failure::new(USAGE, anyhow!("-txid: there is no TXID 0"));
            Target::Txid(Txid::new(txid).ok_or_else(zero)?)
        }
        (None, Some(moment)) => Target::Before(resolve(moment)?.as_millisecond()),
        (None, None) => Target::Latest,
    };
    request.force = command.force;
    request.overwrite_empty = true;
    request.parallelism = command.parallelism;
    request.integrity = match command.integrity_check {
        IntegrityCheck::None => Integrity::None,
        IntegrityCheck::Quick => Integrity::Quick,
        IntegrityCheck::Full => Integrity::Full,
    };
    Ok(request)
}

/// The moment that was meant, by our clock and in the user's time zone.
fn resolve(moment: &Moment) -> Result<Timestamp, Failure> {
    let usage = |why: String| Failure::new(USAGE, anyhow!("-timestamp: {why}"));
    let zone = match (TimeZone::try_system(), variable("TZ").filter(|zone| !zone.is_empty())) {
        (Ok(zone), _) => zone,
        (Err(_), Some(zone)) => return Err(usage(format!("the time zone {zone:?} of TZ is not known here"))),
        (Err(_), None) => TimeZone::UTC,
    };
    let now = Timestamp::from_millisecond(MACHINE.unix_ms()).map_err(|error| Failure::new(INTERNAL, error))?;
    let then = moment.resolve(&now.to_zoned(zone)).map_err(usage)?;
    tracing::debug!("-timestamp means {then}");
    Ok(then)
}
