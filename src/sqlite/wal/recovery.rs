//! What SQLite's own recovery makes of a WAL is what this reader makes of it: in both byte orders,
//! whole and damaged.
//!
//! The magic number names the byte order of the words that are summed: that of the machine which
//! began the WAL. So one that was begun on the other kind of machine is crafted here from a real
//! one, with sums of its own.

use std::fs;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::*;

pub(super) const PAGE: usize = 512;
pub(super) const HEADER: usize = WAL_HEADER_LEN as usize;
const FRAME: usize = FRAME_HEADER_LEN as usize + PAGE;

/// The same WAL as a machine of this byte order would have written it.
pub fn in_byte_order(wal: &[u8], page_size: usize, big_endian: bool) -> Vec<u8> {
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().expect("four bytes");
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    let sum = |start: [u32; 2], bytes: &[u8]| {
        bytes.chunks(8).fold(start, |[a, b], pair| {
            let a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
            [a, b.wrapping_add(word(&pair[4..])).wrapping_add(a)]
        })
    };
    let put = |place: &mut [u8], [a, b]: [u32; 2]| {
        place[..4].copy_from_slice(&a.to_be_bytes());
        place[4..].copy_from_slice(&b.to_be_bytes());
    };
    let mut wal = wal.to_vec();
    let (header, frames) = wal.split_at_mut(HEADER);
    header[..4].copy_from_slice(&(0x377f_0682 + u32::from(big_endian)).to_be_bytes());
    let mut chain = sum([0, 0], &header[..24]);
    put(&mut header[24..], chain);
    for frame in frames.chunks_exact_mut(FRAME_HEADER_LEN as usize + page_size) {
        chain = sum(sum(chain, &frame[..8]), &frame[24..]);
        put(&mut frame[16..24], chain);
    }
    wal
}

/// A database file and the WAL of its later life: growth, changes, a VACUUM that shrinks it.
fn recorded() -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("x.db");
    let app = Connection::open(&path).expect("open");
    app.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("config");
    let setup = format!("PRAGMA page_size={PAGE}; CREATE TABLE t(id INTEGER PRIMARY KEY, x)");
    app.execute_batch(&format!("{setup}; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0")).expect("set up");
    for _ in 0..8 {
        app.execute_batch(
            "INSERT INTO t(x) VALUES (randomblob(900)); UPDATE t SET x = randomblob(80) WHERE id % 4 = 1",
        )
        .expect("write");
    }
    app.execute_batch("DELETE FROM t WHERE id > 3; VACUUM; INSERT INTO t(x) VALUES (randomblob(1500))").expect("write");
    drop(app);
    let read = |suffix| fs::read(fsx::with_suffix(&path, suffix)).expect("read");
    (read(""), read("-wal"))
}

/// Frames up to the last valid commit, and the pages of the database as of then.
pub(super) type Recovered = (u32, Vec<Vec<u8>>);

/// `None` if SQLite refuses what comes out.
pub(super) fn by_sqlite(database: &[u8], wal: &[u8]) -> Option<Recovered> {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("x.db");
    fs::write(&path, database).expect("write");
    fs::write(fsx::with_suffix(&path, "-wal"), wal).expect("write");
    let app = Connection::open(&path).expect("open");
    let mut statement = app.prepare("SELECT data FROM sqlite_dbpage('main')").ok()?;
    let pages = statement.query_map([], |row| row.get(0)).ok()?.collect::<Result<_, _>>().ok()?;
    let frames: i64 = app.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1)).ok()?;
    // Less than nothing: it is in no WAL mode.
    Some((u32::try_from(frames).ok()?, pages))
}

pub(super) fn by_us(database: &[u8], wal: &[u8]) -> Recovered {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("x-wal");
    fs::write(&path, wal).expect("write");
    let file = Wal::open_if_exists(&path).expect("open").expect("exists");
    let mut pages: Vec<Vec<u8>> = database.chunks(PAGE).map(<[u8]>::to_vec).collect();
    let mut frames = Vec::new();
    if let Some(header) = file.header().expect("read") {
        let all = u32::try_from((wal.len() - HEADER) / FRAME).expect("small");
        // Its end is the first frame that is not valid.
        let _ = file.scan(&header, 0, None, all, |frame| frames.push(frame));
    }
    assert_eq!(frames, by_stream(wal), "the two readers differ");
    let end = frames.iter().rposition(|frame| frame.commit > 0).map_or(0, |last| last + 1);
    for frame in &frames[..end] {
        pages.resize(pages.len().max(frame.pgno.index() + 1), vec![0; PAGE]);
        let page = &mut pages[frame.pgno.index()];
        file.read_page(frame.number, page, PageSize::new(512).expect("valid")).expect("read");
    }
    if let Some(last) = frames[..end].last() {
        // Pages that are in no frame and not in the database are holes in its file.
        pages.resize(last.commit as usize, vec![0; PAGE]);
    }
    (u32::try_from(end).expect("small"), pages)
}

fn by_stream(wal: &[u8]) -> Vec<Frame> {
    let Ok(mut stream) = FrameStream::open(wal) else { return Vec::new() };
    let mut page = vec![0; PAGE];
    std::iter::from_fn(|| stream.next(&mut page).ok().flatten()).collect()
}

#[test]
fn a_wal_of_either_byte_order_is_read_as_sqlite_recovers_it() {
    let (database, native) = recorded();
    let frames = u32::try_from((native.len() - HEADER) / FRAME).expect("small");
    assert_eq!(in_byte_order(&native, PAGE, cfg!(target_endian = "big")), native, "it is crafted as SQLite writes it");
    let whole = by_sqlite(&database, &native).expect("sound");
    assert_eq!(whole.0, frames);
    for big_endian in [false, true] {
        let wal = in_byte_order(&native, PAGE, big_endian);
        assert!(by_sqlite(&database, &wal).expect("sound") == whole, "big-endian: {big_endian}");
        assert!(by_us(&database, &wal) == whole, "big-endian: {big_endian}");
        for frame in 1..=frames {
            // Every part of a frame has its turn: page number, size, salts, checksums, page.
            let part = [2, 6, 9, 13, 18, 22, 24, 300, 535][frame as usize % 9];
            let mut damaged = wal.clone();
            damaged[HEADER + (frame as usize - 1) * FRAME + part] ^= 0x10;
            let (ours, theirs) = (by_us(&database, &damaged), by_sqlite(&database, &damaged).expect("sound"));
            assert!(ours.0 < frame, "a flip in frame {frame} went unnoticed");
            assert!(ours == theirs, "{} frames, by SQLite {}: byte {part} of frame {frame}", ours.0, theirs.0);
        }
    }
}

#[test]
fn a_magic_number_without_its_sums_is_an_empty_wal_for_both() {
    let (database, native) = recorded();
    for big_endian in [false, true] {
        let wal = in_byte_order(&native, PAGE, big_endian);
        let other = in_byte_order(&native, PAGE, !big_endian);
        // The magic number alone, and the header with its own sum.
        for header in [4, HEADER] {
            let mixed = [&other[..header], &wal[header..]].concat();
            let (ours, theirs) = (by_us(&database, &mixed), by_sqlite(&database, &mixed).expect("sound"));
            assert!(ours == theirs, "{} frames, by SQLite {}", ours.0, theirs.0);
            assert_eq!(ours.0, 0);
        }
    }
}
