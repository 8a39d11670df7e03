//! Keeps the application from writing to a database that this node replicates, or did: by holding
//! its write lock, as a follower does with its copy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::MACHINE;
use crate::replicate::blocking;
use crate::sqlite::{LiveCopy, WriteLock};

/// An application's transaction is waited for in steps of this.
const STEP: Duration = Duration::from_millis(20);

/// Open databases whose write lock is held, by the paths of the configuration.
pub type Held = BTreeMap<PathBuf, LiveCopy>;

/// Takes the write lock of each of these databases that is not held. Those that could not be had by
/// `deadline` are told.
pub async fn take(held: &mut Held, paths: &[PathBuf], deadline: Instant) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> = paths.iter().filter(|path| !held.contains_key(*path)).cloned().collect();
    loop {
        let wanted = std::mem::take(&mut missing);
        let tried = blocking(move || wanted.into_iter().map(|path| (try_one(&path), path)).collect::<Vec<_>>()).await;
        for (taken, path) in tried {
            match taken {
                Taken::Held(live) => drop(held.insert(path, live)),
                Taken::Nothing => {}
                Taken::Not => missing.push(path),
            }
        }
        if missing.is_empty() || MACHINE.instant() >= deadline {
            return missing;
        }
        tokio::time::sleep(STEP).await;
    }
}

enum Taken {
    Held(LiveCopy),
    /// There is no database.
    Nothing,
    Not,
}

fn try_one(given: &Path) -> Taken {
    // It may be open in this process: no file of it may be opened by name.
    let Ok(path) = std::fs::canonicalize(given) else { return Taken::Nothing };
    if !std::fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() > 0) {
        return Taken::Nothing;
    }
    let opened = LiveCopy::open(&path, STEP).and_then(|mut live| Ok((live.hold()?, live)));
    match opened {
        Ok((WriteLock::Yes | WriteLock::Foreign, live)) => Taken::Held(live),
        Ok((WriteLock::Busy, _)) => Taken::Not,
        Err(error) => {
            tracing::debug!("{error}");
            Taken::Not
        }
    }
}

/// The application may write again.
pub async fn let_go(held: Held) {
    blocking(move || drop(held)).await;
}
