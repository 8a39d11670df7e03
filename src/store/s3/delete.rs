//! Deletes: in batches where the store knows them, one by one where it does not.
//!
//! What a store makes of a batch differs: some want Content-MD5, some have no batches at all. A
//! refusal of the batch as such is remembered, so that it is asked only once.

use std::sync::atomic::Ordering::Relaxed;

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use futures_util::{StreamExt, stream};

use super::super::{Deleted, Key, Result, StoreError};
use super::S3Store;
use super::error::{self, Asked};
use super::proof::base64_md5;
use super::spelling::{Meaning, meaning};

/// S3's limit.
const BATCH: usize = 1000;
const SINGLE_DELETES_IN_FLIGHT: usize = 8;

pub(super) async fn delete(store: &S3Store, keys: &[Key]) -> Result<Deleted> {
    let mut done = Deleted::default();
    for batch in keys.chunks(BATCH) {
        let result = if batch.len() == 1 || store.habits.deletes_singly.load(Relaxed) {
            singly(store, batch).await?
        } else {
            match at_once(store, batch).await {
                // Missing buckets and the like come back from the single deletes with a message of
                // their own.
                Err(StoreError::Permanent { detail }) => {
                    tracing::debug!(%detail, "batch delete refused; deleting one by one");
                    let result = singly(store, batch).await?;
                    // Only if that was the cure: a missing bucket refuses both.
                    store.habits.deletes_singly.fetch_or(result.deleted > 0, Relaxed);
                    result
                }
                other => other?,
            }
        };
        done.deleted += result.deleted;
        done.refused.extend(result.refused);
    }
    Ok(done)
}

async fn at_once(store: &S3Store, batch: &[Key]) -> Result<Deleted> {
    let what = store.what("delete", &format!("({} objects)", batch.len()));
    let name = |key: &Key| ObjectIdentifier::builder().key(store.object(key.as_str())).build();
    let names: std::result::Result<Vec<_>, _> = batch.iter().map(name).collect();
    let delete = names.and_then(|names| Delete::builder().quiet(true).set_objects(Some(names)).build());
    let delete = delete.map_err(|e| StoreError::Permanent { detail: format!("{what}: {e}") })?;
    let request = store.client.delete_objects().bucket(&store.settings.bucket).delete(delete);
    let request = request.customize();
    let answer = match store.settings.require_content_md5 {
        true => request.mutate_request(add_content_md5).send().await,
        false => request.send().await,
    };
    let answer = answer.map_err(|e| error::map(Asked::Other, &what, e))?;

    let mut refused = Vec::new();
    for entry in answer.errors() {
        let name = entry.key().and_then(|key| match meaning(&store.root, key) {
            Meaning::Below(name) => Some(name),
            Meaning::Folder | Meaning::Beside | Meaning::Elsewhere => None,
        });
        let key = name.and_then(Key::new);
        let what = store.what("delete", key.as_ref().map_or("?", Key::as_str));
        let error = match error::map_code(&what, entry.code(), entry.message()) {
            StoreError::NotFound { .. } => continue,
            error => error,
        };
        // An error about no key we know leaves open which of them are gone.
        let Some(key) = key else { return Err(error) };
        refused.push((key, error));
    }
    Ok(Deleted { deleted: batch.len().saturating_sub(refused.len()), refused })
}

/// The checksum of before 2024, which is all that some stores know.
fn add_content_md5(request: &mut HttpRequest) {
    if let Some(md5) = request.body().bytes().map(base64_md5) {
        request.headers_mut().insert("content-md5", md5);
    }
}

async fn singly(store: &S3Store, keys: &[Key]) -> Result<Deleted> {
    let one = |key: Key| async move {
        let what = store.what("delete", key.as_str());
        let request = store.client.delete_object().bucket(&store.settings.bucket).key(store.object(key.as_str()));
        let result = request.send().await.map_err(|e| error::map(Asked::Object, &what, e));
        (key, result.map(drop))
    };
    let mut results = stream::iter(keys.iter().cloned().map(one)).buffer_unordered(SINGLE_DELETES_IN_FLIGHT);
    let mut done = Deleted::default();
    while let Some((key, result)) = results.next().await {
        match result {
            Ok(()) | Err(StoreError::NotFound { .. }) => done.deleted += 1,
            // The store, not this object: the rest would fail alike.
            Err(error @ StoreError::Transient { .. }) => return Err(error),
            Err(error) => done.refused.push((key, error)),
        }
    }
    Ok(done)
}
