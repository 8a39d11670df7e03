//! Tests: what is not S3's is not believed, what is stored is proved, and a refused condition is
//! done without.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::super::{OpenUpload, Put, Range, Store, StoreError};
use super::stub::{Reply, Request, Stub};
use super::tests::uploads::{completed, large, multipart};
use super::tests::{create, key, read};
use super::*;

fn http(status: u16, headers: &[(&'static str, &str)], body: &str) -> Reply {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Reply::Http { status, headers, body: body.to_owned() }
}

/// What methods were asked for, in order.
fn methods(stub: &Stub) -> String {
    stub.requests().iter().map(|r| r.method.clone()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_portal_is_believed_in_nothing() {
    let portals: [fn() -> Reply; 6] = [
        || Reply::page(200),
        || Reply::page(302),
        || Reply::page(404),
        || Reply::page(403),
        || http(200, &[("content-type", "text/html"), ("etag", "\"1\""), ("x-amz-request-id", "R")], "<html></html>"),
        || http(302, &[("location", "http://portal.example/?token=hush")], ""),
    ];
    for portal in portals {
        let stub = Stub::start(move |_, _| portal()).await;
        let store = stub.store().await;
        let told = [
            store.put(&key("k"), create()).await.err(),
            store.put(&key("k"), Put { create: false, ..create() }).await.err(),
            store.put(&key("k"), large(6 << 20)).await.err(),
            read(&store, Range { start: 0, len: 3 }).await.err(),
            read(&store, Range { start: 2, len: 3 }).await.err(),
            store.list("").await.err(),
            store.delete(&[key("k")]).await.err(),
            store.delete(&[key("k"), key("l")]).await.err(),
            store.open_uploads().await.err(),
        ];
        for (nth, error) in told.into_iter().enumerate() {
            let error = error.unwrap_or_else(|| panic!("call {nth}: a portal was believed"));
            assert!(error.is_transient(), "call {nth}: {error:?}");
            assert!(error.to_string().contains("the answer is not S3's"), "call {nth}: {error}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
    let stub = Stub::start(|_, _| Reply::page(200)).await;
    assert!(stub.store().await.head(&key("k")).await.expect_err("a page").is_transient());
}

/// XML under a type that only a page should have; and the root as rclone names it.
#[tokio::test]
async fn xml_is_believed_under_any_type() {
    let html = |status, body: &str| http(status, &[("content-type", "text/html; charset=utf-8")], body);
    let stub = Stub::start(move |request, _| match (request.method.as_str(), request.target.contains("uploads")) {
        ("POST", true) => html(200, "<InitiateMultipartUpload><UploadId>U-1</UploadId></InitiateMultipartUpload>"),
        ("GET", _) if request.target.contains("list-type") => html(200, "<ListBucketResult></ListBucketResult>"),
        ("GET", _) => html(404, "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>"),
        _ => multipart(request, || completed(&[5 << 20, 100])),
    })
    .await;
    let store = stub.store().await;
    store.put(&key("k"), large((5 << 20) + 100)).await.expect("in parts");
    let last = stub.requests().pop().expect("asked");
    assert!(last.target.contains("uploadId=U-1"), "{} {}", last.method, last.target);
    assert_eq!(store.list("").await.expect("list"), []);
    let error = read(&store, Range { start: 0, len: 1 }).await.expect_err("no such key");
    assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
}

/// Neither a page nor a type that tells: the ETag alone is no proof.
#[tokio::test]
async fn an_etag_alone_proves_nothing() {
    for (status, headers, body) in [
        (200, vec![("etag", "\"1\"")], ""),
        (200, vec![("etag", "\"1\""), ("x-amz-request-id", "R")], "OK"),
        (200, vec![("etag", "\"5d41402abc4b2a76b9719d911017c593\""), ("content-type", "text/plain")], "ok"),
        (200, vec![], ""),
    ] {
        let stub = Stub::start(move |_, _| http(status, &headers, body)).await;
        let error = stub.store().await.put(&key("k"), create()).await.expect_err("nothing was stored");
        assert!(error.is_transient() && error.to_string().contains("not S3's"), "{error:?}");
    }
    let nothing_there = |request: &Request, _: usize| match request.method.as_str() {
        "PUT" => http(200, &[("etag", "\"1\"")], ""),
        _ => Reply::error(404, "NoSuchKey"),
    };
    let stub = Stub::start(nothing_there).await;
    let error = stub.store().await.put(&key("k"), create()).await.expect_err("nothing was stored");
    assert!(error.is_transient() && error.to_string().contains("nothing was stored"), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_proves_the_body_costs_no_further_request() {
    for headers in [
        vec![("etag", "\"{md5}\"")],
        vec![("etag", "{md5}"), ("content-type", "text/html")],
        vec![("etag", "\"0c78aef83f66abc1fa1e8477f296d394\""), ("x-amz-checksum-crc32", "NhCmhg==")],
    ] {
        let stub = Stub::start(move |_, _| http(200, &headers, "")).await;
        stub.store().await.put(&key("k"), create()).await.expect("proved");
        assert_eq!(methods(&stub), "PUT");
    }
}

/// SSE-KMS, SSE-C and stores with ETags of their own: the object is looked at.
#[tokio::test]
async fn other_etags_are_proved_by_looking() {
    type Headers = &'static [(&'static str, &'static str)];
    const META: Headers = &[("etag", "\"other\""), ("x-amz-meta-litestream-timestamp", "2026-11-21T19:20:37.5Z")];
    const PLAIN: Headers = &[("etag", "\"other\"")];
    for (head, body, expected) in [
        (META, "hello", Ok("PUT HEAD")),
        (PLAIN, "hello", Ok("PUT HEAD GET")),
        (PLAIN, "jello", Err("it ends with other bytes")),
        (META, "hello!", Err("6 bytes instead of 5")),
    ] {
        let stub = Stub::start(move |request, _| match request.method.as_str() {
            "PUT" => http(200, &[("etag", "\"other\"")], ""),
            _ => http(200, head, body),
        })
        .await;
        match (stub.store().await.put(&key("k"), create()).await, expected) {
            (Ok(()), Ok(wanted)) => assert_eq!(methods(&stub), wanted),
            (Err(error), Err(wanted)) => assert!(error.is_transient() && error.to_string().contains(wanted), "{error}"),
            (got, wanted) => panic!("{got:?}, not {wanted:?}"),
        }
    }
}

#[tokio::test]
async fn a_completion_is_proved_like_a_put() {
    let size = (5 << 20) + 100;
    let other = || Reply::status(200, "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>");
    // The first HEAD is the look before the completion.
    let heads = Arc::new(Mutex::new(0));
    let stub = Stub::start(move |request, _| match request.method.as_str() {
        "HEAD" => {
            let mut heads = heads.lock().expect("no panic");
            *heads += 1;
            let meta = ("x-amz-meta-litestream-timestamp", "2026-11-21T19:20:37.5Z");
            match *heads {
                1 => Reply::error(404, ""),
                2 => http(200, &[("etag", "x"), meta], &"7".repeat(size)),
                3 => Reply::error(404, ""),
                _ => http(200, &[("etag", "x"), meta], "short"),
            }
        }
        _ => multipart(request, other),
    })
    .await;
    let store = stub.store().await;
    store.put(&key("k"), large(size)).await.expect("size and metadata fit");
    let error = store.put(&key("k"), large(size)).await.expect_err("5 bytes");
    assert!(error.is_transient() && error.to_string().contains("5 bytes instead of"), "{error}");
}

/// A store that has the objects which were put, and refuses conditions.
fn refusing(status: u16, code: &'static str) -> impl Fn(&Request, usize) -> Reply + Send + Sync {
    let shelf: Mutex<HashMap<String, String>> = Mutex::default();
    move |request, _| {
        let mut shelf = shelf.lock().expect("no panic");
        let path = request.target.split('?').next().unwrap_or_default().to_owned();
        let sum = proof::hex(&proof::md5(&request.body));
        if request.header("if-none-match").is_some() {
            return Reply::error(status, code);
        }
        match request.method.as_str() {
            "PUT" if !request.target.contains("partNumber") => {
                shelf.insert(path, sum);
                Reply::ok()
            }
            "POST" if request.target.contains("uploadId") => {
                shelf.insert(path, "parts".into());
                completed(&[5 << 20, 100])
            }
            "HEAD" => match shelf.get(&path).map(String::as_str) {
                None => Reply::error(404, ""),
                Some("parts") => {
                    let sums = [proof::md5(&vec![7; 5 << 20]), proof::md5(&[7; 100])];
                    http(200, &[("etag", &proof::etag_of_parts(&sums))], &"7".repeat((5 << 20) + 100))
                }
                Some(sum) => http(200, &[("etag", sum)], "hello"),
            },
            _ => multipart(request, || Reply::status(500, "")),
        }
    }
}

#[tokio::test]
async fn a_store_that_refuses_conditions_is_written_to_without() {
    for (status, code) in [(501, "NotImplemented"), (400, "InvalidArgument"), (400, "InvalidRequest"), (501, "")] {
        let stub = Stub::start(refusing(status, code)).await;
        let store = stub.store().await;
        store.put(&key("a"), create()).await.expect("without the condition");
        assert_eq!(methods(&stub), "PUT HEAD PUT HEAD", "{code}");
        let before = stub.requests().len();
        store.put(&key("b"), create()).await.expect("remembered");
        assert_eq!(stub.requests().len() - before, 3, "HEAD PUT HEAD");
        let error = store.put(&key("a"), create()).await.expect_err("there");
        assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error:?}");
        store.put(&key("large"), large((5 << 20) + 100)).await.expect("in parts");
        let error = store.put(&key("large"), large((5 << 20) + 100)).await.expect_err("there");
        assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error:?}");

        let stub = Stub::start(refusing(status, code)).await;
        let store = stub.store().await;
        store.put(&key("large"), large((5 << 20) + 100)).await.expect("in parts, without the condition");
        let conditional = stub.requests().iter().filter(|r| r.header("if-none-match").is_some()).count();
        store.put(&key("b"), create()).await.expect("remembered");
        assert_eq!((conditional, stub.requests().len()), (1, 6 + 2 + 3), "{}", methods(&stub));
    }
}

#[tokio::test]
async fn a_rival_that_came_between_the_look_and_the_put_is_seen() {
    let theirs = proof::hex(&proof::md5(b"jello"));
    let stub = Stub::start(move |request, nth| match (request.method.as_str(), nth) {
        ("PUT", 0) => Reply::error(501, "NotImplemented"),
        ("PUT", _) => Reply::ok(),
        ("HEAD", 1) => Reply::error(404, ""),
        _ => http(200, &[("etag", &theirs), ("x-amz-meta-litestream-timestamp", "2026-11-21T19:20:37.5Z")], "jello"),
    })
    .await;
    let error = stub.store().await.put(&key("k"), create()).await.expect_err("another object is there");
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error:?}");
}

#[tokio::test]
async fn a_condition_that_was_understood_once_is_never_left_out() {
    let stub = Stub::start(|request, nth| match (request.header("if-none-match"), nth) {
        (Some(_), 0) => Reply::ok(),
        (Some(_), _) => Reply::error(400, "InvalidArgument"),
        (None, _) => Reply::ok(),
    })
    .await;
    let store = stub.store().await;
    store.put(&key("a"), create()).await.expect("understood");
    let error = store.put(&key("b"), create()).await.expect_err("refused");
    assert!(matches!(error, StoreError::Permanent { .. }), "{error:?}");
    assert_eq!(methods(&stub), "PUT PUT");
}

#[tokio::test]
async fn open_uploads_are_found_and_ended() {
    let listing = "<ListMultipartUploadsResult>\
        <Upload><Key>pre/fix/0009/a.ltx</Key><UploadId>U1</UploadId><Initiated>2026-11-21T19:20:37.575Z</Initiated></Upload>\
        <Upload><Key>elsewhere/b.ltx</Key><UploadId>U2</UploadId><Initiated>2026-11-21T19:20:37.575Z</Initiated></Upload>\
        <Upload><Key>pre/fix/0009/c.ltx</Key><UploadId>U3</UploadId></Upload>\
        </ListMultipartUploadsResult>";
    let stub = Stub::start(move |request, _| match request.method.as_str() {
        "GET" => Reply::status(200, listing),
        _ => Reply::status(204, ""),
    })
    .await;
    let store = stub.store().await;
    let open = store.open_uploads().await.expect("list");
    let expected = OpenUpload { name: "0009/a.ltx".into(), id: "U1".into(), since_ms: 1_795_288_837_575 };
    assert_eq!(open, [expected]);
    store.end_uploads(&open).await.expect("ended");
    let last = stub.requests().pop().expect("asked");
    assert!(last.method == "DELETE" && last.target.contains("/pre/fix/0009/a.ltx?"), "{last:?}");
    assert!(last.target.contains("uploadId=U1"), "{last:?}");
}
