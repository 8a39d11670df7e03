//! Transactions from one to another.

use std::fmt;

use crate::ltx::Txid;

/// Transactions from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: Txid,
    pub last: Txid,
}

impl Span {
    pub(super) fn holds(&self, other: &Span) -> bool {
        self.first <= other.first && self.last >= other.last
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{} to {}", self.first, self.last)
    }
}
