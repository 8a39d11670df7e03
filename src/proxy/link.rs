//! One connection to a server, with one request at a time on it.
//!
//! It has no task of its own: whoever waits for the response, or reads its body, drives it. So a
//! request, its body and its response stay on one thread, and a server that is slow, or a client
//! that is, slows down the other side and nothing else.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::outgoing::Outgoing;

/// For reading responses: several times what a large head takes.
const BUFFER: usize = 128 << 10;

type Wire = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

pub struct Link {
    sender: http1::SendRequest<Outgoing>,
    wire: Wire,
    has_ended: bool,
    /// When the last response on it was over; `None`: there was none yet.
    pub used_at: Option<Instant>,
}

/// Why there is no response.
pub enum Lost {
    /// Nothing of the request was sent.
    Unsent(Box<Request<Outgoing>>),
    Broken(hyper::Error),
}

impl Link {
    pub async fn over(stream: TcpStream) -> io::Result<Link> {
        let builder = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = builder.map_err(io::Error::other)?;
        Ok(Link { sender, wire: Box::pin(connection.with_upgrades()), has_ended: false, used_at: None })
    }

    /// Sends a request, and waits for the head of the response. After an error the connection is of
    /// no more use.
    pub async fn exchange(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, Lost> {
        let mut response = std::pin::pin!(self.sender.try_send_request(request));
        let answered = poll_fn(|context| {
            if !self.has_ended {
                self.has_ended = self.wire.as_mut().poll(context).is_ready();
            }
            response.as_mut().poll(context)
        });
        answered.await.map_err(|mut error| match error.take_message() {
            Some(request) => Lost::Unsent(Box::new(request)),
            None => Lost::Broken(error.into_error()),
        })
    }

    /// Moves the bytes of the request and of the response.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        if !self.has_ended {
            self.has_ended = self.wire.as_mut().poll(context).is_ready();
        }
    }

    /// Whether one more request can be sent: the server has not closed it, and the last exchange is
    /// over in both directions.
    pub fn is_free(&mut self, context: &mut Context<'_>) -> bool {
        self.drive(context);
        !self.has_ended && self.sender.is_ready()
    }

    /// Until the server closes it, or the protocol was changed.
    pub async fn run(mut self) {
        poll_fn(|context| {
            self.drive(context);
            if self.has_ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// A new connection.
pub async fn connect(endpoint: &Endpoint, within: Duration) -> io::Result<TcpStream> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {within:?}"));
    let connecting = async {
        match endpoint.addresses() {
            Some(addresses) => TcpStream::connect(&addresses[..]).await,
            None => TcpStream::connect(endpoint.name()).await,
        }
    };
    let stream = tokio::time::timeout(within, connecting).await.unwrap_or_else(|_| Err(late()))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
