//! Where in the history a road begins: one LIST, one header, and proof. What cannot be proved is compared (`difference.rs`).
//!
//! What happened, and its outcome; each is a test (`tests/it/doubt.rs` unless another place is named), and none is silent:
//!
//! | while nobody replicated | outcome |
//! |---|---|
//! | nothing; everything was killed; commits of which the WAL has all frames | continue |
//! | a checkpoint by others, after which the WAL was not reset, or once and its old end still shows (`db/resume.rs`) | continue |
//! | the `-shm` was deleted | continue |
//! | a restore to the newest TXID (`db/origin.rs`) | continue |
//! | the WAL was checkpointed and deleted, nothing was committed | equal: nothing to upload |
//! | a reset by others of a WAL that was never longer, and commits; commits, a reset (ours, too) and commits; two resets; the WAL truncated; deleted with commits in it | difference |
//! | `journal_mode=DELETE`, and back or not; growth; `auto_vacuum` | difference |
//! | an older copy of the file, copied or renamed over it (a warning if it is another file) | difference |
//! | a file that was damaged already: pages are opaque | difference |
//! | a WAL that was rewritten after a power loss (`difference/tests.rs`) | difference |
//! | `VACUUM` with more than half of the pages moved | image |
//! | another page size, of the same file | image, which is a snapshot too |
//! | a history with a damaged or missing file (`difference/tests.rs`) | image, which is a snapshot too |
//! | a run was killed between such an image and its snapshot (`lifecycle/soak.rs`) | image, which is a snapshot too |
//! | no table any more; a stranger, copied or renamed; deleted or truncated and created anew | halt |
//! | another page size of another file; another file and a history with a hole (`difference/tests.rs`) | halt |
//!
//! | while it is replicated | outcome |
//! |---|---|
//! | `-wal` or `-shm` deleted; the database deleted, renamed over, truncated to nothing | halt |
//! | `journal_mode=DELETE`, another page size | SQLite refuses: continue |
//! | `VACUUM`, `auto_vacuum`, growth (`db/tests.rs`) | continue |
//! | a program holds it with `locking_mode=EXCLUSIVE` | waits, and says so |
//!
//! *Halt* is [`StepError::AnotherDatabase`], or an error of `db/`: nothing is uploaded, the history stays as it is, the application
//! runs on, and the exit code says that its commits are not replicated.

use super::lifecycle::Lifecycle;
use super::road::{StepError, Traveller};
use super::upload::{Fingerprint, is_ours};
use crate::clock;
use crate::db::{Candidate, ImageReason, Origin, Position, Standing};
use crate::ltx::{Decoder, Entry, FrameReader, Header, IndexReader, TAIL_LEN, Tail, Txid};
use crate::page::Pgno;
use crate::remote::{Level, Listing, LtxObject, ReadError, Remote};

/// Newest objects up to this size are compared with the WAL whole; of larger ones only some pages.
const WHOLE_OBJECT_BYTES: u64 = 8 << 20;
const SAMPLED_PAGES: usize = 32;

/// The newest end of the history in the bucket.
struct End {
    txid: Txid,
    /// The newest level-0 object, if it is that end: it says where in the WAL the history ends.
    l0: Option<(LtxObject, Header)>,
}

impl Traveller {
    /// Finds the newest TXID and decides from where to continue.
    pub async fn find_start(&mut self) -> Result<(), StepError> {
        let mut listing = self.remote.listing().await?;
        let end = find_end(&self.remote, &mut listing).await?;
        for ignored in &listing.ignored {
            tracing::warn!("ignored {} in {}: {}", ignored.name, self.remote.address(), ignored.why);
        }
        self.proved_at = clock::since_boot();
        let policy = self.settings.lifecycle.clone().filter(|_| self.settings.once.is_none());
        let stop = self.stop.clone();
        self.lifecycle =
            policy.map(|policy| Lifecycle::start(policy, self.remote.clone(), self.board.refusals(), stop));
        self.confirmed = end.as_ref().map(|end| end.txid);
        if let Some(txid) = self.confirmed {
            self.board.confirmed(txid);
        }
        if let Some(txid) = self.confirmed.filter(|_| self.created_anew) {
            let address = self.remote.address().to_owned();
            return Err(StepError::NewDatabase { path: self.name(), address, txid });
        }
        self.drop_uploaded_spill().await?;
        if let Some(last) = self.spill.back().map(|file| file.header) {
            // What an earlier run captured and could not upload is the newest history there is.
            return self.continue_or_start_over(&last, None).await;
        }
        match end {
            None => {
                tracing::info!(db = %self.name(), "no backup in {}: starting a new history", self.remote.address());
                self.db().start_over(None, ImageReason::FirstBackup);
                Ok(())
            }
            Some(End { txid, l0: Some((object, header)) }) if header.max_txid == txid => {
                self.continue_or_start_over(&header, Some((&object, &listing))).await
            }
            Some(End { txid, .. }) => {
                if !self.continue_by_note(txid).await? {
                    self.db().start_over(Some(txid), ImageReason::NoPosition);
                }
                Ok(())
            }
        }
    }

    /// Removes spilled files that the bucket has already; one that it has from somebody else means that we are fenced.
    async fn drop_uploaded_spill(&mut self) -> Result<(), StepError> {
        while let Some(file) = self.spill.front() {
            if self.confirmed < Some(file.header.min_txid) {
                break;
            }
            if !is_ours(&self.remote, &Fingerprint::of(file)).await? {
                let (txid, address) = (file.header.min_txid, self.remote.address());
                return Err(StepError::Foreign(format!("TXID {txid} is in {address}, written by another writer")));
            }
            self.spill.pop_front()?;
        }
        let Some(first) = self.spill.front() else { return Ok(()) };
        let continues = self.confirmed.map_or(Some(Txid::FIRST), Txid::next) == Some(first.header.min_txid);
        if !continues {
            tracing::warn!(db = %self.name(), "local files do not continue the history in {}: dropped", self.remote.address());
            while !self.spill.is_empty() {
                self.spill.pop_front()?;
            }
        }
        Ok(())
    }

    /// Continues after the file with this header if the WAL proves to be its continuation.
    async fn continue_or_start_over(
        &mut self,
        newest: &Header,
        object: Option<(&LtxObject, &Listing)>,
    ) -> Result<(), StepError> {
        let (txid, header) = (newest.max_txid, *newest);
        let reason = match self.with_db(move |db| db.candidate(&header)).await? {
            Ok(candidate) => match self.confirm(candidate, object.map(|(object, _)| object)).await? {
                Some(position) => {
                    tracing::info!(db = %self.name(), "continuing the history after TXID {txid}");
                    self.db().continue_from(position);
                    self.note_known_file();
                    if let Some((_, listing)) = object {
                        self.leave_dead_end(listing, newest).await?;
                    }
                    return Ok(());
                }
                None => ImageReason::WalRewritten,
            },
            Err(reason) => reason,
        };
        if !self.continue_by_note(txid).await? {
            // The doubt shows itself, and is looked into, when the next capture is an image.
            self.db().start_over(Some(txid), reason);
        }
        Ok(())
    }

    /// Continues if the file is one that was restored to exactly `txid`, or found to be that, and not checkpointed since; or if a
    /// comparison found the WAL to be there at a frame that still stands.
    async fn continue_by_note(&mut self, txid: Txid) -> Result<bool, StepError> {
        let (meta, replica) = (self.settings.meta_path.clone(), self.remote.address().to_owned());
        let restored = Origin::position_of(&self.settings.path, &meta, &replica).filter(|origin| origin.txid == txid);
        let position = match (restored, Standing::load(&meta, &replica, txid)) {
            (Some(position), _) => Some(position),
            (None, Some(note)) => self.with_db(move |db| db.standing(&note)).await?,
            (None, None) => None,
        };
        let Some(position) = position else { return Ok(false) };
        tracing::info!(db = %self.name(), "continuing the history after TXID {txid}, which this database is by our own note");
        self.db().continue_from(position);
        self.note_known_file();
        Ok(true)
    }

    /// Compares the candidate's frames with the pages of the object (or of the spilled file) that claims them.
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

/// The newest TXID of the history in the bucket.
pub async fn newest_txid(remote: &Remote, listing: &mut Listing) -> Result<Option<Txid>, ReadError> {
    Ok(find_end(remote, listing).await?.map(|end| end.txid))
}

/// The newest TXID among the objects that are what their names say.
async fn find_end(remote: &Remote, listing: &mut Listing) -> Result<Option<End>, ReadError> {
    let l0 = remote.newest_l0(listing).await?;
    let mut newest = l0.as_ref().map(|(_, header)| header.max_txid);
    for level in Level::all().filter(|&level| level != Level::L0) {
        while let Some(object) = listing.level(level).iter().max_by_key(|o| o.max_txid).cloned() {
            if newest >= Some(object.max_txid) {
                break;
            }
            match remote.check_header(&object).await? {
                Ok(header) => newest = Some(header.max_txid),
                Err(why) => listing.set_aside(&object, why),
            }
        }
    }
    Ok(newest.map(|txid| End { txid, l0: l0.filter(|(_, header)| header.max_txid == txid) }))
}

async fn fetch_pages(
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
