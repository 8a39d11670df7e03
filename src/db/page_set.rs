//! Which pages of a database, one bit each.

use crate::page::Pgno;

/// Page numbers of a database, one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PageSet(Vec<u64>);

impl PageSet {
    pub fn new(pages: u32) -> PageSet {
        PageSet(vec![0; (pages as usize).div_ceil(64)])
    }

    pub fn insert(&mut self, pgno: Pgno) {
        self.0[pgno.index() / 64] |= 1 << (pgno.index() % 64);
    }

    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Pgno> {
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            let bits = (0..64u32).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| Pgno::new(at as u32 * 64 + bit + 1).expect("counted from one"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_gives_its_pages_back_in_order() {
        let mut set = PageSet::new(200);
        for number in [200, 1, 64, 65, 128, 64] {
            set.insert(Pgno::new(number).expect("non-zero"));
        }
        assert_eq!(set.iter().map(Pgno::get).collect::<Vec<_>>(), [1, 64, 65, 128, 200]);
        assert_eq!(set.len(), 5);
        assert_eq!(PageSet::new(0).iter().count(), 0);
    }
}
