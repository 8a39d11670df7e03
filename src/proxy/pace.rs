//! The time that a client takes for the head of a request. From its first byte on it is limited;
//! before that a connection is idle, which is another limit.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::flights::Flight;

/// The requests of one connection.
#[derive(Debug)]
pub struct Pace {
    under_way: AtomicUsize,
    begun: AtomicUsize,
    /// Of the connection, until its first request.
    arriving: Mutex<Option<Flight>>,
    first: Notify,
}

/// One request, until its response is sent.
#[derive(Debug)]
pub struct Busy(Arc<Pace>);

impl Pace {
    pub fn new(arriving: Flight) -> Pace {
        let arriving = Mutex::new(Some(arriving));
        Pace { under_way: AtomicUsize::new(0), begun: AtomicUsize::new(0), arriving, first: Notify::new() }
    }

    /// The head of a request is complete; with what the connection has brought, if it is its first
    /// one.
    pub fn begin(self: &Arc<Pace>) -> (Busy, Option<Flight>) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        if self.begun.fetch_add(1, Ordering::Relaxed) > 0 {
            return (Busy(self.clone()), None);
        }
        self.first.notify_one();
        (Busy(self.clone()), self.arrived())
    }

    /// What the connection has brought, unless its first request has it. A request that is still on
    /// its way is not waited for any more then.
    pub fn arrived(&self) -> Option<Flight> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits for the first request. For one that waits: it is told to one.
    pub async fn first(&self) {
        self.first.notified().await;
    }

    /// No request is under way.
    pub fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }

    /// How many there were.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is closed when a head takes too long.
pub struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
    head_timeout: Duration,
    /// Runs while a part of a head is there: since which request.
    limit: Option<(usize, Pin<Box<Sleep>>)>,
    /// So many requests had begun when bytes of the next one came.
    part_of: Option<usize>,
}

impl<S> Paced<S> {
    pub fn new(stream: S, pace: Arc<Pace>, head_timeout: Duration) -> Paced<S> {
        Paced { stream, pace, head_timeout, limit: None, part_of: None }
    }

    /// Whether the head that is being read has taken too long.
    fn is_overdue(&mut self, context: &mut Context<'_>) -> bool {
        let begun = self.pace.begun();
        if !self.pace.is_idle() || self.part_of != Some(begun) {
            self.limit = None;
            return false;
        }
        if self.limit.as_ref().is_none_or(|(since, _)| *since != begun) {
            self.limit = Some((begun, Box::pin(tokio::time::sleep(self.head_timeout))));
        }
        self.limit.as_mut().is_some_and(|(_, limit)| limit.as_mut().poll(context).is_ready())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before && this.pace.is_idle() {
                    this.part_of = Some(this.pace.begun());
                }
                // Also for a client that sends a byte now and then.
                match this.limit.is_some() && this.is_overdue(context) {
                    true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    false => Poll::Ready(Ok(())),
                }
            }
            Poll::Pending if this.is_overdue(context) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
