//! A directory as a store: one file per object.
//!
//! Knows nothing of what the files mean, and never touches a live database. A write appears under
//! its name in one step, after it is durable (`publish.rs`); a listing walks the directories
//! (`walk.rs`).
//!
//! Files are created 0600 and directories 0700 (a backup is as secret as the database), as
//! Litestream does when it knows no database to copy the modes from. A missing root is an empty
//! store; a root that cannot be read is an error, because "no backup" and "cannot tell" must never
//! look alike. Reads follow symlinks, writes never leave the root through one.

mod entry;
mod publish;
mod walk;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::{Body, BodyError, Chunks, Deleted, Head, Key, Listed, Put, Range, Result, Store, StoreError};
use crate::fsx::{self, Context};
use entry::{absent_or, failure, is_temp, modified_ms};
use publish::{Target, Temp};

const CHUNK: u64 = 1 << 20;
/// Chunks of a streamed body that are written per hop to a blocking thread.
const CHUNKS_PER_HOP: usize = 64;

pub struct FileStore {
    root: PathBuf,
    address: String,
}

impl FileStore {
    pub fn new(root: PathBuf) -> FileStore {
        let root = std::path::absolute(&root).unwrap_or(root);
        FileStore { address: format!("file://{}", root.display()), root }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// The path to write to; refuses names that listings would hide.
    fn target(&self, key: &Key) -> Result<Target> {
        let path = self.path(key);
        if path.file_name().and_then(|n| n.to_str()).is_some_and(is_temp) {
            return Err(StoreError::Permanent {
                detail: format!("put {key}: the name is reserved for temporary files"),
            });
        }
        Ok(Target { root: self.root.clone(), dir: fsx::parent(&path).to_owned(), path })
    }
}

#[async_trait]
impl Store for FileStore {
    fn address(&self) -> &str {
        &self.address
    }

    async fn put(&self, key: &Key, put: Put) -> Result<()> {
        let target = self.target(key)?;
        let (create, modified_ms) = (put.create, put.modified_ms);
        match put.body {
            Body::Bytes(bytes) => {
                blocking(move || {
                    let mut temp = Temp::create(&target)?;
                    temp.write(&bytes)?;
                    temp.publish(&target, create, modified_ms)
                })
                .await
            }
            Body::Stream { chunks, .. } => {
                // Between two hops the temporary file is owned by this future, so dropping it
                // leaves nothing behind.
                let (temp, target) = blocking(move || Ok((Temp::create(&target)?, target))).await?;
                let temp = write_stream(temp, chunks, key).await?;
                blocking(move || temp.publish(&target, create, modified_ms)).await
            }
        }
    }

    async fn get(&self, key: &Key, range: Range) -> Result<Chunks> {
        let path = self.path(key);
        let mut reader = blocking(move || Reader::open(path, range)).await?;
        match reader.ready.take() {
            Some(only) => Ok(stream::iter([Ok(only)]).boxed()),
            None => Ok(stream::try_unfold(reader, Reader::next_chunk).boxed()),
        }
    }

    async fn head(&self, key: &Key) -> Result<Head> {
        let path = self.path(key);
        blocking(move || {
            let metadata = fsx::metadata(&path).map_err(absent_or)?;
            require_file(&metadata, &path)?;
            Ok(Head { size: metadata.len(), modified_ms: modified_ms(&metadata), metadata: Vec::new() })
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        blocking(move || walk::list(&root, &prefix)).await
    }

    async fn list_own(&self, prefixes: &[String]) -> Result<Vec<Listed>> {
        let (root, prefixes) = (self.root.clone(), prefixes.to_vec());
        blocking(move || walk::list_own(&root, &prefixes)).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<Deleted> {
        let targets: Vec<(Key, PathBuf)> = keys.iter().map(|key| (key.clone(), self.path(key))).collect();
        blocking(move || Ok(walk::delete(targets))).await
    }
}

/// Runs file system calls where they may block. They run to their end even if the caller goes away.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::Transient { detail: format!("file store: interrupted by shutdown: {error}") }),
    }
}

async fn write_stream(
    mut temp: Temp,
    mut chunks: mpsc::Receiver<std::result::Result<Bytes, BodyError>>,
    key: &Key,
) -> Result<Temp> {
    let mut gathered = Vec::with_capacity(CHUNKS_PER_HOP);
    while chunks.recv_many(&mut gathered, CHUNKS_PER_HOP).await > 0 {
        let mut batch = Vec::with_capacity(gathered.len());
        for chunk in gathered.drain(..) {
            batch.push(chunk.map_err(|e| StoreError::Permanent { detail: format!("put {key}: body aborted: {e}") })?);
        }
        temp = blocking(move || {
            batch.iter().try_for_each(|chunk| temp.write(chunk))?;
            Ok(temp)
        })
        .await?;
    }
    Ok(temp)
}

/// An open object and what is still to be read of it.
struct Reader {
    file: Arc<File>,
    path: PathBuf,
    at: u64,
    end: u64,
    /// The whole range when it is small: most objects are, and it saves a hop.
    ready: Option<Bytes>,
}

impl Reader {
    fn open(path: PathBuf, range: Range) -> Result<Reader> {
        // Without O_NONBLOCK opening a FIFO would wait for ever.
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let file = opened.on("open", &path).map_err(absent_or)?;
        let metadata = file.metadata().on("stat", &path).map_err(failure)?;
        require_file(&metadata, &path)?;
        let size = metadata.len();
        let Range { start: at, len } = range;
        if at >= size {
            return Err(StoreError::NotFound {
                detail: format!("read {}: byte {at} is past the end ({size} bytes)", path.display()),
            });
        }
        let end = at.saturating_add(len).min(size);
        let mut reader = Reader { file: Arc::new(file), path, at, end, ready: None };
        if end - at <= CHUNK {
            reader.ready = Some(reader.read_chunk()?);
        }
        Ok(reader)
    }

    fn read_chunk(&self) -> Result<Bytes> {
        let len = (self.end - self.at).min(CHUNK);
        let mut chunk = vec![0; usize::try_from(len).expect("at most one chunk")];
        self.file.read_exact_at(&mut chunk, self.at).on("read", &self.path).map_err(failure)?;
        Ok(Bytes::from(chunk))
    }

    async fn next_chunk(mut self) -> Result<Option<(Bytes, Reader)>> {
        if self.at == self.end {
            return Ok(None);
        }
        blocking(move || {
            let chunk = self.read_chunk()?;
            self.at += chunk.len() as u64;
            Ok(Some((chunk, self)))
        })
        .await
    }
}

fn require_file(metadata: &fs::Metadata, path: &Path) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(StoreError::NotFound { detail: format!("{}: not a file", path.display()) })
}

#[cfg(test)]
mod tests;
