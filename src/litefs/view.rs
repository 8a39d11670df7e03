//! What this node tells at one moment: where the primary is, and which transaction each of its
//! databases shows to readers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::ltx::Txid;
use crate::primary::Primary;
use crate::status::Positions;

/// A database as LiteFS's clients know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// That of its file.
    pub name: String,
    pub path: PathBuf,
    /// Where its files appear.
    pub dir: PathBuf,
    /// It is beside the database: whoever makes that makes the directory, for its owner.
    pub is_beside: bool,
}

impl Shared {
    /// `dir`: of the user's choice; else they appear beside the database.
    pub fn new(path: &Path, dir: Option<&Path>) -> Shared {
        let beside = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Shared { name, path: path.to_owned(), dir: dir.unwrap_or(beside).to_owned(), is_beside: dir.is_none() }
    }
}

/// Everything that is told.
#[derive(Clone, Debug)]
pub struct Watched {
    pub databases: Arc<[Shared]>,
    pub primary: watch::Receiver<Primary>,
    pub positions: watch::Receiver<Positions>,
    /// On a follower, when what it shows was the newest state for the last time; `None`: it has not
    /// come so far.
    pub current_at: watch::Receiver<Option<Instant>>,
}

/// The same at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub primary: Primary,
    /// In the order of the databases; `None`: it shows nothing yet.
    pub txids: Vec<Option<Txid>>,
    pub current_at: Option<Instant>,
}

impl View {
    pub fn is_primary(&self) -> bool {
        self.primary == Primary::Here
    }

    /// How long ago what is shown here was the newest state, in milliseconds; `None`: it never was.
    pub fn lag_ms(&self, now: Instant) -> Option<i64> {
        match self.is_primary() {
            true => Some(0),
            false => self.current_at.map(|at| millis(now.saturating_duration_since(at))),
        }
    }
}

impl Watched {
    /// What is known now; later changes are new.
    pub fn look(&mut self) -> View {
        let primary = self.primary.borrow_and_update().clone();
        let positions = self.positions.borrow_and_update();
        let by_path: BTreeMap<&Path, Option<Txid>> = positions.iter().collect();
        let txids = self.databases.iter().map(|database| by_path.get(&*database.path).copied().flatten()).collect();
        drop(by_path);
        drop(positions);
        View { primary, txids, current_at: *self.current_at.borrow_and_update() }
    }

    /// Until something of it may have changed; never, when nothing tells any more.
    pub async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.primary.changed() => {}
            Ok(()) = self.positions.changed() => {}
            else => std::future::pending().await,
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub mod testing {
    use super::*;
    use crate::primary::Peer;

    /// The senders of one, and it; its databases lie in this directory.
    pub struct Told {
        pub primary: watch::Sender<Primary>,
        pub positions: watch::Sender<Positions>,
        pub current_at: watch::Sender<Option<Instant>>,
        pub watched: Watched,
    }

    pub fn told(dir: &Path, names: &[&str]) -> Told {
        let paths = names.iter().rev().map(|name| dir.join(name));
        let (primary, current_at) = (watch::Sender::default(), watch::Sender::default());
        let positions = watch::Sender::new(Positions::unknown(paths));
        let watched = Watched {
            databases: names.iter().map(|name| Shared::new(&dir.join(name), None)).collect(),
            primary: primary.subscribe(),
            positions: positions.subscribe(),
            current_at: current_at.subscribe(),
        };
        Told { primary, positions, current_at, watched }
    }

    pub fn at(name: &str) -> Primary {
        Primary::At(Peer { name: name.into(), url: None })
    }

    pub fn txid(number: u64) -> Txid {
        Txid::new(number).expect("not zero")
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_is_seen_in_the_order_of_the_databases() {
        let Told { primary, positions, current_at, mut watched } = told(Path::new("/data"), &["b.db", "a.db"]);
        let nothing = View { primary: Primary::Unknown, txids: vec![None, None], current_at: None };
        assert_eq!(watched.look(), nothing);
        let now = Instant::now();
        assert_eq!(nothing.lag_ms(now), None);
        positions.send_if_modified(|positions| positions.set(Path::new("/data/a.db"), Some(txid(3))));
        watched.changed().await;
        primary.send_replace(at("web-2"));
        watched.changed().await;
        current_at.send_replace(Some(now));
        let view = watched.look();
        assert_eq!(view, View { primary: at("web-2"), txids: vec![None, Some(txid(3))], current_at: Some(now) });
        assert_eq!(view.lag_ms(now + Duration::from_millis(500)), Some(500));
        assert_eq!(View { primary: Primary::Here, ..view }.lag_ms(now + Duration::from_secs(9)), Some(0));
        drop((primary, positions));
        let never = tokio::time::timeout(std::time::Duration::from_secs(60), watched.changed()).await;
        assert!(never.is_err(), "nothing tells any more");
    }

    #[test]
    fn files_appear_beside_the_database_or_where_the_user_wants_them() {
        let beside = Shared::new(Path::new("/data/app.db"), None);
        assert_eq!((beside.name.as_str(), beside.dir.as_path()), ("app.db", Path::new("/data")));
        assert_eq!(Shared::new(Path::new("/data/app.db"), Some(Path::new("/litefs"))).dir, Path::new("/litefs"));
    }
}
