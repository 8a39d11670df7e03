//! Replica URLs, in every form that either of Litestream's generations takes.
//!
//! Pure: text in, parts out. Nothing here prints a URL except through [`redact`], and no error
//! quotes a value of one.
//!
//! Litestream's two parsers differ in small ways. Where they do, its current command line wins;
//! what only one of them knows (the dashed query parameters) is known here too.

use crate::store::s3::provider;

mod query;

/// The parts of a replica URL, before configuration and environment are applied.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A path, not yet absolute: `file://` or bare.
    File(String),
    S3(Box<S3Location>),
}

/// The parts of an `s3://` URL. `None` means that the URL does not say.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct S3Location {
    pub bucket: String,
    /// Verbatim what goes before `/0000/`: `.` when the URL has no path at all, as Litestream
    /// writes it.
    pub prefix: String,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    /// The query's endpoint has none.
    pub scheme_is_assumed: bool,
    /// From the query, or as the provider's host asks for it.
    pub force_path_style: Option<bool>,
    /// The query says so.
    pub path_style_is_explicit: bool,
    pub skip_verify: Option<bool>,
    pub sign_payload: Option<bool>,
    pub require_content_md5: Option<bool>,
    pub storage_class: Option<String>,
    pub part_size: Option<u64>,
    pub concurrency: Option<u64>,
    pub sse_customer_algorithm: Option<String>,
    pub sse_customer_key: Option<String>,
    pub sse_kms_key_id: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
}

/// Whether a command line argument is a replica's URL and not a database's path: a word and `://`,
/// but not SQLite's own.
pub fn is_url(text: &str) -> bool {
    scheme(text).is_some_and(|(scheme, _)| !matches!(scheme, "sqlite" | "sqlite3"))
}

fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let word = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    word.then_some((scheme, rest))
}

/// Reads a replica's URL. Errors are sentences without the URL in them; the caller says which
/// replica it is.
pub fn parse(text: &str) -> Result<Location, String> {
    if text.is_empty() {
        return Err("the url is empty".into());
    }
    let Some((scheme, rest)) = scheme(text) else {
        // `mybucket/app` would quietly become a directory on the very disk that is to be backed up.
        let is_path = ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start));
        return if is_path {
            Ok(Location::File(text.to_owned()))
        } else {
            Err("the url has no scheme; write s3://BUCKET/PATH, or file:///PATH for a directory".into())
        };
    };
    match scheme.to_ascii_lowercase().as_str() {
        "file" => {
            let path = rest.split('?').next().unwrap_or(rest);
            if path.is_empty() {
                return Err("the url names no directory; write file:///PATH".into());
            }
            // `file://dir` means `/dir`, as in Litestream.
            Ok(Location::File(clean_path(&format!("/{path}"))))
        }
        "s3" => parse_s3(rest).map(|location| Location::S3(Box::new(location))),
        "sqlite" | "sqlite3" => Err("the url names a SQLite database; a replica needs s3://… or file://…".into()),
        other => Err(unsupported_type(other)),
    }
}

/// The sentence for a kind of replica that is known but not there yet, or not known at all.
pub fn unsupported_type(kind: &str) -> String {
    match kind {
        "gs" | "gcs" | "abs" | "oss" | "sftp" | "webdav" | "webdavs" | "nats" => {
            format!("`{kind}` replicas are not supported yet; use s3 or file")
        }
        _ => format!("`{kind}` is not a kind of replica; use s3 or file"),
    }
}

fn parse_s3(rest: &str) -> Result<S3Location, String> {
    let rest = rest.split('#').next().unwrap_or(rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut location = if place.to_ascii_lowercase().starts_with("arn:") {
        parse_access_point(place)?
    } else {
        let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let (userinfo, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let provider::HostParts { bucket, region, endpoint, force_path_style } = provider::split_host(host);
        let path = percent_decode(path)?;
        let prefix = clean_path(&path).trim_start_matches('/').to_owned();
        let mut location = S3Location { bucket, prefix, region, endpoint, force_path_style, ..S3Location::default() };
        if let Some((id, secret)) = userinfo.and_then(|user| user.split_once(':')) {
            location.access_key_id = Some(percent_decode(id)?);
            location.secret_access_key = Some(percent_decode(secret)?);
        }
        location
    };
    query::apply(&mut location, query)?;
    if location.bucket.is_empty() {
        return Err("the url names no bucket; write s3://BUCKET/PATH or s3://BUCKET.HOST/PATH".into());
    }
    Ok(location)
}

/// `arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME[/PATH]`: the ARN is the bucket.
fn parse_access_point(place: &str) -> Result<S3Location, String> {
    const MARKER: &str = ":accesspoint/";
    let malformed =
        || "the url's ARN is not one of an access point (arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME)".into();
    let name_at = place.to_ascii_lowercase().find(MARKER).map(|at| at + MARKER.len()).ok_or_else(malformed)?;
    let name_len = place[name_at..].find('/').unwrap_or(place.len() - name_at);
    if name_len == 0 {
        return Err(malformed());
    }
    let (bucket, path) = place.split_at(name_at + name_len);
    Ok(S3Location {
        bucket: bucket.to_owned(),
        prefix: if path.is_empty() { String::new() } else { clean_path(path).trim_start_matches('/').to_owned() },
        region: bucket.split(':').nth(3).filter(|region| !region.is_empty()).map(str::to_owned),
        ..S3Location::default()
    })
}

/// A URL fit for logs: no user, no password, no encryption key.
pub fn redact(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let authority_len = place.find('/').unwrap_or(place.len());
    // A raw question mark in a password moves the at-sign into the query.
    if let Some(at) = query.and_then(|query| query.rfind('@'))
        && place[..authority_len].contains(':')
        && !place.contains('@')
    {
        return redact(&format!("{scheme}://redacted@{}", &rest[place.len() + 1 + at + 1..]));
    }
    // A raw slash in a password moves the at-sign behind the first slash: hide up to the last one
    // in that case.
    let place =
        match place[..authority_len].rfind('@').or_else(|| place[..authority_len].find(':').and(place.rfind('@'))) {
            Some(at) => format!("redacted@{}", &place[at + 1..]),
            None => place.to_owned(),
        };
    let query = query.map_or_else(String::new, |query| {
        let shown = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if query::canonical(name).is_none_or(|name| name.contains("key")) => {
                format!("{name}=redacted")
            }
            _ => pair.to_owned(),
        });
        format!("?{}", shown.collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}://{place}{query}")
}

/// Go's `path.Clean`: no empty, `.` or resolvable `..` segments, no slash at the end, `.` for
/// nothing.
pub fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if rooted => {}
            segment => kept.push(segment),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

fn percent_decode(text: &str) -> Result<String, String> {
    let malformed = || String::from("the url has a malformed %-escape; write %25 for a percent sign");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).ok_or_else(malformed)?;
        if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(malformed());
        }
        bytes.push(u8::from_str_radix(hex, 16).map_err(|_| malformed())?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests;
