//! Opening a file of the plan: its header, its index, and how it is cut into parts.
//!
//! A small file comes in one read and is kept until it is applied. Of a large one the header and
//! the end are read, and of its index only what is needed later: which pages it has, and where
//! parts of about [`PART_LEN`] begin and end.

use std::ops::Range;

use bytes::Bytes;

use crate::ltx::{HEADER_LEN, Header, Index, IndexReader, LtxError, TAIL_LEN, Tail};
use crate::page::Pgno;
use crate::remote::{LtxObject, ReadError, Remote};

use super::pages::Runs;

/// Files up to this size are read at once: a request costs as much time as a megabyte, and a plan
/// may have hundreds of files.
const SMALL: u64 = 1280 * 1024;
/// Frames are decoded in parts of about this many bytes …
pub(super) const PART_LEN: u64 = 1024 * 1024;
/// … and fetched in ranges of about this many: whole parts, one request.
const STRETCH_LEN: u64 = 8 * 1024 * 1024;
/// The end of a large file is read blindly in the hope that the index is in it: this much at least
/// …
const MIN_END: u64 = 64 * 1024;
/// … and at most; an index has about a hundredth of the file's size.
const MAX_END: u64 = 1024 * 1024;

/// Contiguous frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub start: u64,
    pub end: u64,
    /// The page in front of it.
    pub after: Option<Pgno>,
    /// Its first frame, counted from zero through the whole file, and the one behind its last.
    pub first_frame: usize,
    pub end_frame: usize,
}

impl Part {
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }
}

/// How many reads a file of this size takes, when nothing goes wrong.
pub(super) fn reads(size: u64) -> u64 {
    if size <= SMALL { 1 } else { 2 + size.div_ceil(STRETCH_LEN) }
}

/// Cuts the parts of a file into ranges.
pub(super) fn ranges(parts: &[Part]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        match ranges.last_mut() {
            Some(range) if part.end - parts[range.start].start <= STRETCH_LEN => range.end = at + 1,
            _ => ranges.push(at..at + 1),
        }
    }
    ranges
}

/// A file whose header and index were read.
pub(super) struct Opened {
    pub object: LtxObject,
    pub raw_header: [u8; HEADER_LEN],
    pub header: Header,
    pub index: Index,
    pub pages: Runs,
    pub parts: Vec<Part>,
    /// The whole file, if it is small.
    pub content: Option<Bytes>,
}

impl Opened {
    /// Whether another look at the file showed the same pages in the same places.
    pub(super) fn has_same_pages(&self, other: &Opened) -> bool {
        let shape = |o: &Opened| (o.header.page_size, o.header.commit, o.header.min_txid, o.header.max_txid);
        shape(self) == shape(other) && self.parts == other.parts && self.pages == other.pages
    }
}

/// Opens a file. What does not parse is read once more, in case it was damaged on its way.
pub(super) async fn open(remote: &Remote, object: LtxObject) -> Result<Opened, ReadError> {
    match open_once(remote, object.clone()).await {
        Err(ReadError::Invalid { .. }) => open_once(remote, object).await,
        done => done,
    }
}

async fn open_once(remote: &Remote, object: LtxObject) -> Result<Opened, ReadError> {
    let name = object.name.clone();
    let invalid = |source| ReadError::Invalid { name: name.clone(), source };
    if object.size <= SMALL {
        let content = remote.read(&object).await?;
        return parse_small(object, content).map_err(invalid);
    }
    let end_len = (object.size / 128).clamp(MIN_END, MAX_END);
    let end_start = object.size - end_len;
    let head = remote.read_range(&object.name, 0, HEADER_LEN as u64);
    let (head, end) = tokio::try_join!(head, remote.read_range(&object.name, end_start, end_len))?;
    let (raw_header, header, tail) = parse_ends(&head, &end, object.size).map_err(invalid)?;
    let mut cutter = Cutter::new(&header, tail);
    if tail.index_offset < end_start {
        let mut pushed = Ok(());
        let front = end_start - tail.index_offset;
        let push = |chunk: &[u8]| pushed = std::mem::replace(&mut pushed, Ok(())).and_then(|()| cutter.push(chunk));
        remote.stream_range(&object.name, tail.index_offset, front, push).await?;
        pushed.map_err(invalid)?;
    }
    let skip = tail.index_offset.saturating_sub(end_start) as usize;
    cutter.push(&end[skip..end.len() - TAIL_LEN]).map_err(invalid)?;
    let (index, pages, parts) = cutter.finish().map_err(invalid)?;
    Ok(Opened { object, raw_header, header, index, pages, parts, content: None })
}

fn parse_small(object: LtxObject, content: Bytes) -> Result<Opened, LtxError> {
    let (raw_header, header, tail) = parse_ends(&content, &content, content.len() as u64)?;
    let mut cutter = Cutter::new(&header, tail);
    cutter.push(&content[tail.index_offset as usize..content.len() - TAIL_LEN])?;
    let (index, pages, parts) = cutter.finish()?;
    Ok(Opened { object, raw_header, header, index, pages, parts, content: Some(content) })
}

fn parse_ends(head: &[u8], end: &[u8], len: u64) -> Result<([u8; HEADER_LEN], Header, Tail), LtxError> {
    let raw_header = *head.first_chunk::<HEADER_LEN>().ok_or(LtxError::Truncated { within: "header" })?;
    let raw_tail = end.last_chunk::<TAIL_LEN>().ok_or(LtxError::Truncated { within: "trailer" })?;
    Ok((raw_header, Header::decode(&raw_header)?, Tail::parse(raw_tail, len)?))
}

/// Cuts the frames into parts while their index is read.
struct Cutter {
    reader: IndexReader,
    cuts: Cuts,
}

#[derive(Default)]
struct Cuts {
    pages: Runs,
    parts: Vec<Part>,
    last: Option<Pgno>,
}

impl Cutter {
    fn new(header: &Header, tail: Tail) -> Cutter {
        Cutter { reader: IndexReader::new(header, tail), cuts: Cuts::default() }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), LtxError> {
        let Cutter { reader, cuts } = self;
        reader.push(bytes, |entry| {
            match cuts.parts.last_mut() {
                Some(part) if part.len() + entry.len <= PART_LEN => {
                    part.end += entry.len;
                    part.end_frame += 1;
                }
                _ => cuts.parts.push(Part {
                    start: entry.offset,
                    end: entry.offset + entry.len,
                    after: cuts.last,
                    first_frame: cuts.pages.count(),
                    end_frame: cuts.pages.count() + 1,
                }),
            }
            cuts.pages.push(entry.pgno);
            cuts.last = Some(entry.pgno);
        })
    }

    fn finish(self) -> Result<(Index, Runs, Vec<Part>), LtxError> {
        Ok((self.reader.finish()?, self.cuts.pages, self.cuts.parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_hold_whole_parts_and_no_more_than_a_request_should() {
        let mib = |n: u64| n << 20;
        let part = |start, end| Part { start, end, after: None, first_frame: 0, end_frame: 0 };
        let row = |count: u64| (0..count).map(|n| part(100 + mib(n), 100 + mib(n + 1))).collect::<Vec<_>>();
        let cut = |parts: &[Part]| ranges(parts).iter().map(|s| (s.start, s.end)).collect::<Vec<_>>();
        assert_eq!(cut(&[]), []);
        assert_eq!(cut(&row(3)), [(0, 3)]);
        assert_eq!(cut(&row(17)), [(0, 8), (8, 16), (16, 17)]);
        assert_eq!(cut(&[part(0, mib(20)), part(mib(20), mib(21))]), [(0, 1), (1, 2)]);
    }
}
