//! The one file that knows the names of objects.
//!
//! ```text
//! directories (files, SFTP, GCS, Azure, WebDAV, NATS)      S3, OSS
//! ltx/<level>/<min>-<max>.ltx                              <level, 4 hex digits>/<min>-<max>.ltx
//!
//! both: generations/…   a replica of Litestream 0.3, see v03.rs
//!       claims/<epoch>.json, .beat  our own: who writes here, see claim/
//!       marks/<name>.json           named moments, see marks.rs
//!       orphaned/ probes/           our own, see who writes them
//!       lock.json       Litestream's lease
//! ```
//!
//! Written is the layout of the store. Both are read on either: people copy a bucket into a
//! directory and the reverse.
//!
//! Names are read strictly: numbers come out of them, and nothing else of a name is ever used. But
//! a name that only resembles one is told apart from all others, because where a backup may be
//! there is not "no backup".

use super::{Epoch, Level, v03};
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
        layout: Layout,
        level: Level,
        min_txid: Txid,
        max_txid: Txid,
    },
    /// Below the root of a replica that Litestream 0.3 wrote.
    Old(OldName),
    /// Known, and no LTX object: nothing to say about it.
    Known,
    /// It looks like a file of a replica, and is where this replica has none.
    Misplaced(&'static str),
    Foreign(&'static str),
}

/// Where marks lie.
pub const MARKS: &str = "marks/";
pub const MARK_NAME_MAX: usize = 100;
/// What the names of claims begin with.
pub const CLAIMS: &str = "claims/";

const KNOWN_PREFIXES: [&str; 4] = [CLAIMS, MARKS, "orphaned/", "probes/"];

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
}

/// The two files of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimFile {
    /// Created once.
    Claim,
    /// Written by its holder again and again.
    Beat,
}

pub fn claim(epoch: Epoch) -> Key {
    Key::new(format!("{CLAIMS}{epoch}.json")).expect("digits and slashes make a key")
}

pub fn beat(epoch: Epoch) -> Key {
    Key::new(format!("{CLAIMS}{epoch}.beat")).expect("digits and slashes make a key")
}

/// Which claim's file it is, if it is one.
pub fn parse_claim(name: &str) -> Option<(Epoch, ClaimFile)> {
    let (epoch, end) = name.strip_prefix(CLAIMS)?.split_once('.')?;
    let file = match end {
        "json" => ClaimFile::Claim,
        "beat" => ClaimFile::Beat,
        _ => return None,
    };
    Some((Epoch::parse_hex(epoch)?, file))
}

/// What the names of a replica's objects begin with, in either layout and format: nothing else
/// belongs to it.
pub fn prefixes() -> Vec<String> {
    let levels = Level::all().map(|level| Layout::S3.directory(level));
    let others = ["ltx/", "generations/"].into_iter().chain(KNOWN_PREFIXES);
    levels.chain(others.map(str::to_owned)).collect()
}

/// Whether a path below a replica's root is one of those at which the replica has files itself.
pub fn is_among_files(path: &str) -> bool {
    let path = format!("{path}/");
    prefixes().iter().any(|prefix| path.starts_with(prefix))
}

/// The object of a mark; `None` when that is no name for one.
pub fn mark_key(name: &str) -> Option<Key> {
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    let is_name = (1..=MARK_NAME_MAX).contains(&name.len()) && name.bytes().all(is_plain);
    is_name.then(|| Key::new(format!("{MARKS}{name}.json"))).flatten()
}

/// The mark that an object is, by its name.
pub fn mark_name(object: &str) -> Option<&str> {
    let name = object.strip_prefix(MARKS)?.strip_suffix(".json")?;
    mark_key(name).map(|_| name)
}

/// Reads a name.
pub fn parse(name: &str) -> Name {
    if let Some(old) = v03::parse(name) {
        return Name::Old(old);
    }
    if name == "lock.json" || name.ends_with('/') || KNOWN_PREFIXES.iter().any(|known| name.starts_with(known)) {
        return Name::Known;
    }
    let Some((layout, level, file)) = place(name) else {
        return match resembles_a_replica(name) {
            true => Name::Misplaced("it looks like a file of a replica, but of none that begins here"),
            false => Name::Foreign("not a name that Litestream or millstream writes"),
        };
    };
    if file.ends_with(".tmp") {
        return Name::Foreign("an unfinished write");
    }
    match ltx_txids(file) {
        Some((min_txid, max_txid)) if min_txid > max_txid => Name::Misplaced("its TXIDs are out of order"),
        Some((min_txid, max_txid)) => Name::Ltx { layout, level, min_txid, max_txid },
        None if resembles_a_replica(name) => Name::Misplaced("not the name of an LTX file, though it resembles one"),
        None => Name::Foreign("not an LTX file name"),
    }
}

/// In which layout's directory of which level a name is, and the rest of it.
fn place(name: &str) -> Option<(Layout, Level, &str)> {
    let (layout, (level, file)) = match name.strip_prefix("ltx/") {
        Some(below) => (Layout::Directories, below.split_once('/')?),
        None => (Layout::S3, name.strip_prefix("000")?.split_once('/')?),
    };
    let level = Level::new(level.parse().ok().filter(|_| level.len() == 1)?)?;
    Some((layout, level, file))
}

fn ltx_txids(file: &str) -> Option<(Txid, Txid)> {
    let (min, max) = file.strip_suffix(".ltx")?.split_once('-')?;
    Some((Txid::parse_hex(min)?, Txid::parse_hex(max)?))
}

/// Whether a person who sees this name would say that a backup is there: two TXIDs or `.ltx`, or
/// the directories of Litestream 0.3, however deep, renamed or packed. What a replicator keeps
/// beside its database is none.
fn resembles_a_replica(name: &str) -> bool {
    let (directory, file) = name.rsplit_once('/').unwrap_or(("", name));
    let beside_a_database = |segment: &str| segment.ends_with("-litestream") || segment.ends_with("-millstream");
    if file.ends_with(".tmp") || directory.split('/').any(beside_a_database) {
        return false;
    }
    let file = file.to_ascii_lowercase();
    let has_txids = file.get(..33).and_then(|txids| txids.split_once('-')).is_some_and(|(min, max)| {
        [min, max].iter().all(|txid| txid.len() == 16 && txid.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    has_txids
        || [".ltx", ".snapshot.lz4", ".wal.lz4"].iter().any(|suffix| file.ends_with(suffix))
        || directory.split('/').any(|segment| segment == "generations")
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
                    let wanted = Name::Ltx { layout, level, min_txid: txid(min), max_txid: txid(max) };
                    assert_eq!(parse(layout.key(level, txid(min), txid(max)).as_str()), wanted);
                }
            }
        }
    }

    #[test]
    fn claims_are_named_by_their_epochs() {
        let epoch = Epoch::new(0x2a).expect("not zero");
        assert_eq!(claim(epoch).as_str(), "claims/000000000000002a.json");
        assert_eq!(beat(epoch).as_str(), "claims/000000000000002a.beat");
        assert_eq!(parse_claim(claim(epoch).as_str()), Some((epoch, ClaimFile::Claim)));
        assert_eq!(parse_claim(beat(epoch).as_str()), Some((epoch, ClaimFile::Beat)));
        for name in ["claims/2a.json", "claims/000000000000002a.json.tmp", "claims/000000000000002a", "x/1.json"] {
            assert_eq!(parse_claim(name), None, "{name}");
        }
        assert_eq!(parse(claim(epoch).as_str()), Name::Known);
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
        for name in strange {
            assert!(!matches!(parse(name), Name::Ltx { .. } | Name::Old(_)), "{name:?}");
        }
        for name in ["claims/00000001.json", "orphaned/a.ltx", "probes/1", "lock.json", "ltx/0/", "0000/"] {
            assert_eq!(parse(name), Name::Known, "{name:?}");
        }
        let old = parse("generations/0123456789abcdef/snapshots/00000000.snapshot.lz4");
        assert!(matches!(old, Name::Old(OldName::Snapshot { index: 0, .. })), "{old:?}");
    }

    #[test]
    fn what_looks_like_a_backup_is_told_apart_wherever_it_lies() {
        let file = "0000000000000001-0000000000000002";
        for place in
            ["", "/0000/", "./0000/", "0/", "9/", "000a/", "ltx/", "ltx/10/", "ltx/ltx/0/", "app/0000/", "a/b/ltx/0/"]
        {
            for suffix in [".ltx", ".LTX", ".ltx.gz", ""] {
                let name = format!("{place}{file}{suffix}");
                assert!(matches!(parse(&name), Name::Misplaced(_)), "{name} is {:?}", parse(&name));
            }
            let name = format!("{place}{file}.ltx.tmp");
            assert!(matches!(parse(&name), Name::Foreign(_)), "{name}");
        }
        for name in [
            "app/generations/0123456789abcdef/snapshots/00000000.snapshot.lz4",
            "/generations/0123456789abcdef/wal/00000000_00000000.wal.lz4",
            "0123456789abcdef/snapshots/00000000.snapshot.lz4",
            "0000/0000000000000003-0000000000000002.ltx",
        ] {
            assert!(matches!(parse(name), Name::Misplaced(_)), "{name} is {:?}", parse(name));
        }
        for name in [
            ".app.db-litestream/ltx/0/0000000000000001-0000000000000001.ltx",
            "app.db",
            "app.db-wal",
            "lost+found/x",
            "0000/notes.txt",
            "ltx",
            "photos/0001.jpg",
            "a-b.txt",
        ] {
            assert!(matches!(parse(name), Name::Foreign(_)), "{name} is {:?}", parse(name));
        }
    }

    #[test]
    fn a_replica_has_no_name_outside_its_prefixes() {
        for layout in LAYOUTS {
            for level in Level::all() {
                let name = layout.key(level, txid(1), txid(1));
                assert!(prefixes().iter().any(|prefix| name.as_str().starts_with(prefix)), "{name}");
            }
        }
    }
}
