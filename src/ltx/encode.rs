//! The encoder: pages in, one LTX file out, in a single pass.
//!
//! It runs between a commit and its upload, so a page costs one compression, one CRC and one write,
//! and no allocation. What the index will say is kept until then (`outline.rs`), in about three
//! bytes for a page.

use std::io::Write;

use super::frame::{FrameWriter, PageOrder, max_written_len};
use super::outline::Outline;
use super::page_head::END_OF_PAGES;
use super::{Crc, Flavour, HEADER_LEN, Header, LtxError, Result, TAIL_LEN};
use crate::page::{PageSize, Pgno};

/// Writes one file. Dropped without [`Encoder::finish`], what it wrote is not a valid LTX file.
pub struct Encoder<W: Write> {
    writer: W,
    header: Header,
    order: PageOrder,
    crc: Crc,
    offset: u64,
    outline: Outline,
    frames: FrameWriter,
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

/// What a file of so many pages takes at most, whatever is in them and in whatever flavour.
pub fn encoded_len_max(page_size: PageSize, pages: u64) -> u64 {
    // An entry of the index is three varints.
    const INDEX_ENTRY_MAX: usize = 5 + 10 + 10;
    const ENDS: u64 = (HEADER_LEN + END_OF_PAGES.len() + 1 + TAIL_LEN) as u64;
    let page = max_written_len(page_size) + INDEX_ENTRY_MAX;
    (page as u64).saturating_mul(pages).saturating_add(ENDS)
}

impl<W: Write> Encoder<W> {
    /// A file in the flavour that everybody reads.
    #[cfg(test)]
    pub fn new(writer: W, header: Header) -> Result<Encoder<W>> {
        Encoder::with_flavour(writer, header, Flavour::default())
    }

    /// Which flavour a file gets is decided by [`Flavour::after`].
    pub fn with_flavour(mut writer: W, header: Header, flavour: Flavour) -> Result<Encoder<W>> {
        header.check().map_err(LtxError::Refused)?;
        let raw = header.encode();
        write(&mut writer, &raw)?;
        let mut crc = Crc::new();
        crc.update(&raw);
        Ok(Encoder {
            writer,
            header,
            order: PageOrder::new(&header),
            crc,
            offset: HEADER_LEN as u64,
            outline: Outline::default(),
            frames: FrameWriter::new(flavour, header.page_size),
        })
    }

    /// Adds the next page. Pages ascend and are within the database; the lock page is never added;
    /// a snapshot gets them all.
    pub fn page(&mut self, pgno: Pgno, data: &[u8]) -> Result<()> {
        if data.len() != self.header.page_size.bytes() {
            let wanted = self.header.page_size;
            return Err(LtxError::Refused(format!("page {pgno} has {} bytes instead of {wanted}", data.len())));
        }
        self.order.admit(pgno.get()).map_err(LtxError::Refused)?;
        let frame = self.frames.write(pgno, data);
        self.crc.update(&frame.bytes[..frame.head_len]);
        self.crc.update(data);
        write(&mut self.writer, frame.bytes)?;
        let len = frame.bytes.len() as u64;
        self.outline.push(pgno, len);
        self.offset += len;
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
    use crate::ltx::testing::{decode, encode, encode_as, header, noise, page};

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
        for page_size in [512, 4096, 32768, 65536] {
            for flavour in [Flavour::Frame, Flavour::Block] {
                let pages = vec![(1, noise(page_size))];
                let file = encode_as(flavour, header(page_size, 1, 1, 1), &pages);
                assert!(file.len() > page_size as usize);
                let size = PageSize::new(page_size).expect("valid");
                assert!(file.len() as u64 <= encoded_len_max(size, 1), "{} bytes", file.len());
                assert_eq!(decode(&file).expect("valid").1, pages);
            }
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
