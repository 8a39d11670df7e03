//! The place that is copied to: empty, or with a part of the same copy.

use std::collections::HashSet;

use super::error::{CopyError, of_store};
use crate::ltx::Txid;
use crate::remote::{Level, LtxObject, OtherLayout, Remote, Resembles};
use crate::restore::{SameHistory, same_history};

type Name = (Level, Txid, Txid);

pub(super) struct Place {
    address: String,
    /// What is there, by the names that the files have on every kind of store.
    there: HashSet<Name>,
    /// Compared, or written now.
    done: HashSet<Name>,
    /// What is there belongs to the history of the source, whatever has become of it there since.
    is_of_source: bool,
}

fn name(object: &LtxObject) -> Name {
    (object.level, object.min_txid, object.max_txid)
}

impl Place {
    /// Looks at it. What is no part of any copy is refused at once.
    pub async fn look(from: &Remote, to: &Remote, txid: Txid, history: bool) -> Result<Place, CopyError> {
        let listing = to.listing().await.map_err(CopyError::To)?;
        let address = to.address().to_owned();
        let occupied = |name: String| CopyError::Occupied { address: address.clone(), name };
        if let Some(old) = listing.old.objects().next() {
            return Err(occupied(old.name.to_string()));
        }
        if let OtherLayout::Aside { newest, .. } = &listing.other_layout {
            return Err(occupied(newest.name.to_string()));
        }
        if let (OtherLayout::Used, Some(first)) = (&listing.other_layout, listing.objects().next()) {
            return Err(occupied(first.name.to_string()));
        }
        if let Some(similar) = listing.ignored.iter().find(|ignored| ignored.resembles != Resembles::Nothing) {
            return Err(occupied(similar.name.clone()));
        }
        let there: HashSet<Name> = listing.objects().map(name).collect();
        // A state was copied before if it is the newest one: other files may hold it now at the
        // source.
        let compares = match history {
            _ if there.is_empty() => false,
            true => listing.newest_txid() <= from.listing().await.map_err(of_store)?.newest_txid(),
            false => listing.newest_txid() == Some(txid),
        };
        let is_of_source = compares && same_history(from, to).await.map_err(CopyError::To)? == SameHistory::Yes;
        Ok(Place { address, there, done: HashSet::new(), is_of_source })
    }

    /// Refuses a place that holds something else than a part of these files.
    pub fn expect(&self, files: &[LtxObject]) -> Result<(), CopyError> {
        if self.is_of_source {
            return Ok(());
        }
        let expected: HashSet<Name> = files.iter().map(name).collect();
        match self.there.iter().filter(|there| !self.done.contains(there)).find(|there| !expected.contains(there)) {
            None => Ok(()),
            Some((level, min, max)) => {
                let name = format!("the file {min}-{max} of level {level}");
                Err(CopyError::Occupied { address: self.address.clone(), name })
            }
        }
    }

    /// What is still to be sent, or compared.
    pub fn missing(&self, files: &[LtxObject]) -> Vec<LtxObject> {
        files.iter().filter(|object| !self.done.contains(&name(object))).cloned().collect()
    }

    /// Whether something has this name there.
    pub fn has(&self, object: &LtxObject) -> bool {
        self.there.contains(&name(object))
    }

    pub fn done(&mut self, object: &LtxObject) {
        self.there.insert(name(object));
        self.done.insert(name(object));
    }
}
