//! Nodes tell each other that there is something to see in the bucket: a request to the proxy of
//! the other one, with the secret that all nodes share. Clients cannot do that.

use std::time::Duration;

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};

use super::endpoint::Endpoint;
use super::outgoing::Outgoing;
use super::pool::{Failed, Pool};
use super::secret::Secret;
use crate::clock::Clock;

const HEADER: HeaderName = HeaderName::from_static("millstream-wake");
/// It is worth no more: the other one looks by itself.
const WITHIN: Duration = Duration::from_secs(2);

/// Takes the header out, and says whether it was there.
pub fn take(headers: &mut HeaderMap) -> bool {
    headers.remove(HEADER).is_some()
}

/// Tells the node at this URL. `Err`: it does not know.
pub async fn wake(url: &str, secret: &Secret, clock: Clock) -> Result<(), String> {
    let endpoint = Endpoint::parse(url)?;
    let host = HeaderValue::from_str(&endpoint.to_string()).map_err(|error| error.to_string())?;
    let mut request = Request::new(Outgoing::Empty);
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(HEADER, HeaderValue::from_static("1"));
    secret.put(request.headers_mut());
    let pool = Pool::new(endpoint, WITHIN, clock);
    match tokio::time::timeout(WITHIN, pool.exchange(request)).await {
        Ok(Ok(exchanged)) if exchanged.response.status().is_success() => Ok(()),
        Ok(Ok(exchanged)) => Err(format!("it answered with {}", exchanged.response.status())),
        Ok(Err(Failed::Unsent(_, error))) => Err(error.to_string()),
        Ok(Err(Failed::Broken(error))) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {WITHIN:?}")),
    }
}
