//! The client of the listener, for `millstream health`.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

/// The largest answer that is read, in bytes.
const BODY_BYTES: usize = 64 << 10;

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
    let host = url.host_str().filter(|_| url.scheme() == "http");
    let host = host.ok_or_else(|| AskError::Address(url.to_string()))?;
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
    let asked = tokio::time::timeout(within, exchange(&address, url)).await;
    asked.map_err(|_| AskError::TimedOut { address: address.clone(), within })?
}

async fn exchange(address: &str, url: &Url) -> Result<(u16, String), AskError> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|source| AskError::Connect { address: address.to_owned(), source })?;
    let answer = |why: &dyn std::fmt::Display| AskError::Answer { address: address.to_owned(), why: why.to_string() };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| answer(&error))?;
    let request = Request::get(url.path()).header(HOST, address).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| answer(&error))?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(|error| answer(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_BYTES).collect().await.map_err(|error| answer(&error))?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    tokio::pin!(asking);
    tokio::select! {
        asked = &mut asking => asked,
        _ = connection => asking.await,
    }
}
