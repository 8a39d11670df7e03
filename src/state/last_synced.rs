//! The note of how far this disk's own history goes: the newest TXID of a replica that the database
//! here was in step with.
//!
//! *In step* means: continued from there, found to be equal, or uploaded by us. If the replica has
//! gone on further, and nothing shows that it was from here, then another writer has gone on, and
//! what is here is a branch that is not restored any more (`replicate/start.rs`).
//!
//! The first PUT after a TXID is told to the note before it is made: a header holds the salts of
//! our WAL and a time, so an object with that very header is ours, also when we died before the
//! reply came.
//!
//! With the TXID goes the frame of the WAL at which the database is that TXID ([`ResumePoint`]): a
//! later start can tell that nothing was committed here since (`replicate/behind.rs`).
//!
//! The header of the object that ends with that TXID is noted as well, where it is known: a number
//! alone is also the number of other histories. Of a *mirror* it is said whose mirror it was.
//!
//! It is written around every upload, so in place. A lost note is no note, and then nothing is
//! suspected; one that a power loss has taken back says less than it could, and the WAL proves the
//! rest.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::note_file::NoteFile;
use super::{LeftFile, ReplicaState, ResumePoint};
use crate::fsx;
use crate::ltx::{Header, Txid};

pub(super) const LAST_SYNCED_FILE: &str = "last-synced.json";
pub(super) const EARLIER_LAST_SYNCED_FILE: &str = "own-history.json";

/// How far the history goes that is this disk's own; perhaps nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncedTo(Option<Txid>);

impl SyncedTo {
    pub fn up_to(txid: Option<Txid>) -> SyncedTo {
        SyncedTo(txid)
    }

    pub fn txid(self) -> Option<Txid> {
        self.0
    }

    /// Whether it ends before `txid`.
    pub fn is_before(self, txid: Txid) -> bool {
        self.0 < Some(txid)
    }
}

impl fmt::Display for SyncedTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(txid) => write!(f, "TXID {txid}"),
            None => f.write_str("no TXID at all"),
        }
    }
}

/// As it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// 16 hex digits; zero for none.
    txid: String,
    /// Replication ended in order, and everything was in the replica.
    closed: bool,
    /// The header of the object that was about to be created after that, in hex.
    sending: Option<String>,
    /// The header of the object that ends with that TXID, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<String>,
    /// The address of the replica of which this one was a mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mirror_of: Option<String>,
    /// Where in the WAL that TXID is found.
    #[serde(default, alias = "standing", skip_serializing_if = "Option::is_none")]
    resume_point: Option<ResumePoint>,
    /// The database file, if it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<LeftFile>,
}

/// The note, and what it says.
#[derive(Clone, Debug)]
pub struct LastSynced {
    file: NoteFile,
    /// `None`: nothing is known.
    synced_to: Option<SyncedTo>,
    closed: bool,
    sending: Option<String>,
    newest: Option<String>,
    mirror_of: Option<String>,
    resume_point: Option<ResumePoint>,
    left: Option<LeftFile>,
}

impl ReplicaState {
    /// What the note says of this replica.
    pub fn last_synced(&self) -> LastSynced {
        let file = self.note(LAST_SYNCED_FILE, EARLIER_LAST_SYNCED_FILE);
        match file.load::<Stored>() {
            Some(Stored { txid, closed, sending, newest, mirror_of, resume_point, file: left }) => {
                let synced_to = Some(SyncedTo(Txid::parse_hex(&txid)));
                LastSynced { file, synced_to, closed, sending, newest, mirror_of, resume_point, left }
            }
            None => LastSynced {
                file,
                synced_to: None,
                closed: false,
                sending: None,
                newest: None,
                mirror_of: None,
                resume_point: None,
                left: None,
            },
        }
    }
}

impl LastSynced {
    /// How far it goes, given the header of the newest level-0 object; `None`: it is unknown.
    pub fn synced_to(&self, newest: Option<&Header>) -> Option<SyncedTo> {
        let sent = newest.filter(|header| self.sending.as_deref() == Some(&hex(header)));
        self.synced_to.max(sent.map(|header| SyncedTo(Some(header.max_txid))))
    }

    /// How far it surely goes, by the note alone.
    pub fn txid(&self) -> Option<Txid> {
        self.synced_to.and_then(SyncedTo::txid)
    }

    /// The header of the object that ends with [`LastSynced::txid`], if it is known.
    pub fn newest(&self) -> Option<Header> {
        self.newest.as_deref().and_then(from_hex).filter(|header| Some(header.max_txid) == self.txid())
    }

    /// Whether the replica was a mirror of the one at this address when that was noted.
    pub fn is_mirror_of(&self, address: &str) -> bool {
        self.mirror_of.as_deref() == Some(address)
    }

    /// Where in the WAL [`LastSynced::txid`] is found.
    pub fn resume_point(&self) -> Option<ResumePoint> {
        self.resume_point
    }

    /// The database file as the last run left it, which ended in order, and where in the WAL that
    /// was.
    pub fn left(&self) -> Option<(LeftFile, ResumePoint)> {
        self.left.clone().zip(self.resume_point)
    }

    /// Whether replication ended in the middle: there may be commits here that are nowhere else.
    pub fn was_cut_off(&self) -> bool {
        self.synced_to.is_some() && !self.closed
    }

    /// Replication begins: until it ends in order, it may be cut off.
    pub fn reopen(&mut self) -> fsx::Result<()> {
        if !self.closed {
            return Ok(());
        }
        self.closed = false;
        self.write()
    }

    /// The database here is in step up to there.
    pub fn in_step(&mut self, synced_to: SyncedTo) -> fsx::Result<()> {
        self.in_step_at(synced_to, None)
    }

    /// The same, and where in the WAL that is.
    pub fn in_step_at(&mut self, synced_to: SyncedTo, resume_point: Option<ResumePoint>) -> fsx::Result<()> {
        let is_noted = |header: &String| from_hex(header).map(|header| header.max_txid) == synced_to.txid();
        let newest = self.sending.take().filter(is_noted).or(self.newest.take().filter(is_noted));
        (self.synced_to, self.closed, self.newest, self.resume_point) = (Some(synced_to), false, newest, resume_point);
        (self.left, self.mirror_of) = (None, None);
        self.write()
    }

    /// This mirror of the replica at the address has the object with this header, and everything
    /// before it.
    pub fn in_step_as_mirror(&mut self, newest: &Header, of: &str) -> fsx::Result<()> {
        (self.synced_to, self.closed, self.newest) = (Some(SyncedTo(Some(newest.max_txid))), false, Some(hex(newest)));
        (self.sending, self.resume_point, self.left, self.mirror_of) = (None, None, None, Some(of.to_owned()));
        self.write()
    }

    /// The object with this header is about to be created.
    pub fn sending(&mut self, header: &Header) -> fsx::Result<()> {
        if self.synced_to.is_none() {
            // Nothing is suspected before the first of ours is confirmed.
            return Ok(());
        }
        self.sending = Some(hex(header));
        self.write()
    }

    /// Replication ends in order, and the replica has everything up to `txid`.
    pub fn close(&mut self, txid: Txid, file: Option<LeftFile>) -> fsx::Result<()> {
        if self.txid() != Some(txid) {
            self.resume_point = None;
        }
        (self.synced_to, self.closed, self.sending, self.left) = (Some(SyncedTo(Some(txid))), true, None, file);
        self.write()
    }

    fn write(&self) -> fsx::Result<()> {
        let txid = self.txid().map_or_else(|| "0".repeat(16), |txid| txid.to_string());
        let (closed, sending, resume_point) = (self.closed, self.sending.clone(), self.resume_point);
        let (newest, mirror_of) = (self.newest.clone(), self.mirror_of.clone());
        let file = self.left.clone().filter(|_| closed);
        self.file.overwrite(&Stored { txid, closed, sending, newest, mirror_of, resume_point, file })
    }
}

fn hex(header: &Header) -> String {
    header.encode().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Header> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
    Header::decode(bytes?.as_slice().try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::WalPosition;
    use crate::page::PageSize;
    use crate::sqlite::{FrameChecksum, Salts, WalMark};
    use crate::state::{FileAttributes, LocalState};

    fn txid(number: u64) -> Txid {
        Txid::new(number).expect("not zero")
    }

    fn header(number: u64, salt1: u32) -> Header {
        let wal = WalPosition { offset: 32, size: 4120, salt1, salt2: 7 };
        let (min_txid, max_txid) = (txid(number), txid(number));
        Header { page_size: PageSize::MAX, commit: 3, min_txid, max_txid, timestamp_ms: 5, wal }
    }

    fn point(number: u64) -> ResumePoint {
        let wal = WalMark { salts: Salts(4, 7), frames: 5, checksum: FrameChecksum(1, 2) };
        ResumePoint { txid: txid(number), page_size: PageSize::MAX, pages: 3, wal }
    }

    #[test]
    fn it_says_how_far_the_history_of_this_replica_goes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let state = LocalState::open(&dir.path().join("app.db"), &dir.path().join("meta"));
        let load = |replica| state.replica(replica).last_synced();
        let own = |number| Some(SyncedTo(Some(txid(number))));
        let known = |replica| (load(replica).synced_to(None), load(replica).was_cut_off());
        assert_eq!(known("r"), (None, false));
        load("r").in_step(SyncedTo(Some(txid(5)))).expect("write");
        assert_eq!(known("r"), (own(5), true));
        assert_eq!(load("other").synced_to(None), None);
        load("r").close(txid(6), None).expect("write");
        assert_eq!(known("r"), (own(6), false));
        load("r").reopen().expect("write");
        assert_eq!(known("r"), (own(6), true));
        load("r").in_step_at(SyncedTo(Some(txid(7))), Some(point(7))).expect("write");
        let file = LeftFile { stamp: FileAttributes::of(dir.path()).expect("stat"), backfilled: 3 };
        load("r").close(txid(7), Some(file.clone())).expect("write");
        assert_eq!(load("r").resume_point(), Some(point(7)), "the frame of the very TXID");
        let mut opened = load("r");
        assert_eq!(opened.left(), Some((file.clone(), point(7))));
        opened.reopen().expect("write");
        assert_eq!((opened.left(), load("r").left()), (Some((file, point(7))), None), "it is that for one start");
        load("r").close(txid(6), None).expect("write");
        assert_eq!(load("r").resume_point(), None);
        load("a mirror").in_step(SyncedTo(Some(txid(2)))).expect("write");
        load("r").in_step(SyncedTo(None)).expect("write");
        assert_eq!((load("r").synced_to(None), load("a mirror").synced_to(None)), (Some(SyncedTo(None)), own(2)));
        assert!(SyncedTo(None).is_before(txid(1)) && SyncedTo(Some(txid(1))).is_before(txid(2)));
        assert!(!SyncedTo(Some(txid(2))).is_before(txid(2)));
    }

    #[test]
    fn an_object_that_was_about_to_be_created_is_its_own() {
        let dir = tempfile::tempdir().expect("tempdir");
        let load = || LocalState::open(&dir.path().join("app.db"), dir.path()).replica("r").last_synced();
        let own = |noted: &LastSynced, newest: &Header| noted.synced_to(Some(newest));
        let mut noted = load();
        noted.sending(&header(1, 1)).expect("write");
        assert_eq!(own(&load(), &header(1, 1)), None, "nothing is known before something is confirmed");
        noted.in_step(SyncedTo(Some(txid(8)))).expect("write");
        noted.sending(&header(9, 1)).expect("write");
        assert_eq!(own(&load(), &header(9, 1)), Some(SyncedTo(Some(txid(9)))));
        assert_eq!(own(&load(), &header(9, 2)), Some(SyncedTo(Some(txid(8)))), "somebody else's");
        assert_eq!(load().synced_to(None), Some(SyncedTo(Some(txid(8)))));
        noted.in_step(SyncedTo(Some(txid(9)))).expect("write");
        assert_eq!(own(&load(), &header(9, 2)), Some(SyncedTo(Some(txid(9)))));
    }

    #[test]
    fn the_header_of_the_newest_object_is_known_after_an_upload_and_of_a_mirror() {
        let dir = tempfile::tempdir().expect("tempdir");
        let load = || LocalState::open(&dir.path().join("app.db"), dir.path()).replica("r").last_synced();
        let own = |number| SyncedTo(Some(txid(number)));
        load().in_step(own(8)).expect("write");
        assert_eq!(load().newest(), None);
        let mut noted = load();
        noted.sending(&header(9, 1)).expect("write");
        noted.in_step(own(9)).expect("write");
        assert_eq!(load().newest(), Some(header(9, 1)));
        noted.in_step(own(9)).expect("write");
        noted.close(txid(9), None).expect("write");
        assert_eq!((load().newest(), load().is_mirror_of("f")), (Some(header(9, 1)), false), "said again");
        noted.in_step_as_mirror(&header(10, 2), "f").expect("write");
        noted.close(txid(10), None).expect("write");
        let noted = load();
        assert_eq!((noted.newest(), noted.txid()), (Some(header(10, 2)), Some(txid(10))));
        assert!(noted.is_mirror_of("f") && !noted.is_mirror_of("g"));
        load().in_step(own(11)).expect("write");
        assert_eq!((load().newest(), load().is_mirror_of("f")), (None, false), "the first replica, and of no object");
    }

    #[test]
    fn the_note_of_an_earlier_build_is_read() {
        let dir = tempfile::tempdir().expect("tempdir");
        let standing = "{\"replica\":\"r\",\"txid\":\"0000000000000007\",\"page_size\":65536,\"pages\":3,\"salt1\":4,\
                        \"salt2\":7,\"frames\":5,\"checksum1\":1,\"checksum2\":2}";
        let text = format!(
            "{{\"txid\":\"0000000000000007\",\"closed\":true,\"sending\":null,\"replica\":\"r\",\"standing\":{standing}}}\n\"}}"
        );
        std::fs::write(dir.path().join("own-history.json"), text).expect("write");
        let load =
            |replica: &str| LocalState::open(&dir.path().join("app.db"), dir.path()).replica(replica).last_synced();
        assert_eq!((load("r").txid(), load("r").was_cut_off()), (Some(txid(7)), false));
        assert_eq!((load("r").resume_point(), load("other").synced_to(None)), (Some(point(7)), None));
        load("r").reopen().expect("write");
        assert_eq!((load("r").txid(), load("r").was_cut_off()), (Some(txid(7)), true));
    }
}
