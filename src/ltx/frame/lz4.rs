//! A page as one LZ4 frame without a length in front of it.
//!
//! ```text
//! 04 22 4d 18 │ 64 │ 40 │ a7 │ block size (4) │ block │ 00 00 00 00 │ xxHash-32 of the page (4)
//! magic         FLG  BD   HC   bit 31 = stored          end mark
//! ```
//!
//! FLG 64 says independent blocks and a checksum of the content, BD 40 blocks of at most 64 KiB, so
//! that a page is always one block. That is what Litestream writes and what we write; other LZ4
//! frames are read as well. A frame is cut out block by block, so that not a byte behind it is
//! consumed, and only then inflated.

use std::io::Read;
use std::ops::Range;

use crate::ltx::page_head::FRAME_HEADER_LEN;
use crate::ltx::xxh32::xxh32;
use crate::ltx::{Result, malformed, read_exact};
use crate::page::{PageSize, Pgno};

/// Magic, FLG, BD, and the header's own checksum.
pub(super) const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7];
/// Of the only block, from the beginning of the page frame.
pub(super) const BLOCK_START: usize = FRAME_HEADER_LEN + HEADER.len() + 4;
pub(super) const END_MARK: [u8; 4] = [0; 4];
/// End mark and checksum of the content.
pub(super) const END_LEN: usize = 8;
/// In a block's size field: the block is stored as it is.
pub(super) const STORED: u32 = 1 << 31;

/// Magic, FLG, BD, content size, dictionary id, header checksum.
const MAX_HEADER_LEN: usize = 4 + 1 + 1 + 8 + 4 + 1;

/// The longest LZ4 block that can be needed for `len` bytes.
pub(super) fn max_block_len(page_size: PageSize) -> usize {
    let len = page_size.bytes();
    len + len / 255 + 16
}

/// Frame header, one block with its size and checksum, end mark, content checksum.
pub(super) fn max_len(page_size: PageSize) -> usize {
    MAX_HEADER_LEN + 4 + max_block_len(page_size) + 4 + 4 + 4
}

/// Reads one LZ4 frame and inflates it into `page`, exactly; returns its length.
pub(super) fn read(reader: &mut impl Read, pgno: Pgno, scratch: &mut Vec<u8>, page: &mut [u8]) -> Result<usize> {
    let page_size = PageSize::new(page.len() as u32).expect("the buffer is one page long");
    scratch.clear();
    let descriptor = take(reader, scratch, HEADER.len())?;
    if descriptor[..4] != HEADER[..4] {
        return Err(malformed(format!("page {pgno} has neither a size nor an LZ4 frame")));
    }
    let (is_usual, flags) = (*descriptor == HEADER, descriptor[4]);
    let (block_checksum, content_size) = (flags & 0x10 != 0, flags & 0x08 != 0);
    let (content_checksum, dictionary) = (flags & 0x04 != 0, flags & 0x01 != 0);
    if dictionary {
        return Err(malformed(format!("page {pgno} needs an LZ4 dictionary")));
    }
    if content_size {
        take(reader, scratch, 8)?;
    }
    let (mut blocks, mut only) = (0, (0..0, false));
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
        blocks += 1;
        only = (scratch.len()..scratch.len() + len, field & STORED != 0);
        take(reader, scratch, len)?;
    }
    if content_checksum {
        take(reader, scratch, 4)?;
    }
    if scratch.len() > max_len(page_size) {
        return Err(malformed(format!("page {pgno} has an LZ4 frame of {} bytes", scratch.len())));
    }
    match is_usual && blocks == 1 {
        true => inflate_block(scratch, only, pgno, page)?,
        false => inflate(scratch, pgno, page)?,
    }
    Ok(scratch.len())
}

fn take<'a>(reader: &mut impl Read, scratch: &'a mut Vec<u8>, len: usize) -> Result<&'a [u8]> {
    let start = scratch.len();
    scratch.resize(start + len, 0);
    read_exact(reader, &mut scratch[start..], "page frames")?;
    Ok(&scratch[start..])
}

/// The frame that every page is in: straight into `page`, where a decoder of frames would take
/// buffers of its own first.
fn inflate_block(frame: &[u8], (block, is_stored): (Range<usize>, bool), pgno: Pgno, page: &mut [u8]) -> Result<()> {
    let block = &frame[block];
    let len = match is_stored {
        true if block.len() == page.len() => {
            page.copy_from_slice(block);
            block.len()
        }
        true => block.len(),
        false => lz4_flex::block::decompress_into(block, page)
            .map_err(|error| malformed(format!("page {pgno} does not inflate: {error}")))?,
    };
    if len != page.len() {
        return Err(malformed(format!("page {pgno} inflates to {len} bytes")));
    }
    // The file checksum does not cover these four bytes, and Litestream reads no page whose
    // checksum is not right.
    if frame[frame.len() - 4..] != xxh32(page).to_le_bytes() {
        return Err(malformed(format!("page {pgno} is not what the checksum of its LZ4 frame says")));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;
    use crate::ltx::testing::{noise, page};

    fn framed(info: FrameInfo, content: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(content).expect("to memory");
        encoder.finish().expect("to memory")
    }

    fn usual() -> FrameInfo {
        FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent).content_checksum(true)
    }

    fn read_page(frame: &[u8], page_size: u32) -> Result<Vec<u8>> {
        let mut page = vec![0xee; page_size as usize];
        let mut rest = frame;
        let len = read(&mut rest, Pgno::FIRST, &mut Vec::new(), &mut page)?;
        assert_eq!(frame.len() - rest.len(), len, "no byte more is consumed");
        Ok(page)
    }

    #[test]
    fn frames_of_every_kind_are_read() {
        for page_size in [512, 4096, 65536] {
            for page in [page(page_size, 5), noise(page_size)] {
                let kinds = [
                    usual(),
                    usual().block_checksums(true),
                    usual().content_checksum(false),
                    usual().content_size(Some(page_size.into())),
                    FrameInfo::new().block_size(BlockSize::Max4MB).block_mode(BlockMode::Linked),
                ];
                for kind in kinds {
                    let frame = [framed(kind, &page), vec![9; 40]].concat();
                    assert!(read_page(&frame, page_size).expect("an LZ4 frame") == page);
                }
            }
        }
    }

    #[test]
    fn a_frame_must_inflate_to_exactly_one_page() {
        for content in [vec![], page(512, 1)[..511].to_vec(), page(1024, 1), noise(1024)[..513].to_vec(), noise(1024)] {
            for kind in [usual(), usual().block_checksums(true)] {
                assert!(read_page(&framed(kind, &content), 512).is_err(), "{} bytes", content.len());
            }
        }
    }

    #[test]
    fn every_bit_of_a_frame_counts() {
        for content in [page(512, 1), noise(512)] {
            let frame = framed(usual(), &content);
            for at in 0..frame.len() {
                for bit in 0..8 {
                    let mut damaged = frame.clone();
                    damaged[at] ^= 1 << bit;
                    // A few bits of a block do not change what it inflates to.
                    if let Ok(decoded) = read_page(&damaged, 512) {
                        assert!(decoded == content && at > 10 && at < frame.len() - 8, "byte {at} bit {bit}");
                    }
                }
            }
        }
    }
}
