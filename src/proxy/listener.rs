//! Accepts connections and drives each: HTTP/1.1, or HTTP/2 without TLS, as the first bytes say.
//!
//! What a client can do to it is bounded: the number of connections, the time and the size of a
//! head, and the time in which a connection may be idle. How long a request or a response takes is
//! not: that is between the client and the application.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::exchange::answer;
use super::front::Front;
use super::pace::{Pace, Paced};
use super::reply::Reply;

/// Pause after an error that will last, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The first bytes of HTTP/2.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks at first bytes that are not complete.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 256;
/// For reading: what a body is carried through in.
const BUFFER: usize = 128 << 10;
/// A connection of HTTP/2 is asked for a sign of life this often.
const PING: Duration = Duration::from_secs(30);

/// Until `closing`; then what is under way is finished.
pub async fn serve(listener: TcpListener, front: Arc<Front>, closing: CancellationToken) {
    let places = Arc::new(Semaphore::new(front.settings.connections));
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            while connections.try_join_next().is_some() {}
            // Never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let (front, closing) = (front.clone(), closing.clone());
                    connections.spawn(async move {
                        if let Err(error) = connection(stream, from, front, closing).await {
                            tracing::debug!("the connection of {from} ended: {error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    closing.run_until_cancelled(accepting).await;
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    front: Arc<Front>,
    closing: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let first = tokio::time::timeout(front.settings.idle_timeout, speaks_http_2(&stream));
    match closing.run_until_cancelled(first).await {
        None | Some(Err(_)) => Ok(()),
        Some(Ok(Err(error))) => Err(error.into()),
        Some(Ok(Ok(true))) => Ok(by_http_2(stream, from, front, closing).await?),
        Some(Ok(Ok(false))) => Ok(by_http_1(stream, from, front, closing).await?),
    }
}

async fn by_http_1(
    stream: TcpStream,
    from: SocketAddr,
    front: Arc<Front>,
    closing: CancellationToken,
) -> hyper::Result<()> {
    let settings = &front.settings;
    let pace = Arc::new(Pace::default());
    let stream = Paced::new(stream, pace.clone(), settings.head_timeout);
    let (idle_timeout, head_bytes) = (settings.idle_timeout, settings.head_bytes);
    let service = service_fn(move |request: Request<Incoming>| {
        let (front, pace) = (front.clone(), pace.clone());
        async move {
            let busy = pace.begin();
            Ok::<_, Infallible>(answer(&front, request, from).await.map(|reply| reply.on_its_way(busy)))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle_timeout)
        .max_header_size(head_bytes)
        .max_buf_size(BUFFER.max(head_bytes))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(serving);
    tokio::select! {
        biased;
        done = serving.as_mut() => return done,
        () = closing.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}

async fn by_http_2(
    stream: TcpStream,
    from: SocketAddr,
    front: Arc<Front>,
    closing: CancellationToken,
) -> hyper::Result<()> {
    let (idle_timeout, head_bytes) = (front.settings.idle_timeout, front.settings.head_bytes);
    let pace = Arc::new(Pace::default());
    let counted = pace.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (front, pace) = (front.clone(), counted.clone());
        async move {
            let busy = pace.begin();
            let answer: Response<Reply> = answer(&front, request, from).await;
            Ok::<_, Infallible>(answer.map(|reply| reply.on_its_way(busy)))
        }
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let mut seen = pace.begun();
    loop {
        tokio::select! {
            biased;
            done = serving.as_mut() => return done,
            () = closing.cancelled() => break,
            () = tokio::time::sleep(idle_timeout) => {
                if pace.is_idle() && std::mem::replace(&mut seen, pace.begun()) == pace.begun() {
                    break;
                }
                seen = pace.begun();
            }
        }
    }
    serving.as_mut().graceful_shutdown();
    serving.await
}

/// Looks at the first bytes without taking them.
async fn speaks_http_2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        if count == 0 || first[..count] != PREFACE[..count] {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}
