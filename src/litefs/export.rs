//! A whole database as one file, at one moment: by a read transaction, page by page, while others
//! write.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::body::{Answer, Refusal, stream as streamed};
use super::events::Size;
use crate::page::Pgno;
use crate::replicate::blocking;
use crate::sqlite::{Connection, Mark, SqliteError};

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// For the size of a database, which an event can do without.
const GLANCE: Duration = Duration::from_millis(100);
/// So much is read ahead, each time.
const PART: usize = 256 << 10;
const PARTS: usize = 4;
/// A client that takes nothing for so long is given up, because its transaction keeps the WAL from
/// starting over.
const STALL: Duration = Duration::from_secs(30);

type Part = io::Result<Bytes>;

/// `turn` lasts until the last page is sent.
pub async fn export(path: PathBuf, turn: Option<OwnedSemaphorePermit>) -> Result<Answer, Refusal> {
    let (told, head) = oneshot::channel();
    let (parts, read) = mpsc::channel(PARTS);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        match open(&path, BUSY_TIMEOUT) {
            Ok((connection, mark)) => {
                // Who does not wait any more has gone away.
                if told.send(Ok(mark.page_size.database_len(mark.pages))).is_ok() {
                    send_all(&connection, &mark, &parts, &runtime);
                }
            }
            Err(refusal) => drop(told.send(Err(refusal))),
        }
    });
    let gone = || Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the program is about to end");
    let length = head.await.map_err(|_| gone())??;
    let parts = stream::unfold(read, |mut read| async move { Some((read.recv().await?, read)) });
    let mut answer = streamed(parts, "application/octet-stream");
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(answer)
}

/// Of each of these databases; without those that cannot be looked at now.
pub async fn sizes(paths: Vec<PathBuf>) -> BTreeMap<PathBuf, Size> {
    if paths.is_empty() {
        return BTreeMap::new();
    }
    let look = |path: PathBuf| {
        let (_, mark) = open(&path, GLANCE).ok()?;
        Some((path, Size { page_size: mark.page_size.get(), pages: mark.pages }))
    };
    blocking(move || paths.into_iter().filter_map(look).collect()).await
}

/// With a read transaction.
fn open(path: &Path, busy_timeout: Duration) -> Result<(Connection, Mark), Refusal> {
    // It may be open in this process: no file of it may be opened by name.
    let is_there = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 0);
    let path = std::fs::canonicalize(path).ok().filter(is_there);
    let path = path.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "the database does not exist yet"))?;
    let opened = Connection::open(&path, busy_timeout).and_then(|connection| {
        connection.check_page_access()?;
        let mark = connection.pin()?;
        connection.share_new_files();
        Ok((connection, mark))
    });
    opened.map_err(|error| refusal(&error))
}

pub fn refusal(error: &SqliteError) -> Refusal {
    let status = if error.is_busy() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR };
    Refusal::new(status, error.to_string())
}

fn send_all(connection: &Connection, mark: &Mark, parts: &mpsc::Sender<Part>, runtime: &Handle) {
    let send =
        |part: Part| runtime.block_on(tokio::time::timeout(STALL, parts.send(part))).is_ok_and(|sent| sent.is_ok());
    let mut part = BytesMut::with_capacity(PART);
    let mut page = vec![0; mark.page_size.bytes()];
    for pgno in (1..=mark.pages).filter_map(Pgno::new) {
        if let Err(error) = connection.read_page(pgno, &mut page) {
            send(Err(io::Error::other(error)));
            return;
        }
        part.extend_from_slice(&page);
        let is_last = pgno.get() == mark.pages;
        if (part.len() >= PART || is_last) && !send(Ok(part.split().freeze())) {
            tracing::debug!("an export was given up: the client does not take it");
            return;
        }
    }
}
