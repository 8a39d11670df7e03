//! What was confirmed lately, for those who follow. Pure, and bounded for all databases together.
//!
//! A reader has a cursor. Where the ring has gone on without it, it has missed something, which the
//! bucket has.

use std::collections::VecDeque;

use bytes::Bytes;

use super::frame::Frame;
use crate::remote::Position;

/// Longer files are read from the bucket.
pub const FILE_BYTES: usize = 1 << 20;
const RING_BYTES: usize = 8 << 20;
const RING_FILES: usize = 1024;

#[derive(Debug)]
pub struct Ring {
    frames: VecDeque<Frame>,
    /// The number of the first one that is there.
    first: u64,
    bytes: usize,
    /// Of each database.
    newest: Vec<Option<Position>>,
}

impl Ring {
    pub fn new(databases: usize) -> Ring {
        Ring { frames: VecDeque::new(), first: 0, bytes: 0, newest: vec![None; databases] }
    }

    pub fn add(&mut self, db: u16, position: Position, bytes: Option<Bytes>) {
        let Some(newest) = self.newest.get_mut(usize::from(db)) else { return };
        let onto = newest.replace(position).filter(|last| last.txid.next() == Some(position.txid));
        let bytes = bytes.filter(|bytes| bytes.len() <= FILE_BYTES);
        let frame = Frame::Pushed { db, onto, position, bytes };
        self.bytes += size(&frame);
        self.frames.push_back(frame);
        while self.bytes > RING_BYTES || self.frames.len() > RING_FILES {
            let Some(frame) = self.frames.pop_front() else { break };
            self.bytes -= size(&frame);
            self.first += 1;
        }
    }

    /// This node is no primary any more.
    pub fn clear(&mut self) {
        self.first = self.end();
        (self.frames, self.bytes) = (VecDeque::new(), 0);
        self.newest.fill(None);
    }

    /// The number of the next one.
    pub fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// The oldest one that is there.
    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn newest(&self) -> &[Option<Position>] {
        &self.newest
    }

    /// The frame at the cursor. Where it is gone, the cursor goes to the end, and what every
    /// database has come to is told instead.
    pub fn read(&self, cursor: &mut u64) -> Vec<Frame> {
        if *cursor < self.first {
            *cursor = self.end();
            return self.notices();
        }
        let found = usize::try_from(*cursor - self.first).ok().and_then(|at| self.frames.get(at));
        *cursor += u64::from(found.is_some());
        found.cloned().into_iter().collect()
    }

    /// The newest position of each database, without a file.
    pub fn notices(&self) -> Vec<Frame> {
        let notice = |(db, newest): (usize, &Option<Position>)| {
            let (db, position) = (u16::try_from(db).ok()?, (*newest)?);
            Some(Frame::Pushed { db, onto: None, position, bytes: None })
        };
        self.newest.iter().enumerate().filter_map(notice).collect()
    }
}

fn size(frame: &Frame) -> usize {
    match frame {
        Frame::Pushed { bytes: Some(bytes), .. } => bytes.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::Txid;

    fn at(txid: u64) -> Position {
        Position { txid: Txid::new(txid).expect("not zero"), timestamp_ms: txid as i64 }
    }

    fn file(length: usize) -> Option<Bytes> {
        Some(vec![7; length].into())
    }

    #[test]
    fn a_reader_gets_what_follows_and_is_told_when_it_has_missed_something() {
        let mut ring = Ring::new(2);
        let mut cursor = 0;
        assert_eq!(ring.read(&mut cursor), []);
        ring.add(0, at(5), file(3));
        ring.add(0, at(6), file(3));
        ring.add(1, at(9), file(FILE_BYTES + 1));
        ring.add(0, at(8), file(3));
        let pushed =
            |db, onto: Option<u64>, txid, bytes| Frame::Pushed { db, onto: onto.map(at), position: at(txid), bytes };
        let read: Vec<Frame> = (0..5).flat_map(|_| ring.read(&mut cursor)).collect();
        let expected = [
            pushed(0, None, 5, file(3)),
            pushed(0, Some(5), 6, file(3)),
            // It is too long.
            pushed(1, None, 9, None),
            // Not what follows 6.
            pushed(0, None, 8, file(3)),
        ];
        assert_eq!(read, expected);
        for txid in 9..9 + 2 * RING_FILES as u64 {
            ring.add(0, at(txid), file(3));
        }
        let last = 8 + 2 * RING_FILES as u64;
        assert_eq!(ring.read(&mut cursor), [pushed(0, None, last, None), pushed(1, None, 9, None)]);
        assert_eq!((cursor, ring.read(&mut cursor)), (ring.end(), vec![]));
        ring.clear();
        assert_eq!((ring.notices(), ring.read(&mut cursor)), (vec![], vec![]));
        ring.add(0, at(last + 1), file(3));
        assert_eq!(ring.read(&mut cursor), [pushed(0, None, last + 1, file(3))], "what it follows is not known");
    }

    #[test]
    fn it_takes_no_more_than_its_share_of_memory() {
        let mut ring = Ring::new(1);
        for txid in 1..100 {
            ring.add(0, at(txid), file(FILE_BYTES));
            assert!(ring.bytes <= RING_BYTES && ring.frames.len() <= RING_FILES);
        }
        assert_eq!((ring.frames.len(), ring.first(), ring.end()), (RING_BYTES / FILE_BYTES, 91, 99));
    }
}
