//! What the readers of this node see of each database: for whoever waits for it, or tells others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ltx::Txid;

/// The newest TXID of each database that its readers see, in the order of the configuration. On a
/// primary it is the newest one that is captured, and commits of this moment may be without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    databases: Vec<(Arc<Path>, Option<Txid>)>,
}

impl Positions {
    pub fn unknown(paths: impl IntoIterator<Item = PathBuf>) -> Positions {
        Positions { databases: paths.into_iter().map(|path| (path.into(), None)).collect() }
    }

    /// Whether that is new.
    pub fn set(&mut self, path: &Path, txid: Option<Txid>) -> bool {
        let found = self.databases.iter_mut().find(|(own, _)| **own == *path);
        found.is_some_and(|(_, own)| std::mem::replace(own, txid) != txid)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Path, Option<Txid>)> {
        self.databases.iter().map(|(path, txid)| (&**path, *txid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays_and_only_a_change_counts() {
        let mut positions = Positions::unknown(["/b".into(), "/a".into()]);
        assert!(positions.set(Path::new("/a"), Some(Txid::FIRST)));
        assert!(!positions.set(Path::new("/a"), Some(Txid::FIRST)));
        assert!(!positions.set(Path::new("/other"), Some(Txid::FIRST)));
        let all: Vec<_> = positions.iter().collect();
        assert_eq!(all, [(Path::new("/b"), None), (Path::new("/a"), Some(Txid::FIRST))]);
    }
}
