//! A tiny HTTP server that answers as a test tells it to and remembers every request byte for byte.
//!
//! For what no well-behaved S3 server does on demand: silence, lost replies, errors inside a
//! success, ignored ranges.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{Credentials, S3Store, Secret, Settings, proof};

/// Stands in a header for the MD5 of the request's body.
const MD5_OF_BODY: &str = "{md5}";

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

pub(super) enum Reply {
    Http {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Keeps the connection open and says nothing.
    Hang,
    /// Takes the request and closes the connection.
    Lost,
    /// Promises more bytes than it sends, then closes.
    Short {
        promised: usize,
        sent: String,
    },
}

impl Reply {
    pub fn status(status: u16, body: &str) -> Reply {
        Reply::Http { status, headers: Vec::new(), body: body.to_owned() }
    }

    /// As S3 answers a put: the ETag is the MD5 of the body.
    pub fn ok() -> Reply {
        Reply::Http { status: 200, headers: vec![("etag", format!("\"{MD5_OF_BODY}\""))], body: String::new() }
    }

    /// An object, as S3 answers a get without a range.
    pub fn object(body: &str) -> Reply {
        Reply::Http { status: 200, headers: vec![("etag", "\"1\"".to_owned())], body: body.to_owned() }
    }

    /// A page, as a portal serves it.
    pub fn page(status: u16) -> Reply {
        let headers = vec![("content-type", "text/html; charset=utf-8".to_owned()), ("etag", "\"6a-5f3\"".to_owned())];
        Reply::Http { status, headers, body: "<html><body>Welcome to the hotel</body></html>".to_owned() }
    }

    /// S3's way to say no.
    pub fn error(status: u16, code: &str) -> Reply {
        let body =
            format!("<Error><Code>{code}</Code><Message>The message.</Message><RequestId>REQ</RequestId></Error>");
        Reply::status(status, &body)
    }
}

type Script = dyn Fn(&Request, usize) -> Reply + Send + Sync;

pub(super) struct Stub {
    pub endpoint: String,
    log: Arc<Mutex<Vec<Request>>>,
    _server: JoinSet<()>,
}

impl Stub {
    /// `script` gets the request and how many came before it.
    pub async fn start(script: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Stub {
        Stub::listen(script, None).await
    }

    /// The same over TLS, with a certificate for 127.0.0.1 and s3.example.invalid that
    /// `testdata/ca.pem` has signed.
    pub async fn start_tls(script: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Stub {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("testdata/server.pem")).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("testdata/server.key")).expect("PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("they belong together");
        Stub::listen(script, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(
        script: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", listener.local_addr().expect("address"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut server = JoinSet::new();
        let (script, seen): (Arc<Script>, _) = (Arc::new(script), log.clone());
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen, tls) = (script.clone(), seen.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => converse(stream, script, seen).await,
                        Some(tls) => {
                            // A client that mistrusts us ends the handshake.
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, script, seen).await;
                            }
                        }
                    }
                });
            }
        });
        Stub { endpoint, log, _server: server }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().expect("no test panics here").clone()
    }

    pub fn settings(&self) -> Settings {
        let mut settings = Settings::new("bucket", "pre/fix");
        settings.endpoint = Some(self.endpoint.clone());
        settings.force_path_style = true;
        settings.credentials = Some(Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("hush-secret"),
            session_token: None,
        });
        settings
    }

    pub async fn store(&self) -> S3Store {
        S3Store::connect(self.settings(), &mut super::Clients::default()).await.expect("connect")
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, script: Arc<Script>, log: Arc<Mutex<Vec<Request>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await {
        let reply = {
            let mut log = log.lock().expect("no test panics here");
            log.push(request.clone());
            script(&request, log.len() - 1)
        };
        let text = match reply {
            Reply::Http { status, headers, body } => {
                let sum = proof::hex(&proof::md5(&request.body));
                let line = |(name, value): &(_, String)| format!("{name}: {}\r\n", value.replace(MD5_OF_BODY, &sum));
                let headers: String = headers.iter().map(line).collect();
                // HEAD and 204 have no body, whatever the script says.
                let sent = if request.method == "HEAD" || status == 204 { "" } else { &body };
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{sent}", body.len())
            }
            Reply::Hang => return std::future::pending().await,
            Reply::Lost => return,
            Reply::Short { promised, sent } => {
                let text = format!("HTTP/1.1 200 X\r\netag: 1\r\ncontent-length: {promised}\r\n\r\n{sent}");
                let _ = stream.write_all(text.as_bytes()).await;
                return;
            }
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// `None` when the client has gone.
async fn read_request<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if headers.contains_key("expect") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
    }
    let length = headers.get("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, target, headers, body })
}
