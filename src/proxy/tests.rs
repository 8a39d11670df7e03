//! A proxy between a client and an application, both of them here, over real sockets.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ack::Uploads;
use super::core::App;
use super::position::{ClientPosition, Positioned};
use super::{Endpoint, Forwarding, HoldBounds, Proxy, Settings};
use crate::clock::MACHINE;
use crate::ltx::Txid;
use crate::primary::Primary;
use crate::status::ProxyOutcome;

mod ending;
mod limits;
mod nodes;

const PATIENCE: Duration = Duration::from_secs(30);

async fn port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

fn to(target: SocketAddr, scheme: &str) -> Settings {
    Settings::of_target(Endpoint::parse(&format!("{scheme}://{target}")).expect("valid"))
}

/// Everything is in the bucket at once.
#[derive(Clone)]
struct Always;

impl Uploads for Always {
    fn upload(&self, _: Instant) -> BoxFuture<'static, Result<(), String>> {
        std::future::ready(Ok(())).boxed()
    }
}

impl Positioned for Always {
    fn position(&self, _: Instant) -> BoxFuture<'static, Result<ClientPosition, String>> {
        std::future::ready(Ok(std::iter::once(Some(Txid::FIRST)).collect())).boxed()
    }
}

/// Where it listens, and the proxy, whose application has been started.
async fn proxy(settings: Settings) -> (SocketAddr, Proxy) {
    let listener = port().await;
    let address = listener.local_addr().expect("bound");
    let proxy = Proxy::start(std::future::ready(listener), settings, Always, MACHINE);
    proxy.teller().primary(Primary::Here);
    proxy.teller().app(App::Starting);
    (address, proxy)
}

async fn in_front_of(application: &TcpListener) -> (SocketAddr, Proxy) {
    proxy(to(application.local_addr().expect("bound"), "http")).await
}

/// Sends this and reads until the connection is closed.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut reply = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await.expect("an end");
    String::from_utf8_lossy(&reply).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

fn post(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

type Piece = Result<Frame<Bytes>, Infallible>;

/// An application that answers by the path.
async fn answer(
    request: Request<Incoming>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, hyper::Error>>, hyper::Error> {
    let shown = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    let path = request.uri().path().to_owned();
    let body = match path.as_str() {
        "/echo" => request.into_body().boxed(),
        "/count" => {
            let mut body = request.into_body();
            let mut count = 0;
            while let Some(frame) = body.frame().await {
                count += frame?.data_ref().map_or(0, Bytes::len);
            }
            Full::from(count.to_string()).map_err(|never| match never {}).boxed()
        }
        _ => Full::from(shown).map_err(|never| match never {}).boxed(),
    };
    let mut response = Response::new(body);
    if path == "/echo" {
        response.headers_mut().insert("trailer", "x-sum".parse().expect("valid"));
    }
    Ok(response)
}

fn serve_http_1(listener: TcpListener) {
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)),
            );
        }
    });
}

fn serve_http_2(listener: TcpListener) {
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
}

async fn client_of_http_1<B>(address: SocketAddr) -> http1::SendRequest<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(address).await.expect("connect");
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("handshake");
    tokio::spawn(connection);
    sender
}

/// A body that the test sends piece by piece.
fn by_pieces() -> (mpsc::UnboundedSender<Piece>, impl Body<Data = Bytes, Error = Infallible> + Send + 'static) {
    let (sender, mut pieces) = mpsc::unbounded_channel::<Piece>();
    let stream = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
    (sender, StreamBody::new(stream))
}

fn data(text: &'static str) -> Piece {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

#[tokio::test]
async fn a_request_arrives_with_its_origin_and_its_answer_goes_back() {
    let listener = port().await;
    let (address, _proxy) = in_front_of(&listener).await;
    serve_http_1(listener);
    let reply = exchange(address, &get("/a?b=1")).await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    for part in ["GET /a?b=1 ", "\"host\": \"x\"", "\"x-forwarded-for\": \"127.0.0.1\"", "\"x-forwarded-host\": \"x\""]
    {
        assert!(reply.contains(part), "{part}: {reply}");
    }
    let head = exchange(address, &get("/").replace("GET", "HEAD")).await;
    assert!(head.contains("content-length: ") && head.ends_with("\r\n\r\n"), "a head alone: {head}");
}

#[tokio::test]
async fn connections_are_used_again_and_a_closed_one_is_noticed() {
    let listener = port().await;
    let (address, _proxy) = in_front_of(&listener).await;
    let (accepted, mut connections) = mpsc::unbounded_channel();
    // It answers two requests on each connection, and closes it without a word.
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accept");
            accepted.send(()).expect("heard");
            tokio::spawn(async move {
                for _ in 0..2 {
                    let head = read_head(&mut stream).await;
                    if head.starts_with("POST") {
                        stream.read_exact(&mut [0; 2]).await.expect("a body");
                    }
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            });
        }
    });
    for request in [get("/"), post("/"), post("/"), get("/"), get("/"), post("/")] {
        let reply = exchange(address, &request).await;
        assert!(reply.ends_with("\r\n\r\nok"), "{reply}");
    }
    let mut count = 0;
    while connections.try_recv().is_ok() {
        count += 1;
    }
    assert!((3..=4).contains(&count), "{count} connections for six requests, two on each");
}

#[tokio::test]
async fn bodies_go_piece_by_piece_in_both_directions_with_trailers() {
    let listener = port().await;
    let (address, _proxy) = in_front_of(&listener).await;
    serve_http_1(listener);
    let (pieces, body) = by_pieces();
    let mut client = client_of_http_1(address).await;
    let request = Request::post("/echo").header("host", "x").header("te", "trailers").header("trailer", "x-sum");
    let response = client.send_request(request.body(body).expect("valid")).await.expect("a response");
    let mut reply = response.into_body();
    for text in ["one", "two"] {
        pieces.send(data(text)).expect("taken");
        let frame = reply.frame().await.expect("more").expect("whole");
        assert_eq!(frame.into_data().expect("data"), text, "before the next one is sent");
    }
    let mut trailers = hyper::HeaderMap::new();
    trailers.insert("x-sum", "6".parse().expect("valid"));
    pieces.send(Ok(Frame::trailers(trailers))).expect("taken");
    drop(pieces);
    let frame = reply.frame().await.expect("more").expect("whole");
    assert_eq!(frame.into_trailers().expect("trailers")["x-sum"], "6");
}

#[tokio::test]
async fn a_body_is_not_asked_for_before_it_can_be_passed_on() {
    let listener = port().await;
    let (address, proxy) = in_front_of(&listener).await;
    proxy.teller().app(App::Absent);
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let head =
        "POST /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("write");
    let early = tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await;
    assert!(early.is_err(), "nothing is said while it is held");
    proxy.teller().app(App::Starting);
    serve_http_1(listener);
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 100 Continue"));
    stream.write_all(b"hi").await.expect("write");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("read");
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("\r\n\r\n2"), "{reply}");
}

/// Both versions on both sides.
#[tokio::test]
async fn http_2_without_tls_on_either_side() {
    for scheme in ["http", "h2c"] {
        let listener = port().await;
        let (address, _proxy) = proxy(to(listener.local_addr().expect("bound"), scheme)).await;
        match scheme {
            "http" => serve_http_1(listener),
            _ => serve_http_2(listener),
        }
        let reply = exchange(address, &get("/a?b=1")).await;
        assert!(reply.starts_with("HTTP/1.1 200 ") && reply.contains("/a?b=1"), "{reply}");
        let stream = TcpStream::connect(address).await.expect("connect");
        let (mut client, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("handshake");
        tokio::spawn(connection);
        let asked = |n: usize| {
            let request = Request::post("http://shop/echo").header("cookie", "a=1").header("cookie", "b=2");
            request.body(Full::new(Bytes::from(n.to_string()))).expect("valid")
        };
        let replies = futures_util::future::join_all((0..20).map(|n| client.send_request(asked(n)))).await;
        for (n, reply) in replies.into_iter().enumerate() {
            let reply = reply.expect("a response");
            assert_eq!(reply.status(), StatusCode::OK);
            let body = reply.into_body().collect().await.expect("whole").to_bytes();
            assert_eq!(body, n.to_string(), "{scheme}");
        }
    }
}

#[tokio::test]
async fn a_changed_protocol_is_carried_in_both_directions() {
    let listener = port().await;
    let (address, proxy) = in_front_of(&listener).await;
    tokio::spawn(async move {
        let (probe, _) = listener.accept().await.expect("accept");
        let mut stream = probe;
        let head = read_head(&mut stream).await.to_ascii_lowercase();
        assert!(head.contains("upgrade: chat\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhello ";
        stream.write_all(head.as_bytes()).await.expect("write");
        let mut heard = [0; 4];
        stream.read_exact(&mut heard).await.expect("read");
        stream.write_all(&heard).await.expect("write");
        // The client closes its side.
        assert_eq!(stream.read(&mut heard).await.expect("read"), 0);
        stream.write_all(b" bye").await.expect("write");
    });
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let request = "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nping";
    stream.write_all(request.as_bytes()).await.expect("write");
    let head = read_head(&mut stream).await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: chat"), "{head}");
    let mut said = [0; 10];
    stream.read_exact(&mut said).await.expect("read");
    assert_eq!(&said, b"hello ping");
    // It does not count as a request that is to end.
    tokio::time::timeout(PATIENCE, proxy.drain()).await.expect("nothing is under way");
    stream.shutdown().await.expect("shut down");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("read");
    assert_eq!(rest, " bye");
}
