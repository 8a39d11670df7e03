//! Files for the tests of the codec.

use super::{Decoder, Encoder, Flavour, Header, Result, Txid, WalPosition};
use crate::page::{PageSize, Pgno};

pub fn txid(number: u64) -> Txid {
    Txid::new(number).expect("not zero")
}

pub fn header(page_size: u32, commit: u32, min: u64, max: u64) -> Header {
    Header {
        page_size: PageSize::new(page_size).expect("valid page size"),
        commit,
        min_txid: txid(min),
        max_txid: txid(max),
        timestamp_ms: 1_795_288_010_061,
        wal: WalPosition::default(),
    }
}

pub type Pages = Vec<(u32, Vec<u8>)>;

pub fn encode(header: Header, pages: &Pages) -> Vec<u8> {
    encode_as(Flavour::default(), header, pages)
}

pub fn encode_as(flavour: Flavour, header: Header, pages: &Pages) -> Vec<u8> {
    let mut encoder = Encoder::with_flavour(Vec::new(), header, flavour).expect("valid header");
    for (number, data) in pages {
        encoder.page(Pgno::new(*number).expect("not zero"), data).expect("valid page");
    }
    let encoded = encoder.finish().expect("complete");
    assert_eq!(encoded.size, encoded.writer.len() as u64);
    encoded.writer
}

pub fn decode(bytes: &[u8]) -> Result<(Header, Pages)> {
    let mut decoder = Decoder::new(bytes)?;
    let mut page = vec![0; decoder.header().page_size.bytes()];
    let mut pages = Vec::new();
    while let Some(pgno) = decoder.next_page(&mut page)? {
        pages.push((pgno.get(), page.clone()));
    }
    let decoded = decoder.finish()?;
    assert_eq!(decoded.size, bytes.len() as u64);
    Ok((decoded.header, pages))
}

/// A page whose content depends on `seed` alone and compresses somewhat.
pub fn page(page_size: u32, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(page_size as usize);
    while out.len() < page_size as usize {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
        out.extend_from_slice(&[seed as u8; 24]);
    }
    out.truncate(page_size as usize);
    out
}

/// A page that does not compress.
pub fn noise(page_size: u32) -> Vec<u8> {
    let mut state = 1u64;
    (0..page_size)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        })
        .collect()
}

/// The level-0 file of format specification 1.8, written by Litestream 0.5.17: one page of four.
pub fn vector() -> Vec<u8> {
    base64(concat!(
        "TFRYMQAAAAIAABAAAAAABAAAAAAAAAACAAAAAAAAAAIAAAGh/4ENTQAAAAAAAAAAAAAAAAAAQIAAAAAAAAAQGFQPwyYB4srKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAIAAQAAADTfDQAAAAIP7gAP9g/uAAEA////////////////////3fADBgIDABN0d28IAQMAF2hlbGxvAAAAAAAAAmQ+AAAAAAAAAAAEAAAAAAAAAACBWLI7",
        "Uu+HGA==",
    ))
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let text = text.trim_end_matches('=').as_bytes();
    let mut out = Vec::new();
    for group in text.chunks(4) {
        let bits = group.iter().fold(0u32, |bits, c| bits << 6 | u32::from(digit(*c))) << (6 * (4 - group.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    out
}

/// A file whose every third page is a block and the others are frames, as a merge could mix them.
pub fn mixed(header: Header, pages: &Pages) -> Vec<u8> {
    use super::frame::FrameWriter;

    let mut file = header.encode().to_vec();
    let mut crc = super::Crc::new();
    crc.update(&file);
    let mut index = Vec::new();
    let [mut frames, mut blocks] =
        [Flavour::Frame, Flavour::Block].map(|flavour| FrameWriter::new(flavour, header.page_size));
    for (number, data) in pages {
        let (pgno, start) = (Pgno::new(*number).expect("not zero"), file.len() as u64);
        let writer = if number % 3 == 0 { &mut blocks } else { &mut frames };
        let frame = writer.write(pgno, data);
        crc.update(&frame.bytes[..frame.head_len]);
        crc.update(data);
        file.extend_from_slice(frame.bytes);
        super::entry::with_entry(pgno, start, frame.bytes.len() as u64, |entry| index.extend_from_slice(entry));
    }
    index.push(0);
    let mut end = vec![0; 6];
    end.extend_from_slice(&index);
    end.extend_from_slice(&(index.len() as u64).to_be_bytes());
    end.extend_from_slice(&[0; 8]);
    crc.update(&end);
    file.extend_from_slice(&end);
    file.extend_from_slice(&crc.file_checksum().to_be_bytes());
    file
}
