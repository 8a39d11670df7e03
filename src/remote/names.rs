//! The one file that knows the names of objects.
//!
//! ```text
//! directories (files, SFTP, GCS, Azure, WebDAV, NATS)      S3, OSS
//! ltx/<level>/<min>-<max>.ltx                              <level, 4 hex digits>/<min>-<max>.ltx
//!
//! both: generations/…   a replica of Litestream 0.3, see v03.rs
//!       claims/ orphaned/ probes/   our own, see the roads that write them
//!       lock.json       Litestream's lease
//! ```
//!
//! Names are read strictly: numbers come out of them, and nothing else of a name is ever used.

use super::{Level, v03};
use crate::ltx::Txid;
use crate::store::Key;
use v03::OldName;

/// How LTX objects are named. It depends on the kind of store, as it does in Litestream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Directories,
    S3,
}

/// What a name under the replica's root stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Name {
    Ltx {
        level: Level,
        min_txid: Txid,
        max_txid: Txid,
    },
    /// Below the root of a replica that Litestream 0.3 wrote.
    Old(OldName),
    /// Known, and no LTX object: nothing to say about it.
    Known,
    Foreign(&'static str),
}

const KNOWN_PREFIXES: [&str; 3] = ["claims/", "orphaned/", "probes/"];

impl Layout {
    /// The name of an LTX object.
    pub fn key(self, level: Level, min_txid: Txid, max_txid: Txid) -> Key {
        let directory = self.directory(level);
        Key::new(format!("{directory}{min_txid}-{max_txid}.ltx")).expect("digits and slashes make a key")
    }

    /// What the names of a level's objects begin with.
    pub fn directory(self, level: Level) -> String {
        match self {
            Layout::Directories => format!("ltx/{level}/"),
            Layout::S3 => format!("{:04x}/", level.get()),
        }
    }

    /// How many requests it takes to list so many objects: S3 answers with pages.
    pub fn lists(self, objects: usize) -> u64 {
        match self {
            Layout::Directories => 1,
            Layout::S3 => (objects as u64).div_ceil(1000).max(1),
        }
    }

    pub fn parse(self, name: &str) -> Name {
        if let Some(old) = v03::parse(name) {
            return Name::Old(old);
        }
        if name == "lock.json" || name.ends_with('/') || KNOWN_PREFIXES.iter().any(|known| name.starts_with(known)) {
            return Name::Known;
        }
        let Some((level, file)) =
            Level::all().find_map(|level| Some((level, name.strip_prefix(&self.directory(level))?)))
        else {
            return Name::Foreign("not a name that Litestream or millstream writes");
        };
        let Some(stem) = file.strip_suffix(".ltx") else {
            return Name::Foreign(if file.ends_with(".tmp") { "an unfinished write" } else { "not an LTX file name" });
        };
        let txids = stem.split_once('-').and_then(|(min, max)| Some((Txid::parse_hex(min)?, Txid::parse_hex(max)?)));
        match txids {
            None => Name::Foreign("not an LTX file name"),
            Some((min_txid, max_txid)) if min_txid > max_txid => Name::Foreign("its TXIDs are out of order"),
            Some((min_txid, max_txid)) => Name::Ltx { level, min_txid, max_txid },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUTS: [Layout; 2] = [Layout::Directories, Layout::S3];

    fn txid(number: u64) -> Txid {
        Txid::new(number).expect("not zero")
    }

    #[test]
    fn names_are_litestreams() {
        let l3 = Level::new(3).expect("a level");
        let name = |layout: Layout| layout.key(l3, txid(1), txid(0xabc)).to_string();
        assert_eq!(name(Layout::Directories), "ltx/3/0000000000000001-0000000000000abc.ltx");
        assert_eq!(name(Layout::S3), "0003/0000000000000001-0000000000000abc.ltx");
    }

    #[test]
    fn names_round_trip() {
        for layout in LAYOUTS {
            for level in Level::all() {
                for (min, max) in [(1, 1), (7, 0xffff_ffff_ffff), (u64::MAX, u64::MAX)] {
                    let wanted = Name::Ltx { level, min_txid: txid(min), max_txid: txid(max) };
                    assert_eq!(layout.parse(layout.key(level, txid(min), txid(max)).as_str()), wanted);
                }
            }
        }
    }

    #[test]
    fn everything_else_is_no_ltx_object() {
        let file = "0000000000000001-0000000000000002.ltx";
        let strange = [
            "",
            "/",
            "x",
            file,
            "0000//0000000000000001-0000000000000002.ltx",
            "0000/../0000000000000001-0000000000000002.ltx",
            "0000/0000000000000000-0000000000000002.ltx",
            "0000/0000000000000003-0000000000000002.ltx",
            "0000/0000000000000001-0000000000000002.LTX",
            "0000/0000000000000001-000000000000000G.ltx",
            "0000/0000000000000001-0000000000000002.ltx.tmp",
            "0000/1-2.ltx",
            "0000/é000000000000001-0000000000000002.ltx",
            "000a/0000000000000001-0000000000000002.ltx",
            "0/0000000000000001-0000000000000002.ltx",
            "ltx/10/0000000000000001-0000000000000002.ltx",
            "ltx/00/0000000000000001-0000000000000002.ltx",
            "ltx/0/x/0000000000000001-0000000000000002.ltx",
            "../../etc/passwd",
            "claims",
        ];
        for layout in LAYOUTS {
            for name in strange {
                assert!(matches!(layout.parse(name), Name::Foreign(_) | Name::Known), "{name:?}");
            }
            for name in ["claims/00000001.json", "orphaned/a.ltx", "probes/1", "lock.json", "ltx/0/", "0000/"] {
                assert_eq!(layout.parse(name), Name::Known, "{name:?}");
            }
            let old = layout.parse("generations/0123456789abcdef/snapshots/00000000.snapshot.lz4");
            assert!(matches!(old, Name::Old(OldName::Snapshot { index: 0, .. })), "{old:?}");
        }
    }

    #[test]
    fn a_layout_does_not_read_the_other_ones_names() {
        let name = Layout::S3.key(Level::L0, txid(1), txid(1));
        assert!(matches!(Layout::Directories.parse(name.as_str()), Name::Foreign(_)));
        let name = Layout::Directories.key(Level::L0, txid(1), txid(1));
        assert!(matches!(Layout::S3.parse(name.as_str()), Name::Foreign(_)));
    }
}
