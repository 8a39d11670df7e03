//! Large bodies: cut into equal parts, several in flight, visible only when complete.
//!
//! Every part but the last has the same size, chosen before the first one is sent (R2 accepts
//! nothing else): the configured part size, or more where 10,000 parts of it would not be enough
//! for what the body will be at most. Memory is what `part-size` and `concurrency` allow, and one
//! part that is being filled, as long as parts have that size: 30 MiB by default, up to 48.8 GiB.
//! From there on parts grow and fewer are in flight, down to one: 210 MiB for 1 TiB.
//!
//! An upload that fails or is dropped is aborted, so that no paid-for parts stay behind; for
//! SIGKILL there is `leftover.rs`.

use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::complete_multipart_upload::{CompleteMultipartUploadError, CompleteMultipartUploadOutput};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;

use super::super::{Key, Result, StoreError};
use super::error::{self, Asked};
use super::parts::{PARTS_MAX, PartPlan, Parts};
use super::proof::{self, Md5Sum, Sent};
use super::{Metadata, S3Store, answer, client, leftover, with_customer_key};

/// How long a failed upload may take to clean up behind itself.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Uploads a body of which `first` is the first part.
pub(super) async fn upload(
    store: &S3Store,
    key: &Key,
    first: Bytes,
    parts: Parts,
    create: bool,
    metadata: Metadata,
) -> Result<()> {
    let mut upload = Upload::start(store, key, metadata.clone()).await?;
    let result = match upload.send(first, parts).await {
        Ok(parts) => upload.complete(&parts, parts.sent(metadata), create).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => upload.open = false,
        Err(_) => upload.abort().await,
    }
    result
}

type Completion =
    std::result::Result<CompleteMultipartUploadOutput, SdkError<CompleteMultipartUploadError, HttpResponse>>;

struct SentPart {
    completed: CompletedPart,
    sum: Md5Sum,
    len: u64,
}

/// Every part, in order.
struct SentParts {
    parts: Vec<SentPart>,
    /// The last bytes of the last one.
    tail: Bytes,
}

impl SentParts {
    fn sent(&self, metadata: Metadata) -> Sent {
        let sums: Vec<Md5Sum> = self.parts.iter().map(|part| part.sum).collect();
        Sent {
            len: self.parts.iter().map(|part| part.len).sum(),
            etag: proof::etag_of_parts(&sums),
            metadata,
            tail: self.tail.clone(),
        }
    }
}

/// An upload the store keeps parts for, until it is completed or aborted.
struct Upload {
    store: S3Store,
    key: Key,
    id: String,
    open: bool,
}

impl Upload {
    async fn start(store: &S3Store, key: &Key, metadata: Metadata) -> Result<Upload> {
        let what = store.what("start the upload of", key.as_str());
        let sse = store.customer_key.as_ref();
        let request = store
            .client
            .create_multipart_upload()
            .bucket(&store.settings.bucket)
            .key(store.object(key.as_str()))
            .content_type("application/octet-stream")
            .set_storage_class(store.storage_class())
            .set_metadata(metadata)
            .set_sse_customer_algorithm(sse.map(|k| k.algorithm.clone()))
            .set_sse_customer_key(sse.map(|k| k.key.expose().to_owned()))
            .set_sse_customer_key_md5(sse.map(|k| k.md5.clone()))
            .set_server_side_encryption(store.kms())
            .set_ssekms_key_id(store.settings.sse.kms_key_id.clone());
        let id = match request.send().await {
            Ok(answer) => answer.upload_id,
            Err(error) => Some(answer::upload_id_of(&error).ok_or_else(|| error::map(Asked::Other, &what, error))?),
        };
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Err(StoreError::Transient { detail: format!("{what}: the answer has no upload id") });
        };
        Ok(Upload { store: store.clone(), key: key.clone(), id, open: true })
    }

    /// Sends every part, a few at a time, while the next ones are being made.
    async fn send(&self, first: Bytes, mut parts: Parts) -> Result<SentParts> {
        let mut in_flight = FuturesUnordered::new();
        let mut sent = Vec::new();
        let mut ready = Some(first);
        let mut ended = false;
        let mut number = 0;
        let mut tail = Bytes::new();
        loop {
            if let Some(part) = ready.take() {
                number += 1;
                tail = Sent::tail_of(&part);
                if number > PARTS_MAX {
                    return Err(self.too_long(parts.plan));
                }
                in_flight.push(self.send_part(i32::try_from(number).expect("at most 10,000"), part));
            }
            let room = in_flight.len() < parts.plan.in_flight;
            tokio::select! {
                Some(part) = in_flight.next() => sent.push(part?),
                part = parts.next(), if room && !ended => {
                    ready = part?;
                    ended = ready.is_none();
                }
                else => break,
            }
        }
        sent.sort_unstable_by_key(|part| part.completed.part_number());
        Ok(SentParts { parts: sent, tail })
    }

    async fn send_part(&self, number: i32, bytes: Bytes) -> Result<SentPart> {
        let store = &self.store;
        let what = store.what(&format!("upload part {number} of"), self.key.as_str());
        let len = bytes.len();
        let request = with_customer_key!(store, store.client.upload_part())
            .bucket(&store.settings.bucket)
            .key(store.object(self.key.as_str()))
            .upload_id(&self.id)
            .part_number(number)
            .body(ByteStream::from(bytes.clone()));
        let mut call = request.customize().config_override(client::uploading(len));
        if !store.settings.sign_payload {
            call = call.disable_payload_signing();
        }
        let answer = call.send().await.map_err(|e| error::map(Asked::Other, &what, e))?;
        // A part alone cannot be looked at. The completion names each one's ETag, so the store
        // refuses what it does not have.
        if answer.e_tag().is_none() {
            return Err(StoreError::Transient { detail: format!("{what}: the answer is not S3's: it has no ETag") });
        }
        let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
        let completed = part.set_checksum_crc32(answer.checksum_crc32).build();
        Ok(SentPart { completed, sum: proof::md5(&bytes), len: len as u64 })
    }

    async fn complete(&self, parts: &SentParts, sent: Sent, create: bool) -> Result<()> {
        let store = &self.store;
        let what = store.what("complete the upload of", self.key.as_str());
        if create {
            // Some stores honour the condition of a single put and overlook the one of a completion
            // (Ceph): look first. It closes no race, but it costs one request per large object and
            // keeps what is there.
            match store.require_absent(&self.key).await {
                // A key that may write but not read must not fail here: the condition on the
                // completion still stands.
                Err(StoreError::Denied { .. }) if store.sends_conditions() => {}
                absent => absent?,
            }
        }
        let condition = create && store.sends_conditions();
        let error = match self.send_completion(parts, condition).await {
            // Only the store can know the MD5 of the MD5s.
            Ok(answer)
                if condition == create && answer.e_tag().is_some_and(|etag| proof::is_etag(etag, &sent.etag)) =>
            {
                return Ok(());
            }
            Ok(_) => return sent.prove(store, &self.key, create && !condition).await,
            Err(error) => error,
        };
        let asked = if condition { Asked::Create } else { Asked::Other };
        let may_go_without = condition && store.may_go_without(&error);
        let refusal = error::map(asked, &what, error);
        if !may_go_without {
            return Err(refusal);
        }
        store.require_absent_or(&self.key, refusal).await?;
        self.send_completion(parts, false).await.map_err(|e| error::map(Asked::Other, &what, e))?;
        sent.prove(store, &self.key, true).await?;
        store.condition_was_refused();
        Ok(())
    }

    async fn send_completion(&self, parts: &SentParts, condition: bool) -> Completion {
        let store = &self.store;
        let completed = parts.parts.iter().map(|part| part.completed.clone()).collect();
        let request = with_customer_key!(store, store.client.complete_multipart_upload())
            .bucket(&store.settings.bucket)
            .key(store.object(self.key.as_str()))
            .upload_id(&self.id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(completed)).build());
        let request = if condition { request.if_none_match("*") } else { request };
        // A hidden second try would find the upload gone and could not tell why.
        request.customize().config_override(client::once(0)).send().await
    }

    async fn abort(mut self) {
        self.open = false;
        let _ = tokio::time::timeout(ABORT_TIMEOUT, abort_quietly(&self.store, &self.key, &self.id)).await;
    }

    /// The body is longer than it was expected to be.
    fn too_long(&self, plan: PartPlan) -> StoreError {
        let what = self.store.what("put", self.key.as_str());
        StoreError::Permanent {
            detail: format!("{what}: more than {PARTS_MAX} parts of {} bytes; raise part-size", plan.part_bytes),
        }
    }
}

impl Drop for Upload {
    /// The caller went away in the middle: clean up without it.
    fn drop(&mut self) {
        if let (true, Ok(runtime)) = (self.open, Handle::try_current()) {
            let (store, key, id) = (self.store.clone(), self.key.clone(), std::mem::take(&mut self.id));
            runtime.spawn(async move { tokio::time::timeout(ABORT_TIMEOUT, abort_quietly(&store, &key, &id)).await });
        }
    }
}

async fn abort_quietly(store: &S3Store, key: &Key, id: &str) {
    if let Err(error) = leftover::abort(store, key.as_str(), id).await {
        tracing::debug!("{error}");
    }
}
