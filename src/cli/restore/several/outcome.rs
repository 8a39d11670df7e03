//! What became of each of many databases: said, and made an exit code.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::json;

use crate::cli::args::Restore;
use crate::cli::restore::show::print_json;
use crate::cli::timestamp as time;
use crate::figures;
use crate::restore::{Reached, Restored};
use crate::run::exit::{Failure, worst};

/// What came of one.
pub(super) enum Outcome {
    Restored(String, Box<Restored>),
    /// It is there already, or there is no backup, and that is no mistake.
    Skipped(&'static str),
    Failed(Failure),
}

/// Says what came of each, and ends with the code of the worst.
pub(super) fn conclude(command: &Restore, outcomes: &[(PathBuf, Outcome)]) -> Result<u8, Failure> {
    let mut sorted: Vec<&(PathBuf, Outcome)> = outcomes.iter().collect();
    sorted.sort_by_key(|(path, _)| path);
    if command.output_flags.json {
        let rows: Vec<_> = sorted.iter().map(|(path, outcome)| row(path, outcome)).collect();
        print_json(&rows.into())?;
    } else if command.dry_run {
        sorted.iter().for_each(|(path, outcome)| println!("{}: {}", path.display(), sentence(outcome)));
    }
    for (path, outcome) in &sorted {
        match outcome {
            Outcome::Failed(failure) => {
                tracing::error!(db = %path.display(), "not restored: {}", failure.sentence());
            }
            Outcome::Skipped(why) => tracing::info!(db = %path.display(), "not restored: {why}"),
            Outcome::Restored(..) => {}
        }
    }
    let failures = outcomes.iter().filter_map(|(_, outcome)| match outcome {
        Outcome::Failed(failure) => Some(failure.code),
        Outcome::Restored(..) | Outcome::Skipped(_) => None,
    });
    let failures: Vec<u8> = failures.collect();
    let restored = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Restored(..))).count();
    let done = if command.dry_run { "can be restored" } else { "restored" };
    match worst(failures.iter().copied()) {
        None => {
            tracing::info!("{done}: {}{}", figures::count(restored, "database"), spread(outcomes));
            Ok(0)
        }
        Some(code) => {
            let (failed, all) = (failures.len(), outcomes.len());
            let error = anyhow!(
                "{done}: {restored} of {}; {failed} could not be: see the errors above",
                figures::count(all, "database")
            );
            Err(Failure::new(code, error))
        }
    }
}

/// How far apart the newest transactions are.
fn spread(outcomes: &[(PathBuf, Outcome)]) -> String {
    let times: HashSet<i64> = outcomes.iter().filter_map(|(_, outcome)| moment(outcome)).collect();
    match (times.iter().min(), times.iter().max()) {
        (Some(first), Some(last)) => format!("; their last transactions are of {} to {}", time(*first), time(*last)),
        _ => String::new(),
    }
}

fn moment(outcome: &Outcome) -> Option<i64> {
    let Outcome::Restored(_, restored) = outcome else { return None };
    Some(match restored.reached {
        Reached::Ltx { header, .. } => header.timestamp_ms,
        Reached::Old { time_ms, .. } => time_ms,
    })
}

fn sentence(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Restored(name, restored) => format!(
            "{} of {}, {} bytes in {} of the replica {name}",
            restored.reached,
            moment(outcome).map(time).unwrap_or_default(),
            restored.bytes,
            figures::count(restored.files, "file")
        ),
        Outcome::Skipped(why) => (*why).to_owned(),
        Outcome::Failed(failure) => failure.sentence(),
    }
}

fn row(path: &Path, outcome: &Outcome) -> serde_json::Value {
    let shown = path.to_string_lossy();
    match outcome {
        Outcome::Restored(name, restored) => {
            let txid = match restored.reached {
                Reached::Ltx { txid, .. } => txid.to_string(),
                Reached::Old { .. } => String::new(),
            };
            let moment = moment(outcome).map(time);
            json!({ "db_path": shown, "replica": name, "txid": txid, "timestamp": moment, "bytes": restored.bytes })
        }
        Outcome::Skipped(why) => json!({ "db_path": shown, "skipped": why }),
        Outcome::Failed(failure) => {
            json!({ "db_path": shown, "error": failure.sentence(), "exit_code": failure.code })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::exit::BACKUP;

    #[test]
    fn each_has_a_line_and_a_row_of_its_own() {
        let failed = Outcome::Failed(Failure::told(BACKUP, "it is damaged"));
        assert_eq!(sentence(&failed), "it is damaged");
        let wanted = json!({ "db_path": "/a", "error": "it is damaged", "exit_code": 76 });
        assert_eq!(row(Path::new("/a"), &failed), wanted);
        let skipped = row(Path::new("/a"), &Outcome::Skipped("it exists already"));
        assert_eq!(skipped, json!({ "db_path": "/a", "skipped": "it exists already" }));
    }
}
