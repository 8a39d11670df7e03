//! A body in one request: create-if-absent where that is asked for, proved before it counts as
//! stored.

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::operation::put_object::{PutObjectError, PutObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;

use super::super::{Key, Result, StoreError};
use super::error::{self, Asked};
use super::proof::{self, Sent};
use super::{Metadata, S3Store, client, with_customer_key};

pub(super) async fn put(store: &S3Store, key: &Key, bytes: Bytes, create: bool, metadata: Metadata) -> Result<()> {
    let put = Single { store, key, bytes, create, metadata };
    let asked = if create { Asked::Create } else { Asked::Other };
    let what = store.what(if create { "create" } else { "put" }, key.as_str());
    if create && !store.sends_conditions() {
        store.require_absent(key).await?;
        return put.unconditionally(&what).await;
    }
    match put.send(create).await {
        Ok(answer) => {
            put.proved(&answer).await?;
            if create {
                store.condition_was_understood();
            }
            Ok(())
        }
        Err(refusal) if create && store.may_go_without(&refusal) => {
            let refusal = error::map(asked, &what, refusal);
            store.require_absent_or(key, refusal).await?;
            put.unconditionally(&what).await?;
            store.condition_was_refused();
            Ok(())
        }
        Err(error) => {
            let error = error::map(asked, &what, error);
            if matches!(error, StoreError::AlreadyExists { .. }) {
                store.condition_was_understood();
            }
            Err(error)
        }
    }
}

struct Single<'a> {
    store: &'a S3Store,
    key: &'a Key,
    bytes: Bytes,
    create: bool,
    metadata: Metadata,
}

impl Single<'_> {
    async fn send(
        &self,
        condition: bool,
    ) -> std::result::Result<PutObjectOutput, SdkError<PutObjectError, HttpResponse>> {
        let Single { store, key, bytes, create, metadata } = self;
        let request = with_customer_key!(store, store.client.put_object())
            .bucket(&store.settings.bucket)
            .key(store.object(key.as_str()))
            .content_type("application/octet-stream")
            .body(ByteStream::from(bytes.clone()))
            .set_storage_class(store.storage_class())
            .set_metadata(metadata.clone())
            .set_server_side_encryption(store.kms())
            .set_ssekms_key_id(store.settings.sse.kms_key_id.clone());
        let request: PutObjectFluentBuilder = if condition { request.if_none_match("*") } else { request };
        // A hidden second try of a create would meet the first one's object and take it for another
        // writer's.
        let config = if *create { client::once(bytes.len()) } else { client::uploading(bytes.len()) };
        let mut call = request.customize().config_override(config);
        if !store.settings.sign_payload {
            call = call.disable_payload_signing();
        }
        call.send().await
    }

    /// A create without the condition, after a look that found nothing: ours must be there
    /// afterwards.
    async fn unconditionally(&self, what: &str) -> Result<()> {
        self.send(false).await.map_err(|e| error::map(Asked::Other, what, e))?;
        self.sent(&proof::md5(&self.bytes)).prove(self.store, self.key, true).await
    }

    async fn proved(&self, answer: &PutObjectOutput) -> Result<()> {
        let sum = proof::md5(&self.bytes);
        match proof::names(answer.e_tag(), answer.checksum_crc32(), &self.bytes, &sum) {
            true => Ok(()),
            false => self.sent(&sum).prove(self.store, self.key, false).await,
        }
    }

    fn sent(&self, sum: &proof::Md5Sum) -> Sent {
        Sent {
            len: self.bytes.len() as u64,
            etag: proof::hex(sum),
            metadata: self.metadata.clone(),
            tail: Sent::tail_of(&self.bytes),
        }
    }
}
