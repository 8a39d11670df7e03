//! Replication with a real database, accelerated: writes, deletes, VACUUM, crashes and faults,
//! while days of compaction, snapshots and retention pass in seconds. After every round the
//! replica, as it lies there, must restore its newest transaction and whatever the window promises,
//! page for page what was recorded when it was shipped.

mod tests {
    mod days;
    mod hundreds;

    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use async_trait::async_trait;
    use bytes::Bytes;
    use tokio::sync::mpsc;
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use days::transient;

    use super::super::testing::{Twist, Twisted, until_quiet};
    use crate::clock::{Clock, Dice, MACHINE};
    use crate::db::Tuning;
    use crate::ltx::{Decoder, Txid};
    use crate::remote::{Created, Layout, Level, Listing, Mark, ReadPolicy, Remote, plan};
    use crate::replicate::seeds::seeds;
    use crate::replicate::{DatabaseId, Ended, Governor, Limits, Policy, Replication, Resources, Settings};
    use crate::restore::{Reached, Request, Target, restore};
    use crate::store::memory::{Fault, MemoryStore, Op};
    use crate::store::{Key, Put, Store};

    /// Remembers every level-0 object that was ever there.
    #[derive(Clone, Default)]
    struct Recorder {
        /// The name of everything that was ever put.
        written: Arc<Mutex<BTreeSet<String>>>,
        seen: Arc<Mutex<BTreeMap<String, Bytes>>>,
        /// No snapshot gets there.
        hangs_at_snapshots: Arc<AtomicBool>,
    }

    #[async_trait]
    impl Twist for Recorder {
        async fn put(&self, inner: &MemoryStore, key: &Key, put: Put) -> crate::store::Result<()> {
            if key.as_str().starts_with("0009/") && self.hangs_at_snapshots.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let done = inner.put(key, put).await;
            self.written.lock().expect("no panic").insert(key.to_string());
            if let Some(bytes) = inner.bytes(key.as_str()).filter(|_| key.as_str().starts_with("0000/")) {
                self.seen.lock().expect("no panic").insert(key.to_string(), bytes);
            }
            done
        }
    }

    /// The database after each TXID, by applying what was recorded.
    #[derive(Default)]
    struct States {
        /// Time and pages after TXID 1, 2, …
        after: Vec<(i64, Vec<Bytes>)>,
    }

    impl States {
        fn learn(&mut self, seen: &BTreeMap<String, Bytes>) {
            for bytes in seen.values().skip(self.after.len()) {
                let mut decoder = Decoder::new(bytes.as_ref()).expect("header");
                let header = *decoder.header();
                assert_eq!(header.max_txid.get(), self.after.len() as u64 + 1, "TXIDs are consecutive");
                let mut pages = self.after.last().map(|(_, pages)| pages.clone()).unwrap_or_default();
                pages.resize(header.commit as usize, Bytes::new());
                let mut page = vec![0; header.page_size.bytes()];
                while let Some(pgno) = decoder.next_page(&mut page).expect("page") {
                    pages[pgno.index()] = Bytes::copy_from_slice(&page);
                }
                self.after.push((header.timestamp_ms, pages));
            }
        }

        fn assert_is(&self, txid: Txid, file: &[u8], what: &str) {
            let pages = &self.after[txid.get() as usize - 1].1;
            assert_eq!(file.len(), pages.iter().map(Bytes::len).sum::<usize>(), "{what}: length at {txid}");
            let mut rest = file;
            for (index, page) in pages.iter().enumerate() {
                let (found, behind) = rest.split_at(page.len());
                assert!(found == page.as_ref(), "{what}: page {} differs at {txid}", index + 1);
                rest = behind;
            }
        }
    }

    struct Soak {
        dir: tempfile::TempDir,
        settings: Settings,
        app: Option<rusqlite::Connection>,
        store: Twisted<Recorder>,
        replication: Option<Replication>,
        states: States,
        restores: usize,
        random: Dice,
        /// One fault in so many chances.
        calm: u64,
        marks: Vec<Marked>,
        marks_made: u64,
    }

    struct Marked {
        name: String,
        txid: Txid,
        /// It was restorable a round after it was made. Before, it may have been about to go.
        is_settled: bool,
    }

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn policy() -> Policy {
        Policy {
            levels: vec![ms(40), ms(160)],
            snapshot_interval: ms(600),
            snapshot_retention: ms(1500),
            snapshot_check_interval: ms(50),
            l0_retention: ms(150),
            l0_check_interval: ms(20),
            grace: ms(20),
            delete: true,
            listing_lasts: ms(50),
            spread: 0,
        }
    }

    impl Soak {
        fn new(random: Dice) -> Soak {
            let dir = tempfile::tempdir().expect("tempdir");
            let path = dir.path().canonicalize().expect("tempdir").join("app.db");
            let settings = Settings {
                meta_path: path.with_file_name(".meta"),
                optional: false,
                may_vanish: false,
                open_files: u64::MAX,
                all: tokio::sync::watch::channel(Arc::default()).1,
                path,
                tuning: Tuning {
                    busy_timeout: ms(1000),
                    min_checkpoint_page_count: 40,
                    truncate_page_n: 0,
                    max_sync_wal_bytes: 60_000,
                },
                monitor_interval: ms(50),
                checkpoint_interval: Duration::from_secs(60),
                sync_interval: ms(5),
                final_retry_interval: ms(50),
                proof_lasts: Duration::from_secs(150),
                lifecycle: Some(policy().into()),
                seal: None,
                is_held: None,
                confirmed: None,
                once: None,
                clock: MACHINE,
            };
            let (store, states, replication) = (Twisted::<Recorder>::default(), States::default(), None);
            let (app, restores, calm, marks, marks_made) = (None, 0, 8, Vec::new(), 0);
            let mut soak =
                Soak { dir, settings, app, store, replication, states, restores, random, calm, marks, marks_made };
            soak.open();
            soak.run("CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE TABLE ballast AS SELECT randomblob(90000) b");
            soak
        }

        fn open(&mut self) {
            let app = rusqlite::Connection::open(&self.settings.path).expect("open");
            app.busy_timeout(Duration::from_secs(5)).expect("timeout");
            app.execute_batch("PRAGMA page_size=1024; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=30")
                .expect("wal");
            self.app = Some(app);
        }

        fn dice(&mut self, sides: u64) -> u64 {
            self.random.roll(sides)
        }

        fn run(&self, sql: &str) {
            self.app.as_ref().expect("open").execute_batch(sql).expect("sql");
        }

        /// A blocking piece of a crashed replication's work may hold the database for a moment, and
        /// a change of the journal mode does not wait.
        async fn change_page_size(&self) {
            let sql = "PRAGMA journal_mode=DELETE; PRAGMA page_size=4096; VACUUM; PRAGMA journal_mode=WAL";
            let app = self.app.as_ref().expect("open");
            for _ in 0..2000 {
                match app.execute_batch(sql) {
                    Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {}
                    done => return done.expect(sql),
                }
                tokio::time::sleep(ms(5)).await;
            }
            panic!("somebody holds the database for ever");
        }

        fn write(&self, bytes: u64) {
            self.run(&format!("INSERT INTO t(x) VALUES (randomblob({bytes}))"));
        }

        fn remote(store: impl Store + 'static) -> Remote {
            let impatient = ReadPolicy { first_pause: ms(5), pause_cap: ms(50), ..ReadPolicy::default() };
            Remote::new(Arc::new(store), Layout::S3).with_policy(impatient)
        }

        fn start(&mut self) {
            let (events, _) = mpsc::unbounded_channel();
            let governor = Governor::new(Limits::default());
            let resources = Resources { events, watches: crate::db::Watches::start(), governor };
            let remote = Self::remote(self.store.clone());
            self.replication =
                Some(Replication::start(DatabaseId(0), self.settings.clone().into(), remote, Vec::new(), &resources));
        }

        async fn crash(&mut self) {
            let replication = self.replication.take().expect("started");
            replication.task.abort();
            drop(replication);
            for _ in 0..2000 {
                if crate::state::Lock::try_take(&self.settings.path, &self.settings.meta_path).expect("lock").is_some()
                {
                    return;
                }
                tokio::time::sleep(ms(5)).await;
            }
            panic!("the lock is never free again");
        }

        /// The replica as it lies there now, in a store of its own.
        async fn frozen(&mut self) -> (MemoryStore, Listing) {
            let copy = MemoryStore::new();
            // One moment of the store: nothing is deleted or added between the LIST and the
            // reading.
            loop {
                let listed = self.store.inner.list("").await;
                let Ok(listed) = listed else { continue };
                let bytes: Option<Vec<_>> =
                    listed.iter().map(|o| Some((o.clone(), self.store.inner.bytes(&o.name)?))).collect();
                let Some(bytes) = bytes else { continue };
                bytes.into_iter().for_each(|(o, bytes)| copy.insert(&o.name, bytes, o.modified_ms));
                break;
            }
            let seen = self.store.twist.seen.lock().expect("no panic").clone();
            self.states.learn(&seen);
            let listing = Self::remote(copy.clone()).listing().await.expect("list");
            (copy, listing)
        }

        async fn newest(&mut self) -> Option<Txid> {
            self.frozen().await.1.newest_l0().map(|o| o.max_txid)
        }

        async fn restored(&mut self, copy: &MemoryStore, target: Target) -> (Txid, Vec<u8>) {
            self.restores += 1;
            let output = self.dir.path().join(format!("restored-{}", self.restores));
            let (cancel, progress) = (CancellationToken::new(), Arc::default());
            let request = Request { target, ..Request::new(&output) };
            let restored = restore(&Self::remote(copy.clone()), &request, &cancel, &progress).await;
            let restored = restored.unwrap_or_else(|error| panic!("{target:?}: {error}; {:#?}", copy.names()));
            let file = std::fs::read(&output).expect("restored");
            std::fs::remove_file(&output).expect("remove");
            let Reached::Ltx { txid, .. } = restored.reached else { panic!("not an LTX history") };
            (txid, file)
        }

        async fn check(&mut self) {
            let now_ms = MACHINE.unix_ms();
            let (copy, listing) = self.frozen().await;
            let Some(newest) = listing.newest_l0().map(|o| o.max_txid) else { return };
            let (txid, file) = self.restored(&copy, Target::Latest).await;
            assert_eq!(txid, newest, "the newest L0 object is not the end of the chain: {:#?}", copy.names());
            self.states.assert_is(txid, &file, "latest");
            self.check_marks(&copy, &listing, newest).await;
            // Any moment of the window.
            let window = i64::try_from(policy().snapshot_retention.as_millis()).expect("small");
            for _ in 0..3 {
                let moment = now_ms - i64::try_from(self.dice(window.unsigned_abs())).expect("small");
                let exact = self.states.after.iter().take_while(|(at, _)| *at < moment).count() as u64;
                if exact == 0 {
                    continue;
                }
                let (txid, file) = self.restored(&copy, Target::Before(moment)).await;
                self.states.assert_is(txid, &file, "a moment");
                assert!(txid.get() <= exact, "{txid} is younger than {moment}");
            }
            // Any TXID that the compacted levels of the window end with.
            let base = listing.level(Level::SNAPSHOT).first().map_or(1, |o| o.max_txid.get());
            let ends = listing.objects().filter(|o| o.level.get() == 1 && o.max_txid.get() > base);
            let ends: Vec<Txid> = ends.map(|o| o.max_txid).collect();
            if !ends.is_empty() {
                let wanted = ends[self.dice(ends.len() as u64) as usize];
                let (txid, file) = self.restored(&copy, Target::Txid(wanted)).await;
                assert_eq!(txid, wanted);
                self.states.assert_is(txid, &file, "a TXID");
            }
        }

        /// What is marked stays, until it is dropped; and some moments get a mark.
        async fn check_marks(&mut self, copy: &MemoryStore, listing: &Listing, newest: Txid) {
            let remote = Self::remote(self.store.inner.clone());
            for marked in std::mem::take(&mut self.marks) {
                let reached = plan::at_txid(listing, marked.txid).is_ok();
                assert!(reached || !marked.is_settled, "TXID {} is marked, and gone: {:#?}", marked.txid, copy.names());
                let stays = reached && self.dice(12) != 0;
                if stays {
                    let (txid, file) = self.restored(copy, Target::Txid(marked.txid)).await;
                    self.states.assert_is(txid, &file, "a mark");
                    self.marks.push(Marked { is_settled: true, ..marked });
                } else {
                    // The store may be having a bad moment: then it stays a while longer.
                    let _ = remote.drop_mark(&marked.name).await;
                }
            }
            if self.marks.len() < 4 && self.dice(3) == 0 {
                self.marks_made += 1;
                let name = format!("m{}", self.marks_made);
                let (expires_ms, note, by) = (None, None, String::new());
                let mark =
                    Mark { name: name.clone(), txid: newest, timestamp_ms: 0, created_ms: 0, expires_ms, note, by };
                if remote.create_mark(&mark).await.is_ok_and(|created| created == Created::Done) {
                    self.marks.push(Marked { name, txid: newest, is_settled: false });
                }
            }
        }

        fn is_rough(&mut self) -> bool {
            self.dice(self.calm) == 0
        }

        async fn round(&mut self) {
            for _ in 0..12 {
                match self.dice(24) {
                    0..=7 => {
                        let bytes = self.dice(6000);
                        self.write(bytes);
                    }
                    8 => self.run("DELETE FROM t WHERE id % 3 = 0"),
                    9 => self.run("VACUUM"),
                    10 if self.is_rough() => self.store.inner.inject(Op::Put, Fault::LostReply, 1),
                    11 if self.is_rough() => self.store.inner.inject(Op::Put, Fault::Fail(transient), 1),
                    12 if self.is_rough() => self.store.inner.inject(Op::Get, Fault::Fail(transient), 1),
                    13 if self.dice(4) == 0 => self.store.inner.inject(Op::Delete, Fault::LostReply, 1),
                    15 if self.is_rough() => self.store.inner.inject(Op::List, Fault::Fail(transient), 1),
                    16 if self.is_rough() => self.store.inner.inject(Op::Put, Fault::Delay(ms(40)), 2),
                    14 if self.is_rough() => {
                        self.crash().await;
                        if self.dice(2) == 0 {
                            // What was not captured goes into the database file: the next start
                            // takes an image.
                            self.write(3000);
                            self.run("PRAGMA wal_checkpoint(TRUNCATE)");
                            self.write(10);
                        }
                        self.start();
                    }
                    _ => {
                        let pause = self.dice(30);
                        tokio::time::sleep(ms(pause)).await;
                    }
                }
            }
        }
    }

    impl Soak {
        /// The final sync, and then the bucket alone gives what the application sees, page for
        /// page.
        async fn ends_whole(&mut self) {
            self.ends().await;
            self.assert_whole().await;
        }

        async fn ends(&mut self) {
            let replication = self.replication.take().expect("started");
            replication.finish_by(Instant::now() + Duration::from_secs(20));
            let ended = replication.ended().await;
            assert!(matches!(ended, Ended::Synced(_)), "{ended:?}");
        }

        async fn assert_whole(&mut self) {
            let (copy, _) = self.frozen().await;
            let (txid, restored) = self.restored(&copy, Target::Latest).await;
            assert_eq!(txid.get(), self.states.after.len() as u64, "the newest transaction");
            let app = self.app.as_ref().expect("open");
            let mut statement = app.prepare("SELECT data FROM sqlite_dbpage('main')").expect("dbpage");
            let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("query");
            let live: Vec<u8> = rows.flat_map(|page| page.expect("page")).collect();
            self.states.assert_is(txid, &live, "the live database");
            self.states.assert_is(txid, &restored, "a restore");
        }
    }
}
