//! Where a test's replica lies: a directory, or a prefix of its own in the test server's bucket.
//!
//! Reads, plants and deletes objects without the binary under test, so that a test can see what really lies there.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use tokio::runtime::Runtime;

use super::process::setting;

pub const BUCKET: &str = "millstream-test";

static NEXT_PREFIX: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Debug)]
pub enum Remote {
    File(PathBuf),
    /// The endpoint is what the replica's URL names; the objects are looked at on the server itself.
    S3 {
        endpoint: String,
        prefix: String,
    },
}

impl Remote {
    pub fn file(dir: impl Into<PathBuf>) -> Remote {
        Remote::File(dir.into())
    }

    /// A prefix nobody has used.
    pub fn s3() -> Remote {
        let number = NEXT_PREFIX.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("it-{}-{number}", std::process::id());
        Remote::S3 { endpoint: setting("MILLSTREAM_TEST_S3_ENDPOINT"), prefix }
    }

    /// The same prefix, reached through another address.
    pub fn through(&self, endpoint: impl Into<String>) -> Remote {
        match self {
            Remote::S3 { prefix, .. } => Remote::S3 { endpoint: endpoint.into(), prefix: prefix.clone() },
            Remote::File(_) => panic!("a directory has no endpoint"),
        }
    }

    /// The URL as both litestream.yml and the command line take it.
    pub fn url(&self) -> String {
        match self {
            Remote::File(dir) => format!("file://{}", dir.display()),
            Remote::S3 { endpoint, prefix } => {
                format!("s3://{BUCKET}/{prefix}?endpoint={endpoint}&region=us-east-1&forcePathStyle=true")
            }
        }
    }

    /// Every object below the replica's path: name and content. Temporary files of a directory are not objects.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        match self {
            Remote::File(dir) => {
                let mut found = BTreeMap::new();
                walk(dir, dir, &mut found);
                found
            }
            Remote::S3 { prefix, .. } => {
                let root = format!("{prefix}/");
                let names = block_on(s3_keys(root.clone()));
                names.into_iter().filter_map(|key| Some((key.strip_prefix(&root)?.into(), fetch(&key)?))).collect()
            }
        }
    }

    /// The TXIDs of level 0, in order.
    pub fn level0(&self) -> Vec<u64> {
        let directory = self.level0_dir();
        let txid = |name: &String| {
            let (min, max) = name.strip_prefix(&directory)?.strip_suffix(".ltx")?.split_once('-')?;
            (min == max).then(|| u64::from_str_radix(min, 16).ok())?
        };
        self.names().iter().filter_map(txid).collect()
    }

    /// The object of one level-0 transaction.
    pub fn level0_name(&self, txid: u64) -> String {
        format!("{}{txid:016x}-{txid:016x}.ltx", self.level0_dir())
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        match self {
            Remote::File(dir) => {
                let path = dir.join(name);
                fs::create_dir_all(path.parent().expect("has a parent")).expect("create a directory");
                fs::write(path, bytes).expect("write an object");
            }
            Remote::S3 { prefix, .. } => block_on(s3_put(format!("{prefix}/{name}"), bytes.to_vec())),
        }
    }

    /// One moment of it: every LTX object that a LIST shows, under the name that it has in a directory, with the time that it
    /// carries (Unix milliseconds). Objects do not change, so if all of them are there after the LIST, it was a moment.
    pub fn moment(&self) -> BTreeMap<String, (Vec<u8>, u64)> {
        loop {
            let names = self.names();
            let read = |name: String| {
                let (level, min, max) = ltx_name(&name)?;
                let bytes = match self {
                    Remote::File(dir) => fs::read(dir.join(&name)).ok(),
                    Remote::S3 { prefix, .. } => fetch(&format!("{prefix}/{name}")),
                };
                // The header says when its newest transaction was shipped.
                let time = |bytes: &[u8]| u64::from_be_bytes(bytes[32..40].try_into().expect("eight bytes"));
                let found =
                    bytes.map(|bytes| (format!("ltx/{level}/{min:016x}-{max:016x}.ltx"), (time(&bytes), bytes)));
                Some(found.map(|(name, (time, bytes))| (name, (bytes, time))))
            };
            if let Some(moment) = names.into_iter().filter_map(read).collect() {
                return moment;
            }
        }
    }

    /// Puts an object whose time is that of its content.
    pub fn put_at(&self, name: &str, bytes: &[u8], unix_ms: u64) {
        self.put(name, bytes);
        if let Remote::File(dir) = self {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(unix_ms);
            let file = fs::File::options().write(true).open(dir.join(name)).expect("open an object");
            file.set_modified(time).expect("set its time");
        }
    }

    fn level0_dir(&self) -> String {
        // Litestream's own layouts: directories say ltx/0, S3 keys say 0000.
        match self {
            Remote::File(_) => "ltx/0/".into(),
            Remote::S3 { .. } => "0000/".into(),
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Remote::File(_) => self.objects().into_keys().collect(),
            Remote::S3 { prefix, .. } => {
                let root = format!("{prefix}/");
                let keys = block_on(s3_keys(root.clone()));
                keys.iter().filter_map(|key| Some(key.strip_prefix(&root)?.into())).collect()
            }
        }
    }
}

/// Level and TXIDs of an LTX object's name, in either layout.
fn ltx_name(name: &str) -> Option<(u8, u64, u64)> {
    let (level, file) = name.strip_prefix("ltx/").unwrap_or(name).split_once('/')?;
    let (min, max) = file.strip_suffix(".ltx")?.split_once('-')?;
    let txid = |text: &str| u64::from_str_radix(text, 16).ok();
    Some((level.parse().ok()?, txid(min)?, txid(max)?))
}

/// Every TXID at which a restore can end, by plain reachability and not by any planner: a file takes a database from one of the
/// TXIDs from min-1 to max-1 to max.
pub fn reachable(remote: &Remote) -> Vec<u64> {
    let mut files: Vec<_> = remote.names().iter().filter_map(|name| ltx_name(name)).collect();
    files.sort_unstable_by_key(|(_, _, max)| *max);
    let mut ends: Vec<u64> = Vec::new();
    for (_, min, max) in files {
        let connects = min == 1 || ends.iter().any(|end| (min - 1..max).contains(end));
        if connects && ends.last() != Some(&max) {
            ends.push(max);
        }
    }
    ends
}

fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            walk(root, &path, found);
        } else if path.extension().is_none_or(|extension| extension != "tmp") {
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            if let Ok(bytes) = fs::read(&path) {
                found.insert(name, bytes);
            }
        }
    }
}

/// The object of this key in the test's bucket. `None` when it is gone since it was listed: retention is at work while tests look.
pub fn fetch(key: &str) -> Option<Vec<u8>> {
    let key = key.to_owned();
    block_on(async {
        let reply = client().get_object().bucket(BUCKET).key(key).send().await.ok()?;
        Some(reply.body.collect().await.ok()?.to_vec())
    })
}

/// Removes the object of this key from the test's bucket.
pub fn delete(key: &str) {
    block_on(async {
        let gone = client().delete_object().bucket(BUCKET).key(key).send().await;
        gone.map(drop).expect("delete an object");
    });
}

async fn s3_keys(prefix: String) -> Vec<String> {
    let mut pages = client().list_objects_v2().bucket(BUCKET).prefix(prefix).into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.expect("list the test bucket");
        keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
    }
    keys
}

async fn s3_put(key: String, bytes: Vec<u8>) {
    client().put_object().bucket(BUCKET).key(key).body(ByteStream::from(bytes)).send().await.expect("put an object");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime for the tests' own S3 client")).block_on(future)
}

fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let [id, secret] = ["MILLSTREAM_TEST_S3_ACCESS_KEY", "MILLSTREAM_TEST_S3_SECRET_KEY"].map(setting);
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(setting("MILLSTREAM_TEST_S3_ENDPOINT"))
            .force_path_style(true)
            .credentials_provider(Credentials::new(id, secret, None, None, "tests"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Client::from_conf(config)
    })
}
