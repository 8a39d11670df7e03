//! The client of the listener, for `millstream health` and `millstream status`.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::{Position, Url};

use super::page::Document;

/// The largest answer that is read, in bytes.
const BODY_BYTES: usize = 64 << 10;
/// The same for a page of the status.
const STATUS_BYTES: usize = 16 << 20;
/// Pages of the status: more databases than one process has.
const STATUS_PAGES: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{0} is not an http:// address")]
    Address(String),
    #[error("nothing answers at {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("the program at {address} is not millstream: {why}")]
    Answer { address: String, why: String },
    #[error("{address} does not answer within {within:?}")]
    TimedOut { address: String, within: Duration },
}

/// The status and the text of a page.
pub async fn ask(url: &Url, within: Duration) -> Result<(u16, String), AskError> {
    let address = address(url)?;
    let asked = tokio::time::timeout(within, exchange(&address, url, BODY_BYTES)).await;
    asked.map_err(|_| AskError::TimedOut { address: address.clone(), within })?
}

/// The status of a process, with one database or all of them, from however many pages.
pub async fn ask_status(url: &Url, database: Option<&str>, within: Duration) -> Result<Document, AskError> {
    let mut whole = ask_page(url, database, 1, within).await?;
    for number in 2..=whole.pages.min(STATUS_PAGES) {
        whole.databases.extend(ask_page(url, database, number, within).await?.databases);
    }
    Ok(whole)
}

async fn ask_page(url: &Url, database: Option<&str>, page: usize, within: Duration) -> Result<Document, AskError> {
    let mut url = url.clone();
    url.set_path("/status.json");
    url.query_pairs_mut().clear().append_pair("page", &page.to_string());
    if let Some(database) = database {
        url.query_pairs_mut().append_pair("db", database);
    }
    let address = address(&url)?;
    let asked = tokio::time::timeout(within, exchange(&address, &url, STATUS_BYTES)).await;
    let (status, text) = asked.map_err(|_| AskError::TimedOut { address: address.clone(), within })??;
    let unreadable = |why: String| AskError::Answer { address: address.clone(), why };
    match status {
        200 => serde_json::from_str(&text).map_err(|error| unreadable(error.to_string())),
        status => Err(unreadable(format!("the status of its answer is {status}"))),
    }
}

fn address(url: &Url) -> Result<String, AskError> {
    let host = url.host_str().filter(|_| url.scheme() == "http");
    let host = host.ok_or_else(|| AskError::Address(url.to_string()))?;
    Ok(format!("{host}:{}", url.port_or_known_default().unwrap_or(80)))
}

async fn exchange(address: &str, url: &Url, most: usize) -> Result<(u16, String), AskError> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|source| AskError::Connect { address: address.to_owned(), source })?;
    let answer = |why: &dyn std::fmt::Display| AskError::Answer { address: address.to_owned(), why: why.to_string() };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| answer(&error))?;
    let request = Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, address)
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|error| answer(&error))?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(|error| answer(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), most).collect().await.map_err(|error| answer(&error))?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    tokio::pin!(asking);
    tokio::select! {
        asked = &mut asking => asked,
        _ = connection => asking.await,
    }
}
