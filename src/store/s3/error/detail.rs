//! What failed, on what, and what to do about it, as one sentence. Pure.

use super::{Asked, Facts, Hopeless};

pub(super) fn describe(asked: Asked, what: &str, facts: &Facts) -> String {
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
    if let Some(hint) = hint(asked, facts).or_else(|| missing_right(what, facts)).or_else(|| odd_path(what, facts)) {
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

/// The right that a refused request needs. Stores say the same when the bucket is another's.
fn missing_right(what: &str, facts: &Facts) -> Option<String> {
    let code = facts.code.as_deref().unwrap_or_default();
    if facts.foreign || !(code == "AccessDenied" || code.is_empty() && facts.status == Some(403)) {
        return None;
    }
    let right = match what.split_once(' ')?.0 {
        "list" => "s3:ListBucket",
        "get" | "head" => "s3:GetObject",
        "put" | "create" | "start" | "complete" | "prove" => "s3:PutObject",
        "delete" => "s3:DeleteObject",
        _ => return None,
    };
    Some(format!("let the keys have {right} there, or correct the bucket and the path"))
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
        let denied = Facts { status: Some(403), code: Some("AccessDenied".into()), ..Facts::default() };
        let said = describe(Asked::Create, "create s3://b/k", &denied);
        assert_eq!(
            said,
            "create s3://b/k: AccessDenied: let the keys have s3:PutObject there, or correct the bucket and the path (HTTP 403)"
        );
        let unimplemented = Facts { status: Some(501), code: Some("NotImplemented".into()), ..Facts::default() };
        assert!(describe(Asked::Create, "put s3://b/k", &unimplemented).contains("create-if-absent"));
    }
}
