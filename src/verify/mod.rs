//! Proves that a replica restores, or says what is wrong with it.
//!
//! ```text
//! shallow   one LIST → both ends of every object → audit (pure, `remote/audit.rs`)
//! deep      … → the live database pinned for a moment: which TXID is it, and a checksum of each
//!             of its pages (`live.rs`)
//!             → a real restore of that TXID to a temporary file → integrity_check
//!             → the pages compared
//!             → every file that the restore did not read, from its first byte to its last → audit
//! ```
//!
//! Nothing is written but the temporary file, which is gone when the future is done or dropped.
//! Objects come and go while they are looked at: what is missing is looked for a second time before
//! it is called damage.
//!
//! It is the proof of I1 without a database that would have to be replaced; what cannot be told is
//! an error, never a finding.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::ltx::Txid;
use crate::remote::{Audit, Evidence, Finding, Listing, LtxObject, Remote, Resembles, Seen, Severity, What, audit};
use crate::restore::{Fetched, Integrity, Progress, Reached, Request, RestoreError, Target};
use crate::restore::{check_old, fetch, nothing_in, refuse_rival};
use crate::store::Key;

mod compare;
mod live;
mod look;
mod space;

/// The temporary file's name begins like this, so that the next run removes what a killed one left.
const TEMPORARY_NAME: &str = "millstream-verify.db";
/// Between two LISTs, when the first one showed a hole.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// What to verify, and how.
#[derive(Clone, Debug)]
pub struct Order {
    /// `None`: names, headers and ends only.
    pub deep: Option<Deep>,
    /// How far back every moment must be restorable; `None`: all there is.
    pub window: Option<Duration>,
    /// Reads at a time.
    pub parallelism: usize,
}

/// What a deep look takes.
#[derive(Clone, Debug)]
pub struct Deep {
    /// Directory of the temporary file, which is as large as the database.
    pub dir: PathBuf,
    /// The database to compare with. Only for a process that has no other connection to it.
    pub live: Option<PathBuf>,
    /// How long its last commit may take to reach the replica.
    pub patience: Duration,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Verified {
    pub audit: Audit,
    pub restored: Option<Proof>,
    pub live: Live,
}

impl Verified {
    pub fn is_proven(&self) -> bool {
        self.audit.damage().next().is_none()
    }

    /// The newest transaction and its time, as far as was looked.
    pub fn newest(&self) -> Option<(Txid, i64)> {
        match self.restored.as_ref().map(|proof| proof.reached) {
            Some(Reached::Ltx { txid, header }) => Some((txid, header.timestamp_ms)),
            _ => Some((self.audit.ends.as_ref()?.1.max_txid, self.audit.newest_ms?)),
        }
    }
}

/// A database that was restored, found sound, and removed.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    pub reached: Reached,
    pub database_bytes: u64,
}

/// How the restored database compares with the live one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// There is no live database at hand, or it was not asked for.
    NotAsked,
    Equal {
        txid: Txid,
        pages: u32,
    },
    /// It is among the findings.
    Differs,
    NotCompared {
        why: String,
    },
}

/// Verifies a replica. An error means that it could not be told; what is wrong with the replica is
/// among the findings.
pub async fn verify(remote: &Remote, order: &Order, cancel: &CancellationToken) -> Result<Verified, RestoreError> {
    cancel.run_until_cancelled(run(remote, order)).await.unwrap_or(Err(RestoreError::Cancelled))
}

async fn run(remote: &Remote, order: &Order) -> Result<Verified, RestoreError> {
    let mut inspection = Inspection { remote, order, listing: Listing::default(), seen: Vec::new() };
    inspection.look().await?;
    let listing = &inspection.listing;
    refuse_rival(remote, listing)?;
    let has_ltx = !listing.is_empty() || listing.ignored.iter().any(|i| i.resembles == Resembles::Ltx);
    if !has_ltx && listing.old.is_empty() && !listing.ignored.iter().any(|i| i.resembles == Resembles::Old) {
        return Err(nothing_in(remote, listing));
    }
    let mut verified = Verified { audit: Audit::default(), restored: None, live: Live::NotAsked };
    if has_ltx && inspection.audit().may_have_moved() {
        tokio::time::sleep(SECOND_LOOK).await;
        inspection.look().await?;
    }
    let mut findings = Vec::new();
    if let Some(deep) = &order.deep {
        let read = inspection.restore(deep, has_ltx, &mut verified, &mut findings).await?;
        let was_whole = has_ltx && !inspection.audit().may_have_moved();
        inspection.read_the_rest(&read).await?;
        // A file that was deleted meanwhile leaves no hole if something younger holds the same.
        if was_whole && inspection.audit().may_have_moved() {
            inspection.look().await?;
        }
    }
    let mut audit = if has_ltx { inspection.audit() } else { Audit::default() };
    audit.findings.extend(old_findings(&inspection.listing, has_ltx));
    let named = audit.damage().next().is_some();
    // What was refused because of damage that has a name needs no second one.
    audit.findings.extend(findings.into_iter().filter(|f| !(named && matches!(f.what, What::NotRestored { .. }))));
    audit.sort();
    verified.audit = audit;
    Ok(verified)
}

/// What is known about one replica so far.
struct Inspection<'a> {
    remote: &'a Remote,
    order: &'a Order,
    listing: Listing,
    seen: Vec<Seen>,
}

impl Inspection<'_> {
    /// Lists, and looks at both ends of every object that is new since the last time.
    async fn look(&mut self) -> Result<(), RestoreError> {
        self.listing = self.remote.listing_with_old().await?;
        let known: HashMap<Key, Seen> = self.seen.drain(..).map(|seen| (seen.0.name.clone(), seen)).collect();
        let is_known = |o: &LtxObject| known.get(&o.name).filter(|(known, _)| known == o);
        let (old, new): (Vec<_>, Vec<_>) = self.listing.objects().cloned().partition(|o| is_known(o).is_some());
        self.seen = old.iter().filter_map(|o| is_known(o).cloned()).collect();
        self.seen.extend(look::at_ends(self.remote, new, self.order.parallelism).await?);
        Ok(())
    }

    fn audit(&self) -> Audit {
        let window_ms = self.order.window.map(|window| i64::try_from(window.as_millis()).unwrap_or(i64::MAX));
        let window_from_ms = window_ms.map(|ms| self.remote.clock().unix_ms().saturating_sub(ms));
        audit(&Evidence { listing: &self.listing, seen: &self.seen, window_from_ms })
    }

    /// Restores to a temporary file and compares it; returns the objects that were verified by
    /// that.
    async fn restore(
        &self,
        deep: &Deep,
        has_ltx: bool,
        verified: &mut Verified,
        findings: &mut Vec<Finding>,
    ) -> Result<HashSet<Key>, RestoreError> {
        space::check(&deep.dir, self.largest_database())?;
        let mut target = Target::Latest;
        let mut sums = None;
        if let (Some(path), true) = (&deep.live, has_ltx) {
            match live::take(self.remote, &self.seen, path, &deep.dir, deep.patience).await? {
                Ok(taken) => {
                    target = Target::Txid(taken.txid);
                    sums = Some(taken);
                }
                Err(why) => verified.live = Live::NotCompared { why },
            }
        }
        let output = deep.dir.join(TEMPORARY_NAME);
        let progress = Arc::new(Progress::default());
        let fetch = |target| {
            let request = Request { target, parallelism: self.order.parallelism, ..temporary_request(&output) };
            let (remote, output, progress) = (self.remote, &output, &progress);
            async move { fetch(remote, &request, output, progress).await }
        };
        let mut fetched = fetch(target).await;
        if let (Err(RestoreError::NotReached { .. }), Target::Txid(txid)) = (&fetched, target) {
            // Compacted away while the pages were read.
            verified.live = Live::NotCompared { why: format!("TXID {txid} can no longer be restored on its own") };
            sums = None;
            fetched = fetch(Target::Latest).await;
        }
        let Fetched { temporary, restored, objects } = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                let newest = self.audit().ends.map(|(_, newest)| newest.max_txid);
                findings.push(refused(error, newest)?);
                if sums.is_some() {
                    verified.live = Live::NotCompared { why: "the replica could not be restored".into() };
                }
                return Ok(HashSet::new());
            }
        };
        verified.restored = Some(Proof { reached: restored.reached, database_bytes: restored.database_bytes });
        if let Some(sums) = sums {
            let (txid, pages) = (sums.txid, sums.pages);
            let differing = compare::compare(sums, temporary.path()).await?;
            verified.live = match differing {
                compare::Differing { count: 0, .. } => Live::Equal { txid, pages },
                compare::Differing { count, first } => {
                    let what = What::Differs { txid, pages: first, count };
                    findings.push(damage(None, what));
                    Live::Differs
                }
            };
        }
        drop(temporary);
        Ok(objects.into_iter().collect())
    }

    /// In bytes, of those that the headers name.
    fn largest_database(&self) -> u64 {
        let headers = self.seen.iter().filter_map(|(_, found)| found.as_ref().ok());
        headers.map(|header| header.page_size.database_len(header.commit)).max().unwrap_or(0)
    }

    /// Decodes every sound object that is not in `read`. One that is gone by now is forgotten.
    async fn read_the_rest(&mut self, read: &HashSet<Key>) -> Result<(), RestoreError> {
        let (unread, done): (Vec<Seen>, Vec<Seen>) =
            self.seen.drain(..).partition(|(object, found)| found.is_ok() && !read.contains(&object.name));
        let unread = unread.into_iter().map(|(object, _)| object).collect();
        self.seen = done;
        self.seen.extend(look::through(self.remote, unread, self.order.parallelism).await?);
        Ok(())
    }
}

fn temporary_request(output: &Path) -> Request {
    Request { integrity: Integrity::Full, ..Request::new(output) }
}

fn damage(object: Option<String>, what: What) -> Finding {
    Finding { severity: Severity::Damage, object, what, affected: Vec::new() }
}

/// The finding that a refused restore is, or the error that says nothing about the replica.
fn refused(error: RestoreError, newest: Option<Txid>) -> Result<Finding, RestoreError> {
    match error {
        RestoreError::CannotTell(_)
        | RestoreError::Io(_)
        | RestoreError::Cancelled
        | RestoreError::NoBackup { .. }
        | RestoreError::Misplaced { .. }
        | RestoreError::TwoHistories { .. }
        | RestoreError::TargetExists { .. }
        | RestoreError::NoDatabase { .. }
        | RestoreError::InUse(_) => Err(error),
        RestoreError::Unsound { what } => Ok(damage(None, What::Unsound { txid: newest, why: what })),
        error => Ok(damage(None, What::NotRestored { why: error.to_string() })),
    }
}

/// What the names say about generations of Litestream 0.3. Where LTX files are, too, they are only
/// history.
fn old_findings(listing: &Listing, has_ltx: bool) -> Vec<Finding> {
    if has_ltx {
        let count = listing.old.generations.len();
        let what = What::More { count, of: "generations of Litestream 0.3 are there, which were not looked into" };
        let remark = Finding { severity: Severity::Remark, object: None, what, affected: Vec::new() };
        return (count > 0).then_some(remark).into_iter().collect();
    }
    let best = check_old(&listing.old).err().map(|why| damage(None, What::Old { why }));
    best.into_iter().collect()
}

#[cfg(test)]
mod tests;
