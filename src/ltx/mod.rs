//! The LTX codec: Litestream's file format, byte for byte.
//!
//! Plain synchronous code over `std::io` and byte slices. It must never know of stores, of SQLite
//! connections or of async: a file is a reader, a writer or a slice.
//!
//! ```text
//! header (100) │ page frames … │ 6 zero bytes │ page index │ index size (8) │ trailer (16)
//! ```
//!
//! The index names the offset and length of every frame, so a file can be read from its end, in
//! pieces, on many threads. The trailer holds one CRC-64 over everything with the pages
//! uncompressed; the CRCs of pieces can be combined ([`crc::Crc::append`]).
//!
//! # The bytes
//!
//! Numbers are big-endian, but for those inside an LZ4 frame, which are little-endian.
//!
//! **Header** (`header.rs`)
//!
//! | offset | length | field | here |
//! |--:|--:|---|---|
//! | 0 | 4 | magic | `LTX1` |
//! | 4 | 4 | flags | 2: checksums of the database are not tracked |
//! | 8 | 4 | page size | 512 to 65,536, a power of two, as it is |
//! | 12 | 4 | commit | size of the database in pages after this file; never 0 |
//! | 16 | 8 | min TXID | 1 makes it a snapshot, which holds every page |
//! | 24 | 8 | max TXID | |
//! | 32 | 8 | timestamp | Unix milliseconds |
//! | 40 | 8 | pre-apply checksum | 0 |
//! | 48 | 8 | WAL offset | where in the `-wal` the frames begin, ≥ 32; 0 in compacted files |
//! | 56 | 8 | WAL size | bytes of WAL, up to the end of a commit frame |
//! | 64 | 4 + 4 | WAL salts | of the generation that the frames are from |
//! | 72 | 8 | node id | 0; not looked at |
//! | 80 | 20 | reserved | 0; not looked at |
//!
//! **Page frame** (`frame.rs`), page numbers ascending, never the lock page
//!
//! | offset | length | field | in an LZ4 frame | in an LZ4 block |
//! |--:|--:|---|---|---|
//! | 0 | 4 | page number | | |
//! | 4 | 2 | flags | 0 | 1 |
//! | 6 | | payload | LZ4 frame, see below | size (4), then one raw LZ4 block of that size |
//!
//! Every Litestream 0.5 reads LZ4 frames; blocks are written and read from 0.5.16 on. Both inflate
//! to exactly one page. [`Flavour`] decides what a new file gets. An LZ4 frame, as it is written
//! here (`frame/lz4.rs`):
//!
//! | offset | length | field | |
//! |--:|--:|---|---|
//! | 0 | 4 | magic | `04 22 4d 18` |
//! | 4 | 2 | FLG, BD | `64 40`: independent blocks of at most 64 KiB, content checksum |
//! | 6 | 1 | header checksum | `a7` |
//! | 7 | 4 | block size n | bit 31: the page is stored as it is |
//! | 11 | n | block | |
//! | 11 + n | 4 | end mark | 0 |
//! | 15 + n | 4 | content checksum | xxHash-32 of the page |
//!
//! **End** (`index.rs`): 6 zero bytes end the pages. For each page, ascending, the index has page
//! number, offset of its frame from the beginning of the file, and length of the frame, header
//! included, as unsigned LEB128 numbers; then a 0 byte.
//!
//! | offset from the end | length | field | |
//! |--:|--:|---|---|
//! | −24 | 8 | index size | bytes of the index with its 0 byte |
//! | −16 | 8 | post-apply checksum | 0 |
//! | −8 | 8 | file checksum | bit 63 set |
//!
//! The file checksum is CRC-64/GO-ISO over the header; for each page the 6 bytes in front of the
//! payload, the 4 bytes of the size if it is a block, and the *uncompressed* page; the 6 zero
//! bytes; the index and its size; the post-apply checksum.
//!
//! # Trust
//!
//! Nothing read from a file is trusted: every length is checked against what the page size allows
//! before memory is taken for it, and every violation is a typed [`LtxError`]. I7: reading takes
//! one page and one frame of memory, whatever the file says about itself; `fuzz.rs` tries what no
//! program wrote.

mod crc;
mod decode;
mod encode;
mod entry;
mod flavour;
mod frame;
mod header;
mod index;
mod merge;
mod outline;
mod page_head;
mod txid;
mod xxh32;

pub use crc::Crc;
pub use decode::Decoder;
pub use encode::{Encoded, Encoder, encoded_len_max};
pub use flavour::{FRONT_LEN, Flavour, Front};
pub use frame::{FrameReader, Frames};
pub use header::{HEADER_LEN, Header, WalPosition};
pub use index::{Assembly, Entry, Index, IndexReader, TAIL_LEN, Tail};
pub use merge::{Merged, Versions, merge, merged_header};
pub use txid::Txid;

use std::io;

/// Variants are the caller's next move.
#[derive(Debug, thiserror::Error)]
pub enum LtxError {
    /// The reader or writer underneath failed: what to do depends on what it is.
    #[error("{verb}: {source}")]
    Io {
        verb: &'static str,
        #[source]
        source: io::Error,
    },
    /// The bytes end too early: a partial upload or a cut transfer; reading again may help.
    #[error("truncated LTX file: ends within the {within}")]
    Truncated { within: &'static str },
    /// The bytes are not what the format allows; reading again helps only if the transfer changed
    /// them.
    #[error("malformed LTX file: {0}")]
    Malformed(String),
    /// The bytes are well-formed but not the ones that were written.
    #[error("LTX file checksum mismatch: computed {computed:016x}, the trailer says {stored:016x}")]
    Checksum { computed: u64, stored: u64 },
    /// Another program's dialect; no retry will help.
    #[error("LTX file with tracked checksums (flags 0), as LiteFS writes them; Litestream's files have flags 2")]
    TrackedChecksums,
    /// The caller asked for a file that the format forbids: a bug in the caller, and nothing valid
    /// was written.
    #[error("cannot encode LTX file: {0}")]
    Refused(String),
}

pub type Result<T> = std::result::Result<T, LtxError>;

fn malformed(what: impl Into<String>) -> LtxError {
    LtxError::Malformed(what.into())
}

/// Reads exactly `buf.len()` bytes; an early end is [`LtxError::Truncated`].
fn read_exact(reader: &mut impl io::Read, buf: &mut [u8], within: &'static str) -> Result<()> {
    reader.read_exact(buf).map_err(|source| match source.kind() {
        io::ErrorKind::UnexpectedEof => LtxError::Truncated { within },
        _ => LtxError::Io { verb: "read LTX file", source },
    })
}

/// The checksum that a file ends with, from its last bytes; 0 where there are too few.
pub fn checksum_at_end(bytes: &[u8]) -> u64 {
    bytes.last_chunk().map_or(0, |last| u64::from_be_bytes(*last))
}

/// Big-endian u32 at `at`; the caller has checked the length.
fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Big-endian u64 at `at`; the caller has checked the length.
fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod testing;
