//! One part of one file: frames in, owned pages written to their places. Plain blocking code.

use std::ops::Range;

use super::run::{Run, TargetPages};
use super::{Claimed, Role};
use crate::fsx::FsError;
use crate::ltx::{FrameReader, Frames, LtxError};
use crate::restore::open::Part;

pub(super) enum Failure {
    Bytes(LtxError),
    Disk(FsError),
}

impl From<LtxError> for Failure {
    fn from(error: LtxError) -> Failure {
        Failure::Bytes(error)
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Failure {
        Failure::Disk(error)
    }
}

pub(super) struct Applied {
    pub frames: Frames,
    pub pages_written: u64,
    /// Where in the database they are, first byte to last.
    pub span: Option<Range<u64>>,
}

/// Decodes all frames in `bytes` and writes the pages that the file owns. `buffer` is memory to
/// work in.
pub(super) fn apply(
    file: &Claimed,
    part: Part,
    mut bytes: &[u8],
    buffer: &mut Vec<u8>,
    target: TargetPages<'_>,
) -> Result<Applied, Failure> {
    let mut reader = FrameReader::new(&file.opened.header, part.start, part.after);
    let mut run = Run::new(target, buffer);
    let (mut frame, mut pages_written) = (part.first_frame, 0);
    while !bytes.is_empty() {
        let Some(pgno) = reader.next_page(&mut bytes, run.room())? else {
            return Err(LtxError::Malformed("the pages end before the index says so".into()).into());
        };
        if frame >= part.end_frame {
            // More than the index knows of: the checksum will say so.
        } else if file.owned.get(frame) {
            run.keep(pgno)?;
            pages_written += 1;
        } else if let Role::Base { commit } = file.role
            && pgno.get() <= commit
        {
            run.bridge(pgno)?;
        }
        frame += 1;
    }
    let span = run.finish()?;
    Ok(Applied { frames: reader.finish(), pages_written, span })
}
