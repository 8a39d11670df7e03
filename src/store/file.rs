//! A directory as a store: one file per object.
//!
//! Knows nothing of what the files mean, and never touches a live database. A write appears under its name in one step,
//! after it is durable (`publish.rs`); a listing walks the directories (`walk.rs`).
//!
//! Files are created 0600 and directories 0700 (a backup is as secret as the database), as Litestream does when it knows
//! no database to copy the modes from. A missing root is an empty store; a root that cannot be read is an error, because
//! "no backup" and "cannot tell" must never look alike. Reads follow symlinks, writes never leave the root through one.

mod publish;
mod walk;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::{Body, BodyError, Chunks, Deleted, Head, Key, Listed, Put, Range, Result, Store, StoreError};
use crate::fsx::{self, Context, FsError};
use publish::{Target, Temp};

const CHUNK: u64 = 1 << 20;
const TEMP_PREFIX: &str = ".millstream-";
const TEMP_SUFFIX: &str = ".tmp";
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
                // Between two hops the temporary file is owned by this future, so dropping it leaves nothing behind.
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

fn is_temp(file_name: &str) -> bool {
    file_name.starts_with(TEMP_PREFIX) && file_name.ends_with(TEMP_SUFFIX)
}

fn modified_ms(metadata: &fs::Metadata) -> i64 {
    metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000)
}

fn require_file(metadata: &fs::Metadata, path: &Path) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(StoreError::NotFound { detail: format!("{}: not a file", path.display()) })
}

/// For calls that name one object: a name that leads nowhere is an answer.
fn absent_or(error: FsError) -> StoreError {
    match error.source.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) => StoreError::NotFound { detail: error.to_string() },
        _ => failure(error),
    }
}

fn failure(error: FsError) -> StoreError {
    let detail = error.to_string();
    match error.source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => StoreError::Denied { detail },
        Some(
            libc::ENOSPC
            | libc::EDQUOT
            | libc::EROFS
            | libc::EFBIG
            | libc::ENOTDIR
            | libc::EISDIR
            | libc::ELOOP
            | libc::ENAMETOOLONG
            | libc::EINVAL,
        ) => StoreError::Permanent { detail },
        _ => StoreError::Transient { detail },
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use futures_util::TryStreamExt;

    use super::*;
    use crate::clock;

    fn key(name: &str) -> Key {
        Key::new(name).expect("a valid key")
    }

    fn files_in(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("list");
        let mut names: Vec<String> =
            entries.map(|e| e.expect("entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn files_are_private_stamped_and_alone_in_their_directory() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = FileStore::new(dir.path().join("replica"));
        for create in [true, false] {
            let put = Put { create, modified_ms: Some(1_500_000_000_250), ..Put::create("x") };
            store.put(&key("ltx/0/a.ltx"), put).await.expect("put");
        }
        let level = dir.path().join("replica/ltx/0");
        assert_eq!(files_in(&level), ["a.ltx"], "no temporary file is left");
        let file = fs::metadata(level.join("a.ltx")).expect("stat");
        assert_eq!((file.mode() & 0o777, file.nlink()), (0o600, 1));
        assert_eq!(fs::metadata(&level).expect("stat").mode() & 0o777, 0o700);
        assert_eq!(store.list("").await.expect("list")[0].modified_ms, 1_500_000_000_250);
    }

    #[tokio::test]
    async fn no_backup_is_never_confused_with_cannot_tell() {
        let dir = tempfile::tempdir().expect("tempdir");
        let missing = FileStore::new(dir.path().join("missing"));
        assert_eq!(missing.list("").await.expect("an empty store"), []);

        fs::write(dir.path().join("file"), "x").expect("write");
        let not_a_dir = FileStore::new(dir.path().join("file"));
        assert!(matches!(not_a_dir.list("").await, Err(StoreError::Permanent { .. })));
        let below = FileStore::new(dir.path().join("file/replica"));
        assert!(matches!(below.list("").await, Err(StoreError::Permanent { .. })));
        symlink("loop", dir.path().join("loop")).expect("symlink");
        let looping = FileStore::new(dir.path().join("loop"));
        assert!(matches!(looping.list("").await, Err(StoreError::Permanent { .. })));
    }

    /// The root of a volume holds `lost+found`, and whatever else people put there.
    #[tokio::test]
    async fn only_what_is_ours_is_walked_and_the_rest_is_glanced_at() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = FileStore::new(dir.path().to_owned());
        let own = ["ltx/".to_owned(), "0000/".to_owned()];
        let names = async || -> Result<Vec<String>> {
            Ok(store.list_own(&own).await?.into_iter().map(|listed| listed.name).collect())
        };
        for path in ["lost+found/x", ".app.db-litestream/ltx/0/a.ltx", "app/ltx/0/a.ltx", "app.db", "0000"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("below")).expect("mkdir");
            fs::write(path, "x").expect("write");
        }
        symlink("..", dir.path().join("app/up")).expect("symlink");
        let locked = dir.path().join("lost+found");
        let set_mode = |mode| fs::set_permissions(&locked, fs::Permissions::from_mode(mode)).expect("chmod");
        set_mode(0o000);
        let is_root = fs::read_dir(&locked).is_ok();
        let mut strangers = names().await.expect("what cannot be read is not ours");
        strangers.retain(|name| !is_root || name != "lost+found/x");
        assert_eq!(strangers, ["0000", "app.db", "app/ltx/0/a.ltx"], "hidden directories and links are passed over");

        fs::create_dir_all(dir.path().join("ltx/0")).expect("mkdir");
        fs::write(dir.path().join("ltx/0/b.ltx"), "x").expect("write");
        assert_eq!(names().await.expect("list"), ["ltx/0/b.ltx"], "strangers cost nothing once there is a replica");
        set_mode(0o700);
        if !is_root {
            fs::set_permissions(dir.path().join("ltx"), fs::Permissions::from_mode(0o000)).expect("chmod");
            let error = names().await.expect_err("what is ours must be read");
            assert!(matches!(error, StoreError::Denied { .. }), "{error}");
            fs::set_permissions(dir.path().join("ltx"), fs::Permissions::from_mode(0o700)).expect("chmod");
        }
    }

    #[tokio::test]
    async fn symlinks_are_read_through_but_never_written_through() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("real")).expect("mkdir");
        fs::create_dir(&outside).expect("mkdir");
        fs::write(outside.join("b"), "outside").expect("write");
        symlink(&outside, root.join("out")).expect("symlink");
        symlink(root.join("real"), root.join("in")).expect("symlink");
        symlink(&root, root.join("real/cycle")).expect("symlink");
        let store = FileStore::new(root.clone());

        for name in ["out/x", "out/new/x"] {
            let error = store.put(&key(name), Put::create("x")).await.expect_err("leads out");
            assert!(matches!(error, StoreError::Permanent { .. }), "{error}");
        }
        assert_eq!(files_in(&outside), ["b"]);
        store.put(&key("in/x"), Put::create("x")).await.expect("stays inside");
        let names: Vec<String> = store.list("").await.expect("list").into_iter().map(|l| l.name).collect();
        assert_eq!(names, ["in/x", "out/b", "real/x"], "cycles end");
    }

    #[tokio::test]
    async fn temporary_files_are_hidden_reserved_and_swept_when_stale() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = FileStore::new(dir.path().to_owned());
        let temp = ".millstream-0123456789abcdef.tmp";
        fs::write(dir.path().join(temp), "x").expect("write");
        assert_eq!(store.list("").await.expect("list"), []);
        assert!(matches!(store.put(&key(temp), Put::create("x")).await, Err(StoreError::Permanent { .. })));

        store.delete(&[key("a")]).await.expect("delete");
        assert_eq!(files_in(dir.path()), [temp], "it may belong to a living writer");
        walk::sweep(dir.path(), clock::unix_ms() / 1000 + 25 * 3600);
        assert_eq!(files_in(dir.path()), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_directory_in_the_way_is_no_winner_of_a_race() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = FileStore::new(dir.path().to_owned());
        store.put(&key("a/b"), Put::create("x")).await.expect("put");
        for create in [true, false] {
            let error = store.put(&key("a"), Put { create, ..Put::create("x") }).await.expect_err("a directory");
            assert!(matches!(error, StoreError::Permanent { .. }), "{error:?}");
        }
        let error = store.put(&key("a/b/c"), Put::create("x")).await.expect_err("below a file");
        assert!(matches!(error, StoreError::Permanent { .. }), "{error:?}");
        assert_eq!(files_in(dir.path()), ["a"]);
    }

    /// Hard links and RENAME_NOREPLACE, one of them, none, nor times or the fsync of a directory.
    #[test]
    fn a_weak_file_system_keeps_the_promise_all_the_same() {
        use fsx::weak::{Ability::*, testing::weaken};
        let lacks: [&[(fsx::weak::Ability, i32)]; 4] = [
            &[],
            &[(Link, libc::EPERM)],
            &[(Link, libc::EOPNOTSUPP), (RenameNew, libc::EINVAL)],
            &[(Link, libc::EACCES), (RenameNew, libc::ENOSYS), (Times, libc::EPERM), (SyncDir, libc::EINVAL)],
        ];
        for lacking in lacks {
            let dir = tempfile::tempdir().expect("tempdir");
            let root = dir.path().to_owned();
            let target = || Target { root: root.clone(), dir: root.clone(), path: root.join("a.ltx") };
            let put = |content: &str| {
                let _weak = weaken(lacking);
                let mut temp = Temp::create(&target()).expect("temp");
                temp.write(content.as_bytes()).expect("write");
                temp.publish(&target(), true, Some(1_500_000_000_000))
            };
            put("first").unwrap_or_else(|error| panic!("{lacking:?}: {error}"));
            let error = put("second").expect_err("taken");
            assert!(matches!(error, StoreError::AlreadyExists { .. }), "{lacking:?}: {error}");
            assert_eq!(fs::read(root.join("a.ltx")).expect("read"), b"first");
            assert_eq!(files_in(&root), ["a.ltx"], "{lacking:?}");
        }
    }

    #[test]
    fn a_lock_file_keeps_others_out_until_it_is_old() {
        use fsx::weak::{Ability::*, testing::weaken};
        let dir = tempfile::tempdir().expect("tempdir");
        let target =
            || Target { root: dir.path().to_owned(), dir: dir.path().to_owned(), path: dir.path().join("a.ltx") };
        let lock = dir.path().join(format!("{TEMP_PREFIX}{:016x}{TEMP_SUFFIX}", fsx::hash(b"a.ltx")));
        fs::write(&lock, "").expect("write");
        let _weak = weaken(&[(Link, libc::EPERM), (RenameNew, libc::EINVAL)]);
        let error = Temp::create(&target()).expect("temp").publish(&target(), true, None).expect_err("locked");
        assert!(matches!(error, StoreError::Transient { .. }), "{error}");
        assert!(lock.exists(), "it is young");
        fs::write(dir.path().join("a.ltx"), "another's").expect("write");
        let error = Temp::create(&target()).expect("temp").publish(&target(), true, None).expect_err("taken");
        assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error}");
    }

    #[test]
    fn errors_say_what_comes_next() {
        let map = |errno| {
            failure(FsError { verb: "write", path: "/b/a".into(), source: io::Error::from_raw_os_error(errno) })
        };
        for errno in [libc::EACCES, libc::EPERM] {
            assert!(matches!(map(errno), StoreError::Denied { .. }));
        }
        for errno in [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::ENOTDIR] {
            assert!(matches!(map(errno), StoreError::Permanent { .. }));
        }
        for errno in [libc::EIO, libc::EMFILE, libc::ESTALE, libc::ETIMEDOUT] {
            assert!(matches!(map(errno), StoreError::Transient { .. }));
        }
        assert!(map(libc::ENOSPC).to_string().starts_with("write /b/a: "));
    }

    #[tokio::test]
    async fn a_file_that_shrinks_while_it_is_read_is_an_error() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = FileStore::new(dir.path().to_owned());
        store.put(&key("a"), Put::create(vec![7; 3 << 20])).await.expect("put");
        let chunks = store.get(&key("a"), Range::WHOLE).await.expect("get");
        File::options().write(true).open(dir.path().join("a")).expect("open").set_len(1 << 20).expect("truncate");
        let read: Result<Vec<Bytes>> = chunks.try_collect().await;
        assert!(matches!(read, Err(StoreError::Transient { .. })), "{read:?}");
    }
}
