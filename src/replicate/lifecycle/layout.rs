//! Brings a history that was copied from another kind of store into the layout of this one, before
//! it is continued.
//!
//! Litestream reads one layout on each kind of store, and two histories in one place must never be
//! mixed. So what is written here from now on has to be a whole history on its own. It begins with
//! a snapshot of everything up to the newest TXID: one object, so it is there or not, and from then
//! on the other layout is not read any more. Its files stay as they are. The newest level-0 object
//! follows as it is: Litestream counts on from that, and it says where in the WAL the history
//! stands.

use std::io;

use super::write::{Input, WriteError, write};
use crate::remote::{Layout, Level, Listing, LtxObject, OtherLayout, RangeReader, ReadError, Remote, plan};
use crate::replicate::on_thread::outcome;
use crate::replicate::upload::ChunkWriter;
use crate::store::{Body, StoreError, Unread};

const CHUNKS_IN_FLIGHT: usize = 2;

/// Makes sure that what a listing showed is in the layout of the store; `true`: something was done
/// for it, so list again.
pub async fn bring_over(remote: &Remote, listing: &Listing) -> Result<bool, ReadError> {
    if let Some(left) = listing.l0_left_behind() {
        return copy(remote, left).await;
    }
    let OtherLayout::Used = listing.other_layout else { return Ok(false) };
    let address = remote.address();
    let (here, there) = (remote.layout().directory(Level::L0), other_directory(remote.layout()));
    tracing::info!("the history in {address} lies under {there}, as on another kind of store: it goes on under {here}");
    let plan = plan::latest(listing).map_err(|_| refused(remote, &"files of it are missing"))?;
    let inputs = plan.files.iter().map(|object| Input { object: object.clone(), bytes: None }).collect();
    let snapshot = write(remote, Level::SNAPSHOT, inputs).await.map_err(|error| match error {
        WriteError::Store(error) => ReadError::Store(error),
        WriteError::Read(error) => error,
        error => refused(remote, &error),
    })?;
    tracing::info!(
        "the history in {address} up to TXID {} is in {} now; the files under {there} are not used any more",
        snapshot.max_txid,
        snapshot.name
    );
    Ok(true)
}

fn other_directory(layout: Layout) -> String {
    match layout {
        Layout::Directories => Layout::S3.directory(Level::L0),
        Layout::S3 => Layout::Directories.directory(Level::L0),
    }
}

fn refused(remote: &Remote, why: &dyn std::fmt::Display) -> ReadError {
    let address = remote.address();
    let detail = format!(
        "the history in {address} is in the layout of another kind of store and cannot be made one of this ({why}): repair it, or \
         move it to another place"
    );
    ReadError::Store(StoreError::Permanent { detail })
}

/// Copies an object byte by byte to where this layout has it; `false` if it is not what its name
/// says.
async fn copy(remote: &Remote, object: &LtxObject) -> Result<bool, ReadError> {
    let Ok(header) = remote.check_header(object).await? else { return Ok(false) };
    let (writer, body) = Body::channel(CHUNKS_IN_FLIGHT, object.size);
    let mut reader = RangeReader::new(remote, object, 1);
    let copying = tokio::task::spawn_blocking(move || {
        let mut writer = ChunkWriter::new(writer);
        io::copy(&mut reader, &mut writer).and_then(|_| writer.finish())
    });
    let stored = remote.put(object.level, &header, body).await;
    let copied = outcome(copying).await;
    match (stored, copied) {
        (Ok(()), Ok(())) | (Err(StoreError::AlreadyExists { .. }), _) => Ok(true),
        // The reader cannot hand anything on any more when the store has refused: then that is the
        // reason.
        (Err(error), Err(unread)) if unread.get_ref().is_some_and(|e| e.is::<Unread>()) => Err(ReadError::Store(error)),
        (_, Err(error)) => Err(error.downcast().unwrap_or_else(|error| {
            ReadError::Store(StoreError::Transient { detail: format!("copy {}: {error}", object.name) })
        })),
        (Err(error), Ok(())) => Err(ReadError::Store(error)),
    }
}
