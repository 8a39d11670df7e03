//! The k-way merge: several files of one history into one, newest version of every page first.
//!
//! It streams: memory is one page for each input. The output is complete only when `merge` has
//! returned: inputs are verified at their ends, so on an error whatever reached the writer must be
//! thrown away.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Read, Write};

use super::{Decoder, Encoded, Encoder, Flavour, Header, LtxError, Result, WalPosition, malformed};
use crate::page::Pgno;

/// The header that a merge of files with these headers gets: first TXID of the first; last TXID,
/// size and time of the last; no WAL position. Fails unless they are one history in order: each
/// begins at or before the end of the previous one and goes beyond it, and all have one page size.
pub fn merged_header(inputs: &[Header]) -> Result<Header> {
    let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
        return Err(LtxError::Refused("nothing to merge".into()));
    };
    for pair in inputs.windows(2) {
        let (previous, next) = (&pair[0], &pair[1]);
        let reached = previous.max_txid;
        if reached.next().is_none_or(|wanted| next.min_txid > wanted) || next.max_txid <= reached {
            let range = format!("{}-{}", next.min_txid, next.max_txid);
            return Err(LtxError::Refused(format!("{range} does not continue a history that ends with {reached}")));
        }
        if previous.page_size != next.page_size {
            let (old, new) = (previous.page_size, next.page_size);
            return Err(LtxError::Refused(format!("page size changes from {old} to {new} after {reached}")));
        }
    }
    Ok(Header { min_txid: first.min_txid, wal: WalPosition::default(), ..*last })
}

/// Merges `inputs`, oldest first, into one file with the header `target`: [`merged_header`]'s, or
/// that with other TXIDs, time or WAL position. Page size and database size are the inputs' and
/// cannot be chosen.
pub fn merge<R: Read, W: Write>(inputs: Vec<Decoder<R>>, target: Header, writer: W) -> Result<Encoded<W>> {
    let mut merged = Merged::new(inputs)?;
    if (target.page_size, target.commit) != (merged.header.page_size, merged.header.commit) {
        return Err(LtxError::Refused("the target's page size or database size is not the inputs'".into()));
    }
    let mut encoder = Encoder::with_flavour(writer, target, Flavour::after(merged.newest_flavour()))?;
    while let Some((pgno, page)) = merged.next_page()? {
        encoder.page(pgno, page).map_err(blame_inputs)?;
    }
    merged.finish()?;
    encoder.finish().map_err(blame_inputs)
}

/// The pages of several files of one history, one by one in page order, the newest version of each.
/// As with a [`Decoder`], nothing made of them may be used until [`Merged::finish`] has succeeded.
pub struct Merged<R: Read> {
    inputs: Vec<Input<R>>,
    /// The smallest page number first, and among equal ones the newest input.
    heads: BinaryHeap<Reverse<(Pgno, Reverse<usize>)>>,
    header: Header,
    last: Option<Pgno>,
    /// The input whose page was handed out; it moves on when the next one is asked for.
    lent: Option<usize>,
}

impl<R: Read> Merged<R> {
    /// `inputs` are one history, oldest first.
    pub fn new(inputs: Vec<Decoder<R>>) -> Result<Merged<R>> {
        let headers: Vec<Header> = inputs.iter().map(|input| *input.header()).collect();
        let header = merged_header(&headers)?;
        let mut inputs: Vec<Input<R>> = inputs.into_iter().map(Input::new).collect();
        let mut heads = BinaryHeap::with_capacity(inputs.len());
        for (age, input) in inputs.iter_mut().enumerate() {
            heads.extend(input.advance()?.map(|pgno| Reverse((pgno, Reverse(age)))));
        }
        Ok(Merged { inputs, heads, header, last: None, lent: None })
    }

    /// [`merged_header`] of the inputs.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the first page of the last input is stored.
    fn newest_flavour(&self) -> Option<Flavour> {
        self.inputs.last().and_then(|input| input.decoder.flavour())
    }

    /// The next page of the database as it is after the last input; `None` after the last one.
    pub fn next_page(&mut self) -> Result<Option<(Pgno, &[u8])>> {
        let next = self.next_newest()?;
        Ok(next.map(|(pgno, age)| (pgno, self.inputs[age].page.as_slice())))
    }

    /// As [`Merged::next_page`], and what the inputs before number `split` have under that number.
    pub fn next_versions(&mut self, split: usize) -> Result<Option<Versions<'_>>> {
        let Some((pgno, newest)) = self.next_newest()? else { return Ok(None) };
        let mut before = None;
        while let Some(&Reverse((_, Reverse(age)))) = self.heads.peek().filter(|head| head.0.0 == pgno) {
            if age < split {
                // It stays where it is until the next page is asked for.
                before = Some(age);
                break;
            }
            self.heads.pop();
            self.heads.extend(self.inputs[age].advance()?.map(|pgno| Reverse((pgno, Reverse(age)))));
        }
        Ok(Some(Versions {
            pgno,
            page: &self.inputs[newest].page,
            is_since: newest >= split,
            before: before.map(|age| self.inputs[age].page.as_slice()),
        }))
    }

    /// Number of the next page that is left, and of the input with its newest version, which is
    /// lent out from now on.
    fn next_newest(&mut self) -> Result<Option<(Pgno, usize)>> {
        self.advance_lent()?;
        while let Some(Reverse((pgno, Reverse(age)))) = self.heads.pop() {
            self.lent = Some(age);
            let is_newest = self.last.replace(pgno) != Some(pgno);
            if is_newest && pgno.get() <= self.header.commit {
                return Ok(Some((pgno, age)));
            }
            self.advance_lent()?;
        }
        Ok(None)
    }

    /// Reads whatever is left and verifies every input.
    pub fn finish(self) -> Result<()> {
        self.inputs.into_iter().try_for_each(|input| input.decoder.finish().map(drop))
    }

    fn advance_lent(&mut self) -> Result<()> {
        if let Some(age) = self.lent.take() {
            self.heads.extend(self.inputs[age].advance()?.map(|pgno| Reverse((pgno, Reverse(age)))));
        }
        Ok(())
    }
}

/// A page as the last input leaves it, and as it was before some of the inputs.
#[derive(Debug, PartialEq, Eq)]
pub struct Versions<'a> {
    pub pgno: Pgno,
    pub page: &'a [u8],
    /// It comes from one of the inputs behind the split.
    pub is_since: bool,
    /// The newest version in the other inputs, if that is not the page itself.
    pub before: Option<&'a [u8]>,
}

struct Input<R: Read> {
    decoder: Decoder<R>,
    page: Vec<u8>,
}

impl<R: Read> Input<R> {
    fn new(decoder: Decoder<R>) -> Input<R> {
        let page = vec![0; decoder.header().page_size.bytes()];
        Input { decoder, page }
    }

    fn advance(&mut self) -> Result<Option<Pgno>> {
        self.decoder.next_page(&mut self.page)
    }
}

/// Every page here came out of a file, so what the encoder refuses is a fault of the files: a page
/// is in none of them.
fn blame_inputs(error: LtxError) -> LtxError {
    match error {
        LtxError::Refused(what) => malformed(format!("the merged files do not make a whole: {what}")),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ltx::Front;
    use crate::ltx::testing::{Pages, decode, encode, encode_as, header, page, txid};

    fn merge_files(files: &[Vec<u8>]) -> Result<(Header, Pages)> {
        let decoders: Vec<_> = files.iter().map(|file| Decoder::new(&file[..])).collect::<Result<_>>()?;
        let headers: Vec<Header> = decoders.iter().map(|d| *d.header()).collect();
        let merged = merge(decoders, merged_header(&headers)?, Vec::new())?;
        decode(&merged.writer)
    }

    fn pages(numbers: impl IntoIterator<Item = u32>, version: u64) -> Pages {
        numbers.into_iter().map(|n| (n, page(512, version * 1000 + u64::from(n)))).collect()
    }

    #[test]
    fn the_newest_version_of_a_page_wins_and_a_shrunk_tail_is_dropped() {
        let mut last = header(512, 4, 6, 6);
        (last.timestamp_ms, last.wal.offset, last.wal.size) = (77, 32, 536);
        let files = [
            encode(header(512, 6, 1, 4), &pages(1..=6, 1)),
            encode(header(512, 8, 5, 5), &pages([2, 7, 8], 2)),
            encode(last, &pages([1, 4], 3)),
        ];
        let (h, merged) = merge_files(&files).expect("merge");
        let wanted: Pages = [pages([1], 3), pages([2], 2), pages([3], 1), pages([4], 3)].concat();
        assert_eq!(merged, wanted);
        assert_eq!(h, Header { min_txid: txid(1), wal: WalPosition::default(), ..last });
    }

    #[test]
    fn a_merge_is_in_the_flavour_of_its_newest_input() {
        let (first, second, third) = (header(512, 4, 1, 1), header(512, 4, 2, 2), header(512, 4, 3, 3));
        let flavour_of = |files: &[Vec<u8>]| {
            let decoders: Vec<_> = files.iter().map(|file| Decoder::new(&file[..]).expect("header")).collect();
            let headers: Vec<Header> = decoders.iter().map(|decoder| *decoder.header()).collect();
            let merged = merge(decoders, merged_header(&headers).expect("one history"), Vec::new()).expect("merge");
            Front::decode(&merged.writer).expect("valid").flavour
        };
        use Flavour::{Block, Frame};
        for (older, newest) in [(Frame, Frame), (Block, Frame), (Frame, Block), (Block, Block)] {
            let files = [
                encode_as(older, first, &pages(1..=4, 1)),
                encode_as(older, second, &pages([2], 2)),
                encode_as(newest, third, &pages([4], 3)),
            ];
            assert_eq!(flavour_of(&files), Some(newest), "{older:?}, then {newest:?}");
        }
        // One without a page shows nothing.
        let files = [encode_as(Block, first, &pages(1..=4, 1)), encode_as(Block, second, &Vec::new())];
        assert_eq!(flavour_of(&files), Some(Frame));
    }

    #[test]
    fn a_merge_within_a_level_can_keep_the_wal_position() {
        let mut h = header(512, 4, 6, 6);
        (h.wal.offset, h.wal.size) = (32, 536);
        let files = [encode(header(512, 4, 5, 5), &pages([3], 1)), encode(h, &pages([4], 1))];
        let decoders = files.iter().map(|f| Decoder::new(&f[..]).expect("header")).collect();
        let merged = merge(decoders, h, Vec::new()).expect("merge");
        assert_eq!(decode(&merged.writer).expect("valid"), (h, [pages([3], 1), pages([4], 1)].concat()));
    }

    #[test]
    fn a_page_is_shown_with_what_it_was_before_the_split() {
        let files = [
            encode(header(512, 4, 1, 4), &pages(1..=4, 1)),
            encode(header(512, 4, 5, 5), &pages([2, 3], 2)),
            encode(header(512, 4, 6, 6), &pages([2], 3)),
            encode(header(512, 5, 7, 7), &pages([2, 3, 5], 4)),
        ];
        // For each split, for each page: the version in the database, whether it is since the
        // split, and the version before it.
        type Expected = (u64, bool, Option<u64>);
        let table: [(usize, [Expected; 5]); 4] = [
            (0, [(1, true, None), (4, true, None), (4, true, None), (1, true, None), (4, true, None)]),
            (1, [(1, false, None), (4, true, Some(1)), (4, true, Some(1)), (1, false, None), (4, true, None)]),
            (2, [(1, false, None), (4, true, Some(2)), (4, true, Some(2)), (1, false, None), (4, true, None)]),
            (4, [(1, false, None), (4, false, Some(3)), (4, false, Some(2)), (1, false, None), (4, false, None)]),
        ];
        for (split, wanted) in table {
            let decoders = files.iter().map(|file| Decoder::new(&file[..]).expect("header")).collect();
            let mut merged = Merged::new(decoders).expect("one history");
            let version = |number: u32, version: u64| page(512, version * 1000 + u64::from(number));
            for (number, (newest, is_since, before)) in (1..).zip(wanted) {
                let before = before.map(|before| version(number, before));
                let (pgno, page) = (Pgno::new(number).expect("not zero"), &version(number, newest)[..]);
                let versions = Versions { pgno, page, is_since, before: before.as_deref() };
                assert_eq!(merged.next_versions(split).expect("valid"), Some(versions), "split {split}, page {number}");
            }
            assert_eq!(merged.next_versions(split).expect("valid"), None);
            merged.finish().expect("verified");
        }
    }

    #[test]
    fn only_one_history_in_order_is_merged() {
        let refused = |headers: &[Header]| assert!(matches!(merged_header(headers), Err(LtxError::Refused(_))));
        let h = |min, max| header(512, 9, min, max);
        refused(&[]);
        refused(&[h(1, 3), h(5, 6)]);
        refused(&[h(1, 3), h(2, 3)]);
        refused(&[h(1, 3), h(4, 4), h(4, 4)]);
        refused(&[h(1, u64::MAX), h(2, u64::MAX)]);
        refused(&[h(1, 3), header(1024, 9, 4, 4)]);
        assert!(merged_header(&[h(1, 1), h(1, 4), h(5, 5)]).is_ok(), "an overlap is legal");
    }

    #[test]
    fn a_damaged_input_fails_the_merge() {
        let good = encode(header(512, 6, 1, 4), &pages(1..=6, 1));
        let mut bad = encode(header(512, 6, 5, 5), &pages([2], 2));
        let end = bad.len() - 1;
        bad[end] ^= 1;
        assert!(matches!(merge_files(&[good, bad]), Err(LtxError::Checksum { .. })));
    }

    #[test]
    fn a_database_that_grew_without_its_pages_is_the_files_fault() {
        let files = [encode(header(512, 2, 1, 4), &pages(1..=2, 1)), encode(header(512, 5, 5, 5), &pages([5], 2))];
        assert!(matches!(merge_files(&files), Err(LtxError::Malformed(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// A history of growing, shrinking and writing, merged, is the database at its end.
        #[test]
        fn a_merge_is_the_database_at_its_end(steps in prop::collection::vec((1u32..30, any::<u32>()), 1..8)) {
            let mut database: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
            let mut files = Vec::new();
            for (step, (commit, mask)) in steps.iter().enumerate() {
                let txid = step as u64 + 1;
                database.retain(|n, _| n <= commit);
                let grown: Vec<u32> = (1..=*commit).filter(|n| !database.contains_key(n) || mask >> n & 1 == 1).collect();
                let changed = pages(grown, txid);
                database.extend(changed.iter().cloned());
                files.push(encode(header(512, *commit, txid, txid), &changed));
            }
            let (h, merged) = merge_files(&files).expect("merge");
            prop_assert_eq!(merged, database.into_iter().collect::<Pages>());
            prop_assert_eq!(h.max_txid.get(), steps.len() as u64);
        }
    }
}
