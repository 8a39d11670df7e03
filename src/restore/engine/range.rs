//! Long reads: a range of consecutive parts is one request, and each part is decoded on a thread of
//! its own as soon as it is there, while the next one comes in.
//!
//! A request has its price, at the store most of all: it opens the object, finds the place, and
//! sends. What is in memory is bounded by the slots all the same: a read waits, and with it the
//! sender, until there is one for its next part.

use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

use super::run::TargetPages;
use super::{Claimed, Failure, Role, Site, part};
use crate::ltx::Frames;
use crate::remote::Reading;
use crate::restore::open::Part;

/// The memory of a slot. It goes from part to part, because blocks of this size that are freed by
/// one thread and asked for by another make the heap grow.
#[derive(Default)]
pub(super) struct Buffers {
    frames: Vec<u8>,
    pages: Vec<u8>,
}

/// Reads and applies a range; returns what its frames add to the file's checksum, in order.
pub(super) async fn apply(
    site: Arc<Site>,
    file: Arc<Claimed>,
    range: Range<usize>,
    first_time: bool,
) -> Result<Vec<Frames>, Failure> {
    let parts = &file.opened.parts[range];
    let mut decoding = Vec::with_capacity(parts.len());
    if let Some(content) = &file.opened.content {
        for &part in parts {
            let slot = site.slot().await;
            let frames = content.slice(part.start as usize..part.end as usize);
            decoding.push(decode(site.clone(), file.clone(), part, slot, Held::Whole(frames)));
        }
    } else if let (Some(first), Some(last)) = (parts.first(), parts.last()) {
        let _read = site.reads.acquire().await.expect("the semaphore is never closed");
        let mut reading = site.remote.open_range(&file.opened.object.name, first.start, last.end - first.start);
        let mut left_over = Bytes::new();
        for &part in parts {
            let slot = site.slot().await;
            let buffers = fill(site.take_buffers(), part, &mut reading, &mut left_over).await?;
            decoding.push(decode(site.clone(), file.clone(), part, slot, Held::Read(buffers)));
        }
    }
    let mut frames = Vec::with_capacity(decoding.len());
    for (decoding, &part) in decoding.into_iter().zip(parts) {
        let applied = match decoding.await? {
            Err(part::Failure::Bytes(error)) => {
                tracing::debug!("{}: {error}; reading that part again", file.opened.object.name);
                again(&site, &file, part).await?
            }
            done => done.map_err(|failure| failed(&file, failure))?,
        };
        if first_time {
            site.progress.add(part.len(), applied.pages_written);
        }
        frames.push(applied.frames);
    }
    Ok(frames)
}

/// Reads and applies one part alone.
async fn again(site: &Arc<Site>, file: &Arc<Claimed>, part: Part) -> Result<part::Applied, Failure> {
    let _read = site.reads.acquire().await.expect("the semaphore is never closed");
    let slot = site.slot().await;
    let mut reading = site.remote.open_range(&file.opened.object.name, part.start, part.len());
    let buffers = fill(site.take_buffers(), part, &mut reading, &mut Bytes::new()).await?;
    let applied = decode(site.clone(), file.clone(), part, slot, Held::Read(buffers)).await?;
    applied.map_err(|failure| failed(file, failure))
}

fn failed(file: &Claimed, failure: part::Failure) -> Failure {
    match failure {
        part::Failure::Bytes(error) => file.damaged(&error),
        part::Failure::Disk(error) => error.into(),
    }
}

/// The frames of `part`, which come next. Bytes of the part behind it stay in `left_over`.
async fn fill(
    mut buffers: Buffers,
    part: Part,
    reading: &mut Reading,
    left_over: &mut Bytes,
) -> Result<Buffers, Failure> {
    let len = part.len() as usize;
    buffers.frames.clear();
    buffers.frames.reserve_exact(len);
    while buffers.frames.len() < len {
        if left_over.is_empty() {
            *left_over = reading.next().await?.expect("a reading gives as much as was asked for, or an error");
        }
        let taken = left_over.split_to(left_over.len().min(len - buffers.frames.len()));
        buffers.frames.extend_from_slice(&taken);
    }
    Ok(buffers)
}

/// The frames of a part.
enum Held {
    Read(Buffers),
    Whole(Bytes),
}

/// Decodes a part on a blocking thread; its slot comes free at the end.
fn decode(
    site: Arc<Site>,
    file: Arc<Claimed>,
    part: Part,
    slot: OwnedSemaphorePermit,
    held: Held,
) -> AbortOnDropHandle<Result<part::Applied, part::Failure>> {
    let work = move || {
        let target = TargetPages { file: &site.file, path: &site.path, page_size: file.opened.header.page_size };
        let (content, mut buffers) = match held {
            Held::Read(buffers) => (None, buffers),
            Held::Whole(content) => (Some(content), site.take_buffers()),
        };
        let Buffers { frames, pages } = &mut buffers;
        let applied = part::apply(&file, part, content.as_deref().unwrap_or(frames), pages, target);
        if let (Role::Base { .. }, Ok(part::Applied { span: Some(span), .. })) = (file.role, &applied) {
            begin_writeback(&site, span);
        }
        site.give_back(buffers);
        drop(slot);
        applied
    };
    AbortOnDropHandle::new(tokio::task::spawn_blocking(work))
}

/// Nothing is written here any more: the kernel may as well begin. An fsync at the end alone would
/// wait for the whole database, while the disk was idle before.
fn begin_writeback(site: &Site, span: &Range<u64>) {
    let (start, len) = (span.start as libc::off64_t, (span.end - span.start) as libc::off64_t);
    // SAFETY: the descriptor is open for the duration of the call, which takes no pointers. A hint:
    // the fsync decides.
    unsafe { libc::sync_file_range(site.file.as_raw_fd(), start, len, libc::SYNC_FILE_RANGE_WRITE) };
}
