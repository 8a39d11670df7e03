//! Create-if-absent where the store refuses the condition: look, put, look again.
//!
//! Most stores honour `If-None-Match: *`, some ignore it (`store/probe.rs` finds that out), and
//! some refuse the request for it (Backblaze B2, OVH, Alibaba, Swift: 400 or 501). Whether the
//! condition was the cause shows when the same put without it succeeds; then it is left out from
//! there on. What is there is still never replaced knowingly, and what a rival put at the same
//! moment is seen by whoever was first; but between the look and the put there is a gap that no
//! client can close, and a warning says so.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::super::{Key, Result, Store, StoreError};
use super::S3Store;

/// What was learned about a bucket's store. Shared by all replicas in it.
#[derive(Debug, Default)]
pub(super) struct Habits {
    /// It has refused a batch delete and knows only single ones.
    pub deletes_singly: AtomicBool,
    /// It has answered a conditional put with a success or with 412, so no refusal is about the
    /// condition.
    pub knows_conditions: AtomicBool,
    /// It refuses conditional puts.
    pub refuses_conditions: AtomicBool,
    /// It answers a range with the whole object.
    pub ignores_ranges: AtomicBool,
    /// It keeps keys as they are sent, also those that others rewrite.
    pub keeps_keys: AtomicBool,
    /// It lists keys that do not begin with the prefix.
    pub lists_unasked: AtomicBool,
}

/// Codes that say what else is wrong with the request.
const OTHER_CAUSES: [&str; 16] = [
    "AuthorizationHeaderMalformed",
    "BadDigest",
    "EntityTooLarge",
    "EntityTooSmall",
    "ExpiredToken",
    "IncompleteBody",
    "InvalidBucketName",
    "InvalidDigest",
    "InvalidPart",
    "InvalidPartOrder",
    "InvalidStorageClass",
    "KeyTooLongError",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
];

/// Whether a conditional request may have been refused for its condition.
pub(super) fn may_be_refused<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let SdkError::ServiceError(service) = error else { return false };
    may_be_about_it(service.raw().status().as_u16(), service.err().code())
}

fn may_be_about_it(status: u16, code: Option<&str>) -> bool {
    matches!(status, 400 | 405 | 422 | 501) && !code.is_some_and(|code| OTHER_CAUSES.contains(&code))
}

impl S3Store {
    /// Whether to send the condition with a create.
    pub(super) fn sends_conditions(&self) -> bool {
        !self.habits.refuses_conditions.load(Relaxed)
    }

    /// Whether this refusal of a create may be one of the condition, which leaving it out would
    /// cure.
    pub(super) fn may_go_without<E: ProvideErrorMetadata>(&self, error: &SdkError<E, HttpResponse>) -> bool {
        !self.habits.knows_conditions.load(Relaxed) && may_be_refused(error)
    }

    /// A create with the condition was answered by a success or by "exists already".
    pub(super) fn condition_was_understood(&self) {
        self.habits.knows_conditions.store(true, Relaxed);
    }

    /// The create that was refused has succeeded without its condition.
    pub(super) fn condition_was_refused(&self) {
        if !self.habits.refuses_conditions.swap(true, Relaxed) {
            tracing::warn!(
                "{} refuses If-None-Match: two writers on this path could overwrite each other; make sure that only one writes there",
                self.address()
            );
        }
    }

    /// Looks before a create: the error when something is there.
    pub(super) async fn require_absent(&self, key: &Key) -> Result<()> {
        match self.head(key).await {
            Ok(_) => Err(StoreError::AlreadyExists {
                detail: format!("{}: it already exists", self.what("create", key.as_str())),
            }),
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The same after a refusal, which stays the reason where it cannot be looked at.
    pub(super) async fn require_absent_or(&self, key: &Key, refusal: StoreError) -> Result<()> {
        tracing::debug!("{refusal}; trying without the condition");
        match self.require_absent(key).await {
            Err(error) if !matches!(error, StoreError::AlreadyExists { .. }) => Err(refusal),
            answered => answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_another_reason_is_none_of_the_condition() {
        for (status, code, expected) in [
            (501, Some("NotImplemented"), true),
            (501, None, true),
            (400, Some("InvalidArgument"), true),
            (400, Some("InvalidRequest"), true),
            (400, None, true),
            (400, Some("IncompleteBody"), false),
            (400, Some("EntityTooLarge"), false),
            (412, Some("PreconditionFailed"), false),
            (403, Some("AccessDenied"), false),
            (503, Some("SlowDown"), false),
        ] {
            assert_eq!(may_be_about_it(status, code), expected, "{status} {code:?}");
        }
    }
}
