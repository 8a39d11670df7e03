//! What nodes have to do with each other.

use super::super::core::Need;
use super::super::routes::{Glob, Routes};
use super::super::secret::Secret;
use super::super::wake::wake;
use super::*;
use crate::primary::Peer;

fn secret() -> Secret {
    Secret::parse("0123456789abcdef").expect("valid")
}

/// Answers every request, whatever its body, with this head.
fn serve_always(listener: TcpListener, head: &'static str) {
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accept");
            tokio::spawn(async move {
                while let head_of_request = read_head(&mut stream).await
                    && !head_of_request.is_empty()
                {
                    if head_of_request.contains("content-length: 2\r\n") {
                        stream.read_exact(&mut [0; 2]).await.expect("a body");
                    }
                    stream.write_all(head.as_bytes()).await.expect("write");
                }
            });
        }
    });
}

#[tokio::test]
async fn an_application_that_asks_for_the_primary_is_answered_by_it() {
    let (application, primary) = (port().await, port().await);
    let url = format!("http://{}", primary.local_addr().expect("bound"));
    let settings = Settings {
        routes: Routes { passthrough: vec![Glob::parse("*").expect("valid")], ..Routes::default() },
        secret: Some(secret()),
        ..to(application.local_addr().expect("bound"), "http")
    };
    assert_eq!(settings.routes.need(&hyper::Method::POST, "/", false), Need::Local);
    let (address, proxy) = proxy(settings).await;
    proxy.teller().primary(Primary::At(Peer { name: "b".into(), url: Some(url) }));
    serve_always(application, "HTTP/1.1 409 Conflict\r\nmillstream-replay: primary\r\ncontent-length: 4\r\n\r\nbusy");
    serve_http_1(primary);
    let reply = exchange(address, &post("/echo")).await;
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("\r\n\r\nhi"), "{reply}");
    let reply = exchange(address, &get("/a")).await;
    assert!(reply.contains("GET /a ") && reply.contains("millstream-secret"), "as any forwarded one: {reply}");
    // A body that is not kept cannot be sent twice.
    let long = format!("POST /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", 1 << 20);
    let reply = exchange(address, &(long + &"x".repeat(1 << 20))).await;
    assert!(reply.starts_with("HTTP/1.1 409 "), "{reply}");
    proxy.teller().primary(Primary::Here);
    let reply = exchange(address, &get("/a")).await;
    assert!(reply.starts_with("HTTP/1.1 409 ") && reply.ends_with("busy"), "there is no other one: {reply}");
}

#[tokio::test]
async fn flys_edge_is_told_where_the_primary_is_for_what_it_has_kept() {
    let (application, primary) = (port().await, port().await);
    let url = format!("http://{}", primary.local_addr().expect("bound"));
    let settings = Settings {
        secret: Some(secret()),
        forwarding: Forwarding::FlyReplay,
        hold: HoldBounds { wait: Duration::from_millis(100), ..HoldBounds::default() },
        ..to(application.local_addr().expect("bound"), "http")
    };
    let (address, proxy) = proxy(settings).await;
    serve_http_1(application);
    serve_http_1(primary);
    proxy.teller().primary(Primary::At(Peer { name: "3d8d9".into(), url: Some(url) }));
    let reply = exchange(address, &post("/echo")).await;
    assert!(reply.starts_with("HTTP/1.1 409 ") && reply.contains("fly-replay: instance=3d8d9\r\n"), "{reply}");
    let reply = exchange(address, &get("/a")).await;
    assert!(reply.starts_with("HTTP/1.1 200 ") && !reply.contains("fly-replay"), "a read is answered here: {reply}");
    // What the edge does not keep goes from proxy to proxy.
    let long = format!("POST /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", 1 << 20);
    let reply = exchange(address, &(long + &"x".repeat(1 << 20))).await;
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("1048576"), "{reply}");
    // Two nodes that take each other for the primary send no request to and fro.
    let replayed = post("/echo").replace("Host: x", "Host: x\r\nfly-replay-src: instance=1;t=2");
    let reply = exchange(address, &replayed).await;
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    proxy.teller().primary(Primary::Here);
    let reply = exchange(address, &replayed).await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
}

#[tokio::test]
async fn only_another_node_can_say_that_there_is_something_to_see() {
    let listener = port().await;
    let settings = Settings { secret: Some(secret()), ..to(listener.local_addr().expect("bound"), "http") };
    let (address, proxy) = proxy(settings).await;
    serve_http_1(listener);
    let mut woken = proxy.woken();
    let url = format!("http://{address}");
    let other = Secret::parse("another-secret-of-others").expect("valid");
    wake(&url, &other, MACHINE).await.expect("it is a request to the application");
    let reply = exchange(address, &get("/").replace("\r\n\r\n", "\r\nmillstream-wake: 1\r\n\r\n")).await;
    assert!(reply.starts_with("HTTP/1.1 200 ") && !reply.contains("wake"), "{reply}");
    assert!(!woken.has_changed().expect("alive"));
    wake(&url, &secret(), MACHINE).await.expect("it is told");
    assert!(woken.has_changed().expect("alive"));
    woken.mark_unchanged();
    assert!(wake("http://127.0.0.1:9", &secret(), MACHINE).await.is_err());
}

#[tokio::test]
async fn a_client_is_told_what_it_has_written() {
    let listener = port().await;
    let settings = Settings { tells_position: true, ..to(listener.local_addr().expect("bound"), "http") };
    let (address, _proxy) = proxy(settings).await;
    serve_http_1(listener);
    let reply = exchange(address, &post("/count")).await;
    assert!(reply.contains("\r\nmillstream-position: 0000000000000001\r\n"), "{reply}");
    let reply = exchange(address, &get("/")).await;
    assert!(!reply.contains("\r\nmillstream-position"), "a read writes nothing: {reply}");
}
