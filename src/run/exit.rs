//! The exit code of the program. Pure.
//!
//! | code | meaning |
//! |---|---|
//! | 0–255 of the application, 128 + signal | it ended, and the final sync is confirmed, or it failed by itself |
//! | 1 | of a command that asks a running process: it refused, and said why |
//! | 64, 78 | usage, configuration |
//! | 69 | the storage cannot be reached at the start; `verify` cannot tell; no process answers on the control socket |
//! | 70 | internal error |
//! | 73 | the database cannot be created, opened or written, or the control socket not made |
//! | 74 | the application ended well, or as it was told to, but commits are not in the replica, or there never was a database |
//! | 75 | another writer owns the history, or had its turn since this disk was in step with it |
//! | 76 | the backup is damaged, incomplete or missing although it is required; `verify` found damage |
//! | 77 | the storage denies access |
//! | 126, 127 | the command cannot be executed, was not found |

use crate::replicate::Ended;

pub const REFUSED: u8 = 1;
pub const USAGE: u8 = 64;
pub const UNAVAILABLE: u8 = 69;
pub const INTERNAL: u8 = 70;
pub const CANNOT_WRITE: u8 = 73;
pub const UNSYNCED: u8 = 74;
pub const FENCED: u8 = 75;
pub const BACKUP: u8 = 76;
pub const DENIED: u8 = 77;
pub const CONFIG: u8 = 78;
/// From here on: 128 + signal.
pub const SIGNALLED: u8 = 128;

/// Of several failures the worst first: what time alone may cure comes last.
const WORST: [u8; 5] = [BACKUP, DENIED, CANNOT_WRITE, CONFIG, UNAVAILABLE];

/// The last log line names this many databases, and counts the others.
const NAMED_MAX: usize = 3;

/// A stage failed: the program ends with this code.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub error: anyhow::Error,
}

/// The code for several failures.
pub fn worst(codes: impl Iterator<Item = u8>) -> Option<u8> {
    codes.min_by_key(|code| WORST.iter().position(|known| known == code).unwrap_or(WORST.len()))
}

impl Failure {
    pub fn new(code: u8, error: impl Into<anyhow::Error>) -> Failure {
        Failure { code, error: error.into() }
    }

    /// The error and its causes. Most errors contain the text of their cause; it is not repeated
    /// then.
    pub fn sentence(&self) -> String {
        let said = |text: String, cause: String| match text.contains(&cause) {
            true => text,
            false => format!("{text}: {cause}"),
        };
        self.error.chain().map(ToString::to_string).reduce(said).unwrap_or_default()
    }

    /// For an error whose text already contains its cause.
    pub fn told(code: u8, error: impl std::fmt::Display) -> Failure {
        Failure { code, error: anyhow::anyhow!("{error}") }
    }
}

/// How migration and application ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    pub code: u8,
    /// They failed by themselves: it is neither success nor the stop that was requested.
    pub failed: bool,
    /// The application was started, or there is none and the program waited for the databases.
    pub ran: bool,
}

/// The code of the whole program, from the commands' end and how each database's replication ended.
pub fn code(course: Course, ends: &[Ended]) -> u8 {
    let any = |is: fn(&Ended) -> bool| ends.iter().any(is);
    let unsynced = any(|ended| matches!(ended, Ended::Unsynced { .. } | Ended::Failed { .. }));
    let absent = course.ran && any(|ended| matches!(ended, Ended::NeverAppeared { .. }));
    match course.code {
        // The application was stopped because of it; its own code says nothing.
        _ if any(|ended| matches!(ended, Ended::Fenced)) => FENCED,
        own if course.failed => own,
        // Most applications end by the signal that we forward. Their code must not hide the failed
        // sync.
        _ if unsynced || absent => UNSYNCED,
        own => own,
    }
}

/// What is wrong with the replication, as a clause of the last line.
pub fn problem(ends: &[Ended]) -> Option<String> {
    let clauses: Vec<String> = ends
        .iter()
        .filter_map(|ended| match ended {
            Ended::Synced(_) | Ended::SyncedElsewhere { .. } | Ended::NoDatabase | Ended::Standby => None,
            Ended::Unsynced { why } => Some(format!("the last commits are NOT in the replica: {why}")),
            Ended::Failed { why } => Some(format!("replication had ended: {why}")),
            Ended::NeverAppeared { why } => Some(why.clone()),
            Ended::Fenced => Some("another writer owns the history (see above)".into()),
        })
        .collect();
    let named = clauses.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
    match clauses.len() {
        0 => None,
        count if count > NAMED_MAX => Some(format!("{named}; and {} more databases (see above)", count - NAMED_MAX)),
        _ => Some(named),
    }
}

/// What the replica has, as a clause of the last line: every commit up to which TXID.
pub fn confirmation(ends: &[Ended]) -> String {
    let newest: Vec<String> = ends
        .iter()
        .filter_map(|ended| match ended {
            Ended::Synced(txid) => txid.map(|txid| txid.to_string()),
            Ended::SyncedElsewhere { txid, replica, .. } => Some(format!("{txid} in {replica}")),
            _ => None,
        })
        .collect();
    match newest.len() {
        0 => "there was nothing to replicate".into(),
        count if count > NAMED_MAX => format!("every commit of {count} databases is in the replica"),
        _ => format!("every commit is in the replica (TXID {})", newest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::Txid;

    fn unsynced() -> Ended {
        Ended::Unsynced { why: "x".into() }
    }

    fn absent() -> Ended {
        Ended::NeverAppeared { why: "x".into() }
    }

    #[test]
    fn of_several_failures_the_worst_counts() {
        let worst = |codes: &[u8]| worst(codes.iter().copied());
        assert_eq!(worst(&[]), None);
        assert_eq!(worst(&[UNAVAILABLE, CANNOT_WRITE]), Some(CANNOT_WRITE));
        assert_eq!(worst(&[70, UNAVAILABLE]), Some(UNAVAILABLE));
        assert_eq!(worst(&[CONFIG, DENIED, BACKUP, UNAVAILABLE]), Some(BACKUP));
    }

    #[test]
    fn a_cause_is_said_once() {
        let path = std::path::Path::new("/nonexistent/app.db");
        let error = crate::fsx::open(path).expect_err("nothing is there");
        let said = Failure::new(CANNOT_WRITE, error).sentence();
        assert_eq!(said.matches("os error 2").count(), 1, "{said}");
        let error = anyhow::anyhow!("no digit").context("the interval");
        assert_eq!(Failure::new(CONFIG, error).sentence(), "the interval: no digit");
    }

    #[test]
    fn the_table() {
        let synced = || Ended::Synced(None);
        let fenced = || Ended::Fenced;
        let failed = || Ended::Failed { why: "x".into() };
        let well = |code| Course { code, failed: false, ran: true };
        let crashed = |code| Course { failed: true, ..well(code) };
        let not_run = |code| Course { ran: false, ..well(code) };
        let table = [
            (well(0), vec![synced()], 0),
            (crashed(3), vec![synced()], 3),
            (well(143), vec![synced(), Ended::NoDatabase, Ended::Standby], 143),
            (well(0), vec![unsynced()], 74),
            (well(0), vec![synced(), failed()], 74),
            (crashed(3), vec![unsynced()], 3),
            (crashed(137), vec![failed()], 137),
            // The signal was passed on, or followed by our own SIGKILL.
            (well(143), vec![unsynced()], 74),
            (well(137), vec![synced(), failed()], 74),
            (well(130), vec![absent()], 74),
            (well(0), vec![fenced()], 75),
            (well(143), vec![unsynced(), fenced()], 75),
            (crashed(1), vec![fenced()], 75),
            (well(0), vec![], 0),
            (well(0), vec![synced(), absent()], 74),
            (well(0), vec![Ended::NoDatabase], 0),
            (crashed(2), vec![absent()], 2),
            (not_run(143), vec![absent()], 143),
            (not_run(143), vec![unsynced()], 74),
        ];
        for (course, ends, expected) in table {
            assert_eq!(code(course, &ends), expected, "{course:?} with {ends:?}");
            let is_fine = ends.iter().all(|r| {
                matches!(r, Ended::Synced(_) | Ended::SyncedElsewhere { .. } | Ended::NoDatabase | Ended::Standby)
            });
            assert_eq!(problem(&ends).is_none(), is_fine);
        }
    }

    #[test]
    fn the_last_line_stays_a_line_whatever_the_number_of_databases() {
        let many = |ended: fn() -> Ended| (0..1_000).map(|_| ended()).collect::<Vec<_>>();
        let synced = confirmation(&many(|| Ended::Synced(Some(Txid::FIRST))));
        assert_eq!(synced, "every commit of 1000 databases is in the replica");
        assert_eq!(confirmation(&[]), "there was nothing to replicate");
        let few = confirmation(&[Ended::Synced(Some(Txid::FIRST)), Ended::Standby]);
        assert_eq!(few, "every commit is in the replica (TXID 0000000000000001)");
        let problem = problem(&many(unsynced)).expect("a problem");
        assert!(problem.len() < 400 && problem.contains("and 997 more databases"), "{problem}");
    }
}
