//! Listens to the other nodes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::feed::feed;
use super::hub::Hub;
use super::introduction::{Introduction, PROTOCOL};
use crate::remote::Epoch;
use crate::secret::{self, Secret};

/// Nodes, and those who ask.
const CONNECTIONS: usize = 256;
const HEAD_TIME: Duration = Duration::from_secs(5);
const HEAD_BYTES: usize = 16 << 10;
/// Pause after an error that will last, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whoever lets another node be the primary.
#[async_trait]
pub trait HandOver: Send + Sync {
    /// To this instance. It is done when the claims say so.
    async fn hand_over(&self, instance: String) -> Result<(), String>;
}

pub struct Server {
    hub: Hub,
    /// `None`: whoever reaches the listener is a node.
    secret: Option<Secret>,
    hand_over: Arc<dyn HandOver>,
    connections: AtomicU64,
}

type Answer = Response<Full<Bytes>>;

impl Server {
    pub fn new(hub: Hub, secret: Option<Secret>, hand_over: Arc<dyn HandOver>) -> Server {
        Server { hub, secret, hand_over, connections: AtomicU64::new(0) }
    }

    /// Never returns; when dropped, it closes every connection.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        let server = Arc::new(self);
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            // Never closed.
            let Ok(place) = places.clone().acquire_owned().await else { std::future::pending().await };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let server = server.clone();
                    connections.spawn(async move {
                        if let Err(error) = server.connection(stream, from).await {
                            tracing::debug!("the connection of {from} ended: {error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!("cannot accept a connection of a node: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A stream runs in the task of its connection, and ends with it.
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        let (begin, begun) = tokio::sync::mpsc::channel(1);
        let server = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, begin) = (server.clone(), begin.clone());
            async move { Ok::<_, Infallible>(server.answer(request, begin).await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        serving.await?;
        let mut begun = begun;
        if let Ok((upgraded, epoch, follower)) = begun.try_recv() {
            let upgraded: hyper::upgrade::OnUpgrade = upgraded;
            let stream = TokioIo::new(upgraded.await?);
            let name = follower.name.clone();
            tracing::info!("node {name} at {from} follows this one");
            let connection = self.connections.fetch_add(1, Ordering::Relaxed);
            let ended = feed(&self.hub, epoch, (follower, connection), stream).await;
            match ended {
                Ok(()) => tracing::info!("node {name} at {from} does not follow this one any more"),
                Err(error) => tracing::info!("node {name} at {from} is not connected any more: {error}"),
            }
        }
        Ok(())
    }

    async fn answer(&self, mut request: Request<Incoming>, begin: Begin) -> Answer {
        if !secret::take(request.headers_mut(), self.secret.as_ref()) && self.secret.is_some() {
            return text(StatusCode::FORBIDDEN, "this is not the secret of this cluster (cluster.secret)");
        }
        let Some(epoch) = *self.hub.lead().borrow() else {
            return text(StatusCode::CONFLICT, "this node is not the primary now");
        };
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/stream") => self.stream(&mut request, epoch, begin),
            (&Method::GET, "/nodes") => {
                let body = serde_json::to_vec(&self.hub.members()).expect("texts and numbers are JSON");
                let mut answer = Response::new(Full::new(body.into()));
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                answer
            }
            (&Method::POST, "/hand-over") => {
                let to = request.uri().query().and_then(|query| query.strip_prefix("to=")).unwrap_or_default();
                let handed_over = match self.hub.candidate(to) {
                    Ok(instance) => self.hand_over.hand_over(instance).await,
                    Err(why) => Err(why),
                };
                match handed_over {
                    Ok(()) => text(StatusCode::ACCEPTED, ""),
                    Err(why) => text(StatusCode::UNPROCESSABLE_ENTITY, &why),
                }
            }
            _ => text(StatusCode::NOT_FOUND, "there is no such route"),
        }
    }

    fn stream(&self, request: &mut Request<Incoming>, epoch: Epoch, begin: Begin) -> Answer {
        let is_ours = request.headers().get(UPGRADE).is_some_and(|value| value.as_bytes() == PROTOCOL.as_bytes());
        let Some(follower) = Introduction::of_headers(request.headers()).filter(|_| is_ours) else {
            return text(StatusCode::BAD_REQUEST, "this is not how a node follows another one");
        };
        if begin.try_send((hyper::upgrade::on(request), epoch, follower)).is_err() {
            return text(StatusCode::BAD_REQUEST, "this connection has a stream already");
        }
        let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, "");
        let headers: &mut HeaderMap = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
        answer
    }
}

type Begin = tokio::sync::mpsc::Sender<(hyper::upgrade::OnUpgrade, Epoch, Introduction)>;

fn text(status: StatusCode, what: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(what.as_bytes())));
    *answer.status_mut() = status;
    answer
}
