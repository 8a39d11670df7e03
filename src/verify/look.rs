//! Looks at many objects at a time: at their ends, or all the way through. What is gone by now is
//! left out.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::ltx::Header;
use crate::remote::{LtxObject, ReadError, Remote, Seen, Unsound};
use crate::store::StoreError;

/// Small reads are mostly waiting: so many times more of them at once.
const SMALL_READS: usize = 2;
/// Files that are read through at a time: decoding is bound by the processor.
const READERS_MAX: usize = 2;

/// Header and end of each.
pub(super) async fn at_ends(
    remote: &Remote,
    objects: Vec<LtxObject>,
    parallelism: usize,
) -> Result<Vec<Seen>, StoreError> {
    let looks = stream::iter(objects).map(async |object| {
        let found = remote.check_ends(&object).await;
        seen(object, found)
    });
    gathered(looks.buffer_unordered(parallelism.max(1) * SMALL_READS)).await
}

/// Every byte of each.
pub(super) async fn through(
    remote: &Remote,
    objects: Vec<LtxObject>,
    parallelism: usize,
) -> Result<Vec<Seen>, StoreError> {
    let readers = parallelism.clamp(1, READERS_MAX);
    let looks = stream::iter(objects).map(async |object| {
        let found = remote.decode(&object, readers).await;
        seen(object, found)
    });
    gathered(looks.buffer_unordered(readers)).await
}

type Look = Result<Option<Seen>, StoreError>;

async fn gathered(looks: impl stream::Stream<Item = Look>) -> Result<Vec<Seen>, StoreError> {
    looks.try_filter_map(|seen| std::future::ready(Ok(seen))).try_collect().await
}

fn seen(object: LtxObject, found: Result<Result<Header, Unsound>, ReadError>) -> Look {
    match found {
        Ok(found) => Ok(Some((object, found))),
        Err(ReadError::Gone { .. }) => Ok(None),
        Err(ReadError::Store(error)) => Err(error),
        Err(ReadError::Invalid { source, .. }) => Ok(Some((object, Err(Unsound::foreign(source.to_string()))))),
    }
}
