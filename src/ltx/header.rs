//! The 100-byte header of an LTX file: which pages of which size belong to which transactions, and
//! where in the WAL they were.

use super::{LtxError, Result, Txid, be32, be64, malformed};
use crate::page::PageSize;

pub const HEADER_LEN: usize = 100;

const MAGIC: &[u8; 4] = b"LTX1";
/// "No tracked checksums": the only flag there is, and Litestream sets it always.
const FLAG_NO_CHECKSUM: u32 = 2;

/// The part of the WAL that a level-0 file was made from; all zero in compacted files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalPosition {
    /// Byte offset in the `-wal` file where the copied range starts.
    pub offset: u64,
    /// Bytes of WAL covered, up to the end of the last commit frame.
    pub size: u64,
    pub salt1: u32,
    pub salt2: u32,
}

impl WalPosition {
    /// Where the next batch starts.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.size)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub page_size: PageSize,
    /// Size of the database in pages after this file is applied; never zero.
    pub commit: u32,
    pub min_txid: Txid,
    pub max_txid: Txid,
    /// Unix milliseconds.
    pub timestamp_ms: i64,
    pub wal: WalPosition,
}

impl Header {
    /// Whether the file must hold every page of the database. The format knows a snapshot by its
    /// first TXID alone: a full image that is written later in a history is not one.
    pub fn is_snapshot(&self) -> bool {
        self.min_txid == Txid::FIRST
    }

    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..4].copy_from_slice(MAGIC);
        out[4..8].copy_from_slice(&FLAG_NO_CHECKSUM.to_be_bytes());
        out[8..12].copy_from_slice(&self.page_size.get().to_be_bytes());
        out[12..16].copy_from_slice(&self.commit.to_be_bytes());
        out[16..24].copy_from_slice(&self.min_txid.get().to_be_bytes());
        out[24..32].copy_from_slice(&self.max_txid.get().to_be_bytes());
        out[32..40].copy_from_slice(&self.timestamp_ms.to_be_bytes());
        out[48..56].copy_from_slice(&self.wal.offset.to_be_bytes());
        out[56..64].copy_from_slice(&self.wal.size.to_be_bytes());
        out[64..68].copy_from_slice(&self.wal.salt1.to_be_bytes());
        out[68..72].copy_from_slice(&self.wal.salt2.to_be_bytes());
        out
    }

    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Header> {
        if &bytes[0..4] != MAGIC {
            return Err(malformed("it does not begin with LTX1"));
        }
        match be32(bytes, 4) {
            FLAG_NO_CHECKSUM => {}
            0 => return Err(LtxError::TrackedChecksums),
            flags => return Err(malformed(format!("unknown header flags {flags:#x}"))),
        }
        let page_size = be32(bytes, 8);
        let page_size = PageSize::new(page_size).ok_or_else(|| malformed(format!("page size {page_size}")))?;
        let txid = |at| Txid::new(be64(bytes, at)).ok_or_else(|| malformed("TXID 0 in the header"));
        if be64(bytes, 40) != 0 {
            return Err(malformed("a pre-apply checksum although checksums are not tracked"));
        }
        let header = Header {
            page_size,
            commit: be32(bytes, 12),
            min_txid: txid(16)?,
            max_txid: txid(24)?,
            timestamp_ms: be64(bytes, 32).cast_signed(),
            wal: WalPosition {
                offset: be64(bytes, 48),
                size: be64(bytes, 56),
                salt1: be32(bytes, 64),
                salt2: be32(bytes, 68),
            },
        };
        header.check().map_err(LtxError::Malformed)?;
        Ok(header)
    }

    /// What the types alone do not promise.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let Header { commit, min_txid, max_txid, wal, .. } = self;
        if *commit == 0 {
            return Err("a database of 0 pages".into());
        }
        if min_txid > max_txid {
            return Err(format!("TXIDs {min_txid}-{max_txid} are out of order"));
        }
        let end = i64::try_from(wal.offset).ok().zip(i64::try_from(wal.size).ok()).and_then(|(o, s)| o.checked_add(s));
        if end.is_none() {
            return Err(format!("WAL offset {} with size {}", wal.offset, wal.size));
        }
        if wal.offset == 0 && *wal != WalPosition::default() {
            return Err("a WAL size or salt without a WAL offset".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::testing::{header, txid};

    fn patched(at: usize, bytes: &[u8]) -> Result<Header> {
        let mut raw = header(4096, 10, 3, 4).encode();
        raw[at..at + bytes.len()].copy_from_slice(bytes);
        Header::decode(&raw)
    }

    #[test]
    fn fields_round_trip() {
        for page_size in [512, 4096, 65536] {
            let mut h = header(page_size, u32::MAX, 1, u64::MAX);
            h.timestamp_ms = -5;
            h.wal = WalPosition { offset: 32, size: 4120, salt1: u32::MAX, salt2: 7 };
            assert_eq!(Header::decode(&h.encode()).expect("valid"), h);
        }
        assert!(header(4096, 1, 1, 9).is_snapshot());
        assert!(!header(4096, 1, 2, 2).is_snapshot());
        assert_eq!(header(4096, 1, 2, 2).min_txid, txid(2));
    }

    #[test]
    fn every_rule_of_the_reader_is_kept() {
        let cases: &[(&str, usize, &[u8])] = &[
            ("magic", 0, b"LTX2"),
            ("unknown flag", 4, &[0, 0, 0, 3]),
            ("page size 0", 8, &[0, 0, 0, 0]),
            ("page size 3", 8, &[0, 0, 0, 3]),
            ("page size 131072", 8, &[0, 2, 0, 0]),
            ("commit 0", 12, &[0; 4]),
            ("min 0", 16, &[0; 8]),
            ("max 0", 24, &[0; 8]),
            ("min above max", 16, &[0, 0, 0, 0, 0, 0, 0, 5]),
            ("pre-apply checksum", 40, &[0x80, 0, 0, 0, 0, 0, 0, 1]),
            ("negative WAL offset", 48, &[0xff; 8]),
            ("negative WAL size", 56, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            ("WAL end beyond i64", 48, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            ("WAL size without offset", 56, &[0, 0, 0, 0, 0, 0, 0, 1]),
            ("salt-1 without offset", 64, &[0, 0, 0, 1]),
            ("salt-2 without offset", 68, &[0, 0, 0, 1]),
        ];
        for (what, at, bytes) in cases {
            assert!(matches!(patched(*at, bytes), Err(LtxError::Malformed(_))), "{what}");
        }
        assert!(matches!(patched(4, &[0; 4]), Err(LtxError::TrackedChecksums)));
        assert!(patched(72, &[1; 28]).is_ok(), "node id and reserved bytes do not matter");
    }
}
