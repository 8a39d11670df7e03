//! Requests that Fly.io's edge sends to the primary: instead of forwarding one, the answer names
//! the machine that is to get it. The edge has kept the request, up to a bound of its own.
//!
//! ```text
//!   client ─▶ edge ─▶ this proxy ─▶ fly-replay: instance=ID
//!               └──▶ the proxy of the primary, with fly-replay-src
//! ```

use hyper::body::Body;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};

use super::answers;
use super::outgoing::Outgoing;
use super::reply::Reply;
use crate::primary::Peer;

const REPLAY: HeaderName = HeaderName::from_static("fly-replay");
/// The edge says with it who has asked for that.
const SOURCE: HeaderName = HeaderName::from_static("fly-replay-src");
/// The edge does not keep more.
const BODY_MAX: u64 = 1_000_000;

/// Whether another machine has sent it here.
pub fn was_replayed(request: &HeaderMap) -> bool {
    request.contains_key(SOURCE)
}

/// The answer that sends the request to that node, whose name is that of its machine; `None`: the
/// edge does not have all of it.
pub fn replayed(request: &Request<Outgoing>, to: &Peer) -> Option<Response<Reply>> {
    let is_kept = request.body().size_hint().exact().is_some_and(|size| size <= BODY_MAX);
    let value = HeaderValue::from_str(&format!("instance={}", to.name)).ok().filter(|_| is_kept)?;
    let mut answer = answers::text(StatusCode::CONFLICT, "the primary has to answer this (fly-replay)");
    answer.headers_mut().insert(REPLAY, value);
    Some(answer)
}
