//! Uploads in parts that a killed process has left open.
//!
//! Their parts are in no listing and are paid for until they are aborted, if the bucket has no
//! lifecycle rule (`AbortIncompleteMultipartUpload`). Who calls this decides what is old enough and
//! whose it is.

use aws_sdk_s3::types::MultipartUpload;

use super::super::{OpenUpload, Result, StoreError};
use super::S3Store;
use super::answer::unix_ms;
use super::error::{self, Asked};
use super::spelling::{Meaning, meaning};

/// Pages of the listing, of a thousand uploads each: more is for another time.
const PAGES_MAX: usize = 10;

pub(super) async fn list(store: &S3Store) -> Result<Vec<OpenUpload>> {
    let what = store.what("list the open uploads of", "");
    let mut found = Vec::new();
    let mut next: (Option<String>, Option<String>) = (None, None);
    for _ in 0..PAGES_MAX {
        let request = store.client.list_multipart_uploads().bucket(&store.settings.bucket).prefix(store.object(""));
        let request = request.set_key_marker(next.0.clone()).set_upload_id_marker(next.1.clone());
        let page = request.send().await.map_err(|e| error::map(Asked::Other, &what, e))?;
        found.extend(page.uploads().iter().filter_map(|upload| open(store, upload)));
        let after = (page.next_key_marker().map(str::to_owned), page.next_upload_id_marker().map(str::to_owned));
        if !page.is_truncated().unwrap_or(false) || after == next {
            break;
        }
        next = after;
    }
    Ok(found)
}

fn open(store: &S3Store, upload: &MultipartUpload) -> Option<OpenUpload> {
    let Meaning::Below(name) = meaning(&store.root, upload.key()?) else { return None };
    let id = upload.upload_id().filter(|id| !id.is_empty())?;
    // What does not say since when it is open may have been begun a moment ago.
    let since_ms = Some(unix_ms(upload.initiated())).filter(|ms| *ms > 0)?;
    Some(OpenUpload { name, id: id.to_owned(), since_ms })
}

pub(super) async fn end(store: &S3Store, uploads: &[OpenUpload]) -> Result<()> {
    for upload in uploads {
        match abort(store, &upload.name, &upload.id).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) async fn abort(store: &S3Store, name: &str, id: &str) -> Result<()> {
    let request = store.client.abort_multipart_upload().bucket(&store.settings.bucket);
    let answer = request.key(store.object(name)).upload_id(id).send().await;
    answer.map(drop).map_err(|error| error::map(Asked::Object, &store.what("abort the upload of", name), error))
}
