//! Whatever bytes come: an error, or a file whose checksum is that of its content and which can be
//! written again.

use super::testing::{Pages, decode, encode_as};
use super::*;
use crate::fuzz;

type Read = fn(&[u8]) -> Result<(Header, Pages)>;

/// The checksum as the format says it, computed from the index at the end of the file and the
/// pages.
fn checksum(bytes: &[u8], header: &Header, pages: &Pages) -> u64 {
    let tail_at = bytes.len() - TAIL_LEN;
    let tail = Tail::parse(bytes[tail_at..].try_into().expect("as long"), bytes.len() as u64).expect("accepted");
    let mut entries = Vec::new();
    let mut index = IndexReader::new(header, tail);
    let index_at = tail.index_offset as usize;
    index.push(&bytes[index_at..tail_at], |entry| entries.push(entry)).expect("the index is read from the end, too");
    index.finish().expect("whole");
    assert_eq!(entries.len(), pages.len());
    let mut crc = Crc::new();
    crc.update(&bytes[..HEADER_LEN]);
    for (entry, (number, page)) in entries.iter().zip(pages) {
        assert_eq!(entry.pgno.get(), *number);
        let frame = &bytes[entry.offset as usize..][..entry.len as usize];
        crc.update(&frame[..if frame[5] == 1 { 10 } else { 6 }]);
        crc.update(page);
    }
    crc.update(&bytes[index_at - 6..bytes.len() - 8]);
    crc.file_checksum()
}

fn accepted(bytes: &[u8], header: Header, pages: Pages) {
    let stored = u64::from_be_bytes(bytes[bytes.len() - 8..].try_into().expect("eight bytes"));
    assert_eq!(checksum(bytes, &header, &pages), stored, "a wrong checksum was accepted");
    assert_eq!(Front::decode(bytes).expect("decoded before").header, header);
    for flavour in [Flavour::Frame, Flavour::Block] {
        let again = decode(&encode_as(flavour, header, &pages)).expect("what is read can be written");
        assert!(again == (header, pages.clone()), "what was written again is something else");
    }
}

fn check(bytes: &[u8], read: Read) {
    let _ = Front::decode(bytes);
    match read(bytes) {
        Ok((header, pages)) => accepted(bytes, header, pages),
        // Nothing but the checksum is wrong: with the right one there is more to try.
        Err(LtxError::Checksum { computed, .. }) => {
            let mut mended = bytes.to_vec();
            let at = mended.len() - 8;
            mended[at..].copy_from_slice(&computed.to_be_bytes());
            if let Ok((header, pages)) = read(&mended) {
                accepted(&mended, header, pages);
            }
        }
        Err(_) => {}
    }
}

#[test]
fn fuzz() {
    fuzz::fuzz("ltx", |bytes| check(bytes, decode));
}

#[test]
fn a_reader_that_looks_at_no_checksum_is_caught() {
    fuzz::must_catch("ltx", |bytes| {
        check(bytes, |bytes| {
            let mut decoder = Decoder::new(bytes)?;
            let mut page = vec![0; decoder.header().page_size.bytes()];
            let mut pages = Vec::new();
            while let Some(pgno) = decoder.next_page(&mut page)? {
                pages.push((pgno.get(), page.clone()));
            }
            let header = *decoder.header();
            match decoder.finish() {
                Ok(_) | Err(LtxError::Checksum { .. }) => Ok((header, pages)),
                Err(error) => Err(error),
            }
        })
    });
}
