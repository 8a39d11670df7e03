//! Bodies in parts.

use super::*;

/// Answers a multipart upload; `complete` is what the completion gets.
pub(in crate::store::s3) fn multipart(request: &Request, complete: impl Fn() -> Reply) -> Reply {
    match (request.method.as_str(), request.target.as_str()) {
        ("POST", target) if target.contains("uploads") => {
            Reply::status(200, "<InitiateMultipartUploadResult><UploadId>U1</UploadId></InitiateMultipartUploadResult>")
        }
        ("POST", _) => complete(),
        ("HEAD", _) => Reply::error(404, ""),
        ("DELETE", _) => Reply::status(204, ""),
        _ => Reply::ok(),
    }
}

/// As S3 answers the completion of an upload of such parts, all of sevens.
pub(in crate::store::s3) fn completed(parts: &[usize]) -> Reply {
    let sums: Vec<_> = parts.iter().map(|len| proof::md5(&vec![7; *len])).collect();
    let etag = proof::etag_of_parts(&sums);
    let body = format!("<CompleteMultipartUploadResult><ETag>\"{etag}\"</ETag></CompleteMultipartUploadResult>");
    Reply::status(200, &body)
}

pub(in crate::store::s3) fn large(len: usize) -> Put {
    Put { body: Body::Bytes(vec![7; len].into()), ..create() }
}

#[tokio::test]
async fn large_bodies_go_in_equal_parts_and_appear_on_condition() {
    let done = || completed(&[5 << 20, 5 << 20, 100]);
    let stub = Stub::start(move |request, _| multipart(request, done)).await;
    let size = (5 << 20) * 2 + 100;
    stub.store().await.put(&key("k"), large(size)).await.expect("put");
    let requests = stub.requests();
    let mut parts: Vec<usize> = requests.iter().filter(|r| r.method == "PUT").map(|r| r.body.len()).collect();
    parts.sort_unstable();
    assert_eq!(parts, [100, 5 << 20, 5 << 20]);
    assert_eq!(requests[0].header("x-amz-meta-litestream-timestamp"), Some("2026-11-21T19:20:37.5Z"));
    let complete = requests.last().expect("there were some");
    assert!(complete.target.contains("uploadId=U1"), "{}", complete.target);
    assert_eq!(complete.header("if-none-match"), Some("*"));
    for request in &requests {
        assert_eq!(request.header("x-amz-trailer"), None);
        assert!(!request.headers.keys().any(|name| name.starts_with("x-amz-checksum-crc")), "{request:?}");
    }
}

/// A stream is cut by what it may become, not by what it turns out to be: the parts must be equal
/// (R2) and at most 10,000.
#[tokio::test]
async fn long_streams_have_larger_parts() {
    let done = || completed(&[7 << 20, 7 << 20, 1 << 20]);
    let stub = Stub::start(move |request, _| multipart(request, done)).await;
    let (writer, body) = Body::channel(1, 60 << 30);
    let writing = tokio::task::spawn_blocking(move || {
        for _ in 0..15 {
            writer.blocking_send(vec![7; 1 << 20].into()).expect("read");
        }
        writer.finish();
    });
    stub.store().await.put(&key("k"), Put { body, ..create() }).await.expect("put");
    writing.await.expect("no panic");
    let mut parts: Vec<_> = stub.requests().iter().filter(|r| r.method == "PUT").map(|r| r.body.len() >> 20).collect();
    parts.sort_unstable();
    assert_eq!(parts, [1, 7, 7], "MiB");
}

#[tokio::test]
async fn failed_uploads_are_aborted() {
    for (complete, expected) in [
        ((|| Reply::error(200, "InternalError")) as fn() -> Reply, "Transient"),
        (|| Reply::error(412, "PreconditionFailed"), "AlreadyExists"),
        (|| Reply::Lost, "Transient"),
        (|| Reply::error(403, "AccessDenied"), "Denied"),
    ] {
        let stub = Stub::start(move |request, _| multipart(request, complete)).await;
        let error = stub.store().await.put(&key("k"), large(6 << 20)).await.expect_err(expected);
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
        let last = stub.requests().pop().expect("there were some");
        assert!(last.method == "DELETE" && last.target.contains("uploadId=U1"), "{last:?}");
        let requests = stub.requests();
        let completions = requests.iter().filter(|r| r.method == "POST" && !r.target.contains("uploads"));
        assert_eq!(completions.count(), 1, "a completion is never tried twice in hiding");
    }
}

#[tokio::test]
async fn a_store_that_overlooks_the_condition_of_a_completion_still_keeps_the_first() {
    let stub = Stub::start(|request, _| match request.method.as_str() {
        "HEAD" => Reply::ok(),
        _ => multipart(request, || {
            Reply::status(200, "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>")
        }),
    })
    .await;
    let error = stub.store().await.put(&key("k"), large(6 << 20)).await.expect_err("exists");
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error:?}");
}
