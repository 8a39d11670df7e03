//! The connections to one server that can be used again.
//!
//! A server may close an idle connection at any moment, also while a request is on its way to it.
//! So a request that must not be sent twice goes out on a connection that was used just now, or on
//! a new one; one that may be is sent again if nothing came back.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::{HOST, UPGRADE};
use hyper::{Request, Response, http};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;

use super::endpoint::{Endpoint, Speech};
use super::link::{Link, Lost, connect};
use super::outgoing::Outgoing;
use super::replay;
use crate::clock::Clock;

/// Unused ones that are kept.
const KEPT: usize = 128;
/// An older one is not used any more.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// No server closes a connection that was in use so short a time ago.
const FRESH: Duration = Duration::from_secs(1);

/// Shared by all requests to one server.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    connect_timeout: Duration,
    clock: Clock,
    /// The one that was used last comes last.
    free: Mutex<Vec<Link>>,
    /// HTTP/2 needs one connection for all.
    shared: tokio::sync::Mutex<Option<http2::SendRequest<Outgoing>>>,
}

/// A connection in use.
pub struct Lease {
    link: Link,
    pool: Pool,
}

/// A response has begun.
pub struct Exchanged {
    pub response: Response<Incoming>,
    pub lease: Option<Lease>,
}

/// Why there is no response.
pub enum Failed {
    /// Nothing of it was sent: the server did not accept a connection.
    Unsent(Box<Request<Outgoing>>, std::io::Error),
    Broken(hyper::Error),
}

impl Pool {
    pub fn new(endpoint: Endpoint, connect_timeout: Duration, clock: Clock) -> Pool {
        let (free, shared) = (Mutex::default(), tokio::sync::Mutex::default());
        Pool { inner: Arc::new(Inner { endpoint, connect_timeout, clock, free, shared }) }
    }

    /// Opens a connection and keeps it for the next request.
    pub async fn probe(&self) -> std::io::Result<()> {
        let stream = connect(&self.inner.endpoint, self.inner.connect_timeout).await?;
        if self.inner.endpoint.speech == Speech::Http1 {
            let mut link = Link::over(stream).await?;
            link.used_at = Some(self.inner.clock.instant());
            self.put(link);
        }
        Ok(())
    }

    /// Sends a request and waits for the head of its response.
    pub async fn exchange(&self, request: Request<Outgoing>) -> Result<Exchanged, Failed> {
        match self.inner.endpoint.speech {
            Speech::H2c if !request.headers().contains_key(UPGRADE) => self.by_http_2(request).await,
            // The protocol of a connection can be changed in HTTP/1.1 only.
            Speech::H2c | Speech::Http1 => self.by_http_1(request).await,
        }
    }

    async fn by_http_1(&self, mut request: Request<Outgoing>) -> Result<Exchanged, Failed> {
        let may_repeat = request.method().is_idempotent() && hyper::body::Body::is_end_stream(request.body());
        loop {
            let Some((mut link, is_fresh)) = self.take(may_repeat).await else { break };
            let copy = (may_repeat && !is_fresh).then(|| replay::copy(&request)).flatten();
            match link.exchange(request).await {
                Ok(response) => return Ok(self.exchanged(response, link)),
                Err(Lost::Unsent(unsent)) => request = *unsent,
                Err(Lost::Broken(error)) => match copy {
                    Some(copy) => {
                        request = copy;
                        break;
                    }
                    None => return Err(Failed::Broken(error)),
                },
            }
        }
        let mut link = match connect(&self.inner.endpoint, self.inner.connect_timeout).await {
            Ok(stream) => match Link::over(stream).await {
                Ok(link) => link,
                Err(error) => return Err(Failed::Unsent(Box::new(request), error)),
            },
            Err(error) => return Err(Failed::Unsent(Box::new(request), error)),
        };
        match link.exchange(request).await {
            Ok(response) => Ok(self.exchanged(response, link)),
            Err(Lost::Unsent(unsent)) => Err(Failed::Unsent(
                unsent,
                std::io::Error::other("it closed the connection before the request was sent"),
            )),
            Err(Lost::Broken(error)) => Err(Failed::Broken(error)),
        }
    }

    fn exchanged(&self, response: Response<Incoming>, link: Link) -> Exchanged {
        Exchanged { response, lease: Some(Lease { link, pool: self.clone() }) }
    }

    async fn by_http_2(&self, mut request: Request<Outgoing>) -> Result<Exchanged, Failed> {
        // The host goes into the URI, which is where HTTP/2 has it.
        let host = request.headers_mut().remove(HOST);
        let host = host.as_ref().and_then(|host| host.to_str().ok()).filter(|host| !host.is_empty());
        let authority = host.map_or_else(|| self.inner.endpoint.to_string(), str::to_owned);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        if let Ok(uri) = http::Uri::builder().scheme("http").authority(authority).path_and_query(path).build() {
            *request.uri_mut() = uri;
        }
        *request.version_mut() = hyper::Version::HTTP_2;
        // The second one is on a new connection.
        for _ in 0..2 {
            let mut sender = match self.sender().await {
                Ok(sender) => sender,
                Err(error) => return Err(Failed::Unsent(Box::new(request), error)),
            };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(Exchanged { response, lease: None }),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Failed::Broken(error.into_error())),
                },
            }
        }
        let why = std::io::Error::other("it closed the connection before the request was sent");
        Err(Failed::Unsent(Box::new(request), why))
    }

    async fn sender(&self) -> std::io::Result<http2::SendRequest<Outgoing>> {
        let mut shared = self.inner.shared.lock().await;
        if let Some(sender) = shared.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = connect(&self.inner.endpoint, self.inner.connect_timeout).await?;
        let made = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(std::io::Error::other)?;
        // It ends when the last sender is gone, or the server closes it.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("the HTTP/2 connection to the application ended: {error}");
            }
        });
        *shared = Some(sender.clone());
        Ok(sender)
    }

    /// A connection that its server has not closed, as far as is known, and whether it was in use
    /// just now.
    async fn take(&self, may_be_old: bool) -> Option<(Link, bool)> {
        std::future::poll_fn(|context| Poll::Ready(self.take_now(may_be_old, context))).await
    }

    fn take_now(&self, may_be_old: bool, context: &mut Context<'_>) -> Option<(Link, bool)> {
        let now = self.inner.clock.instant();
        loop {
            let mut free = self.inner.free.lock().unwrap_or_else(PoisonError::into_inner);
            let idle_for = now.saturating_duration_since(free.last()?.used_at.unwrap_or(now));
            if idle_for > KEPT_FOR {
                // The others are older.
                let old = std::mem::take(&mut *free);
                drop(free);
                drop(old);
                return None;
            }
            if idle_for > FRESH && !may_be_old {
                return None;
            }
            let mut link = free.pop()?;
            drop(free);
            if link.is_free(context) {
                return Some((link, idle_for <= FRESH));
            }
        }
    }

    fn put(&self, link: Link) {
        let mut free = self.inner.free.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = free.first().and_then(|oldest| oldest.used_at);
        let is_old = |at: Instant| link.used_at.is_some_and(|now| now.saturating_duration_since(at) > KEPT_FOR);
        let surplus = (free.len() >= KEPT || oldest.is_some_and(is_old)).then(|| free.remove(0));
        free.push(link);
        drop(free);
        drop(surplus);
    }
}

impl Lease {
    pub fn drive(&mut self, context: &mut Context<'_>) {
        self.link.drive(context);
    }

    /// The response is read to its end.
    pub fn give_back(mut self, context: &mut Context<'_>) {
        // Otherwise the server has closed it, or does not want the rest of the request.
        if self.link.is_free(context) {
            self.link.used_at = Some(self.pool.inner.clock.instant());
            self.pool.put(self.link);
        }
    }

    /// The protocol was changed.
    pub fn into_link(self) -> Link {
        self.link
    }
}
