//! The end of a proxy: a client that has connected is answered by the application, and a silent one
//! is not waited for without end.

use std::io::{Read, Write};

use super::*;

/// Connected in the kernel; the proxy has had no chance to accept it.
fn connect_unseen(address: SocketAddr) -> std::net::TcpStream {
    std::net::TcpStream::connect(address).expect("connect")
}

async fn rest_of(stream: std::net::TcpStream) -> String {
    stream.set_nonblocking(true).expect("valid");
    let mut stream = TcpStream::from_std(stream).expect("valid");
    let mut reply = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await.expect("an end");
    String::from_utf8_lossy(&reply).into_owned()
}

/// Stops accepting, and stops the application as soon as it may.
async fn stop(proxy: &Proxy) {
    tokio::time::timeout(PATIENCE, proxy.stop_accepting()).await.expect("an end");
    proxy.teller().app(App::Gone);
}

#[tokio::test]
async fn what_the_kernel_has_accepted_already_is_answered() {
    let listener = port().await;
    let (address, proxy) = in_front_of(&listener).await;
    serve_http_1(listener);
    exchange(address, &get("/")).await;
    let mut waiting: Vec<_> = (0..20).map(|_| connect_unseen(address)).collect();
    for stream in &mut waiting[10..] {
        stream.write_all(get("/").as_bytes()).expect("write");
    }
    let (mut early, late) = (waiting.split_off(10), waiting);
    let requests = async {
        tokio::task::yield_now().await;
        for mut stream in late {
            stream.write_all(get("/").as_bytes()).expect("write");
            early.push(stream);
        }
    };
    tokio::join!(stop(&proxy), requests);
    for stream in early {
        let reply = rest_of(stream).await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply:?}");
    }
    assert!(TcpStream::connect(address).await.is_err(), "nothing is accepted any more");
}

#[tokio::test]
async fn whoever_has_just_connected_may_ask_and_whoever_does_not_is_not_waited_for() {
    let listener = port().await;
    let (address, proxy) = in_front_of(&listener).await;
    serve_http_1(listener);
    let (silent, mut asking, mut half) = (connect_unseen(address), connect_unseen(address), connect_unseen(address));
    half.write_all(b"GET / HTTP/1.1\r\n").expect("write");
    // It is accepted after them.
    exchange(address, &get("/")).await;
    let requests = async {
        tokio::task::yield_now().await;
        asking.write_all(get("/").as_bytes()).expect("write");
        asking
    };
    let ((), asking) = tokio::join!(stop(&proxy), requests);
    // Without a complete head for so long, it is still read, and not waited for.
    half.set_nonblocking(true).expect("valid");
    let read = half.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(read, Err(std::io::ErrorKind::WouldBlock), "it is open");
    assert!(rest_of(asking).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(rest_of(silent).await, "");
    drop(half);
    proxy.close(PATIENCE).await;
}

#[tokio::test]
async fn a_connection_in_http_2_is_told_to_go_away_after_its_request() {
    let listener = port().await;
    let (address, proxy) = in_front_of(&listener).await;
    serve_http_1(listener);
    let stream = TcpStream::connect(address).await.expect("connect");
    let (mut client, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a handshake");
    let driven = tokio::spawn(connection);
    let request = async {
        tokio::task::yield_now().await;
        let request = Request::get(format!("http://{address}/")).body(String::new()).expect("valid");
        client.send_request(request).await.expect("an answer").status()
    };
    let ((), status) = tokio::join!(stop(&proxy), request);
    assert_eq!(status, StatusCode::OK);
    tokio::time::timeout(PATIENCE, driven).await.expect("an end").expect("no panic").expect("a proper end");
}
