//! Reads: the right range or an error, and never a byte more or less than the answer promised.
//!
//! Some servers ignore `Range` and send the whole object, some send another range. Such bytes look
//! like a backup and are none, so what the answer says about itself is checked before the first
//! byte is handed on. Where it says that it holds more than was asked for, the rest is left out:
//! that is slower, but it is the right range.

use std::sync::atomic::Ordering::Relaxed;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::super::{Chunks, Key, Range, Result, Store, StoreError};
use super::causes;
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
    let cut = match cut(range, answer.content_range(), length) {
        Ok(Some(cut)) => cut,
        Ok(None) => return Err(StoreError::NotFound { detail: format!("{what}: the range is past the end") }),
        // A store that is well may be behind one that is not.
        Err(why) => return Err(StoreError::Transient { detail: format!("{what}: the answer is not S3's: {why}") }),
    };
    if (cut.skip > 0 || cut.more) && !store.habits.ignores_ranges.swap(true, Relaxed) {
        tracing::warn!("{} answers with more than the range that was asked for: reading will be slow", store.address());
    }
    let download = Download { body: answer.body, cut, what };
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

/// What to make of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    /// Bytes in front of the range.
    skip: u64,
    /// Bytes of the range still owed; `None`: all that come.
    left: Option<u64>,
    /// Whether more bytes follow, which were not asked for.
    more: bool,
}

/// How to get the range out of the answer; `Ok(None)`: the object ends before it. `Err` says what
/// is wrong with the answer.
fn cut(asked: Range, content_range: Option<&str>, length: Option<u64>) -> std::result::Result<Option<Cut>, String> {
    let end = asked.start.saturating_add(asked.len);
    let Some(text) = content_range else {
        // The whole object.
        let Some(length) = length else { return Err("it has neither a range nor a length".into()) };
        let cut =
            Cut { skip: asked.start, left: Some(length.min(end).saturating_sub(asked.start)), more: length > end };
        return Ok((asked.start < length).then_some(cut));
    };
    let wrong = || format!("it has another range than {asked:?}: {text}");
    let (first, last, total) = parse_content_range(text).ok_or_else(wrong)?;
    // Fewer bytes only where the object ends.
    let reaches = last + 1 >= total.map_or(last + 1, |total| total.min(end));
    if first > asked.start || last < asked.start || !reaches || length.is_some_and(|length| length != last + 1 - first)
    {
        return Err(wrong());
    }
    let left = Some(end.min(last + 1) - asked.start);
    Ok(Some(Cut { skip: asked.start - first, left, more: last >= end }))
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
    cut: Cut,
    what: String,
}

impl Download {
    async fn next_chunk(mut self) -> Result<Option<(Bytes, Download)>> {
        let broken = |why: String| StoreError::Transient { detail: format!("{}: {why}", self.what) };
        let cut = &mut self.cut;
        if cut.more && cut.left == Some(0) {
            return Ok(None);
        }
        match self.body.next().await {
            Some(Ok(mut chunk)) => {
                // Nothing of what is skipped is handed on, but that something came: it must not
                // seem to stall.
                let skipped =
                    chunk.split_to(usize::try_from(cut.skip).map_or(chunk.len(), |skip| skip.min(chunk.len())));
                cut.skip -= skipped.len() as u64;
                if let Some(left) = &mut cut.left {
                    let wanted = usize::try_from(*left).map_or(chunk.len(), |left| left.min(chunk.len()));
                    if wanted < chunk.len() && !cut.more {
                        return Err(broken("more bytes came than were promised".into()));
                    }
                    chunk.truncate(wanted);
                    *left -= wanted as u64;
                }
                Ok(Some((chunk, self)))
            }
            Some(Err(error)) => Err(broken(format!("the answer broke off: {}", causes::one_line(&error)))),
            None => match cut.left {
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
    fn the_range_that_was_asked_for_is_found_in_the_answer() {
        let part = |start, len| Range { start, len };
        // Bytes to skip, bytes to take, and whether more follow.
        for (asked, content_range, length, expected) in [
            (Range::WHOLE, None, Some(7), Some((0, 7, false))),
            (Range::WHOLE, Some("bytes 0-6/7"), Some(7), Some((0, 7, false))),
            (part(0, 10), Some("bytes 0-9/100"), Some(10), Some((0, 10, false))),
            (part(95, 10), Some("bytes 95-99/100"), Some(5), Some((0, 5, false))),
            (part(95, 10), Some("bytes 95-99/*"), Some(5), Some((0, 5, false))),
            (part(5, u64::MAX), Some("bytes 5-99/100"), Some(95), Some((0, 95, false))),
            (part(0, 100), None, Some(100), Some((0, 100, false))),
            // More than was asked for.
            (part(0, 10), Some("bytes 0-99/100"), Some(100), Some((0, 10, true))),
            (part(1, 10), Some("bytes 0-10/100"), Some(11), Some((1, 10, false))),
            (part(1, 10), None, Some(100), Some((1, 10, true))),
            (part(95, 10), None, Some(100), Some((95, 5, false))),
            (part(0, 10), None, Some(100), Some((0, 10, true))),
            // Less, elsewhere, or unknown.
            (part(0, 10), Some("bytes 0-8/100"), Some(9), None),
            (part(1, 10), Some("bytes 0-9/100"), Some(10), None),
            (part(1, 10), Some("bytes 2-11/100"), Some(10), None),
            (part(50, 10), Some("bytes 0-9/100"), Some(10), None),
            (part(1, 10), Some("bytes 1-10/100"), Some(700), None),
            (part(1, 10), Some("garbage"), Some(10), None),
            (part(0, 100), None, None, None),
        ] {
            let got = cut(asked, content_range, length);
            let expected = expected.map(|(skip, left, more)| Some(Cut { skip, left: Some(left), more }));
            assert_eq!(got.clone().ok(), expected, "{asked:?} {content_range:?} {length:?}: {got:?}");
        }
        assert_eq!(cut(part(100, 10), None, Some(100)), Ok(None), "past the end");
    }
}
