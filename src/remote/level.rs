//! Compaction levels.

use std::fmt;

/// 0 holds one file per upload, 1 to 8 compacted ranges, 9 snapshots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Level(u8);

impl Level {
    pub const COUNT: usize = 10;
    pub const L0: Level = Level(0);
    pub const SNAPSHOT: Level = Level(9);

    /// `None` above 9.
    pub const fn new(number: u8) -> Option<Level> {
        if number < Level::COUNT as u8 { Some(Level(number)) } else { None }
    }

    pub const fn get(self) -> u8 {
        self.0
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// 0 to 9.
    pub fn all() -> impl DoubleEndedIterator<Item = Level> {
        (0..Level::COUNT as u8).map(Level)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}", self.0)
    }
}
