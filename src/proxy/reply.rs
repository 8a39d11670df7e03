//! The body of a response: our own, or one on its way through, which is read no faster than the
//! client takes it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::flights::Flight;
use super::pace::Busy;
use super::pool::Lease;

/// What it holds ends with it.
pub struct Reply {
    content: Content,
    /// The request counts as under way until the response is sent.
    flight: Option<Flight>,
    busy: Option<Busy>,
}

enum Content {
    /// Our own.
    Text(Option<Bytes>),
    Passed(Incoming),
    /// The connection that it comes from is driven by whoever reads it.
    Driven(Incoming, Lease),
}

impl Reply {
    pub fn text(text: impl Into<Bytes>) -> Reply {
        Reply { content: Content::Text(Some(text.into())), flight: None, busy: None }
    }

    pub fn empty() -> Reply {
        Reply { content: Content::Text(None), flight: None, busy: None }
    }

    pub fn passed(body: Incoming, lease: Option<Lease>) -> Reply {
        let mut content = match lease {
            Some(lease) => Content::Driven(body, lease),
            None => Content::Passed(body),
        };
        content.release(&mut Context::from_waker(Waker::noop()));
        Reply { content, flight: None, busy: None }
    }

    /// Counts as under way until it is sent.
    pub fn in_flight(mut self, flight: Option<Flight>) -> Reply {
        self.flight = flight;
        self
    }

    /// So does its connection.
    pub fn on_its_way(mut self, busy: Busy) -> Reply {
        self.busy = Some(busy);
        self
    }
}

impl Content {
    /// Gives the connection back for the next request as soon as everything of it is read.
    fn release(&mut self, context: &mut Context<'_>) {
        if let Content::Driven(body, _) = self
            && body.is_end_stream()
            && let Content::Driven(body, lease) = std::mem::replace(self, Content::Text(None))
        {
            *self = Content::Passed(body);
            lease.give_back(context);
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self {
            Content::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Content::Passed(body) => Pin::new(body).poll_frame(context),
            Content::Driven(body, lease) => {
                lease.drive(context);
                let frame = Pin::new(body).poll_frame(context);
                match &frame {
                    // A body of unknown length says only here that it is over.
                    Poll::Ready(None) => {
                        if let Content::Driven(_, lease) = std::mem::replace(self, Content::Text(None)) {
                            lease.give_back(context);
                        }
                    }
                    Poll::Ready(Some(_)) => self.release(context),
                    Poll::Pending => {}
                }
                frame
            }
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = this.content.poll(context);
        if let Poll::Ready(None | Some(Err(_))) = frame {
            (this.flight, this.busy) = (None, None);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Text(text) => text.is_none(),
            Content::Passed(body) | Content::Driven(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Content::Passed(body) | Content::Driven(body, _) => body.size_hint(),
        }
    }
}
