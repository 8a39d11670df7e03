//! Connections to the socket: their number, time and size, and the route of each request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::routes::{Control, Refusal};
use super::socket::{Socket, SocketFile};
use super::wire::{self, Problem};

/// Connections at a time; the next one waits.
const CONNECTIONS_MAX: usize = 64;
/// A request must have come by then.
const REQUEST_TIME: Duration = Duration::from_secs(10);
const BODY_MAX: usize = 64 << 10;
/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// The socket is served until this is dropped.
#[derive(Debug)]
pub struct Serving {
    task: JoinHandle<Infallible>,
    /// Removed then.
    _file: SocketFile,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Socket {
    /// Answers every connection.
    pub fn serve(self, control: Control) -> Serving {
        tracing::info!("control socket listening on {}", self.path().display());
        let Socket { listener, file } = self;
        Serving { task: tokio::spawn(accept(listener, Arc::new(control))), _file: file }
    }
}

async fn accept(listener: UnixListener, control: Arc<Control>) -> Infallible {
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // It is never closed.
        let Ok(turn) = turns.clone().acquire_owned().await else { return std::future::pending().await };
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = control.clone();
                connections.spawn(async move {
                    converse(stream, &control).await;
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection on the control socket: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, control: &Control) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(control, request).await) });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIME);
    // A client that disconnects early is no error of ours.
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("a connection to the control socket ended early: {error}");
    }
}

async fn answer(control: &Control, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let route = head.uri.path().to_owned();
    tracing::debug!("control: {} {route}", head.method);
    let path = head.uri.query().and_then(path_of);
    match (&head.method, route.as_str()) {
        (&Method::GET, wire::INFO) => reply(control.info().await),
        (&Method::GET, wire::LIST) => reply(control.list().await),
        (&Method::GET, wire::NODES) => reply(control.nodes().await),
        (&Method::GET, wire::TXID) => reply(control.txid(path.as_deref().unwrap_or_default()).await),
        (&Method::GET, wire::SYNC_STATUS) => reply(control.sync_status(path.as_deref()).await),
        (&Method::POST, wire::SYNC) => with(body, async |asked| control.sync(asked).await).await,
        (&Method::POST, wire::START) => with(body, async |asked| control.start(asked).await).await,
        (&Method::POST, wire::STOP) => with(body, async |asked| control.stop(asked).await).await,
        (&Method::POST, wire::REGISTER) => with(body, async |asked| control.register(asked).await).await,
        (&Method::POST, wire::UNREGISTER) => with(body, async |asked| control.unregister(asked).await).await,
        (&Method::POST, wire::CHECKPOINT) => with(body, async |asked| control.checkpoint(asked).await).await,
        (&Method::POST, wire::SNAPSHOT) => with(body, async |asked| control.snapshot(asked).await).await,
        (&Method::POST, wire::PROMOTE) => with(body, async |asked| control.promote(asked).await).await,
        (&Method::POST, wire::DEMOTE) => with(body, async |asked| control.demote(asked).await).await,
        (_, known) if wire::is_known(known) => problem(StatusCode::METHOD_NOT_ALLOWED, "method not allowed", None),
        _ => problem(StatusCode::NOT_FOUND, "no such command on this socket", None),
    }
}

/// The value of `path` in a query.
fn path_of(query: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, value)| name == "path" && !value.is_empty()).map(|(_, value)| value.into_owned())
}

async fn with<A, T>(body: Incoming, work: impl AsyncFnOnce(A) -> Result<T, Refusal>) -> Response<Full<Bytes>>
where
    A: DeserializeOwned,
    T: Serialize,
{
    let whole = tokio::time::timeout(REQUEST_TIME, Limited::new(body, BODY_MAX).collect()).await;
    let parsed = match whole {
        Ok(Ok(whole)) => serde_json::from_slice(&whole.to_bytes()).map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not come within {REQUEST_TIME:?}")),
    };
    match parsed {
        Ok(asked) => reply(work(asked).await),
        Err(why) => problem(StatusCode::BAD_REQUEST, "invalid request body", Some(why)),
    }
}

fn reply<T: Serialize>(done: Result<T, Refusal>) -> Response<Full<Bytes>> {
    match done {
        Ok(body) => json(StatusCode::OK, &body),
        Err(Refusal { status, error }) => problem(status, &error, None),
    }
}

fn problem(status: StatusCode, error: &str, details: Option<String>) -> Response<Full<Bytes>> {
    json(status, &Problem { error: error.to_owned(), details })
}

fn json<T: Serialize>(status: StatusCode, body: &T) -> Response<Full<Bytes>> {
    // Strings and numbers can always be written.
    let mut text = serde_json::to_vec(body).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}
