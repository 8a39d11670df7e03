//! A WAL that comes as a stream: frame after frame with its page, salts and checksums checked.
//!
//! For WALs that were copied while they were whole, so that what does not fit is damage and not an
//! end, as it would be in a file that SQLite writes to: an invalid frame is an error, and so is
//! half a one.

use std::io::{self, Read};

use super::{FRAME_HEADER_LEN, Frame, FrameChecksum, WAL_HEADER_LEN, WalHeader, check};
use crate::page::PageSize;

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The reader underneath failed: its own error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// These bytes are no WAL.
    #[error("the WAL's header is not valid")]
    Header,
    #[error("frame {frame} of the WAL is not valid: {what}")]
    Frame { frame: u32, what: &'static str },
}

/// The frames of a WAL, in order.
pub struct FrameStream<R> {
    reader: R,
    header: WalHeader,
    sum: FrameChecksum,
    number: u32,
}

impl<R: Read> FrameStream<R> {
    /// Reads the header.
    pub fn open(mut reader: R) -> Result<FrameStream<R>, StreamError> {
        let mut bytes = [0; WAL_HEADER_LEN as usize];
        if fill(&mut reader, &mut bytes)? < bytes.len() {
            return Err(StreamError::Header);
        }
        let header = WalHeader::parse(&bytes).ok_or(StreamError::Header)?;
        Ok(FrameStream { reader, header, sum: header.checksum, number: 0 })
    }

    pub fn page_size(&self) -> PageSize {
        self.header.page_size
    }

    /// The next frame, its page in `page`, which is one page long; `None` at the end.
    pub fn next(&mut self, page: &mut [u8]) -> Result<Option<Frame>, StreamError> {
        let mut head = [0; FRAME_HEADER_LEN as usize];
        let frame = self.number.checked_add(1).ok_or(StreamError::Header)?;
        let invalid = |what| StreamError::Frame { frame, what };
        match fill(&mut self.reader, &mut head)? {
            0 => return Ok(None),
            n if n < head.len() => return Err(invalid("the WAL ends inside it")),
            _ => {}
        }
        if fill(&mut self.reader, page)? < page.len() {
            return Err(invalid("the WAL ends inside it"));
        }
        let (checked, sum) = check(&self.header, frame, &head, page, self.sum).map_err(invalid)?;
        (self.sum, self.number) = (sum, frame);
        Ok(Some(checked))
    }
}

/// Reads until the buffer is full or the stream ends.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match reader.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("x.db");
        let conn = rusqlite::Connection::open(&path).expect("open");
        conn.execute_batch("PRAGMA page_size=512; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0")
            .expect("set up");
        conn.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(3000)); INSERT INTO t VALUES (1)")
            .expect("write");
        std::fs::read(dir.path().join("x.db-wal")).expect("read")
    }

    fn frames(bytes: &[u8]) -> Result<Vec<Frame>, StreamError> {
        let mut stream = FrameStream::open(bytes)?;
        let mut page = vec![0; stream.page_size().bytes()];
        let mut seen = Vec::new();
        while let Some(frame) = stream.next(&mut page)? {
            seen.push(frame);
        }
        Ok(seen)
    }

    #[test]
    fn a_whole_wal_is_read_and_anything_else_is_an_error() {
        let wal = sample();
        let whole = frames(&wal).expect("valid");
        assert_eq!(whole.len(), (wal.len() - 32) / 536);
        assert_eq!(whole.iter().filter(|frame| frame.commit > 0).count(), 3);
        assert_eq!(whole.last().map(|frame| frame.number as usize), Some(whole.len()));
        for len in 0..wal.len() {
            match frames(&wal[..len]) {
                Ok(seen) => assert!((len - 32).is_multiple_of(536) && seen.len() == (len - 32) / 536, "{len}"),
                Err(_) => assert!(len < 32 || !(len - 32).is_multiple_of(536), "{len}"),
            }
        }
        for at in (0..wal.len()).step_by(7).filter(|at| *at < 12 || *at >= 16) {
            let mut bad = wal.clone();
            bad[at] ^= 0x10;
            assert!(frames(&bad).is_err(), "a flip at byte {at} went unnoticed");
        }
    }
}
