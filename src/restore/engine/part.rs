//! One part of one file: frames in, owned pages written to their places. Plain blocking code.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::fsx::{Context, FsError};
use crate::ltx::{FrameReader, Frames, Header, LtxError};
use crate::page::Pgno;
use crate::restore::open::Part;
use crate::restore::pages::Bits;

/// Neighbouring pages are written together, this many bytes at most.
const WRITE_LEN: usize = 256 * 1024;

pub(super) enum Failure {
    Bytes(LtxError),
    Disk(FsError),
}

impl From<LtxError> for Failure {
    fn from(error: LtxError) -> Failure {
        Failure::Bytes(error)
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Failure {
        Failure::Disk(error)
    }
}

pub(super) struct Applied {
    pub frames: Frames,
    pub pages_written: u64,
}

/// Decodes all frames in `bytes` and writes those pages to `file` whose bit in `owned` is set. `buffer` is memory to work in.
pub(super) fn apply(
    header: &Header,
    owned: &Bits,
    part: Part,
    mut bytes: &[u8],
    buffer: &mut Vec<u8>,
    file: &File,
    path: &Path,
) -> Result<Applied, Failure> {
    let page_len = header.page_size.bytes();
    let mut reader = FrameReader::new(header, part.start, part.after);
    buffer.resize(WRITE_LEN.max(page_len), 0);
    // The pages in the buffer that wait to be written: the first one, and how many bytes.
    let (mut first, mut filled) = (Pgno::FIRST, 0);
    let (mut frame, mut pages_written) = (part.first_frame, 0);
    let flush =
        |buffer: &[u8], first: Pgno| file.write_all_at(buffer, first.offset(header.page_size)).on("write", path);
    while !bytes.is_empty() {
        let page = &mut buffer[filled..filled + page_len];
        let Some(pgno) = reader.next_page(&mut bytes, page)? else {
            return Err(LtxError::Malformed("the pages end before the index says so".into()).into());
        };
        if frame < part.end_frame && owned.get(frame) {
            pages_written += 1;
            let next = first.index() + filled / page_len;
            if filled == 0 {
                first = pgno;
            } else if next != pgno.index() {
                flush(&buffer[..filled], first)?;
                buffer.copy_within(filled..filled + page_len, 0);
                (first, filled) = (pgno, 0);
            }
            filled += page_len;
            if filled + page_len > buffer.len() {
                flush(&buffer[..filled], first)?;
                filled = 0;
            }
        }
        frame += 1;
    }
    flush(&buffer[..filled], first)?;
    Ok(Applied { frames: reader.finish(), pages_written })
}
