//! The streaming decoder: a file from its first byte to its last, verified when it is finished.
//!
//! Pages are handed out before the checksum at the end of the file is known: nothing made of them
//! may be used until [`Decoder::finish`] has succeeded.

use std::io::Read;

use super::frame::FrameReader;
use super::index::{END_OF_INDEX, IndexSum, check_end};
use super::{Flavour, HEADER_LEN, Header, LtxError, Result, Tail, malformed, read_exact};
use crate::page::Pgno;

/// Reads one file. It makes small reads: give it a buffered reader.
pub struct Decoder<R: Read> {
    reader: R,
    header: Header,
    raw_header: [u8; HEADER_LEN],
    frames: FrameReader,
    at_end_of_pages: bool,
    pages: u64,
}

/// A file that was read to its end and verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub header: Header,
    pub size: u64,
    pub checksum: u64,
    pub pages: u64,
}

impl<R: Read> Decoder<R> {
    pub fn new(mut reader: R) -> Result<Decoder<R>> {
        let mut raw_header = [0; HEADER_LEN];
        read_exact(&mut reader, &mut raw_header, "header")?;
        let header = Header::decode(&raw_header)?;
        let frames = FrameReader::new(&header, HEADER_LEN as u64, None);
        Ok(Decoder { reader, header, raw_header, frames, at_end_of_pages: false, pages: 0 })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the page was stored that was read last.
    pub fn flavour(&self) -> Option<Flavour> {
        self.frames.flavour()
    }

    /// Inflates the next page into `page`, which must be one page long. `None` after the last page.
    pub fn next_page(&mut self, page: &mut [u8]) -> Result<Option<Pgno>> {
        if self.at_end_of_pages {
            return Ok(None);
        }
        let pgno = self.frames.next_page(&mut self.reader, page)?;
        match pgno {
            Some(_) => self.pages += 1,
            None => self.at_end_of_pages = true,
        }
        Ok(pgno)
    }

    /// Reads whatever is left and verifies the whole file: index, checksum, and that nothing
    /// follows.
    pub fn finish(mut self) -> Result<Decoded> {
        if !self.at_end_of_pages {
            let mut page = vec![0; self.header.page_size.bytes()];
            while self.next_page(&mut page)?.is_some() {}
        }
        let frames = self.frames.finish();
        let mut described = frames.index;
        described.push_raw(&[END_OF_INDEX]);
        let found = read_index(&mut self.reader, described.len())?;
        let mut tail = [0; super::TAIL_LEN];
        read_exact(&mut self.reader, &mut tail, "trailer")?;
        let size = frames.end + found.len() + tail.len() as u64;
        let tail = Tail::parse(&tail, size)?;
        if tail.index_len != found.len() {
            return Err(malformed(format!(
                "the index has {} bytes, its size field says {}",
                found.len(),
                tail.index_len
            )));
        }
        expect_end(&mut self.reader)?;
        let mut crc = super::Crc::new();
        crc.update(&self.raw_header);
        crc.append(&frames.crc);
        crc.append(found.crc());
        check_end(crc, &described, &found, tail.checksum)?;
        Ok(Decoded { header: self.header, size, checksum: tail.checksum, pages: self.pages })
    }
}

/// Reads the index, whose length follows from the frames.
fn read_index(reader: &mut impl Read, len: u64) -> Result<IndexSum> {
    let mut sum = IndexSum::new();
    let mut buf = [0; 4096];
    while sum.len() < len {
        let chunk = usize::try_from(len - sum.len()).map_or(buf.len(), |left| left.min(buf.len()));
        read_exact(reader, &mut buf[..chunk], "page index")?;
        sum.push_raw(&buf[..chunk]);
    }
    Ok(sum)
}

fn expect_end(reader: &mut impl Read) -> Result<()> {
    loop {
        match reader.read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => return Err(malformed("bytes follow the trailer")),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(LtxError::Io { verb: "read LTX file", source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ltx::WalPosition;
    use crate::ltx::testing::{Pages, decode, encode, encode_as, header, mixed, page, txid, vector};

    #[test]
    fn a_file_of_the_real_litestream_decodes_and_verifies() {
        let (h, pages) = decode(&vector()).expect("written by Litestream 0.5.17");
        let wal = WalPosition { offset: 16512, size: 4120, salt1: 0x540f_c326, salt2: 0x01e2_caca };
        let mut wanted = header(4096, 4, 2, 2);
        wanted.wal = wal;
        assert_eq!(h, wanted);
        assert_eq!(h.wal.end(), 20632);
        let [(2, page)] = pages.as_slice() else { panic!("one page, number 2") };
        assert_eq!(page[..8], [0x0d, 0, 0, 0, 0x02, 0x0f, 0xee, 0]);
        assert_eq!(&page[4096 - 18..], b"\x06\x02\x03\x00\x13two\x08\x01\x03\x00\x17hello");
        assert_eq!(
            Decoder::new(&vector()[..]).expect("header").finish().expect("valid").checksum,
            0x8158_b23b_52ef_8718
        );
    }

    #[test]
    fn every_truncation_is_noticed() {
        for file in [vector(), encode(header(512, 3, 1, 1), &(1..=3).map(|n| (n, page(512, n.into()))).collect())] {
            for len in 0..file.len() {
                assert!(matches!(decode(&file[..len]), Err(LtxError::Truncated { .. })), "{len} of {}", file.len());
            }
            let mut longer = file.clone();
            longer.push(0);
            assert!(decode(&longer).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let pages: Pages = [1, 2, 5].map(|n| (n, page(512, n.into()))).into();
        for file in [encode(header(512, 9, 7, 8), &pages), mixed(header(512, 9, 7, 8), &pages), vector()] {
            for at in 0..file.len() {
                for bit in 0..8 {
                    let mut damaged = file.clone();
                    damaged[at] ^= 1 << bit;
                    let Ok((_, decoded)) = decode(&damaged) else { continue };
                    // Some bits of an LZ4 block do not change what it inflates to; nothing else may
                    // pass.
                    assert_eq!(decoded, pages_of(&file), "byte {at} bit {bit}");
                }
            }
        }
    }

    fn pages_of(file: &[u8]) -> Pages {
        decode(file).expect("intact").1
    }

    #[test]
    fn both_flavours_are_read_also_when_mixed() {
        for page_size in [512, 4096, 65536] {
            let pages: Pages = [1, 2, 7].map(|n| (n, page(page_size, n.into()))).into();
            let h = header(page_size, 7, 3, 3);
            for flavour in [Flavour::Frame, Flavour::Block] {
                assert_eq!(decode(&encode_as(flavour, h, &pages)).expect("valid"), (h, pages.clone()));
            }
            assert_eq!(decode(&mixed(h, &pages)).expect("valid"), (h, pages));
        }
    }

    #[test]
    fn lengths_in_a_file_are_not_believed() {
        let file = encode_as(Flavour::Block, header(4096, 3, 2, 2), &vec![(3, page(4096, 3))]);
        for size in [0, 4096 + 16 + 17, 1 << 20, u32::MAX] {
            let mut lying = file.clone();
            lying[106..110].copy_from_slice(&size.to_be_bytes());
            assert!(matches!(decode(&lying), Err(LtxError::Malformed(_))), "{size}");
        }
        let file = encode(header(4096, 3, 2, 2), &vec![(3, page(4096, 3))]);
        for size in [0u32, 1, 4097, 1 << 20, 1 << 31, (1 << 31) + 4095, u32::MAX] {
            let mut lying = file.clone();
            lying[113..117].copy_from_slice(&size.to_le_bytes());
            assert!(decode(&lying).is_err(), "{size}");
        }
    }

    #[test]
    fn a_block_must_inflate_to_exactly_one_page() {
        for len in [0usize, 511, 513, 1024] {
            let block = lz4_flex::block::compress(&vec![7; len]);
            let mut file = header(512, 3, 2, 2).encode().to_vec();
            file.extend_from_slice(&[0, 0, 0, 3, 0, 1]);
            file.extend_from_slice(&(block.len() as u32).to_be_bytes());
            file.extend_from_slice(&block);
            let mut decoder = Decoder::new(&file[..]).expect("header");
            assert!(matches!(decoder.next_page(&mut [0; 512]), Err(LtxError::Malformed(_))), "{len}");
        }
    }

    #[test]
    fn finishing_early_still_reads_and_verifies_everything() {
        let file = encode(header(4096, 3, 1, 1), &(1..=3).map(|n| (n, page(4096, n.into()))).collect());
        let decoded = Decoder::new(&file[..]).expect("header").finish().expect("valid");
        assert_eq!((decoded.pages, decoded.header.max_txid), (3, txid(1)));
    }

    fn any_file() -> impl Strategy<Value = (Header, Pages)> {
        let size = (9u32..=16).prop_map(|shift| 1 << shift);
        (size, any::<bool>(), 1u32..40, any::<u64>()).prop_map(|(page_size, snapshot, commit, seed)| {
            let min = if snapshot { 1 } else { 2 + seed % 1000 };
            let h = header(page_size, commit, min, min + seed % 7);
            let content = |n: u32| match (seed ^ u64::from(n)) % 3 {
                0 => vec![0; page_size as usize],
                _ => page(page_size, seed.wrapping_add(n.into())),
            };
            let chosen = (1..=commit).filter(|n| snapshot || (seed >> (n % 64)) & 1 == 1);
            (h, chosen.map(|n| (n, content(n))).collect())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_is_decoded((h, pages) in any_file(), in_blocks: bool) {
            let file = encode_as(if in_blocks { Flavour::Block } else { Flavour::Frame }, h, &pages);
            prop_assert_eq!(decode(&file).expect("round trip"), (h, pages));
        }

        #[test]
        fn garbage_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..600), valid_header: bool) {
            if valid_header && bytes.len() >= 100 {
                bytes[..100].copy_from_slice(&header(512, 40, 1, 1).encode());
            }
            let _ = decode(&bytes);
        }
    }
}
