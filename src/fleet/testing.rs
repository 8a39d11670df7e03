//! For tests: an application with a database that is registered nowhere yet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Registration, StoreKey};
use crate::clock::MACHINE;
use crate::db::Tuning;
use crate::fsx;
use crate::remote::{Layout, Remote};
use crate::replicate::{Policy, Settings};
use crate::restore::{Request, restore};
use crate::store::Store;

/// An application's database, and its replica.
pub struct App {
    pub path: PathBuf,
    pub connection: rusqlite::Connection,
    pub remote: Remote,
}

impl App {
    pub fn new(dir: &tempfile::TempDir, name: &str, store: impl Store + 'static) -> App {
        let path = dir.path().canonicalize().expect("tempdir").join(name);
        let connection = rusqlite::Connection::open(&path).expect("open");
        connection.busy_timeout(Duration::from_secs(5)).expect("timeout");
        connection.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(x)").expect("create");
        App { path, connection, remote: Remote::new(Arc::new(store), Layout::Directories) }
    }

    pub fn write(&self, bytes: u32) {
        self.connection.execute("INSERT INTO t(x) VALUES (randomblob(?1))", [bytes]).expect("insert");
    }

    pub fn registration(&self) -> Registration {
        let hour = Duration::from_secs(3600);
        let settings = Settings {
            meta_path: fsx::with_suffix(&self.path, ".meta"),
            optional: false,
            may_vanish: false,
            open_files: u64::MAX,
            all: watch::channel(Arc::default()).1,
            path: self.path.clone(),
            tuning: Tuning {
                busy_timeout: Duration::from_secs(1),
                min_checkpoint_page_count: 1000,
                truncate_page_n: 0,
                max_sync_wal_bytes: 64 << 20,
            },
            monitor_interval: Duration::from_millis(50),
            checkpoint_interval: hour,
            // Nothing but a sync uploads more than what was saved up.
            sync_interval: hour,
            final_retry_interval: Duration::from_millis(50),
            proof_lasts: hour,
            lifecycle: Some(Policy::of_hours().into()),
            seal: None,
            is_held: None,
            confirmed: None,
            once: None,
            clock: MACHINE,
        };
        Registration {
            settings: Arc::new(settings),
            name: "first".into(),
            remote: self.remote.clone(),
            store: StoreKey::named("memory"),
            mirrors: Vec::new(),
        }
    }

    /// Rows that a restore gives back.
    pub async fn restored(&self) -> u32 {
        let dir = tempfile::tempdir().expect("tempdir");
        let output = dir.path().canonicalize().expect("tempdir").join("copy.db");
        let restored = restore(&self.remote, &Request::new(&output), &CancellationToken::new(), &Arc::default()).await;
        restored.expect("a restore");
        let copy = rusqlite::Connection::open(output).expect("open");
        copy.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("rows")
    }
}

/// Its replication ends by itself.
pub fn cannot_be_locked(app: &App) -> Registration {
    let in_the_way = fsx::with_suffix(&app.path, ".file");
    std::fs::write(&in_the_way, "no directory").expect("write");
    let mut registration = app.registration();
    Arc::make_mut(&mut registration.settings).meta_path = in_the_way.join("meta");
    registration
}
