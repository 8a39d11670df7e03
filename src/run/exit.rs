//! The exit code that tells the truth. Pure.
//!
//! | code | meaning |
//! |---|---|
//! | 0–255 of the application, 128 + signal | it ended, and the final sync is confirmed |
//! | 64, 78 | usage, configuration |
//! | 69 | the storage cannot be reached at boot; `verify` cannot tell |
//! | 70 | internal error |
//! | 73 | the database cannot be created, opened or written |
//! | 74 | the application ended with 0, but commits are not in the replica |
//! | 75 | another writer owns the history, or had its turn since this disk was in step with it |
//! | 76 | the backup is damaged, incomplete or missing although it is required; `verify` found damage |
//! | 77 | the storage denies access |
//! | 126, 127 | the command cannot be executed, was not found |

use crate::replicate::Ended;

pub const USAGE: u8 = 64;
pub const UNAVAILABLE: u8 = 69;
pub const INTERNAL: u8 = 70;
pub const CANNOT_WRITE: u8 = 73;
pub const UNSYNCED: u8 = 74;
pub const FENCED: u8 = 75;
pub const BACKUP: u8 = 76;
pub const DENIED: u8 = 77;
pub const CONFIG: u8 = 78;

/// A stage failed: the program ends with this code.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub error: anyhow::Error,
}

impl Failure {
    pub fn new(code: u8, error: impl Into<anyhow::Error>) -> Failure {
        Failure { code, error: error.into() }
    }

    /// With an error whose text names its cause already.
    pub fn told(code: u8, error: impl std::fmt::Display) -> Failure {
        Failure { code, error: anyhow::anyhow!("{error}") }
    }
}

/// The code of the whole program, from the application's and how each database's replication ended.
pub fn code(app: u8, roads: &[Ended]) -> u8 {
    let fenced = roads.iter().any(|ended| matches!(ended, Ended::Fenced { .. }));
    let unsynced = roads.iter().any(|ended| matches!(ended, Ended::Unsynced { .. } | Ended::Failed { .. }));
    match app {
        // The application was stopped because of it; its own code says nothing.
        _ if fenced => FENCED,
        0 if unsynced => UNSYNCED,
        app => app,
    }
}

/// What is wrong with the replication, as a clause of the last line.
pub fn problem(roads: &[Ended]) -> Option<String> {
    let clauses: Vec<String> = roads
        .iter()
        .filter_map(|ended| match ended {
            Ended::Synced(_) | Ended::NoDatabase | Ended::Standby => None,
            Ended::Unsynced { why } => Some(format!("the last commits are NOT in the replica: {why}")),
            Ended::Failed { why } => Some(format!("replication had ended: {why}")),
            Ended::Fenced { message } => Some(message.clone()),
        })
        .collect();
    (!clauses.is_empty()).then(|| clauses.join("; "))
}

/// What is right with it: up to which TXID everything is safe.
pub fn confirmation(roads: &[Ended]) -> String {
    let newest = roads.iter().filter_map(|ended| match ended {
        Ended::Synced(txid) => txid.map(|txid| txid.to_string()),
        _ => None,
    });
    match newest.collect::<Vec<_>>().join(", ") {
        txids if txids.is_empty() => "there was nothing to replicate".into(),
        txids => format!("every commit is in the replica (TXID {txids})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let synced = || Ended::Synced(None);
        let unsynced = || Ended::Unsynced { why: "x".into() };
        let fenced = || Ended::Fenced { message: "x".into() };
        let failed = || Ended::Failed { why: "x".into() };
        let table = [
            (0, vec![synced()], 0),
            (3, vec![synced()], 3),
            (143, vec![synced(), Ended::NoDatabase, Ended::Standby], 143),
            (0, vec![unsynced()], 74),
            (0, vec![synced(), failed()], 74),
            (3, vec![unsynced()], 3),
            (137, vec![failed()], 137),
            (0, vec![fenced()], 75),
            (143, vec![unsynced(), fenced()], 75),
            (0, vec![], 0),
        ];
        for (app, roads, expected) in table {
            assert_eq!(code(app, &roads), expected, "{app} with {roads:?}");
            let is_fine = roads.iter().all(|r| matches!(r, Ended::Synced(_) | Ended::NoDatabase | Ended::Standby));
            assert_eq!(problem(&roads).is_none(), is_fine);
        }
    }
}
