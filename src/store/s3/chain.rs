//! AWS's chain of credentials (environment, profile, process, web identity, container, instance),
//! with its values checked and its failures told in one short sentence.

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_s3::config::Credentials as SdkCredentials;

use super::causes::one_line;
use super::settings::{Credentials, Secret};
use super::value;

/// The longest part of a foreign sentence that is passed on.
const LONGEST: usize = 160;

/// The chain; whatever it finds is trimmed, and refused where no request could carry it.
#[derive(Debug)]
pub(super) struct Checked<P>(P);

impl Checked<DefaultCredentialsChain> {
    pub async fn new(config: ProviderConfig) -> Checked<DefaultCredentialsChain> {
        Checked(DefaultCredentialsChain::builder().configure(config).build().await)
    }
}

impl<P: ProvideCredentials> ProvideCredentials for Checked<P> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { check(self.0.provide_credentials().await?) })
    }

    fn fallback_on_interrupt(&self) -> Option<SdkCredentials> {
        self.0.fallback_on_interrupt().and_then(|found| check(found).ok())
    }
}

fn check(found: SdkCredentials) -> Result<SdkCredentials, CredentialsError> {
    let trimmed = |text: &str| value::trimmed(text).unwrap_or_default().to_owned();
    let (id, secret) = (trimmed(found.access_key_id()), trimmed(found.secret_access_key()));
    let token = found.session_token().map(trimmed).filter(|token| !token.is_empty());
    let ours = Credentials {
        access_key_id: id.clone(),
        secret_access_key: Secret::new(secret.clone()),
        session_token: token.clone().map(Secret::new),
    };
    if id.is_empty() || secret.is_empty() {
        return Err(CredentialsError::not_loaded("the keys are empty"));
    }
    if let Some(problem) = ours.problem() {
        return Err(CredentialsError::invalid_configuration(problem));
    }
    let unchanged = found.access_key_id() == id
        && found.secret_access_key() == secret
        && found.session_token().unwrap_or_default() == token.as_deref().unwrap_or_default();
    // As it is it also says where it comes from.
    if unchanged {
        return Ok(found);
    }
    Ok(SdkCredentials::new(id, secret, token, found.expiry(), "chain"))
}

/// Whether a service that gives credentials refuses to, as a person must change.
pub(super) fn is_refused(error: &CredentialsError) -> bool {
    let text = one_line(error);
    let refusals = ["code: 40", "StatusCode(40", "forbidden", "AccessDenied"];
    // So the SDK calls what the metadata services of other clouds answer (404, 400): they know no
    // such credentials.
    let of_others = ["did not contain a TTL", "TTL was invalid", "invalid request parameters"];
    matches!(error, CredentialsError::ProviderError(_))
        && refusals.iter().chain(&of_others).any(|said| text.contains(said))
}

/// What went wrong, in few words: the SDK's own are hundreds of characters, some of them a debug
/// print of an answer.
pub(super) fn told(error: &CredentialsError) -> String {
    let text = one_line(error);
    let said = |word: &str| text.contains(word);
    let who = [
        ("IMDS", "the instance metadata service"),
        ("HTTP credential provider", "the container's credentials service"),
        ("WebIdentity", "AWS STS (web identity)"),
        ("AssumeRole", "AWS STS (assume role)"),
        ("process", "the credential process of the profile"),
    ];
    let who = who.into_iter().find(|(word, _)| said(word)).map(|(_, who)| who);
    match (error, who) {
        (CredentialsError::CredentialsNotLoaded(_), _) => String::new(),
        (CredentialsError::InvalidConfiguration(_), _) => {
            format!("the AWS settings in the environment or the profile are wrong: {}", innermost(error))
        }
        (_, Some(who)) if is_refused(error) => format!("{who} refuses to give credentials"),
        (_, Some(who)) => format!("{who} gives no credentials: {}", innermost(error)),
        (_, None) => format!("the AWS credentials cannot be loaded: {}", innermost(error)),
    }
}

/// The innermost cause that is a sentence for people.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let causes: Vec<_> = std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect();
    let fit = causes.iter().rev().find(|cause| !cause.contains('{') && cause.len() <= LONGEST);
    fit.map_or_else(|| "no reason is given".to_owned(), |cause| cause.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(id: &str, secret: &str, token: Option<&str>) -> Result<SdkCredentials, CredentialsError> {
        check(SdkCredentials::new(id, secret, token.map(str::to_owned), None, "test"))
    }

    #[test]
    fn keys_of_the_chain_are_trimmed_or_refused() {
        let found = checked("AKID\n", " secret\r\n", Some("token\n")).expect("usable");
        assert_eq!((found.access_key_id(), found.secret_access_key()), ("AKID", "secret"));
        assert_eq!(found.session_token(), Some("token"));
        let refused = checked("AK\nID", "hunter2", None).expect_err("a line break");
        assert!(matches!(refused, CredentialsError::InvalidConfiguration(_)));
        assert_eq!(
            told(&refused),
            "the AWS settings in the environment or the profile are wrong: `access-key-id` contains a line break; \
             check how it was copied"
        );
        assert!(checked("AKID", "hunter2", Some("to\nken")).is_err());
        assert!(matches!(checked("\n", "hunter2", None), Err(CredentialsError::CredentialsNotLoaded(_))));
    }

    #[test]
    fn a_failure_is_one_short_sentence_without_a_dump() {
        let dump = format!("error response from IMDS (code: 403). Response {{ status: 403, {} }}", "x".repeat(400));
        let error = CredentialsError::provider_error(dump);
        assert_eq!(told(&error), "the instance metadata service refuses to give credentials");
        assert!(is_refused(&error));
        let error = CredentialsError::provider_error("error response from IMDS (code: 503). Response { status: 503 }");
        assert!(!is_refused(&error) && !told(&error).contains('{'), "{}", told(&error));
        assert_eq!(told(&CredentialsError::not_loaded("x".repeat(400))), "");
    }
}
