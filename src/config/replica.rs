//! One replica: its own keys, the file's global defaults, its URL and the environment, settled into a [`Replica`].
//!
//! Precedence, as Litestream's: the replica's key, the global key, the URL, the provider's default. For access keys: the
//! file, the URL, `AWS_*` (left to the SDK, which also knows profiles and roles), `LITESTREAM_*`.
//!
//! Errors are sentences without a place; the caller knows which replica it is. No sentence holds a secret.

use std::path::Path;
use std::time::Duration;

use crate::fsx;
use crate::store::s3::{Credentials, Secret, Settings, Sse, provider, trimmed};

use super::options::Replica;
use super::paths::PathContext;
use super::section::Section;
use super::target::Target;
use super::url::{self, Location, S3Location};

/// A replica's own keys in front of the global ones.
struct Keys<'a> {
    own: &'a Section,
    global: &'a Section,
}

impl Keys<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.own.text(name).or_else(|| self.global.text(name)).map(str::to_owned)
    }

    /// A value that becomes a part of a header or an address, without the spaces and line breaks around it.
    fn value(&self, name: &str) -> Option<String> {
        tidy(self.own.text(name)).or_else(|| tidy(self.global.text(name)))
    }

    fn bool(&self, name: &str) -> Option<bool> {
        self.own.bool(name).or_else(|| self.global.bool(name))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.own.number(name).or_else(|| self.global.number(name))
    }

    fn duration(&self, name: &str) -> Option<Duration> {
        self.own.duration(name).or_else(|| self.global.duration(name))
    }
}

fn tidy(value: Option<&str>) -> Option<String> {
    value.and_then(trimmed).map(str::to_owned)
}

/// The replica that a URL alone describes.
pub fn from_url(url: &str, context: PathContext<'_>) -> Result<Replica, String> {
    let keys = Keys { own: &Section::default(), global: &Section::default() };
    let target = at_url(url, &keys, context, &mut Vec::new())?;
    Ok(Replica::new(url::redact(url), target))
}

/// The replica that a section of the file describes: where it is, and how often something is uploaded.
pub fn from_section(
    own: &Section,
    global: &Section,
    context: PathContext<'_>,
    warnings: &mut Vec<String>,
) -> Result<Replica, String> {
    let keys = Keys { own, global };
    let (url, target) = place(&keys, context, warnings)?;
    let sync_interval = keys.duration("sync-interval").unwrap_or(Replica::SYNC_INTERVAL);
    let replica = Replica { sync_interval, ..Replica::new(url, target) };
    Ok(match own.text("name") {
        None => replica,
        Some(name) if name.contains(char::is_control) => return Err("`name` contains a line break".into()),
        Some(name) => Replica { name: name.to_owned(), ..replica },
    })
}

/// Where it is, as it is shown and as it is reached.
fn place(keys: &Keys<'_>, context: PathContext<'_>, warnings: &mut Vec<String>) -> Result<(String, Target), String> {
    let own = keys.own;
    let path = own.text("path");
    if path.is_some_and(url::is_url) {
        return Err("`path` holds a url; write it as `url`".into());
    }
    let other = ["path", "bucket"].into_iter().find(|name| own.text(name).is_some());
    // An empty url is as good as none where something else says the place, as in Litestream.
    if let Some(url) = own.text("url").or_else(|| (own.has("url") && other.is_none()).then_some("")) {
        if let Some(other) = other {
            return Err(format!("`url` and `{other}` say the same thing; remove one"));
        }
        return Ok((url::redact(url), at_url(url, keys, context, warnings)?));
    }
    match own.text("type").unwrap_or("file") {
        "file" if own.text("bucket").is_some() => {
            Err("a `bucket` needs `type: s3`; without it the replica would be a local directory".into())
        }
        "file" => {
            let path = path.ok_or("it says neither `url` nor `path`; add for example `url: s3://BUCKET/PATH`")?;
            Ok((path.to_owned(), directory(path, context)?))
        }
        "s3" => {
            let bucket = keys.value("bucket").ok_or("it says neither `url` nor `bucket`")?;
            let location = S3Location { prefix: path.unwrap_or_default().to_owned(), bucket, ..S3Location::default() };
            let url = format!("s3://{}/{}", location.bucket, location.prefix);
            Ok((url, bucket_target(location, keys, context, warnings)?))
        }
        other => Err(url::unsupported_type(other)),
    }
}

fn at_url(url: &str, keys: &Keys<'_>, context: PathContext<'_>, warnings: &mut Vec<String>) -> Result<Target, String> {
    match url::parse(url)? {
        Location::File(path) => directory(&path, context),
        Location::S3(location) => bucket_target(*location, keys, context, warnings),
    }
}

fn directory(path: &str, context: PathContext<'_>) -> Result<Target, String> {
    if path.split_once("://").is_some_and(|(scheme, _)| scheme.to_ascii_lowercase().starts_with("sqlite")) {
        return Err("`path` names a SQLite database; a replica needs a directory, or a `url`".into());
    }
    Ok(Target::File { path: context.absolute(Path::new(path))? })
}

fn bucket_target(
    location: S3Location,
    keys: &Keys<'_>,
    context: PathContext<'_>,
    warnings: &mut Vec<String>,
) -> Result<Target, String> {
    let endpoint = endpoint(&location, keys)?;
    let provider = provider::defaults(endpoint.as_deref().unwrap_or_default());
    let credentials = credentials(&location, keys, context, warnings);
    let force_path_style = path_style(&location, keys);
    let sse = encryption(&location, keys, context)?;
    // Without an endpoint the bucket's region can be asked for; with one it hardly ever matters.
    let by_default = endpoint.as_ref().map(|_| provider::DEFAULT_REGION.to_owned());
    let concurrency = keys.number("concurrency").or(location.concurrency);
    let concurrency = concurrency.map(usize::try_from).transpose().map_err(|_| "`concurrency` is too large")?;
    let plain = Settings::new(location.bucket, location.prefix);
    let settings = Settings {
        region: keys.value("region").or_else(|| tidy(location.region.as_deref())).or(by_default),
        endpoint,
        scheme_is_assumed: keys.value("endpoint").map_or(location.scheme_is_assumed, |e| !e.contains("://")),
        credentials,
        force_path_style,
        skip_verify: location.skip_verify.or_else(|| keys.bool("skip-verify")).unwrap_or(plain.skip_verify),
        sign_payload: keys.bool("sign-payload").or(location.sign_payload).unwrap_or(provider.sign_payload),
        require_content_md5: keys
            .bool("require-content-md5")
            .or(location.require_content_md5)
            .unwrap_or(provider.require_content_md5),
        storage_class: keys.value("storage-class").or_else(|| tidy(location.storage_class.as_deref())),
        part_size: keys.number("part-size").or(location.part_size).unwrap_or(plain.part_size),
        concurrency: concurrency.unwrap_or(provider.concurrency),
        sse,
        ..plain
    };
    settings.problem().map_or(Ok(Target::S3(Box::new(settings))), Err)
}

fn endpoint(location: &S3Location, keys: &Keys<'_>) -> Result<Option<String>, String> {
    // Unlike one in a URL, an endpoint in the file without a scheme is always HTTPS, as in Litestream.
    let configured = keys.value("endpoint").map(|e| if e.contains("://") { e } else { format!("https://{e}") });
    let Some(endpoint) = configured.or_else(|| tidy(location.endpoint.as_deref())) else { return Ok(None) };
    match ::url::Url::parse(&endpoint) {
        Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            Err("`endpoint` holds a user or password; use `access-key-id` and `secret-access-key`".into())
        }
        Ok(parsed) if parsed.query().is_some() || parsed.fragment().is_some() => {
            Err("`endpoint` has a `?` or `#` in it; write the server's address alone".into())
        }
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => Ok(Some(endpoint)),
        _ => {
            Err("`endpoint` is not the address of a server; write for example https://nyc3.digitaloceanspaces.com"
                .into())
        }
    }
}

fn path_style(location: &S3Location, keys: &Keys<'_>) -> bool {
    if let Some(asked) = keys.bool("force-path-style") {
        return asked;
    }
    if location.path_style_is_explicit {
        return location.force_path_style.unwrap_or(false);
    }
    keys.value("endpoint").is_some() || location.force_path_style.unwrap_or(false)
}

/// What signs the requests; `None` leaves it to the AWS chain.
fn credentials(
    location: &S3Location,
    keys: &Keys<'_>,
    context: PathContext<'_>,
    warnings: &mut Vec<String>,
) -> Option<Credentials> {
    let signing = |access_key_id, secret: String, session_token: Option<String>| Credentials {
        access_key_id,
        secret_access_key: Secret::new(secret),
        session_token: session_token.map(Secret::new),
    };
    match (keys.value("access-key-id"), keys.value("secret-access-key")) {
        (Some(id), Some(secret)) => return Some(signing(id, secret, keys.value("session-token"))),
        (Some(_), None) => warnings.push("access-key-id is not used, because secret-access-key is not set".into()),
        (None, Some(_)) => warnings.push("secret-access-key is not used, because access-key-id is not set".into()),
        (None, None) => {}
    }
    let in_url = (tidy(location.access_key_id.as_deref()), tidy(location.secret_access_key.as_deref()));
    if let (Some(id), Some(secret)) = in_url {
        return Some(signing(id, secret, None));
    }
    let env = |name: &str| tidy((context.env)(name).as_deref());
    let aws = (env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"));
    if aws.0.is_some() && aws.1.is_some() {
        return None;
    }
    let id = aws.0.or_else(|| env("LITESTREAM_ACCESS_KEY_ID"))?;
    let secret = aws.1.or_else(|| env("LITESTREAM_SECRET_ACCESS_KEY"))?;
    Some(signing(id, secret, env("AWS_SESSION_TOKEN")))
}

fn encryption(location: &S3Location, keys: &Keys<'_>, context: PathContext<'_>) -> Result<Sse, String> {
    let kms_key_id = keys.value("sse-kms-key-id").or_else(|| tidy(location.sse_kms_key_id.as_deref()));
    let customer_key = match keys.text("sse-customer-key-path") {
        Some(path) => Some(read_key(&path, context)?),
        None => keys.value("sse-customer-key").or_else(|| tidy(location.sse_customer_key.as_deref())),
    };
    let algorithm = keys.value("sse-customer-algorithm").or_else(|| tidy(location.sse_customer_algorithm.as_deref()));
    // Without a key an algorithm means nothing.
    let customer_algorithm = customer_key.as_ref().map(|_| algorithm.unwrap_or_else(|| Sse::ALGORITHM.to_owned()));
    Ok(Sse { customer_algorithm, customer_key: customer_key.map(Secret::new), kms_key_id })
}

fn read_key(path: &str, context: PathContext<'_>) -> Result<String, String> {
    let path = context.absolute(Path::new(path))?;
    let bytes = fsx::read(&path).map_err(|error| format!("`sse-customer-key-path`: {error}"))?;
    let text =
        String::from_utf8(bytes).map_err(|_| format!("`sse-customer-key-path`: {} is not text", path.display()))?;
    Ok(trimmed(&text).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
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
            Target::S3(settings) => *settings,
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
        assert!(
            problem(&format!("{{url: 's3://b', sse-customer-key: '{key}', sse-kms-key-id: k}}")).contains("exclude")
        );
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
}
