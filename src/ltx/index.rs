//! The page index at the end of a file: where each page's frame is, so that a file can be read in
//! pieces.
//!
//! ```text
//! (uvarint pgno, uvarint offset, uvarint length) … 0
//! index size (8) │ post-apply checksum (8) = 0 │ file checksum (8)      the tail, 24 bytes
//! ```
//!
//! The index of a large database is itself large, so it is read as a stream and never kept whole.
//! What it says is checked (frames contiguous from the header to the end mark, pages in the order
//! that the format asks for), and the frames are compared with it once they are read: [`IndexSum`]
//! is the index that *would* describe them, kept as a CRC.

use super::frame::{Frames, PageOrder, max_frame_len};
use super::page_head::{END_OF_PAGES, FRAME_HEADER_LEN};
use super::{Crc, HEADER_LEN, Header, LtxError, Result, be64, malformed};
use crate::page::Pgno;

mod sum;

pub(super) use sum::IndexSum;

/// Index size, post-apply checksum and file checksum: the last bytes of a file.
pub const TAIL_LEN: usize = 24;
/// Closes the index: a page number 0.
pub(super) const END_OF_INDEX: u8 = 0;

/// Where the index is and what the file's checksum should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    pub index_offset: u64,
    pub index_len: u64,
    pub checksum: u64,
}

impl Tail {
    /// Reads the last bytes of a file of `file_len` bytes.
    pub fn parse(bytes: &[u8; TAIL_LEN], file_len: u64) -> Result<Tail> {
        let fixed = (HEADER_LEN + FRAME_HEADER_LEN + TAIL_LEN) as u64;
        let room = file_len.checked_sub(fixed).ok_or(LtxError::Truncated { within: "header" })?;
        let (index_len, post_apply, checksum) = (be64(bytes, 0), be64(bytes, 8), be64(bytes, 16));
        if index_len == 0 || index_len > room {
            return Err(malformed(format!("an index of {index_len} bytes in a file of {file_len}")));
        }
        if post_apply != 0 {
            return Err(malformed("a post-apply checksum although checksums are not tracked"));
        }
        Ok(Tail { index_offset: file_len - TAIL_LEN as u64 - index_len, index_len, checksum })
    }

    /// Offset of the end-of-pages mark: the frames end here.
    pub fn frames_end(&self) -> u64 {
        self.index_offset - FRAME_HEADER_LEN as u64
    }
}

/// Where one page's frame is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub pgno: Pgno,
    pub offset: u64,
    pub len: u64,
}

/// Reads an index that comes in pieces.
pub struct IndexReader {
    order: PageOrder,
    max_frame_len: u64,
    tail: Tail,
    next_offset: u64,
    sum: IndexSum,
    fields: [u64; 2],
    field: usize,
    value: u64,
    shift: u32,
    ended: bool,
}

impl IndexReader {
    pub fn new(header: &Header, tail: Tail) -> IndexReader {
        IndexReader {
            order: PageOrder::new(header),
            max_frame_len: max_frame_len(header.page_size),
            tail,
            next_offset: HEADER_LEN as u64,
            sum: IndexSum::new(),
            fields: [0; 2],
            field: 0,
            value: 0,
            shift: 0,
            ended: false,
        }
    }

    /// Takes the next bytes of the index and passes on every entry that they complete.
    pub fn push(&mut self, bytes: &[u8], mut entry: impl FnMut(Entry)) -> Result<()> {
        self.sum.push_raw(bytes);
        for &byte in bytes {
            if self.ended {
                return Err(malformed("bytes behind the end of the index"));
            }
            let bits = u64::from(byte & 0x7f);
            if self.shift > 63 || (bits << self.shift) >> self.shift != bits {
                return Err(malformed("a number in the index is too large"));
            }
            self.value |= bits << self.shift;
            self.shift += 7;
            if byte & 0x80 == 0 {
                let value = std::mem::take(&mut self.value);
                self.shift = 0;
                if let Some(complete) = self.number(value)? {
                    entry(complete);
                }
            }
        }
        Ok(())
    }

    fn number(&mut self, value: u64) -> Result<Option<Entry>> {
        if self.field == 0 && value == u64::from(END_OF_INDEX) {
            self.ended = true;
            return Ok(None);
        }
        if self.field < 2 {
            self.fields[self.field] = value;
            self.field += 1;
            return Ok(None);
        }
        self.field = 0;
        let ([number, offset], len) = (self.fields, value);
        let number = u32::try_from(number).map_err(|_| malformed(format!("page number {number} in the index")))?;
        let pgno = self.order.admit(number).map_err(malformed)?;
        let fits = len > FRAME_HEADER_LEN as u64 && len <= self.max_frame_len;
        if !fits || offset != self.next_offset || self.tail.frames_end() - offset < len {
            return Err(malformed(format!("the index puts page {pgno} at offset {offset}, length {len}")));
        }
        self.next_offset = offset + len;
        Ok(Some(Entry { pgno, offset, len }))
    }

    /// Checks that the index is complete.
    pub fn finish(self) -> Result<Index> {
        if !self.ended || self.sum.len() != self.tail.index_len {
            return Err(LtxError::Truncated { within: "page index" });
        }
        self.order.complete().map_err(malformed)?;
        if self.next_offset != self.tail.frames_end() {
            return Err(malformed(format!("the index ends at offset {}, the pages do not", self.next_offset)));
        }
        Ok(Index { sum: self.sum, tail: self.tail })
    }
}

/// A whole index that was read and found consistent in itself.
pub struct Index {
    sum: IndexSum,
    tail: Tail,
}

/// Puts a file together again from frames that were read in parts, to verify all of it.
pub struct Assembly {
    crc: Crc,
    described: IndexSum,
}

impl Assembly {
    pub fn new(header: &[u8; HEADER_LEN]) -> Assembly {
        let mut crc = Crc::new();
        crc.update(header);
        Assembly { crc, described: IndexSum::new() }
    }

    /// The next frames of the file, in its order.
    pub fn append(&mut self, frames: &Frames) {
        self.crc.append(&frames.crc);
        self.described.append(&frames.index);
    }

    /// Whether these were the frames that the index describes, and the whole has the right
    /// checksum.
    pub fn verify(mut self, index: &Index) -> Result<()> {
        self.described.push_raw(&[END_OF_INDEX]);
        self.crc.update(&END_OF_PAGES);
        self.crc.append(index.sum.crc());
        check_end(self.crc, &self.described, &index.sum, index.tail.checksum)
    }
}

/// The last step of every reader: `crc` has run to the end of the index. The checksum is compared
/// first, because a file that was damaged should say so and not what the damage looks like.
pub(super) fn check_end(mut crc: Crc, described: &IndexSum, found: &IndexSum, checksum: u64) -> Result<()> {
    crc.update(&found.len().to_be_bytes());
    crc.update(&0u64.to_be_bytes());
    if crc.file_checksum() != checksum {
        return Err(LtxError::Checksum { computed: crc.file_checksum(), stored: checksum });
    }
    if !described.is_same(found) {
        return Err(malformed("the index does not describe the pages"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::Flavour;
    use crate::ltx::frame::FrameReader;
    use crate::ltx::testing::{Pages, encode, encode_as, header, mixed, page};

    fn tail_of(file: &[u8]) -> Result<Tail> {
        Tail::parse(file[file.len() - TAIL_LEN..].try_into().expect("24 bytes"), file.len() as u64)
    }

    /// Reads the index in chunks of `chunk` bytes.
    fn read_index(file: &[u8], chunk: usize) -> Result<(Header, Vec<Entry>, Index)> {
        let header = Header::decode(file[..HEADER_LEN].try_into().expect("100 bytes"))?;
        let tail = tail_of(file)?;
        let mut reader = IndexReader::new(&header, tail);
        let mut entries = Vec::new();
        let bytes = &file[tail.index_offset as usize..file.len() - TAIL_LEN];
        for piece in bytes.chunks(chunk) {
            reader.push(piece, |entry| entries.push(entry))?;
        }
        Ok((header, entries, reader.finish()?))
    }

    /// Reads the file as parts of `per_part` frames each, and puts it together again.
    fn verify_in_parts(file: &[u8], per_part: usize) -> Result<Pages> {
        let (header, entries, index) = read_index(file, 7)?;
        let mut pages = Vec::new();
        let mut assembly = Assembly::new(file[..HEADER_LEN].try_into().expect("100 bytes"));
        let mut after = None;
        for part in entries.chunks(per_part) {
            let (first, last) = (part[0], part[part.len() - 1]);
            let mut bytes = &file[first.offset as usize..(last.offset + last.len) as usize];
            let mut reader = FrameReader::new(&header, first.offset, after);
            let mut page = vec![0; header.page_size.bytes()];
            while !bytes.is_empty() {
                let pgno = reader.next_page(&mut bytes, &mut page)?.ok_or_else(|| malformed("the pages end early"))?;
                pages.push((pgno.get(), page.clone()));
            }
            after = Some(last.pgno);
            assembly.append(&reader.finish());
        }
        assembly.verify(&index)?;
        Ok(pages)
    }

    fn sample() -> Pages {
        [1, 2, 3, 9, 200].map(|n| (n, page(512, n.into()))).into()
    }

    #[test]
    fn files_are_read_and_verified_in_parts() {
        for file in [encode(header(512, 300, 4, 4), &sample()), mixed(header(512, 300, 4, 4), &sample())] {
            for per_part in [1, 2, 5] {
                assert_eq!(verify_in_parts(&file, per_part).expect("verified"), sample());
            }
            for chunk in [1, 2, 1000] {
                assert_eq!(read_index(&file, chunk).expect("index").1.len(), 5);
            }
        }
        let empty = encode(header(512, 300, 4, 4), &Vec::new());
        assert!(verify_in_parts(&empty, 1).expect("verified").is_empty());
    }

    #[test]
    fn every_flipped_bit_is_noticed_in_parts() {
        let file = encode(header(512, 300, 4, 4), &sample());
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(pages) = verify_in_parts(&damaged, 2) {
                    assert_eq!(pages, sample(), "byte {at} bit {bit}");
                }
            }
        }
    }

    #[test]
    fn an_index_that_describes_other_frames_is_refused_although_the_checksum_is_right() {
        let (h, pages) = (header(512, 300, 4, 4), sample());
        let file = encode_as(Flavour::Block, h, &pages);
        let tail = tail_of(&file).expect("tail");
        // Page 9 becomes page 8 in the index alone, and the checksum is made to fit.
        let mut forged = file.clone();
        let index = tail.index_offset as usize;
        let at = index + file[index..].iter().position(|b| *b == 9).expect("the entry of page 9");
        forged[at] = 8;
        let mut crc = Crc::new();
        crc.update(&forged[..HEADER_LEN]);
        for (number, data) in &pages {
            let entry = read_index(&file, 9).expect("index").1.into_iter().find(|e| e.pgno.get() == *number);
            let start = entry.expect("indexed").offset as usize;
            crc.update(&forged[start..start + 10]);
            crc.update(data);
        }
        crc.update(&forged[tail.frames_end() as usize..file.len() - 8]);
        let end = forged.len() - 8;
        forged[end..].copy_from_slice(&crc.file_checksum().to_be_bytes());
        assert_eq!(read_index(&forged, 9).expect("consistent in itself").1[3].pgno.get(), 8);
        let refused = |result: Result<Pages>| match result {
            Err(LtxError::Malformed(what)) => assert!(what.contains("does not describe"), "{what}"),
            other => panic!("{other:?}"),
        };
        refused(verify_in_parts(&forged, 2));
        refused(crate::ltx::testing::decode(&forged).map(|(_, pages)| pages));
    }

    #[test]
    fn an_index_is_not_believed() {
        let header = header(512, 300, 4, 4);
        let parse = |bytes: &[u8]| {
            let tail = Tail { index_offset: 100_000, index_len: bytes.len() as u64, checksum: 0 };
            let mut reader = IndexReader::new(&header, tail);
            reader.push(bytes, |_| {})?;
            reader.finish().map(|_| ())
        };
        let cases: &[(&str, &[u8])] = &[
            ("empty", &[]),
            ("no terminator", &[1, 100, 50]),
            ("bytes behind the terminator", &[0, 0]),
            ("gap before the end mark", &[1, 100, 50, 0]),
            ("offset not behind the header", &[1, 101, 50, 0]),
            ("overlong number", &[0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]),
            ("number beyond 64 bits", &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 9, 0]),
            ("page number beyond 32 bits", &[0x80, 0x80, 0x80, 0x80, 0x10, 100, 50, 0]),
            ("page beyond the database", &[0xad, 0x02, 100, 50, 0]),
            ("frame of 6 bytes", &[1, 100, 6, 0]),
            ("frame longer than a page can need", &[1, 100, 0xff, 0x7f, 0]),
        ];
        for (what, bytes) in cases {
            assert!(parse(bytes).is_err(), "{what}");
        }
    }

    #[test]
    fn a_tail_is_not_believed() {
        let file = encode(header(512, 300, 4, 4), &sample());
        let good = tail_of(&file).expect("tail");
        assert_eq!(file[good.frames_end() as usize..][..7], [0, 0, 0, 0, 0, 0, 1]);
        for len in [0, 60, 129, 130] {
            assert!(Tail::parse(&[0; TAIL_LEN], len).is_err(), "{len}");
        }
        for index_len in [0, file.len() as u64 - 129, u64::MAX] {
            let mut bytes = [0; TAIL_LEN];
            bytes[..8].copy_from_slice(&index_len.to_be_bytes());
            assert!(Tail::parse(&bytes, file.len() as u64).is_err(), "{index_len}");
        }
    }
}
