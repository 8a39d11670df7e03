//! From an SDK error to the caller's next move. The only file that knows what the SDK calls its
//! failures.
//!
//! The facts are taken out first ([`Facts`]), then a pure table decides ([`verdict`]). Details
//! carry the operation, the address, S3's code and message, the HTTP status and the request id;
//! never a URL, a header or a key.

mod detail;
mod verdict;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::{RequestId, RequestIdExt};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::super::StoreError;
use super::answer::{self, Foreign};
use super::causes::{causes, one_line};
use super::chain;
use super::plain::SpeaksPlainly;
use super::proxy::BadProxy;

use detail::describe;
use verdict::{Verdict, verdict};

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
    /// The answer is not S3's.
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
            facts.message = foreign.map_or_else(|| not_s3s(one_line(error)), not_s3s);
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
    causes(error).find_map(|cause| cause.downcast_ref()).map_or_else(|| one_line(error), chain::told)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_credentials_errors_are_hopeless() {
        assert_eq!(hopeless(&CredentialsError::not_loaded("x")), Some(Hopeless::NoCredentials));
        assert_eq!(hopeless(&CredentialsError::provider_error("the metadata service is away")), None);
    }

    #[test]
    fn entries_of_a_batch_are_judged_by_their_code() {
        assert!(matches!(map_code("delete k", Some("AccessDenied"), None), StoreError::Denied { .. }));
        assert!(matches!(map_code("delete k", Some("NoSuchKey"), None), StoreError::NotFound { .. }));
        assert!(matches!(map_code("delete k", Some("InternalError"), Some("x")), StoreError::Transient { .. }));
        assert!(matches!(map_code("delete k", Some("Odd"), None), StoreError::Transient { .. }));
    }
}
