//! The page payload of Litestream 0.5.0 to 0.5.3: one LZ4 frame without a length in front.
//!
//! The frame is cut out block by block, so that not a byte behind it is consumed, and only then inflated.

use std::io::Read;

use super::max_block_len;
use crate::ltx::{Result, malformed, read_exact};
use crate::page::{PageSize, Pgno};

const MAGIC: [u8; 4] = 0x184D_2204u32.to_le_bytes();
/// Magic, FLG, BD, content size, dictionary id, header checksum.
const MAX_HEADER_LEN: usize = 4 + 1 + 1 + 8 + 4 + 1;
/// In a block's size field: the block is stored as it is.
const STORED: u32 = 1 << 31;

/// Frame header, one block with its size and checksum, end mark, content checksum.
pub(super) fn max_len(page_size: PageSize) -> usize {
    MAX_HEADER_LEN + 4 + max_block_len(page_size) + 4 + 4 + 4
}

/// Reads one LZ4 frame and inflates it into `page`, exactly; returns its length.
pub(super) fn read(reader: &mut impl Read, pgno: Pgno, scratch: &mut Vec<u8>, page: &mut [u8]) -> Result<usize> {
    let page_size = PageSize::new(page.len() as u32).expect("the buffer is one page long");
    scratch.clear();
    let descriptor = take(reader, scratch, 6)?;
    if descriptor[..4] != MAGIC {
        return Err(malformed(format!("page {pgno} has neither a size nor an LZ4 frame")));
    }
    let flags = descriptor[4];
    let (block_checksum, content_size) = (flags & 0x10 != 0, flags & 0x08 != 0);
    let (content_checksum, dictionary) = (flags & 0x04 != 0, flags & 0x01 != 0);
    if dictionary {
        return Err(malformed(format!("page {pgno} needs an LZ4 dictionary")));
    }
    take(reader, scratch, if content_size { 9 } else { 1 })?;
    loop {
        let field = take(reader, scratch, 4)?;
        let field = u32::from_le_bytes(field.try_into().expect("four bytes"));
        if field == 0 {
            break;
        }
        let len = (field & !STORED) as usize + if block_checksum { 4 } else { 0 };
        if scratch.len() + len > max_len(page_size) {
            return Err(malformed(format!("page {pgno} has an LZ4 block of {len} bytes")));
        }
        take(reader, scratch, len)?;
    }
    if content_checksum {
        take(reader, scratch, 4)?;
    }
    if scratch.len() > max_len(page_size) {
        return Err(malformed(format!("page {pgno} has an LZ4 frame of {} bytes", scratch.len())));
    }
    inflate(scratch, pgno, page)?;
    Ok(scratch.len())
}

fn take<'a>(reader: &mut impl Read, scratch: &'a mut Vec<u8>, len: usize) -> Result<&'a [u8]> {
    let start = scratch.len();
    scratch.resize(start + len, 0);
    read_exact(reader, &mut scratch[start..], "page frames")?;
    Ok(&scratch[start..])
}

fn inflate(frame: &[u8], pgno: Pgno, page: &mut [u8]) -> Result<()> {
    let failed = |error: std::io::Error| malformed(format!("page {pgno} does not inflate: {error}"));
    let mut decoder = lz4_flex::frame::FrameDecoder::new(frame);
    decoder.read_exact(page).map_err(failed)?;
    // Reading on to the end is what makes the decoder compare the content checksum.
    match decoder.read(&mut [0]).map_err(failed)? {
        0 => Ok(()),
        _ => Err(malformed(format!("page {pgno} inflates to more than a page"))),
    }
}
