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
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::exchange::answer;
use super::flights::Flight;
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
/// From connecting to the first request: a client that has connected is answered, even if the end
/// begins in between.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// Until `closing`; then what is under way is finished, and what has connected is answered.
pub async fn serve(listener: TcpListener, front: Arc<Front>, closing: CancellationToken) {
    let places = Arc::new(Semaphore::new(front.settings.connections));
    let accepting = front.arriving.begin();
    let mut connections = JoinSet::new();
    let admitting = async {
        loop {
            while connections.try_join_next().is_some() {}
            // Never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    connections.spawn(Connection::new(from, &front, &closing).drive(stream, place));
                }
                Err(error) => {
                    tracing::debug!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    closing.run_until_cancelled(admitting).await;
    for (stream, from) in backlog(listener) {
        let Ok(place) = places.clone().try_acquire_owned() else { break };
        connections.spawn(Connection::new(from, &front, &closing).drive(stream, place));
    }
    drop(accepting);
    while connections.join_next().await.is_some() {}
}

/// Those for whom the kernel has accepted a connection already: they would see it broken.
fn backlog(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    // It asks the kernel, where the runtime would ask what it has heard so far.
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accepted = std::iter::from_fn(|| listener.accept().ok());
    let ours = accepted.filter_map(|(stream, from)| {
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, from))
    });
    ours.collect()
}

/// What is known of one connection.
struct Connection {
    from: SocketAddr,
    front: Arc<Front>,
    closing: CancellationToken,
    since: Instant,
    /// Until something is decided about its first request.
    arriving: Flight,
}

impl Connection {
    fn new(from: SocketAddr, front: &Arc<Front>, closing: &CancellationToken) -> Connection {
        let (since, arriving) = (front.clock.instant(), front.arriving.begin());
        Connection { from, front: front.clone(), closing: closing.clone(), since, arriving }
    }

    async fn drive(self, stream: TcpStream, _place: OwnedSemaphorePermit) {
        let from = self.from;
        if let Err(error) = self.serve(stream).await {
            tracing::debug!("the connection of {from} ended: {error}");
        }
    }

    async fn serve(self, stream: TcpStream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        let first = tokio::time::timeout(self.front.settings.idle_timeout, speaks_http_2(&stream));
        let first = tokio::select! {
            biased;
            first = first => first,
            () = self.ending().comes(std::future::pending()) => return Ok(()),
        };
        match first {
            Err(_) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(true)) => Ok(by_http_2(stream, self).await?),
            Ok(Ok(false)) => Ok(by_http_1(stream, self).await?),
        }
    }

    fn ending(&self) -> Ending {
        Ending { closing: self.closing.clone(), first_until: self.since + FIRST_REQUEST }
    }
}

/// When a connection is to end with what is under way on it.
struct Ending {
    closing: CancellationToken,
    first_until: Instant,
}

impl Ending {
    /// No connection is accepted any more, and on this one the first request has begun, or the time
    /// for it is over.
    async fn comes(self, first_request: impl Future<Output = ()>) {
        self.closing.cancelled().await;
        tokio::select! {
            () = first_request => {}
            () = tokio::time::sleep_until(self.first_until) => {}
        }
    }
}

async fn by_http_1(stream: TcpStream, connection: Connection) -> hyper::Result<()> {
    let settings = &connection.front.settings;
    let (ending, pace) = (connection.ending(), Arc::new(Pace::new(connection.arriving)));
    let stream = Paced::new(stream, pace.clone(), settings.head_timeout);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.idle_timeout)
        .max_header_size(settings.head_bytes)
        .max_buf_size(BUFFER.max(settings.head_bytes))
        .serve_connection(TokioIo::new(stream), service(&connection.front, connection.from, &pace))
        .with_upgrades();
    tokio::pin!(serving);
    tokio::select! {
        biased;
        done = serving.as_mut() => return done,
        () = ending.comes(pace.first()) => serving.as_mut().graceful_shutdown(),
    }
    drop(pace.arrived());
    serving.await
}

async fn by_http_2(stream: TcpStream, connection: Connection) -> hyper::Result<()> {
    let settings = &connection.front.settings;
    let (ending, pace) = (connection.ending(), Arc::new(Pace::new(connection.arriving)));
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(settings.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .serve_connection(TokioIo::new(stream), service(&connection.front, connection.from, &pace));
    tokio::pin!(serving);
    let ending = ending.comes(pace.first());
    tokio::pin!(ending);
    let mut seen = pace.begun();
    loop {
        tokio::select! {
            biased;
            done = serving.as_mut() => return done,
            () = ending.as_mut() => break,
            () = tokio::time::sleep(settings.idle_timeout) => {
                if pace.is_idle() && std::mem::replace(&mut seen, pace.begun()) == pace.begun() {
                    break;
                }
                seen = pace.begun();
            }
        }
    }
    serving.as_mut().graceful_shutdown();
    drop(pace.arrived());
    serving.await
}

/// Answers the requests of one connection.
fn service(
    front: &Arc<Front>,
    from: SocketAddr,
    pace: &Arc<Pace>,
) -> impl Service<Request<Incoming>, Response = Response<Reply>, Error = Infallible, Future: Send> + use<> {
    let (front, pace) = (front.clone(), pace.clone());
    service_fn(move |request| {
        let (front, pace) = (front.clone(), pace.clone());
        async move {
            let (busy, arriving) = pace.begin();
            Ok(answer(&front, request, from, arriving).await.map(|reply| reply.on_its_way(busy)))
        }
    })
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
