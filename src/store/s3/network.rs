//! Tests: the way to the server. Proxies for both clients, and servers that speak plain HTTP where
//! TLS was assumed.

use std::sync::Mutex;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::super::{Store, StoreError};
use super::plain::Assumed;
use super::proxy::{Bypass, Proxies, Proxy};
use super::stub::{Reply, Stub};
use super::tests::{create, key};
use super::tls::Ways;
use super::*;

/// A proxy that leads everything to one server, and the heads of what it was asked.
struct Forwarder {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

impl Forwarder {
    async fn to(endpoint: &str) -> Forwarder {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let server = endpoint.split_once("://").expect("a scheme").1.to_owned();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (mut accepting, log) = (JoinSet::new(), heads.clone());
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(forward(stream, server.clone(), log.clone()));
            }
        });
        Forwarder { address, heads, _server: accepting }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

async fn forward(mut client: TcpStream, server: String, log: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    log.lock().expect("no panic").push(String::from_utf8_lossy(&head).into_owned());
    let mut server = TcpStream::connect(server).await.expect("connect");
    match head.starts_with(b"CONNECT ") {
        true => client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("write"),
        false => server.write_all(&head).await.expect("write"),
    }
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

fn proxy(url: &str) -> Option<Proxy> {
    Some(Proxy { variable: "HTTPS_PROXY", url: url.to_owned() })
}

/// Who has signed the certificate of the stub.
fn its_root() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(include_bytes!("testdata/ca.pem")).expect("PEM")
}

/// A store at an address that only a proxy can reach.
async fn store_behind(stub: &Stub, scheme: &str, skip_verify: bool, ways: &Ways) -> S3Store {
    let http = match skip_verify {
        true => unverified::client(None, ways),
        false => tls::verifying_with(&[its_root()], ways),
    };
    store_over(stub, scheme, skip_verify, ways, http.expect("a client")).await
}

async fn store_over(stub: &Stub, scheme: &str, skip_verify: bool, ways: &Ways, http: SharedHttpClient) -> S3Store {
    let endpoint = Some(format!("{scheme}://s3.example.invalid"));
    let settings = Settings { endpoint, skip_verify, ..stub.settings() };
    let (client, is_aws) = client::build_over(&settings, http, &ways.assumed).await.expect("client");
    assert!(!is_aws);
    S3Store::over(client, settings.into())
}

#[tokio::test]
async fn both_clients_go_through_the_proxy_of_the_environment() {
    for (scheme, skip_verify) in [("http", false), ("http", true), ("https", false), ("https", true)] {
        let stub = match scheme {
            "http" => Stub::start(|_, _| Reply::ok()).await,
            _ => Stub::start_tls(|_, _| Reply::ok()).await,
        };
        let forwarder = Forwarder::to(&stub.endpoint).await;
        let url = format!("http://user:p%40ss@{}", forwarder.address);
        let proxies = match scheme {
            "http" => Proxies { http: proxy(&url), https: None },
            _ => Proxies { http: None, https: proxy(&url) },
        };
        let ways = Ways { proxies: proxies.clone(), ..Ways::default() };
        let store = store_behind(&stub, scheme, skip_verify, &ways).await;
        store.put(&key("k"), create()).await.unwrap_or_else(|e| panic!("{scheme}, skip-verify {skip_verify}: {e}"));
        let heads = forwarder.heads();
        let first = if scheme == "http" { "PUT http://s3.example.invalid/" } else { "CONNECT s3.example.invalid:443 " };
        assert!(heads[0].starts_with(first), "{heads:?}");
        // "user:p@ss"
        assert!(heads[0].to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjpwqhnz"), "{heads:?}");

        let ways = Ways { proxies, bypass: Bypass::parse(".example.invalid"), ..Ways::default() };
        let store = store_behind(&stub, scheme, skip_verify, &ways).await;
        store.put(&key("k"), create()).await.expect_err("nobody knows that name");
        assert_eq!(forwarder.heads().len(), heads.len(), "NO_PROXY is obeyed");
    }
}

/// The proxy only leads to the server: whose certificate that has is looked at all the same.
#[tokio::test]
async fn a_server_behind_a_proxy_is_verified() {
    let stub = Stub::start_tls(|_, _| Reply::ok()).await;
    let forwarder = Forwarder::to(&stub.endpoint).await;
    let proxies = Proxies { http: None, https: proxy(&format!("http://{}", forwarder.address)) };
    let ways = Ways { proxies, ..Ways::default() };
    let stranger = webpki_root_certs::TLS_SERVER_ROOT_CERTS[0].clone();
    let http = tls::verifying_with(&[stranger], &ways).expect("a client");
    let store = store_over(&stub, "https", false, &ways, http).await;
    let error = store.put(&key("k"), create()).await.expect_err("nobody we trust has signed it");
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
    assert!(forwarder.heads()[0].starts_with("CONNECT s3.example.invalid:443 "), "{:?}", forwarder.heads());
    assert!(stub.requests().is_empty(), "nothing is said to it");
}

#[tokio::test]
async fn this_machine_is_reached_without_a_proxy() {
    for skip_verify in [false, true] {
        let stub = Stub::start(|_, _| Reply::ok()).await;
        let nowhere = Proxies { http: proxy("http://127.0.0.1:9"), https: proxy("http://127.0.0.1:9") };
        let ways = Ways { proxies: nowhere, ..Ways::default() };
        let settings = Settings { skip_verify, ..stub.settings() };
        let http = if skip_verify { unverified::client(None, &ways) } else { tls::verifying_with(&[], &ways) };
        let (client, _) = client::build_over(&settings, http.expect("client"), &ways.assumed).await.expect("client");
        S3Store::over(client, settings.into()).put(&key("k"), create()).await.expect("put");
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
    let stub = Stub::start(|_, _| Reply::ok()).await;
    for (url, why) in [("socks5://user:hush@proxy:1080", "only http:// and https://"), ("http://", "not the address")] {
        for skip_verify in [false, true] {
            let ways = Ways { proxies: Proxies { http: None, https: proxy(url) }, ..Ways::default() };
            let store = store_behind(&stub, "https", skip_verify, &ways).await;
            let error = store.put(&key("k"), create()).await.expect_err("no way");
            let told = error.to_string();
            assert!(matches!(error, StoreError::Permanent { .. }), "{told}");
            assert!(told.contains("HTTPS_PROXY") && told.contains(why) && !told.contains("hush"), "{told}");
        }
    }
}

/// What a server does with a TLS greeting; a request in plain text it may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeted {
    HangsUp,
    IsSilent,
}

/// A server without TLS, and what it was asked in plain text.
async fn without_tls(greeted: Greeted, plain: Option<&'static str>) -> (String, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let (mut server, log) = (JoinSet::new(), asked.clone());
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let log = log.clone();
            connections.spawn(async move {
                let mut said = [0; 2048];
                let count = stream.read(&mut said).await.unwrap_or(0);
                match plain {
                    Some(answer) if said.starts_with(b"GET ") => {
                        log.lock().expect("no panic").push(String::from_utf8_lossy(&said[..count]).into_owned());
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                    _ if greeted == Greeted::IsSilent => std::future::pending().await,
                    _ => {}
                }
            });
        }
    });
    (address, asked, server)
}

#[tokio::test]
async fn a_plain_server_that_says_nothing_to_tls_is_told_where_no_scheme_was_written() {
    let plain = Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    for (greeted, skip_verify) in
        [(Greeted::HangsUp, false), (Greeted::HangsUp, true), (Greeted::IsSilent, false), (Greeted::IsSilent, true)]
    {
        let (address, asked, _server) = without_tls(greeted, plain).await;
        let mut settings = Stub::start(|_, _| Reply::ok()).await.settings();
        settings.endpoint = Some(format!("https://{address}"));
        settings.skip_verify = skip_verify;
        settings.scheme_is_assumed = true;
        let store = S3Store::connect(settings.clone(), &mut Clients::default()).await.expect("connect");
        for _ in 0..2 {
            let error = store.list("").await.expect_err("no TLS");
            let told = error.to_string();
            assert!(matches!(error, StoreError::Permanent { .. }), "{greeted:?}: {told}");
            assert!(told.contains(&format!("write http://{address}")), "{greeted:?}: {told}");
        }
        let asked = asked.lock().expect("no panic").clone();
        assert_eq!(asked.len(), 1, "it is asked once: {asked:?}");
        assert!(!asked[0].to_ascii_lowercase().contains("authorization") && !asked[0].contains("bucket"), "{asked:?}");
    }
}

#[tokio::test]
async fn where_the_scheme_was_written_or_tls_is_wanted_nothing_is_concluded() {
    let plain = Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let wants_tls = Some("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    for (scheme_is_assumed, answer) in [(false, plain), (true, wants_tls), (true, None)] {
        let (address, asked, _server) = without_tls(Greeted::HangsUp, answer).await;
        let mut settings = Stub::start(|_, _| Reply::ok()).await.settings();
        settings.endpoint = Some(format!("https://{address}"));
        settings.scheme_is_assumed = scheme_is_assumed;
        let store = S3Store::connect(settings, &mut Clients::default()).await.expect("connect");
        let error = store.put(&key("k"), create()).await.expect_err("no TLS");
        assert!(error.is_transient() && !error.to_string().contains("write http://"), "{error}");
        assert_eq!(asked.lock().expect("no panic").is_empty(), !scheme_is_assumed || answer.is_none());
    }
}

/// A server that has spoken TLS once is not asked any more.
#[tokio::test]
async fn an_answer_settles_it() {
    let stub = Stub::start_tls(|_, _| Reply::ok()).await;
    let mut settings = Settings { skip_verify: true, ..stub.settings() };
    let endpoint = stub.endpoint.clone();
    let ways = Ways::default();
    ways.assumed.of(&endpoint);
    let http = unverified::client(None, &ways).expect("client");
    settings.endpoint = Some(endpoint.clone());
    let (client, _) = client::build_over(&settings, http, &Assumed::default()).await.expect("client");
    assert!(ways.assumed.server_of(&endpoint).is_some());
    S3Store::over(client, settings.into()).put(&key("k"), create()).await.expect("put");
    assert!(ways.assumed.server_of(&endpoint).is_none());
}
