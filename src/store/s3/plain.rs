//! A server that was taken for one that speaks TLS, because its endpoint was written without a
//! scheme, and speaks plain HTTP.
//!
//! Some such servers answer a TLS greeting with text, which is told at once (`route.rs`). Others
//! hang up or wait in silence. Then one request in plain text, without a signature, finds out; only
//! until the server has answered once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::HttpConnectorFuture;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The server answered a TLS greeting with something else, or not at all. Trying again would not
/// help.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the server does not speak TLS")]
pub(super) struct SpeaksPlainly {
    /// `HOST:PORT`, where it is known that it answers in plain HTTP.
    pub address: Option<String>,
}

/// An answer that takes longer is asked about.
const PATIENCE: Duration = Duration::from_secs(4);
/// For the request in plain text.
const CHECK_TIME: Duration = Duration::from_secs(2);
const ANSWER_MAX: usize = 1024;

/// What is known of it; zero is nothing.
const SETTLED: u8 = 1;
const PLAIN: u8 = 2;

/// An endpoint whose scheme was assumed, and what is known about it.
#[derive(Debug, Default)]
pub(super) struct Assumed {
    server: OnceLock<Server>,
    known: AtomicU8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    host: String,
    port: u16,
}

impl Server {
    fn of(url: &str) -> Option<Server> {
        let url = ::url::Url::parse(url).ok().filter(|url| url.scheme() == "https")?;
        Some(Server { host: url.host_str()?.to_owned(), port: url.port_or_known_default()? })
    }

    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Assumed {
    /// The `https://` of this endpoint was assumed.
    pub fn of(&self, endpoint: &str) {
        if let Some(server) = Server::of(endpoint) {
            // A client has one endpoint.
            let _ = self.server.set(server);
        }
    }

    /// The server of a request, if it is the one of the endpoint and has not shown that it speaks
    /// TLS.
    pub fn server_of(&self, uri: &str) -> Option<Server> {
        let (assumed, asked) = (self.server.get().filter(|_| self.known.load(Relaxed) != SETTLED)?, Server::of(uri)?);
        // The bucket may stand in front of the host.
        let is_it = asked.host.strip_suffix(assumed.host.as_str()).is_some_and(|f| f.is_empty() || f.ends_with('.'));
        (is_it && asked.port == assumed.port).then_some(asked)
    }

    /// The answer; where it fails or does not come, what the server says to plain HTTP decides.
    pub async fn watch(&self, server: Server, answer: HttpConnectorFuture) -> Result<HttpResponse, ConnectorError> {
        tokio::pin!(answer);
        let error = tokio::select! {
            biased;
            answer = &mut answer => match answer {
                Ok(answer) => {
                    self.known.store(SETTLED, Relaxed);
                    return Ok(answer);
                }
                Err(error) => Some(error),
            },
            () = tokio::time::sleep(PATIENCE) => None,
        };
        if self.known.load(Relaxed) == PLAIN || answers_plainly(&server).await {
            self.known.store(PLAIN, Relaxed);
            let told = SpeaksPlainly { address: Some(server.address()) };
            return Err(ConnectorError::other(told.into(), None));
        }
        match error {
            Some(error) => Err(error),
            None => answer.await,
        }
    }
}

/// Whether the server answers a request in plain text, as one that speaks HTTP.
async fn answers_plainly(server: &Server) -> bool {
    let said = tokio::time::timeout(CHECK_TIME, ask(server)).await;
    said.is_ok_and(|said| said.is_ok_and(|said| is_plain_http(&said)))
}

async fn ask(server: &Server) -> std::io::Result<Vec<u8>> {
    let bare = server.host.trim_start_matches('[').trim_end_matches(']');
    let mut stream = TcpStream::connect((bare, server.port)).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address());
    stream.write_all(request.as_bytes()).await?;
    let mut said = Vec::new();
    stream.take(ANSWER_MAX as u64).read_to_end(&mut said).await?;
    Ok(said)
}

/// A server that wants TLS may say so in plain text.
fn is_plain_http(said: &[u8]) -> bool {
    let text = String::from_utf8_lossy(said);
    let wants_tls = text.split(' ').nth(1) == Some("400") && ["HTTPS", "SSL", "TLS"].iter().any(|it| text.contains(it));
    text.starts_with("HTTP/1.") && !wants_tls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_wants_tls_is_not_taken_for_a_plain_one() {
        for (said, is_plain) in [
            ("HTTP/1.1 403 Forbidden\r\nServer: MinIO\r\n\r\n<Error>", true),
            ("HTTP/1.1 400 Bad Request\r\nServer: MinIO\r\n\r\n<Error><Code>BadRequest</Code>", true),
            ("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", false),
            ("HTTP/1.1 400 Bad Request\r\n\r\n<h1>The plain HTTP request was sent to HTTPS port</h1>", false),
            ("HTTP/1.1 400 Bad Request\r\n\r\nYou're speaking plain HTTP to an SSL-enabled server port.", false),
            ("SSH-2.0-OpenSSH_9.6\r\n", false),
            ("\u{15}\u{3}\u{1}", false),
            ("", false),
        ] {
            assert_eq!(is_plain_http(said.as_bytes()), is_plain, "{said}");
        }
    }

    #[test]
    fn only_the_endpoint_itself_is_asked() {
        let assumed = Assumed::default();
        assert_eq!(assumed.server_of("https://minio:9000/b"), None);
        assumed.of("http://minio:9000");
        assert_eq!(assumed.server_of("http://minio:9000/b"), None, "it is plain HTTP already");
        assumed.of("https://minio:9000");
        for (uri, asked) in [
            ("https://minio:9000/b/k?x=1", true),
            ("https://bucket.minio:9000/k", true),
            ("https://minio:9001/b", false),
            ("https://notminio:9000/b", false),
            ("https://sts.amazonaws.com/", false),
            ("http://169.254.169.254/latest", false),
        ] {
            assert_eq!(assumed.server_of(uri).is_some(), asked, "{uri}");
        }
    }
}
