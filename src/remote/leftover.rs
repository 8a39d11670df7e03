//! What killed processes leave beside a replica: probes that were not deleted, uploads in parts
//! that were not ended.
//!
//! Only what is ours by its name goes, and only when it is old enough that no living process can be
//! at work on it. Ages are told by the store's own clock, so that a wrong one here cannot end
//! another node's upload.

use std::time::Duration;

use super::Remote;
use super::names::{self, Name};
use crate::store::{Key, Listed, OpenUpload, Result, probe};

/// A probe takes seconds.
const PROBE_LIVES_MS: i64 = 3_600_000;
/// A snapshot of a large database over a slow link takes hours.
const UPLOAD_LIVES_MS: i64 = 24 * 3_600_000;

/// What to remove now.
#[derive(Debug, Default, PartialEq, Eq)]
struct Leftover {
    probes: Vec<Key>,
    uploads: Vec<OpenUpload>,
    /// When something else will be old enough, if it is still there then.
    wait_ms: Option<i64>,
}

impl Remote {
    /// Removes what is old, at `now_ms` of the store's clock; `probes` is what is under their
    /// names. Returns how long to wait before it is worth while to look again; `None`: nothing is
    /// left.
    pub async fn remove_leftovers(&self, now_ms: i64, probes: &[Listed]) -> Result<Option<Duration>> {
        let uploads = self.store.open_uploads().await?;
        let ours = |upload: &OpenUpload| matches!(names::parse(&upload.name), Name::Ltx { .. });
        let uploads = uploads.into_iter().filter(ours).collect();
        let leftover = decide(now_ms, probes, uploads);
        if !leftover.probes.is_empty() {
            self.store.delete(&leftover.probes).await?;
        }
        if !leftover.uploads.is_empty() {
            self.store.end_uploads(&leftover.uploads).await?;
        }
        if !leftover.probes.is_empty() || !leftover.uploads.is_empty() {
            let (probes, uploads) = (leftover.probes.len(), leftover.uploads.len());
            tracing::info!(
                "removed {probes} probes and {uploads} unfinished uploads of killed processes in {}",
                self.address()
            );
        }
        Ok(leftover.wait_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis))
    }
}

fn decide(now_ms: i64, probes: &[Listed], uploads: Vec<OpenUpload>) -> Leftover {
    let mut found = Leftover::default();
    let mut is_old = |since_ms: i64, lives_ms: i64| {
        let left_ms = since_ms.saturating_add(lives_ms).saturating_sub(now_ms);
        if left_ms >= 0 {
            found.wait_ms = Some(found.wait_ms.map_or(left_ms + 1, |wait| wait.min(left_ms + 1)));
        }
        left_ms < 0
    };
    let probes = probes.iter().filter_map(|listed| Some((listed, probe::named(&listed.name)?)));
    let old_probes =
        probes.filter(|(listed, _)| is_old(listed.modified_ms, PROBE_LIVES_MS)).map(|(_, key)| key).collect();
    let old_uploads = uploads.into_iter().filter(|upload| is_old(upload.since_ms, UPLOAD_LIVES_MS)).collect();
    Leftover { probes: old_probes, uploads: old_uploads, ..found }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const HOUR: i64 = 3_600_000;

    #[test]
    fn what_is_old_and_ours_goes_and_the_rest_is_looked_at_again() {
        let probe = |name: &str, age: i64| Listed { name: name.into(), size: 18, modified_ms: NOW - age };
        let upload = |id: &str, age: i64| OpenUpload { name: "x".into(), id: id.into(), since_ms: NOW - age };
        let probes = [
            probe("probes/0123456789abcdef", HOUR + 1),
            probe("probes/0123456789abcde0", HOUR - 1000),
            probe("probes/notes.txt", 100 * HOUR),
            probe("probes/0123456789abcdef.txt", 100 * HOUR),
        ];
        let found = decide(NOW, &probes, vec![upload("old", 24 * HOUR + 1), upload("young", 23 * HOUR)]);
        assert_eq!(found.probes, [Key::new("probes/0123456789abcdef").expect("valid")]);
        assert_eq!(found.uploads.iter().map(|u| u.id.as_str()).collect::<Vec<_>>(), ["old"]);
        assert_eq!(found.wait_ms, Some(1001));
        assert_eq!(
            decide(NOW, &probes[2..], Vec::new()),
            Leftover::default(),
            "nothing is ours, so nothing is waited for"
        );
    }
}
