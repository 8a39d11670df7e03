//! What a failed request means for the caller: a table. Pure.

use super::{Asked, Facts, Hopeless};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    NotFound,
    AlreadyExists,
    Denied,
    Transient,
    Permanent,
}

pub(super) fn verdict(asked: Asked, facts: &Facts) -> Verdict {
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
    }
}
