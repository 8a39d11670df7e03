//! The encoder: pages in, one LTX file out, in a single pass.
//!
//! It runs between a commit and its upload, so a page costs one compression, one CRC and one write, and no allocation. What
//! the index will say is kept until then (`outline.rs`), in about three bytes for a page.

use std::io::Write;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::frame::{BLOCK_HEADER_LEN, END_OF_PAGES, FLAG_BLOCK, FRAME_HEADER_LEN, PageOrder};
use super::outline::Outline;
use super::{Crc, HEADER_LEN, Header, LtxError, Result, TAIL_LEN};
use crate::page::{PageSize, Pgno};

/// Writes one file. Dropped without [`Encoder::finish`], what it wrote is not a valid LTX file.
pub struct Encoder<W: Write> {
    writer: W,
    header: Header,
    order: PageOrder,
    crc: Crc,
    offset: u64,
    outline: Outline,
    frame: Vec<u8>,
    table: CompressTable,
}

/// A finished file.
#[derive(Debug)]
pub struct Encoded<W> {
    pub writer: W,
    /// Length of the file in bytes.
    pub size: u64,
    /// The file checksum in its trailer.
    pub checksum: u64,
}

/// What a file of so many pages takes at most, whatever is in them.
pub fn encoded_len_max(page_size: PageSize, pages: u64) -> u64 {
    // An entry of the index is three varints.
    const INDEX_ENTRY_MAX: usize = 5 + 10 + 10;
    const ENDS: u64 = (HEADER_LEN + END_OF_PAGES.len() + 1 + TAIL_LEN) as u64;
    let page = BLOCK_HEADER_LEN + get_maximum_output_size(page_size.bytes()) + INDEX_ENTRY_MAX;
    (page as u64).saturating_mul(pages).saturating_add(ENDS)
}

impl<W: Write> Encoder<W> {
    pub fn new(mut writer: W, header: Header) -> Result<Encoder<W>> {
        header.check().map_err(LtxError::Refused)?;
        let raw = header.encode();
        write(&mut writer, &raw)?;
        let mut crc = Crc::new();
        crc.update(&raw);
        let table =
            if header.page_size.get() < u32::from(u16::MAX) { CompressTable::small() } else { CompressTable::large() };
        Ok(Encoder {
            writer,
            header,
            order: PageOrder::new(&header),
            crc,
            offset: HEADER_LEN as u64,
            outline: Outline::default(),
            frame: vec![0; BLOCK_HEADER_LEN + get_maximum_output_size(header.page_size.bytes())],
            table,
        })
    }

    /// Adds the next page. Pages ascend and lie within the database; the lock page is never added; a snapshot gets them all.
    pub fn page(&mut self, pgno: Pgno, data: &[u8]) -> Result<()> {
        if data.len() != self.header.page_size.bytes() {
            let wanted = self.header.page_size;
            return Err(LtxError::Refused(format!("page {pgno} has {} bytes instead of {wanted}", data.len())));
        }
        self.order.admit(pgno.get()).map_err(LtxError::Refused)?;
        let block = compress_into_with_table(data, &mut self.frame[BLOCK_HEADER_LEN..], &mut self.table)
            .expect("the buffer holds the worst case of a page");
        self.frame[..4].copy_from_slice(&pgno.get().to_be_bytes());
        self.frame[4..FRAME_HEADER_LEN].copy_from_slice(&FLAG_BLOCK.to_be_bytes());
        self.frame[FRAME_HEADER_LEN..BLOCK_HEADER_LEN].copy_from_slice(&(block as u32).to_be_bytes());
        self.crc.update(&self.frame[..BLOCK_HEADER_LEN]);
        self.crc.update(data);
        let len = BLOCK_HEADER_LEN + block;
        write(&mut self.writer, &self.frame[..len])?;
        self.outline.push(pgno, len as u64);
        self.offset += len as u64;
        Ok(())
    }

    /// Writes index and trailer. The writer is not flushed further than its own `write_all`.
    pub fn finish(self) -> Result<Encoded<W>> {
        self.order.complete().map_err(LtxError::Refused)?;
        let Encoder { mut writer, mut crc, .. } = self;
        write(&mut writer, &END_OF_PAGES)?;
        crc.update(&END_OF_PAGES);
        let piece_done = |piece: &[u8]| {
            crc.update(piece);
            writer.write_all(piece)
        };
        let index_len = self.outline.write(piece_done).map_err(unwritten)?;
        let mut tail = [0; super::TAIL_LEN];
        let (described, checksum) = tail.split_at_mut(16);
        // The post-apply checksum behind the length is not tracked: zero.
        described[..8].copy_from_slice(&index_len.to_be_bytes());
        crc.update(described);
        let file_checksum = crc.file_checksum();
        checksum.copy_from_slice(&file_checksum.to_be_bytes());
        write(&mut writer, &tail)?;
        let size = self.offset + (END_OF_PAGES.len() + tail.len()) as u64 + index_len;
        Ok(Encoded { writer, size, checksum: file_checksum })
    }
}

fn write(writer: &mut impl Write, bytes: &[u8]) -> Result<()> {
    writer.write_all(bytes).map_err(unwritten)
}

fn unwritten(source: std::io::Error) -> LtxError {
    LtxError::Io { verb: "write LTX file", source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::testing::{decode, encode, header, page};

    fn pgno(number: u32) -> Pgno {
        Pgno::new(number).expect("not zero")
    }

    #[test]
    fn what_the_format_forbids_is_refused() {
        let mut reversed = header(4096, 9, 2, 2);
        reversed.max_txid = crate::ltx::Txid::FIRST;
        assert!(matches!(Encoder::new(Vec::new(), reversed), Err(LtxError::Refused(_))));

        let mut encoder = Encoder::new(Vec::new(), header(4096, 9, 2, 2)).expect("valid header");
        assert!(matches!(encoder.page(pgno(1), &[0; 512]), Err(LtxError::Refused(_))), "wrong length");
        assert!(matches!(encoder.page(pgno(10), &[0; 4096]), Err(LtxError::Refused(_))), "beyond the database");
        encoder.page(pgno(5), &[0; 4096]).expect("fine");
        assert!(matches!(encoder.page(pgno(5), &[0; 4096]), Err(LtxError::Refused(_))), "twice");

        let mut encoder = Encoder::new(Vec::new(), header(4096, 9, 1, 1)).expect("valid header");
        encoder.page(pgno(1), &[0; 4096]).expect("fine");
        assert!(matches!(encoder.page(pgno(3), &[0; 4096]), Err(LtxError::Refused(_))), "a gap in a snapshot");
        assert!(matches!(encoder.finish(), Err(LtxError::Refused(_))), "an incomplete snapshot");
    }

    #[test]
    fn pages_around_the_lock_page_round_trip() {
        let lock = 16_385;
        let mut encoder = Encoder::new(Vec::new(), header(65536, lock + 2, 2, 2)).expect("valid header");
        assert!(matches!(encoder.page(pgno(lock), &vec![0; 65536]), Err(LtxError::Refused(_))));
        let pages: Vec<_> = [lock - 1, lock + 1, lock + 2].map(|n| (n, page(65536, n.into()))).into();
        let file = encode(header(65536, lock + 2, 2, 2), &pages);
        assert_eq!(decode(&file).expect("valid").1, pages);
    }

    #[test]
    fn a_page_that_does_not_compress_fits() {
        let mut state = 1u64;
        for page_size in [512, 4096, 32768, 65536] {
            let noise: Vec<u8> = (0..page_size)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 33) as u8
                })
                .collect();
            let pages = vec![(1, noise)];
            let file = encode(header(page_size, 1, 1, 1), &pages);
            assert!(file.len() > page_size as usize);
            let size = PageSize::new(page_size).expect("valid");
            assert!(file.len() as u64 <= encoded_len_max(size, 1), "{} bytes", file.len());
            assert_eq!(decode(&file).expect("valid").1, pages);
        }
    }

    #[test]
    fn a_writer_that_fails_fails_the_encoder() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        assert!(matches!(Encoder::new(Full, header(512, 1, 1, 1)), Err(LtxError::Io { .. })));
    }
}
