//! The data of the pages at one moment. Nothing here makes a request.

use std::time::Duration;

use crate::primary::Primary;
use crate::status::{Proxied, RestoreMade, Tallied};
use crate::store::{Operated, Requested};

/// Everything that is known of this process.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub phase: Phase,
    /// Whose application may write.
    pub primary: Primary,
    /// Maximum age of the oldest commit that is in no replica; `None` is no limit.
    pub max_lag: Option<Duration>,
    pub databases: Vec<DatabaseFacts>,
    /// Operations on the stores, by kind of store and operation.
    pub operations: Vec<Operated>,
    /// The HTTP requests for them, by store and kind.
    pub requests: Vec<Requested>,
    /// Over how long they were made.
    pub up: Duration,
    pub process: ProcessFacts,
    /// Of the proxy, if there is one.
    pub proxied: Option<Proxied>,
    /// Unix time at which all of this was so.
    pub now_ms: i64,
    /// The configuration file, if there is one.
    pub config: Option<String>,
}

/// How far the program is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Another instance is to release its claim first.
    Waiting,
    /// The databases are connected, restored, brought forward.
    #[default]
    Restoring,
    /// The replications begin.
    Arming,
    Migrating,
    /// The application may run.
    Running,
    /// Another instance takes over: the application is stopped.
    Draining,
    /// Another instance has taken over.
    StandingBy,
    /// The stop has begun: the remaining commits are uploaded.
    Stopping,
}

/// One database.
#[derive(Clone, Debug, Default)]
pub struct DatabaseFacts {
    /// Its number in the fleet.
    pub id: u64,
    pub path: String,
    /// It may be missing to the end.
    pub optional: bool,
    pub state: State,
    /// Size of the file; `None` if it could not be read, or was not asked for.
    pub size: Option<u64>,
    /// Of the WAL file.
    pub wal_size: Option<u64>,
    /// Captured commits that wait in local files.
    pub spilled_bytes: u64,
    pub disk_full: bool,
    pub wal_bytes: u64,
    pub syncs: Tallied,
    pub checkpoints: Tallied,
    /// Level-0 objects that can be deleted, that are in no other level, and that are too recent.
    pub level_0: [u64; 3],
    /// The restore of it that this process has made.
    pub restored: Option<RestoreMade>,
    /// The first one fences.
    pub replicas: Vec<ReplicaFacts>,
}

/// The state of a replication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Starting,
    /// Every commit is captured.
    Replicating,
    /// There is no database yet, or the application has to open it first.
    Waiting,
    /// Another process replicates it.
    Standby,
    /// The application holds it with an exclusive lock.
    Exclusive(String),
    /// By a command.
    Stopped,
    /// Another writer owns the history.
    Fenced,
    /// It has ended by itself.
    Halted(String),
}

/// One replica of a database.
#[derive(Clone, Debug, Default)]
pub struct ReplicaFacts {
    pub name: String,
    /// For people, without secrets.
    pub address: String,
    pub captured: Option<u64>,
    /// The newest TXID that the store has confirmed.
    pub uploaded: Option<u64>,
    pub uploaded_at_ms: Option<i64>,
    /// Age of the oldest commit that it does not have.
    pub unshipped_for: Option<Duration>,
    /// For how long it has not taken uploads.
    pub outage_for: Option<Duration>,
    /// Expired objects that could not be deleted.
    pub refused_objects: usize,
    pub compactions: Tallied,
    pub snapshots: Tallied,
    /// Objects whose content was not what had been written.
    pub unproved: u64,
    /// `None` if it is not proved in the background.
    pub proof: Option<ProofFacts>,
}

/// The newest state that is proved to be restorable.
#[derive(Clone, Debug, Default)]
pub struct ProofFacts {
    pub txid: Option<u64>,
    pub at_ms: Option<i64>,
    /// Findings since then.
    pub failed: Option<String>,
}

/// Figures of the kernel about this process; those that are unknown are `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessFacts {
    pub cpu: Option<Duration>,
    pub open_files: Option<u64>,
    pub max_files: Option<u64>,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    pub started_at_ms: Option<i64>,
}

impl DatabaseFacts {
    /// Age of the oldest commit that is in no replica and would be lost with this machine.
    pub fn lag(&self) -> Duration {
        let of = |replica: &ReplicaFacts| replica.unshipped_for.unwrap_or_default();
        self.replicas.iter().map(of).min().unwrap_or_default()
    }

    /// The same where it is known: what is committed while nothing is captured is not.
    pub fn known_lag(&self) -> Option<Duration> {
        let lag = self.lag();
        (self.state == State::Replicating || !lag.is_zero()).then_some(lag)
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;
    use crate::status::Waited;
    use crate::store::Operation;

    pub fn replica(name: &str) -> ReplicaFacts {
        ReplicaFacts {
            name: name.into(),
            address: format!("{name}://backups/app"),
            captured: Some(12),
            uploaded: Some(12),
            uploaded_at_ms: Some(1_750_000_000_250),
            ..ReplicaFacts::default()
        }
    }

    pub fn database(path: &str) -> DatabaseFacts {
        DatabaseFacts {
            path: path.into(),
            state: State::Replicating,
            size: Some(8192),
            wal_size: Some(4152),
            replicas: vec![replica("s3")],
            ..DatabaseFacts::default()
        }
    }

    fn proxied() -> Proxied {
        Proxied {
            outcomes: [900, 40, 1, 2, 3, 4, 5, 6],
            held: Waited { now: 7, ended: 80, took: Duration::from_millis(12_500) },
            uploads: Waited { now: 0, ended: 20, took: Duration::from_millis(900) },
        }
    }

    fn process() -> ProcessFacts {
        ProcessFacts {
            cpu: Some(Duration::from_millis(1250)),
            open_files: Some(17),
            max_files: Some(1024),
            resident_bytes: Some(14_000_000),
            virtual_bytes: Some(300_000_000),
            started_at_ms: Some(1_749_999_000_500),
        }
    }

    /// Something of everything.
    pub fn facts() -> Facts {
        let tallied = |count, errors, ms| Tallied { count, errors, took: Duration::from_millis(ms) };
        let behind = ReplicaFacts {
            uploaded: Some(9),
            unshipped_for: Some(Duration::from_millis(61_500)),
            outage_for: Some(Duration::from_secs(60)),
            refused_objects: 2,
            compactions: tallied(4, 1, 900),
            snapshots: tallied(1, 0, 1200),
            unproved: 1,
            proof: Some(ProofFacts { txid: Some(8), at_ms: Some(1_749_990_000_000), failed: Some("a gap".into()) }),
            ..replica("nas")
        };
        let app = DatabaseFacts {
            spilled_bytes: 77,
            wal_bytes: 65_536,
            syncs: tallied(30, 2, 45),
            checkpoints: tallied(3, 0, 6),
            level_0: [0, 1, 7],
            restored: Some(RestoreMade { took: Duration::from_millis(1780), bytes: 1 << 20 }),
            replicas: vec![replica("s3"), behind],
            ..database("/data/app.db")
        };
        let fenced = DatabaseFacts { state: State::Fenced, ..database("/data/a \"b\"\\c.db") };
        let halted = DatabaseFacts {
            state: State::Halted("the file is gone".into()),
            size: None,
            wal_size: None,
            disk_full: true,
            ..database("/data/queue.db")
        };
        let put = Operated {
            kind: "s3",
            operation: Operation::Put,
            bytes: 4096,
            seconds: 0.375,
            buckets: [1, 2, 3, 3, 3, 3, 3, 3, 3],
            errors: vec![("denied", 1), ("unavailable", 2)],
            count: 3,
        };
        Facts {
            phase: Phase::Running,
            primary: Primary::Here,
            max_lag: Some(Duration::from_secs(300)),
            databases: vec![app, fenced, halted],
            operations: vec![put],
            requests: vec![Requested { store: "s3://backups".into(), request: "PutObject", count: 5 }],
            up: Duration::from_secs(7200),
            now_ms: 1_750_000_001_000,
            config: None,
            proxied: Some(proxied()),
            process: process(),
        }
    }
}
