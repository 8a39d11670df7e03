//! What becomes of the keys of one replica.

use super::super::yaml;
use super::*;

fn try_build(root: &str, replica: &str, env: &[(&str, &str)]) -> Result<(Replica, Vec<String>), String> {
    let text = format!("{root}\ndbs:\n  - replica: {replica}\n");
    let root = yaml::parse("f", &text)?.root;
    let own = root.sections("dbs").and_then(|dbs| dbs[0].section("replica")).expect("replica");
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    let mut warnings = Vec::new();
    let context = PathContext { cwd: Path::new("/srv"), env: &env };
    from_section(own, &root, context, &mut warnings).map(|replica| (replica, warnings))
}

fn s3(root: &str, replica: &str, env: &[(&str, &str)]) -> Settings {
    match try_build(root, replica, env).expect(replica).0.target {
        Target::S3(settings) => (*settings).clone(),
        Target::File { path } => panic!("{replica} is {}", path.display()),
    }
}

fn problem(replica: &str) -> String {
    try_build("", replica, &[]).err().unwrap_or_else(|| panic!("{replica} was accepted"))
}

#[test]
fn buckets_by_url_and_by_keys() {
    let target = s3("", "{url: 's3://b.nyc3.digitaloceanspaces.com/app'}", &[]);
    assert_eq!((target.bucket.as_str(), target.prefix.as_str()), ("b", "app"));
    assert_eq!(target.endpoint.as_deref(), Some("https://nyc3.digitaloceanspaces.com"));
    assert_eq!((target.region.as_deref(), target.force_path_style), (Some("nyc3"), false));
    let target = s3("", "{type: s3, bucket: b, path: /lead/slash/}", &[]);
    assert_eq!(target.prefix, "/lead/slash/", "a path from the file is verbatim");
    assert_eq!((target.region, target.endpoint), (None, None));
    assert_eq!(s3("", "{type: s3, bucket: b}", &[]).prefix, "");
    assert_eq!(s3("", "{url: 's3://b'}", &[]).prefix, ".");
}

#[test]
fn the_file_beats_the_url_and_the_global_keys() {
    let root = "region: global\nstorage-class: COLD\nbucket: elsewhere\nsync-interval: 5s";
    let target = s3(root, "{url: 's3://b/p?region=url&storage-class=HOT', region: own}", &[]);
    assert_eq!(target.bucket, "b", "a global bucket does not contradict a url");
    assert_eq!((target.region.as_deref(), target.storage_class.as_deref()), (Some("own"), Some("COLD")));
    let (replica, _) = try_build(root, "{type: s3, path: p}", &[]).expect("global bucket");
    assert_eq!((replica.url.as_str(), replica.sync_interval), ("s3://elsewhere/p", Duration::from_secs(5)));
}

#[test]
fn an_endpoint_means_path_style_unless_told_otherwise() {
    let target = s3("", "{type: s3, bucket: b, path: p, endpoint: 'minio.example.com'}", &[]);
    assert_eq!(target.endpoint.as_deref(), Some("https://minio.example.com"));
    assert_eq!((target.force_path_style, target.region.as_deref()), (true, Some("us-east-1")));
    let own = "{type: s3, bucket: b, endpoint: 'https://x', force-path-style: false}";
    assert!(!s3("", own, &[]).force_path_style);
    assert!(!s3("", "{url: 's3://b/p?endpoint=http://127.0.0.1:9000&forcePathStyle=false'}", &[]).force_path_style);
    assert!(s3("", "{url: 's3://b/p', endpoint: 'https://x'}", &[]).force_path_style);
}

#[test]
fn providers_bring_their_defaults() {
    let tigris = s3("", "{url: 's3://b/p?endpoint=fly.storage.tigris.dev&region=auto'}", &[]);
    assert!(tigris.sign_payload && !tigris.require_content_md5);
    assert_eq!(s3("", "{url: 's3://b.acc.r2.cloudflarestorage.com/p'}", &[]).concurrency, 2);
    let r2 = "{type: s3, bucket: b, concurrency: 9, endpoint: 'https://acc.r2.cloudflarestorage.com'}";
    assert_eq!(s3("", r2, &[]).concurrency, 9);
    assert!(s3("", "{url: 's3://b/p'}", &[]).require_content_md5);
}

#[test]
fn credentials_in_order_of_precedence() {
    let litestream = [("LITESTREAM_ACCESS_KEY_ID", "lid"), ("LITESTREAM_SECRET_ACCESS_KEY", "lsecret")];
    let aws = [("AWS_ACCESS_KEY_ID", "aid"), ("AWS_SECRET_ACCESS_KEY", "asecret")];
    let both = [litestream, aws].concat();
    let keys = |root: &str, url: &str, env: &[(&str, &str)]| {
        let credentials = s3(root, &format!("{{url: '{url}'}}"), env).credentials?;
        assert_eq!(credentials.session_token, None);
        Some((credentials.access_key_id, credentials.secret_access_key.expose().to_owned()))
    };
    let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
    let root = "access-key-id: id\nsecret-access-key: secret";
    assert_eq!(keys(root, "s3://u:v@b/p", &both), pair("id", "secret"));
    assert_eq!(keys("", "s3://u:v@b/p", &both), pair("u", "v"));
    assert_eq!(keys("", "s3://b/p", &both), None, "AWS_* is the SDK's business");
    assert_eq!(keys("", "s3://b/p", &litestream), pair("lid", "lsecret"));
    assert_eq!(keys("", "s3://b/p", &[]), None);
    let mixed = [("AWS_ACCESS_KEY_ID", "aid"), ("LITESTREAM_SECRET_ACCESS_KEY", "lsecret")];
    assert_eq!(keys("", "s3://b/p", &mixed), pair("aid", "lsecret"));
    // As the user's file looks when the variables are not set: empty values are absent values.
    assert_eq!(keys("access-key-id:\nsecret-access-key: ''", "s3://b/p", &litestream), pair("lid", "lsecret"));
    let (_, warnings) = try_build("access-key-id: id", "{url: 's3://b/p'}", &[]).expect("valid");
    assert_eq!(warnings, ["access-key-id is not used, because secret-access-key is not set"]);
}

#[test]
fn what_surrounds_a_value_goes_and_what_is_wrong_inside_is_refused() {
    let root = r#"{access-key-id: "id\n", secret-access-key: " secret\r\n", session-token: "token\n","#;
    let replica = format!(
        r#"{root} type: s3, bucket: "b\n", path: p, region: "eu-west-1\n", endpoint: " http://minio:9000\n"}}"#
    );
    let target = s3("", &replica, &[]);
    let credentials = target.credentials.expect("keys");
    assert_eq!((credentials.access_key_id.as_str(), credentials.secret_access_key.expose()), ("id", "secret"));
    assert_eq!(credentials.session_token.as_ref().map(Secret::expose), Some("token"));
    assert_eq!((target.bucket.as_str(), target.region.as_deref()), ("b", Some("eu-west-1")));
    assert_eq!(target.endpoint.as_deref(), Some("http://minio:9000"));
    let env = [("LITESTREAM_ACCESS_KEY_ID", "lid\n"), ("LITESTREAM_SECRET_ACCESS_KEY", "\n")];
    assert_eq!(s3("", "{url: 's3://b/p'}", &env).credentials, None, "a secret of one newline is none");
    assert_eq!(s3("", "{url: 's3://id%0A:s%0A@b/p'}", &[]).credentials.expect("keys").access_key_id, "id");
    for (key, value) in [("region", "eu\\nwest"), ("endpoint", "http://mi\\nnio"), ("storage-class", "A\\nB")] {
        let told = problem(&format!(r#"{{type: s3, bucket: b, path: p, {key}: "{value}"}}"#));
        assert!(told.starts_with(&format!("`{key}` contains a line break")), "{told}");
    }
    assert!(problem("{url: 's3://i%0Ad:hunter2@b/p'}").contains("`access-key-id` contains a line break"));
    assert!(problem("{url: 's3://b/p%0Aq'}").contains("`path` contains a line break"));
    assert!(problem("{url: 's3://b', endpoint: 'https://h/x?y'}").contains("address alone"));
}

#[test]
fn encryption_is_checked() {
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let target = s3("", &format!("{{url: 's3://b/p', sse-customer-key: '{key}'}}"), &[]);
    assert_eq!(target.sse.customer_key, Some(Secret::new(key)));
    assert_eq!(target.sse.customer_algorithm.as_deref(), Some("AES256"));
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("key");
    std::fs::write(&file, format!("{key}\n")).expect("write");
    let target = s3("", &format!("{{url: 's3://b/p', sse-customer-key-path: '{}'}}", file.display()), &[]);
    assert_eq!(target.sse.customer_key, Some(Secret::new(key)));
    assert!(problem("{url: 's3://b/p', sse-customer-key: hunter2}").contains("32 bytes"));
    assert!(problem("{url: 's3://b/p', sse-customer-key-path: /nonexistent/key}").contains("/nonexistent/key"));
    assert!(problem(&format!("{{url: 's3://b', sse-customer-key: '{key}', sse-kms-key-id: k}}")).contains("exclude"));
    let plain = format!("{{url: 's3://b', endpoint: 'http://s3.example.com', sse-customer-key: '{key}'}}");
    assert!(problem(&plain).contains("unencrypted"));
}

#[test]
fn directories_and_mistakes() {
    let path = |replica: &str| match try_build("", replica, &[("HOME", "/home/me")]).expect(replica).0.target {
        Target::File { path } => path,
        Target::S3(_) => panic!("{replica}"),
    };
    assert_eq!(path("{path: backup}"), Path::new("/srv/backup"));
    assert_eq!(path("{type: file, path: ~/b}"), Path::new("/home/me/b"));
    assert_eq!(path("{url: 'file:///backup'}"), Path::new("/backup"));
    assert_eq!(path("{url: '', path: /b}"), Path::new("/b"));
    assert!(problem("{}").contains("neither `url` nor `path`"));
    assert!(problem("{url: ''}").contains("empty"));
    assert!(problem("{path: 's3://b/x'}").contains("write it as `url`"));
    assert!(problem("{path: 'sqlite:///data/app.db'}").contains("names a SQLite database"));
    assert!(problem("{url: 's3://b/x', path: y}").contains("remove one"));
    assert!(problem("{bucket: b, path: p}").contains("type: s3"));
    assert!(problem("{type: s3, path: p}").contains("`bucket`"));
    assert!(problem("{type: sftp, path: p}").contains("`sftp` replicas are not supported yet"));
    assert!(problem("{url: 's3://b', endpoint: 'https://u:hunter2@h'}").contains("holds a user"));
    assert!(problem("{url: 's3://b', endpoint: 'https://'}").contains("address of a server"));
    assert!(problem("{url: 's3://b', concurrency: 0}").contains("greater than zero"));
    assert!(problem("{url: 's3://b', part-size: 1KB}").contains("S3's limits"), "what no request could repair");
}
