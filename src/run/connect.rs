//! From typed options to the stores and settings of the rooms below.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::watch;

use super::exit::{CONFIG, DENIED, Failure, UNAVAILABLE};
use crate::clock::MACHINE;
use crate::config::{Database, Options, Places, Replica, Target};
use crate::db::Tuning;
use crate::fleet::StoreKey;
use crate::remote::{Layout, Remote};
use crate::replicate::{MirrorSettings, Policy, Settings, spread_of};
use crate::restore::Backup;
use crate::store::s3::{Clients, S3Store};
use crate::store::{Counted, FileStore, Store, StoreError, Traffic};
use crate::supervise;

/// Grace time of deletions: another process may still be reading an expired object.
const DELETE_GRACE: Duration = Duration::from_secs(60);
/// Compaction and retention rely on one LIST for so many checks of level 0: five minutes by
/// default. They know their own changes. Changes by others are noticed at the next upload, or when
/// a read finds no object.
const CHECKS_PER_LISTING: u32 = 20;

/// Opens the store of one replica.
pub async fn connect(replica: &Replica, all: &[Database]) -> Result<Remote, Failure> {
    let remote = open(replica, &mut Clients::default()).await.map_err(|error| store_failure(&error))?;
    Ok(remote.beside(Places::of(all).below(replica)))
}

/// Opens the stores of these replicas; one that cannot be opened says why. `all` are the databases
/// of the configuration.
pub async fn backups(replicas: impl Iterator<Item = &Replica>, all: &[Database]) -> Vec<Backup> {
    backups_beside(replicas, &Places::of(all), &mut Clients::default()).await
}

/// The same for many databases: the stores of one process share `clients`.
pub async fn backups_beside(
    replicas: impl Iterator<Item = &Replica>,
    all: &Places,
    clients: &mut Clients,
) -> Vec<Backup> {
    // Room for no more than there is: of ten thousand databases it would be thrice as much.
    let mut backups = Vec::with_capacity(replicas.size_hint().0);
    for replica in replicas {
        let remote = open(replica, clients).await.map(|remote| remote.beside(all.below(replica)));
        backups.push(Backup { name: replica.name.clone(), remote });
    }
    backups
}

/// Opens the replica's store. Makes no request unless the region of an AWS bucket must be found.
pub async fn open(replica: &Replica, clients: &mut Clients) -> Result<Remote, StoreError> {
    match &replica.target {
        Target::File { path } => {
            let store = Counted::new(Arc::new(FileStore::new(path.clone())), files());
            Ok(Remote::new(Arc::new(store), Layout::Directories))
        }
        Target::S3(settings) => {
            let store = S3Store::connect(settings.clone(), clients).await?;
            let old = store.joined_as_path();
            let remote = Remote::new(counted(store), Layout::S3);
            Ok(match old {
                Some(old) => remote.with_old_store(counted(old)),
                None => remote,
            })
        }
    }
}

/// What is asked of files is counted for all of them together.
fn files() -> Arc<Traffic> {
    static FILES: LazyLock<Arc<Traffic>> = LazyLock::new(|| Arc::new(Traffic::new("file", "")));
    FILES.clone()
}

/// The requests are counted together with those of other replicas in the same bucket.
fn counted(store: S3Store) -> Arc<dyn Store> {
    let traffic = store.traffic().cloned();
    let store: Arc<dyn Store> = Arc::new(store);
    match traffic {
        Some(traffic) => Arc::new(Counted::new(store, traffic)),
        None => store,
    }
}

/// Key of what the databases of one store share.
pub fn store_key(target: &Target) -> StoreKey {
    match target {
        Target::File { .. } => StoreKey::named("files"),
        Target::S3(settings) => {
            let (endpoint, region) = (settings.endpoint.as_deref(), settings.region.as_deref());
            StoreKey::named(format!("{} {} {}", endpoint.unwrap_or(""), region.unwrap_or(""), settings.bucket))
        }
    }
}

/// The exit code for an error of the store.
pub fn store_failure(error: &StoreError) -> Failure {
    let code = match error {
        StoreError::Denied { .. } => DENIED,
        StoreError::Permanent { .. } => CONFIG,
        StoreError::Transient { .. } | StoreError::NotFound { .. } | StoreError::AlreadyExists { .. } => UNAVAILABLE,
    };
    Failure::new(code, anyhow::anyhow!("{error}"))
}

/// `all` are the paths of the databases of this process.
pub fn settings(database: &Database, options: &Options, all: watch::Receiver<Arc<BTreeSet<PathBuf>>>) -> Settings {
    let capture = &database.capture;
    Settings {
        path: database.path.clone(),
        meta_path: database.meta_path.clone(),
        optional: database.optional,
        may_vanish: database.may_vanish,
        open_files: supervise::open_files().map_or(u64::MAX, |(_, most)| most),
        all,
        tuning: tuning(database),
        monitor_interval: capture.monitor_interval,
        checkpoint_interval: capture.checkpoint_interval,
        sync_interval: database.replicas.first.sync_interval,
        final_retry_interval: options.shutdown.sync_interval,
        // Half of the retention of level-0 objects, if they have one.
        proof_lasts: match options.lifecycle.l0_retention {
            Duration::ZERO => Duration::MAX,
            kept => kept / 2,
        },
        lifecycle: Some(Arc::new(policy(database, &database.replicas.first, options))),
        seal: None,
        is_held: None,
        confirmed: None,
        once: None,
        clock: MACHINE,
    }
}

/// Settings of a mirror.
pub fn mirror_settings(database: &Database, mirror: &Replica, options: &Options) -> MirrorSettings {
    MirrorSettings {
        name: mirror.name.clone(),
        sync_interval: mirror.sync_interval,
        lifecycle: Some(Arc::new(policy(database, mirror, options))),
    }
}

/// Settings of the capture.
pub fn tuning(database: &Database) -> Tuning {
    let capture = &database.capture;
    Tuning {
        busy_timeout: capture.busy_timeout,
        min_checkpoint_page_count: capture.min_checkpoint_page_count,
        truncate_page_n: capture.truncate_page_n,
        max_sync_wal_bytes: capture.max_sync_wal_bytes,
    }
}

fn policy(database: &Database, replica: &Replica, options: &Options) -> Policy {
    let (lifecycle, snapshot) = (&options.lifecycle, &replica.snapshot);
    Policy {
        levels: lifecycle.levels.clone(),
        snapshot_interval: snapshot.interval,
        snapshot_retention: snapshot.retention,
        snapshot_check_interval: snapshot.check_interval,
        l0_retention: lifecycle.l0_retention,
        l0_check_interval: lifecycle.l0_retention_check_interval,
        // Not longer than the interval itself.
        grace: match lifecycle.l0_retention {
            Duration::ZERO => DELETE_GRACE,
            kept => DELETE_GRACE.min(kept),
        },
        delete: lifecycle.retention_enabled,
        spread: spread_of(&database.path, &replica.url),
        listing_lasts: lifecycle.l0_retention_check_interval.saturating_mul(CHECKS_PER_LISTING),
    }
}

/// Logs where a database is replicated to, and how often.
pub fn tell_policy(database: &Database) {
    for replica in database.replicas.iter() {
        let name = match database.replicas.are_several() {
            true => format!(" the replica {},", replica.name),
            false => String::new(),
        };
        tracing::info!(
            db = %database.path.display(),
            "replicating to{name} {} (at once when quiet, one upload per {each:?} on average under sustained writes)",
            replica.url,
            each = replica.sync_interval
        );
    }
}
