//! Stores: named bytes, moved. One trait, one file per kind of store.
//!
//! A store knows nothing of LTX, levels or databases: `remote/` writes the names, a store only
//! keeps what is under them. So a new cloud is one new file here, and gets restore, fencing and
//! audit for nothing.
//!
//! The contract that every store is held to (one conformance suite runs against all of them,
//! `conformance.rs`):
//!
//! - A put is all or nothing: a reader sees the whole object or none, and a success means the bytes
//!   are durable.
//! - `Put::create` never replaces an object. If the store cannot promise that, `probe` finds out.
//!   That is what makes one history of two writers (I4): the log of level 0 is the lock.
//! - A listing is ordered by key and complete; every key of it is relative to the store's root.
//! - Errors say what the caller does next, not what the SDK called them; SDK types never leave
//!   their file.

mod body;
#[cfg(test)]
mod conformance;
mod counted;
mod file;
#[cfg(test)]
pub(crate) mod memory;
pub mod price;
pub mod probe;
pub mod s3;
mod throttle;
mod traffic;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

pub use body::{BodyWriter, ChunkWriter, Unread};
pub use counted::Counted;
pub use file::FileStore;
pub use throttle::{Limit, Throttled};
#[cfg(test)]
pub use traffic::Operation;
pub use traffic::{DURATION_BUCKETS, Operated, Requested, Traffic};

/// The name of an object, relative to the store's root: non-empty `/`-separated segments, none of
/// them `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// `None` when the name could leave the root or would be read differently by another store.
    pub fn new(name: impl Into<String>) -> Option<Key> {
        let name = name.into();
        let segment_ok = |s: &str| !s.is_empty() && s != "." && s != ".." && !s.contains(['\0', '\\']);
        (name.len() <= 900 && name.split('/').all(segment_ok)).then_some(Key(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What to store under a key, and on which condition.
pub struct Put {
    pub body: Body,
    /// Create-if-absent: fails with [`StoreError::AlreadyExists`] instead of replacing.
    pub create: bool,
    /// When the content came to be, in Unix milliseconds. Stores with settable times (files) stamp
    /// the object with it.
    pub modified_ms: Option<i64>,
    /// User metadata, for the stores that have it.
    pub metadata: Vec<(&'static str, String)>,
}

impl Put {
    /// A create-only put of bytes without times or metadata.
    pub fn create(bytes: impl Into<Bytes>) -> Put {
        Put { body: Body::Bytes(bytes.into()), create: true, modified_ms: None, metadata: Vec::new() }
    }
}

/// The bytes of a put: at hand, or made while they are sent.
pub enum Body {
    Bytes(Bytes),
    /// Made with [`Body::channel`], whose writer turns a body that was left half-way into an abort.
    Stream {
        /// In order; the stream ends when the sender is dropped. An `Err` aborts the put and
        /// nothing becomes visible.
        chunks: mpsc::Receiver<std::result::Result<Bytes, BodyError>>,
        /// The bytes it will have at most, as far as its maker can tell: a store may have to plan.
        expected_len: u64,
    },
}

/// Why the maker of a streamed body gave up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(pub String);

/// One entry of a listing. The name is what the store returned: untrusted until `Key::new` or a
/// parser has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub size: u64,
    /// LastModified or mtime, Unix milliseconds.
    pub modified_ms: i64,
}

/// What a HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub size: u64,
    pub modified_ms: i64,
    /// User metadata, keys in lower case.
    pub metadata: Vec<(String, String)>,
}

/// Which bytes of an object to read: `len` from `start`; fewer only where the object ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub start: u64,
    pub len: u64,
}

#[cfg(test)]
impl Range {
    /// Every byte of an object that has any.
    pub const WHOLE: Range = Range { start: 0, len: u64::MAX };
}

/// The body of a read, chunk by chunk.
pub type Chunks = BoxStream<'static, Result<Bytes>>;

/// An upload in parts that was neither completed nor ended. Its parts are in the store unseen, and
/// are paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// The object that it was to become: untrusted, as in a listing.
    pub name: String,
    pub id: String,
    /// When it was begun by the store's clock, Unix milliseconds.
    pub since_ms: i64,
}

/// What a batch delete did: a refused key is reported, never an error of the batch.
#[derive(Debug, Default)]
pub struct Deleted {
    pub deleted: usize,
    pub refused: Vec<(Key, StoreError)>,
}

/// What a store was found not to do while it was used. It is made up for, at a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// It refuses conditional puts: between a look and a put a rival can come in.
    pub conditions: bool,
    /// It answers with more than the range that was asked for.
    pub ranges: bool,
    /// Each object is deleted by a request of its own.
    pub batch_deletes: bool,
}

/// Variants are the caller's next move. `detail` says what failed on what, without secrets.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No such object: an answer, not a failure.
    #[error("{detail}")]
    NotFound { detail: String },
    /// Create-if-absent met an object: read it back to learn whose it is.
    #[error("{detail}")]
    AlreadyExists { detail: String },
    /// Credentials or permissions (401, 403, EACCES): retrying soon is pointless, a person must
    /// look.
    #[error("{detail}")]
    Denied { detail: String },
    /// Unreachable, overloaded or interrupted: try again with backoff.
    #[error("{detail}")]
    Transient { detail: String },
    /// The request can never work as it is: bucket missing, bad setting, disk full, body aborted.
    #[error("{detail}")]
    Permanent { detail: String },
}

impl StoreError {
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Transient { .. })
    }
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// Named bytes. All calls are cancel-safe: dropping the future leaves either the whole effect or
/// none.
#[async_trait]
pub trait Store: Send + Sync {
    /// The address for logs and errors, without secrets: `s3://bucket/path`, `file:///backup/app`.
    fn address(&self) -> &str;

    /// Where what is asked of it is counted.
    fn traffic(&self) -> Option<&Arc<Traffic>> {
        None
    }

    /// As far as it has shown.
    fn lacks(&self) -> Lacks {
        Lacks::default()
    }

    async fn put(&self, key: &Key, put: Put) -> Result<()>;

    /// Opens a read. A range past the end of the object is `NotFound`.
    async fn get(&self, key: &Key, range: Range) -> Result<Chunks>;

    async fn head(&self, key: &Key) -> Result<Head>;

    /// Everything whose name begins with `prefix` (`""` = all), in key order, pages followed to the
    /// end.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>>;

    /// Everything whose name begins with one of `prefixes` (each ends with `/`) and, of what else
    /// is there, as much as the store sees without extra cost or harm. Foreign objects show that
    /// the place may not be what it is taken for.
    async fn list_own(&self, prefixes: &[String]) -> Result<Vec<Listed>> {
        let _ = prefixes;
        self.list("").await
    }

    /// Deletes; a key that is already gone counts as deleted.
    async fn delete(&self, keys: &[Key]) -> Result<Deleted>;

    /// Uploads in parts that are open. Stores without such have none.
    async fn open_uploads(&self) -> Result<Vec<OpenUpload>> {
        Ok(Vec::new())
    }

    /// Ends uploads: their parts go.
    async fn end_uploads(&self, _uploads: &[OpenUpload]) -> Result<()> {
        Ok(())
    }
}
