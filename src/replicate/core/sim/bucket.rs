//! The bucket: objects by TXID, create-if-absent, and every way in which a request can go wrong.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::clock::Dice;

/// A state of a database: the commits that made it, oldest first. Every commit of a history has a
/// number of its own.
pub type Content = Rc<Vec<u32>>;

/// What a level-0 object holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The state that it is applied to; `None`: it is a full image.
    pub base: Option<Content>,
    pub content: Content,
    /// Which node made it, and which of its batches it is: what reading it back tells.
    pub made_by: (usize, u64),
}

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
    /// It is never answered; it may be carried out all the same.
    Hangs {
        carried_out: bool,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub enum Created {
    Yes,
    Exists,
}

/// How the store behaves for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fine,
    /// Some requests go wrong.
    Rough,
    /// No request is answered.
    Hanging,
    /// Every request fails.
    Down,
}

#[derive(Debug)]
pub struct Bucket {
    pub objects: BTreeMap<u64, Object>,
    pub weather: Weather,
}

impl Bucket {
    pub fn new() -> Bucket {
        Bucket { objects: BTreeMap::new(), weather: Weather::Fine }
    }

    pub fn fate(&self, dice: &mut Dice) -> Fate {
        match (self.weather, dice.roll(20)) {
            (Weather::Fine, _) => Fate::Answered,
            (Weather::Down, _) => Fate::Failed,
            (Weather::Hanging, roll) => Fate::Hangs { carried_out: roll < 5 },
            (Weather::Rough, 0..8) => Fate::Answered,
            (Weather::Rough, 8..12) => Fate::LostReply,
            (Weather::Rough, 12..17) => Fate::Failed,
            (Weather::Rough, 17) => Fate::Refused,
            (Weather::Rough, _) => Fate::Hangs { carried_out: true },
        }
    }

    pub fn newest(&self) -> Option<(u64, &Object)> {
        self.objects.last_key_value().map(|(txid, object)| (*txid, object))
    }

    pub fn create(&mut self, txid: u64, object: &Object) -> Created {
        if self.objects.contains_key(&txid) {
            return Created::Exists;
        }
        self.objects.insert(txid, object.clone());
        Created::Yes
    }
}
