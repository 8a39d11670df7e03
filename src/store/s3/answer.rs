//! Is this answer S3's? Asked of every answer before the SDK makes a success or an error of it.
//!
//! A captive portal, a middlebox or a web server under the same name answers as well, mostly with a
//! page, and often with 200. Taken for S3's, its 200 to a put is a backup that does not exist, its
//! page an object, its 404 a backup that is gone. What headers can tell is told here; what was
//! stored is proved in `proof.rs`. Servers differ: no single header is demanded of them, and an
//! answer that proves its content by itself needs none.

use aws_sdk_s3::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, SdkError};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use xmlparser::{ElementEnd, Token, Tokenizer};

/// Why an answer is not S3's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Foreign(String);

/// Refuses answers that are not S3's.
#[derive(Debug)]
pub(super) struct Suspicious;

#[dyn_dispatch_hint]
impl Intercept for Suspicious {
    fn name(&self) -> &'static str {
        "Suspicious"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config.load::<Metadata>().map_or("", |metadata| metadata.name());
        match foreign(operation, &Seen::of(context.response())) {
            Some(foreign) => Err(foreign.into()),
            None => Ok(()),
        }
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (response, is_list) =
            (context.response(), config.load::<Metadata>().is_some_and(|m| m.name().starts_with("List")));
        let body = response.body().bytes().unwrap_or_default();
        if is_list && response.status().is_success() && !is_complete(body) {
            return Err(Foreign("the listing is cut off or damaged".into()).into());
        }
        Ok(())
    }
}

/// What the head of an answer shows.
#[derive(Clone, Debug, Default)]
struct Seen {
    status: u16,
    /// Without parameters, in lower case.
    content_type: String,
    content_length: Option<u64>,
    /// Whether there is an ETag or a time, which every object has.
    has_version: bool,
    /// Whether there is a header that only S3 and what imitates it send.
    has_s3_header: bool,
    /// Whether there is user metadata.
    has_metadata: bool,
    /// Where it sends us: scheme and host only, for the rest may hold secrets.
    location: Option<String>,
}

impl Seen {
    fn of(response: &HttpResponse) -> Seen {
        let headers = response.headers();
        let header = |name| headers.get(name).unwrap_or_default().trim();
        let begins = |prefix: &str| headers.iter().any(|(name, _)| name.starts_with(prefix));
        Seen {
            status: response.status().as_u16(),
            content_type: media_type(header("content-type")),
            content_length: header("content-length").parse().ok(),
            has_version: headers.contains_key("etag") || headers.contains_key("last-modified"),
            has_s3_header: begins("x-amz"),
            has_metadata: begins("x-amz-meta-"),
            location: (!header("location").is_empty()).then(|| origin(header("location"))),
        }
    }

    fn is_page(&self) -> bool {
        matches!(self.content_type.as_str(), "text/html" | "application/xhtml+xml")
    }

    fn has_body(&self) -> bool {
        !matches!(self.status, 204 | 304) && self.content_length != Some(0)
    }
}

fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn origin(location: &str) -> String {
    let url = url::Url::parse(location).ok();
    let host = url.as_ref().and_then(|url| Some(format!("{}://{}", url.scheme(), url.host_str()?)));
    host.unwrap_or_else(|| "another page".to_owned())
}

/// `None`: nothing speaks against it. Pure.
fn foreign(operation: &str, seen: &Seen) -> Option<Foreign> {
    let page = || Foreign(format!("it is a web page ({})", seen.content_type));
    match (seen.status, operation) {
        // The type is the one that the object was stored with, by whomever.
        (200..=299, "GetObject" | "HeadObject") if seen.has_metadata || seen.status == 206 => None,
        (200..=299, "GetObject") if seen.is_page() => Some(page()),
        (200..=299, "HeadObject") if seen.is_page() && !seen.has_s3_header => Some(page()),
        (200..=299, "GetObject" | "HeadObject") if !seen.has_version && !seen.has_s3_header => {
            Some(Foreign("it has neither ETag nor time, as every object has".into()))
        }
        (200..=299, "PutObject" | "UploadPart") if seen.is_page() && seen.has_body() => Some(page()),
        // Some servers answer 200, but none has anything to say.
        (200..=299, "DeleteObject" | "AbortMultipartUpload") if seen.has_body() => match seen.is_page() {
            true => Some(page()),
            false if !seen.has_s3_header => Some(Foreign(format!("it has a body ({})", seen.content_type))),
            false => None,
        },
        (300..=399, _) if !seen.has_s3_header => {
            let to = seen.location.as_deref()?;
            Some(Foreign(format!("it redirects to {to}")))
        }
        // All others have a body that tells more than a type does: a server may call its XML a
        // page.
        (300..=499, "HeadObject") if seen.is_page() && !seen.has_s3_header => Some(page()),
        _ => None,
    }
}

/// Whether the body of an error, which names no code, is another server's: S3 says its errors in
/// XML, with a code. What is not there is worth more doubt than other errors are; a proxy's word
/// about the size of a body is a fact to act upon.
pub(super) fn is_foreign_error(response: &HttpResponse) -> Option<Foreign> {
    let (seen, body) = (Seen::of(response), response.body().bytes().unwrap_or_default());
    let page = seen.is_page() || is_page(body);
    match seen.status {
        _ if body.is_empty() => None,
        413 => None,
        _ if page => Some(Foreign("it is a web page".into())),
        ..300 | 404 => Some(Foreign("it has no code of S3's".into())),
        _ => None,
    }
}

/// Whether an XML document is whole and sound to its end: half a listing would look like a backup
/// with holes. The SDK takes what stands before the first fault for all there is.
fn is_complete(document: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(document) else { return false };
    let mut open = Vec::new();
    let mut roots = 0;
    for token in Tokenizer::from(text) {
        match token {
            Ok(Token::ElementStart { prefix, local, .. }) => {
                roots += usize::from(open.is_empty());
                open.push((prefix.as_str(), local.as_str()));
            }
            Ok(Token::ElementEnd { end: ElementEnd::Close(prefix, local), .. }) => {
                if open.pop() != Some((prefix.as_str(), local.as_str())) {
                    return false;
                }
            }
            Ok(Token::ElementEnd { end: ElementEnd::Empty, .. }) => drop(open.pop()),
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    roots == 1 && open.is_empty()
}

/// The id of an upload that was begun, from an answer that the SDK refuses because its root has
/// another name (rclone).
pub(super) fn upload_id_of<E>(error: &SdkError<E, HttpResponse>) -> Option<String> {
    let response = error.raw_response().filter(|response| response.status().is_success())?;
    let text = std::str::from_utf8(response.body().bytes()?).ok()?;
    let (_, rest) = text.split_once("<InitiateMultipartUpload>")?.1.split_once("<UploadId>")?;
    let id = rest.split_once("</UploadId>")?.0;
    (!id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b))).then(|| id.to_owned())
}

fn is_page(body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    let begins = |tag: &str| start.get(..tag.len()).is_some_and(|b| b.eq_ignore_ascii_case(tag.as_bytes()));
    begins("<!doctype html") || begins("<html")
}

/// A size that an answer names; 0 without one.
pub(super) fn size(given: Option<i64>) -> u64 {
    given.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

/// A time that an answer names; 0 without one.
pub(super) fn unix_ms(given: Option<&aws_sdk_s3::primitives::DateTime>) -> i64 {
    given.and_then(|t| t.to_millis().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: u16, content_type: &str, length: u64, headers: &str) -> Seen {
        Seen {
            status,
            content_type: media_type(content_type),
            content_length: Some(length),
            has_version: headers.contains('v'),
            has_s3_header: headers.contains('s') || headers.contains('m'),
            has_metadata: headers.contains('m'),
            location: headers.contains('l').then(|| "http://portal".into()),
        }
    }

    /// `v`: ETag or time, `s`: an `x-amz-…` header, `m`: user metadata, `l`: a location.
    #[test]
    fn answers_of_real_servers_pass_and_pages_do_not() {
        for (operation, status, content_type, length, headers, refused) in [
            // AWS, and those that send less: nanio has no request id, moto calls an empty body a
            // page.
            ("PutObject", 200, "", 0, "vs", false),
            ("PutObject", 200, "", 0, "v", false),
            ("PutObject", 200, "text/html; charset=utf-8", 0, "vs", false),
            ("PutObject", 200, "text/html; charset=utf-8", 0, "v", false),
            ("PutObject", 200, "text/html", 700, "v", true),
            ("PutObject", 200, "Text/HTML", 700, "vs", true),
            ("UploadPart", 200, "text/html", 700, "v", true),
            ("GetObject", 206, "application/octet-stream", 100, "v", false),
            ("GetObject", 206, "text/html", 100, "v", false),
            ("GetObject", 200, "text/html", 700, "v", true),
            ("GetObject", 200, "text/html", 700, "vsm", false),
            ("GetObject", 200, "application/json", 700, "", true),
            ("GetObject", 200, "binary/octet-stream", 700, "v", false),
            ("HeadObject", 200, "application/octet-stream", 700, "v", false),
            ("HeadObject", 200, "text/html", 700, "v", true),
            ("HeadObject", 200, "text/html", 700, "vm", false),
            ("HeadObject", 200, "text/plain", 700, "", true),
            ("HeadObject", 404, "application/xml", 0, "", false),
            ("HeadObject", 404, "text/html", 0, "s", false),
            ("HeadObject", 404, "text/html", 0, "", true),
            // The body tells.
            ("GetObject", 404, "text/html", 100, "", false),
            ("ListObjectsV2", 200, "text/html", 700, "s", false),
            ("CreateMultipartUpload", 200, "text/html", 700, "", false),
            ("ListObjectsV2", 403, "text/html", 700, "", false),
            ("ListObjectsV2", 302, "", 0, "l", true),
            ("ListObjectsV2", 302, "application/xml", 10, "ls", false),
            ("ListObjectsV2", 502, "text/html", 700, "", false),
            ("PutObject", 413, "text/html", 700, "", false),
            ("DeleteObject", 204, "text/html", 0, "", false),
            ("DeleteObject", 200, "", 0, "", false),
            ("DeleteObject", 200, "text/plain", 10, "", true),
        ] {
            let got = foreign(operation, &seen(status, content_type, length, headers));
            assert_eq!(got.is_some(), refused, "{operation} {status} {content_type} {length} {headers}: {got:?}");
        }
    }

    #[test]
    fn half_a_listing_is_none() {
        for (document, complete) in [
            ("<L></L>", true),
            ("<?xml version=\"1.0\"?>\n<!-- x --><L xmlns=\"http://x/\"><Name>b</Name></L>\n", true),
            ("<L xmlns=\"http://x/\" />", true),
            ("<L/>", true),
            ("<L><Name>b</Name>", false),
            ("<L><Name/>", false),
            ("<L><Contents><Key>a</Key></Contents></", false),
            ("<L><Name>b", false),
            // A fault in the middle, behind which the SDK reads nothing.
            ("<L><C>a</C><C x>b</C><C>c</C></L>", false),
            ("<L><C>a</C><D>b</C><C>c</C></L>", false),
            ("<L><C>a</C>\u{1}<C>c</C></L>", false),
            ("<L/><L/>", false),
            ("", false),
        ] {
            assert_eq!(is_complete(document.as_bytes()), complete, "{document}");
        }
    }

    #[test]
    fn a_redirect_is_told_without_its_secrets() {
        assert_eq!(origin("https://user:pw@portal.example/login?token=x"), "https://portal.example");
        assert_eq!(origin("/login?token=x"), "another page");
        assert!(is_page(b" \n<!DOCTYPE HTML><html>") && is_page(b"<HTML>") && !is_page(b"<?xml version='1.0'?>"));
    }
}
