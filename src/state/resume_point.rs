//! The frame of the WAL at which the database is a TXID of a replica.
//!
//! A comparison found the database equal to TXID n, so nothing was uploaded, and no object in the
//! bucket says where in this WAL TXID n ends. The note does. It is believed only for the same
//! replica and TXID, and only if the WAL still holds that generation up to that frame with the very
//! checksum, which covers every byte before it (`db/resume.rs`). A lost note costs a comparison.

use serde::{Deserialize, Serialize};

use super::ReplicaState;
use super::note_file::NoteFile;
use crate::fsx;
use crate::ltx::Txid;
use crate::page::PageSize;
use crate::sqlite::{FrameChecksum, Salts, WalMark};

pub(super) const RESUME_POINT_FILE: &str = "resume-point.json";
pub(super) const EARLIER_RESUME_POINT_FILE: &str = "standing.json";

/// Up to this frame the database is that TXID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct ResumePoint {
    pub txid: Txid,
    pub page_size: PageSize,
    /// Size of the database in pages.
    pub pages: u32,
    pub wal: WalMark,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// 16 hex digits.
    txid: String,
    page_size: u32,
    pages: u32,
    salt1: u32,
    salt2: u32,
    frames: u32,
    checksum1: u32,
    checksum2: u32,
}

impl From<ResumePoint> for Stored {
    fn from(point: ResumePoint) -> Stored {
        let WalMark { salts, frames, checksum } = point.wal;
        Stored {
            txid: point.txid.to_string(),
            page_size: point.page_size.get(),
            pages: point.pages,
            salt1: salts.0,
            salt2: salts.1,
            frames,
            checksum1: checksum.0,
            checksum2: checksum.1,
        }
    }
}

impl TryFrom<Stored> for ResumePoint {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<ResumePoint, &'static str> {
        let txid = Txid::parse_hex(&stored.txid).ok_or("its TXID is not valid")?;
        let page_size = PageSize::new(stored.page_size).ok_or("its page size is not valid")?;
        let wal = WalMark {
            salts: Salts(stored.salt1, stored.salt2),
            frames: stored.frames,
            checksum: FrameChecksum(stored.checksum1, stored.checksum2),
        };
        Ok(ResumePoint { txid, page_size, pages: stored.pages, wal })
    }
}

impl ReplicaState {
    fn resume_point_file(&self) -> NoteFile {
        self.note(RESUME_POINT_FILE, EARLIER_RESUME_POINT_FILE)
    }

    /// Where this TXID is found in the WAL, if a comparison has noted that.
    pub fn resume_point(&self, txid: Txid) -> Option<ResumePoint> {
        self.resume_point_file().load().filter(|point: &ResumePoint| point.txid == txid)
    }

    pub fn note_resume_point(&self, point: &ResumePoint) -> fsx::Result<()> {
        self.resume_point_file().replace(point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::LocalState;

    fn point() -> ResumePoint {
        let wal = WalMark { salts: Salts(4, 7), frames: 5, checksum: FrameChecksum(1, 2) };
        ResumePoint { txid: Txid::FIRST, page_size: PageSize::MAX, pages: 3, wal }
    }

    #[test]
    fn a_point_is_for_its_txid_in_its_replica() {
        let dir = tempfile::tempdir().expect("tempdir");
        let state = |address: &str| LocalState::open(&dir.path().join("app.db"), dir.path()).replica(address);
        assert_eq!(state("s3://b/p").resume_point(Txid::FIRST), None);
        state("s3://b/p").note_resume_point(&point()).expect("save");
        assert_eq!(state("s3://b/p").resume_point(Txid::FIRST), Some(point()));
        assert_eq!(state("s3://b/other").resume_point(Txid::FIRST), None);
        assert_eq!(state("s3://b/p").resume_point(Txid::new(2).expect("2")), None);
    }

    #[test]
    fn the_note_of_an_earlier_build_is_read_and_one_that_makes_no_sense_is_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        let state = LocalState::open(&dir.path().join("app.db"), dir.path()).replica("r");
        let earlier = "{\"replica\":\"r\",\"txid\":\"0000000000000001\",\"page_size\":65536,\"pages\":3,\"salt1\":4,\"salt2\":7,\
                       \"frames\":5,\"checksum1\":1,\"checksum2\":2}";
        let write = |text: &str| std::fs::write(dir.path().join("standing.json"), text).expect("write");
        write(earlier);
        assert_eq!(state.resume_point(Txid::FIRST), Some(point()));
        for (right, wrong) in [("65536", "65535"), ("0000000000000001", "0"), (":5", ":-5")] {
            write(&earlier.replace(right, wrong));
            assert_eq!(state.resume_point(Txid::FIRST), None, "{wrong}");
        }
    }
}
