//! Answers that are not what was asked for, or do not come.

use super::*;

#[tokio::test]
async fn cannot_tell_is_never_an_empty_listing() {
    let truncated = "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>";
    let looping = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>\
                   </ListBucketResult>";
    let listing = "<ListBucketResult></ListBucketResult>";
    for (reply, expected) in [
        (Reply::status(404, "<html>not here</html>"), "Transient"),
        (Reply::status(404, "404 page not found"), "Transient"),
        (Reply::status(404, ""), "Permanent"),
        (Reply::error(404, "NoSuchBucket"), "Permanent"),
        (Reply::error(200, "InternalError"), "Transient"),
        (Reply::status(200, "<html><body>Welcome to the hotel</body></html>"), "Transient"),
        (Reply::status(200, ""), "Transient"),
        (Reply::status(200, "<ListBucketResult><Contents><Key>pre/fix/a</Key><Size>1</Size></Contents>"), "Transient"),
        (Reply::status(200, truncated), "Permanent"),
        (Reply::status(200, looping), "Permanent"),
        (Reply::error(403, "AccessDenied"), "Denied"),
        (Reply::status(200, listing), "[]"),
    ] {
        let Reply::Http { status, body, .. } = reply else { unreachable!("only those above") };
        let answer = body.clone();
        let stub = Stub::start(move |_, _| Reply::status(status, &answer)).await;
        let listed = stub.store().await.list("").await;
        let shown = listed.as_ref().map_or_else(|e| format!("{e:?}"), |l| format!("{l:?}"));
        assert!(shown.starts_with(expected), "{status} {body}: {shown}");
    }
}

#[tokio::test]
async fn pages_are_followed_sorted_and_freed_of_neighbours() {
    let page = |keys: &[&str], next: &str| {
        let contents: String =
            keys.iter().map(|k| format!("<Contents><Key>{k}</Key><Size>1</Size></Contents>")).collect();
        format!(
            "<ListBucketResult>{contents}<IsTruncated>{}</IsTruncated><NextContinuationToken>{next}\
             </NextContinuationToken></ListBucketResult>",
            !next.is_empty()
        )
    };
    let first = page(&["pre/fix/b", "pre/fix/", "pre/fix", "pre/fixed/0000/x.ltx"], "to/ken+1");
    let second = page(&["pre/fix/c", "pre/fix/a", "pre/fix/b"], "");
    let stub = Stub::start(move |request, _| {
        let on = request.target.contains("continuation-token=to%2Fken%2B1");
        Reply::status(200, if on { &second } else { &first })
    })
    .await;
    let names: Vec<String> = stub.store().await.list("").await.expect("list").into_iter().map(|l| l.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_success_that_is_not_s3s_is_no_success() {
    for reply in [
        || Reply::status(200, "<html>Welcome to the hotel</html>"),
        || Reply::status(200, ""),
        || Reply::status(302, "<html>log in here</html>"),
    ] {
        let stub = Stub::start(move |_, _| reply()).await;
        let error = stub.store().await.put(&key("k"), create()).await.expect_err("nothing was stored");
        assert!(!matches!(error, StoreError::AlreadyExists { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_store_that_ignores_ranges_is_read_all_the_same() {
    let stub = Stub::start(|_, _| Reply::object("0123456789")).await;
    let store = stub.store().await;
    for (start, len, expected) in [(2, 3, "234"), (0, 3, "012"), (0, 10, "0123456789"), (7, 100, "789")] {
        assert_eq!(read(&store, Range { start, len }).await.expect("a part of all of it"), expected);
    }
    let error = read(&store, Range { start: 10, len: 1 }).await.expect_err("past the end");
    assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
    let asked: Vec<_> = stub.requests().iter().map(|r| r.header("range").map(str::to_owned)).collect();
    let expected = ["bytes=2-4", "bytes=0-2", "bytes=0-9", "bytes=7-106", "bytes=10-10"].map(|r| Some(r.to_owned()));
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn another_range_than_the_one_asked_for_is_an_error_not_a_backup() {
    let headers = || vec![("content-range", "bytes 0-2/10".to_owned())];
    let stub = Stub::start(move |_, _| Reply::Http { status: 206, headers: headers(), body: "012".into() }).await;
    let error = read(&stub.store().await, Range { start: 2, len: 3 }).await.expect_err("another range");
    assert!(error.is_transient() && error.to_string().contains("another range"), "{error:?}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_transient() {
    let stub = Stub::start(|_, _| Reply::Short { promised: 100, sent: "0123456789".into() }).await;
    let error = read(&stub.store().await, Range::WHOLE).await.expect_err("90 bytes are missing");
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_in_a_transient_error() {
    let stub = Stub::start(|_, _| Reply::Hang).await;
    let store = stub.store().await;
    let error = store.put(&key("k"), create()).await.expect_err("nobody answers");
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("no answer in time"), "{error}");
    assert!(read(&store, Range::WHOLE).await.expect_err("nobody answers").is_transient());
}

#[tokio::test]
async fn nobody_there_is_transient_and_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let stub = Stub::start(|_, _| Reply::ok()).await;
    let mut settings = stub.settings();
    settings.endpoint = Some(format!("http://{}", listener.local_addr().expect("address")));
    drop(listener);
    let store = S3Store::connect(settings, &mut Clients::default()).await.expect("no request yet");
    let error = store.put(&key("k"), create()).await.expect_err("refused");
    assert!(error.is_transient() && error.to_string().contains("refused"), "{error:?}");
}
