//! Where in the history replication begins: carries out what `core/start.rs` orders, which decides.
//! What cannot be proved is compared (`difference.rs`).
//!
//! What happened, and its outcome; each is a test (`tests/it/doubt.rs` unless another place is
//! named), and none is silent:
//!
//! | while nothing replicated | outcome |
//! |---|---|
//! | nothing; everything was killed; commits of which the WAL has all frames | continue |
//! | everything was killed between a PUT and its reply (`tests/it/moved.rs`) | continue |
//! | a checkpoint by others, after which the WAL was not reset, or once and its old end still shows (`db/resume.rs`) | continue |
//! | the `-shm` was deleted | continue |
//! | a restore to the newest TXID (`state/restore_marker.rs`) | continue |
//! | the WAL was checkpointed and deleted, nothing was committed | equal: nothing to upload |
//! | a reset by others of a WAL that was never longer, and commits; commits, a reset (ours, too) and commits; two resets; the WAL truncated; deleted with commits in it | difference |
//! | `journal_mode=DELETE`, and back or not; growth; `auto_vacuum` | difference |
//! | an older copy of the file, copied or renamed over it (a warning if it is another file) | difference |
//! | a file that was damaged already: pages are opaque | difference |
//! | a WAL that has lost commits in a power loss, and was written on or not (`tests/it/moved.rs`, `difference/tests.rs`) | difference, and says which commits |
//! | `VACUUM` with more than half of the pages moved | image |
//! | another page size, of the same file | image, which is a snapshot too |
//! | a history with a damaged or missing file (`difference/tests.rs`) | image, which is a snapshot too |
//! | a run was killed between such an image and its snapshot (`lifecycle/soak.rs`) | image, which is a snapshot too |
//! | Litestream's turn with this database; a TXID that waited here and that it has taken (`tests/it/moved.rs`) | continue, equal or difference |
//! | the history went on elsewhere: another node's turn, while commits were left here or not; an older copy of disk and notes; commits that waited here and whose TXIDs another node has taken (`tests/it/moved.rs`) | fence |
//! | `millstream reset` (`tests/it/moved.rs`) | image, which is a snapshot too |
//! | another file of the same rows: `VACUUM INTO`, `.dump`, a migration that builds it anew | image (a snapshot too, if its pages have another size), or what differs |
//! | no table any more; a stranger, copied or renamed; deleted or truncated and created anew | halt |
//! | other rows in pages of another size; another file and a history with a hole (`difference/tests.rs`) | halt |
//!
//! | while it is replicated | outcome |
//! |---|---|
//! | `-wal` or `-shm` deleted; the database deleted, truncated to nothing, renamed over by a stranger | halt |
//! | renamed over by its own maintenance (`replaced.rs`) | as if that had happened while nothing replicated |
//! | written to past SQLite, in place (`overwritten.rs`) | as if that had happened while nothing replicated; halt, if it is malformed |
//! | `journal_mode=DELETE`, another page size | SQLite refuses: continue |
//! | `VACUUM`, `auto_vacuum`, growth (`db/tests.rs`) | continue |
//! | a program holds it with `locking_mode=EXCLUSIVE` | waits, and says so |
//!
//! A disk that is exactly an earlier state, with no commit of its own, is brought forward before
//! (`behind.rs`), if something is to be started here.
//!
//! *The history went on elsewhere* is suspected when it ends beyond the newest TXID that this disk
//! was in step with (`state/last_synced.rs`) and neither the WAL nor a note proves that it is what
//! lies here. Then the database has to show that it came after that end: by its WAL, if the newest
//! object was made from it and the file is the one that was replicated, or from an earlier
//! generation, or by Litestream's own files beside it (`db/litestream.rs`), or by its pages
//! (`db/came_after.rs`). Until that is found out the application is not started, except after an
//! end in good order, which costs no wait for the bucket.
//!
//! *Fence* is what happens when another writer is met (`core/fence.rs`): the application is
//! stopped, for it would commit into a branch that is never restored, and the exit code is 75.
//!
//! *Halt* is [`StepError::AnotherDatabase`], or an error of `db/`: nothing is uploaded, the history
//! stays as it is, the application is not started, or runs on, which is said every minute
//! (`halt.rs`), and the exit code says that its commits are not replicated. A file that is not
//! known to belong to the history is looked at before the application starts.

use std::sync::Arc;
use std::time::Duration;

use super::by_note;
use super::core::{Answer, Aside, Begin, Question, StartDone, StartOrder};
use super::error::{StepError, UploadError};
use super::fingerprint::Fingerprint;
use super::local::LocalSide;
use super::look::{End, Seen};
use super::on_thread::blocking;
use super::upload::is_ours;
use crate::db::{Candidate, Db, ImageReason, Position, WalRelation, litestream_was_here};
use crate::ltx::{Decoder, Entry, Flavour, FrameReader, Header, IndexReader, TAIL_LEN, Tail, Txid};
use crate::page::Pgno;
use crate::remote::{Listing, LtxObject, ReadError, Remote};
use crate::state::SyncedTo;
use crate::store::StoreError;

/// Newest objects up to this size are compared with the WAL whole; of larger ones only some pages.
const WHOLE_OBJECT_BYTES: u64 = 8 << 20;
const SAMPLED_PAGES: usize = 32;
/// To send a copy of what is kept aside to the bucket.
const ASIDE_TIME: Duration = Duration::from_secs(5);

impl LocalSide {
    /// A look at the bucket, for the orders that follow.
    pub fn take_in(&mut self, seen: Seen) {
        self.remote.announce(&seen.listing);
        let flavour = Flavour::after(seen.end.as_ref().and_then(|end| end.flavour));
        self.disk.here().db.write_in(flavour);
        self.confirmed = seen.end.as_ref().map(|end| end.txid);
        self.seen = Some(Arc::new(seen));
    }

    pub async fn start(&mut self, order: StartOrder) -> Result<StartDone, StepError> {
        match order {
            StartOrder::Ask(question) => return Ok(StartDone::Told(self.answer(question).await?)),
            StartOrder::Uploaded(txid) => {
                self.disk.with(|disk| disk.spill.pop_front()).await?;
                self.is_in_step_with(SyncedTo::up_to(Some(txid))).await;
            }
            StartOrder::SetAside(aside) => self.set_waiting_aside(aside).await?,
            StartOrder::Begin(begin) => self.begin(begin).await,
        }
        Ok(StartDone::Done)
    }

    async fn answer(&mut self, question: Question) -> Result<Answer, StepError> {
        let seen = self.seen.clone();
        let end = seen.as_ref().and_then(|seen| seen.end.as_ref());
        Ok(match question {
            Question::IsOurs(_) => Answer::IsOurs(match self.front_file() {
                Some(file) => is_ours_still(&self.remote, &Fingerprint::of(&file)).await?,
                None => false,
            }),
            Question::Continues(txid) => {
                let waiting = self.disk.here().spill.back().map(|file| file.header);
                let listing = seen.as_ref().map(|seen| &seen.listing);
                Answer::Continues(match (waiting, end, listing) {
                    (Some(last), ..) => self.prove(&last, None).await?,
                    (None, Some(End { l0: Some((object, header)), .. }), Some(listing)) => {
                        self.prove(header, Some((object, listing))).await?
                    }
                    _ => self.prove_by_note(txid).await?.ok_or(ImageReason::NoPosition),
                })
            }
            Question::MadeHere(_) => Answer::MadeHere(match end.and_then(End::header) {
                Some(newest) => self.has_made(*newest).await,
                None => false,
            }),
        })
    }

    /// Whether something shows that the object with this header was made here, or that the database
    /// came after it.
    async fn has_made(&mut self, newest: Header) -> bool {
        let wal_relation = self.with_db(move |db| db.wal_relation(&newest)).await;
        let (settings, (_, replica)) = (self.settings.clone(), self.notes());
        // A copy of this WAL may have been written on elsewhere. A power loss leaves the file the
        // one that it was.
        blocking(move || {
            wal_relation == WalRelation::Later
                || wal_relation == WalRelation::Same && replica.is_known_file()
                || litestream_was_here(&settings.path, &settings.meta_path, &newest)
        })
        .await
    }

    /// Moves the files that wait for their upload aside: they are in no history, and were
    /// acknowledged here.
    async fn set_waiting_aside(&mut self, aside: Aside) -> Result<(), StepError> {
        let (name, address) = (self.name(), self.remote.address().to_owned());
        match aside {
            Aside::Reset => {}
            Aside::Taken(txid, synced_to) => {
                tracing::warn!(
                    db = %name,
                    "TXID {txid}, which waited here for its upload, is in {address} from another writer: it and what follows it are kept aside"
                );
                // First: without the files nothing else would tell the next start.
                self.is_in_step_with(synced_to).await;
            }
            Aside::Apart => {
                tracing::warn!(db = %name, "local files do not continue the history in {address}: they are kept aside");
            }
        }
        self.set_spill_aside(self.settings.clock.instant() + ASIDE_TIME).await?;
        Ok(())
    }

    async fn begin(&mut self, begin: Begin) {
        self.seen = None;
        let (name, address) = (self.name(), self.remote.address().to_owned());
        match begin {
            Begin::InStep(txid) => {
                self.doubt.suspect(None);
                self.is_in_step_with(SyncedTo::up_to(Some(txid))).await;
            }
            Begin::AfterFiles => self.doubt.suspect(None),
            // What is in doubt shows itself, and is looked into, when the image is captured.
            Begin::Image { after, reason, suspected, .. } => {
                match (after, reason) {
                    (None, _) => tracing::info!(db = %name, "no backup in {address}: starting a new history"),
                    (Some(txid), ImageReason::Accepted) => tracing::warn!(
                        db = %name,
                        "the history in {address} goes up to TXID {txid}; as `millstream reset` has ordered, this database \
                         becomes its newest state: uploading the whole database"
                    ),
                    (Some(_), _) => {}
                }
                self.doubt.suspect(suspected);
                self.disk.here().db.start_over(after, reason);
            }
        }
    }

    /// Continues after the file with this header if the WAL, or a note of ours, proves that the
    /// database is its continuation; else says why not.
    async fn prove(
        &mut self,
        newest: &Header,
        object: Option<(&LtxObject, &Listing)>,
    ) -> Result<Result<(), ImageReason>, StepError> {
        let (txid, header) = (newest.max_txid, *newest);
        if self.was_written_to().await {
            return Ok(Err(ImageReason::FileOverwritten));
        }
        let reason = match self.with_db(move |db| db.candidate(&header)).await? {
            Ok(candidate) => match self.confirm(candidate, object.map(|(object, _)| object)).await? {
                Some(position) => {
                    tracing::info!(db = %self.name(), "continuing the history after TXID {txid}");
                    self.disk.here().db.continue_from(position);
                    self.note_known_file().await;
                    if let Some((_, listing)) = object {
                        self.leave_dead_end(listing, newest).await?;
                    }
                    return Ok(Ok(()));
                }
                None => ImageReason::WalRewritten,
            },
            Err(reason) => reason,
        };
        Ok(self.prove_by_note(txid).await?.ok_or(reason))
    }

    /// Continues if the file is one that was restored to exactly `txid`, or found to be that, and
    /// not checkpointed since; or if a comparison found the WAL to be there at a frame that still
    /// stands.
    async fn prove_by_note(&mut self, txid: Txid) -> Result<Option<()>, StepError> {
        let (state, replica) = self.notes();
        let led_by = self.seen.as_ref().and_then(|seen| seen.led_by.as_ref()).map(|led_by| led_by.address.clone());
        let mirror = led_by.as_deref().map(|address| state.replica(address));
        let look = move |db: &mut Db| {
            let of_mirror = mirror.iter().flat_map(|it| [it.last_synced().resume_point(), it.resume_point(txid)]);
            let points = replica.resume_point(txid).into_iter().chain(of_mirror.flatten());
            by_note::position_of(db, (&state, &replica), led_by.as_deref(), txid, points)
        };
        let Some(position) = self.with_db(look).await? else { return Ok(None) };
        tracing::info!(db = %self.name(), "continuing the history after TXID {txid}, which this database is by our own note");
        self.disk.here().db.continue_from(position);
        self.note_known_file().await;
        Ok(Some(()))
    }

    /// Compares the candidate's frames with the pages of the object (or of the spilled file) that
    /// claims them.
    async fn confirm(
        &mut self,
        candidate: Candidate,
        object: Option<&LtxObject>,
    ) -> Result<Option<Position>, StepError> {
        let pages = match object {
            Some(object) if candidate.has_pages() => fetch_pages(&self.remote, &candidate, object).await?,
            // Our own local file was verified when it was opened.
            _ => Vec::new(),
        };
        Ok(self.with_db(move |db| db.confirm(&candidate, &pages)).await?)
    }
}

/// Whether the bucket has this very file. What was compacted and deleted meanwhile cannot be shown
/// to be ours.
async fn is_ours_still(remote: &Remote, ours: &Fingerprint) -> Result<bool, UploadError> {
    match is_ours(remote, ours).await {
        Err(UploadError::Store(StoreError::NotFound { .. })) => Ok(false),
        told => told,
    }
}

pub(super) async fn fetch_pages(
    remote: &Remote,
    candidate: &Candidate,
    object: &LtxObject,
) -> Result<Vec<(Pgno, Vec<u8>)>, ReadError> {
    let invalid = |source| ReadError::Invalid { name: object.name.clone(), source };
    if object.size <= WHOLE_OBJECT_BYTES {
        let bytes = remote.read(object).await?;
        return decode_all(&bytes).map_err(invalid);
    }
    let wanted = candidate.pages(SAMPLED_PAGES);
    let header = remote.read_header(object).await?;
    let start = object.size - TAIL_LEN as u64;
    let tail = remote.read_range(&object.name, start, TAIL_LEN as u64).await?;
    let tail = tail.as_ref().try_into().expect("that many bytes were read");
    let tail = Tail::parse(tail, object.size).map_err(invalid)?;
    let bytes = remote.read_range(&object.name, tail.index_offset, tail.index_len).await?;
    let mut entries = Vec::new();
    let wanted_only = |entry: Entry| entries.extend(wanted.binary_search(&entry.pgno).is_ok().then_some(entry));
    IndexReader::new(&header, tail).push(&bytes, wanted_only).map_err(invalid)?;
    let mut pages = Vec::with_capacity(entries.len());
    for entry in entries {
        let frame = remote.read_range(&object.name, entry.offset, entry.len).await?;
        let mut page = vec![0; header.page_size.bytes()];
        let mut reader = FrameReader::new(&header, entry.offset, Pgno::new(entry.pgno.get() - 1));
        reader.next_page(&mut frame.as_ref(), &mut page).map_err(invalid)?;
        pages.push((entry.pgno, page));
    }
    Ok(pages)
}

fn decode_all(bytes: &[u8]) -> Result<Vec<(Pgno, Vec<u8>)>, crate::ltx::LtxError> {
    let mut decoder = Decoder::new(bytes)?;
    let mut page = vec![0; decoder.header().page_size.bytes()];
    let mut pages = Vec::new();
    while let Some(pgno) = decoder.next_page(&mut page)? {
        pages.push((pgno, page.clone()));
    }
    decoder.finish()?;
    Ok(pages)
}
