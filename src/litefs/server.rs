//! The listener, where programs find LiteFS's API: HTTP/1.1, or HTTP/2 without TLS as the `litefs`
//! command speaks it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::api::Api;

/// Connections at a time; more of them wait. Each subscriber has one.
const CONNECTIONS_MAX: usize = 256;
/// Time for a request's head, and until the first byte comes.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// For the head of a request.
const HEAD_BYTES: usize = 16 << 10;
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// Pause after an error that will last, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Never returns; when dropped, it closes every connection.
pub async fn serve(listener: TcpListener, api: Arc<Api>) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // Never closed.
        let Ok(place) = places.clone().acquire_owned().await else { std::future::pending().await };
        match listener.accept().await {
            Ok((stream, from)) => {
                let api = api.clone();
                connections.spawn(async move {
                    if let Err(error) = connection(stream, from.ip(), api).await {
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
}

async fn connection(
    stream: TcpStream,
    from: std::net::IpAddr,
    api: Arc<Api>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let Ok(first) = tokio::time::timeout(HEAD_TIME, stream.readable()).await else { return Ok(()) };
    first?;
    let service = service_fn(move |request: Request<Incoming>| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.answer(request, from).await) }
    });
    let mut serving = auto::Builder::new(TokioExecutor::new());
    let http_1 = &mut serving.http1();
    http_1.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES);
    serving.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    serving.serve_connection(TokioIo::new(stream), service).await
}
