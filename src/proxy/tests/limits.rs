//! What is limited, held or refused.

use super::*;

#[tokio::test]
async fn what_comes_before_the_application_is_held_and_answered() {
    let reserved = port().await;
    let target = reserved.local_addr().expect("bound");
    drop(reserved);
    let (address, proxy) = proxy(to(target, "http")).await;
    proxy.teller().app(App::Absent);
    let waiting: Vec<_> =
        (0..20).map(|_| tokio::spawn(async move { exchange(address, &post("/count")).await })).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    proxy.teller().app(App::Starting);
    tokio::time::sleep(Duration::from_millis(100)).await;
    serve_http_1(TcpListener::bind(target).await.expect("free again"));
    for reply in waiting {
        let reply = reply.await.expect("no panic");
        assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("\r\n\r\n2"), "{reply}");
    }
    let counts = proxy.counts().now();
    assert_eq!((counts.outcomes[ProxyOutcome::Passed as usize], counts.held.ended, counts.held.now), (20, 20, 0));
    assert!(counts.held.took >= Duration::from_millis(20 * 100));
}

#[tokio::test]
async fn no_more_is_held_than_may_be_and_no_longer() {
    let settings = Settings {
        hold: HoldBounds { requests: 1, wait: Duration::from_millis(300), ..HoldBounds::default() },
        ..to("127.0.0.1:9".parse().expect("valid"), "http")
    };
    let (address, proxy) = proxy(settings).await;
    // One whose client goes away leaves its place.
    let mut gone = TcpStream::connect(address).await.expect("connect");
    gone.write_all(get("/").as_bytes()).await.expect("write");
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(gone);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let held = tokio::spawn(async move { exchange(address, &get("/")).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let full = exchange(address, &get("/")).await;
    assert!(full.starts_with("HTTP/1.1 503 ") && full.contains("retry-after: 1\r\n"), "{full}");
    assert!(full.contains("as many requests as may be"), "{full}");
    let late = held.await.expect("no panic");
    assert!(late.starts_with("HTTP/1.1 503 ") && late.contains("in time"), "{late}");
    let counts = proxy.counts().now();
    let of = |outcome: ProxyOutcome| counts.outcomes[outcome as usize];
    assert_eq!((of(ProxyOutcome::Full), of(ProxyOutcome::TooLate), counts.held.ended), (1, 1, 2));
}

#[tokio::test]
async fn who_is_drained_finishes_what_it_has_and_gets_no_more() {
    let listener = port().await;
    let (address, proxy) = in_front_of(&listener).await;
    serve_http_1(listener);
    let (pieces, body) = by_pieces();
    let mut client = client_of_http_1(address).await;
    let request = Request::post("/count").header("host", "x").body(body).expect("valid");
    let response = tokio::spawn(client.send_request(request));
    pieces.send(data("1")).expect("taken");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut drained = Box::pin(proxy.drain());
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut drained).await.is_err(), "one is under way");
    let held = tokio::spawn(async move { exchange(address, &get("/")).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    pieces.send(data("23")).expect("taken");
    drop(pieces);
    let reply = response.await.expect("no panic").expect("a response");
    assert_eq!(reply.into_body().collect().await.expect("whole").to_bytes(), "3");
    tokio::time::timeout(PATIENCE, drained).await.expect("it is over");
    assert!(!held.is_finished());
    proxy.close(PATIENCE).await;
    let reply = held.await.expect("no panic");
    assert!(reply.starts_with("HTTP/1.1 503 ") && reply.contains("is being stopped"), "{reply}");
    assert!(TcpStream::connect(address).await.is_err(), "no connection is accepted any more");
}

#[tokio::test]
async fn limits_of_a_head() {
    let listener = port().await;
    let target = listener.local_addr().expect("bound");
    serve_http_1(listener);
    let settings = Settings {
        head_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_secs(20),
        head_bytes: 8 << 10,
        ..to(target, "http")
    };
    let (address, _proxy) = proxy(settings).await;
    let huge = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(16 << 10));
    let reply = exchange(address, &huge).await;
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    for (nonsense, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"),
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
        ("\0\0\r\n\r\n", "400"),
    ] {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        stream.write_all(nonsense.as_bytes()).await.expect("write");
        let reply = read_head(&mut stream).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{nonsense:?}: {reply}");
    }
    // On a connection that was used already, too; and a byte now and then is no progress.
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.write_all(b"GET /count HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(stream.read_u8().await.expect("a body"), b'0');
    let dribble = async {
        while stream.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), dribble).await.expect("it is closed");
}

#[tokio::test]
async fn an_application_that_dies_is_said() {
    let listener = port().await;
    let (address, _proxy) = in_front_of(&listener).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        read_head(&mut stream).await;
        drop(stream);
        pending::<()>().await;
    });
    let reply = exchange(address, &post("/")).await;
    assert!(
        reply.starts_with("HTTP/1.1 502 ") && reply.contains("closed the connection before it answered"),
        "{reply}"
    );
}
