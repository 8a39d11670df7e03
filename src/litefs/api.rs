//! LiteFS's routes, methods and status codes.
//!
//! What nodes of LiteFS tell each other is not among them (`/stream`, `/tx`, `/halt`): nodes here
//! meet in the bucket, and a follower writes nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, stream};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::access::{Token, permit};
use super::body::{Answer, Refusal, done, stream as streamed, text};
use super::events::{self, Size};
use super::export::{export, sizes};
use super::import::import;
use super::metrics;
use super::view::{Shared, View, Watched};
use crate::clock::Clock;
use crate::exposition;
use crate::primary::Primary;

const JSON: &str = "application/json";
/// For the primary to move.
const MOVE_TIME: Duration = Duration::from_secs(30);
/// Whole databases that are read or written at a time.
const WHOLE_MAX: usize = 2;

/// Moves the primary.
#[async_trait]
pub trait Moves: Send + Sync {
    /// This node becomes it.
    async fn promote(&self, limit: Duration) -> Result<(), String>;

    /// Another one becomes it.
    async fn hand_off(&self, limit: Duration) -> Result<(), String>;
}

pub struct Api {
    /// Of this node.
    name: String,
    is_candidate: bool,
    watched: Watched,
    moves: Arc<dyn Moves>,
    token: Option<Token>,
    clock: Clock,
    subscribers: Arc<AtomicUsize>,
    whole: Arc<Semaphore>,
}

/// `/info`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    is_primary: bool,
    candidate: bool,
    path: String,
    primary: Hostname<'a>,
}

#[derive(Serialize)]
struct Hostname<'a> {
    hostname: &'a str,
}

impl Api {
    pub fn new(
        (name, is_candidate): (String, bool),
        watched: Watched,
        moves: Arc<dyn Moves>,
        token: Option<Token>,
        clock: Clock,
    ) -> Api {
        let (subscribers, whole) = (Arc::default(), Arc::new(Semaphore::new(WHOLE_MAX)));
        Api { name, is_candidate, watched, moves, token, clock, subscribers, whole }
    }

    pub async fn answer(&self, request: Request<Incoming>, from: IpAddr) -> Answer {
        let (path, method) = (request.uri().path().to_owned(), request.method().clone());
        match self.carry_out(request, from).await {
            Ok(answer) => answer,
            Err(refusal) => {
                tracing::debug!("{method} {path} of LiteFS's API: {}: {}", refusal.status, refusal.why);
                refusal.into()
            }
        }
    }

    async fn carry_out(&self, request: Request<Incoming>, from: IpAddr) -> Result<Answer, Refusal> {
        permit(self.token.as_ref(), from, request.headers())?;
        let wanted = match request.uri().path() {
            "/events" | "/info" | "/export" | "/metrics" => Method::GET,
            "/import" | "/promote" | "/handoff" => Method::POST,
            "/stream" | "/tx" | "/halt" => {
                let why = "nodes do not write for each other, and get their transactions from the bucket";
                return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, why));
            }
            _ => {
                let there_is = "there are /events, /info, /export, /import, /promote, /handoff and /metrics";
                return Err(Refusal::new(StatusCode::NOT_FOUND, there_is));
            }
        };
        if *request.method() != wanted {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"));
        }
        match request.uri().path() {
            "/events" => Ok(streamed(self.events(), JSON)),
            "/info" => Ok(self.info()),
            "/metrics" => Ok(self.metrics()),
            "/promote" => self.promote().await,
            "/handoff" => self.hand_off(request.uri().query()).await,
            "/export" => {
                let database = self.database(request.uri().query())?;
                // Never closed.
                export(database.path, self.whole.clone().acquire_owned().await.ok()).await
            }
            _ => {
                let database = self.database(request.uri().query())?;
                if !self.view().is_primary() {
                    let why = "this node is not the primary, and no other one may write";
                    return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
                }
                let _turn = self.whole.acquire().await;
                import(database.path, request.into_body()).await.map(|()| done())
            }
        }
    }

    fn view(&self) -> View {
        self.watched.clone().look()
    }

    /// That of the query's `name`.
    fn database(&self, query: Option<&str>) -> Result<Shared, Refusal> {
        let Some(name) = value(query, "name") else {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "name required"));
        };
        let found = self.watched.databases.iter().find(|database| database.name == name);
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = self.watched.databases.iter().map(|database| database.name.as_str()).collect();
            let why = format!("database not found: {name:?}; there is {}", names.join(", "));
            Refusal::new(StatusCode::NOT_FOUND, why)
        })
    }

    fn info(&self) -> Answer {
        let view = self.view();
        let hostname = match &view.primary {
            Primary::Here => &self.name,
            Primary::At(peer) => &peer.name,
            Primary::Unknown => "",
        };
        let info = Info {
            is_primary: view.is_primary(),
            candidate: self.is_candidate,
            path: self.watched.databases.first().map(|first| first.dir.display().to_string()).unwrap_or_default(),
            primary: Hostname { hostname },
        };
        let shown = serde_json::to_string_pretty(&info).unwrap_or_default() + "\n";
        text(StatusCode::OK, shown, JSON)
    }

    fn metrics(&self) -> Answer {
        let (databases, subscribers) = (&self.watched.databases, self.subscribers.load(Ordering::Relaxed));
        let page = metrics::render(databases, &self.view(), subscribers, self.clock.instant());
        text(StatusCode::OK, page, exposition::CONTENT_TYPE)
    }

    async fn promote(&self) -> Result<Answer, Refusal> {
        if !self.is_candidate {
            return Err(Refusal::new(StatusCode::CONFLICT, "node is not eligible to become primary"));
        }
        match self.view().primary {
            Primary::Here => return Ok(done()),
            Primary::Unknown => {
                let why = "no primary is currently available for handoff, cannot promote";
                return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why));
            }
            Primary::At(_) => {}
        }
        let failed = |why| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("handoff failed: {why}"));
        self.moves.promote(MOVE_TIME).await.map(|()| done()).map_err(failed)
    }

    async fn hand_off(&self, query: Option<&str>) -> Result<Answer, Refusal> {
        if value(query, "nodeID").is_some() {
            let why = "nodes have no such numbers here: without nodeID any candidate goes on, and POST /promote to a node makes it the \
                       primary";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
        }
        let failed = |why| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot handoff: {why}"));
        self.moves.hand_off(MOVE_TIME).await.map(|()| done()).map_err(failed)
    }

    fn events(&self) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let feed = Feed {
            watched: self.watched.clone(),
            clock: self.clock,
            before: None,
            _counted: Subscriber::new(&self.subscribers),
        };
        stream::unfold(feed, |mut feed| async move {
            let lines = feed.next().await;
            Some((Ok(Bytes::from(lines)), feed))
        })
    }
}

/// What one subscriber gets.
struct Feed {
    watched: Watched,
    clock: Clock,
    before: Option<View>,
    _counted: Subscriber,
}

impl Feed {
    async fn next(&mut self) -> String {
        let Some(before) = self.before.take() else {
            let view = self.watched.look();
            return events::first(self.before.insert(view));
        };
        loop {
            self.watched.changed().await;
            let now = self.watched.look();
            let databases = self.watched.databases.clone();
            let moved = databases.iter().enumerate().filter(|(at, _)| before.txids.get(*at) != now.txids.get(*at));
            let sizes = sizes(moved.map(|(_, database)| database.path.clone()).collect()).await;
            let size = |database: &Shared| sizes.get(&database.path).copied().unwrap_or_else(Size::default);
            let lines = events::changes(&databases, &before, &now, self.clock.unix_ms(), size).concat();
            if !lines.is_empty() {
                self.before = Some(now);
                return lines;
            }
        }
    }
}

/// One is counted until this is dropped.
struct Subscriber(Arc<AtomicUsize>);

impl Subscriber {
    fn new(count: &Arc<AtomicUsize>) -> Subscriber {
        count.fetch_add(1, Ordering::Relaxed);
        Subscriber(count.clone())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A value of the query that is not empty.
fn value(query: Option<&str>, key: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query?.as_bytes());
    pairs.find(|(name, value)| name == key && !value.is_empty()).map(|(_, value)| value.into_owned())
}
