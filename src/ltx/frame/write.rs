//! One page frame as it is written, in either flavour.
//!
//! This runs for every page between a commit and its upload: one buffer and one table for all of
//! them, and no allocation.

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::lz4;
use crate::ltx::Flavour;
use crate::ltx::page_head::{BLOCK_HEADER_LEN, FRAME_HEADER_LEN};
use crate::ltx::xxh32::xxh32;
use crate::page::{PageSize, Pgno};

/// What a page frame takes at most, in either flavour.
pub fn max_written_len(page_size: PageSize) -> usize {
    let block = BLOCK_HEADER_LEN + get_maximum_output_size(page_size.bytes());
    block.max(lz4::BLOCK_START + page_size.bytes() + lz4::END_LEN)
}

pub struct FrameWriter {
    flavour: Flavour,
    table: CompressTable,
    buffer: Vec<u8>,
}

/// A page frame.
pub struct Frame<'a> {
    pub bytes: &'a [u8],
    /// That many bytes at its beginning go into the file checksum as they are; then comes the page,
    /// uncompressed.
    pub head_len: usize,
}

impl FrameWriter {
    pub fn new(flavour: Flavour, page_size: PageSize) -> FrameWriter {
        let is_small = page_size.get() < u32::from(u16::MAX);
        let table = if is_small { CompressTable::small() } else { CompressTable::large() };
        // A block may be longer while it is made than the page that is stored in its place.
        let len = lz4::BLOCK_START + get_maximum_output_size(page_size.bytes()) + lz4::END_LEN;
        let mut buffer = vec![0; len];
        buffer[4..FRAME_HEADER_LEN].copy_from_slice(&flavour.flags().to_be_bytes());
        if flavour == Flavour::Frame {
            buffer[FRAME_HEADER_LEN..][..lz4::HEADER.len()].copy_from_slice(&lz4::HEADER);
        }
        FrameWriter { flavour, table, buffer }
    }

    /// The frame of `page`, which must be one page long.
    pub fn write(&mut self, pgno: Pgno, page: &[u8]) -> Frame<'_> {
        self.buffer[..4].copy_from_slice(&pgno.get().to_be_bytes());
        match self.flavour {
            Flavour::Block => {
                let block = self.compress(page, BLOCK_HEADER_LEN);
                self.buffer[FRAME_HEADER_LEN..BLOCK_HEADER_LEN].copy_from_slice(&(block as u32).to_be_bytes());
                Frame { bytes: &self.buffer[..BLOCK_HEADER_LEN + block], head_len: BLOCK_HEADER_LEN }
            }
            Flavour::Frame => {
                let end = self.lz4_frame(page);
                Frame { bytes: &self.buffer[..end], head_len: FRAME_HEADER_LEN }
            }
        }
    }

    /// One block behind the header that stands there already, end mark and checksum of the content;
    /// returns its end.
    fn lz4_frame(&mut self, page: &[u8]) -> usize {
        let start = lz4::BLOCK_START;
        let block = self.compress(page, start);
        let (len, field) = match block < page.len() {
            true => (block, block as u32),
            false => {
                self.buffer[start..][..page.len()].copy_from_slice(page);
                (page.len(), page.len() as u32 | lz4::STORED)
            }
        };
        self.buffer[start - 4..start].copy_from_slice(&field.to_le_bytes());
        let (end_mark, checksum) = self.buffer[start + len..][..lz4::END_LEN].split_at_mut(4);
        end_mark.copy_from_slice(&lz4::END_MARK);
        checksum.copy_from_slice(&xxh32(page).to_le_bytes());
        start + len + lz4::END_LEN
    }

    fn compress(&mut self, page: &[u8], at: usize) -> usize {
        compress_into_with_table(page, &mut self.buffer[at..], &mut self.table)
            .expect("the buffer holds the worst case of a page")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::ltx::testing::{noise, page};

    fn written(flavour: Flavour, page: &[u8]) -> (Vec<u8>, usize) {
        let size = PageSize::new(page.len() as u32).expect("a page size");
        let mut writer = FrameWriter::new(flavour, size);
        // What an earlier and longer frame left in the buffer must not show.
        writer.write(Pgno::FIRST, &noise(size.get()));
        let frame = writer.write(Pgno::new(0x0102_0304).expect("not zero"), page);
        assert!(frame.bytes.len() <= max_written_len(size));
        (frame.bytes.to_vec(), frame.head_len)
    }

    /// An LZ4 frame by a reader that is not ours, which compares the checksums.
    fn unframed(frame: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        lz4_flex::frame::FrameDecoder::new(frame).read_to_end(&mut content).expect("an LZ4 frame");
        content
    }

    #[test]
    fn a_page_in_an_lz4_frame_looks_as_go_writes_it() {
        for page_size in [512, 4096, 32768, 65536] {
            for page in [page(page_size, 3), vec![0; page_size as usize], noise(page_size)] {
                let (frame, head_len) = written(Flavour::Frame, &page);
                assert_eq!(frame[..head_len], [1, 2, 3, 4, 0, 0]);
                assert_eq!(frame[6..13], [0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7]);
                assert_eq!(frame[frame.len() - 8..frame.len() - 4], [0; 4], "the end mark");
                assert!(unframed(&frame[6..]) == page);
                let stored = frame[16] & 0x80 != 0;
                assert_eq!(stored, frame.len() == 6 + 11 + page.len() + 8, "stored only where nothing is gained");
            }
        }
    }

    #[test]
    fn a_page_in_a_block_has_its_length_in_front() {
        for page_size in [512, 65536] {
            for page in [page(page_size, 3), noise(page_size)] {
                let (frame, head_len) = written(Flavour::Block, &page);
                assert_eq!(frame[..6], [1, 2, 3, 4, 0, 1]);
                let len = u32::from_be_bytes(frame[6..head_len].try_into().expect("four bytes"));
                assert_eq!(len as usize, frame.len() - head_len);
                assert!(lz4_flex::block::decompress(&frame[head_len..], page.len()).expect("a block") == page);
            }
        }
    }
}
