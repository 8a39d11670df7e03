//! What this process has restored before it began to replicate: metrics read it, and nothing is
//! decided by it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// The newest restore of one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreMade {
    pub took: Duration,
    /// Length of the database file.
    pub bytes: u64,
}

/// Whoever restores writes it; copies are the same one.
#[derive(Clone, Debug, Default)]
pub struct Restores(Arc<watch::Sender<BTreeMap<PathBuf, RestoreMade>>>);

impl Restores {
    pub fn note(&self, database: &Path, made: RestoreMade) {
        self.0.send_modify(|restores| {
            restores.insert(database.to_owned(), made);
        });
    }

    /// `None`: the database was there.
    pub fn of(&self, database: &Path) -> Option<RestoreMade> {
        self.0.borrow().get(database).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_one_counts() {
        let restores = Restores::default();
        let [first, second] = [1, 2].map(|bytes| RestoreMade { took: Duration::from_secs(bytes), bytes });
        restores.clone().note(Path::new("/a"), first);
        restores.note(Path::new("/a"), second);
        assert_eq!((restores.of(Path::new("/a")), restores.of(Path::new("/b"))), (Some(second), None));
    }
}
