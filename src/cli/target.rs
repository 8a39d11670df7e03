//! What `-txid` and `-timestamp` mean, for every command that takes them.

use anyhow::anyhow;
use jiff::Timestamp;

use super::local_zone;
use super::moment::Moment;
use crate::clock::MACHINE;
use crate::ltx::Txid;
use crate::restore::Target;
use crate::run::Failure;
use crate::run::exit::{INTERNAL, USAGE};

/// The newest state where neither is given.
pub fn target(txid: Option<u64>, timestamp: Option<&Moment>) -> Result<Target, Failure> {
    match (txid, timestamp) {
        (Some(txid), _) => {
            let zero = || Failure::new(USAGE, anyhow!("-txid: there is no TXID 0"));
            Ok(Target::Txid(Txid::new(txid).ok_or_else(zero)?))
        }
        (None, Some(moment)) => Ok(Target::Before(resolve(moment)?.as_millisecond())),
        (None, None) => Ok(Target::Latest),
    }
}

/// In the time zone of this process, by our clock.
fn resolve(moment: &Moment) -> Result<Timestamp, Failure> {
    let usage = |why: String| Failure::new(USAGE, anyhow!("-timestamp: {why}"));
    let zone = local_zone().map_err(usage)?;
    let now = Timestamp::from_millisecond(MACHINE.unix_ms()).map_err(|error| Failure::new(INTERNAL, error))?;
    let then = moment.resolve(&now.to_zoned(zone)).map_err(usage)?;
    tracing::debug!("-timestamp means {then}");
    Ok(then)
}
