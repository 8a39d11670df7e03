//! CRC-64/GO-ISO, the checksum of LTX files, in a form whose parts can be combined.
//!
//! The file checksum runs over the file with every page *uncompressed*, so a part's length is not
//! its length in the file; `Crc` carries its own.

use crc_fast::{CrcAlgorithm, Digest};

/// Set in every checksum the format stores, so that none is ever zero.
const CHECKSUM_FLAG: u64 = 1 << 63;

/// A running CRC over one contiguous part of a file.
#[derive(Clone)]
pub struct Crc(Digest);

impl Crc {
    pub fn new() -> Crc {
        Crc(Digest::new(CrcAlgorithm::Crc64GoIso))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Continues this part with the part that follows it, as if its bytes had been fed to `update`.
    pub fn append(&mut self, following: &Crc) {
        self.0.combine(&following.0);
    }

    /// The plain CRC.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }

    /// The form that the trailer stores.
    pub fn file_checksum(&self) -> u64 {
        self.value() | CHECKSUM_FLAG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_is_go_iso() {
        let mut crc = Crc::new();
        crc.update(b"123456789");
        assert_eq!(crc.value(), 0xb909_56c7_75a4_1001);
    }

    #[test]
    fn parts_combine_in_order_whatever_their_length() {
        let bytes: Vec<u8> = (0..20_000u32).map(|n| (n * 31 % 251) as u8).collect();
        let mut whole = Crc::new();
        whole.update(&bytes);
        for cut in [0, 1, 10, 4096, 19_999, 20_000] {
            let (mut left, mut right) = (Crc::new(), Crc::new());
            left.update(&bytes[..cut]);
            right.update(&bytes[cut..]);
            let mut swapped = right.clone();
            swapped.append(&left);
            left.append(&right);
            assert_eq!(left.value(), whole.value(), "cut at {cut}");
            if cut == 4096 {
                assert_ne!(swapped.value(), whole.value(), "order must matter");
            }
        }
    }

    #[test]
    fn stored_checksums_are_never_zero() {
        assert_eq!(Crc::new().file_checksum() >> 63, 1);
    }
}
