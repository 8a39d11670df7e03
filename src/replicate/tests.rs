//! Replication to a store with faults, and a real database under it. Whatever happens, the objects
//! alone must give the database back: an oracle applies them one after the other and compares page
//! for page.

mod opening;
mod outages;
mod sealing;
mod writers;

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::clock::{Dice, MACHINE};
use crate::db::Watches;
use crate::ltx::Decoder;
use crate::remote::{Layout, ReadPolicy, Remote};
use crate::store::memory::{Fault, MemoryStore, Op};
use crate::store::{Key, Put, Store, StoreError};

pub(super) struct Rig {
    pub dir: tempfile::TempDir,
    pub app: rusqlite::Connection,
    pub store: MemoryStore,
    pub mirrors: Vec<MemoryStore>,
    pub mirror_policy: Option<Policy>,
    replication: Option<Replication>,
    heard: mpsc::UnboundedReceiver<(DatabaseId, Event)>,
    pub settings: Settings,
}

impl Rig {
    pub fn new(change: impl FnOnce(&mut Settings)) -> Rig {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().canonicalize().expect("tempdir").join("app.db");
        let app = rusqlite::Connection::open(&path).expect("open");
        app.busy_timeout(Duration::from_secs(5)).expect("timeout");
        // The ballast is never written again, so only an image holds its pages.
        app.execute_batch(
            "PRAGMA page_size=1024; PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, x);
             CREATE TABLE ballast AS SELECT randomblob(20000) AS b",
        )
        .expect("create");
        let mut settings = settings(path);
        change(&mut settings);
        let (_, heard) = mpsc::unbounded_channel();
        Rig {
            dir,
            app,
            store: MemoryStore::new(),
            mirrors: Vec::new(),
            mirror_policy: None,
            replication: None,
            heard,
            settings,
        }
    }

    pub fn start(&mut self) {
        let (events, heard) = mpsc::unbounded_channel();
        let governor = Governor::new(Limits::default());
        let mirrors = self.mirrors.iter().enumerate().map(|(number, store)| Mirror {
            settings: MirrorSettings {
                name: format!("mirror {number}"),
                sync_interval: self.settings.sync_interval,
                lifecycle: self.mirror_policy.clone().map(Arc::new),
            },
            remote: remote(store),
            governor: governor.clone(),
        });
        let mirrors = mirrors.collect();
        let resources = Resources { events, watches: Watches::start(), governor };
        let remote = remote(&self.store);
        self.heard = heard;
        self.replication =
            Some(Replication::start(DatabaseId(7), self.settings.clone().into(), remote, mirrors, &resources));
    }

    pub async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(Duration::from_secs(20), self.heard.recv()).await;
        event.expect("an event in time").expect("the replication lives").1
    }

    pub fn write(&self, bytes: u32) {
        self.app.execute("INSERT INTO t(x) VALUES (randomblob(?1))", [bytes]).expect("insert");
    }

    pub fn run(&self, sql: &str) {
        self.app.execute_batch(sql).expect("sql");
    }

    /// Waits until the bucket has everything.
    pub async fn until(&self, what: &str, mut done: impl FnMut(&Rig) -> bool) {
        for _ in 0..2000 {
            if done(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited in vain for: {what}; objects: {:?}", self.store.names());
    }

    pub async fn until_objects(&self, count: usize) {
        self.until("objects", |rig| rig.objects().len() >= count).await;
    }

    pub fn objects(&self) -> Vec<String> {
        self.store.names().into_iter().filter(|name| name.starts_with("0000/")).collect()
    }

    pub async fn finish(&mut self) -> Ended {
        let replication = self.replication.take().expect("started");
        replication.finish_by(Instant::now() + Duration::from_secs(20));
        replication.ended().await
    }

    /// The TXID up to which everything is safe, if it is.
    pub async fn finish_within(&mut self, time: Duration) -> Option<u64> {
        let replication = self.replication.take().expect("started");
        replication.finish_by(Instant::now() + time);
        match replication.ended().await {
            Ended::Synced(txid) => txid.map(Txid::get),
            _ => None,
        }
    }

    /// Everything of the replication is gone at once, as with SIGKILL.
    pub async fn crash(&mut self) {
        let replication = self.replication.take().expect("started");
        replication.task.abort();
        replication.ended().await;
        // A blocking piece of work may still hold the database for a moment.
        let (path, meta) = (self.settings.path.clone(), self.settings.meta_path.clone());
        self.until("the lock", |_| crate::state::Lock::try_take(&path, &meta).expect("lock").is_some()).await;
    }

    /// Applies all level-0 objects and compares the result with the database.
    pub fn assert_restores(&self) {
        let mut copy: Vec<Vec<u8>> = Vec::new();
        for (at, name) in self.objects().iter().enumerate() {
            let bytes = self.store.bytes(name).expect("listed");
            let mut decoder = Decoder::new(bytes.as_ref()).expect("header");
            let header = *decoder.header();
            assert_eq!(header.max_txid.get(), at as u64 + 1, "TXIDs are consecutive");
            let mut page = vec![0; header.page_size.bytes()];
            copy.resize(header.commit as usize, Vec::new());
            while let Some(pgno) = decoder.next_page(&mut page).expect("page") {
                copy[pgno.index()] = page.clone();
            }
            decoder.finish().expect("verified");
        }
        let mut statement = self.app.prepare("SELECT data FROM sqlite_dbpage('main')").expect("dbpage");
        let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("query");
        let live: Vec<Vec<u8>> = rows.map(|page| page.expect("page")).collect();
        assert_eq!(copy.len(), live.len(), "size in pages");
        for (index, page) in live.iter().enumerate() {
            assert!(copy[index] == *page, "page {} differs", index + 1);
        }
    }

    /// How many objects hold the whole database.
    pub fn images(&self) -> usize {
        let is_image = |name: &String| {
            let bytes = self.store.bytes(name).expect("listed");
            let mut decoder = Decoder::new(bytes.as_ref()).expect("header");
            let (commit, mut page) = (decoder.header().commit, vec![0; decoder.header().page_size.bytes()]);
            (0..commit).all(|_| decoder.next_page(&mut page).expect("page").is_some())
        };
        self.objects().iter().filter(|name| is_image(name)).count()
    }

    pub fn replication(&self) -> &Replication {
        self.replication.as_ref().expect("started")
    }

    pub fn spilled(&self) -> usize {
        std::fs::read_dir(self.settings.meta_path.join("spill")).map_or(0, Iterator::count)
    }
}

/// Impatient, as in a fleet: who replicates retries for ever.
pub(super) fn remote(store: &MemoryStore) -> Remote {
    Remote::new(Arc::new(store.clone()), Layout::S3).with_policy(ReadPolicy::impatient())
}

fn settings(path: PathBuf) -> Settings {
    Settings {
        meta_path: path.with_file_name(".meta"),
        optional: false,
        may_vanish: false,
        open_files: u64::MAX,
        all: watch::channel(Arc::new(BTreeSet::from([path.clone()]))).1,
        path,
        tuning: Tuning {
            busy_timeout: Duration::from_secs(1),
            min_checkpoint_page_count: 100,
            truncate_page_n: 0,
            max_sync_wal_bytes: 64 << 20,
        },
        monitor_interval: Duration::from_millis(50),
        checkpoint_interval: Duration::from_secs(60),
        sync_interval: Duration::ZERO,
        final_retry_interval: Duration::from_millis(50),
        proof_lasts: Duration::from_secs(150),
        lifecycle: None,
        seal: None,
        is_held: None,
        confirmed: None,
        once: None,
        clock: MACHINE,
    }
}

pub(super) fn transient(detail: String) -> StoreError {
    StoreError::Transient { detail }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_leave_one_by_one_and_idleness_makes_no_request() {
    let mut rig = Rig::new(|_| {});
    rig.start();
    rig.until_objects(1).await;
    for count in 2..6 {
        rig.write(100);
        rig.until_objects(count).await;
    }
    let calls = |rig: &Rig| [Op::Put, Op::Get, Op::Head, Op::List, Op::Delete].map(|op| rig.store.calls(op));
    let before = calls(&rig);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(calls(&rig), before, "an idle database made requests");
    assert!(matches!(rig.finish().await, Ended::Synced(Some(txid)) if txid.get() == 5));
    rig.assert_restores();
    assert_eq!(rig.images(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_wal_is_reset_and_nothing_is_missing() {
    let mut rig = Rig::new(|_| {});
    rig.start();
    for _ in 0..40 {
        rig.write(20_000);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
    let wal = crate::fsx::with_suffix(&rig.settings.path, "-wal");
    let len = std::fs::metadata(wal).expect("stat").len();
    assert!(len < 600_000, "the WAL was never reset: {len} bytes for 800 kB of commits");
    assert_eq!(rig.images(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_never_pauses_gets_its_wal_reset_at_the_pace_of_uploads() {
    let mut rig = Rig::new(|settings| settings.sync_interval = Duration::from_millis(200));
    rig.start();
    rig.until_objects(1).await;
    let began = Instant::now();
    let mut commits = 0;
    while began.elapsed() < Duration::from_secs(3) || commits < 1000 {
        rig.write(3000);
        commits += 1;
        // Not a pause: it lets the replication run where there is one core.
        tokio::task::yield_now().await;
    }
    // What was saved up leaves at a tenth of the interval (`core/pace.rs`).
    let turns = began.elapsed().as_millis() / 20;
    let uploads = rig.objects().len() as u128;
    assert!(uploads <= turns + 2, "{uploads} uploads in {turns} turns");
    let wal = std::fs::metadata(crate::fsx::with_suffix(&rig.settings.path, "-wal")).expect("stat").len();
    // Each commit is at least four frames.
    let written = commits * 4 * (1024 + 24);
    assert!(wal < written * 2 / 3, "the WAL file grew to {wal} bytes, {written} bytes of frames were written");
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
    assert_eq!(rig.images(), 1);
}

/// As when the files of a directory were copied to a bucket: Litestream, which reads one layout
/// only, must find a whole history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_in_the_layout_of_another_store_goes_on_in_this_ones() {
    let mut rig = Rig::new(|_| {});
    rig.start();
    rig.until_objects(1).await;
    for count in 2..4 {
        rig.write(100);
        rig.until_objects(count).await;
    }
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    for name in rig.objects() {
        let bytes = rig.store.bytes(&name).expect("listed").to_vec();
        rig.store.insert(&name.replacen("0000/", "ltx/0/", 1), bytes, 5);
        assert!(rig.store.remove(&name));
    }
    let newest = rig.store.names().pop().expect("three");
    // Cut off at each of its steps it is done by the next start.
    for lost in 0..2 {
        rig.store.inject(Op::Put, Fault::Delay(Duration::ZERO), lost);
        rig.store.inject(Op::Put, Fault::Fail(transient), 1000);
        rig.start();
        rig.until("an attempt", |rig| rig.store.calls(Op::Put) > 3 + lost).await;
        rig.crash().await;
        rig.store.heal();
    }
    rig.start();
    rig.until_objects(1).await;
    rig.write(100);
    rig.until_objects(2).await;
    assert!(matches!(rig.finish().await, Ended::Synced(Some(txid)) if txid.get() == 4));
    let own: Vec<String> = rig.store.names().into_iter().filter(|name| !name.starts_with("ltx/")).collect();
    let name = |level: u8, min: u64, max: u64| format!("{level:04x}/{min:016x}-{max:016x}.ltx");
    assert_eq!(own, [name(0, 3, 3), name(0, 4, 4), name(9, 1, 3)]);
    assert_eq!(rig.store.bytes(&own[0]), rig.store.bytes(&newest), "as it was, with its place in the WAL");
    assert_eq!(rig.images(), 0, "the history was continued, not begun anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_is_streamed() {
    let mut rig = Rig::new(|_| {});
    rig.start();
    rig.until_objects(1).await;
    rig.write(20 << 20);
    rig.until_objects(2).await;
    rig.store.inject(Op::Put, Fault::LostReply, 1);
    rig.write(20 << 20);
    rig.write(10);
    assert!(matches!(rig.finish().await, Ended::Synced(_)));
    rig.assert_restores();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_database_is_not_shipped_over_a_good_history() {
    let mut rig = Rig::new(|_| {});
    rig.start();
    rig.until_objects(1).await;
    let other = rig.dir.path().join("other.db");
    rusqlite::Connection::open(&other).and_then(|c| c.execute_batch("CREATE TABLE other(x)")).expect("create");
    std::fs::rename(&other, &rig.settings.path).expect("rename");
    loop {
        match rig.event().await {
            Event::Failed { why } => break assert!(why.contains("is not the database whose history"), "{why}"),
            _ => continue,
        }
    }
    assert_eq!(rig.objects().len(), 1);
}

/// Writes, faults, crashes and restarts at random; at the end the bucket alone must give the
/// database back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_the_bucket_gives_the_database_back() {
    let mut random = Dice::from_env();
    let mut dice = move |sides| random.roll(sides);
    let mut rig = Rig::new(|settings| {
        settings.tuning.max_sync_wal_bytes = 60_000;
        settings.tuning.min_checkpoint_page_count = 20;
    });
    rig.run("PRAGMA wal_autocheckpoint=30");
    rig.start();
    for _ in 0..150 {
        match dice(16) {
            0..=5 => rig.write(u32::try_from(dice(9000)).expect("small")),
            6 => rig.run("DELETE FROM t WHERE id % 3 = 0"),
            7 => rig.run("VACUUM"),
            8 => rig.store.inject(Op::Put, Fault::LostReply, 1),
            9 => rig.store.inject(Op::Put, Fault::Fail(transient), usize::try_from(dice(3) + 1).expect("small")),
            10 => rig.store.inject(Op::List, Fault::Fail(transient), 1),
            11 if dice(2) == 0 => {
                rig.crash().await;
                rig.start();
            }
            12 => rig.run("PRAGMA busy_timeout=0; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout=5000"),
            _ => tokio::time::sleep(Duration::from_millis(dice(40))).await,
        }
    }
    rig.store.heal();
    let ended = rig.finish().await;
    assert!(matches!(ended, Ended::Synced(_)), "{ended:?}");
    rig.assert_restores();
}
