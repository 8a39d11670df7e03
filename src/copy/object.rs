//! One file on its way.

use std::time::Duration;

use super::error::{CopyError, read_failure};
use crate::clock::Backoff;
use crate::ltx::{Decoder, Header, LtxError};
use crate::remote::{LtxObject, ReadError, Remote, pass_on, store_behind};
use crate::replicate::blocking;
use crate::store::{Body, StoreError};

/// A file up to this size goes through memory.
const IN_MEMORY_BYTES: u64 = 8 << 20;
const ATTEMPTS: u32 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Copied,
    /// The very same file was there.
    There,
}

/// Brings one file to the other place. `there`: something has its name there already.
pub(super) async fn send(from: &Remote, to: &Remote, object: &LtxObject, there: bool) -> Result<Sent, CopyError> {
    if there {
        return is_the_same(from, to, object).await;
    }
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    for _ in 1..ATTEMPTS {
        match attempt(from, to, object).await {
            Err(CopyError::To(error)) if error.is_transient() => {
                let pause = backoff.next_pause(&mut from.clock().dice());
                tracing::warn!("{error}; trying again in {pause:.1?}");
                tokio::time::sleep(pause).await;
            }
            done => return done,
        }
    }
    attempt(from, to, object).await
}

async fn attempt(from: &Remote, to: &Remote, object: &LtxObject) -> Result<Sent, CopyError> {
    let stored = match object.size <= IN_MEMORY_BYTES {
        true => {
            let bytes = from.read(object).await.map_err(of_source)?;
            let held = bytes.clone();
            let header = blocking(move || Ok(Decoder::new(held.as_ref())?.finish()?.header)).await;
            let header = sound(object, header)?;
            to.put(object.level, &header, Body::Bytes(bytes)).await
        }
        false => {
            let header = from.check_header(object).await.map_err(of_source)?.map_err(|why| corrupt(object, why))?;
            let (stored, read) = pass_on(from, object, |body| to.put(object.level, &header, body)).await;
            match read.map_err(store_behind) {
                Err(Ok(error)) => return Err(of_source(error)),
                // The reading has stopped because the store takes no more of it.
                Err(Err(LtxError::Io { .. })) if stored.is_err() => {}
                Err(Err(error)) => return Err(corrupt(object, error.to_string())),
                Ok(_) => {}
            }
            stored
        }
    };
    match stored {
        Ok(()) => Ok(Sent::Copied),
        Err(StoreError::AlreadyExists { .. }) => is_the_same(from, to, object).await.map(|_| Sent::Copied),
        Err(error) => Err(CopyError::To(error)),
    }
}

fn sound(object: &LtxObject, read: Result<Header, LtxError>) -> Result<Header, CopyError> {
    let header = read.map_err(|error| corrupt(object, error.to_string()))?;
    object.check_txids(&header).map_err(|why| corrupt(object, why))?;
    Ok(header)
}

/// By their ends, which cover what is between.
async fn is_the_same(from: &Remote, to: &Remote, object: &LtxObject) -> Result<Sent, CopyError> {
    let name = to.layout().key(object.level, object.min_txid, object.max_txid);
    let theirs = LtxObject { name: name.clone(), ..object.clone() };
    let other = || CopyError::Occupied { address: to.address().to_owned(), name: name.to_string() };
    let head = to.store().head(&name).await.map_err(CopyError::To)?;
    if head.size != object.size {
        return Err(other());
    }
    let ours = from.ends(object, object.size).await.map_err(of_source)?;
    match to.ends(&theirs, object.size).await {
        Ok(theirs) if theirs.header == ours.header && theirs.tail == ours.tail => Ok(Sent::There),
        Ok(_) | Err(ReadError::Invalid { .. }) => Err(other()),
        Err(ReadError::Store(error)) => Err(CopyError::To(error)),
        Err(ReadError::Gone { name }) => {
            Err(CopyError::To(StoreError::Transient { detail: format!("{name} is gone from {}", to.address()) }))
        }
    }
}

fn of_source(error: ReadError) -> CopyError {
    CopyError::From(read_failure(error))
}

fn corrupt(object: &LtxObject, why: String) -> CopyError {
    CopyError::From(crate::restore::RestoreError::Corrupt { name: object.name.to_string(), why })
}
