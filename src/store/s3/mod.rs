//! An S3 bucket (AWS or compatible) as a store.
//!
//! Knows nothing of what the objects mean. One object's key is `prefix + "/" + name`, byte for byte
//! as Litestream writes it. Bodies leave from memory with a plain signed payload, the one shape
//! that every S3-compatible store takes; whatever the SDK calls an error becomes the caller's next
//! move in `error.rs`.
//!
//! ```text
//!   put     body < part size: PutObject (If-None-Match: *)                 single.rs
//!           one try, because a lost reply must stay visible
//!           else: CreateMultipartUpload ▶ UploadPart × n
//!                 ▶ Complete (If-None-Match: *)                            multipart.rs, parts.rs
//!   get     Range; the answer's Content-Range is checked ──▶ chunks        download.rs
//!   list    ListObjectsV2, to the last page                                list.rs, spelling.rs
//!   delete  DeleteObjects × 1000                                           delete.rs
//! ```
//!
//! No answer is believed for its status alone: `answer.rs` says what is not S3's, `proof.rs` what
//! proves that a body is stored, `condition.rs` what becomes of a create where the store refuses
//! its condition.

mod answer;
mod causes;
mod chain;
mod client;
mod condition;
mod counting;
mod delete;
mod download;
mod endpoint;
mod error;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod hostile;
mod leftover;
mod list;
#[cfg(test)]
mod listings;
mod multipart;
#[cfg(test)]
mod network;
mod parts;
mod plain;
mod proof;
pub mod provider;
mod proxy;
mod route;
mod settings;
mod single;
mod spelling;
#[cfg(test)]
mod stub;
#[cfg(test)]
mod tests;
mod tls;
mod unverified;
mod value;
mod visit;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};

use super::{Chunks, Deleted, Head, Key, Lacks, Listed, OpenUpload, Put, Range, Result, Store, Traffic};
use answer::{size, unix_ms};
pub use client::Clients;
use condition::Habits;
pub use endpoint::endpoint_url;
use error::Asked;
use parts::Parts;
use proof::base64_md5;
pub use settings::{Credentials, Secret, Settings, Sse};
pub use value::trimmed;
pub use visit::visit;

/// Sets the SSE-C headers, which every request that touches an object's bytes must carry.
macro_rules! with_customer_key {
    ($store:expr, $request:expr) => {{
        let sse = $store.customer_key.as_ref();
        $request
            .set_sse_customer_algorithm(sse.map(|k| k.algorithm.clone()))
            .set_sse_customer_key(sse.map(|k| k.key.expose().to_owned()))
            .set_sse_customer_key_md5(sse.map(|k| k.md5.clone()))
    }};
}
use with_customer_key;

/// One prefix of one bucket. Clones share the client and its connections.
#[derive(Clone)]
pub struct S3Store {
    client: Client,
    settings: Arc<Settings>,
    address: String,
    /// What stands in front of every name.
    root: String,
    customer_key: Option<Arc<CustomerKey>>,
    habits: Arc<Habits>,
    /// By the endpoint that is really used, whoever named it.
    is_aws: bool,
    traffic: Arc<Traffic>,
}

struct CustomerKey {
    algorithm: String,
    key: Secret,
    md5: String,
}

impl S3Store {
    /// Builds the client. No request is made, except to find the region of an AWS bucket when none
    /// was given.
    pub async fn connect(settings: impl Into<Arc<Settings>>, clients: &mut Clients) -> Result<S3Store> {
        let settings = settings.into();
        settings.validate()?;
        let (client, habits, is_aws, traffic) = clients.get(&settings).await?;
        Ok(S3Store { habits, is_aws, traffic, ..S3Store::over(client, settings) })
    }

    fn over(client: Client, settings: Arc<Settings>) -> S3Store {
        let customer_key = settings.customer_key_bytes().zip(settings.sse.customer_key.clone()).map(|(raw, key)| {
            let algorithm = settings.sse.customer_algorithm.clone().unwrap_or_else(|| Sse::ALGORITHM.to_owned());
            Arc::new(CustomerKey { algorithm, key, md5: base64_md5(&raw) })
        });
        S3Store {
            client,
            address: settings.address(),
            root: format!("{}/", settings.prefix),
            customer_key,
            habits: Arc::default(),
            is_aws: false,
            traffic: Arc::new(Traffic::new("s3", "")),
            settings,
        }
    }

    /// The same bucket with the prefix joined to names as a path, as Go's `path.Join` does it: `.`
    /// and `""` vanish, slashes are not doubled. `None` where that makes no difference.
    pub fn joined_as_path(&self) -> Option<S3Store> {
        let root = settings::path_root(&self.settings.prefix);
        let address = format!("s3://{}/{}", self.settings.bucket, root.trim_end_matches('/'));
        (root != self.root).then(|| S3Store { address, root, ..self.clone() })
    }

    /// The object's key in the bucket: no cleaning, so that `.` and stray slashes stay what
    /// Litestream made of them.
    fn object(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    /// An operation and its address, for errors: `put s3://bucket/prefix/name`.
    fn what(&self, verb: &str, name: &str) -> String {
        format!("{verb} s3://{}/{}", self.settings.bucket, self.object(name))
    }

    fn storage_class(&self) -> Option<StorageClass> {
        self.settings.storage_class.as_deref().map(StorageClass::from)
    }

    fn kms(&self) -> Option<ServerSideEncryption> {
        self.settings.sse.kms_key_id.as_ref().map(|_| ServerSideEncryption::AwsKms)
    }
}

type Metadata = Option<HashMap<String, String>>;

impl S3Store {
    async fn head_with_etag(&self, key: &Key) -> Result<(Head, Option<String>)> {
        let what = self.what("head", key.as_str());
        let request = with_customer_key!(self, self.client.head_object())
            .bucket(&self.settings.bucket)
            .key(self.object(key.as_str()));
        let head = request.send().await.map_err(|e| error::map(Asked::Object, &what, e))?;
        let metadata = head.metadata().into_iter().flatten().map(|(k, v)| (k.to_ascii_lowercase(), v.clone()));
        let found = Head {
            size: size(head.content_length()),
            modified_ms: unix_ms(head.last_modified()),
            metadata: metadata.collect(),
        };
        Ok((found, head.e_tag))
    }
}

#[async_trait]
impl Store for S3Store {
    fn address(&self) -> &str {
        &self.address
    }

    fn traffic(&self) -> Option<&Arc<Traffic>> {
        Some(&self.traffic)
    }

    fn lacks(&self) -> Lacks {
        let is_so = |habit: &AtomicBool| habit.load(Relaxed);
        Lacks {
            conditions: is_so(&self.habits.refuses_conditions),
            ranges: is_so(&self.habits.ignores_ranges),
            batch_deletes: is_so(&self.habits.deletes_singly),
        }
    }

    async fn put(&self, key: &Key, put: Put) -> Result<()> {
        let metadata: HashMap<String, String> = put.metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let metadata = (!metadata.is_empty()).then_some(metadata);
        let mut parts = Parts::of(put.body, &self.settings, self.what("put", key.as_str()));
        let first = parts.next().await?.unwrap_or_default();
        if parts.is_last(&first) {
            return single::put(self, key, first, put.create, metadata).await;
        }
        multipart::upload(self, key, first, parts, put.create, metadata).await
    }

    async fn get(&self, key: &Key, range: Range) -> Result<Chunks> {
        download::get(self, key, range).await
    }

    async fn head(&self, key: &Key) -> Result<Head> {
        Ok(self.head_with_etag(key).await?.0)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        list::list(self, prefix).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Deleted> {
        delete::delete(self, keys).await
    }

    async fn open_uploads(&self) -> Result<Vec<OpenUpload>> {
        leftover::list(self).await
    }

    async fn end_uploads(&self, uploads: &[OpenUpload]) -> Result<()> {
        leftover::end(self, uploads).await
    }
}
