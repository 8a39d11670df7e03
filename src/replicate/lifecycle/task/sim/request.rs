//! What the bucket does with a piece of work: one request after the other, each with its fate.

use super::super::{Done, Work};
use super::broken::Broken;
use super::bucket::{Fate, Object};
use super::oracle::{self, Violation};
use super::world::World;
use crate::ltx::{LtxError, Txid};
use crate::remote::{Layout, Level, LtxObject, ReadError};
use crate::replicate::lifecycle::write::{Input, WriteError};
use crate::store::{Deleted, Key, StoreError};

pub const OBJECT_BYTES: u64 = 500;
pub const TORN_BYTES: u64 = 400;

/// One request.
pub enum Request {
    List,
    Probe(LtxObject),
    Prove(LtxObject),
    Marks,
    Delete(Vec<LtxObject>),
    Read {
        level: Level,
        inputs: Vec<Input>,
    },
    Put {
        output: LtxObject,
        inputs: Vec<Object>,
    },
    /// `existed`: it was there before.
    Verify {
        output: LtxObject,
        existed: bool,
    },
}

/// What follows a request.
pub enum Next {
    Request(Request),
    Done(Done),
    /// The answer never came: this is what the process makes of it after a while.
    Late(Done),
}

impl Request {
    pub fn of(work: Work) -> Request {
        match work {
            Work::List => Request::List,
            Work::Probe(object) => Request::Probe(object),
            Work::Prove(object) => Request::Prove(object),
            Work::Marks(_) => Request::Marks,
            Work::Delete(objects) => Request::Delete(objects),
            Work::Write { level, inputs } => Request::Read { level, inputs },
        }
    }

    pub fn changes_something(&self) -> bool {
        matches!(self, Request::Put { .. } | Request::Delete(_))
    }

    /// It was not carried out, or its answer was lost.
    fn failed(self, error: StoreError) -> Done {
        match self {
            Request::List => Done::Listed(Err(error)),
            Request::Probe(object) => Done::Probed(object, Err(ReadError::Store(error))),
            Request::Prove(object) => Done::Proved(object, Err(ReadError::Store(error))),
            Request::Marks => Done::Marks(Err(ReadError::Store(error))),
            Request::Delete(objects) => Done::Deleted(objects, Err(error)),
            Request::Read { level, .. } => wrote(level, Err(WriteError::Read(ReadError::Store(error)))),
            Request::Put { output, .. } => wrote(output.level, Err(WriteError::Store(error))),
            Request::Verify { output, .. } => wrote(output.level, Err(WriteError::Read(ReadError::Store(error)))),
        }
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Request::List => write!(f, "LIST"),
            Request::Probe(object) => write!(f, "is {} an image?", object.name),
            Request::Prove(object) => write!(f, "is {} sound?", object.name),
            Request::Marks => write!(f, "LIST of the marks"),
            Request::Delete(objects) => {
                let names: Vec<&str> = objects.iter().map(|o| o.name.as_str()).collect();
                write!(f, "DELETE {}", names.join(" "))
            }
            Request::Read { level, inputs } => {
                let names: Vec<&str> = inputs.iter().map(|input| input.object.name.as_str()).collect();
                write!(f, "for level {level}: GET {}", names.join(" "))
            }
            Request::Put { output, .. } => write!(f, "PUT {}", output.name),
            Request::Verify { output, .. } => write!(f, "verify {}", output.name),
        }
    }
}

fn wrote(level: Level, result: Result<LtxObject, WriteError>) -> Done {
    Done::Wrote(level, Box::new(result))
}

fn transient() -> StoreError {
    StoreError::Transient { detail: "the connection broke".into() }
}

fn gone(name: &Key) -> ReadError {
    ReadError::Gone { name: name.clone() }
}

impl World {
    /// Carries a request out, or not, and says what comes next.
    pub fn carry_out(&mut self, request: Request, fate: Fate) -> Result<Next, Violation> {
        if matches!(request, Request::Marks)
            && self.broken == Some(Broken::TakesAnErrorForNoMarks)
            && !(fate.is_carried_out() && fate.is_answered())
        {
            return Ok(Next::Done(Done::Marks(Ok(Vec::new()))));
        }
        if !fate.is_carried_out() {
            return Ok(match fate {
                Fate::Hangs { .. } => Next::Late(request.failed(transient())),
                Fate::Refused => Next::Done(request.failed(StoreError::Denied { detail: "no".into() })),
                _ => Next::Done(request.failed(transient())),
            });
        }
        let lies = fate == Fate::Lies;
        let next = match request {
            Request::List => {
                let listing = if lies { self.bucket.stale(self.boot_ms) } else { self.bucket.shown.clone() };
                Next::Done(Done::Listed(Ok(listing)))
            }
            Request::Probe(object) => {
                let there = self.bucket.objects.get(&object.name);
                let image = match there {
                    None => Err(gone(&object.name)),
                    Some(there) if !there.is_sound => Err(invalid(&object.name)),
                    Some(there) => Ok(there.is_image),
                };
                Next::Done(Done::Probed(object, image))
            }
            Request::Prove(object) => {
                let verdict = match self.bucket.is_sound(&object.name) {
                    None => Err(gone(&object.name)),
                    Some(false) if self.broken != Some(Broken::BelievesNames) => Ok(Err("it is cut off".into())),
                    Some(_) => Ok(Ok(())),
                };
                Next::Done(Done::Proved(object, verdict))
            }
            Request::Marks => {
                let shown = if self.broken == Some(Broken::ForgetsMarks) { Vec::new() } else { self.shown_marks() };
                Next::Done(Done::Marks(Ok(shown)))
            }
            Request::Delete(objects) => self.delete(objects, fate)?,
            Request::Read { level, inputs } => self.read(level, &inputs)?,
            Request::Put { output, inputs } => self.put(output, &inputs, fate)?,
            Request::Verify { output, existed } => self.verify(output, existed),
        };
        Ok(match (next, fate) {
            (next, fate) if fate.is_answered() => next,
            (next, Fate::Hangs { .. }) => Next::Late(unanswered(next)),
            (next, _) => Next::Done(unanswered(next)),
        })
    }

    fn delete(&mut self, objects: Vec<LtxObject>, fate: Fate) -> Result<Next, Violation> {
        let mut kept: Vec<(Key, StoreError)> = Vec::new();
        let mut names: Vec<Key> = objects.iter().map(|o| o.name.clone()).collect();
        if fate == Fate::Lies {
            // One half is refused; the other half is said to be gone and is not.
            let refused = names.len() / 2;
            let denied = |name: &Key| (name.clone(), StoreError::Denied { detail: "retention lock".into() });
            kept = names[..refused].iter().map(denied).collect();
            names.clear();
        }
        self.remove(&names)?;
        let deleted = Deleted { deleted: objects.len() - kept.len(), refused: kept };
        Ok(Next::Done(Done::Deleted(objects, Ok(deleted))))
    }

    /// Objects go, and the oracle looks.
    pub fn remove(&mut self, names: &[Key]) -> Result<(), Violation> {
        let gone: Vec<Object> = names.iter().filter_map(|name| self.bucket.objects.get(name).cloned()).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let promised = oracle::promised(&self.bucket.truth, &self.times, &self.policy, &gone);
        gone.iter().for_each(|object| self.bucket.remove(&object.ltx.name, self.boot_ms));
        self.count.deleted += gone.len();
        oracle::deleted(&promised, &gone, &self.bucket, &self.restores, &self.times, self.boot_ms)?;
        self.check_marks()
    }

    fn read(&mut self, level: Level, inputs: &[Input]) -> Result<Next, Violation> {
        let mut found: Vec<Object> = Vec::new();
        for Input { object, bytes } in inputs {
            match self.bucket.objects.get(&object.name) {
                Some(there) => found.push(there.clone()),
                None if bytes.is_some() => found.push(Object {
                    ltx: object.clone(),
                    is_sound: true,
                    is_foreign: false,
                    is_image: self.images.contains(&object.max_txid),
                }),
                None => return Ok(Next::Done(wrote(level, Err(WriteError::Read(gone(&object.name)))))),
            }
        }
        if self.broken == Some(Broken::CompactsOverAGap) && found.len() > 2 {
            found.remove(1);
        }
        let inputs_named = || inputs.iter().map(|input| input.object.clone()).collect::<Vec<_>>();
        if found.iter().any(|input| !input.is_sound) {
            let error = WriteError::Damaged { inputs: inputs_named(), why: "one of them is cut off".into() };
            return Ok(Next::Done(wrote(level, Err(error))));
        }
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
            return Err(format!("a merge of nothing for level {level}"));
        };
        let min_txid = if level == Level::SNAPSHOT { Txid::FIRST } else { first.object.min_txid };
        let max_txid = last.object.max_txid;
        let output = LtxObject {
            level,
            min_txid,
            max_txid,
            size: OBJECT_BYTES,
            modified_ms: self.modified_ms(max_txid, self.wall_ms()),
            name: self.layout.key(level, min_txid, max_txid),
        };
        if self.broken == Some(Broken::DeletesInputsFirst) {
            let newest = self.times.newest();
            let names: Vec<Key> = found
                .iter()
                .filter(|o| o.ltx.level == Level::L0 && o.ltx.max_txid < newest)
                .map(|o| o.ltx.name.clone())
                .collect();
            self.remove(&names)?;
        }
        if self.broken == Some(Broken::CountsBeforeItIsThere) && self.dice.roll(4) == 0 {
            return Ok(Next::Done(wrote(level, Ok(output))));
        }
        Ok(Next::Request(Request::Put { output, inputs: found }))
    }

    fn put(&mut self, output: LtxObject, inputs: &[Object], fate: Fate) -> Result<Next, Violation> {
        if self.bucket.objects.contains_key(&output.name) {
            return Ok(Next::Request(Request::Verify { output, existed: true }));
        }
        oracle::created(&output, inputs, &self.bucket)?;
        let is_sound = fate != Fate::Lies;
        // The bucket has a clock of its own.
        let modified_ms = self.modified_ms(output.max_txid, self.true_ms());
        let size = if is_sound { OBJECT_BYTES } else { TORN_BYTES };
        let ltx = LtxObject { modified_ms, size, ..output.clone() };
        self.bucket.insert(Object { ltx, is_sound, is_foreign: false, is_image: false }, self.boot_ms);
        self.count.written += 1;
        self.count.torn += usize::from(!is_sound);
        Ok(Next::Request(Request::Verify { output, existed: false }))
    }

    fn verify(&mut self, output: LtxObject, existed: bool) -> Next {
        let level = output.level;
        let result = match self.bucket.objects.get(&output.name) {
            None => Err(WriteError::Read(gone(&output.name))),
            Some(there) if there.is_sound => Ok(LtxObject { size: there.ltx.size, ..output }),
            Some(there) if self.broken == Some(Broken::NeverVerifies) => {
                Ok(LtxObject { size: there.ltx.size, ..output })
            }
            Some(_) => {
                let why = if existed { "it is cut off" } else { "its size is another" };
                Err(WriteError::Unproved { name: output.name.to_string(), why: why.into() })
            }
        };
        Next::Done(wrote(level, result))
    }

    /// When the store says that an object was written.
    pub fn modified_ms(&self, max_txid: Txid, now_ms: i64) -> i64 {
        match self.layout {
            Layout::S3 => now_ms,
            Layout::Directories => self.stamps_ms[usize::try_from(max_txid.get()).expect("small") - 1],
        }
    }
}

fn invalid(name: &Key) -> ReadError {
    ReadError::Invalid { name: name.clone(), source: LtxError::Truncated { within: "header" } }
}

/// What the process makes of a request whose answer it did not get.
fn unanswered(next: Next) -> Done {
    match next {
        Next::Done(done) | Next::Late(done) => match done {
            Done::Listed(_) => Done::Listed(Err(transient())),
            Done::Probed(object, _) => Done::Probed(object, Err(ReadError::Store(transient()))),
            Done::Proved(object, _) => Done::Proved(object, Err(ReadError::Store(transient()))),
            Done::Marks(_) => Done::Marks(Err(ReadError::Store(transient()))),
            Done::Deleted(objects, _) => Done::Deleted(objects, Err(transient())),
            Done::Wrote(level, _) => wrote(level, Err(WriteError::Read(ReadError::Store(transient())))),
        },
        // Only a body is followed by another request.
        Next::Request(Request::Put { output, .. } | Request::Verify { output, .. }) => {
            wrote(output.level, Err(WriteError::Store(transient())))
        }
        Next::Request(request) => request.failed(transient()),
    }
}
