//! The two ends of an LTX object: what its header says, and whether its last bytes fit its size.
//!
//! An inner `Err` says why the object does not count; the outer one, that it could not be looked
//! at. What does not fit is read once more, in case it was damaged on its way.

use super::{LtxObject, ReadError, Remote};
use crate::ltx::{HEADER_LEN, Header, LtxError, TAIL_LEN, Tail};

/// Up to this size an object is read in one request.
const SMALL_BYTES: u64 = 64 * 1024;

/// The first and the last bytes of an object.
pub struct Ends {
    pub header: [u8; HEADER_LEN],
    pub tail: [u8; TAIL_LEN],
}

/// Why an object does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsound {
    pub why: String,
    /// It is an LTX file of the TXIDs in its name, and damaged. Otherwise it is something else
    /// under that name.
    pub is_its_name: bool,
}

impl Unsound {
    /// Damage in a file that has the header of its name.
    pub fn damaged(why: impl Into<String>) -> Unsound {
        Unsound { why: why.into(), is_its_name: true }
    }

    /// Something else under the name of an LTX file.
    pub fn foreign(why: impl Into<String>) -> Unsound {
        Unsound { why: why.into(), is_its_name: false }
    }
}

impl Remote {
    /// Reads both ends, with one request or two.
    pub async fn ends(&self, object: &LtxObject, size: u64) -> Result<Ends, ReadError> {
        let tail_at = size.saturating_sub(TAIL_LEN as u64);
        let (header, tail) = if size <= SMALL_BYTES {
            let whole = self.read_range(&object.name, 0, size).await?;
            (whole.slice(..whole.len().min(HEADER_LEN)), whole.slice(tail_at as usize..))
        } else {
            let header = self.read_range(&object.name, 0, HEADER_LEN as u64);
            tokio::try_join!(header, self.read_range(&object.name, tail_at, TAIL_LEN as u64))?
        };
        let short =
            || ReadError::Invalid { name: object.name.clone(), source: LtxError::Truncated { within: "header" } };
        Ok(Ends {
            header: header.as_ref().try_into().map_err(|_| short())?,
            tail: tail.as_ref().try_into().map_err(|_| short())?,
        })
    }

    /// Whether the object has the header of its name and an end that fits its size.
    pub async fn check_ends(&self, object: &LtxObject) -> Result<Result<Header, Unsound>, ReadError> {
        match self.check_ends_once(object).await? {
            Err(_) => self.check_ends_once(object).await,
            fits => Ok(fits),
        }
    }

    async fn check_ends_once(&self, object: &LtxObject) -> Result<Result<Header, Unsound>, ReadError> {
        let ends = match self.ends(object, object.size).await {
            Ok(ends) => ends,
            Err(ReadError::Invalid { source, .. }) => return Ok(Err(Unsound::foreign(source.to_string()))),
            Err(error) => return Err(error),
        };
        Ok(judge(object, &ends))
    }
}

/// What the ends of an object say about it.
fn judge(object: &LtxObject, ends: &Ends) -> Result<Header, Unsound> {
    let header = Header::decode(&ends.header).map_err(|error| Unsound::foreign(error.to_string()))?;
    object.check_txids(&header).map_err(Unsound::foreign)?;
    Tail::parse(&ends.tail, object.size).map_err(|error| {
        let cut = "it is cut short, or its last bytes were changed";
        Unsound::damaged(format!("{cut}: {error}"))
    })?;
    Ok(header)
}

impl LtxObject {
    /// `Err` when a header is not of the TXIDs in the name.
    pub fn check_txids(&self, header: &Header) -> Result<(), String> {
        let (min, max) = (header.min_txid, header.max_txid);
        if (min, max) == (self.min_txid, self.max_txid) {
            return Ok(());
        }
        Err(format!("it holds the TXIDs {min}-{max}, not those of its name"))
    }
}
