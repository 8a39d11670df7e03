//! Which URLs are understood, and with which words others are refused.

use super::*;

pub fn s3(text: &str) -> S3Location {
    match parse(text) {
        Ok(Location::S3(location)) => *location,
        Ok(Location::File(path)) => panic!("{text} is the directory {path}"),
        Err(error) => panic!("{text}: {error}"),
    }
}

fn file(text: &str) -> String {
    match parse(text) {
        Ok(Location::File(path)) => path,
        _ => panic!("{text} is not a directory"),
    }
}

fn error(text: &str) -> String {
    parse(text).err().unwrap_or_else(|| panic!("{text} was read"))
}

#[test]
fn directories() {
    assert_eq!(file("file:///backup/app/"), "/backup/app");
    assert_eq!(file("file:///a/../b?x=1"), "/b");
    assert_eq!(file("file://backup/app"), "/backup/app");
    assert_eq!(file("/backup/app"), "/backup/app");
    assert_eq!(file("~/backup"), "~/backup");
    assert!(error("backup/app").contains("no scheme"), "a forgotten s3:// must not become a directory");
    assert!(error("").contains("empty"));
    assert!(error("file://").contains("names no directory"));
}

#[test]
fn prefixes_are_cleaned_as_litestream_does() {
    let cases = [
        ("s3://b/some/prefix/", "some/prefix"),
        ("s3://b", "."),
        ("s3://b/", ""),
        ("s3://b//x///y/./z/../w", "x/y/w"),
        ("s3://b/../x", "x"),
        ("s3://b/a%20b+c", "a b+c"),
        ("s3://b?region=r", "."),
        ("s3://b/x#fragment", "x"),
    ];
    for (text, prefix) in cases {
        assert_eq!(s3(text).prefix, prefix, "{text}");
    }
    assert!(error("s3://b/100%").contains("%25"));
    assert_eq!(s3("S3://My_Bucket/x").bucket, "My_Bucket", "names keep their case");
}

#[test]
fn a_host_without_a_bucket_is_an_error() {
    for text in [
        "s3:///path",
        "s3://nyc3.digitaloceanspaces.com/p",
        "s3://s3.fr-par.scw.cloud/p",
        "s3://s3.filebase.com/b/p",
        "s3://localhost:9000/b",
        "s3://127.0.0.1:9000/b",
        "s3://acc.r2.cloudflarestorage.com/b",
    ] {
        assert!(error(text).contains("names no bucket"), "{text}");
    }
}

/// (url, bucket, region, endpoint, path style)
type Case = (&'static str, &'static str, &'static str, &'static str, Option<bool>);

const PROVIDERS: &[Case] = &[
    ("s3://b/p", "b", "", "", None),
    ("s3://my.dotted.bucket/p", "my.dotted.bucket", "", "", None),
    ("s3://b.s3.amazonaws.com/p", "b", "", "", None),
    ("s3://my.b.s3.eu-west-1.amazonaws.com/p", "my.b", "eu-west-1", "", None),
    ("s3://b.nyc3.digitaloceanspaces.com/p", "b", "nyc3", "https://nyc3.digitaloceanspaces.com", Some(false)),
    ("s3://my.b.ams3.digitaloceanspaces.com/p", "my.b", "ams3", "https://ams3.digitaloceanspaces.com", Some(true)),
    ("s3://b.nyc3.digitaloceanspaces.com:443/p", "b", "nyc3", "https://nyc3.digitaloceanspaces.com:443", Some(false)),
    (
        "s3://b.s3.eu-central-003.backblazeb2.com/p",
        "b",
        "eu-central-003",
        "https://s3.eu-central-003.backblazeb2.com",
        Some(true),
    ),
    ("s3://b.s3.fr-par.scw.cloud/p", "b", "fr-par", "https://s3.fr-par.scw.cloud", Some(false)),
    ("s3://b.s3.filebase.com/p", "b", "us-east-1", "https://s3.filebase.com", Some(true)),
    ("s3://b.us-east-1.linodeobjects.com/p", "b", "us-east-1", "https://us-east-1.linodeobjects.com", Some(true)),
    ("s3://b.fsn1.your-objectstorage.com/p", "b", "fsn1", "https://fsn1.your-objectstorage.com", Some(false)),
    ("s3://b.acc.r2.cloudflarestorage.com/p", "b", "auto", "https://acc.r2.cloudflarestorage.com", Some(false)),
    ("s3://b.acc.eu.r2.cloudflarestorage.com/p", "b", "auto", "https://acc.eu.r2.cloudflarestorage.com", Some(false)),
    ("s3://b.fly.storage.tigris.dev/p", "b", "auto", "https://fly.storage.tigris.dev", Some(false)),
    ("s3://b.localhost:9000/p", "b", "us-east-1", "http://localhost:9000", Some(true)),
    ("s3://b.localhost/p", "b", "us-east-1", "http://localhost", Some(true)),
    ("s3://b.minio:9000/p", "b", "us-east-1", "http://minio:9000", Some(true)),
    ("s3://b.127.0.0.1:9000/p", "b", "us-east-1", "http://127.0.0.1:9000", Some(true)),
    ("s3://b.minio.example.com:9000/p", "b", "us-east-1", "http://minio.example.com:9000", Some(true)),
];

#[test]
fn hosts_of_providers() {
    for (text, bucket, region, endpoint, path_style) in PROVIDERS {
        let Ok(Location::S3(location)) = parse(text) else { panic!("{text} is not on S3") };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        assert_eq!(location.bucket, *bucket, "{text}");
        assert_eq!(location.region, some(region), "{text}");
        assert_eq!(location.endpoint, some(endpoint), "{text}");
        assert_eq!(location.force_path_style, *path_style, "{text}");
        assert_eq!(location.prefix, "p", "{text}");
    }
}

#[test]
fn access_points_are_buckets() {
    let arn = "arn:aws:s3:us-east-2:123456789012:accesspoint/my-point";
    let location = s3(&format!("s3://{arn}/a/b/?skip-verify=1"));
    assert_eq!((location.bucket.as_str(), location.prefix.as_str()), (arn, "a/b"));
    assert_eq!((location.region.as_deref(), location.skip_verify), (Some("us-east-2"), Some(true)));
    assert_eq!(s3(&format!("s3://{arn}")).prefix, "");
    assert!(error("s3://arn:aws:s3:us-east-2:1:accesspoint/").contains("ARN"));
    assert!(error("s3://arn:aws:s3:us-east-2:1:bucket/x").contains("ARN"));
}

#[test]
fn other_kinds_are_refused_by_name() {
    for kind in ["gs", "abs", "oss", "sftp", "webdav", "webdavs", "nats", "gcs"] {
        let error = error(&format!("{kind}://user:hunter2@host/path"));
        assert!(error.contains(&format!("`{kind}` replicas are not supported yet")), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    assert!(error("http://x").contains("`http` is not a kind of replica"));
}

#[test]
fn user_and_password_are_keys_and_never_shown() {
    let text = "s3://id:se%2Fcret@b/p?region=r&sse-customer-key=hunter2&x=hunter3";
    assert_eq!(redact(text), "s3://redacted@b/p?region=r&sse-customer-key=redacted&x=redacted");
    assert_eq!(redact("s3://id:sl/ash@b/p"), "s3://redacted@b/p");
    assert_eq!(redact("s3://b/me@home"), "s3://b/me@home");
    assert_eq!(redact("/plain"), "/plain");
    let location = s3("s3://id:se%2Fcret@b/p");
    assert_eq!(location.access_key_id.as_deref(), Some("id"));
    assert_eq!(location.secret_access_key.as_deref(), Some("se/cret"));
    assert_eq!(location.bucket, "b");
}

#[test]
fn database_paths_are_not_urls() {
    assert!(is_url("s3://b/x") && is_url("file:///x") && is_url("sftp://h/x"));
    assert!(!is_url("/data/app.db") && !is_url("sqlite:///data/app.db") && !is_url("sqlite3://app.db"));
    assert!(!is_url("C:/x") && !is_url("://x") && !is_url("a-b://x"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_text_breaks_the_parser(text in "(s3|file|gs)?(://)?[a-z.:/%@?&=#~0-9é-]{0,40}") {
        let _ = parse(&text);
        let _ = redact(&text);
    }

    #[test]
    fn no_password_survives_redaction(
        password in "[a-zA-Z0-9/%+]{8,20}",
        host in "[a-z]{1,8}",
        path in "(/[a-z]{1,5}){0,3}",
    ) {
        let shown = redact(&format!("s3://u:{password}@{host}{path}?region=r&sseCustomerKey={password}"));
        proptest::prop_assert!(!shown.contains(&password), "{shown}");
        proptest::prop_assert!(shown.contains(&host), "{shown}");
    }

    #[test]
    fn clean_paths_are_clean(path in "(/|[a-b]|\\.){0,12}") {
        let once = clean_path(&path);
        proptest::prop_assert_eq!(clean_path(&once), once.clone());
        proptest::prop_assert!(!once.contains("//") && !once.contains("/./"), "{}", once);
    }
}
