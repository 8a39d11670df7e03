//! What tells one LTX file from another without its pages.

use crate::ltx::Header;
use crate::state::SpilledFile;

/// A file up to this size is sent as one piece of memory.
pub const IN_MEMORY_BYTES: u64 = 8 << 20;

/// What names the content of an LTX file: its header, length and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    pub header: Header,
    pub size: u64,
    pub checksum: u64,
}

impl Fingerprint {
    pub fn of(file: &SpilledFile) -> Fingerprint {
        Fingerprint { header: file.header, size: file.size, checksum: file.checksum }
    }
}
