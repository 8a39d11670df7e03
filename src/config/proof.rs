//! Settings of the background proof: our `verify`, else Litestream's keys for validation.

use std::path::Path;

use super::options::Verify;
use super::paths::PathContext;
use super::section::Section;

/// Of one replica of a database.
pub fn of_replica(
    replica: &Section,
    db: &Section,
    root: &Section,
    context: PathContext<'_>,
    place: &str,
) -> Result<Option<Verify>, String> {
    match db.has("verify") || root.has("verify") {
        true => ours(db, root, context, place),
        false => Ok(validation(replica, root)),
    }
}

/// Litestream's keys: 0.3's restored the replica and compared it, 0.5's looks for gaps in its
/// levels.
fn validation(replica: &Section, root: &Section) -> Option<Verify> {
    let of_03 = replica.duration("validation-interval").or_else(|| root.duration("validation-interval"));
    let of_05 = root.section("validation").and_then(|validation| validation.duration("interval"));
    let (interval, deep) = match (of_03, of_05) {
        (Some(interval), _) => (interval, true),
        (None, interval) => (interval?, false),
    };
    Some(Verify { interval, deep, rate: Verify::RATE, dir: None }).filter(|verify| !verify.interval.is_zero())
}

/// The database's keys, else the global ones. An interval of zero turns it off.
fn ours(db: &Section, root: &Section, context: PathContext<'_>, place: &str) -> Result<Option<Verify>, String> {
    let own = db.section("verify").map(|section| (section, format!("{place}.verify")));
    let global = root.section("verify").map(|section| (section, "verify".to_owned()));
    let sections: Vec<(&Section, String)> = own.into_iter().chain(global).collect();
    let Some((_, place)) = sections.first() else { return Ok(None) };
    let interval = sections.iter().find_map(|(section, _)| section.duration("interval"));
    let interval = interval.ok_or_else(|| format!("{place}.interval is missing: how often, for example 24h"))?;
    let rate = sections.iter().find_map(|(section, place)| Some((section.number("rate")?, place)));
    if let Some((rate, place)) = rate.filter(|(rate, _)| *rate < Verify::RATE_MIN) {
        return Err(format!("{place}.rate: {rate} bytes a second are too few, {} are the least", Verify::RATE_MIN));
    }
    let dir = sections.iter().find_map(|(section, place)| Some((section.text("dir")?, place)));
    let dir = dir.map(|(dir, place)| context.absolute(Path::new(dir)).map_err(|why| format!("{place}.dir: {why}")));
    Ok(Some(Verify {
        interval,
        deep: sections.iter().find_map(|(section, _)| section.bool("deep")).unwrap_or(true),
        rate: rate.map_or(Verify::RATE, |(rate, _)| rate),
        dir: dir.transpose()?,
    })
    .filter(|verify| !verify.interval.is_zero()))
}
