//! The join of both sides: the files of the bucket, merged, and the pages of the pinned snapshot,
//! on a thread of its own.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use super::judge::{Scope, differing_max, related_wanted};
use super::limit::within;
use crate::db::{Batch, Comparison, Db, DbError, Limits, OtherPages, RowSample, Rows};
use crate::ltx::{Decoder, LtxError, Merged, Versions};
use crate::page::Pgno;
use crate::remote::{LtxObject, RangeReader, ReadError, Remote};
use crate::replicate::on_thread::OnThread;
use crate::state::SyncedTo;

pub(super) enum CompareError {
    Read(ReadError),
    /// The files are not what they should be.
    Damaged(String),
    /// Then only rows can be compared.
    PageSize(Rows),
    Db(DbError),
    Interrupted,
}

impl From<DbError> for CompareError {
    fn from(error: DbError) -> CompareError {
        CompareError::Db(error)
    }
}

impl From<LtxError> for CompareError {
    fn from(error: LtxError) -> CompareError {
        match error {
            LtxError::Io { source, .. } => match source.downcast::<ReadError>() {
                Ok(ReadError::Invalid { name, source }) => CompareError::Damaged(format!("{name}: {source}")),
                Ok(error) => CompareError::Read(error),
                Err(source) => CompareError::Damaged(source.to_string()),
            },
            error => CompareError::Damaged(error.to_string()),
        }
    }
}

/// How far to go on.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// As long as the result may be of use.
    Bounded,
    /// To the end, to tell of the pages that were written since the database was in step up to
    /// there.
    Since(SyncedTo),
    /// Up to the first page that differs.
    Exactly,
}

/// Compares on a thread of its own, which ends within one read when this future is dropped or
/// `limit` returns; and, if it is said so, by rows, too.
pub(super) async fn compare<T: AsMut<Db> + Send + 'static>(
    on: &OnThread<T>,
    batch: Batch,
    remote: &Remote,
    files: &[LtxObject],
    (how, rows): (How, bool),
    limit: Option<impl Future<Output = ()>>,
) -> Result<(Comparison, Scope), CompareError> {
    let readers: Vec<RangeReader> = files.iter().map(|file| RangeReader::new(remote, file, files.len())).collect();
    let mut guards: Vec<_> = readers.iter().map(RangeReader::cancel_on_drop).collect();
    // Only a file that lies wholly behind that point was surely written since.
    let split = match how {
        How::Since(own) => files.iter().position(|file| own.is_before(file.min_txid)),
        How::Bounded | How::Exactly => None,
    };
    let split = split.unwrap_or(files.len());
    let work = on.with(move |value| join(value.as_mut(), &batch, readers, split, (how, rows)));
    tokio::pin!(work);
    if let Some(done) = within(limit, &mut work).await {
        return done;
    }
    guards.clear();
    // It may have come to its end at the very last moment.
    work.await.or(Err(CompareError::Interrupted))
}

/// Both sides, page by page; files from number `split` on were written since.
fn join(
    db: &Db,
    batch: &Batch,
    readers: Vec<RangeReader>,
    split: usize,
    (how, rows): (How, bool),
) -> Result<(Comparison, Scope), CompareError> {
    let read = Rc::new(Cell::new(0));
    let counted = |reader| Decoder::new(Counted { reader, read: read.clone() });
    let merged = Merged::new(readers.into_iter().map(counted).collect::<Result<_, _>>()?)?;
    let header = *merged.header();
    if header.page_size != batch.header.page_size {
        let rows = if rows { by_rows(db, batch, merged)? } else { Rows::default() };
        return Err(CompareError::PageSize(rows));
    }
    let other_pages = header.commit;
    // How many of the bucket's pages could tell is not known before the end.
    let related_wanted = related_wanted(batch.header.commit, u32::MAX);
    let limits = match how {
        How::Bounded => Limits { differing_max: differing_max(batch.header.commit), related_wanted, rows },
        How::Since(_) => Limits { differing_max: u32::MAX, related_wanted, rows },
        How::Exactly => Limits { differing_max: 0, related_wanted: 0, rows: false },
    };
    let mut bucket = Bucket { merged, split };
    let mut comparison = db.compare(batch, &mut bucket, &limits)?;
    if comparison.whole {
        while let Some(theirs) = bucket.merged.next_versions(split)? {
            comparison.cut_off(&theirs);
        }
        bucket.merged.finish()?;
    }
    Ok((comparison, Scope { bytes: read.get(), other_pages }))
}

/// Both sides one after the other, row by row.
fn by_rows(db: &Db, batch: &Batch, mut merged: Merged<impl Read>) -> Result<Rows, CompareError> {
    let mut sample = RowSample::default();
    while let Some((pgno, page)) = merged.next_page()? {
        sample.add_theirs(pgno, page);
    }
    merged.finish()?;
    db.sample_rows(batch, &mut sample)?;
    Ok(sample.rows())
}

/// The bucket's side of the join.
struct Bucket<R: Read> {
    merged: Merged<R>,
    split: usize,
}

impl<R: Read> OtherPages for Bucket<R> {
    type Error = CompareError;

    fn page(&mut self, pgno: Pgno) -> Result<Option<Versions<'_>>, CompareError> {
        if pgno.get() > self.merged.header().commit {
            return Ok(None);
        }
        // Every page but the lock page is asked for, so the next one is this one, or it is in no
        // file.
        match self.merged.next_versions(self.split)? {
            Some(theirs) if theirs.pgno == pgno => Ok(Some(theirs)),
            _ => Err(CompareError::Damaged(format!("page {pgno} is in none of them"))),
        }
    }
}

/// Counts what is read.
struct Counted<R> {
    reader: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(buf)?;
        self.read.set(self.read.get() + len as u64);
        Ok(len)
    }
}
