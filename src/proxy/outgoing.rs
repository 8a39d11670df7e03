//! The body of a request on its way through. It is held as a whole only if it is short and may have
//! to be sent twice: else a part is read when the other side has taken the one before.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// A longer body is not kept.
const SHORT: u64 = 64 << 10;

#[derive(Default)]
pub enum Outgoing {
    Streamed(Incoming),
    /// All of it, or what is left.
    Kept(Bytes),
    #[default]
    Empty,
}

impl Outgoing {
    /// There is something to be read of it, and not much.
    pub fn is_short(&self) -> bool {
        match self {
            Outgoing::Streamed(body) => {
                !body.is_end_stream() && body.size_hint().exact().is_some_and(|size| size <= SHORT)
            }
            Outgoing::Kept(_) | Outgoing::Empty => false,
        }
    }

    /// The same once more, if it is there as a whole.
    pub fn copy(&self) -> Option<Outgoing> {
        match self {
            Outgoing::Streamed(body) => body.is_end_stream().then_some(Outgoing::Empty),
            Outgoing::Kept(bytes) => Some(Outgoing::Kept(bytes.clone())),
            Outgoing::Empty => Some(Outgoing::Empty),
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Outgoing::Streamed(body) => Pin::new(body).poll_frame(context),
            Outgoing::Kept(bytes) if bytes.is_empty() => Poll::Ready(None),
            Outgoing::Kept(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Outgoing::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Streamed(body) => body.is_end_stream(),
            Outgoing::Kept(bytes) => bytes.is_empty(),
            Outgoing::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Streamed(body) => body.size_hint(),
            Outgoing::Kept(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Outgoing::Empty => SizeHint::with_exact(0),
        }
    }
}
