//! Whatever is in a `-wal`: both readers stop where SQLite's own recovery stops, and the database
//! that results is the same.

use super::recovery::{HEADER, PAGE, by_sqlite, by_us, in_byte_order};
use super::*;
use crate::fuzz;

/// The database before any of these WALs.
const DATABASE: &[u8] = include_bytes!("../../../tests/corpus/wal.db");
/// SQLite makes a database as large as a commit says, however little of it is in the file.
const PAGES_MAX: u32 = 5000;

type Read = fn(&[u8], &[u8]) -> (u32, Vec<Vec<u8>>);

fn check(wal: &[u8], read: Read) {
    as_it_is(wal, read);
    // With sums that are right again, what they protect is tried as well.
    let header = wal.first_chunk::<HEADER>();
    let Some(page_size) = header.and_then(|header| PageSize::new(be32(header, 8))) else { return };
    let whole = HEADER + (wal.len() - HEADER) / frame_len(page_size) as usize * frame_len(page_size) as usize;
    as_it_is(&in_byte_order(&wal[..whole], page_size.bytes(), wal[3] & 1 == 1), read);
}

fn as_it_is(wal: &[u8], read: Read) {
    let mut frames = Vec::new();
    if let Ok(mut stream) = FrameStream::open(wal) {
        let mut page = vec![0; stream.page_size().bytes()];
        while let Ok(Some(frame)) = stream.next(&mut page) {
            frames.push(frame);
        }
        if stream.page_size().bytes() != PAGE {
            return;
        }
    }
    if wal.len() < HEADER || frames.iter().any(|frame| frame.commit > PAGES_MAX || frame.pgno.get() > PAGES_MAX) {
        return;
    }
    let ours = read(DATABASE, wal);
    // It refuses to open what its first page says is no database.
    let Some(theirs) = by_sqlite(DATABASE, wal) else { return };
    assert!(ours == theirs, "{} frames, by SQLite {}", ours.0, theirs.0);
}

#[test]
fn fuzz() {
    fuzz::fuzz("wal", |bytes| check(bytes, by_us));
}

#[test]
fn a_reader_that_goes_on_behind_the_last_commit_is_caught() {
    fuzz::must_catch("wal", |bytes| {
        check(bytes, |database, wal| {
            let (frames, pages) = by_us(database, wal);
            (frames + u32::from(frames > 0 && wal.len() > HEADER + frames as usize * 536), pages)
        })
    });
}
