//! One GET of a page that is no store's, by the same means: the roots that are trusted here, and
//! the environment's proxies.

use std::time::Duration;

use ::url::Url;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Response, Uri, body::Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;

use super::causes::one_line;
use super::tls;
use super::unverified::{tcp, verified};

/// For all of it, redirects included.
const TIME: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: usize = 5;

/// The address is not named: there may be a secret in it.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    #[error("it does not answer: {0}")]
    Unreachable(String),
    #[error("it does not answer within {} s", TIME.as_secs())]
    TimedOut,
    #[error("it answers with status {0}")]
    Refused(u16),
    #[error("it redirects more than {REDIRECTS_MAX} times, or to nowhere")]
    Redirects,
    #[error("{0}")]
    Roots(String),
}

/// Asks for the page and waits for an answer that is a success.
pub async fn visit(url: &Url) -> Result<(), VisitError> {
    tokio::time::timeout(TIME, follow(url.clone())).await.map_err(|_| VisitError::TimedOut)?
}

async fn follow(mut url: Url) -> Result<(), VisitError> {
    for _ in 0..=REDIRECTS_MAX {
        let answer = get(&url).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        if !status.is_redirection() {
            return Err(VisitError::Refused(status.as_u16()));
        }
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let next = location.and_then(|location| url.join(location).ok());
        url = next.filter(|next| matches!(next.scheme(), "http" | "https")).ok_or(VisitError::Redirects)?;
    }
    Err(VisitError::Redirects)
}

async fn get(url: &Url) -> Result<Response<Incoming>, VisitError> {
    let uri: Uri = url.as_str().parse().map_err(|_| VisitError::Unreachable("its address cannot be used".into()))?;
    let roots = |error: super::super::StoreError| VisitError::Roots(error.to_string());
    let trusted = match url.scheme() {
        "https" => tls::roots(None).map_err(roots)?,
        _ => Vec::new(),
    };
    let config = verified(&trusted).map_err(roots)?;
    match Matcher::from_env().intercept(&uri) {
        None => ask(HttpsConnector::from((tcp(), config)), uri).await,
        Some(proxy) => {
            let trusted = if trusted.is_empty() { tls::roots(None).map_err(roots)? } else { trusted };
            let to_proxy = HttpsConnector::from((tcp(), verified(&trusted).map_err(roots)?));
            let tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
            let tunnel = match proxy.basic_auth() {
                Some(auth) => tunnel.with_auth(auth.clone()),
                None => tunnel,
            };
            ask(HttpsConnector::from((tunnel, config)), uri).await
        }
    }
}

async fn ask<C: Connect + Clone + Send + Sync + 'static>(
    connector: C,
    uri: Uri,
) -> Result<Response<Incoming>, VisitError> {
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = uri;
    let agent = concat!("millstream/", env!("CARGO_PKG_VERSION"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
    client.request(request).await.map_err(|error| VisitError::Unreachable(one_line(&error)))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection after the other with these heads; returns the requests' first lines.
    async fn answering(heads: Vec<&'static str>) -> (Url, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/ping/secret", listener.local_addr().expect("bound"));
        let task = tokio::spawn(async move {
            let mut seen = Vec::new();
            for head in heads {
                let (mut stream, _) = listener.accept().await.expect("accept");
                let mut buffer = [0; 4096];
                let len = stream.read(&mut buffer).await.expect("read");
                let line = String::from_utf8_lossy(&buffer[..len]).lines().next().unwrap_or_default().to_owned();
                seen.push(line);
                let reply = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(reply.as_bytes()).await.expect("write");
            }
            seen
        });
        (url.parse().expect("a URL"), task)
    }

    #[tokio::test]
    async fn redirects_are_followed_and_what_is_no_success_is_said() {
        let (url, seen) = answering(vec!["302 Found\r\nLocation: /elsewhere", "204 No Content"]).await;
        visit(&url).await.expect("a success");
        assert_eq!(seen.await.expect("no panic"), ["GET /ping/secret HTTP/1.1", "GET /elsewhere HTTP/1.1"]);
        let (url, _seen) = answering(vec!["404 Not Found"]).await;
        let error = visit(&url).await.expect_err("not found").to_string();
        assert_eq!(error, "it answers with status 404");
        let (url, _seen) = answering(vec!["302 Found\r\nLocation: file:///etc/passwd"]).await;
        assert!(matches!(visit(&url).await, Err(VisitError::Redirects)));
    }

    #[tokio::test]
    async fn an_address_is_not_repeated() {
        let url: Url = "http://127.0.0.1:1/ping/secret".parse().expect("a URL");
        let error = visit(&url).await.expect_err("nobody listens").to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
