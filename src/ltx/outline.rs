//! The index of a file that is being written, until it can be: it comes behind the last page.
//!
//! Frames follow each other without gaps, so a step to the next page number and a length say where
//! each one is: about three bytes for a page, a third of its entry in the index.

use std::io::{self, Write};

use super::HEADER_LEN;
use super::entry::{MAX_ENTRY_LEN, put_uvarint, with_entry};
use super::index::END_OF_INDEX;
use crate::page::Pgno;

/// The index is written in pieces of this many bytes at most.
const PIECE_LEN: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Outline {
    /// For each frame, as varints: page number less the one before, length.
    steps: Vec<u8>,
    last: u32,
}

impl Outline {
    /// The next frame. Page numbers ascend.
    pub fn push(&mut self, pgno: Pgno, len: u64) {
        let mut step = [0; MAX_ENTRY_LEN];
        let end = put_uvarint(&mut step, 0, u64::from(pgno.get() - self.last));
        let end = put_uvarint(&mut step, end, len);
        self.steps.extend_from_slice(&step[..end]);
        self.last = pgno.get();
    }

    /// Passes the index on in pieces; returns its length.
    pub fn write(&self, mut piece_done: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
        let (mut steps, mut piece) = (self.steps.as_slice(), Vec::with_capacity(PIECE_LEN));
        let (mut number, mut offset, mut index_len) = (0, HEADER_LEN as u64, 0);
        while let Some((step, len)) = take(&mut steps).zip(take(&mut steps)) {
            number += step as u32;
            let pgno = Pgno::new(number).expect("the first step is not zero");
            with_entry(pgno, offset, len, |entry| piece.write_all(entry))?;
            offset += len;
            // One more entry, or the end mark, may no longer fit.
            if piece.len() > PIECE_LEN - MAX_ENTRY_LEN {
                index_len += piece.len() as u64;
                piece_done(&piece)?;
                piece.clear();
            }
        }
        piece.push(END_OF_INDEX);
        piece_done(&piece)?;
        Ok(index_len + piece.len() as u64)
    }
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The index of these frames, made at once and from an outline.
    fn both(frames: &[(u32, u64)]) -> (Vec<u8>, Vec<u8>, u64) {
        let (mut plain, mut outline, mut offset) = (Vec::new(), Outline::default(), HEADER_LEN as u64);
        for &(number, len) in frames {
            let pgno = Pgno::new(number).expect("not zero");
            with_entry(pgno, offset, len, |entry| plain.extend_from_slice(entry));
            outline.push(pgno, len);
            offset += len;
        }
        plain.push(END_OF_INDEX);
        let mut written = Vec::new();
        let write = |piece: &[u8]| {
            assert!(piece.len() <= PIECE_LEN);
            written.write_all(piece)
        };
        let len = outline.write(write).expect("written");
        (plain, written, len)
    }

    proptest! {
        #[test]
        fn an_outline_becomes_the_index(steps in prop::collection::vec((1u32..40_000, 7u64..70_000), 0..50)) {
            let mut number = 0;
            let frames: Vec<_> = steps.into_iter().map(|(step, len)| { number += step; (number, len) }).collect();
            let (plain, written, len) = both(&frames);
            prop_assert_eq!(len, plain.len() as u64);
            prop_assert_eq!(plain, written);
        }
    }

    #[test]
    fn a_long_one_comes_in_pieces() {
        let frames: Vec<_> = (1..50_000).map(|n| (n, 4000 + u64::from(n) % 100)).chain([(u32::MAX, 9)]).collect();
        let (plain, written, len) = both(&frames);
        assert!(plain.len() > 5 * PIECE_LEN && len == plain.len() as u64);
        assert!(plain == written);
    }
}
