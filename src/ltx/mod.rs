//! The LTX codec: Litestream's file format, byte for byte.
//!
//! Plain synchronous code over `std::io` and byte slices. It must never know of stores, of SQLite connections or of
//! async: a file is a reader, a writer or a slice.
//!
//! ```text
//! header (100) │ page frames … │ 6 zero bytes │ page index │ index size (8) │ trailer (16)
//! ```
//!
//! A page frame is a page number, flags, the compressed size and one raw LZ4 block. The index names the offset and length of
//! every frame, so a file can be read from its end, in pieces, on many threads. The trailer holds one CRC-64 over everything
//! with the pages uncompressed; the CRCs of pieces can be combined ([`crc::Crc::append`]).
//!
//! Nothing read from a file is trusted: every length is checked against what the page size allows before memory is taken
//! for it, and every violation is a typed [`LtxError`].

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
    /// The bytes are not what the format allows; reading again helps only if the transfer changed them.
    #[error("malformed LTX file: {0}")]
    Malformed(String),
    /// The bytes are well-formed but not the ones that were written.
    #[error("LTX file checksum mismatch: computed {computed:016x}, the trailer says {stored:016x}")]
    Checksum { computed: u64, stored: u64 },
    /// Another program's dialect; no retry will help.
    #[error("LTX file with tracked checksums (flags 0), as LiteFS writes them; Litestream's files have flags 2")]
    TrackedChecksums,
    /// The caller asked for a file that the format forbids: a bug in the caller, and nothing valid was written.
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

/// Big-endian u32 at `at`; the caller has checked the length.
fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Big-endian u64 at `at`; the caller has checked the length.
fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod testing;
