//! The S3 store against a real server (the conformance suite) and against the misbehaving one in
//! `stub.rs`.

mod answers;
mod deletes;
mod trust;
pub(super) mod uploads;

use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::super::{Body, Key, Put, Range, Result, Store, StoreError, conformance};
use super::stub::{Reply, Request, Stub};
use super::*;

/// A store on a bucket of its own on the real server.
async fn real_store() -> S3Store {
    real_store_at("some/prefix").await
}

async fn real_store_at(prefix: &str) -> S3Store {
    let Ok(endpoint) = std::env::var("MILLSTREAM_TEST_S3_ENDPOINT") else {
        panic!(
            "no S3 server: run scripts/test, which installs and starts SeaweedFS, or set MILLSTREAM_TEST_S3_ENDPOINT"
        )
    };
    let or = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let bucket = format!("millstream-test-{:016x}", crate::clock::MACHINE.random_u64());
    let mut settings = Settings::new(bucket, prefix);
    settings.force_path_style = provider::defaults(&endpoint).force_path_style;
    settings.endpoint = Some(endpoint);
    settings.credentials = Some(Credentials {
        access_key_id: or("MILLSTREAM_TEST_S3_ACCESS_KEY", "testkey"),
        secret_access_key: Secret::new(or("MILLSTREAM_TEST_S3_SECRET_KEY", "testsecret12345")),
        session_token: None,
    });
    let store = S3Store::connect(settings, &mut Clients::default()).await.expect("connect");
    store.client.create_bucket().bucket(&store.settings.bucket).send().await.expect("create bucket");
    store
}

#[tokio::test]
async fn real_server_keeps_the_contract() {
    let store = real_store().await;
    conformance::conformance(Arc::new(store.clone())).await;
    // Aborted and dropped uploads must leave no parts behind either; the drop cleans up in the
    // background.
    for _ in 0..100 {
        let open = store.client.list_multipart_uploads().bucket(&store.settings.bucket).send().await.expect("list");
        if open.uploads().is_empty() {
            store.client.delete_bucket().bucket(&store.settings.bucket).send().await.expect("delete bucket");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("unfinished uploads are left");
}

/// SeaweedFS trims a slash in front and joins others, in keys but not in the prefix of a LIST.
#[tokio::test]
async fn what_a_server_that_rewrites_keys_holds_is_listed() {
    for prefix in ["/data/app.db", "", "/", "a//b", "a/", "/a//b/", "//a"] {
        let store = real_store_at(prefix).await;
        assert_eq!(store.list("").await.expect(prefix), [], "{prefix:?}: nothing is there yet");
        for name in ["0000/x.ltx", "0001/y.ltx"] {
            store.put(&key(name), create()).await.unwrap_or_else(|error| panic!("{prefix:?}: {error}"));
        }
        let names = async || store.list("").await.map(|l| l.into_iter().map(|l| l.name).collect::<Vec<_>>());
        assert_eq!(names().await.expect(prefix), ["0000/x.ltx", "0001/y.ltx"], "{prefix:?}");
        let again = store.put(&key("0000/x.ltx"), create()).await.expect_err("exists");
        assert!(matches!(again, StoreError::AlreadyExists { .. }), "{prefix:?}: {again}");
        store.delete(&[key("0000/x.ltx"), key("0001/y.ltx")]).await.expect("delete");
        assert_eq!(names().await.expect(prefix), Vec::<String>::new(), "{prefix:?}");
    }
}

fn listing_of(keys: &[String]) -> Reply {
    let entries: String = keys.iter().map(|k| format!("<Contents><Key>{k}</Key><Size>5</Size></Contents>")).collect();
    Reply::status(200, &format!("<ListBucketResult>{entries}</ListBucketResult>"))
}

#[tokio::test]
async fn a_listing_that_cannot_be_understood_is_an_error() {
    for (answer, expected) in [
        (listing_of(&["else/where/0000/x.ltx".into()]), "not under this path"),
        (listing_of(&["pre/fix/0000/x.ltx".into(), "PRE/FIX/0000/y.ltx".into()]), "not under this path"),
        (
            Reply::status(200, "<ListBucketResult><Contents><Size>5</Size></Contents></ListBucketResult>"),
            "without a key",
        ),
        (
            Reply::status(
                200,
                "<ListBucketResult><CommonPrefixes><Prefix>pre/fix/0000/</Prefix></CommonPrefixes></ListBucketResult>",
            ),
            "by folder",
        ),
    ] {
        let answer = std::sync::Mutex::new(Some(answer));
        let stub = Stub::start(move |_, _| answer.lock().expect("no panic").take().expect("one LIST")).await;
        let error = stub.store().await.list("").await.expect_err(expected);
        assert!(matches!(error, StoreError::Permanent { .. }) && error.to_string().contains(expected), "{error}");
    }
}

/// AWS and its like: `/data/app.db` and `data/app.db` are two places, and the second is another
/// owner's.
#[tokio::test]
async fn a_server_that_keeps_keys_is_not_asked_for_the_neighbours_backup() {
    for (status, expected) in [(404, None), (403, Some("Denied")), (400, Some("Permanent")), (200, Some("found"))] {
        let stub = Stub::start(move |request, _| match request.target.contains("list-type") {
            true if request.target.contains("prefix=%2F") => listing_of(&[]),
            true => listing_of(&["data/app.db/".into(), "data/app.db/0000/x.ltx".into()]),
            false if status == 200 => Reply::ok(),
            false => Reply::status(status, ""),
        })
        .await;
        let settings = Settings { prefix: "/data/app.db".into(), ..stub.settings() };
        let store = S3Store::connect(settings, &mut Clients::default()).await.expect("connect");
        let listed = store.list("").await;
        let told = match &listed {
            Ok(found) if found.is_empty() => None,
            Ok(_) => Some("found"),
            Err(StoreError::Denied { .. }) => Some("Denied"),
            Err(StoreError::Permanent { .. }) => Some("Permanent"),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(told, expected, "HTTP {status}");
        assert_eq!(stub.requests()[2].target.split('?').next(), Some("/bucket//data/app.db/0000/x.ltx"));
    }
}

#[tokio::test]
async fn an_endpoint_may_have_a_path() {
    for (path, name, target) in [
        ("/storage/v1/s3", "pre/fix", "/storage/v1/s3/bucket/pre/fix/k"),
        ("/storage/v1/s3/", "/lead", "/storage/v1/s3/bucket//lead/k"),
        ("/x", "", "/x/bucket//k"),
        ("/", "p", "/bucket/p/k"),
    ] {
        let stub = Stub::start(|request, _| match request.target.contains("list-type") {
            true => listing_of(&[]),
            false => Reply::ok(),
        })
        .await;
        let settings =
            Settings { endpoint: Some(format!("{}{path}", stub.endpoint)), prefix: name.into(), ..stub.settings() };
        let store = S3Store::connect(settings, &mut Clients::default()).await.expect("connect");
        store.put(&key("k"), create()).await.expect("put");
        store.list("").await.expect("list");
        let requests = stub.requests();
        let seen = |n: usize| requests[n].target.split('?').next().unwrap_or_default().trim_end_matches('/').to_owned();
        assert_eq!((seen(0).as_str(), seen(1)), (target, format!("{}/bucket", path.trim_end_matches('/'))), "{path}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let tries = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = tries.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read, Write};
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut stream = stream.expect("accept");
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request");
        }
    });
    for skip_verify in [false, true] {
        let mut settings = Settings::new("bucket", "pre/fix");
        settings.endpoint = Some(format!("https://{address}"));
        settings.force_path_style = true;
        settings.skip_verify = skip_verify;
        settings.credentials = Some(Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("hush-secret"),
            session_token: None,
        });
        let store = S3Store::connect(settings, &mut Clients::default()).await.expect("connect");
        let error = store.list("").await.expect_err("no TLS");
        let told = error.to_string();
        assert!(matches!(error, StoreError::Permanent { .. }), "{told}");
        assert!(told.contains("does not speak TLS") && told.contains("write http://"), "{told}");
    }
    assert_eq!(tries.load(std::sync::atomic::Ordering::SeqCst), 2, "it is not tried again");
}

pub(super) fn key(name: &str) -> Key {
    Key::new(name).expect("a valid key")
}

pub(super) fn create() -> Put {
    Put { metadata: vec![("litestream-timestamp", "2026-11-21T19:20:37.5Z".into())], ..Put::create("hello") }
}

pub(super) async fn read(store: &S3Store, range: Range) -> Result<Bytes> {
    let chunks: Vec<Bytes> = store.get(&key("k"), range).await?.try_collect().await?;
    Ok(chunks.concat().into())
}

/// SHA-256 of `hello`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[tokio::test]
async fn a_put_is_plain_and_signed() {
    let stub = Stub::start(|_, _| Reply::ok()).await;
    let mut settings = stub.settings();
    settings.storage_class = Some("STANDARD_IA".into());
    let store = S3Store::connect(settings, &mut Clients::default()).await.expect("connect");
    store.put(&key("0000/a.ltx"), create()).await.expect("put");
    store.put(&key("0000/b.ltx"), Put { create: false, ..create() }).await.expect("put");

    let requests = stub.requests();
    let put = &requests[0];
    assert_eq!((put.method.as_str(), put.body.as_slice()), ("PUT", b"hello".as_slice()));
    assert_eq!(put.target.split('?').next(), Some("/bucket/pre/fix/0000/a.ltx"));
    assert_eq!(put.header("x-amz-content-sha256"), Some(HELLO));
    assert_eq!(put.header("if-none-match"), Some("*"));
    assert_eq!(put.header("content-length"), Some("5"));
    assert_eq!(put.header("content-type"), Some("application/octet-stream"));
    assert_eq!(put.header("x-amz-meta-litestream-timestamp"), Some("2026-11-21T19:20:37.5Z"));
    assert_eq!(put.header("x-amz-storage-class"), Some("STANDARD_IA"));
    let authorization = put.header("authorization").expect("signed");
    assert!(authorization.contains("AKIDEXAMPLE/") && authorization.contains("/us-east-1/s3/"), "{authorization}");
    for absent in ["content-encoding", "transfer-encoding", "x-amz-trailer", "x-amz-decoded-content-length"] {
        assert_eq!(put.header(absent), None, "{absent}");
    }
    assert!(!put.headers.keys().any(|name| name.starts_with("x-amz-checksum")), "{put:?}");
    assert_eq!(requests[1].header("if-none-match"), None);
}

#[tokio::test]
async fn payload_signing_can_be_turned_off() {
    let stub = Stub::start(|_, _| Reply::ok()).await;
    let store = S3Store::connect(Settings { sign_payload: false, ..stub.settings() }, &mut Clients::default())
        .await
        .expect("connect");
    store.put(&key("k"), create()).await.expect("put");
    assert_eq!(stub.requests()[0].header("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
}

/// The keys that the real Litestream 0.5 was seen to send for these prefixes.
#[tokio::test]
async fn keys_are_litestreams_byte_for_byte() {
    for (prefix, path, query) in [
        ("pre/fix", "/bucket/pre/fix/0000/x.ltx", "pre%2Ffix%2F0000%2F"),
        (".", "/bucket/./0000/x.ltx", ".%2F0000%2F"),
        ("", "/bucket//0000/x.ltx", "%2F0000%2F"),
        ("/lead/slash/", "/bucket//lead/slash//0000/x.ltx", "%2Flead%2Fslash%2F%2F0000%2F"),
        (
            "sp ace/p+l%us=ü:@!",
            "/bucket/sp%20ace/p%2Bl%25us%3D%C3%BC%3A%40%21/0000/x.ltx",
            "sp%20ace%2Fp%2Bl%25us%3D%C3%BC%3A%40%21%2F0000%2F",
        ),
    ] {
        let listing = format!(
            "<ListBucketResult><Contents><Key>{prefix}/0000/x.ltx</Key><Size>5</Size>\
             <LastModified>2026-11-21T19:20:37.575Z</LastModified></Contents></ListBucketResult>"
        );
        let stub = Stub::start(move |request, _| match request.target.contains("list-type") {
            true => Reply::status(200, &listing),
            false => Reply::ok(),
        })
        .await;
        let settings = Settings { prefix: prefix.into(), ..stub.settings() };
        let store = S3Store::connect(settings, &mut Clients::default()).await.expect("connect");
        // As on AWS, where a path is what it is.
        let store = S3Store { is_aws: true, ..store };
        store.put(&key("0000/x.ltx"), create()).await.expect("put");
        let listed = store.list("0000/").await.expect("list");
        let expected = Listed { name: "0000/x.ltx".into(), size: 5, modified_ms: 1_795_288_837_575 };
        assert_eq!(listed, [expected], "{prefix}");
        store.head(&key("0000/x.ltx")).await.expect("head");
        store.delete(&[key("0000/x.ltx")]).await.expect("delete");

        let requests = stub.requests();
        let paths: Vec<_> = requests.iter().map(|r| r.target.split('?').next().unwrap_or_default()).collect();
        assert_eq!(paths, [path, "/bucket/", path, path], "{prefix}");
        assert!(requests[1].target.contains(&format!("prefix={query}")), "{}", requests[1].target);
    }
}

#[tokio::test]
async fn reads_are_tried_again_creates_are_not() {
    let stub = Stub::start(|_, nth| match nth {
        0 => Reply::error(503, "SlowDown"),
        _ => Reply::object("hello"),
    })
    .await;
    assert_eq!(read(&stub.store().await, Range::WHOLE).await.expect("second try"), "hello");
    assert_eq!(stub.requests().len(), 2);

    for reply in [|| Reply::Lost, || Reply::error(503, "SlowDown"), || Reply::error(409, "ConditionalRequestConflict")]
    {
        let stub = Stub::start(move |_, _| reply()).await;
        let error = stub.store().await.put(&key("k"), create()).await.expect_err("no second try");
        assert!(error.is_transient(), "{error:?}");
        assert_eq!(stub.requests().len(), 1, "a hidden second try would meet its own object");
    }
}

#[tokio::test]
async fn refusals_have_their_next_move_and_tell_no_secrets() {
    for (status, code, expected) in [
        (403, "AccessDenied", "Denied"),
        (403, "SignatureDoesNotMatch", "Denied"),
        (404, "NoSuchBucket", "Permanent"),
        (412, "PreconditionFailed", "AlreadyExists"),
        (501, "NotImplemented", "Permanent"),
        (500, "InternalError", "Transient"),
    ] {
        let stub = Stub::start(move |_, _| Reply::error(status, code)).await;
        let store = stub.store().await;
        let error = store.put(&key("k"), create()).await.expect_err(code);
        let shown = format!("{error:?}");
        assert!(shown.starts_with(expected), "{code}: {shown}");
        for part in ["create s3://bucket/pre/fix/k", code, "The message", &format!("HTTP {status}")] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        for secret in ["hush", "Signature=", "AWS4-HMAC", "Credential="] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    let stub = Stub::start(|_, _| Reply::error(404, "NoSuchKey")).await;
    assert!(matches!(read(&stub.store().await, Range::WHOLE).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_by_the_next_request() {
    let stub = Stub::start(|_, nth| match nth {
        0 => Reply::Http {
            status: 403,
            headers: vec![("date", "Sat, 01 Jan 2050 00:00:00 GMT".into())],
            body: "<Error><Code>RequestTimeTooSkewed</Code></Error>".into(),
        },
        _ => Reply::ok(),
    })
    .await;
    let store = stub.store().await;
    let error = store.put(&key("k"), create()).await.expect_err("too skewed");
    assert!(error.is_transient() && error.to_string().contains("clock"), "{error:?}");
    store.put(&key("k"), create()).await.expect("signed with the server's time");
    let dated = stub.requests()[1].header("x-amz-date").expect("dated").to_owned();
    assert!(dated.starts_with("2050"), "{dated}");
}
