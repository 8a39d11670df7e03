//! The settings for the rest of the program: typed, validated, with defaults.
//!
//! The types here know nothing of YAML, flags or environment variables. Where a key of
//! litestream.yml and a field differ in name, the field's comment says which key it is.

use std::path::PathBuf;
use std::time::Duration;

use super::cluster::Cluster;
use super::commands::Configured;
use super::handover::Handover;
use super::litefs::Litefs;
use super::monitoring::{Monitoring, OnDatabaseFailure};
use super::proxy::Proxy;
use super::registrations::RegistrationsFile;
use super::section::Section;
use super::target::Target;
use crate::directory::Selection;

/// The whole configuration of one process.
#[derive(Clone, Debug)]
pub struct Options {
    pub databases: Vec<Database>,
    /// Entries with `dir`: their databases are found on the disk, and in their replicas.
    pub directories: Vec<Directory>,
    /// What becomes of the others when a database cannot be replicated; `None`: they live, unless
    /// something would be started without it.
    pub on_database_failure: Option<OnDatabaseFailure>,
    /// The application (`exec`, `-exec`), after what else is to be run before it.
    pub exec: Vec<Configured>,
    /// The migration (`migrate`, `-migrate`).
    pub migrate: Vec<Configured>,
    /// The state before the migration gets a mark.
    pub mark_before_migration: bool,
    pub logging: Logging,
    pub shutdown: Shutdown,
    /// How the application is handed over to another container; `None`: it is not.
    pub handover: Option<Handover>,
    /// Several nodes, one of which writes.
    pub cluster: Option<Cluster>,
    /// For the clients of LiteFS.
    pub litefs: Option<Litefs>,
    /// A missing backup is an error instead of a fresh start.
    pub require_backup: bool,
    /// Environment variables that application and migration must not see.
    pub strip_env: Vec<String>,
    /// Compaction, snapshots and retention as they are written in the file.
    pub lifecycle: Lifecycle,
    pub monitoring: Monitoring,
    /// The control socket, if it is switched on.
    pub socket: Option<Socket>,
    /// The HTTP proxy in front of the application.
    pub proxy: Option<Proxy>,
    /// For databases that are added while the program runs.
    pub presets: Presets,
}

/// Where commands are taken from other processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    pub path: PathBuf,
    /// Key `socket.permissions`.
    pub mode: u32,
    /// Key `socket.registrations`: what is registered there is replicated after a restart, too.
    pub registrations: Option<RegistrationsFile>,
}

impl Socket {
    /// Litestream's default, also that of our commands.
    pub const PATH: &str = "/var/run/litestream.sock";
    pub const MODE: u32 = 0o600;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    pub level: LogLevel,
    /// Key `logging.type`.
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
    Pretty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// From the first signal (or the child's end) to our own end: the child's stop and the final
    /// sync share it.
    pub grace: Duration,
    /// Key `shutdown-sync-timeout`: how long the final sync may retry.
    pub sync_timeout: Duration,
    /// Key `shutdown-sync-interval`: the pause between those retries.
    pub sync_interval: Duration,
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown {
            grace: Duration::from_secs(10),
            sync_timeout: Duration::from_secs(30),
            sync_interval: Duration::from_millis(500),
        }
    }
}

/// One database file and where its commits go.
#[derive(Clone, Debug)]
pub struct Database {
    /// Absolute; symbolic links are not resolved here.
    pub path: PathBuf,
    /// Our own local state: `.<name>-millstream` beside the database unless `meta-path` says
    /// otherwise.
    pub meta_path: PathBuf,
    pub capture: CaptureOptions,
    pub restore_if_db_not_exists: bool,
    /// It may be missing to the end: no warning, and no exit code that says so.
    pub optional: bool,
    /// It may be deleted while it is replicated: it was found in a directory.
    pub may_vanish: bool,
    /// Permissions of a restored file (`mode: "0640"`).
    pub file_mode: Option<u32>,
    /// uid and gid of a restored file (`owner: "uid:gid"`, numbers or names).
    pub file_owner: Option<(u32, u32)>,
    pub replicas: Replicas,
}

/// A directory whose databases are replicated.
#[derive(Clone, Debug)]
pub struct Directory {
    pub selection: Selection,
    /// Databases that come and go are noticed while the program runs.
    pub watch: bool,
    pub(super) notes: Notes,
    /// What every database has. Its path is that of the directory, and its replicas are those below
    /// which the databases have theirs.
    pub model: Database,
}

/// Where the notes about a database lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notes {
    Beside,
    /// `meta-dir`
    Dir(PathBuf),
    /// `meta-path`
    Path(PathBuf),
}

/// Where the commits of one database go, in the order of the configuration.
#[derive(Clone, Debug)]
pub struct Replicas {
    /// The first replica, which fences.
    pub first: Replica,
    /// The mirrors, which get the same files.
    pub mirrors: Vec<Replica>,
}

impl Replicas {
    pub fn iter(&self) -> impl Iterator<Item = &Replica> {
        std::iter::once(&self.first).chain(&self.mirrors)
    }

    pub fn are_several(&self) -> bool {
        !self.mirrors.is_empty()
    }

    /// The replica of this name, or the sentence that says which names there are.
    pub fn named(&self, name: &str) -> Result<&Replica, String> {
        self.iter().find(|replica| replica.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.iter().map(|replica| replica.name.as_str()).collect();
            match names.as_slice() {
                [one] => format!("there is no replica {name:?}; the only one is {one:?}"),
                _ => format!("there is no replica {name:?}; there are {}", names.join(", ")),
            }
        })
    }
}

/// How a replica is proved in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    pub interval: Duration,
    /// Restore it; otherwise only names and headers are checked.
    pub deep: bool,
    /// Bytes read in a second, at most.
    pub rate: u64,
    /// Directory of the temporary database; `None` is that of the system.
    pub dir: Option<PathBuf>,
}

impl Verify {
    pub const RATE: u64 = 16 << 20;
    /// At a lower rate a read would be taken for one that stalls.
    pub const RATE_MIN: u64 = 256 << 10;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    pub monitor_interval: Duration,
    pub checkpoint_interval: Duration,
    pub busy_timeout: Duration,
    pub min_checkpoint_page_count: u32,
    /// Pages; 0 turns the truncating checkpoint off.
    pub truncate_page_n: u32,
    pub max_sync_wal_bytes: u64,
}

impl Default for CaptureOptions {
    fn default() -> CaptureOptions {
        CaptureOptions {
            monitor_interval: Duration::from_secs(1),
            checkpoint_interval: Duration::from_secs(60),
            busy_timeout: Duration::from_secs(1),
            min_checkpoint_page_count: 1000,
            truncate_page_n: 121_359,
            max_sync_wal_bytes: 64 << 20,
        }
    }
}

/// A destination of a database.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Unique among the replicas of its database (`name`); by default Litestream's name for the
    /// kind of store.
    pub name: String,
    /// For logs and errors; secrets are redacted.
    pub url: String,
    pub target: Target,
    /// The least time between two uploads under sustained writes; zero means back to back.
    pub sync_interval: Duration,
    /// Already resolved: the replica's 0.3 keys, else the database's, else the global ones.
    pub snapshot: SnapshotPolicy,
    /// Key by key: the database's, else the global ones; without them what Litestream's
    /// `validation-interval` and `validation.interval` ask for. `None` is off.
    pub verify: Option<Verify>,
}

impl Replica {
    /// Litestream's default `sync-interval`.
    pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);

    /// A replica at this place, with all defaults.
    pub fn new(url: impl Into<String>, target: Target) -> Replica {
        Replica {
            name: target.kind().into(),
            url: url.into(),
            target,
            sync_interval: Replica::SYNC_INTERVAL,
            snapshot: SnapshotPolicy::default(),
            verify: None,
        }
    }

    /// Litestream's name for the kind of store.
    pub fn kind(&self) -> &'static str {
        self.target.kind()
    }
}

/// Compaction, snapshots and retention of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// Intervals of compaction levels 1, 2, …
    pub levels: Vec<Duration>,
    pub snapshot: SnapshotPolicy,
    /// How long level-0 files stay after they were compacted; zero turns their removal off.
    pub l0_retention: Duration,
    pub l0_retention_check_interval: Duration,
    /// Key `retention.enabled`: whether files are ever deleted.
    pub retention_enabled: bool,
}

impl Default for Lifecycle {
    fn default() -> Lifecycle {
        Lifecycle {
            levels: vec![Duration::from_secs(30), Duration::from_secs(5 * 60), Duration::from_secs(3600)],
            snapshot: SnapshotPolicy::default(),
            l0_retention: Duration::from_secs(5 * 60),
            l0_retention_check_interval: Duration::from_secs(15),
            retention_enabled: true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// `snapshot.interval`, or 0.3's `snapshot-interval`.
    pub interval: Duration,
    /// `snapshot.retention`, or 0.3's `retention`: how far back a restore can go.
    pub retention: Duration,
    /// 0.3's `retention-check-interval`.
    pub check_interval: Duration,
}

impl Default for SnapshotPolicy {
    fn default() -> SnapshotPolicy {
        SnapshotPolicy {
            interval: Duration::from_secs(24 * 3600),
            retention: Duration::from_secs(24 * 3600),
            check_interval: Duration::from_secs(3600),
        }
    }
}

/// What the top level of the file says for every replica; nothing, where there is no file.
#[derive(Clone, Debug, Default)]
pub struct Presets(Section);

impl Presets {
    pub(super) fn of(root: &Section) -> Presets {
        // The databases have taken what they need, and there may be thousands of them.
        let entries = root.entries.iter().filter(|(key, _)| *key != "dbs").cloned().collect();
        Presets(Section { entries })
    }

    pub(super) fn section(&self) -> &Section {
        &self.0
    }
}
