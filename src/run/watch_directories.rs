//! Databases that come and go in the directories that are watched. The decision is made in
//! `directory/changes.rs`; here it is waited for and carried out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::exit::Failure;
use super::register::Registry;
use crate::clock::MACHINE;
use crate::config::Directory;
use crate::control::Refused;
use crate::directory::{Changes, Known, Noticed, Refusal, Scan, TreeWatch, changes};
use crate::replicate::{DatabaseId, Ended, blocking};

/// What belongs together happens within this time.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// The net under inotify, and how often a directory is looked at where there is none.
const POLL: Duration = Duration::from_secs(10);
const POLL_BLIND: Duration = Duration::from_secs(1);
/// Looking takes at most this part of the time: a tree may be large, and change all the time.
const SHARE: u32 = 20;
/// The last look may take this long: what comes after it has to be done in a time that is limited.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// The watched directories. Dropped, they are watched no more.
pub struct Watching {
    stop: CancellationToken,
    trees: JoinSet<()>,
}

impl Watching {
    /// `ids` are the databases that are registered, and `left_out` are to stay as they are.
    pub fn start(
        registry: &Arc<Registry>,
        ids: &BTreeMap<PathBuf, DatabaseId>,
        left_out: &[(PathBuf, Failure)],
    ) -> Watching {
        let (stop, mut trees) = (CancellationToken::new(), JoinSet::new());
        for directory in registry.options.directories.iter().filter(|directory| directory.watch) {
            let tree = Tree::new(directory.clone(), registry.clone(), ids, left_out);
            trees.spawn(tree.watch(stop.clone()));
        }
        Watching { stop, trees }
    }

    /// Looks once more, so that what was created last is registered before everything is brought to
    /// its end.
    pub async fn finish(mut self) {
        self.stop.cancel();
        let all = async { while self.trees.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_LOOK, all).await.is_err() {
            tracing::warn!(
                "there was no time for a last look at the directories: a database that was new there is not replicated"
            );
        }
    }
}

struct Tree {
    directory: Directory,
    registry: Arc<Registry>,
    known: Known,
    ids: BTreeMap<PathBuf, DatabaseId>,
    watch: TreeWatch,
    leaving: JoinSet<(PathBuf, Ended)>,
    /// How soon to look again, because something is about to become a database.
    soon: Option<Duration>,
    /// That it is missing has been said.
    is_missing: bool,
}

impl Tree {
    fn new(
        directory: Directory,
        registry: Arc<Registry>,
        all: &BTreeMap<PathBuf, DatabaseId>,
        left_out: &[(PathBuf, Failure)],
    ) -> Tree {
        let relative = |path: &Path| path.strip_prefix(directory.root()).ok().map(Path::to_owned);
        let is_one = |path: &PathBuf| directory.selection.covers(path);
        let ids: BTreeMap<PathBuf, DatabaseId> =
            all.iter().filter_map(|(path, id)| Some((relative(path).filter(is_one)?, *id))).collect();
        let refused = left_out.iter().filter_map(|(path, _)| relative(path)).map(|path| (path, Refusal::LeftOut));
        let known = Known { registered: ids.keys().cloned().collect(), refused: refused.collect(), ..Known::default() };
        let (watch, leaving) = (TreeWatch::start(), JoinSet::new());
        Tree { directory, registry, known, ids, watch, leaving, soon: None, is_missing: false }
    }

    async fn watch(mut self, stop: CancellationToken) {
        let mut due = MACHINE.instant();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(left) = self.leaving.join_next() => {
                    self.has_left(left).await;
                    due = due.min(MACHINE.instant() + DEBOUNCE);
                }
                noticed = self.watch.next() => if self.concerns(&noticed) {
                    due = due.min(MACHINE.instant() + DEBOUNCE);
                },
                () = tokio::time::sleep_until(due) => due = self.look(Some(&stop)).await,
            }
        }
        self.look(None).await;
    }

    /// Whether a scan may find something because of this.
    fn concerns(&self, noticed: &Noticed) -> bool {
        let relative = |path: &Path| path.strip_prefix(self.directory.root()).map(Path::to_owned).unwrap_or_default();
        match noticed {
            Noticed::Everything => true,
            Noticed::Touched(path) => {
                let relative = relative(path);
                self.directory.selection.covers(&relative) && !self.known.registered.contains(&relative)
            }
            Noticed::At(path) => {
                // A new database has its first bytes when its journal goes.
                let is_journal = self.soon.is_some() && path.to_string_lossy().ends_with("-journal");
                is_journal
                    || self.directory.selection.covers(&relative(path))
                    || self.directory.selection.recursive && path.is_dir()
            }
        }
    }

    /// Looks, and does what follows from it. Returns when to look again.
    async fn look(&mut self, stop: Option<&CancellationToken>) -> Instant {
        let began = MACHINE.instant();
        let (scan, is_new) = self.scan().await;
        let took = MACHINE.instant() - began;
        self.tell_missing(&scan);
        let changes = changes(&self.known, self.directory.root(), &scan);
        let again = changes.look_again | self.apply(changes, stop).await;
        let poll = if self.watch.is_reliable() && !scan.is_missing { POLL } else { POLL_BLIND };
        let poll = poll.max(took * SHARE);
        self.soon = again.then(|| self.soon.map_or(DEBOUNCE, |soon| (soon * 2).min(poll)));
        let pause = match self.soon {
            // What came into a new directory before it was watched made no event.
            _ if is_new => DEBOUNCE,
            soon => soon.unwrap_or(poll),
        };
        MACHINE.instant() + pause.max(took * SHARE)
    }

    /// What lies there now, and whether directories are watched that were not before.
    async fn scan(&mut self) -> (Scan, bool) {
        let mut shared = self.registry.shared().await;
        let (mut held, directory, now) = (std::mem::take(&mut shared.held), self.directory.clone(), MACHINE.instant());
        let (scan, held) = blocking(move || {
            held.refresh(now);
            (directory.scan(&held), held)
        })
        .await;
        shared.held = held;
        drop(shared);
        let directories: Vec<PathBuf> =
            scan.directories.iter().map(|relative| self.directory.root().join(relative)).collect();
        let is_new = self.watch.watch(directories.iter().map(PathBuf::as_path));
        (scan, is_new)
    }

    fn tell_missing(&mut self, scan: &Scan) {
        let was_missing = std::mem::replace(&mut self.is_missing, scan.is_missing);
        if scan.is_missing && !was_missing {
            tracing::warn!(
                "{} does not exist: its databases are replicated when it appears",
                self.directory.root().display()
            );
        }
    }

    /// Whether to look again soon.
    async fn apply(&mut self, changes: Changes, stop: Option<&CancellationToken>) -> bool {
        for path in changes.forgiven {
            self.known.refused.remove(&path);
        }
        for (path, why) in changes.unfit {
            tracing::warn!(db = %self.absolute(&path).display(), "this file is not replicated: {why}");
            self.known.refused.insert(path, Refusal::Unfit(why));
        }
        for path in changes.gone {
            self.remove(path).await;
        }
        let mut again = false;
        for path in changes.appeared {
            if stop.is_some_and(CancellationToken::is_cancelled) {
                break;
            }
            again |= self.add(path).await;
        }
        again
    }

    fn absolute(&self, relative: &Path) -> PathBuf {
        self.directory.root().join(relative)
    }

    /// Whether to try again soon.
    async fn add(&mut self, path: PathBuf) -> bool {
        let absolute = self.absolute(&path);
        let db = absolute.display();
        match self.registry.take_up(&self.directory, &path).await {
            Ok(id) => {
                tracing::info!(%db, "a database has appeared, and is replicated from now on");
                self.known.refused.remove(&path);
                self.ids.insert(path.clone(), id);
                self.known.registered.insert(path);
                false
            }
            Err(Refused::Invalid(why)) => {
                tracing::error!(%db, "a database has appeared that cannot be replicated: {why}");
                self.known.refused.insert(path, Refusal::Rejected(why));
                false
            }
            Err(Refused::Failed(why)) => {
                tracing::debug!(%db, "a new database cannot be registered yet: {why}");
                true
            }
        }
    }

    async fn remove(&mut self, path: PathBuf) {
        self.known.registered.remove(&path);
        let absolute = self.absolute(&path);
        let by = MACHINE.instant() + self.registry.options.shutdown.sync_timeout;
        let removed = match self.ids.remove(&path) {
            Some(id) => self.registry.fleet.remove(id, by).await.ok(),
            None => None,
        };
        match removed {
            Some(ending) => {
                let db = absolute.display();
                tracing::info!(%db, "the database has disappeared: what was committed last is uploaded, then it is let go");
                self.known.leaving.insert(path.clone());
                self.leaving.spawn(async move { (path, ending.await) });
            }
            // It was unregistered already.
            None => self.registry.forget(&absolute).await,
        }
    }

    async fn has_left(&mut self, left: Result<(PathBuf, Ended), tokio::task::JoinError>) {
        // The task only waits; it can neither panic nor be aborted while this one lives.
        let Ok((path, ended)) = left else { return };
        self.known.leaving.remove(&path);
        let absolute = self.absolute(&path);
        self.registry.forget(&absolute).await;
        let db = absolute.display();
        match ended {
            Ended::Failed { why } | Ended::Unsynced { why } => tracing::error!(
                %db,
                "the database has disappeared, and its last commits are NOT in the replica: {why}"
            ),
            _ => tracing::info!(%db, "the database that has disappeared is replicated no more; its replica stays"),
        }
    }
}
