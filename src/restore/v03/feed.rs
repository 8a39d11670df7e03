//! From objects in the bucket to their content: fetched ahead in parallel on one side, read in
//! order on the other.
//!
//! ```text
//! async:     ranges of all objects, several at a time ──▶ a channel of few places
//! blocking:  ──▶ LZ4 frames ──▶ bytes
//! ```
//!
//! Memory: `parallelism` ranges and one LZ4 block. An object is whole only if its last LZ4 frame
//! has its end mark and nothing follows it; the decoder alone would take a cut at the edge of a
//! block for the end.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream};
use lz4_flex::frame::FrameDecoder;
use tokio::sync::mpsc;

use super::{OldPlan, RANGE};
use crate::remote::{OldObject, ReadError, Remote};
use crate::restore::progress::Attempt;

/// Ranges that wait for their reader.
const WAITING: usize = 2;
/// What an object that was encrypted with age begins with.
const AGE_MAGIC: &[u8] = b"age-encryption.org/";

/// What goes wrong in an object, carried through `io::Error` by the readers.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("it is encrypted with age")]
    Encrypted,
    #[error("{0}")]
    Damaged(String),
    /// The other side stopped: its error is the one that counts.
    #[error("the download stopped")]
    Stopped,
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> io::Error {
        io::Error::other(broken)
    }
}

/// One range, and whether its object ends with it.
pub(super) struct Piece {
    bytes: Bytes,
    last: bool,
}

/// Both ends of the channel.
pub(super) fn channel(progress: Attempt) -> (mpsc::Sender<Piece>, Objects) {
    let (sender, pieces) = mpsc::channel(WAITING);
    let feed = Feed { pieces, progress, current: Bytes::new(), last: true, met_end: false };
    (sender, Objects { decoder: FrameDecoder::new(feed) })
}

/// Fetches all files of a plan, in order.
pub(super) async fn fetch(
    remote: &Remote,
    plan: &OldPlan,
    parallelism: usize,
    sender: mpsc::Sender<Piece>,
) -> Result<(), ReadError> {
    let ranges = plan.objects().flat_map(ranges_of);
    let read = async |(object, start, len): (&OldObject, u64, u64)| {
        let bytes = remote.read_range(&object.name, start, len).await?;
        Ok(Piece { bytes, last: start + len >= object.size })
    };
    let mut pieces = stream::iter(ranges).map(read).buffered(parallelism.max(1));
    while let Some(piece) = pieces.next().await {
        // There is no reader any more: the reader's error is the one that counts.
        if sender.send(piece?).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn ranges_of(object: &OldObject) -> impl Iterator<Item = (&OldObject, u64, u64)> {
    // An empty object has one empty range, so that its reader hears of it.
    (0..object.size.div_ceil(RANGE).max(1)).map(move |n| {
        let start = n * RANGE;
        (object, start, RANGE.min(object.size - start))
    })
}

/// The bytes of one object as they are in the bucket.
struct Feed {
    pieces: mpsc::Receiver<Piece>,
    progress: Attempt,
    current: Bytes,
    last: bool,
    /// Whether there was still a reader at the end.
    met_end: bool,
}

impl Feed {
    fn receive(&mut self) -> io::Result<()> {
        let piece = self.pieces.blocking_recv().ok_or(Broken::Stopped)?;
        self.progress.add(piece.bytes.len() as u64, 0);
        (self.current, self.last) = (piece.bytes, piece.last);
        Ok(())
    }

    fn is_at_end(&mut self) -> io::Result<bool> {
        while self.current.is_empty() && !self.last {
            self.receive()?;
        }
        Ok(self.current.is_empty())
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_at_end()? {
            self.met_end = true;
            return Ok(0);
        }
        let len = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}

/// The content of one object after the other: a reader that ends with each object, until the next
/// is begun.
pub(super) struct Objects {
    decoder: FrameDecoder<Feed>,
}

impl Objects {
    /// Goes on to the next object; the one before was read to its end.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        let feed = self.decoder.get_mut();
        feed.receive()?;
        feed.met_end = false;
        if feed.is_at_end()? {
            return Err(Broken::Damaged("it is empty".into()).into());
        }
        if feed.current.starts_with(AGE_MAGIC) {
            return Err(Broken::Encrypted.into());
        }
        Ok(())
    }
}

impl Read for Objects {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            let read = self.decoder.read(buffer).map_err(|error| match error.get_ref().map(|e| e.is::<Broken>()) {
                Some(true) => error,
                _ => Broken::Damaged(format!("it does not inflate: {error}")).into(),
            })?;
            let feed = self.decoder.get_mut();
            if read > 0 {
                return Ok(read);
            }
            if feed.met_end {
                return Err(Broken::Damaged("it ends too early".into()).into());
            }
            if feed.is_at_end()? {
                break;
            }
            // Another frame follows.
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;
    use crate::restore::progress::Progress;

    fn frame(content: &[u8]) -> Vec<u8> {
        let info =
            FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent).content_checksum(true);
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(content).expect("to memory");
        encoder.finish().expect("to memory")
    }

    /// Reads objects that come in pieces of `step` bytes.
    fn read(objects: &[Vec<u8>], step: usize) -> io::Result<Vec<Vec<u8>>> {
        let (sender, mut reader) = channel(Arc::new(Progress::default()).begin(0, 0));
        let objects = objects.to_vec();
        let count = objects.len();
        let feeder = std::thread::spawn(move || {
            for object in objects {
                let pieces = object.len().div_ceil(step).max(1);
                for n in 0..pieces {
                    let end = object.len().min((n + 1) * step);
                    let bytes = Bytes::copy_from_slice(&object[n * step..end]);
                    if sender.blocking_send(Piece { bytes, last: n + 1 == pieces }).is_err() {
                        return;
                    }
                }
            }
        });
        let mut contents = Vec::new();
        let result = (0..count).try_for_each(|_| {
            let mut content = Vec::new();
            reader.begin()?;
            reader.read_to_end(&mut content)?;
            contents.push(content);
            Ok(())
        });
        drop(reader);
        feeder.join().expect("no panic");
        result.map(|()| contents)
    }

    #[test]
    fn objects_are_read_one_by_one_however_they_are_cut() {
        let contents: Vec<Vec<u8>> = [0, 1, 70_000, 65_536].iter().map(|len| vec![7; *len]).collect();
        let mut objects: Vec<Vec<u8>> = contents.iter().map(|content| frame(content)).collect();
        for step in [1, 19, 1 << 20] {
            assert!(read(&objects, step).expect("whole") == contents);
        }
        // Frames may follow each other in one object.
        objects[1].extend(frame(b"more"));
        assert_eq!(read(&objects, 5).expect("whole")[1], b"\x07more");
    }

    #[test]
    fn a_cut_object_is_never_taken_for_a_whole_one() {
        let noise: Vec<u8> = (0..140_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let object = frame(&noise);
        for len in (0..40).chain((40..object.len()).step_by(997)).chain(object.len() - 20..object.len()) {
            let error = read(&[object[..len].to_vec()], 64 * 1024).expect_err("cut");
            assert!(error.get_ref().is_some_and(|e| e.is::<Broken>()), "{len}: {error}");
        }
        // Right behind a block, where the decoder sees nothing wrong.
        let first_block = 7 + 4 + u32::from_le_bytes(object[7..11].try_into().expect("4")) as usize % (1 << 31);
        assert!(read(&[object[..first_block].to_vec()], 1 << 20).expect_err("cut").to_string().contains("too early"));
        let mut longer = object.clone();
        longer.push(0);
        assert!(read(&[longer], 1 << 20).is_err());
        for at in [0, 4, 6, 30, object.len() - 1] {
            let mut bad = object.clone();
            bad[at] ^= 2;
            assert!(read(&[bad], 1 << 20).is_err(), "a flip at byte {at} went unnoticed");
        }
        let encrypted = b"age-encryption.org/v1\n-> X25519 ...".to_vec();
        assert!(read(&[encrypted], 1 << 20).expect_err("encrypted").to_string().contains("age"));
    }
}
