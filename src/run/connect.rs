//! From typed options to the stores and settings of the rooms below.

use std::sync::Arc;

use super::exit::{CONFIG, DENIED, Failure, UNAVAILABLE};
use crate::config::{Database, Options, Replica, S3Target, Target};
use crate::db::Tuning;
use crate::remote::{Layout, Remote};
use crate::replicate::Settings;
use crate::store::s3::{Credentials, S3Store, Secret, Sse};
use crate::store::{FileStore, StoreError, probe, s3};

/// Opens the replica's store. Makes no request unless the region of an AWS bucket must be found.
pub async fn connect(replica: &Replica) -> Result<Remote, Failure> {
    match &replica.target {
        Target::File { path } => Ok(Remote::new(Arc::new(FileStore::new(path.clone())), Layout::Directories)),
        Target::S3(target) => {
            let store = S3Store::connect(s3_settings(target)).await.map_err(|error| store_failure(&error))?;
            let old = store.joined_as_path();
            let remote = Remote::new(Arc::new(store), Layout::S3);
            Ok(match old {
                Some(old) => remote.with_old_store(Arc::new(old)),
                None => remote,
            })
        }
    }
}

/// The exit code for a store that does not answer as it should.
pub fn store_failure(error: &StoreError) -> Failure {
    let code = match error {
        StoreError::Denied { .. } => DENIED,
        StoreError::Permanent { .. } => CONFIG,
        StoreError::Transient { .. } | StoreError::NotFound { .. } | StoreError::AlreadyExists { .. } => UNAVAILABLE,
    };
    Failure::new(code, anyhow::anyhow!("{error}"))
}

/// Finds out whether the store keeps the promise that fencing stands on, and says so if it does not. Files do.
pub async fn probe_fencing(remote: Remote) {
    if remote.layout() != Layout::S3 {
        return;
    }
    match probe::honours_create(remote.store().as_ref()).await {
        Ok(true) => {}
        Ok(false) => tracing::warn!(
            "{} ignores If-None-Match: two writers on this path could overwrite each other; make sure that there is one",
            remote.address()
        ),
        Err(error) => tracing::debug!("could not find out whether the store honours If-None-Match: {error}"),
    }
}

pub fn settings(database: &Database, options: &Options) -> Settings {
    let capture = &database.capture;
    Settings {
        path: database.path.clone(),
        meta_path: database.meta_path.clone(),
        tuning: Tuning {
            busy_timeout: capture.busy_timeout,
            min_checkpoint_page_count: capture.min_checkpoint_page_count,
            truncate_page_n: capture.truncate_page_n,
        },
        monitor_interval: capture.monitor_interval,
        checkpoint_interval: capture.checkpoint_interval,
        sync_interval: database.replica.sync_interval,
        max_sync_wal_bytes: capture.max_sync_wal_bytes,
        final_retry_interval: options.shutdown.sync_interval,
        // Half of the time that level-0 objects are kept.
        proof_lasts: options.lifecycle.l0_retention / 2,
        once: false,
    }
}

fn s3_settings(target: &S3Target) -> s3::Settings {
    let target = target.clone();
    let defaults = s3::Settings::new(target.bucket, target.prefix);
    let keys = target.access_key_id.zip(target.secret_access_key);
    s3::Settings {
        region: target.region,
        endpoint: target.endpoint,
        credentials: keys.map(|(access_key_id, secret)| Credentials {
            access_key_id,
            secret_access_key: Secret::new(secret),
            session_token: target.session_token.map(Secret::new),
        }),
        force_path_style: target.force_path_style,
        skip_verify: target.skip_verify,
        sign_payload: target.sign_payload,
        require_content_md5: target.require_content_md5,
        storage_class: target.storage_class,
        part_size: target.part_size.unwrap_or(defaults.part_size),
        concurrency: target.concurrency.unwrap_or(defaults.concurrency),
        sse: Sse {
            customer_algorithm: target.sse_customer_algorithm,
            customer_key: target.sse_customer_key.map(Secret::new),
            kms_key_id: target.sse_kms_key_id,
        },
        ..defaults
    }
}
