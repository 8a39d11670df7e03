//! What an answer consists of: a text, or a stream.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

pub type Body = UnsyncBoxBody<Bytes, io::Error>;
pub type Answer = Response<Body>;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub why: String,
}

impl Refusal {
    pub fn new(status: StatusCode, why: impl Into<String>) -> Refusal {
        Refusal { status, why: why.into() }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Answer {
        text(refusal.status, format!("{}\n", refusal.why), "text/plain; charset=utf-8")
    }
}

pub fn text(status: StatusCode, text: impl Into<Bytes>, kind: &'static str) -> Answer {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    with_head(status, body, kind)
}

/// Nothing, and that is well.
pub fn done() -> Answer {
    text(StatusCode::OK, Bytes::new(), "text/plain; charset=utf-8")
}

pub fn stream(parts: impl Stream<Item = io::Result<Bytes>> + Send + 'static, kind: &'static str) -> Answer {
    with_head(StatusCode::OK, StreamBody::new(parts.map(|part| part.map(Frame::data))).boxed_unsync(), kind)
}

fn with_head(status: StatusCode, body: Body, kind: &'static str) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
