//! The note of how far this disk's own history goes: the newest TXID of a replica that the database here was in step with.
//!
//! *In step* means: continued from there, found to be equal, or uploaded by us. If the replica has gone on further, and nothing
//! shows that it was from here, then somebody else has gone on, and what lies here is a branch that nobody restores any more
//! (`replicate/start.rs`).
//!
//! The first PUT after a TXID is told to the note before it is made: a header holds the salts of our WAL and a time, so an object
//! with that very header is ours, also when we died before the reply came.
//!
//! With the TXID goes the frame of the WAL at which the database is that TXID ([`Standing`]): a later start can tell that nothing
//! was committed here since (`replicate/behind.rs`).
//!
//! One line, written over in place and not synced: a write costs microseconds. A lost or torn note is no note, and then nothing
//! is suspected.

use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::notes;
use super::proof::Standing;
use crate::fsx::{self, Context};
use crate::ltx::{Header, Txid};

pub(super) const HISTORY_FILE: &str = "own-history.json";

/// How far the history goes that is this disk's own; perhaps nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Own(Option<Txid>);

impl Own {
    pub fn up_to(txid: Option<Txid>) -> Own {
        Own(txid)
    }

    pub fn txid(self) -> Option<Txid> {
        self.0
    }

    /// Whether it ends before `txid`.
    pub fn is_before(self, txid: Txid) -> bool {
        self.0 < Some(txid)
    }
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(txid) => write!(f, "TXID {txid}"),
            None => f.write_str("no TXID at all"),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// 16 hex digits; zero for none.
    txid: String,
    /// The road came to its end in order, and everything was in the replica.
    closed: bool,
    /// The header of the object that was about to be created after that, in hex.
    sending: Option<String>,
    /// A TXID means nothing in another replica.
    replica: String,
    /// Where in the WAL that TXID is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    standing: Option<Standing>,
}

/// The note, and what it says.
#[derive(Clone, Debug)]
pub struct History {
    path: PathBuf,
    replica: String,
    /// `None`: nothing is known.
    own: Option<Own>,
    closed: bool,
    sending: Option<String>,
    standing: Option<Standing>,
}

impl History {
    /// What the note in `directory` says of this replica.
    pub fn load(directory: &Path, replica: &str) -> History {
        let path = directory.join(HISTORY_FILE);
        let note = read(&path).filter(|note| note.replica == replica);
        let (own, closed, sending, standing) = match note {
            Some(note) => (Some(Own(Txid::parse_hex(&note.txid))), note.closed, note.sending, note.standing),
            None => (None, false, None, None),
        };
        History { path, replica: replica.to_owned(), own, closed, sending, standing }
    }

    /// How far it goes, given the header of the newest level-0 object; `None`: nobody knows.
    pub fn own(&self, newest: Option<&Header>) -> Option<Own> {
        let sent = newest.filter(|header| self.sending.as_deref() == Some(&hex(header)));
        self.own.max(sent.map(|header| Own(Some(header.max_txid))))
    }

    /// How far it is surely its own, by the note alone.
    pub fn txid(&self) -> Option<Txid> {
        self.own.and_then(Own::txid)
    }

    /// Where in the WAL [`History::txid`] is found.
    pub fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// Whether the last road ended in the middle: there may be commits here that nobody else has.
    pub fn was_cut_off(&self) -> bool {
        self.own.is_some() && !self.closed
    }

    /// A road begins: until it ends in order, it may be cut off.
    pub fn reopen(&mut self) -> fsx::Result<()> {
        if !self.closed {
            return Ok(());
        }
        self.closed = false;
        self.write()
    }

    /// The database here is in step with `own`.
    pub fn in_step(&mut self, own: Own) -> fsx::Result<()> {
        self.in_step_at(own, None)
    }

    /// The same, and where in the WAL that is.
    pub fn in_step_at(&mut self, own: Own, standing: Option<Standing>) -> fsx::Result<()> {
        (self.own, self.closed, self.sending, self.standing) = (Some(own), false, None, standing);
        self.write()
    }

    /// The object with this header is about to be created.
    pub fn sending(&mut self, header: &Header) -> fsx::Result<()> {
        if self.own.is_none() {
            // Nothing is suspected before the first of ours is confirmed.
            return Ok(());
        }
        self.sending = Some(hex(header));
        self.write()
    }

    /// The road ends in order, and the replica has everything up to `txid`.
    pub fn close(&mut self, txid: Txid) -> fsx::Result<()> {
        if self.txid() != Some(txid) {
            self.standing = None;
        }
        (self.own, self.closed, self.sending) = (Some(Own(Some(txid))), true, None);
        self.write()
    }

    fn write(&self) -> fsx::Result<()> {
        let txid = self.own.and_then(|own| own.0).map_or_else(|| "0".repeat(16), |txid| txid.to_string());
        let (sending, replica, standing) = (self.sending.clone(), self.replica.clone(), self.standing.clone());
        let note = Note { txid, closed: self.closed, sending, replica, standing };
        let mut line = serde_json::to_vec(&note).map_err(std::io::Error::other).on("encode", &self.path)?;
        // What an earlier, longer note left behind it does not count.
        line.push(b'\n');
        let file = match open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                notes::create_dir_within(fsx::parent(&self.path))?;
                create(&self.path)?
            }
            opened => opened?,
        };
        file.write_all_at(&line, 0).on("write", &self.path)
    }
}

fn open(path: &Path) -> fsx::Result<File> {
    File::options().write(true).custom_flags(libc::O_NOFOLLOW).open(path).on("open", path)
}

fn create(path: &Path) -> fsx::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path).on("create", path)?;
    notes::settle(&file, path);
    Ok(file)
}

fn read(path: &Path) -> Option<Note> {
    let bytes = std::fs::read(path).ok()?;
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(line).ok()
}

fn hex(header: &Header) -> String {
    header.encode().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Position;
    use crate::ltx::WalPosition;
    use crate::page::PageSize;
    use crate::sqlite::{FrameChecksum, Salts, WalMark};

    fn txid(number: u64) -> Txid {
        Txid::new(number).expect("not zero")
    }

    fn header(number: u64, salt1: u32) -> Header {
        let wal = WalPosition { offset: 32, size: 4120, salt1, salt2: 7 };
        let (min_txid, max_txid) = (txid(number), txid(number));
        Header { page_size: PageSize::MAX, commit: 3, min_txid, max_txid, timestamp_ms: 5, wal }
    }

    #[test]
    fn it_says_how_far_the_history_of_this_replica_goes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let meta = dir.path().join("meta");
        let load = |replica| History::load(&meta, replica);
        let own = |number| Some(Own(Some(txid(number))));
        assert_eq!((load("r").own(None), load("r").was_cut_off()), (None, false));
        load("r").in_step(Own(Some(txid(5)))).expect("write");
        assert_eq!((load("r").own(None), load("r").was_cut_off()), (own(5), true));
        assert_eq!(load("other").own(None), None);
        load("r").close(txid(6)).expect("write");
        assert_eq!((load("r").own(None), load("r").was_cut_off()), (own(6), false));
        load("r").reopen().expect("write");
        assert_eq!((load("r").own(None), load("r").was_cut_off()), (own(6), true));
        let wal = WalMark { salts: Salts(4, 7), frames: 5, checksum: FrameChecksum(1, 2) };
        let position = Position { txid: txid(7), page_size: PageSize::MAX, pages: 3, wal: Some(wal), sealed: false };
        load("r").in_step_at(Own(Some(txid(7))), Standing::of(&position, "r")).expect("write");
        load("r").close(txid(7)).expect("write");
        assert!(load("r").standing().is_some_and(|note| note.is_of("r", txid(7))), "the frame of the very TXID");
        load("r").close(txid(6)).expect("write");
        assert!(load("r").standing().is_none());
        load("a longer name").in_step(Own(None)).expect("write");
        load("r").in_step(Own(None)).expect("write");
        assert_eq!((load("r").own(None), load("a longer name").own(None)), (Some(Own(None)), None));
        assert!(Own(None).is_before(txid(1)) && Own(Some(txid(1))).is_before(txid(2)));
        assert!(!Own(Some(txid(2))).is_before(txid(2)));
    }

    #[test]
    fn an_object_that_was_about_to_be_created_is_its_own() {
        let dir = tempfile::tempdir().expect("tempdir");
        let load = || History::load(dir.path(), "r");
        let own = |history: &History, newest: &Header| history.own(Some(newest));
        let mut history = load();
        history.sending(&header(1, 1)).expect("write");
        assert_eq!(own(&load(), &header(1, 1)), None, "nothing is known before something is confirmed");
        history.in_step(Own(Some(txid(8)))).expect("write");
        history.sending(&header(9, 1)).expect("write");
        assert_eq!(own(&load(), &header(9, 1)), Some(Own(Some(txid(9)))));
        assert_eq!(own(&load(), &header(9, 2)), Some(Own(Some(txid(8)))), "somebody else's");
        assert_eq!(load().own(None), Some(Own(Some(txid(8)))));
        history.in_step(Own(Some(txid(9)))).expect("write");
        assert_eq!(own(&load(), &header(9, 2)), Some(Own(Some(txid(9)))));
    }

    #[test]
    fn a_torn_note_is_no_note() {
        let dir = tempfile::tempdir().expect("tempdir");
        History::load(dir.path(), "r").in_step(Own(Some(txid(5)))).expect("write");
        let path = dir.path().join(HISTORY_FILE);
        let whole = std::fs::read(&path).expect("read");
        for len in 0..whole.len() - 1 {
            std::fs::write(&path, &whole[..len]).expect("cut");
            assert_eq!(History::load(dir.path(), "r").own(None), None, "{len} bytes");
        }
    }
}
