//! What the mirrors may have of the local files.

use super::mirror::Mirrors;
use crate::ltx::Txid;
use crate::state::SpilledFile;

/// Local files that keep their numbers, for the mirrors.
#[derive(Default)]
pub(super) struct KeptFiles {
    /// The newest TXID in them.
    last: Option<Txid>,
    /// The first replica is away: the mirrors may have them.
    pub is_served: bool,
}

impl KeptFiles {
    pub fn come(&mut self, files: Vec<SpilledFile>, mirrors: &Mirrors) {
        if let Some(last) = files.last() {
            self.last = Some(last.header.max_txid);
            mirrors.kept(files);
            self.serve(mirrors);
        }
    }

    pub fn serve(&self, mirrors: &Mirrors) {
        if let (true, Some(last)) = (self.is_served, self.last) {
            mirrors.are_final(last);
        }
    }
}
