//! Is it stored? A success is believed when the answer proves what was sent; else the object is
//! looked at.
//!
//! ```text
//!   answer ── ETag = MD5 of the body (of several parts: MD5 of their MD5s, "-", their number)
//!          │                                                ──▶ proved, no further request
//!          ── x-amz-checksum-crc32 = CRC-32 of the body (AWS, also where KMS makes the ETag)
//!          │                                                ──▶ proved
//!          ── any other ETag (SSE-KMS, SSE-C, stores with a way of their own)
//!               ──▶ HEAD: size and our metadata             ──▶ proved
//!                   else                                    ──▶ the last bytes, read back
//! ```
//!
//! Only the store knows the MD5 of a body: a portal's ETag, or none at all, proves nothing. What a
//! HEAD does not find was not stored, so it is sent again; what it finds instead is another
//! writer's, and the caller reads it.

use aws_smithy_types::base64;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use futures_util::TryStreamExt;
use md5::{Digest, Md5};

use super::super::{Key, Range, Result, StoreError};
use super::{Metadata, S3Store, download};

/// Of these many bytes at its end an object is known: an LTX file ends with a checksum of all of
/// it.
const TAIL_BYTES: usize = 64 * 1024;

pub(super) type Md5Sum = [u8; 16];

pub(super) fn md5(bytes: &[u8]) -> Md5Sum {
    Md5::digest(bytes).into()
}

/// Whether an answer about a body, or a part of one, proves that it is the one that was sent.
pub(super) fn names(etag: Option<&str>, crc32: Option<&str>, bytes: &[u8], sum: &Md5Sum) -> bool {
    let by_etag = etag.is_some_and(|etag| is_etag(etag, &hex(sum)));
    by_etag || crc32.is_some_and(|given| given == crc32_of(bytes))
}

fn crc32_of(bytes: &[u8]) -> String {
    let sum = u32::try_from(checksum(CrcAlgorithm::Crc32IsoHdlc, bytes)).unwrap_or_default();
    base64::encode(sum.to_be_bytes())
}

/// Quotes, case and the mark of a weak ETag differ from server to server.
pub(super) fn is_etag(given: &str, expected: &str) -> bool {
    let given = given.trim();
    given.strip_prefix("W/").unwrap_or(given).trim_matches('"').eq_ignore_ascii_case(expected)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The ETag of an object that was uploaded in parts.
pub(super) fn base64_md5(bytes: &[u8]) -> String {
    aws_smithy_types::base64::encode(md5(bytes))
}

pub(super) fn etag_of_parts(parts: &[Md5Sum]) -> String {
    format!("{}-{}", hex(&md5(parts.as_flattened())), parts.len())
}

/// What was sent.
pub(super) struct Sent {
    pub len: u64,
    /// The ETag it has where ETags are made of MD5.
    pub etag: String,
    pub metadata: Metadata,
    /// Its last bytes.
    pub tail: Bytes,
}

impl Sent {
    /// A copy, so that the whole body need not stay in memory for it.
    pub fn tail_of(bytes: &[u8]) -> Bytes {
        Bytes::copy_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..])
    }

    /// Looks at the object. `by_content`: what a rival may have stored at the same moment must be
    /// told from ours, so size and metadata are not enough.
    pub async fn prove(&self, store: &S3Store, key: &Key, by_content: bool) -> Result<()> {
        let what = store.what("prove", key.as_str());
        let (head, etag) = match store.head_with_etag(key).await {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => {
                let detail = format!("{what}: the answer to the put is not S3's: nothing was stored");
                return Err(StoreError::Transient { detail });
            }
            Err(StoreError::Denied { detail }) => {
                let detail = format!(
                    "{detail}; the store's ETag is not the MD5 of what was sent, so the object must be looked at to know that \
                     it is stored: allow s3:GetObject"
                );
                return Err(StoreError::Denied { detail });
            }
            Err(error) => return Err(error),
        };
        if head.size != self.len {
            let why = format!("it has {} bytes instead of {}", head.size, self.len);
            return Err(other(&what, &why, by_content));
        }
        if self.tail.is_empty() || etag.is_some_and(|etag| is_etag(&etag, &self.etag)) {
            return Ok(());
        }
        if !by_content && self.is_in(&head.metadata) {
            return Ok(());
        }
        let tail = self.tail.len() as u64;
        let range = Range { start: self.len - tail, len: tail };
        let chunks: Vec<Bytes> = download::get(store, key, range).await?.try_collect().await?;
        match chunks.concat() == self.tail {
            true => Ok(()),
            false => Err(other(&what, "it ends with other bytes", by_content)),
        }
    }

    /// Whether an object with this metadata is the one that was sent. Without any it is unknown.
    fn is_in(&self, metadata: &[(String, String)]) -> bool {
        let ours = self.metadata.iter().flatten();
        let kept = |(name, value): (&String, &String)| metadata.iter().any(|(n, v)| n == name && v == value);
        self.metadata.is_some() && ours.into_iter().all(kept)
    }
}

/// Another object than ours is there. After a put without a condition that is a rival's; after one
/// with a condition the answers contradict each other, and asking again tells which is right.
fn other(what: &str, why: &str, rival: bool) -> StoreError {
    match rival {
        true => StoreError::AlreadyExists { detail: format!("{what}: another object is there: {why}") },
        false => StoreError::Transient { detail: format!("{what}: the answer to the put is not S3's: {why}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_proves_the_body_or_nothing() {
        let body = b"hello";
        let sum = md5(body);
        let named = |etag, crc32| names(etag, crc32, body, &sum);
        for etag in [
            "\"5d41402abc4b2a76b9719d911017c592\"",
            "5d41402abc4b2a76b9719d911017c592",
            "\"5D41402ABC4B2A76B9719D911017C592\"",
            "W/\"5d41402abc4b2a76b9719d911017c592\"",
        ] {
            assert!(named(Some(etag), None), "{etag}");
        }
        for etag in ["", "\"1\"", "\"5d41402abc4b2a76b9719d911017c593\"", "\"5d41402abc4b2a76b9719d911017c592-1\""] {
            assert!(!named(Some(etag), None), "{etag}");
        }
        assert!(!named(None, None));
        // As AWS answers where KMS makes the ETag.
        assert!(named(Some("\"0c78aef83f66abc1fa1e8477f296d394\""), Some("NhCmhg==")));
        assert!(!named(Some("\"0c78aef83f66abc1fa1e8477f296d394\""), Some("NhCmhQ==")));
    }

    #[test]
    fn parts_have_an_etag_of_their_own_form() {
        let parts = [md5(b"a"), md5(b"b")];
        assert_eq!(etag_of_parts(&parts), format!("{}-2", hex(&md5(parts.as_flattened()))));
    }
}
