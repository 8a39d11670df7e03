//! What is in the bucket, as one LIST told it: sorted, without doubles, without what is not ours.
//!
//! A listing can lag behind, repeat a key or name one that is gone; whoever acts on it finds out
//! when it reads. It is never the proof that nothing is there.

use super::names::{self, Name};
use super::{Layout, Level, LtxObject, OldReplica, v03::OldName};
use crate::ltx::{HEADER_LEN, TAIL_LEN, Txid};
use crate::store::{Key, Listed};

/// Header, end-of-pages mark, an empty index, tail: no LTX file is shorter.
const MIN_LTX_LEN: u64 = (HEADER_LEN + 6 + 1 + TAIL_LEN) as u64;

/// How many of the objects that play no part are named.
const MAX_EXAMPLES: usize = 3;

/// An object that is there and plays no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    pub name: String,
    pub why: String,
    pub resembles: Resembles,
}

/// What an object that plays no part was meant to be, by its name. Where a backup was, there is not
/// "no backup".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resembles {
    Nothing,
    Ltx,
    /// It is where Litestream 0.3 put its files.
    Old,
    /// It looks like a file of a replica that does not begin here: of another one, or of this one
    /// at the wrong place.
    Misplaced,
}

/// The objects in the layout of the other kind of store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OtherLayout {
    #[default]
    Absent,
    /// There are no others: they are the objects of this listing.
    Used,
    /// They are none of this listing. Histories are never mixed, and the layout of the store
    /// counts.
    Aside { objects: usize, newest: Box<LtxObject> },
}

type Levels = [Vec<LtxObject>; Level::COUNT];

#[derive(Clone, Debug, Default)]
pub struct Listing {
    levels: Levels,
    /// What Litestream 0.3 left there.
    pub old: OldReplica,
    /// How many requests the LIST took.
    pub lists: u64,
    pub other_layout: OtherLayout,
    /// Foreign or malformed: worth a warning, never an error, never deleted.
    pub ignored: Vec<Ignored>,
}

impl Listing {
    pub fn parse(layout: Layout, listed: Vec<Listed>) -> Listing {
        let lists = layout.lists(listed.len());
        let mut listing = Listing { lists, ..Listing::default() };
        let mut others = Levels::default();
        for entry in listed {
            match names::parse(&entry.name) {
                Name::Known => {}
                Name::Old(OldName::Known) => {}
                Name::Old(old) => match Key::new(entry.name.clone()) {
                    Some(key) if old != OldName::Foreign => listing.old.add(old, key, entry.size, entry.modified_ms),
                    _ => listing.ignore(entry.name, "not a name that Litestream 0.3 writes", Resembles::Old),
                },
                Name::Misplaced(why) => listing.ignore(entry.name, why, Resembles::Misplaced),
                Name::Foreign(why) => listing.ignore(entry.name, why, Resembles::Nothing),
                Name::Ltx { .. } if entry.size < MIN_LTX_LEN => {
                    let why = format!("with {} bytes it is not a complete LTX file", entry.size);
                    listing.ignore(entry.name, why, Resembles::Ltx);
                }
                Name::Ltx { layout: found, level, min_txid, max_txid } => {
                    let levels = if found == layout { &mut listing.levels } else { &mut others };
                    levels[level.index()].push(LtxObject {
                        level,
                        min_txid,
                        max_txid,
                        size: entry.size,
                        modified_ms: entry.modified_ms,
                        name: found.key(level, min_txid, max_txid),
                    });
                }
            }
        }
        listing.old.sort();
        listing.choose_layout(others);
        for objects in &mut listing.levels {
            // Of a repeated name the entry that was written last stays.
            objects.sort_by_key(|o| (o.min_txid, o.max_txid, std::cmp::Reverse(o.modified_ms)));
            objects.dedup_by_key(|o| (o.min_txid, o.max_txid));
        }
        listing
    }

    fn choose_layout(&mut self, others: Levels) {
        let newest = others.iter().flatten().max_by_key(|o| (o.max_txid, std::cmp::Reverse(o.level))).cloned();
        let Some(newest) = newest else { return };
        if self.is_empty() {
            (self.levels, self.other_layout) = (others, OtherLayout::Used);
            return;
        }
        let objects = others.iter().map(Vec::len).sum();
        self.other_layout = OtherLayout::Aside { objects, newest: Box::new(newest) };
    }

    /// The newest object in the other layout, if that history goes further than this one.
    pub fn rival(&self) -> Option<&LtxObject> {
        match &self.other_layout {
            OtherLayout::Aside { newest, .. } if Some(newest.max_txid) > self.newest_txid() => Some(newest),
            _ => None,
        }
    }

    /// The newest level-0 object in the other layout, if this history ends with the same TXID and
    /// has no level 0.
    pub fn l0_left_behind(&self) -> Option<&LtxObject> {
        match &self.other_layout {
            OtherLayout::Aside { newest, .. }
                if newest.level == Level::L0
                    && self.level(Level::L0).is_empty()
                    && Some(newest.max_txid) == self.newest_txid() =>
            {
                Some(newest)
            }
            _ => None,
        }
    }

    /// One sentence about everything that plays no part; `None` if there is nothing of the kind.
    pub fn foreign(&self) -> Option<String> {
        let count = self.ignored.len();
        let mut examples: Vec<&Ignored> = Vec::new();
        // One of each kind, then whichever.
        for ignored in &self.ignored {
            if examples.len() < MAX_EXAMPLES && examples.iter().all(|example| example.why != ignored.why) {
                examples.push(ignored);
            }
        }
        for ignored in &self.ignored {
            if examples.len() < MAX_EXAMPLES && !examples.contains(&ignored) {
                examples.push(ignored);
            }
        }
        let shown: Vec<String> = examples.iter().map(|i| format!("{:?} ({})", i.name, i.why)).collect();
        let list = shown.join(", ");
        match count - examples.len() {
            _ if count == 0 => None,
            0 if count == 1 => Some(format!("ignoring {list}")),
            0 => Some(format!("ignoring {count} objects: {list}")),
            more => Some(format!("ignoring {count} objects: {list} and {more} more")),
        }
    }

    fn ignore(&mut self, name: String, why: impl Into<String>, resembles: Resembles) {
        self.ignored.push(Ignored { name, why: why.into(), resembles });
    }

    /// The objects of a level by ascending TXIDs.
    pub fn level(&self, level: Level) -> &[LtxObject] {
        &self.levels[level.index()]
    }

    /// All objects, level by level.
    pub fn objects(&self) -> impl Iterator<Item = &LtxObject> {
        self.levels.iter().flatten()
    }

    /// Whether there is no LTX object at all.
    pub fn is_empty(&self) -> bool {
        self.levels.iter().all(Vec::is_empty)
    }

    /// The level-0 object with the highest TXID, by name alone; see [`super::Remote::newest_l0`]
    /// for one that was looked into.
    pub fn newest_l0(&self) -> Option<&LtxObject> {
        self.level(Level::L0).iter().max_by_key(|o| o.max_txid)
    }

    /// The highest TXID of any name.
    pub fn newest_txid(&self) -> Option<Txid> {
        self.objects().map(|o| o.max_txid).max()
    }

    /// Takes over what another LIST found of Litestream 0.3.
    pub(super) fn adopt_old(&mut self, other: Listing) {
        self.old = other.old;
        self.lists += other.lists;
        self.ignored.retain(|ignored| ignored.resembles != Resembles::Old);
        self.ignored.extend(other.ignored.into_iter().filter(|ignored| ignored.resembles == Resembles::Old));
    }

    /// Takes an object out: it turned out not to be what its name says.
    pub fn set_aside(&mut self, object: &LtxObject, why: impl Into<String>) {
        self.levels[object.level.index()].retain(|o| o.name != object.name);
        self.ignore(object.name.to_string(), why, Resembles::Ltx);
    }

    /// Adds an object that was written since; one of the same name is replaced.
    pub fn insert(&mut self, object: LtxObject) {
        let objects = &mut self.levels[object.level.index()];
        match objects.binary_search_by_key(&(object.min_txid, object.max_txid), |o| (o.min_txid, o.max_txid)) {
            Ok(at) => objects[at] = object,
            Err(at) => objects.insert(at, object),
        }
    }

    /// Whether an object of that level and these TXIDs is there.
    pub fn contains(&self, object: &LtxObject) -> bool {
        let key = (object.min_txid, object.max_txid);
        self.level(object.level).binary_search_by_key(&key, |o| (o.min_txid, o.max_txid)).is_ok()
    }

    /// Takes out the objects that are no longer there.
    pub fn retain(&mut self, mut stays: impl FnMut(&LtxObject) -> bool) {
        self.levels.iter_mut().for_each(|objects| objects.retain(&mut stays));
    }

    /// The same without the objects of each level behind its first `counts[level]`.
    pub fn truncated(mut self, counts: [usize; Level::COUNT]) -> Listing {
        for (objects, count) in self.levels.iter_mut().zip(counts) {
            objects.truncate(count);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, size: u64, modified_ms: i64) -> Listed {
        Listed { name: name.into(), size, modified_ms }
    }

    fn file(level: u8, min: u64, max: u64) -> String {
        format!("{level:04x}/{min:016x}-{max:016x}.ltx")
    }

    #[test]
    fn unsorted_and_repeated_entries_are_put_in_order() {
        let listing = Listing::parse(
            Layout::S3,
            vec![
                listed(&file(0, 12, 12), 200, 5),
                listed(&file(0, 3, 3), 200, 5),
                listed(&file(9, 1, 7), 900, 5),
                listed(&file(0, 12, 12), 300, 6),
                listed(&file(0, 3, 3), 200, 5),
            ],
        );
        let l0: Vec<_> = listing.level(Level::L0).iter().map(|o| (o.min_txid.get(), o.size)).collect();
        assert_eq!(l0, [(3, 200), (12, 300)]);
        assert_eq!(listing.newest_l0().map(|o| o.max_txid.get()), Some(12));
        assert_eq!(listing.newest_txid().map(Txid::get), Some(12));
        assert_eq!(listing.objects().count(), 3);
        assert!(listing.ignored.is_empty() && listing.old.is_empty() && !listing.is_empty());
    }

    #[test]
    fn foreign_objects_are_ignored_and_said() {
        let mut names = vec![file(0, 5, 4), file(0, 0, 1), "notes.txt".into(), format!("{}.tmp", file(0, 1, 1))];
        names.sort();
        let mut entries: Vec<_> = names.iter().map(|name| listed(name, 500, 1)).collect();
        entries.push(listed(&file(0, 2, 2), 130, 1));
        entries.push(listed("generations/0123456789abcdef/wal/00000000_00000000.wal.lz4", 10, 1));
        entries.push(listed("claims/0000000000000001.json", 10, 1));
        let listing = Listing::parse(Layout::S3, entries);
        assert!(listing.is_empty() && listing.old.objects().count() == 1);
        assert_eq!(listing.newest_txid(), None);
        names.push(file(0, 2, 2));
        let ignored: Vec<_> = listing.ignored.iter().map(|i| i.name.clone()).collect();
        assert_eq!(ignored, names);
        assert!(listing.ignored.iter().all(|i| !i.why.is_empty()));
    }

    #[test]
    fn a_level_0_that_stayed_behind_is_found() {
        let (here, there) = (Layout::S3, Layout::Directories);
        let left = |entries: &[Listed]| {
            let others = [in_layout(there, 0, 7, 7), in_layout(there, 1, 5, 7)];
            let listing = Listing::parse(here, [&others, entries].concat());
            listing.l0_left_behind().map(|o| o.name.to_string())
        };
        assert_eq!(left(&[]), None);
        assert_eq!(left(&[in_layout(here, 9, 1, 7)]), Some(in_layout(there, 0, 7, 7).name));
        assert_eq!(left(&[in_layout(here, 9, 1, 6)]), None);
        assert_eq!(left(&[in_layout(here, 9, 1, 7), in_layout(here, 0, 7, 7)]), None);
    }

    fn in_layout(layout: Layout, level: u8, min: u64, max: u64) -> Listed {
        let txid = |number| Txid::new(number).expect("not zero");
        listed(layout.key(Level::new(level).expect("a level"), txid(min), txid(max)).as_str(), 500, 1)
    }

    #[test]
    fn either_layout_is_read_on_either_store_and_they_are_never_mixed() {
        let (here, there) = (Layout::S3, Layout::Directories);
        for (here, there) in [(here, there), (there, here)] {
            let others = [in_layout(there, 0, 7, 7), in_layout(there, 9, 1, 6)];
            let listing = Listing::parse(here, others.to_vec());
            assert_eq!(listing.other_layout, OtherLayout::Used);
            assert_eq!(listing.newest_l0().map(|o| o.name.to_string()), Some(others[0].name.clone()));
            assert!(listing.ignored.is_empty() && listing.rival().is_none());

            for (own, is_rival) in [(6, true), (7, false), (8, false)] {
                let entries = [others.to_vec(), vec![in_layout(here, 0, own, own)]].concat();
                let listing = Listing::parse(here, entries);
                assert_eq!(listing.objects().map(|o| o.max_txid.get()).collect::<Vec<_>>(), [own]);
                assert!(matches!(listing.other_layout, OtherLayout::Aside { objects: 2, .. }));
                assert_eq!(listing.rival().map(|newest| newest.max_txid.get()), is_rival.then_some(7));
            }
        }
    }

    #[test]
    fn many_foreign_objects_are_one_sentence_with_an_example_of_each_kind() {
        let sentence = |entries: Vec<Listed>| Listing::parse(Layout::S3, entries).foreign();
        assert_eq!(sentence(vec![in_layout(Layout::S3, 0, 1, 1)]), None);
        let one = sentence(vec![listed("notes.txt", 1, 1)]).expect("one");
        assert_eq!(one, "ignoring \"notes.txt\" (not a name that Litestream or millstream writes)");
        let mut entries: Vec<Listed> = (0..40).map(|n| listed(&format!("a{n:02}"), 1, 1)).collect();
        entries.push(listed("app/0000/0000000000000001-0000000000000001.ltx", 500, 1));
        let many = sentence(entries).expect("many");
        assert!(many.starts_with("ignoring 41 objects: \"a00\" (") && many.ends_with(" and 38 more"), "{many}");
        assert!(many.contains("\"app/0000/"), "{many}");
    }

    #[test]
    fn the_highest_name_there_is_breaks_nothing() {
        let listing = Listing::parse(Layout::S3, vec![listed(&file(0, u64::MAX, u64::MAX), 200, 1)]);
        assert_eq!(listing.newest_txid().map(Txid::get), Some(u64::MAX));
    }

    #[test]
    fn objects_come_and_go() {
        let entries = [2, 5, 9].map(|n| listed(&file(0, n, n), 200, 1));
        let mut listing = Listing::parse(Layout::S3, entries.into());
        let mut object = listing.level(Level::L0)[1].clone();
        object.size = 300;
        listing.insert(object.clone());
        (object.min_txid, object.max_txid) = (Txid::new(3).expect("3"), Txid::new(3).expect("3"));
        assert!(!listing.contains(&object));
        listing.insert(object.clone());
        assert!(listing.contains(&object));
        listing.retain(|o| o.max_txid.get() != 9);
        let l0: Vec<_> = listing.level(Level::L0).iter().map(|o| (o.max_txid.get(), o.size)).collect();
        assert_eq!(l0, [(2, 200), (3, 300), (5, 300)]);
    }

    #[test]
    fn objects_can_be_set_aside() {
        let mut listing =
            Listing::parse(Layout::S3, vec![listed(&file(0, 1, 1), 200, 1), listed(&file(0, 2, 2), 200, 1)]);
        let newest = listing.newest_l0().expect("two").clone();
        listing.set_aside(&newest, "not an LTX file");
        assert_eq!(listing.newest_txid().map(Txid::get), Some(1));
        assert_eq!(listing.ignored.len(), 1);
    }
}
