//! One replica: its own keys, the file's global defaults, its URL and the environment, settled into
//! a [`Replica`].
//!
//! Precedence, as Litestream's: the replica's key, the global key, the URL, the provider's default.
//! For access keys: the file, the URL, `AWS_*` (left to the SDK, which also knows profiles and
//! roles), `LITESTREAM_*`.
//!
//! Errors are sentences without a place; the caller knows which replica it is. No sentence holds a
//! secret.

use std::path::Path;
use std::sync::Arc;
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

    /// A value that becomes a part of a header or an address, without the spaces and line breaks
    /// around it.
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

/// The replica that a section of the file describes: where it is, and how often something is
/// uploaded.
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

/// The place of the replica: its URL for display, and how to reach it.
fn place(keys: &Keys<'_>, context: PathContext<'_>, warnings: &mut Vec<String>) -> Result<(String, Target), String> {
    let own = keys.own;
    let path = own.text("path");
    if path.is_some_and(url::is_url) {
        return Err("`path` holds a url; write it as `url`".into());
    }
    let other = ["path", "bucket"].into_iter().find(|name| own.text(name).is_some());
    // An empty url counts as none if other keys say the place, as in Litestream.
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
    settings.problem().map_or(Ok(Target::S3(Arc::new(settings))), Err)
}

fn endpoint(location: &S3Location, keys: &Keys<'_>) -> Result<Option<String>, String> {
    // Unlike one in a URL, an endpoint in the file without a scheme is always HTTPS, as in
    // Litestream.
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

/// The keys that sign the requests; `None` leaves them to the AWS chain.
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
    // AWS's own chain sees them, unless they are in files.
    let in_files = ["AWS_ACCESS_KEY_ID_FILE", "AWS_SECRET_ACCESS_KEY_FILE", "AWS_SESSION_TOKEN_FILE"];
    if aws.0.is_some() && aws.1.is_some() && !in_files.iter().any(|name| env(name).is_some()) {
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
    // An algorithm without a key has no effect.
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
mod tests;
