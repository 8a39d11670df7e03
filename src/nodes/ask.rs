//! One request to another node.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::endpoint::Endpoint;
use crate::members::Members;
use crate::secret::Secret;

const CONNECT_TIME: Duration = Duration::from_secs(3);
const ANSWER_TIME: Duration = Duration::from_secs(5);
const ANSWER_BYTES: usize = 4 << 20;

/// Where another node is asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `cluster.advertise` of that node.
    pub url: String,
    pub secret: Option<Secret>,
}

/// A connection for one request. Whatever it does ends with the tasks.
pub(super) struct Connection {
    pub sender: SendRequest<Empty<Bytes>>,
    _tasks: JoinSet<()>,
}

impl Asked {
    pub(super) fn request(&self, method: Method, path: &str) -> Result<Request<Empty<Bytes>>, String> {
        let host = Endpoint::parse(&self.url)?.to_string();
        let made = Request::builder().method(method).uri(path).header(HOST, host).body(Empty::new());
        let mut request = made.map_err(|error| error.to_string())?;
        if let Some(secret) = &self.secret {
            secret.put(request.headers_mut());
        }
        Ok(request)
    }

    pub(super) async fn connect(&self) -> Result<Connection, String> {
        let endpoint = Endpoint::parse(&self.url)?;
        let failed = |error: &dyn std::fmt::Display| format!("cannot connect to {}: {error}", self.url);
        let connecting = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(endpoint.name())).await;
        let stream = connecting.map_err(|_| failed(&format!("no answer in {CONNECT_TIME:?}")))?;
        let stream = stream.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!("the connection to another node ended: {error}");
            }
        });
        Ok(Connection { sender, _tasks: tasks })
    }

    pub(super) async fn send(
        &self,
        connection: &mut Connection,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, String> {
        let answered = tokio::time::timeout(ANSWER_TIME, connection.sender.send_request(request)).await;
        let late = |_| format!("{} has not answered in {ANSWER_TIME:?}", self.url);
        answered.map_err(late)?.map_err(|error| format!("{} has not answered: {error}", self.url))
    }

    /// The body of an answer; with another status it says why.
    pub(super) async fn body(&self, answer: Response<Incoming>, wanted: StatusCode) -> Result<Bytes, String> {
        let status = answer.status();
        let reading = tokio::time::timeout(ANSWER_TIME, Limited::new(answer.into_body(), ANSWER_BYTES).collect()).await;
        let body = reading.map_err(|_| format!("{} has not answered in {ANSWER_TIME:?}", self.url))?;
        let body = body.map_err(|error| format!("{} has not answered: {error}", self.url))?.to_bytes();
        match status == wanted {
            true => Ok(body),
            false => Err(format!("{} answers {status}: {}", self.url, String::from_utf8_lossy(&body))),
        }
    }

    async fn ask(&self, method: Method, path: &str, wanted: StatusCode) -> Result<Bytes, String> {
        let request = self.request(method, path)?;
        let mut connection = self.connect().await?;
        let answer = self.send(&mut connection, request).await?;
        self.body(answer, wanted).await
    }
}

/// Who is there, as the primary knows it.
pub async fn ask_members(primary: &Asked) -> Result<Members, String> {
    let body = primary.ask(Method::GET, "/nodes", StatusCode::OK).await?;
    serde_json::from_slice(&body).map_err(|error| format!("{} answers what is no list of nodes: {error}", primary.url))
}

/// The primary is to let this node be it.
pub async fn ask_to_hand_over(primary: &Asked, name: &str) -> Result<(), String> {
    primary.ask(Method::POST, &format!("/hand-over?to={name}"), StatusCode::ACCEPTED).await.map(drop)
}
