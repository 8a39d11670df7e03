//! An object on its way from one store to another: it is verified while it passes, so that damage
//! is not spread.

use std::io::{self, Read, Write};

use tokio_util::sync::CancellationToken;

use super::{LtxObject, RangeReader, ReadError, Remote};
use crate::ltx::{Decoder, Header, LtxError};
use crate::store::{Body, ChunkWriter};

const CHUNKS_IN_FLIGHT: usize = 2;

/// Reads an object from its first byte to its last and hands it to `store` meanwhile. What `store`
/// makes of it appears only if the object is whole. Dropping the future ends the reading.
pub async fn pass_on<T, F: Future<Output = T>>(
    from: &Remote,
    object: &LtxObject,
    store: impl FnOnce(Body) -> F,
) -> (T, Result<Header, LtxError>) {
    let (writer, body) = Body::channel(CHUNKS_IN_FLIGHT, object.size);
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    let reader = RangeReader::new(from, object, 1).cancelled_by(&cancel);
    let reading = tokio::task::spawn_blocking(move || -> Result<Header, LtxError> {
        let mut tee = Tee { reader, writer: ChunkWriter::new(writer) };
        let header = Decoder::new(&mut tee)?.finish()?.header;
        tee.writer.finish().map_err(|source| LtxError::Io { verb: "pass on", source })?;
        Ok(header)
    });
    let stored = store(body).await;
    match reading.await {
        Ok(read) => (stored, read),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The failure of the store behind a failed reading.
pub fn store_behind(error: LtxError) -> Result<ReadError, LtxError> {
    match error {
        LtxError::Io { verb, source } => source.downcast::<ReadError>().map_err(|source| LtxError::Io { verb, source }),
        error => Err(error),
    }
}

/// What is read is written, too.
struct Tee<R, W> {
    reader: R,
    writer: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(buf)?;
        self.writer.write_all(&buf[..len])?;
        Ok(len)
    }
}
