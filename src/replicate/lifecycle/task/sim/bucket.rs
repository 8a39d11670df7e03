//! The objects, true and false ones, and every way in which a request can go wrong.

use std::collections::BTreeMap;

use crate::clock::Dice;
use crate::remote::{Listing, LtxObject};
use crate::store::Key;

/// So long a LIST may lag behind.
const STALE_MS: u64 = 5_000;

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// It is carried out, and the answer is lost.
    LostReply,
    /// It is not carried out: 503, a broken connection.
    Failed,
    /// It is not carried out: 403.
    Refused,
    /// The answer never comes; whether it is carried out is not known.
    Hangs {
        carried_out: bool,
    },
    /// A LIST that lags behind, a body that is kept in part, a delete that deletes nothing: and
    /// answered as if all were well.
    Lies,
}

impl Fate {
    pub fn is_carried_out(self) -> bool {
        matches!(self, Fate::Answered | Fate::LostReply | Fate::Hangs { carried_out: true } | Fate::Lies)
    }

    pub fn is_answered(self) -> bool {
        matches!(self, Fate::Answered | Fate::Lies)
    }
}

/// How the store behaves for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fine,
    /// Some requests go wrong.
    Rough,
    /// Every request fails.
    Down,
}

#[derive(Clone, Debug)]
pub struct Object {
    pub ltx: LtxObject,
    /// It is what its name says, whole.
    pub is_sound: bool,
    /// Another writer put it there.
    pub is_foreign: bool,
    pub is_image: bool,
}

pub struct Bucket {
    pub objects: BTreeMap<Key, Object>,
    /// What a LIST shows.
    pub shown: Listing,
    /// What a restore can use: the sound objects of this history.
    pub truth: Listing,
    pub weather: Weather,
    created: Vec<(u64, LtxObject)>,
    deleted: Vec<(u64, LtxObject)>,
}

impl Bucket {
    pub fn new() -> Bucket {
        Bucket {
            objects: BTreeMap::new(),
            shown: Listing::default(),
            truth: Listing::default(),
            weather: Weather::Fine,
            created: Vec::new(),
            deleted: Vec::new(),
        }
    }

    pub fn fate(&self, dice: &mut Dice) -> Fate {
        match (self.weather, dice.roll(20)) {
            (Weather::Fine, _) => Fate::Answered,
            (Weather::Down, _) => Fate::Failed,
            (Weather::Rough, 0..10) => Fate::Answered,
            (Weather::Rough, 10..12) => Fate::LostReply,
            (Weather::Rough, 12..15) => Fate::Failed,
            (Weather::Rough, 15) => Fate::Refused,
            (Weather::Rough, roll @ 16..18) => Fate::Hangs { carried_out: roll == 16 },
            (Weather::Rough, _) => Fate::Lies,
        }
    }

    pub fn insert(&mut self, object: Object, now_ms: u64) {
        self.shown.insert(object.ltx.clone());
        if object.is_sound && !object.is_foreign {
            self.truth.insert(object.ltx.clone());
        }
        self.created.push((now_ms, object.ltx.clone()));
        self.objects.insert(object.ltx.name.clone(), object);
    }

    pub fn remove(&mut self, name: &Key, now_ms: u64) {
        let Some(object) = self.objects.remove(name) else { return };
        self.shown.retain(|o| o.name != *name);
        self.truth.retain(|o| o.name != *name);
        self.deleted.push((now_ms, object.ltx));
    }

    /// The LIST of a moment ago.
    pub fn stale(&mut self, now_ms: u64) -> Listing {
        let since = now_ms.saturating_sub(STALE_MS);
        self.created.retain(|(at, _)| *at >= since);
        self.deleted.retain(|(at, _)| *at >= since);
        let mut listing = self.shown.clone();
        listing.retain(|o| !self.created.iter().any(|(_, created)| created.name == o.name));
        for (_, deleted) in &self.deleted {
            if !self.created.iter().any(|(_, created)| created.name == deleted.name) {
                listing.insert(deleted.clone());
            }
        }
        listing
    }

    pub fn is_sound(&self, name: &Key) -> Option<bool> {
        self.objects.get(name).map(|object| object.is_sound)
    }
}
