//! The number of a claim.

use std::fmt;

/// Begins with 1, and each claim has the next. A number is never given twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epoch {
    pub const FIRST: Epoch = Epoch(1);

    /// `None` for zero.
    pub const fn new(number: u64) -> Option<Epoch> {
        if number == 0 { None } else { Some(Epoch(number)) }
    }

    #[cfg(test)]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// That of the claim after this one; `None` at the end of the numbers.
    pub const fn next(self) -> Option<Epoch> {
        match self.0.checked_add(1) {
            Some(number) => Epoch::new(number),
            None => None,
        }
    }

    /// Reads the 16 digits that [`Epoch`] is shown with, and nothing else.
    pub fn parse_hex(text: &str) -> Option<Epoch> {
        let is_ours = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        Epoch::new(u64::from_str_radix(text, 16).ok().filter(|_| is_ours)?)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_read_as_they_are_shown() {
        for number in [1, 0xabc, u64::MAX] {
            let epoch = Epoch::new(number).expect("not zero");
            assert_eq!(Epoch::parse_hex(&epoch.to_string()), Some(epoch));
        }
        for text in ["", "1", "0000000000000000", "0000000000000ABC", "+000000000000001", "00000000000000001"] {
            assert_eq!(Epoch::parse_hex(text), None, "{text}");
        }
        assert_eq!(Epoch::new(u64::MAX).and_then(Epoch::next), None);
    }
}
