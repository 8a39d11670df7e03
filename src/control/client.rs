//! The client of the control socket, for the commands.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::wire::{
    self, Changed, Checkpointed, DatabaseRequest, Databases, Info, Problem, RegisterRequest, Registered, RoleChanged,
    RoleRequest, Snapshot, SyncRequest, Synced, Unregistered,
};
use crate::members::Members;

/// Our deadline is this much later than that of the process, which then can say why it failed.
const MARGIN: Duration = Duration::from_secs(2);
const ANSWER_MAX: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "cannot connect to the control socket {}: {why}; is a process running with `socket: {{enabled: true}}`, and is this \
         its `socket.path`?",
        socket.display()
    )]
    Unreachable { socket: PathBuf, why: String },
    #[error("no answer from the control socket {} within {limit:?}", socket.display())]
    Late { socket: PathBuf, limit: Duration },
    /// The process refused or failed.
    #[error("{error}")]
    Refused { error: String },
    #[error("the answer from the control socket {} cannot be read: {why}", socket.display())]
    Unreadable { socket: PathBuf, why: String },
}

/// Asks the process behind one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    /// Time for the whole answer.
    limit: Duration,
}

impl Client {
    pub fn new(socket: PathBuf, limit: Duration) -> Client {
        Client { socket, limit }
    }

    pub async fn info(&self) -> Result<Info, ClientError> {
        self.get(wire::INFO).await
    }

    pub async fn list(&self) -> Result<Databases, ClientError> {
        self.get(wire::LIST).await
    }

    pub async fn nodes(&self) -> Result<Members, ClientError> {
        self.get(wire::NODES).await
    }

    pub async fn sync(&self, path: String, wait: bool) -> Result<Synced, ClientError> {
        self.post(wire::SYNC, &SyncRequest { path, wait, timeout: self.seconds() }).await
    }

    pub async fn start(&self, path: String) -> Result<Changed, ClientError> {
        self.post(wire::START, &self.about(path)).await
    }

    pub async fn stop(&self, path: String) -> Result<Changed, ClientError> {
        self.post(wire::STOP, &self.about(path)).await
    }

    pub async fn register(&self, path: String, replica_url: String) -> Result<Registered, ClientError> {
        self.post(wire::REGISTER, &RegisterRequest { path, replica_url }).await
    }

    pub async fn unregister(&self, path: String) -> Result<Unregistered, ClientError> {
        self.post(wire::UNREGISTER, &self.about(path)).await
    }

    pub async fn snapshot(&self, path: String) -> Result<Snapshot, ClientError> {
        self.post(wire::SNAPSHOT, &self.about(path)).await
    }

    pub async fn checkpoint(&self, path: String) -> Result<Checkpointed, ClientError> {
        self.post(wire::CHECKPOINT, &self.about(path)).await
    }

    /// The node that answers, or another one.
    pub async fn promote(&self, node: Option<String>) -> Result<RoleChanged, ClientError> {
        self.post(wire::PROMOTE, &RoleRequest { timeout: self.seconds(), node }).await
    }

    pub async fn demote(&self) -> Result<RoleChanged, ClientError> {
        self.post(wire::DEMOTE, &RoleRequest { timeout: self.seconds(), node: None }).await
    }

    fn about(&self, path: String) -> DatabaseRequest {
        DatabaseRequest { path, timeout: self.seconds() }
    }

    /// Whole seconds, as in Litestream.
    fn seconds(&self) -> i64 {
        i64::try_from(self.limit.as_secs()).unwrap_or(i64::MAX).max(1)
    }

    async fn get<T: DeserializeOwned>(&self, route: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, route, Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(&self, route: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.unreadable(error))?;
        self.ask(Method::POST, route, body.into()).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, route: &str, body: Bytes) -> Result<T, ClientError> {
        let late = |_| ClientError::Late { socket: self.socket.clone(), limit: self.limit };
        let limit = self.limit.saturating_add(MARGIN);
        let (status, text) = tokio::time::timeout(limit, self.exchange(method, route, body)).await.map_err(late)??;
        if status != StatusCode::OK {
            let problem = serde_json::from_slice::<Problem>(&text).unwrap_or_default();
            let error = match (problem.error.is_empty(), problem.details) {
                (true, _) => format!("{status}: {}", String::from_utf8_lossy(&text).trim()),
                (false, Some(details)) => format!("{}: {details}", problem.error),
                (false, None) => problem.error,
            };
            return Err(ClientError::Refused { error });
        }
        serde_json::from_slice(&text).map_err(|error| self.unreadable(error))
    }

    async fn exchange(&self, method: Method, route: &str, body: Bytes) -> Result<(StatusCode, Bytes), ClientError> {
        let unreachable =
            |error: std::io::Error| ClientError::Unreachable { socket: self.socket.clone(), why: error.to_string() };
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let broken = |error: hyper::Error| self.unreadable(error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = Request::builder()
            .method(method)
            .uri(route)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.unreadable(error))?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            Ok((status, body.map_err(|error| self.unreadable(error))?.to_bytes()))
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            // It is closed when the answer has been read, or lost.
            closed = &mut connection => match closed {
                Ok(()) => exchange.await,
                Err(error) => Err(broken(error)),
            },
        }
    }

    fn unreadable(&self, why: impl std::fmt::Display) -> ClientError {
        ClientError::Unreadable { socket: self.socket.clone(), why: why.to_string() }
    }
}
