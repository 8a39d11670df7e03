//! The S3 store against a real server (the conformance suite) and against the misbehaving one in
//! `stub.rs`.

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

/// AWS and its like: `/data/app.db` and `data/app.db` are two places, and the second is somebody
/// else's.
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

fn deleted_body(request: &Request) -> String {
    String::from_utf8_lossy(&request.body).into_owned()
}

#[tokio::test]
async fn batch_deletes_carry_md5_and_report_refusals() {
    let stub = Stub::start(|_, _| {
        let errors = "<Error><Key>pre/fix/b</Key><Code>AccessDenied</Code><Message>locked</Message></Error>\
                      <Error><Key>pre/fix/c</Key><Code>NoSuchKey</Code></Error>";
        Reply::status(200, &format!("<DeleteResult>{errors}</DeleteResult>"))
    })
    .await;
    let done = stub.store().await.delete(&[key("a"), key("b"), key("c")]).await.expect("delete");
    assert_eq!(done.deleted, 2);
    let [(refused, error)] = &done.refused[..] else { panic!("{:?}", done.refused) };
    assert_eq!(refused, &key("b"));
    assert!(matches!(error, StoreError::Denied { .. }) && error.to_string().contains("locked"), "{error}");

    let requests = stub.requests();
    assert_eq!((requests[0].method.as_str(), requests.len()), ("POST", 1));
    assert!(deleted_body(&requests[0]).contains("<Key>pre/fix/a</Key>"));
    assert_eq!(requests[0].header("content-md5"), Some(base64_md5(&requests[0].body).as_str()));

    let store = S3Store::connect(Settings { require_content_md5: false, ..stub.settings() }, &mut Clients::default())
        .await
        .expect("connect");
    store.delete(&[key("a"), key("b")]).await.expect("delete");
    assert_eq!(stub.requests()[1].header("content-md5"), None);
}

/// A key that may not delete: the batch as such is refused, one object alone is an object that
/// stays.
#[tokio::test]
async fn credentials_that_may_not_delete_are_told_from_a_store_without_batches() {
    let stub = Stub::start(|_, _| Reply::error(403, "AccessDenied")).await;
    let store = stub.store().await;
    let error = store.delete(&[key("a"), key("b")]).await.expect_err("403");
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    assert_eq!(stub.requests().len(), 1, "neither tried again nor one by one");
    let done = store.delete(&[key("a")]).await.expect("an answer");
    assert_eq!((done.deleted, done.refused.len()), (0, 1));
}

#[tokio::test]
async fn a_store_without_batch_deletes_is_asked_once() {
    for (status, code) in [(501, "NotImplemented"), (400, "MalformedXML"), (405, "MethodNotAllowed")] {
        let stub = Stub::start(move |request, _| match request.method.as_str() {
            "POST" => Reply::error(status, code),
            _ if request.target.contains("/locked") => Reply::error(403, "AccessDenied"),
            _ => Reply::status(204, ""),
        })
        .await;
        let store = stub.store().await;
        for _ in 0..2 {
            let done = store.delete(&[key("a"), key("locked"), key("c")]).await.expect("delete");
            assert_eq!((done.deleted, done.refused.len()), (2, 1), "{code}");
        }
        let posts = stub.requests().iter().filter(|r| r.method == "POST").count();
        assert_eq!((posts, stub.requests().len()), (1, 7), "{code}");
    }
}

/// Answers a multipart upload; `complete` is what the completion gets.
pub(super) fn multipart(request: &Request, complete: impl Fn() -> Reply) -> Reply {
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
pub(super) fn completed(parts: &[usize]) -> Reply {
    let sums: Vec<_> = parts.iter().map(|len| proof::md5(&vec![7; *len])).collect();
    let etag = proof::etag_of_parts(&sums);
    let body = format!("<CompleteMultipartUploadResult><ETag>\"{etag}\"</ETag></CompleteMultipartUploadResult>");
    Reply::status(200, &body)
}

pub(super) fn large(len: usize) -> Put {
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

#[tokio::test]
async fn customer_keys_travel_with_every_request_for_bytes() {
    let stub = Stub::start(|_, _| Reply::ok()).await;
    let mut settings = stub.settings();
    settings.sse.customer_key = Some(Secret::new(format!("{}=", "A".repeat(43))));
    let store = S3Store::connect(settings, &mut Clients::default()).await.expect("connect");
    store.put(&key("k"), create()).await.expect("put");
    store.head(&key("k")).await.expect("head");
    // Nothing is in it, so there is no range.
    drop(store.get(&key("k"), Range::WHOLE).await);
    for request in stub.requests() {
        assert_eq!(request.header("x-amz-server-side-encryption-customer-algorithm"), Some("AES256"));
        // MD5 of 32 zero bytes.
        let md5 = request.header("x-amz-server-side-encryption-customer-key-md5");
        assert_eq!(md5, Some("cLyPS3KoaSFGi/joRB3OUQ=="), "{request:?}");
    }
}

#[tokio::test]
async fn certificates_are_verified_unless_told_otherwise() {
    let stub = Stub::start_tls(|_, _| Reply::ok()).await;
    let ca = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/s3/testdata/ca.pem");
    let with_bundle = tls::verifying(Some(ca.as_ref()), &tls::Ways::default()).expect("a good bundle");
    let (client, _) =
        client::build_over(&stub.settings(), with_bundle, &plain::Assumed::default()).await.expect("client");
    S3Store::over(client, stub.settings()).put(&key("k"), create()).await.expect("the bundle's CA is trusted");

    let settings = Settings { skip_verify: true, ..stub.settings() };
    S3Store::connect(settings, &mut Clients::default())
        .await
        .expect("connect")
        .put(&key("k"), create())
        .await
        .expect("anyone is trusted");
    assert_eq!(stub.requests().len(), 2);

    let built_in =
        tls::verifying_with(webpki_root_certs::TLS_SERVER_ROOT_CERTS, &tls::Ways::default()).expect("client");
    let (client, _) = client::build_over(&stub.settings(), built_in, &plain::Assumed::default()).await.expect("client");
    let error = S3Store::over(client, stub.settings()).put(&key("k"), create()).await.expect_err("a stranger");
    assert!(matches!(error, StoreError::Permanent { .. }) && error.to_string().contains("AWS_CA_BUNDLE"), "{error:?}");
    assert_eq!(stub.requests().len(), 2, "nothing was said to a stranger");
}

#[tokio::test]
async fn missing_credentials_are_a_matter_for_a_person() {
    let stub = Stub::start(|_, _| Reply::ok()).await;
    let nobody = aws_sdk_s3::config::SharedCredentialsProvider::new(
        aws_config::meta::credentials::CredentialsProviderChain::first_try("file", NoCredentials),
    );
    let config = stub.store().await.client.config().to_builder().credentials_provider(nobody).build();
    let store = S3Store::over(Client::from_conf(config), stub.settings());
    let error = store.put(&key("k"), create()).await.expect_err("nobody to sign as");
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("access-key-id") && !error.to_string().contains('\n'), "{error}");
}

#[derive(Debug)]
struct NoCredentials;

impl aws_sdk_s3::config::ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let error = aws_credential_types::provider::error::CredentialsError::not_loaded("no keys here");
        aws_credential_types::provider::future::ProvideCredentials::ready(Err(error))
    }
}
