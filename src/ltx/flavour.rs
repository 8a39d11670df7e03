//! How the pages of a file are compressed: two flavours, and which of them a new file gets.
//!
//! Litestream 0.5.0 to 0.5.15 write LZ4 frames and refuse anything else. Litestream from 0.5.16 on
//! writes raw LZ4 blocks, and reads both, page by page. So a page in a block shows that 0.5.16 or
//! later wrote it, and that nothing older can restore this history any more; whatever shows less
//! than that is doubt, and a file in frames is read by all of them.

use super::page_head::{END_OF_PAGES, FLAG_BLOCK, FRAME_HEADER_LEN};
use super::{HEADER_LEN, Header, LtxError, Result};

/// How one page is stored. Every page says it for itself; Litestream and this codec do not mix them
/// within a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// One LZ4 frame: read by every Litestream 0.5.
    #[default]
    Frame,
    /// One raw LZ4 block: read from Litestream 0.5.16 on.
    Block,
}

impl Flavour {
    /// The flavour of a file that continues a history, or merges a part of it. `newest` is the
    /// flavour of the newest file that is continued, or of the newest one of those that are merged;
    /// none if there is no such file or it has no page.
    pub fn after(newest: Option<Flavour>) -> Flavour {
        newest.unwrap_or_default()
    }

    /// The flags of a page in this flavour.
    pub(super) fn flags(self) -> u16 {
        match self {
            Flavour::Frame => 0,
            Flavour::Block => FLAG_BLOCK,
        }
    }

    /// The flavour that page number and flags of a page frame announce; an error names the flags
    /// that are unknown.
    pub(super) fn of_page(head: &[u8; FRAME_HEADER_LEN]) -> std::result::Result<Flavour, String> {
        match u16::from_be_bytes([head[4], head[5]]) {
            0 => Ok(Flavour::Frame),
            FLAG_BLOCK => Ok(Flavour::Block),
            flags => Err(format!("unknown flags {flags:#06x}")),
        }
    }
}

/// The beginning of a file: its header, and the flavour of its first page if that was read too and
/// there is a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    pub header: Header,
    pub flavour: Option<Flavour>,
}

/// Header, and page number and flags of the first page frame.
pub const FRONT_LEN: usize = HEADER_LEN + FRAME_HEADER_LEN;

impl Front {
    /// Decodes the first bytes of a file: [`FRONT_LEN`], or the header alone.
    pub fn decode(bytes: &[u8]) -> Result<Front> {
        let raw = bytes.first_chunk().ok_or(LtxError::Truncated { within: "header" })?;
        let header = Header::decode(raw)?;
        let page = bytes[HEADER_LEN..].first_chunk().filter(|head| **head != END_OF_PAGES);
        // Unknown flags are for whoever reads the page.
        Ok(Front { header, flavour: page.and_then(|head| Flavour::of_page(head).ok()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::testing::{encode_as, header, page, vector};

    #[test]
    fn a_file_is_in_frames_unless_the_one_before_it_is_in_blocks() {
        assert_eq!(Flavour::after(None), Flavour::Frame);
        assert_eq!(Flavour::after(Some(Flavour::Frame)), Flavour::Frame);
        assert_eq!(Flavour::after(Some(Flavour::Block)), Flavour::Block);
    }

    #[test]
    fn the_first_page_shows_the_flavour_of_a_file() {
        let h = header(512, 9, 2, 2);
        for flavour in [Flavour::Frame, Flavour::Block] {
            let file = encode_as(flavour, h, &vec![(3, page(512, 3))]);
            assert_eq!(Front::decode(&file[..FRONT_LEN]).expect("valid"), Front { header: h, flavour: Some(flavour) });
            assert_eq!(Front::decode(&file[..HEADER_LEN]).expect("valid"), Front { header: h, flavour: None });
            let mut unknown = file.clone();
            unknown[HEADER_LEN + 4] = 1;
            assert_eq!(Front::decode(&unknown).expect("valid").flavour, None);
        }
        let empty = encode_as(Flavour::Block, h, &Vec::new());
        assert_eq!(Front::decode(&empty[..FRONT_LEN]).expect("valid").flavour, None);
        assert_eq!(Front::decode(&vector()[..FRONT_LEN]).expect("valid").flavour, Some(Flavour::Block));
        assert!(matches!(Front::decode(&empty[..99]), Err(LtxError::Truncated { .. })));
    }
}
