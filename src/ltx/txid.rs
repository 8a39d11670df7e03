//! Transaction ids: Litestream's own counter of shipped batches, 1 and up, written as 16 hex
//! digits.

use std::fmt;

/// The number of one batch in a history; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Txid(u64);

impl Txid {
    pub const FIRST: Txid = Txid(1);

    /// `None` for zero, which the format uses as "none".
    pub const fn new(number: u64) -> Option<Txid> {
        if number == 0 { None } else { Some(Txid(number)) }
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    /// The following id; `None` after the last one there is, so that a stray name cannot wrap a
    /// history around.
    pub const fn next(self) -> Option<Txid> {
        match self.0.checked_add(1) {
            Some(number) => Some(Txid(number)),
            None => None,
        }
    }

    /// Exactly 16 lower-case hex digits, not all zero.
    pub fn parse_hex(text: &str) -> Option<Txid> {
        let digit_ok = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 16 || !text.bytes().all(digit_ok) {
            return None;
        }
        u64::from_str_radix(text, 16).ok().and_then(Txid::new)
    }
}

impl fmt::Display for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_is_strict() {
        for number in [1, 0xff, 0x0123_4567_89ab_cdef, u64::MAX] {
            let txid = Txid::new(number).expect("not zero");
            assert_eq!(Txid::parse_hex(&txid.to_string()), Some(txid));
            assert_eq!(txid.to_string().len(), 16);
        }
        for bad in [
            "",
            "1",
            "0000000000000000",
            "00000000000000001",
            "000000000000000A",
            "+00000000000000f",
            "0x00000000000001",
        ] {
            assert_eq!(Txid::parse_hex(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn ids_never_wrap_around() {
        assert_eq!(Txid::new(0), None);
        assert_eq!(Txid::FIRST.next().map(Txid::get), Some(2));
        assert_eq!(Txid::new(u64::MAX).and_then(Txid::next), None);
    }
}
