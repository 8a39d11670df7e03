//! Keeps LiteFS's files up to date. Each is replaced by a rename, so that it is never read in half.
//!
//! `.primary` comes before everything else where others write, and goes after everything else where
//! this node does. When the program ends it is there, because then no application of this node may
//! write.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::files;
use super::halt::HaltLock;
use super::view::{Shared, View, Watched};
use crate::clock::Clock;
use crate::fsx::{self, Context, FsError};
use crate::primary::Primary;
use crate::replicate::blocking;

/// How often a follower says how far behind it is, and what failed is tried again.
const EVERY: Duration = Duration::from_secs(1);
/// Others than the owner read it.
const MODE: u32 = 0o644;

struct Directory {
    databases: Vec<Shared>,
    halts: Vec<HaltLock>,
    /// The primary that was known last.
    primary: String,
    /// What stands in the files.
    written: BTreeMap<PathBuf, String>,
}

/// Until it is told to stop. `settled`: whether the files say that this node is the primary, once
/// they are complete.
pub async fn keep(mut watched: Watched, clock: Clock, settled: watch::Sender<Option<bool>>, stop: CancellationToken) {
    let mut directory = Directory::new(&watched.databases);
    let mut has_complained = false;
    loop {
        let is_over = stop.is_cancelled();
        let mut view = watched.look();
        if is_over && view.is_primary() {
            view.primary = Primary::Unknown;
        }
        let (is_primary, now) = (view.is_primary(), (clock.instant(), clock.unix_ms()));
        let (back, done) = blocking(move || {
            let done = directory.bring(&view, now);
            (directory, done)
        })
        .await;
        directory = back;
        match &done {
            Ok(_) => has_complained = false,
            Err(error) if std::mem::replace(&mut has_complained, true) => tracing::debug!("{error}"),
            Err(error) => tracing::error!("the files for LiteFS's clients are not up to date: {error}; trying again"),
        }
        if matches!(done, Ok(true)) {
            settled.send_replace(Some(is_primary));
        }
        if is_over {
            return;
        }
        let is_quiet = is_primary && matches!(done, Ok(true));
        tokio::select! {
            () = stop.cancelled() => {}
            () = watched.changed() => {}
            () = tokio::time::sleep(EVERY), if !is_quiet => {}
        }
    }
}

impl Directory {
    fn new(databases: &[Shared]) -> Directory {
        let lock = |database: &Shared| HaltLock::new(database.dir.join(format!("{}-lock", database.name)));
        Directory {
            halts: databases.iter().map(lock).collect(),
            databases: databases.to_vec(),
            primary: files::UNKNOWN.into(),
            written: BTreeMap::new(),
        }
    }

    /// Whether everything is written; a directory that others will make may be missing. `Err`: the
    /// first thing that failed.
    fn bring(&mut self, view: &View, (now, now_ms): (Instant, i64)) -> Result<bool, FsError> {
        let is_primary = view.is_primary();
        match &view.primary {
            Primary::At(peer) => self.primary = peer.name.clone(),
            // Where this one was the primary, another one will be.
            Primary::Here => self.primary = files::UNKNOWN.into(),
            Primary::Unknown => {}
        }
        let is_there = |shared: &&Shared| !shared.is_beside || shared.dir.is_dir();
        let there: Vec<Shared> = self.databases.iter().filter(is_there).cloned().collect();
        let dirs: BTreeSet<PathBuf> = there.iter().map(|shared| shared.dir.clone()).collect();
        let mut outcome = Ok(());
        if !is_primary {
            let text = files::primary(&self.primary);
            dirs.iter().for_each(|dir| keep_first(&mut outcome, self.write(dir, ".primary", &text, None)));
        }
        for shared in &there {
            let Some(at) = self.databases.iter().position(|other| other == shared) else { continue };
            let text = files::position(view.txids.get(at).copied().flatten());
            keep_first(&mut outcome, self.write(&shared.dir, &format!("{}-pos", shared.name), &text, None));
            keep_first(&mut outcome, self.halts[at].hold(!is_primary).map(drop));
        }
        let lag = view.lag_ms(now);
        // Its time is that of what is known of the primary.
        let time = now_ms.saturating_sub(lag.unwrap_or(now_ms));
        for dir in &dirs {
            keep_first(&mut outcome, self.write(dir, ".lag", &files::lag(lag), Some(time)));
            if is_primary && outcome.is_ok() {
                keep_first(&mut outcome, self.remove(dir, ".primary"));
            }
        }
        outcome.map(|()| there.len() == self.databases.len())
    }

    fn write(&mut self, dir: &Path, name: &str, text: &str, time_ms: Option<i64>) -> Result<(), FsError> {
        let path = dir.join(name);
        if self.written.get(&path).is_some_and(|before| before == text) {
            return Ok(());
        }
        let temporary = dir.join(format!(".{}.tmp", name.trim_start_matches('.')));
        fsx::remove_file_if_exists(&temporary)?;
        let mut file = match fsx::create_new(&temporary, MODE) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fsx::create_dir_all(dir)?;
                fsx::create_new(&temporary, MODE)?
            }
            made => made?,
        };
        file.write_all(text.as_bytes()).on("write", &temporary)?;
        fsx::set_mode(&file, &temporary, MODE)?;
        if let Some(ms) = time_ms.and_then(|ms| u64::try_from(ms).ok()) {
            fsx::set_modified(&file, &temporary, SystemTime::UNIX_EPOCH + Duration::from_millis(ms))?;
        }
        fsx::rename(&temporary, &path)?;
        self.written.insert(path, text.to_owned());
        Ok(())
    }

    fn remove(&mut self, dir: &Path, name: &str) -> Result<(), FsError> {
        let path = dir.join(name);
        self.written.remove(&path);
        fsx::remove_file_if_exists(&path).map(drop)
    }
}

fn keep_first(outcome: &mut Result<(), FsError>, next: Result<(), FsError>) {
    if outcome.is_ok() {
        *outcome = next;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::super::view::testing::{at, txid};
    use super::*;

    struct World {
        start: Instant,
        dir: tempfile::TempDir,
        directory: Directory,
    }

    fn world() -> World {
        let dir = tempfile::tempdir().expect("tempdir");
        let below = dir.path().join("made/when/needed");
        let databases = ["a.db", "b.db"].map(|name| Shared::new(&Path::new("/data").join(name), Some(&below)));
        World { start: Instant::now(), dir, directory: Directory::new(&databases) }
    }

    impl World {
        fn bring(&mut self, primary: Primary, txids: [Option<u64>; 2], seen_ms: Option<u64>) {
            let txids = txids.map(|number| number.map(txid)).to_vec();
            let current_at = seen_ms.map(|ms| self.start + Duration::from_millis(ms));
            let now = (self.start + Duration::from_secs(10), 10_000);
            self.directory.bring(&View { primary, txids, current_at }, now).expect("written");
        }

        fn says(&self, name: &str) -> Option<String> {
            std::fs::read_to_string(self.dir.path().join("made/when/needed").join(name)).ok()
        }
    }

    #[test]
    fn the_primary_file_is_missing_on_the_primary_alone() {
        let mut world = world();
        world.bring(Primary::Unknown, [None, None], None);
        assert_eq!(world.says(".primary").as_deref(), Some("unknown\n"));
        assert_eq!(world.says(".lag").as_deref(), Some("+2147483647"));
        assert_eq!(world.says("b.db-pos").as_deref(), Some("0000000000000000/0000000000000000\n"));
        world.bring(at("web-2"), [Some(7), Some(16)], Some(9_750));
        assert_eq!(world.says(".primary").as_deref(), Some("web-2\n"));
        assert_eq!(world.says(".lag").as_deref(), Some("+000000250\n"));
        assert_eq!(world.says("b.db-pos").as_deref(), Some("0000000000000010/0000000000000000\n"));
        let lag = std::fs::metadata(world.dir.path().join("made/when/needed/.lag")).expect("it is there");
        assert_eq!((lag.mtime(), lag.mtime_nsec(), lag.mode() & 0o777), (9, 750_000_000, 0o644));
        world.bring(Primary::Unknown, [Some(8), Some(16)], Some(9_750));
        assert_eq!(world.says(".primary").as_deref(), Some("web-2\n"), "the last that was known");
        world.bring(Primary::Here, [Some(9), Some(17)], Some(9_750));
        assert_eq!((world.says(".primary"), world.says(".lag").as_deref()), (None, Some("+000000000\n")));
        world.bring(Primary::Unknown, [Some(9), Some(17)], None);
        assert_eq!(world.says(".primary").as_deref(), Some("unknown\n"), "it is this node no more");
        let names = std::fs::read_dir(world.dir.path().join("made/when/needed")).expect("list");
        let mut names: Vec<_> = names.map(|entry| entry.expect("read").file_name()).collect();
        names.sort();
        assert_eq!(names, [".lag", ".primary", "a.db-lock", "a.db-pos", "b.db-lock", "b.db-pos"]);
    }

    #[test]
    fn where_something_fails_no_client_is_told_to_write() {
        let mut world = world();
        world.bring(at("web-2"), [Some(1), Some(1)], Some(0));
        let in_the_way = world.dir.path().join("made/when/needed/b.db-pos");
        std::fs::remove_file(&in_the_way).expect("remove");
        std::fs::create_dir(&in_the_way).expect("create");
        let view = |number| View { primary: Primary::Here, txids: vec![Some(txid(number)); 2], current_at: None };
        assert!(world.directory.bring(&view(2), (world.start, 0)).is_err());
        assert_eq!(world.says("a.db-pos").as_deref(), Some("0000000000000002/0000000000000000\n"), "others go on");
        assert!(world.says(".primary").is_some());
        std::fs::remove_dir(&in_the_way).expect("remove");
        world.directory.bring(&view(2), (world.start, 0)).expect("written");
        assert_eq!(world.says(".primary"), None);
    }

    #[test]
    fn the_directory_of_a_database_is_not_made_here() {
        let dir = tempfile::tempdir().expect("tempdir");
        let beside = dir.path().join("data");
        let mut directory = Directory::new(&[Shared::new(&beside.join("a.db"), None)]);
        let view = View { primary: at("web-2"), txids: vec![None], current_at: None };
        let now = (Instant::now(), 0);
        assert!(!directory.bring(&view, now).expect("nothing failed") && !beside.exists());
        std::fs::create_dir(&beside).expect("create");
        assert!(directory.bring(&view, now).expect("written") && beside.join(".primary").exists());
    }

    #[tokio::test]
    async fn when_the_program_ends_no_client_may_write() {
        let dir = tempfile::tempdir().expect("tempdir");
        let told = super::super::view::testing::told(dir.path(), &["a.db"]);
        told.primary.send_replace(Primary::Here);
        let (stop, (settled, mut says)) = (CancellationToken::new(), watch::channel(None));
        let keeping = tokio::spawn(keep(told.watched, crate::clock::MACHINE, settled, stop.clone()));
        let primary = dir.path().join(".primary");
        says.wait_for(|says| *says == Some(true)).await.expect("it is told");
        assert!(!primary.exists());
        told.positions.send_if_modified(|positions| positions.set(&dir.path().join("a.db"), Some(txid(5))));
        while !std::fs::read_to_string(dir.path().join("a.db-pos")).expect("it is there").contains("5/") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        keeping.await.expect("ended");
        assert_eq!(*says.borrow(), Some(false));
        assert_eq!(std::fs::read_to_string(primary).expect("it is there"), "unknown\n");
    }
}
