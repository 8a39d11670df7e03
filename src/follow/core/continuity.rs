//! Whether a replica still holds the history that a copy is a state of. Pure.
//!
//! A TXID is a number; another history has the same ones. What the files say of their moments tells
//! them apart: an object that ends with the copy's TXID tells of the same moment, those that end
//! before it of no later one, and those that end behind it of no earlier one. (A snapshot of
//! Litestream says when it was made, so snapshots do not count.) Where nothing contradicts, the
//! history is the same.

use super::Position;
use crate::ltx::Header;
use crate::remote::{Level, Listing, LtxObject};

/// The objects whose headers can tell: what ends with the position, and its neighbours.
pub fn witnesses(listing: &Listing, at: Position) -> Vec<LtxObject> {
    let told: Vec<&LtxObject> = listing.objects().filter(|o| o.level != Level::SNAPSHOT).collect();
    let with = told.iter().filter(|o| o.max_txid == at.txid).min_by_key(|o| o.level);
    let before = told.iter().filter(|o| o.max_txid < at.txid).max_by_key(|o| (o.max_txid, o.level));
    let behind = told.iter().filter(|o| o.max_txid > at.txid).min_by_key(|o| (o.max_txid, o.level));
    let found = match with {
        Some(with) => vec![with],
        None => before.into_iter().chain(behind).collect(),
    };
    found.into_iter().map(|o| (**o).clone()).collect()
}

/// What contradicts, as a clause.
pub fn contradiction(at: Position, headers: &[(LtxObject, Header)]) -> Option<String> {
    let Position { txid, timestamp_ms } = at;
    headers.iter().find_map(|(object, header)| {
        let other = match object.max_txid.cmp(&txid) {
            std::cmp::Ordering::Equal => header.timestamp_ms != timestamp_ms,
            std::cmp::Ordering::Less => header.timestamp_ms > timestamp_ms,
            std::cmp::Ordering::Greater => header.timestamp_ms < timestamp_ms,
        };
        other.then(|| format!("{} is of another moment than TXID {txid} of the copy", object.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::{Txid, WalPosition};
    use crate::page::PageSize;
    use crate::remote::Layout;
    use crate::store::Listed;

    fn txid(number: u64) -> Txid {
        Txid::new(number).expect("not zero")
    }

    /// Which files are asked, and whether they contradict. A file's time is ten times its last
    /// TXID, and `shift` more.
    fn judged(files: &[(u8, u64, u64)], shift: i64) -> (Vec<u64>, bool) {
        let listed = |&(level, min, max): &(u8, u64, u64)| {
            let name = Layout::S3.key(Level::new(level).expect("a level"), txid(min), txid(max)).to_string();
            Listed { name, size: 500, modified_ms: 1 }
        };
        let listing = Listing::parse(Layout::S3, files.iter().map(listed).collect());
        let at = Position { txid: txid(50), timestamp_ms: 500 };
        let header = |o: LtxObject| {
            let timestamp_ms = o.max_txid.get() as i64 * 10 + shift;
            let (min_txid, max_txid) = (o.min_txid, o.max_txid);
            let wal = WalPosition::default();
            (o, Header { page_size: PageSize::MAX, commit: 1, min_txid, max_txid, timestamp_ms, wal })
        };
        let witnesses = witnesses(&listing, at);
        let asked = witnesses.iter().map(|o| o.max_txid.get()).collect();
        let headers: Vec<_> = witnesses.into_iter().map(header).collect();
        (asked, contradiction(at, &headers).is_some())
    }

    #[test]
    fn another_moment_is_another_history() {
        let exact = [(9, 1, 50), (1, 41, 50), (0, 50, 50), (0, 51, 51)];
        assert_eq!(judged(&exact, 0), (vec![50], false));
        assert_eq!(judged(&exact, 1), (vec![50], true));
        let around = [(9, 1, 50), (1, 41, 45), (1, 46, 55), (0, 60, 60)];
        assert_eq!(judged(&around, 0), (vec![45, 55], false));
        assert_eq!(judged(&around, 50), (vec![45, 55], false), "nothing contradicts");
        assert_eq!(judged(&around, 51), (vec![45, 55], true));
        assert_eq!(judged(&around, -51), (vec![45, 55], true));
        assert_eq!(judged(&[(9, 1, 50)], 7), (vec![], false), "a snapshot tells nothing");
    }
}
