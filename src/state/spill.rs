//! Captured but not yet uploaded: LTX files on local disk.
//!
//! Normally there is none: the WAL is the queue. Files appear here when the WAL must be reset
//! before its frames reached the bucket (the storage is away and the WAL passes its budget, or a
//! tail was captured under the write lock). They are the next level-0 objects, already numbered,
//! and are uploaded in order and removed one by one. If another writer has taken their numbers
//! meanwhile, they are moved aside: they hold commits that were acknowledged.
//!
//! The first file may have been sent already with its reply lost, so it is never changed. What is
//! behind it was never sent, and is merged into one file when there are more than a few: the
//! directory holds at most about twice the database, and those few.
//!
//! With mirrors, a file that is durable may be sent to them while the first replica is away, so it
//! keeps its number ([`Spill::keep`]), up to a number of bytes; what comes after those is merged as
//! ever, and the mirrors get no more until the first replica is back.
//!
//! ```text
//! 0000000000000007-0000000000000007.ltx   first: kept as it is
//! 0000000000000008-0000000000000008.ltx   what came after it, merged now and then
//! 0000000000000009-0000000000000009.ltx
//! ```

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::ownership;
use crate::fsx::{self, Context, FsError};
use crate::ltx::{Decoder, Encoded, Header, LtxError, Txid, WalPosition, checksum_at_end, merge};

/// So many files may wait before those that were never sent are merged: each merge reads and writes
/// all of them.
const FILES_MAX: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    #[error("keep captured commits on local disk: {0}")]
    Io(#[from] FsError),
    #[error("keep captured commits on local disk: {0}")]
    Ltx(#[from] LtxError),
}

/// One file that waits for its upload.
#[derive(Clone, Debug)]
pub struct SpilledFile {
    pub header: Header,
    pub path: PathBuf,
    pub size: u64,
    /// The file's CRC, as its trailer has it.
    pub checksum: u64,
}

/// The files of one database, oldest first, with consecutive TXIDs.
#[derive(Debug)]
pub struct Spill {
    directory: PathBuf,
    files: VecDeque<SpilledFile>,
    /// So many of them, from the first on, are known to be on disk.
    synced: usize,
    /// So many of them are never changed, because a mirror may have them.
    kept: usize,
}

impl SpillError {
    /// Nothing more can be opened now.
    pub fn is_out_of_files(&self) -> bool {
        matches!(self, SpillError::Io(error) if error.is_out_of_files())
    }
}

impl Spill {
    /// Reads what an earlier run left in `directory`. A file that is damaged (a power loss before
    /// it was synced) ends the queue: it and all after it are removed, and what they held is
    /// shipped again from the database. One that cannot be opened now may be whole: nothing is
    /// removed for that.
    pub(super) fn open(directory: &Path) -> Result<Spill, SpillError> {
        let mut spill = Spill { directory: directory.to_owned(), files: VecDeque::new(), synced: 0, kept: 0 };
        for unfinished in files_with(directory, "tmp")? {
            fsx::remove_file(&unfinished)?;
        }
        for path in ltx_files(directory)? {
            let follows = |last: Option<&SpilledFile>, next: &SpilledFile| {
                last.is_none_or(|last| last.header.max_txid.next() == Some(next.header.min_txid))
            };
            match check(&path) {
                Ok(file) if follows(spill.files.back(), &file) => spill.files.push_back(file),
                Ok(_) => spill.discard(&path, "it does not follow the file before it")?,
                Err(SpillError::Io(error)) => return Err(error.into()),
                Err(error) => spill.discard(&path, &error.to_string())?,
            }
        }
        spill.synced = spill.files.len();
        Ok(spill)
    }

    pub fn front(&self) -> Option<&SpilledFile> {
        self.files.front()
    }

    pub fn back(&self) -> Option<&SpilledFile> {
        self.files.back()
    }

    /// Of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Appends a file whose bytes `write` produces. It is on disk for good only after
    /// [`Spill::sync`].
    pub fn append<E: From<SpillError>>(
        &mut self,
        header: &Header,
        write: impl FnOnce(&mut BufWriter<File>) -> Result<(u64, u64), E>,
    ) -> Result<(), E> {
        ownership::create_dir_within(&self.directory).map_err(SpillError::from)?;
        let path = self.path_of(header.min_txid);
        let temporary = fsx::with_suffix(&path, ".tmp");
        fsx::remove_file_if_exists(&temporary).map_err(SpillError::from)?;
        let mut writer = BufWriter::new(ownership::create_new(&temporary).map_err(SpillError::from)?);
        let (size, checksum) = write(&mut writer)?;
        writer.flush().on("write", &temporary).map_err(SpillError::from)?;
        fsx::rename(&temporary, &path).map_err(SpillError::from)?;
        self.files.push_back(SpilledFile { header: *header, path, size, checksum });
        Ok(())
    }

    /// Appends a file whose bytes are at hand.
    pub fn append_bytes(&mut self, header: &Header, bytes: &[u8]) -> Result<(), SpillError> {
        let checksum = checksum_at_end(bytes);
        let path = self.path_of(header.min_txid);
        self.append(header, |writer| {
            writer.write_all(bytes).on("write", &path)?;
            Ok((bytes.len() as u64, checksum))
        })
    }

    /// Makes everything appended durable, and merges what was never sent.
    pub fn sync(&mut self) -> Result<(), SpillError> {
        if self.files.len() > self.unchanged() + FILES_MAX {
            self.merge_unsent()?;
        }
        if self.synced < self.files.len() {
            for file in self.files.iter().skip(self.synced) {
                fsx::sync_file(&fsx::open(&file.path)?, &file.path)?;
            }
            fsx::sync_dir(&self.directory)?;
            self.synced = self.files.len();
        }
        Ok(())
    }

    /// Gives the durable files that were not kept before their numbers for good, as long as all
    /// kept files together have at most so many bytes; returns them.
    pub fn keep(&mut self, bytes_max: u64) -> Vec<SpilledFile> {
        let mut bytes: u64 = self.files.iter().take(self.kept).map(|file| file.size).sum();
        let durable = self.files.range(self.kept..self.synced.max(self.kept));
        let fits = |file: &&SpilledFile| {
            bytes = bytes.saturating_add(file.size);
            bytes <= bytes_max
        };
        let kept: Vec<SpilledFile> = durable.take_while(fits).cloned().collect();
        self.kept += kept.len();
        kept
    }

    /// So many files, from the first on, keep their content.
    fn unchanged(&self) -> usize {
        self.kept.max(1)
    }

    /// Removes the oldest file: the bucket has it.
    pub fn pop_front(&mut self) -> Result<(), SpillError> {
        if let Some(file) = self.files.pop_front() {
            self.is_first_gone();
            fsx::remove_file_if_exists(&file.path)?;
        }
        Ok(())
    }

    fn is_first_gone(&mut self) {
        self.synced = self.synced.saturating_sub(1);
        self.kept = self.kept.saturating_sub(1);
    }

    /// Moves the oldest file to `path`, and forgets it.
    pub fn set_front_aside(&mut self, path: &Path) -> Result<(), SpillError> {
        if let Some(file) = self.files.front() {
            fsx::rename(&file.path, path)?;
            self.files.pop_front();
            self.is_first_gone();
        }
        Ok(())
    }

    /// Merges everything that was never sent into one file with the first TXID of it.
    fn merge_unsent(&mut self) -> Result<(), SpillError> {
        let unchanged = self.unchanged();
        let unsent: Vec<SpilledFile> = self.files.iter().skip(unchanged).cloned().collect();
        let (Some(first), Some(last)) = (unsent.first(), unsent.last()) else { return Ok(()) };
        let txid = first.header.min_txid;
        // Where the last of them ends in the WAL is where the merged file ends.
        let header = Header { min_txid: txid, max_txid: txid, ..last.header };
        let inputs = unsent.iter().map(open_decoder).collect::<Result<Vec<_>, SpillError>>()?;
        let temporary = fsx::with_suffix(&self.path_of(txid), ".tmp");
        fsx::remove_file_if_exists(&temporary)?;
        let writer = BufWriter::new(ownership::create_new(&temporary)?);
        let Encoded { mut writer, size, checksum, .. } = merge(inputs, header, writer)?;
        writer.flush().on("write", &temporary)?;
        // The newest parts go first: a crash in between leaves a queue that is shorter, never one
        // with a hole.
        for file in unsent.iter().skip(1).rev() {
            fsx::remove_file(&file.path)?;
        }
        fsx::rename(&temporary, &first.path)?;
        self.files.truncate(unchanged);
        self.files.push_back(SpilledFile { header, path: first.path.clone(), size, checksum });
        self.synced = self.synced.min(unchanged);
        Ok(())
    }

    fn path_of(&self, txid: Txid) -> PathBuf {
        self.directory.join(format!("{txid}-{txid}.ltx"))
    }

    fn discard(&self, path: &Path, why: &str) -> Result<(), SpillError> {
        tracing::warn!(file = %path.display(), "removed a local LTX file: {why}; its commits are shipped again from the database");
        Ok(fsx::remove_file(path)?)
    }
}

/// The LTX files in name order, as far as they were finished.
pub(super) fn ltx_files(directory: &Path) -> Result<Vec<PathBuf>, FsError> {
    files_with(directory, "ltx")
}

/// The files with this extension, in name order.
fn files_with(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, FsError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).on("list", directory),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.on("list", directory)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Decodes the whole file; only one that verifies is worth uploading.
fn check(path: &Path) -> Result<SpilledFile, SpillError> {
    let size = fsx::metadata(path)?.len();
    let decoded = Decoder::new(BufReader::new(fsx::open(path)?))?.finish()?;
    let header = decoded.header;
    if header.min_txid != header.max_txid || header.wal == WalPosition::default() && header.min_txid != Txid::FIRST {
        return Err(LtxError::Malformed("it is not a level-0 file".into()).into());
    }
    Ok(SpilledFile { header, path: path.to_owned(), size, checksum: decoded.checksum })
}

fn open_decoder(file: &SpilledFile) -> Result<Decoder<BufReader<File>>, SpillError> {
    Ok(Decoder::new(BufReader::new(fsx::open(&file.path)?))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_opened_is_not_taken_for_damaged() {
        let dir = tempfile::tempdir().expect("tempdir");
        let damaged = dir.path().join("0000000000000001-0000000000000001.ltx");
        std::fs::write(&damaged, "not LTX").expect("write");
        assert!(Spill::open(dir.path()).expect("readable").is_empty());
        assert!(!damaged.exists(), "it is removed");

        let unreadable = dir.path().join("0000000000000002-0000000000000002.ltx");
        std::os::unix::fs::symlink(&unreadable, &unreadable).expect("a link to itself");
        assert!(matches!(Spill::open(dir.path()), Err(SpillError::Io(_))));
        assert!(std::fs::symlink_metadata(&unreadable).is_ok(), "it is left");
    }
}
