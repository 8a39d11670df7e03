//! What stands before every page: its number and two flags.

/// Page number and flags.
pub const FRAME_HEADER_LEN: usize = 6;
/// Frame header and size field of the block flavour.
pub const BLOCK_HEADER_LEN: usize = FRAME_HEADER_LEN + 4;
/// "A size field follows": the block flavour.
pub const FLAG_BLOCK: u16 = 1;
/// Closes the page frames: page number 0, no flags.
pub const END_OF_PAGES: [u8; FRAME_HEADER_LEN] = [0; FRAME_HEADER_LEN];
