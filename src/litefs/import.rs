//! A whole database in: what a client sends takes the place of what is in the live one, in one
//! transaction of SQLite's, so that readers have the state before it or the state after it, and it
//! is replicated as every other one.
//!
//! The application's node may cease to be the primary meanwhile. Then the write lock is not to be
//! had, as for every other writer of this node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Bytes};
use tokio::io::AsyncWriteExt;

use super::body::Refusal;
use super::export::refusal;
use crate::fsx::{self, FsError};
use crate::replicate::blocking;
use crate::sqlite::{ReplaceError, replace_content};

/// The application's transactions are waited for so long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that sends nothing for so long is given up.
const STALL: Duration = Duration::from_secs(30);

pub async fn import<B>(path: PathBuf, body: B) -> Result<(), Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let there = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 0);
    let path = std::fs::canonicalize(&path).ok().filter(there);
    let path = path.ok_or_else(|| {
        let why = "the database does not exist yet: let the application create it first, or start from a backup";
        Refusal::new(StatusCode::CONFLICT, why)
    })?;
    let received = Received(fsx::with_suffix(&path, "-import.tmp"));
    receive(&received.0, body).await?;
    blocking(move || {
        let replaced = replace_content(&path, &received.0, BUSY_TIMEOUT);
        drop(received);
        replaced.map_err(|error| match error {
            ReplaceError::Unfit(why) => Refusal::new(StatusCode::BAD_REQUEST, why),
            ReplaceError::Sqlite(error) => refusal(&error),
        })
    })
    .await
}

/// What was sent; it goes when this is dropped.
struct Received(PathBuf);

impl Drop for Received {
    fn drop(&mut self) {
        if let Err(error) = fsx::remove_file_if_exists(&self.0) {
            tracing::warn!("{error}");
        }
    }
}

async fn receive<B>(path: &Path, mut body: B) -> Result<(), Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let of_disk = |error: FsError| Refusal::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string());
    let made = fsx::remove_file_if_exists(path).and_then(|_| fsx::create_new(path, 0o600)).map_err(of_disk)?;
    let mut file = tokio::fs::File::from_std(made);
    let failed = |source| of_disk(FsError { verb: "write", path: path.to_owned(), source });
    loop {
        let next = tokio::time::timeout(STALL, body.frame()).await;
        let broken = |why: String| Refusal::new(StatusCode::BAD_REQUEST, format!("the body broke off: {why}"));
        match next.map_err(|_| broken(format!("nothing came for {STALL:?}")))? {
            None => break,
            Some(Err(error)) => return Err(broken(error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    file.write_all(&data).await.map_err(failed)?;
                }
            }
        }
    }
    file.flush().await.map_err(failed)
}
