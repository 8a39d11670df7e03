//! Reads: the right range or an error, and never a byte more or less than the answer promised.
//!
//! Some servers ignore `Range` and send the whole object, some send another range. Such bytes look like a backup and are
//! none, so what the answer says about itself is checked before the first byte is handed on.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::super::{Chunks, Key, Range, Result, Store, StoreError};
use super::error::{self, Asked};
use super::{S3Store, with_customer_key};

/// Servers count in 63 bits, and some take a larger number for no number at all.
const OFFSET_MAX: u64 = i64::MAX as u64;

pub(super) async fn get(store: &S3Store, key: &Key, range: Range) -> Result<Chunks> {
    let what = store.what("get", key.as_str());
    let Range { start, len } = range;
    if len == 0 {
        // HTTP has no empty range.
        return empty(store, key, start).await;
    }
    let header = match start.checked_add(len - 1) {
        Some(last) if last <= OFFSET_MAX => format!("bytes={start}-{last}"),
        _ => format!("bytes={}-", start.min(OFFSET_MAX)),
    };
    let request = with_customer_key!(store, store.client.get_object())
        .bucket(&store.settings.bucket)
        .key(store.object(key.as_str()))
        .range(header);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.raw_response().is_some_and(|r| r.status().as_u16() == 416) => {
            return Err(StoreError::NotFound { detail: format!("{what}: the range is past the end") });
        }
        Err(error) => return Err(error::map(Asked::Object, &what, error)),
    };
    let length = answer.content_length().and_then(|n| u64::try_from(n).ok());
    let left = match answered(range, answer.content_range(), length) {
        Ok(left) => left,
        Err(why) => return Err(StoreError::Permanent { detail: format!("{what}: {why}") }),
    };
    let download = Download { body: answer.body, left, what };
    Ok(stream::try_unfold(download, Download::next_chunk).boxed())
}

/// An empty read at `start` of an object that must reach so far.
async fn empty(store: &S3Store, key: &Key, start: u64) -> Result<Chunks> {
    if start >= store.head(key).await?.size {
        return Err(StoreError::NotFound {
            detail: format!("{}: the range is past the end", store.what("get", key.as_str())),
        });
    }
    Ok(stream::empty().boxed())
}

/// How many bytes will come, if the answer fits the question. `Err` says what is wrong with it.
fn answered(
    asked: Range,
    content_range: Option<&str>,
    length: Option<u64>,
) -> std::result::Result<Option<u64>, String> {
    let whole = asked.start == 0 && length.is_some_and(|length| length <= asked.len);
    let Some(text) = content_range else {
        // Harmless when the range was the whole object.
        return if whole { Ok(length) } else { Err("the store ignored the range that was asked for".into()) };
    };
    let wrong = || format!("the store answered {asked:?} with another range: {text}");
    let (first, last, total) = parse_content_range(text).ok_or_else(wrong)?;
    let end = asked.start.saturating_add(asked.len);
    let right = first == asked.start && last + 1 == total.map_or(last + 1, |total| total.min(end)) && last < end;
    if right { Ok(Some(last + 1 - first)) } else { Err(wrong()) }
}

/// `bytes 0-99/1000`; the total may be `*`.
fn parse_content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start_matches(['=', ' ']).split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last && last < u64::MAX).then_some((first, last, total))
}

/// A body on its way, and how much of it is still owed.
struct Download {
    body: ByteStream,
    left: Option<u64>,
    what: String,
}

impl Download {
    async fn next_chunk(mut self) -> Result<Option<(Bytes, Download)>> {
        let broken = |why: String| StoreError::Transient { detail: format!("{}: {why}", self.what) };
        match self.body.next().await {
            Some(Ok(chunk)) => {
                if let Some(left) = &mut self.left {
                    *left = left
                        .checked_sub(chunk.len() as u64)
                        .ok_or_else(|| broken("more bytes came than were promised".into()))?;
                }
                Ok(Some((chunk, self)))
            }
            Some(Err(error)) => Err(broken(format!("the answer broke off: {}", error::chain(&error)))),
            None => match self.left {
                None | Some(0) => Ok(None),
                Some(left) => Err(broken(format!("the answer ended {left} bytes early"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_range_that_was_asked_for_is_accepted() {
        let part = |start, len| Range { start, len };
        for (asked, content_range, length, expected) in [
            (Range::WHOLE, None, Some(7), Some(Some(7))),
            (Range::WHOLE, Some("bytes 0-6/7"), Some(7), Some(Some(7))),
            (part(0, 10), Some("bytes 0-9/100"), Some(10), Some(Some(10))),
            (part(95, 10), Some("bytes 95-99/100"), Some(5), Some(Some(5))),
            (part(95, 10), Some("bytes 95-99/*"), Some(5), Some(Some(5))),
            (part(5, u64::MAX), Some("bytes 5-99/100"), Some(95), Some(Some(95))),
            (part(0, 10), Some("bytes 0-8/100"), Some(9), None),
            (part(0, 10), Some("bytes 0-99/100"), Some(100), None),
            (part(1, 10), Some("bytes 0-9/100"), Some(10), None),
            (part(1, 10), Some("garbage"), Some(10), None),
            (part(1, 10), None, Some(100), None),
            (part(0, 10), None, Some(100), None),
            (part(0, 100), None, Some(100), Some(Some(100))),
            (part(0, 100), None, None, None),
        ] {
            let got = answered(asked, content_range, length);
            assert_eq!(got.clone().ok(), expected, "{asked:?} {content_range:?} {length:?}: {got:?}");
        }
    }
}
