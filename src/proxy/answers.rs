//! The proxy's own answers: a short text that says what failed and what to do.

use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::ack::NotUploaded;
use super::core::Refusal;
use super::headers::Malformed;
use super::reply::Reply;

/// How safe it is what was committed before a response.
const ACK: HeaderName = HeaderName::from_static("millstream-ack");
const LOCAL: HeaderValue = HeaderValue::from_static("local");
const UPLOADED: HeaderValue = HeaderValue::from_static("uploaded");
/// What a client is told to wait.
const SOON: HeaderValue = HeaderValue::from_static("1");

/// Says that the bucket has it.
pub fn is_uploaded(headers: &mut HeaderMap) {
    headers.insert(ACK, UPLOADED);
}

pub fn text(status: StatusCode, text: &str) -> Response<Reply> {
    let mut answer = Response::new(Reply::text(format!("{} {text}\n", status.as_u16())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

pub fn no_content() -> Response<Reply> {
    let mut answer = Response::new(Reply::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

pub fn malformed(why: Malformed) -> Response<Reply> {
    match why {
        Malformed::Tunnel => text(StatusCode::METHOD_NOT_ALLOWED, "CONNECT: this is no proxy to other servers"),
        Malformed::NoHost => text(StatusCode::BAD_REQUEST, "a request needs exactly one Host header"),
    }
}

pub fn refused(why: Refusal) -> Response<Reply> {
    let what = match why {
        Refusal::TooLate => {
            "the application has not accepted a connection in time: it is starting, or it has stopped (see its log)"
        }
        Refusal::Behind => "this node does not have what you have written yet, and the primary cannot be reached",
        Refusal::Full => "the application is not there, and as many requests as may be wait for it already",
        Refusal::Ending => "the application is being stopped",
    };
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, what);
    answer.headers_mut().insert(RETRY_AFTER, SOON);
    if why == Refusal::Ending {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// `who` did not answer.
pub fn broken(who: &str, error: &hyper::Error) -> Response<Reply> {
    tracing::warn!("no response from {who}: {}", chain(error));
    let what = match error.is_timeout() {
        true => return text(StatusCode::GATEWAY_TIMEOUT, &format!("{who} did not answer in time (see its log)")),
        false if error.is_parse() => "has answered with something that is no HTTP (see its log)",
        false => "closed the connection before it answered (see its log)",
    };
    text(StatusCode::BAD_GATEWAY, &format!("{who} {what}"))
}

/// The application has answered, and what it has committed is not known to be in the bucket.
pub fn not_uploaded(why: &NotUploaded) -> Response<Reply> {
    let (status, why) = match why {
        NotUploaded::Late(within) => (StatusCode::GATEWAY_TIMEOUT, format!("not within {within:?}")),
        NotUploaded::Failed(why) => (StatusCode::SERVICE_UNAVAILABLE, why.clone()),
    };
    tracing::warn!("a response that waits for the bucket was not sent: {why}");
    let what =
        "what this request has committed is on this node, and not yet in the bucket: ask for it before you repeat it";
    let mut answer = text(status, &format!("{what} ({why})"));
    answer.headers_mut().insert(ACK, LOCAL);
    answer
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = error.source();
    }
    text
}
