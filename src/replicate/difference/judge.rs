//! What to do about a doubt: whether to look into the bucket at all, and what follows from what was
//! found there. Pure.

use std::fmt;

use crate::db::{Comparison, ImageReason, Rows};
use crate::ltx::Txid;
use crate::remote::{Listing, LtxObject, plan};
use crate::state::SyncedTo;

/// Up to this size the whole database is one small PUT, no dearer than the LIST and the GETs of a
/// comparison.
pub(super) const SMALL_BYTES: u64 = 64 * 1024;
/// With a plan of more bytes than this many databases the history was written over and over:
/// reading it takes longer than an image.
pub(super) const PLAN_BYTES_FACTOR: u64 = 2;
/// Each file of the plan costs a request and at least 64 KiB of memory while it is merged.
pub(super) const PLAN_FILES_MAX: usize = 256;
/// How often in a row the objects may turn out unreadable before an image is shipped instead.
pub(super) const FAILURES_MAX: u32 = 3;
/// Telling equal pages that prove a lineage: this share of the live pages, and a share of those of
/// the bucket's pages that could tell, up to a few.
const KIN_SHARE: u32 = 16;
const RELATED_OF_OTHER_MAX: u32 = 8;
const RELATED_SHARE_OF_OTHER: u32 = 4;
/// How the look at the bucket's side ended.
pub(in crate::replicate) enum Found {
    Compared(Comparison, Scope),
    /// Not worth it, or of no use. Why, as a clause.
    Skipped(String),
    /// Pages cannot be compared; the rows that were, of a file that is not known.
    PageSize(Rows),
    /// There is nothing to compare with.
    Broken(String),
}

/// What is known about the file at the path.
#[derive(Clone, Copy, Debug)]
pub(in crate::replicate) struct Local {
    pub pages: u32,
    /// [`SMALL_BYTES`] at most.
    pub is_small: bool,
    /// It is the one that was replicated before.
    pub is_known: bool,
    /// It has no table.
    pub is_blank: bool,
    /// The history went on since it was in step with it; how far it was.
    pub suspected: Option<SyncedTo>,
}

impl Local {
    /// Whether it may be shipped without a look at what the bucket has.
    pub fn may_skip(&self) -> bool {
        self.is_known && self.suspected.is_none()
    }
}

/// What becomes of the doubt.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::replicate) enum Verdict {
    Equal,
    Difference,
    Image(String),
    /// An image to which nothing of the history leads.
    Beginning(ImageReason, String),
    Stranger(String),
    /// The history went on elsewhere since the database was in step with it up to there.
    MovedOn(SyncedTo, String),
}

/// What a comparison read.
#[derive(Clone, Copy, Debug)]
pub(in crate::replicate) struct Scope {
    pub bytes: u64,
    /// Size of the bucket's database in pages.
    pub other_pages: u32,
}

/// Why the bucket need not be asked at all. Pure.
pub(super) fn skip(local: Local, reason: ImageReason, failures: u32) -> Option<Found> {
    if reason == ImageReason::PageSizeChanged && local.is_known {
        return Some(Found::PageSize(Rows::default()));
    }
    let may_skip = local.may_skip() && !local.is_blank && failures >= FAILURES_MAX;
    may_skip.then(|| Found::Skipped(format!("the objects could not be read, {failures} times in a row")))
}

/// Why these files, which make a database of `other_pages`, are not read. Pure.
pub(super) fn refuse(files: &[LtxObject], other_pages: u32, live_bytes: u64, local: Local) -> Option<String> {
    if !local.may_skip() || local.is_blank || is_remnant(local, other_pages) {
        return None;
    }
    let bytes = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    let too_much = files.len() > PLAN_FILES_MAX || bytes > live_bytes.saturating_mul(PLAN_BYTES_FACTOR);
    if too_much {
        return Some(format!("there are {} in {} files to compare it with", Size(bytes), files.len()));
    }
    local.is_small.then(|| "it is small".into())
}

/// The files that make the database of `txid`, each of which lies wholly before the end of `own` or
/// wholly behind it, if there are such: they show best what was written since. Pure.
pub(super) fn files_apart(listing: &Listing, own: SyncedTo, txid: Txid) -> Option<Vec<LtxObject>> {
    let mut apart = listing.clone();
    apart.retain(|file| own.is_before(file.min_txid) || !own.is_before(file.max_txid));
    let files: Vec<LtxObject> = plan::files_up_to(&apart, txid).into_iter().cloned().collect();
    let reaches = files.last().is_some_and(|newest| newest.max_txid == txid);
    (reaches && files.len() <= PLAN_FILES_MAX).then_some(files)
}

/// A few pages where the history has many: whatever the file's identity says, it may have been made
/// anew.
fn is_remnant(local: Local, other_pages: u32) -> bool {
    local.is_small && other_pages / 2 > local.pages
}

/// What becomes of the doubt. Pure.
pub(in crate::replicate) fn judge(local: Local, found: &Found) -> Verdict {
    if let (Some(own), Err(why)) = (local.suspected, came_after(local, found)) {
        return Verdict::MovedOn(own, why);
    }
    match found {
        Found::Skipped(why) | Found::Broken(why) if local.is_blank => {
            Verdict::Stranger(format!("the database here has no table ({why})"))
        }
        Found::Skipped(why) if local.is_known => Verdict::Image(why.clone()),
        Found::Skipped(why) => Verdict::Stranger(why.clone()),
        Found::PageSize(rows) if (local.is_known || rows.are_the_same()) && !local.is_blank => {
            Verdict::Beginning(ImageReason::PageSizeChanged, ImageReason::PageSizeChanged.to_string())
        }
        Found::PageSize(_) => Verdict::Stranger("it has another page size, and hardly a row of the history".into()),
        Found::Broken(why) if !local.is_known => {
            Verdict::Stranger(format!("the files in the replica do not make a database to compare it with ({why})"))
        }
        Found::Broken(why) => {
            let reason = ImageReason::HistoryBroken;
            Verdict::Beginning(reason, format!("{reason}: {why}"))
        }
        Found::Compared(comparison, scope) => {
            let Comparison { compared, differing, related, evidence, .. } = *comparison;
            if is_equal(local, comparison, scope) {
                Verdict::Equal
            } else if comparison.emptied {
                Verdict::Stranger("the database here has no table".into())
            } else if related < related_wanted(local.pages, evidence)
                && !comparison.rows.are_the_same()
                && (!local.is_known || comparison.foreign_schema || is_remnant(local, scope.other_pages))
            {
                Verdict::Stranger(format!(
                    "almost none of its {} pages is like the {} pages of the history",
                    local.pages, scope.other_pages
                ))
            } else if !comparison.whole || differing > differing_max(local.pages) {
                Verdict::Image(format!("of {compared} pages that were compared {differing} differ"))
            } else {
                Verdict::Difference
            }
        }
    }
}

/// Whether it is shown that the database came after what the history ends with; else why not, as a
/// clause. Pure.
fn came_after(local: Local, found: &Found) -> Result<(), String> {
    match found {
        Found::Compared(comparison, scope) => {
            let Comparison { moved, kept, whole, .. } = *comparison;
            let shows_it = whole && kept > 0 && kept >= moved - kept;
            match moved {
                _ if shows_it || is_equal(local, comparison, scope) => Ok(()),
                0 => Err("no page tells that it did".into()),
                _ => Err(format!("of {moved} pages that were written there since then it has {kept}")),
            }
        }
        Found::Skipped(why) => Err(why.clone()),
        Found::PageSize(_) => Err("it has another page size".into()),
        Found::Broken(why) => Err(format!("the files in the replica do not make a database to compare it with: {why}")),
    }
}

fn is_equal(local: Local, comparison: &Comparison, scope: &Scope) -> bool {
    comparison.whole && comparison.differing == 0 && local.pages == scope.other_pages
}

/// More than half: an image is not much larger.
pub(super) fn differing_max(pages: u32) -> u32 {
    pages / 2
}

/// Of so many pages here, and so many of the bucket's that could tell. Of a few, more than one, and
/// more than half of two.
pub(super) fn related_wanted(live_pages: u32, evidence: u32) -> u32 {
    let of_other = (evidence / RELATED_SHARE_OF_OTHER).saturating_add(1).max(2).min(evidence).min(RELATED_OF_OTHER_MAX);
    (live_pages / KIN_SHARE).max(of_other).max(1)
}

/// Bytes for people.
pub(super) struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ 0..10_000 => write!(f, "{bytes} bytes"),
            bytes @ 10_000..10_000_000 => write!(f, "{} KB", bytes / 1000),
            bytes => write!(f, "{} MB", bytes / 1_000_000),
        }
    }
}
