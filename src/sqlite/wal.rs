//! The `-wal` file, read directly (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).
//!
//! No lock lives on this file, so it may be opened, read and closed at will. What makes a frame
//! valid is written in it: both salts equal the header's, and the checksum continues the chain that
//! began with the header. Reading stops at the first frame that breaks either rule, exactly as
//! SQLite's own recovery does.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::fsx::{self, Context, FsError};
use crate::page::{PageSize, Pgno};

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub mod recovery;
mod stream;

pub use stream::{FrameStream, StreamError};

pub const WAL_HEADER_LEN: u64 = 32;
pub const FRAME_HEADER_LEN: u64 = 24;

/// Frames are scanned in reads of about this size.
const SCAN_BUFFER_BYTES: usize = 256 * 1024;

const MAGIC_LITTLE_ENDIAN: u32 = 0x377f_0682;
const MAGIC_BIG_ENDIAN: u32 = 0x377f_0683;
const WAL_VERSION: u32 = 3_007_000;

/// The two random numbers that tell one generation of the WAL from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Salts(pub u32, pub u32);

/// The cumulative checksum after some frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameChecksum(pub u32, pub u32);

#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error(transparent)]
    Io(#[from] FsError),
    /// The file does not hold the frames that the wal-index promises: it was replaced or damaged.
    #[error("{}: frame {frame} is not valid: {what}", path.display())]
    Invalid { path: PathBuf, frame: u32, what: &'static str },
}

/// A validated WAL header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalHeader {
    pub page_size: PageSize,
    pub salts: Salts,
    checksum: FrameChecksum,
    big_endian: bool,
}

impl WalHeader {
    /// `None` where SQLite would treat the WAL as empty.
    pub fn parse(bytes: &[u8; WAL_HEADER_LEN as usize]) -> Option<WalHeader> {
        let word = |at: usize| be32(bytes, at);
        let big_endian = match word(0) {
            MAGIC_LITTLE_ENDIAN => false,
            MAGIC_BIG_ENDIAN => true,
            _ => return None,
        };
        let stored = FrameChecksum(word(24), word(28));
        let computed = extend(FrameChecksum(0, 0), &bytes[..24], big_endian);
        if word(4) != WAL_VERSION || stored != computed {
            return None;
        }
        let page_size = PageSize::new(word(8))?;
        Some(WalHeader { page_size, salts: Salts(word(16), word(20)), checksum: stored, big_endian })
    }
}

/// One frame's header as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Counted from 1.
    pub number: u32,
    pub pgno: Pgno,
    /// Database size in pages after the commit; 0 unless this frame ends a transaction.
    pub commit: u32,
}

/// A frame header that is not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame {
    pub pgno: Option<Pgno>,
    pub salts: Salts,
}

/// The open `-wal` file of one database.
pub struct Wal {
    file: File,
    path: PathBuf,
}

impl Wal {
    /// Opens the file; `None` when there is none.
    pub fn open_if_exists(path: &Path) -> fsx::Result<Option<Wal>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Wal { file, path: path.to_owned() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).on("open", path),
        }
    }

    pub fn len(&self) -> fsx::Result<u64> {
        Ok(self.file.metadata().on("stat", &self.path)?.len())
    }

    /// The header; `None` when the file is shorter than one or SQLite would ignore it.
    pub fn header(&self) -> fsx::Result<Option<WalHeader>> {
        let mut bytes = [0; WAL_HEADER_LEN as usize];
        Ok(self.read_exact_at(&mut bytes, 0)?.then(|| WalHeader::parse(&bytes)).flatten())
    }

    /// What the header of frame `number` (from 1) says, without any check; `None` past the end of
    /// the file.
    pub fn raw_frame(&self, number: u32, page_size: PageSize) -> fsx::Result<Option<RawFrame>> {
        let mut bytes = [0; FRAME_HEADER_LEN as usize];
        let found = self.read_exact_at(&mut bytes, frame_offset(number - 1, page_size))?;
        Ok(found
            .then(|| RawFrame { pgno: Pgno::new(be32(&bytes, 0)), salts: Salts(be32(&bytes, 8), be32(&bytes, 12)) }))
    }

    /// Reads frames `after + 1 ..= upto` in order, checks salts and checksums, and hands each to
    /// `visit`. The chain starts from `checksum`, that of frame `after` (for the first frame: the
    /// header's). Returns the checksum of frame `upto`.
    pub fn scan(
        &self,
        header: &WalHeader,
        after: u32,
        checksum: Option<FrameChecksum>,
        upto: u32,
        mut visit: impl FnMut(Frame),
    ) -> Result<FrameChecksum, WalError> {
        let frame_len = FRAME_HEADER_LEN as usize + header.page_size.bytes();
        let frames_per_read = (SCAN_BUFFER_BYTES / frame_len).max(1);
        let mut buffer = vec![0; frames_per_read.min((upto - after.min(upto)) as usize) * frame_len];
        let mut sum = checksum.unwrap_or(header.checksum);
        let mut done = after;
        while done < upto {
            let count = frames_per_read.min((upto - done) as usize);
            let chunk = &mut buffer[..count * frame_len];
            if !self.read_exact_at(chunk, frame_offset(done, header.page_size))? {
                let whole = self.len()?.saturating_sub(WAL_HEADER_LEN) / frame_len as u64;
                return Err(self.invalid(u32::try_from(whole).unwrap_or(done) + 1, "the file ends before its end"));
            }
            for bytes in chunk.chunks_exact(frame_len) {
                done += 1;
                sum = self.check_frame(header, done, bytes, sum, &mut visit)?;
            }
        }
        Ok(sum)
    }

    /// The page that frame `number` (from 1) holds.
    pub fn read_page(&self, number: u32, page: &mut [u8], page_size: PageSize) -> Result<(), WalError> {
        let offset = frame_offset(number - 1, page_size) + FRAME_HEADER_LEN;
        match self.read_exact_at(page, offset)? {
            true => Ok(()),
            false => Err(self.invalid(number, "the file ends inside it")),
        }
    }

    fn check_frame(
        &self,
        header: &WalHeader,
        number: u32,
        bytes: &[u8],
        sum: FrameChecksum,
        visit: &mut impl FnMut(Frame),
    ) -> Result<FrameChecksum, WalError> {
        let (head, page) = bytes.split_at(FRAME_HEADER_LEN as usize);
        let (frame, sum) = check(header, number, head, page, sum).map_err(|what| self.invalid(number, what))?;
        visit(frame);
        Ok(sum)
    }

    /// `false` when the file ends before the buffer is full.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> fsx::Result<bool> {
        match self.file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error).on("read", &self.path),
        }
    }

    fn invalid(&self, frame: u32, what: &'static str) -> WalError {
        WalError::Invalid { path: self.path.clone(), frame, what }
    }
}

/// Length of one frame: its header and the page.
pub fn frame_len(page_size: PageSize) -> u64 {
    FRAME_HEADER_LEN + u64::from(page_size.get())
}

/// Byte offset at which the frame after `frames` frames begins.
pub fn frame_offset(frames: u32, page_size: PageSize) -> u64 {
    WAL_HEADER_LEN + u64::from(frames) * frame_len(page_size)
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Frame `number`, if its salts and its checksum are right, and the checksum that the next one goes
/// on from.
fn check(
    header: &WalHeader,
    number: u32,
    head: &[u8],
    page: &[u8],
    sum: FrameChecksum,
) -> Result<(Frame, FrameChecksum), &'static str> {
    if Salts(be32(head, 8), be32(head, 12)) != header.salts {
        return Err("its salts are not the header's");
    }
    let sum = extend(extend(sum, &head[..8], header.big_endian), page, header.big_endian);
    if sum != FrameChecksum(be32(head, 16), be32(head, 20)) {
        return Err("its checksum does not continue the chain");
    }
    let pgno = Pgno::new(be32(head, 0)).ok_or("its page number is zero")?;
    Ok((Frame { number, pgno, commit: be32(head, 4) }, sum))
}

/// SQLite's WAL checksum: two sums over pairs of words, in the byte order that the magic number
/// names.
fn extend(start: FrameChecksum, bytes: &[u8], big_endian: bool) -> FrameChecksum {
    let FrameChecksum(mut s1, mut s2) = start;
    for pair in bytes.chunks_exact(8) {
        let first = [pair[0], pair[1], pair[2], pair[3]];
        let second = [pair[4], pair[5], pair[6], pair[7]];
        let (x0, x1) = if big_endian {
            (u32::from_be_bytes(first), u32::from_be_bytes(second))
        } else {
            (u32::from_le_bytes(first), u32::from_le_bytes(second))
        };
        s1 = s1.wrapping_add(x0).wrapping_add(s2);
        s2 = s2.wrapping_add(x1).wrapping_add(s1);
    }
    FrameChecksum(s1, s2)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A database with a live WAL of several commits, and a copy of that WAL that is not written
    /// to.
    fn sample() -> (tempfile::TempDir, PathBuf, u32) {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("x.db");
        let conn = rusqlite::Connection::open(&path).expect("open");
        conn.execute_batch(
            "PRAGMA page_size=1024; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)",
        )
        .expect("create");
        for i in 0..20 {
            conn.execute("INSERT INTO t VALUES (zeroblob(?1))", [i * 100]).expect("insert");
        }
        let copy = dir.path().join("copy-wal");
        fs::copy(fsx::with_suffix(&path, "-wal"), &copy).expect("copy");
        let len = fs::metadata(&copy).expect("stat").len();
        let frames = u32::try_from((len - 32) / (24 + 1024)).expect("small");
        (dir, copy, frames)
    }

    fn scan_all(path: &Path, frames: u32) -> Result<Vec<Frame>, WalError> {
        let wal = Wal::open_if_exists(path)?.expect("exists");
        let header = wal.header()?.expect("valid header");
        let mut seen = Vec::new();
        wal.scan(&header, 0, None, frames, |frame| seen.push(frame))?;
        Ok(seen)
    }

    #[test]
    fn reads_what_sqlite_wrote() {
        let (_dir, path, frames) = sample();
        let seen = scan_all(&path, frames).expect("valid");
        assert_eq!(seen.len(), frames as usize);
        assert!(seen.iter().filter(|f| f.commit > 0).count() >= 20);
        assert!(seen.last().expect("frames").commit > 0);
    }

    #[test]
    fn a_scan_can_continue_where_another_ended() {
        let (_dir, path, frames) = sample();
        let wal = Wal::open_if_exists(&path).expect("open").expect("exists");
        let header = wal.header().expect("read").expect("valid");
        let whole = wal.scan(&header, 0, None, frames, |_| {}).expect("scan");
        let half = wal.scan(&header, 0, None, frames / 2, |_| {}).expect("scan");
        assert_eq!(wal.scan(&header, frames / 2, Some(half), frames, |_| {}).expect("scan"), whole);
        let wrong = FrameChecksum(half.0 ^ 1, half.1);
        assert!(wal.scan(&header, frames / 2, Some(wrong), frames, |_| {}).is_err());
    }

    #[test]
    fn any_flipped_byte_of_a_frame_is_noticed() {
        let (_dir, path, frames) = sample();
        let good = fs::read(&path).expect("read");
        for at in (32..good.len()).step_by(97) {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            fs::write(&path, &bad).expect("write");
            assert!(scan_all(&path, frames).is_err(), "a flip at byte {at} went unnoticed");
        }
    }

    #[test]
    fn a_short_file_is_an_error_and_a_bad_header_an_empty_wal() {
        let (_dir, path, frames) = sample();
        let good = fs::read(&path).expect("read");
        fs::write(&path, &good[..good.len() - 1]).expect("write");
        assert!(matches!(scan_all(&path, frames), Err(WalError::Invalid { frame, .. }) if frame == frames));
        let mut bad = good;
        bad[17] ^= 1;
        fs::write(&path, &bad).expect("write");
        let wal = Wal::open_if_exists(&path).expect("open").expect("exists");
        assert_eq!(wal.header().expect("read"), None);
        assert!(Wal::open_if_exists(Path::new("/nonexistent/x-wal")).expect("ok").is_none());
    }
}
