//! The listener and its pages. It only reads.
//!
//! It may be open to a network: connections are limited in number, time and size of the head, a
//! body is never read, and no page contains a secret.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY as POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::facts::{DatabaseFacts, Facts};
use super::page::{Asked, CONTENT_SECURITY_POLICY, Document, Recorded, document, render, select};
use super::{health, metrics};
use crate::exposition;
use crate::primary::Primary;

/// Connections at a time; more of them wait.
const CONNECTIONS_MAX: usize = 64;
/// Pages that are made at a time: with thousands of databases one takes megabytes.
const PAGES_MAX: usize = 2;
/// Time for a request's head, also on a connection that is kept open.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// After this time a connection is closed when its current answer is sent, and after twice this
/// time in any case.
const CONNECTION_TIME: Duration = Duration::from_secs(120);
/// For the head of a request.
const HEAD_BYTES: usize = 16 << 10;
/// Pause after an error that will last, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The source of the facts.
pub trait Source: Send + Sync + 'static {
    /// `with_files` adds the sizes of the files.
    fn facts(&self, with_files: bool) -> impl Future<Output = Facts> + Send;

    /// These databases with the sizes of their files, and what is kept of them for the status page.
    /// `opened`: a person has opened it, so their replicas are listed.
    fn details(
        &self,
        databases: Vec<DatabaseFacts>,
        opened: bool,
    ) -> impl Future<Output = Vec<(DatabaseFacts, Recorded)>> + Send;
}

/// Listens there; every interface where no host is named, as in Go.
pub async fn listen(host: Option<&str>, port: u16) -> io::Result<TcpListener> {
    match host {
        Some(host) => TcpListener::bind((host, port)).await,
        // It accepts IPv4 too. A machine without IPv6 gets the IPv4 address.
        None => match TcpListener::bind(("::", port)).await {
            Ok(listener) => Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
            Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
        },
    }
}

/// Answers requests. Never returns; when dropped, it closes every connection.
pub async fn serve<S: Source>(listener: TcpListener, source: Arc<S>) -> Infallible {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let pages = Arc::new(Semaphore::new(PAGES_MAX));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        // Never closed.
        let Ok(permit) = connections.clone().acquire_owned().await else { std::future::pending().await };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (source, pages) = (source.clone(), pages.clone());
                tasks.spawn(async move {
                    connection(stream, peer, source, pages).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S: Source>(stream: TcpStream, peer: SocketAddr, source: Arc<S>, pages: Arc<Semaphore>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (source, pages) = (source.clone(), pages.clone());
        async move { Ok::<_, Infallible>(answer(request.method(), request.uri(), &*source, &pages).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let done = tokio::select! {
        done = serving.as_mut() => Some(done),
        () = tokio::time::sleep(CONNECTION_TIME) => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(CONNECTION_TIME, serving.as_mut()).await.ok()
        }
    };
    if let Some(Err(error)) = done {
        tracing::debug!("the connection of {peer} ended: {error}");
    }
}

type Page = Response<Full<Bytes>>;

async fn answer<S: Source>(method: &Method, uri: &Uri, source: &S, pages: &Semaphore) -> Page {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut page = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD only\n");
        page.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return page;
    }
    let asked = Asked::parse(uri.query().unwrap_or_default());
    match uri.path() {
        "/" => {
            let opened = *method == Method::GET && !asked.is_renewal;
            let (document, facts) = status(source, pages, &asked, opened).await;
            let found = asked.database.is_none() || document.found > 0;
            let html = render(&document, &asked, facts.config.as_deref(), facts.now_ms);
            let mut page = text(if found { StatusCode::OK } else { StatusCode::NOT_FOUND }, html);
            page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            // It has no character that a header must not have.
            page.headers_mut().extend(HeaderValue::from_str(&CONTENT_SECURITY_POLICY).map(|policy| (POLICY, policy)));
            page
        }
        "/status.json" => {
            let (document, _) = status(source, pages, &asked, false).await;
            let mut page = text(StatusCode::OK, serde_json::to_vec(&document).unwrap_or_default());
            page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            page
        }
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/readyz" => {
            let readiness = health::readiness(&source.facts(false).await);
            let status = if readiness.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            text(status, readiness.text)
        }
        "/primary" => primary(&source.facts(false).await.primary),
        "/metrics" => {
            // Never closed.
            let _turn = pages.acquire().await;
            let mut page = text(StatusCode::OK, metrics::render(&source.facts(true).await));
            page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
            page
        }
        _ => text(StatusCode::NOT_FOUND, "there are /, /status.json, /metrics, /readyz, /livez and /primary\n"),
    }
}

/// For load balancers, which send writes where the status is 200.
fn primary(primary: &Primary) -> Page {
    match primary {
        Primary::Here => text(StatusCode::OK, "primary\n"),
        Primary::At(peer) => {
            text(StatusCode::SERVICE_UNAVAILABLE, format!("not the primary, which is {}\n", peer.name))
        }
        Primary::Unknown => text(StatusCode::SERVICE_UNAVAILABLE, "not the primary, which is not known\n"),
    }
}

/// What the status page shows. `opened`: a person has opened it.
async fn status<S: Source>(source: &S, pages: &Semaphore, asked: &Asked, opened: bool) -> (Document, Facts) {
    let (facts, selected) = {
        // Never closed.
        let _turn = pages.acquire().await;
        let mut facts = source.facts(false).await;
        let selected = select(&mut facts, asked);
        (facts, selected)
    };
    let shown = selected.databases.iter().map(|(database, _)| database.clone()).collect();
    // In a list no points are shown. It may take a moment, so that others have their turn.
    let details = source.details(shown, opened && selected.is_whole).await;
    let _turn = pages.acquire().await;
    (document(&facts, selected, details), facts)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Page {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = status;
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    page.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    page.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    page
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::facts::{Phase, testing};
    use super::*;
    use crate::primary::Peer;

    struct Fixed(Facts);

    impl Source for Fixed {
        async fn facts(&self, _with_files: bool) -> Facts {
            self.0.clone()
        }

        async fn details(&self, databases: Vec<DatabaseFacts>, opened: bool) -> Vec<(DatabaseFacts, Recorded)> {
            let recorded = Recorded { lag_ms: vec![0, 1500], points: None, is_listing: opened };
            databases.into_iter().map(|database| (database, recorded.clone())).collect()
        }
    }

    async fn started(facts: Facts) -> SocketAddr {
        let listener = listen(Some("127.0.0.1"), 0).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(serve(listener, Arc::new(Fixed(facts))));
        address
    }

    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        stream.write_all(request.as_bytes()).await.expect("write");
        let mut reply = Vec::new();
        // A connection that is cut after the answer is as good.
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8_lossy(&reply).into_owned()
    }

    fn asked(method: &str, path: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    }

    #[tokio::test]
    async fn pages_and_their_status() {
        let address = started(testing::facts()).await;
        for (method, path, status, part) in [
            ("GET", "/livez", 200, "alive"),
            ("GET", "/primary", 200, "primary\n"),
            ("GET", "/readyz", 503, "another writer owns the history"),
            ("GET", "/readyz?verbose", 503, "not ready"),
            ("GET", "/metrics", 200, "litestream_db_size{db=\"/data/app.db\"} 8192"),
            ("GET", "/", 200, "2 of 3 databases are not safe"),
            ("GET", "/", 200, "The replica is being listed"),
            ("GET", "/?renew=1", 200, "is listed when this page is opened"),
            ("GET", "/?db=%2Fdata%2Fqueue.db&at=2026-01-31T14:00", 200, "-timestamp 2026-01-31T14:00:00Z -o"),
            ("GET", "/?db=none", 404, "no such database"),
            ("GET", "/status.json", 200, "\"state\":\"fenced\""),
            ("POST", "/", 405, "GET or HEAD"),
            ("GET", "/debug/pprof/", 404, "/metrics, /readyz"),
            ("POST", "/metrics", 405, "GET or HEAD"),
            ("GET", "//etc/passwd", 404, ""),
        ] {
            let reply = exchange(address, &asked(method, path)).await;
            assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")) && reply.contains(part), "{path}: {reply}");
        }
        let head = exchange(address, &asked("HEAD", "/livez")).await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "no body: {head}");
        let peer = Primary::At(Peer { name: "web-2".into(), url: None });
        for (primary, part) in [(Primary::Unknown, "is not known"), (peer, "which is web-2")] {
            let elsewhere = started(Facts { primary, ..testing::facts() }).await;
            let reply = exchange(elsewhere, &asked("GET", "/primary")).await;
            assert!(reply.starts_with("HTTP/1.1 503 ") && reply.contains(part), "{reply}");
        }
        let mut well = testing::facts();
        well.databases.truncate(1);
        let reply = exchange(started(well.clone()).await, &asked("GET", "/readyz")).await;
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
        let reply = exchange(started(Facts { phase: Phase::Arming, ..well }).await, &asked("GET", "/readyz")).await;
        assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    }

    #[tokio::test]
    async fn nonsense_is_answered_and_the_next_one_served() {
        let address = started(testing::facts()).await;
        let huge = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(64 << 10));
        for nonsense in ["\0\0\0\r\n\r\n", "GET\r\n\r\n", huge.as_str()] {
            let reply = exchange(address, nonsense).await;
            assert!(!reply.contains(" 200 "), "{reply}");
        }
        assert!(exchange(address, &asked("GET", "/livez")).await.contains("alive"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_sent_away() {
        let address = started(testing::facts()).await;
        let reply = exchange(address, "GET /livez HTTP/1.1\r\nHost: x\r\n").await;
        assert!(!reply.contains(" 200 "), "{reply}");
    }
}
