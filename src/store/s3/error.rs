//! From an SDK error to the caller's next move. The only file that knows what the SDK calls its
//! failures.
//!
//! The facts are taken out first ([`Facts`]), then a pure table decides ([`verdict`]). Details
//! carry the operation, the address, S3's code and message, the HTTP status and the request id;
//! never a URL, a header or a key.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::{RequestId, RequestIdExt};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::super::StoreError;
use super::answer::{self, Foreign};
use super::chain;
use super::plain::SpeaksPlainly;
use super::route::BadProxy;

/// What was asked; decides what a 404 and a 501 mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Get, head or delete of one object: "not there" is an answer.
    Object,
    /// A create-only put.
    Create,
    /// Everything else: a 404 here means that the bucket or the upload is gone.
    Other,
}

/// What is known about a failed request.
#[derive(Debug, Default)]
struct Facts {
    /// Why there was no answer, where waiting would not help.
    hopeless: Option<Hopeless>,
    /// The HTTP status, if there was an answer.
    status: Option<u16>,
    code: Option<String>,
    /// Prose, for people only.
    message: String,
    request_id: Option<String>,
    /// The region S3 says the bucket is in.
    bucket_region: Option<String>,
    /// Somebody else answered.
    foreign: bool,
    /// `HOST:PORT` of a server that answers in plain HTTP.
    plain_at: Option<String>,
}

/// Failures before any answer that do not pass by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hopeless {
    NoCredentials,
    BadCredentialsSetting,
    UntrustedCertificate,
    NoTls,
    BadProxy,
    BadRequest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    NotFound,
    AlreadyExists,
    Denied,
    Transient,
    Permanent,
}

/// `what` is the operation and the address: `put s3://bucket/prefix/name`.
pub(super) fn map<E>(asked: Asked, what: &str, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let facts = facts(&error);
    let verdict = verdict(asked, &facts);
    let detail = describe(asked, what, &facts);
    match verdict {
        Verdict::NotFound => StoreError::NotFound { detail },
        Verdict::AlreadyExists => StoreError::AlreadyExists { detail },
        Verdict::Denied => StoreError::Denied { detail },
        Verdict::Transient => StoreError::Transient { detail },
        Verdict::Permanent => StoreError::Permanent { detail },
    }
}

/// For the entries of a batch delete, which carry a code but no HTTP status of their own.
pub(super) fn map_code(what: &str, code: Option<&str>, message: Option<&str>) -> StoreError {
    let facts =
        Facts { code: code.map(str::to_owned), message: message.unwrap_or_default().to_owned(), ..Facts::default() };
    let detail = describe(Asked::Object, what, &facts);
    match verdict(Asked::Object, &facts) {
        Verdict::NotFound => StoreError::NotFound { detail },
        Verdict::Denied => StoreError::Denied { detail },
        Verdict::Permanent => StoreError::Permanent { detail },
        Verdict::AlreadyExists | Verdict::Transient => StoreError::Transient { detail },
    }
}

fn facts<E>(error: &SdkError<E, HttpResponse>) -> Facts
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let mut facts = Facts::default();
    if let Some(response) = error.raw_response() {
        facts.status = Some(response.status().as_u16());
        facts.bucket_region = response.headers().get("x-amz-bucket-region").map(str::to_owned);
    }
    match error {
        SdkError::ServiceError(service) => {
            let metadata = service.err().meta();
            facts.code = metadata.code().map(str::to_owned);
            facts.message = metadata.message().unwrap_or_default().to_owned();
            facts.request_id = metadata.request_id().or(metadata.extended_request_id()).map(str::to_owned);
            if let Some(foreign) = answer::is_foreign_error(service.raw()).filter(|_| facts.code.is_none()) {
                facts.foreign = true;
                facts.message = not_s3s(foreign);
            }
        }
        SdkError::ResponseError(_) => {
            let foreign = causes(error).find_map(|cause| cause.downcast_ref::<Foreign>());
            facts.foreign = true;
            facts.message = foreign.map_or_else(|| not_s3s(chain(error)), not_s3s);
        }
        SdkError::TimeoutError(_) => facts.message = "no answer in time".to_owned(),
        SdkError::ConstructionFailure(_) => {
            facts.hopeless = hopeless(error).or(Some(Hopeless::BadRequest));
            facts.message = unanswered(error);
        }
        _ => {
            facts.hopeless = hopeless(error);
            facts.message = unanswered(error);
            facts.plain_at = causes(error).find_map(|cause| cause.downcast_ref::<SpeaksPlainly>()?.address.clone());
        }
    }
    facts
}

fn not_s3s(why: impl std::fmt::Display) -> String {
    format!("the answer is not S3's: {why}")
}

/// Why there was no answer. What the SDK says of credentials is too long for anybody.
fn unanswered(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(plain) = causes(error).find_map(|cause| cause.downcast_ref::<SpeaksPlainly>()) {
        return plain.to_string();
    }
    if let Some(proxy) = causes(error).find_map(|cause| cause.downcast_ref::<BadProxy>()) {
        return proxy.to_string();
    }
    causes(error).find_map(|cause| cause.downcast_ref()).map_or_else(|| chain(error), chain::told)
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |e| e.source())
}

/// Looks for the reasons that a person must remove.
fn hopeless(error: &(dyn std::error::Error + 'static)) -> Option<Hopeless> {
    for cause in causes(error) {
        match cause.downcast_ref::<CredentialsError>() {
            Some(CredentialsError::CredentialsNotLoaded(_)) => return Some(Hopeless::NoCredentials),
            Some(CredentialsError::InvalidConfiguration(_)) => return Some(Hopeless::BadCredentialsSetting),
            Some(error) if chain::is_refused(error) => return Some(Hopeless::NoCredentials),
            _ => {}
        }
        if cause.is::<SpeaksPlainly>() {
            return Some(Hopeless::NoTls);
        }
        if cause.is::<BadProxy>() {
            return Some(Hopeless::BadProxy);
        }
        // hyper buries rustls' error in `io::Error`s, whose payload is no `source`: its words are
        // all that comes through.
        if cause.to_string().contains("invalid peer certificate") {
            return Some(Hopeless::UntrustedCertificate);
        }
    }
    None
}

/// The error and its causes on one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let part = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.ends_with(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
    }
    text
}

fn verdict(asked: Asked, facts: &Facts) -> Verdict {
    if facts.foreign {
        // Of the store nothing is known.
        return Verdict::Transient;
    }
    if let Some(verdict) = facts.code.as_deref().and_then(|code| by_code(asked, code)) {
        return verdict;
    }
    match facts.status {
        Some(401 | 403) => Verdict::Denied,
        Some(404) if asked == Asked::Object => Verdict::NotFound,
        Some(412) if asked == Asked::Create => Verdict::AlreadyExists,
        Some(501) => Verdict::Permanent,
        Some(408 | 409 | 425 | 429 | 500..) => Verdict::Transient,
        // An error inside a success, or an answer that is not S3's (a captive portal): nothing is
        // known.
        Some(..=299) => Verdict::Transient,
        Some(_) => Verdict::Permanent,
        None => match facts.hopeless {
            Some(Hopeless::NoCredentials) => Verdict::Denied,
            Some(_) => Verdict::Permanent,
            None => Verdict::Transient,
        },
    }
}

fn by_code(asked: Asked, code: &str) -> Option<Verdict> {
    Some(match code {
        "NoSuchKey" | "NotFound" | "NoSuchVersion" if asked == Asked::Object => Verdict::NotFound,
        "NoSuchBucket" | "InvalidBucketName" | "BucketAlreadyExists" => Verdict::Permanent,
        "PreconditionFailed" if asked == Asked::Create => Verdict::AlreadyExists,
        "PreconditionFailed" => Verdict::Permanent,
        "ConditionalRequestConflict" | "OperationAborted" => Verdict::Transient,
        // The SDK has learned the server's time from this answer; the next request is signed with
        // it.
        "RequestTimeTooSkewed" => Verdict::Transient,
        "AccessDenied"
        | "AccessForbidden"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "TokenRefreshRequired"
        | "InvalidToken"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "Unauthorized"
        | "UnauthorizedAccess"
        | "AuthorizationHeaderMalformed" => Verdict::Denied,
        "SlowDown"
        | "InternalError"
        | "ServiceUnavailable"
        | "RequestTimeout"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        // Something of a large upload did not get there as it was sent, or is gone: it begins anew.
        | "BadDigest"
        | "IncompleteBody"
        | "InvalidPart"
        | "NoSuchUpload"
        | "BandwidthLimitExceeded"
        | "Busy" => Verdict::Transient,
        "NotImplemented"
        | "MethodNotAllowed"
        | "PermanentRedirect"
        | "EntityTooLarge"
        | "QuotaExceeded"
        | "KMS.DisabledException" => Verdict::Permanent,
        _ => return None,
    })
}

fn describe(asked: Asked, what: &str, facts: &Facts) -> String {
    let mut text = what.to_owned();
    let mut say = |part: &str| {
        text.push_str(": ");
        text.push_str(part);
    };
    if let Some(code) = &facts.code {
        say(code);
    }
    if !facts.message.is_empty() && facts.code.as_ref() != Some(&facts.message) {
        say(facts.message.trim_end_matches('.'));
    }
    if let Some(hint) = hint(asked, facts).or_else(|| odd_path(what, facts)) {
        say(&hint);
    }
    let mut traces = Vec::new();
    traces.extend(facts.status.map(|status| format!("HTTP {status}")));
    traces.extend(facts.request_id.as_ref().map(|id| format!("request {id}")));
    if !traces.is_empty() {
        text.push_str(&format!(" ({})", traces.join(", ")));
    }
    text
}

/// Stores on a file system refuse keys that are no clean path.
fn odd_path(what: &str, facts: &Facts) -> Option<String> {
    let key = what.split_once("s3://")?.1.split_once('/')?.1;
    let is_odd = key.split('/').any(|part| matches!(part, "." | "..")) || key.starts_with('/') || key.contains("//");
    let hint = "this store may take only paths without empty, `.` and `..` parts; write it without them";
    (is_odd && facts.status == Some(400)).then(|| hint.to_owned())
}

/// What a person can do about it.
fn hint(asked: Asked, facts: &Facts) -> Option<String> {
    let code = facts.code.as_deref().unwrap_or_default();
    if let Some(region) = &facts.bucket_region
        && (matches!(facts.status, Some(301 | 307)) || code == "AuthorizationHeaderMalformed")
    {
        return Some(format!("the bucket is in region {region}; set region: {region}"));
    }
    if let Some(address) = &facts.plain_at {
        return Some(format!("it answers in plain HTTP; write http://{address}"));
    }
    let hint = match (code, facts.status) {
        ("NoSuchBucket", _) => "create the bucket, or correct its name",
        ("RequestTimeTooSkewed", _) => "the clock of this machine is wrong",
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch", _) => "check access-key-id, secret-access-key and region",
        ("ExpiredToken" | "TokenRefreshRequired" | "InvalidToken", _) => "the session token is no longer valid",
        (_, Some(412)) if asked == Asked::Create => "exists already",
        (_, Some(501)) if asked == Asked::Create => {
            "this store does not implement create-if-absent (If-None-Match), so a second writer could not be kept out"
        }
        _ if facts.foreign => "a portal or a proxy in between, or another server than S3 at this endpoint",
        (_, Some(413)) if code.is_empty() => {
            "a proxy in between refuses bodies of this size; raise its limit (nginx: client_max_body_size)"
        }
        (_, Some(301 | 307)) => "the bucket is in another region or behind another endpoint",
        _ => match facts.hopeless? {
            Hopeless::NoCredentials => {
                "no credentials found; set access-key-id and secret-access-key, or give this machine a role"
            }
            Hopeless::UntrustedCertificate => {
                "the server's certificate is not trusted; name its CA in AWS_CA_BUNDLE or SSL_CERT_FILE"
            }
            Hopeless::NoTls => "write http:// in front of the endpoint, if it is the right one",
            Hopeless::BadProxy => "correct it, or name the host in NO_PROXY",
            Hopeless::BadCredentialsSetting | Hopeless::BadRequest => return None,
        },
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(asked: Asked, status: u16, code: &str) -> Verdict {
        let code = (!code.is_empty()).then(|| code.to_owned());
        verdict(asked, &Facts { status: Some(status), code, ..Facts::default() })
    }

    #[test]
    fn every_answer_has_one_next_move() {
        use Asked::{Create, Object, Other};
        use Verdict::*;
        for (asked, status, code, expected) in [
            (Object, 404, "NoSuchKey", NotFound),
            (Object, 404, "", NotFound),
            (Object, 404, "NoSuchBucket", Permanent),
            (Other, 404, "NoSuchBucket", Permanent),
            (Other, 404, "", Permanent),
            (Other, 404, "NoSuchUpload", Transient),
            (Other, 400, "InvalidPart", Transient),
            (Create, 404, "", Permanent),
            (Create, 412, "PreconditionFailed", AlreadyExists),
            (Create, 412, "", AlreadyExists),
            (Object, 412, "PreconditionFailed", Permanent),
            (Create, 409, "ConditionalRequestConflict", Transient),
            (Create, 501, "NotImplemented", Permanent),
            (Create, 501, "", Permanent),
            (Object, 401, "", Denied),
            (Object, 403, "", Denied),
            (Object, 403, "AccessDenied", Denied),
            (Other, 403, "InvalidAccessKeyId", Denied),
            (Other, 403, "SignatureDoesNotMatch", Denied),
            (Other, 400, "ExpiredToken", Denied),
            (Other, 403, "RequestTimeTooSkewed", Transient),
            (Other, 408, "", Transient),
            (Other, 429, "", Transient),
            (Other, 500, "InternalError", Transient),
            (Other, 502, "", Transient),
            (Other, 503, "SlowDown", Transient),
            (Other, 503, "UnheardOf", Transient),
            (Other, 200, "InternalError", Transient),
            (Other, 200, "", Transient),
            (Other, 301, "PermanentRedirect", Permanent),
            (Other, 400, "EntityTooLarge", Permanent),
            (Other, 400, "InvalidArgument", Permanent),
        ] {
            assert_eq!(judge(asked, status, code), expected, "{asked:?} {status} {code}");
        }
    }

    #[test]
    fn silence_is_transient_unless_waiting_cannot_help() {
        let judge = |hopeless| verdict(Asked::Other, &Facts { hopeless, ..Facts::default() });
        assert_eq!(judge(None), Verdict::Transient);
        assert_eq!(judge(Some(Hopeless::UntrustedCertificate)), Verdict::Permanent);
        assert_eq!(judge(Some(Hopeless::NoCredentials)), Verdict::Denied);
        assert_eq!(hopeless(&CredentialsError::not_loaded("x")), Some(Hopeless::NoCredentials));
        assert_eq!(hopeless(&CredentialsError::provider_error("the metadata service is away")), None);
    }

    #[test]
    fn details_say_what_where_and_what_to_do() {
        let facts = Facts {
            status: Some(301),
            code: Some("PermanentRedirect".into()),
            message: "Use the right endpoint.".into(),
            request_id: Some("R1".into()),
            bucket_region: Some("eu-west-1".into()),
            ..Facts::default()
        };
        assert_eq!(
            describe(Asked::Other, "list s3://b/p", &facts),
            "list s3://b/p: PermanentRedirect: Use the right endpoint: the bucket is in region eu-west-1; \
             set region: eu-west-1 (HTTP 301, request R1)"
        );
        let unimplemented = Facts { status: Some(501), code: Some("NotImplemented".into()), ..Facts::default() };
        assert!(describe(Asked::Create, "put s3://b/k", &unimplemented).contains("create-if-absent"));
    }

    #[test]
    fn entries_of_a_batch_are_judged_by_their_code() {
        assert!(matches!(map_code("delete k", Some("AccessDenied"), None), StoreError::Denied { .. }));
        assert!(matches!(map_code("delete k", Some("NoSuchKey"), None), StoreError::NotFound { .. }));
        assert!(matches!(map_code("delete k", Some("InternalError"), Some("x")), StoreError::Transient { .. }));
        assert!(matches!(map_code("delete k", Some("Odd"), None), StoreError::Transient { .. }));
    }
}
