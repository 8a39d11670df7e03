//! What this node tells at one moment: where the primary is, and which transaction each of its
//! databases shows to readers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use crate::ltx::Txid;
use crate::primary::Primary;

/// A database as LiteFS's clients know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// That of its file.
    pub name: String,
    pub path: PathBuf,
    /// Where its files appear.
    pub dir: PathBuf,
}

impl Shared {
    /// `dir`: of the user's choice; else they appear beside the database.
    pub fn new(path: &Path, dir: Option<&Path>) -> Shared {
        let beside = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Shared { name, path: path.to_owned(), dir: dir.unwrap_or(beside).to_owned() }
    }
}

/// Everything that is told.
#[derive(Clone, Debug)]
pub struct Watched {
    pub databases: Arc<[Shared]>,
    pub primary: watch::Receiver<Primary>,
    pub positions: watch::Receiver<BTreeMap<PathBuf, Txid>>,
    /// On a follower, when what it shows was the newest state for the last time, Unix milliseconds;
    /// `None`: it has not come so far.
    pub current_at: watch::Receiver<Option<i64>>,
}

/// The same at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub primary: Primary,
    /// In the order of the databases; `None`: it shows nothing yet.
    pub txids: Vec<Option<Txid>>,
    pub current_at: Option<i64>,
}

impl View {
    pub fn is_primary(&self) -> bool {
        self.primary == Primary::Here
    }

    /// How long ago what is shown here was the newest state, in milliseconds; `None`: it never was.
    pub fn lag_ms(&self, now_ms: i64) -> Option<i64> {
        match self.is_primary() {
            true => Some(0),
            false => self.current_at.map(|at| now_ms.saturating_sub(at).max(0)),
        }
    }
}

impl Watched {
    /// What is known now; later changes are new.
    pub fn look(&mut self) -> View {
        let primary = self.primary.borrow_and_update().clone();
        let positions = self.positions.borrow_and_update();
        let txids = self.databases.iter().map(|database| positions.get(&database.path).copied()).collect();
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

#[cfg(test)]
pub mod testing {
    use super::*;
    use crate::primary::Peer;

    /// The senders of one, and it; its databases lie in this directory.
    pub struct Told {
        pub primary: watch::Sender<Primary>,
        pub positions: watch::Sender<BTreeMap<PathBuf, Txid>>,
        pub current_at: watch::Sender<Option<i64>>,
        pub watched: Watched,
    }

    pub fn told(dir: &Path, names: &[&str]) -> Told {
        let (primary, positions, current_at) =
            (watch::Sender::default(), watch::Sender::default(), watch::Sender::default());
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
        assert_eq!(nothing.lag_ms(5), None);
        positions.send_modify(|positions| drop(positions.insert("/data/a.db".into(), txid(3))));
        watched.changed().await;
        primary.send_replace(at("web-2"));
        watched.changed().await;
        current_at.send_replace(Some(1_000));
        let view = watched.look();
        assert_eq!(view, View { primary: at("web-2"), txids: vec![None, Some(txid(3))], current_at: Some(1_000) });
        assert_eq!((view.lag_ms(1_500), view.lag_ms(900)), (Some(500), Some(0)), "another clock may be ahead");
        assert_eq!(View { primary: Primary::Here, ..view }.lag_ms(9_000), Some(0));
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
