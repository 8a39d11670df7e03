//! The names of a replica that Litestream 0.3 wrote, and what is there.
//!
//! ```text
//! the database file as it was when a WAL began:
//!   generations/<16 hex>/snapshots/<index, 8 hex>.snapshot.lz4
//! bytes of that WAL from an offset on:
//!   generations/<16 hex>/wal/<index, 8 hex>_<offset, 8 to 16 hex>.wal.lz4
//! ```
//!
//! The same on every store; but on S3 the prefix was joined as a path (`.` and `""` vanish), where
//! 0.5 puts it in front as it is: [`super::Remote::old`]. Nothing is ever written or deleted here.

use std::fmt;

use crate::store::Key;

const ROOT: &str = "generations/";

/// One unbroken history of 0.3; a new one begins whenever it lost track of the WAL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A byte in the WALs of a generation: the how manieth WAL, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WalPlace {
    pub index: u32,
    pub offset: u64,
}

impl fmt::Display for WalPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}_{:08x}", self.index, self.offset)
    }
}

/// What a name below `generations/` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldName {
    Snapshot {
        generation: Generation,
        index: u32,
    },
    Segment {
        generation: Generation,
        place: WalPlace,
    },
    /// An upload that was cut short, or the marker of a folder.
    Known,
    Foreign,
}

/// Whether a name is one of 0.3's, and which. `None`: it is not below `generations/`.
pub fn parse(name: &str) -> Option<OldName> {
    let below = name.strip_prefix(ROOT)?;
    if name.ends_with('/') || name.ends_with(".tmp") {
        return Some(OldName::Known);
    }
    Some(parse_below(below).unwrap_or(OldName::Foreign))
}

fn parse_below(below: &str) -> Option<OldName> {
    let (generation, rest) = below.split_once('/')?;
    let generation = Generation(hex(generation, 16..=16)?);
    if let Some(file) = rest.strip_prefix("snapshots/") {
        let index = hex(file.strip_suffix(".snapshot.lz4")?, 8..=8)?;
        return Some(OldName::Snapshot { generation, index: u32::try_from(index).ok()? });
    }
    let (index, offset) = rest.strip_prefix("wal/")?.strip_suffix(".wal.lz4")?.split_once('_')?;
    let index = u32::try_from(hex(index, 8..=8)?).ok()?;
    Some(OldName::Segment { generation, place: WalPlace { index, offset: hex(offset, 8..=16)? } })
}

fn hex(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let digit_ok = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let well_formed = digits.contains(&text.len()) && text.bytes().all(digit_ok);
    if well_formed { u64::from_str_radix(text, 16).ok() } else { None }
}

/// An object of 0.3. Its place: for a snapshot the beginning of the WAL that goes on from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldObject {
    pub place: WalPlace,
    pub size: u64,
    /// When the store says it was written, Unix milliseconds: 0.3 noted no other time.
    pub modified_ms: i64,
    pub name: Key,
}

/// What there is of one generation, by ascending places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldGeneration {
    pub id: Generation,
    pub snapshots: Vec<OldObject>,
    pub segments: Vec<OldObject>,
}

impl OldGeneration {
    pub fn objects(&self) -> impl Iterator<Item = &OldObject> {
        self.snapshots.iter().chain(&self.segments)
    }
}

/// Everything that 0.3 left in a replica's path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OldReplica {
    pub generations: Vec<OldGeneration>,
}

impl OldReplica {
    pub fn is_empty(&self) -> bool {
        self.generations.is_empty()
    }

    pub fn objects(&self) -> impl Iterator<Item = &OldObject> {
        self.generations.iter().flat_map(OldGeneration::objects)
    }

    /// When the newest object was written; `None` when there is none.
    pub fn newest_ms(&self) -> Option<i64> {
        self.objects().map(|object| object.modified_ms).max()
    }

    /// Adds an object of which [`parse`] said what it is.
    pub(super) fn add(&mut self, name: OldName, key: Key, size: u64, modified_ms: i64) {
        let (generation, place, is_snapshot) = match name {
            OldName::Snapshot { generation, index } => (generation, WalPlace { index, offset: 0 }, true),
            OldName::Segment { generation, place } => (generation, place, false),
            OldName::Known | OldName::Foreign => return,
        };
        let at = match self.generations.binary_search_by_key(&generation, |known| known.id) {
            Ok(at) => at,
            Err(at) => {
                let new = OldGeneration { id: generation, snapshots: Vec::new(), segments: Vec::new() };
                self.generations.insert(at, new);
                at
            }
        };
        let known = &mut self.generations[at];
        let objects = if is_snapshot { &mut known.snapshots } else { &mut known.segments };
        objects.push(OldObject { place, size, modified_ms, name: key });
    }

    /// To be called when everything was added.
    pub(super) fn sort(&mut self) {
        for generation in &mut self.generations {
            for objects in [&mut generation.snapshots, &mut generation.segments] {
                objects.sort_by_key(|o| (o.place, std::cmp::Reverse(o.modified_ms)));
                objects.dedup_by_key(|o| o.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_strictly() {
        let generation = Generation(0x1ffb_c5e5_7184_38c1);
        assert_eq!(
            parse("generations/1ffbc5e5718438c1/snapshots/0000000a.snapshot.lz4"),
            Some(OldName::Snapshot { generation, index: 10 })
        );
        for (offset, number) in [("00001038", 0x1038), ("100000000", 1 << 32), ("ffffffffffffffff", u64::MAX)] {
            let place = WalPlace { index: 2, offset: number };
            let name = format!("generations/1ffbc5e5718438c1/wal/00000002_{offset}.wal.lz4");
            assert_eq!(parse(&name), Some(OldName::Segment { generation, place }));
            assert!(name.contains(&place.to_string()));
        }
        for foreign in [
            "generations/1ffbc5e5718438c1",
            "generations/1FFBC5E5718438C1/snapshots/00000000.snapshot.lz4",
            "generations/1ffbc5e5718438c/snapshots/00000000.snapshot.lz4",
            "generations/1ffbc5e5718438c1/snapshots/0.snapshot.lz4",
            "generations/1ffbc5e5718438c1/snapshots/000000000.snapshot.lz4",
            "generations/1ffbc5e5718438c1/wal/00000000/00000000.wal.lz4",
            "generations/1ffbc5e5718438c1/wal/00000000_0000000.wal.lz4",
            "generations/1ffbc5e5718438c1/wal/00000000_00000000.wal",
            "generations/1ffbc5e5718438c1/wal/00000000-00000000.wal.lz4",
            "generations/../x",
            "generations/é",
        ] {
            assert_eq!(parse(foreign), Some(OldName::Foreign), "{foreign}");
        }
        for known in ["generations/", "generations/1ffbc5e5718438c1/", "generations/x/snapshots/y.tmp"] {
            assert_eq!(parse(known), Some(OldName::Known), "{known}");
        }
        assert_eq!(parse("ltx/0/0000000000000001-0000000000000001.ltx"), None);
    }

    #[test]
    fn objects_are_put_in_order() {
        let mut replica = OldReplica::default();
        let names = [
            "generations/00000000000000b0/wal/00000001_00000000.wal.lz4",
            "generations/00000000000000b0/wal/00000000_00001038.wal.lz4",
            "generations/00000000000000a0/snapshots/00000000.snapshot.lz4",
            "generations/00000000000000b0/wal/00000000_00000000.wal.lz4",
            "generations/00000000000000b0/wal/00000000_00000000.wal.lz4",
        ];
        for (at, name) in names.iter().enumerate() {
            replica.add(parse(name).expect("below"), Key::new(*name).expect("a key"), 10, at as i64);
        }
        replica.sort();
        assert_eq!(replica.generations.iter().map(|g| g.id.0).collect::<Vec<_>>(), [0xa0, 0xb0]);
        let places: Vec<_> = replica.generations[1].segments.iter().map(|s| s.place.to_string()).collect();
        assert_eq!(places, ["00000000_00000000", "00000000_00001038", "00000001_00000000"]);
        assert_eq!(replica.newest_ms(), Some(4));
    }
}
