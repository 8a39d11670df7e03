//! Replicas that other programs wrote, kept in `tests/fixtures/` with the scripts that made them.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::remote::{Layout, Remote};
use crate::restore::{Request, RestoreError, Restored, Target, restore};
use crate::store::memory::MemoryStore;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(name)
}

/// The words of each line of a fixture's file.
pub fn lines(fixture_name: &str, file: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(fixture(fixture_name).join(file)).expect("read");
    text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

pub fn number(text: &str) -> i64 {
    text.parse().expect("a number")
}

/// The replica with the times its files had.
pub fn replica(name: &str, layout: Layout) -> (MemoryStore, Remote) {
    let store = MemoryStore::new();
    for line in lines(name, "objects.txt") {
        let bytes = std::fs::read(fixture(name).join("replica").join(&line[1])).expect("read");
        store.insert(&line[1], bytes, number(&line[0]));
    }
    let remote = Remote::new(Arc::new(store.clone()), layout);
    (store, remote)
}

/// The restored database, with nothing else left beside it, or the error, with nothing left at all.
pub async fn try_restore(remote: &Remote, target: Target) -> Result<(Restored, Vec<u8>), RestoreError> {
    let dir = tempfile::tempdir().expect("tempdir");
    let request = Request { target, ..Request::new(dir.path().join("app.db")) };
    let restored = restore(remote, &request, &CancellationToken::new(), &Arc::default()).await;
    let files = std::fs::read_dir(dir.path()).expect("dir").count();
    assert_eq!(files, usize::from(restored.is_ok()), "nothing else is left");
    Ok((restored?, std::fs::read(&request.output).expect("restored")))
}

/// FNV-1a, which the scripts compute too, and which needs no crate.
pub fn digest(bytes: &[u8]) -> String {
    let mixed = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    format!("{mixed:016x}")
}
