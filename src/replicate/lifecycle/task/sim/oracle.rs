//! What must hold after every step, and at the end. It looks at the bucket only, never into what a
//! process knows.

use super::bucket::{Bucket, Object};
use crate::ltx::Txid;
use crate::remote::{Level, Listing, LtxObject, plan};
use crate::replicate::lifecycle::Policy;
use crate::replicate::lifecycle::schedule::ms;
use crate::store::Key;

pub type Violation = String;

/// A restore that has begun: it has its plan, and reads the files one after the other.
#[derive(Debug)]
pub struct Restore {
    pub files: Vec<Key>,
    pub target: Txid,
    pub is_latest: bool,
    /// By the time that really passes.
    pub until_ms: u64,
    /// How often the wall clock had been set when it began.
    pub jumps: u32,
}

/// The wall clock's view of the history.
pub struct Times {
    /// What every commit is stamped with, from TXID 1 on; or when it really was, if that is
    /// earlier.
    pub committed_ms: Vec<i64>,
    /// The latest moment that any clock has shown.
    pub latest_ms: i64,
    pub jumps: u32,
}

impl Times {
    pub fn newest(&self) -> Txid {
        Txid::new(self.committed_ms.len() as u64).expect("there is a commit")
    }

    /// Whether this state was the newest one at some moment of the window.
    fn is_in_window(&self, txid: Txid, policy: &Policy) -> bool {
        let replaced_ms = self.committed_ms.get(usize::try_from(txid.get()).expect("small"));
        replaced_ms.is_none_or(|at| *at > self.latest_ms - ms(policy.snapshot_retention))
    }

    fn is_young(&self, object: &LtxObject, policy: &Policy) -> bool {
        let committed = self.committed_ms[usize::try_from(object.max_txid.get()).expect("small") - 1];
        object.modified_ms.min(committed) > self.latest_ms - ms(policy.l0_retention)
    }

    /// Whether this plan must stay possible: it makes a state of the window, and no upload in it is
    /// so old that only the compacted files that hold it count.
    pub fn is_promised(&self, files: &[&LtxObject], policy: &Policy) -> bool {
        let Some(last) = files.last() else { return false };
        last.max_txid == self.newest()
            || self.is_in_window(last.max_txid, policy)
                && files.iter().all(|o| o.level != Level::L0 || self.is_young(o, policy))
    }
}

/// The promised states of which one of these files is a part.
pub fn promised(truth: &Listing, times: &Times, policy: &Policy, gone: &[Object]) -> Vec<Txid> {
    let ends = |o: &LtxObject| o.level != Level::L0 || times.is_young(o, policy);
    let mut ends: Vec<Txid> = truth.objects().filter(|o| ends(o)).map(|o| o.max_txid).collect();
    ends.push(times.newest());
    ends.sort_unstable();
    ends.dedup();
    ends.retain(|txid| times.is_in_window(*txid, policy));
    ends.retain(|txid| {
        let files = plan::files_up_to(truth, *txid);
        let is_gone = |o: &&LtxObject| gone.iter().any(|object| object.ltx.name == o.name);
        files.last().is_some_and(|last| last.max_txid == *txid)
            && files.iter().any(is_gone)
            && times.is_promised(&files, policy)
    });
    ends
}

/// Objects go: every state that was promised is still restorable, restores under way find their
/// files, strangers stay.
pub fn deleted(
    before: &[Txid],
    gone: &[Object],
    bucket: &Bucket,
    restores: &[Restore],
    times: &Times,
    now_ms: u64,
) -> Result<(), Violation> {
    for object in gone {
        let name = &object.ltx.name;
        if object.is_foreign {
            return Err(format!("{name} was deleted, and is somebody else's"));
        }
        let misses =
            |r: &&Restore| now_ms <= r.until_ms && (r.is_latest || r.jumps == times.jumps) && r.files.contains(name);
        if let Some(restore) = restores.iter().find(misses) {
            let what = if restore.is_latest { "the newest state" } else { "a state of the window" };
            return Err(format!("{name} was deleted under a restore of {what}, TXID {}", restore.target));
        }
    }
    for txid in before {
        let end = plan::files_up_to(&bucket.truth, *txid).last().map(|o| o.max_txid);
        if end != Some(*txid) {
            let names: Vec<&str> = gone.iter().map(|o| o.ltx.name.as_str()).collect();
            return Err(format!("TXID {txid} was restorable until {} went", names.join(", ")));
        }
    }
    newest(bucket, times)
}

/// The newest state is always restorable, and its level-0 object is there to resume from.
pub fn newest(bucket: &Bucket, times: &Times) -> Result<(), Violation> {
    let newest = times.newest();
    let end = plan::files_up_to(&bucket.truth, newest).last().map(|o| o.max_txid);
    if end != Some(newest) {
        return Err(format!("a restore of TXID {newest}, the newest, gives {end:?}"));
    }
    match bucket.truth.newest_l0().map(|o| o.max_txid) {
        Some(last) if last == newest => Ok(()),
        last => Err(format!("level 0 ends with {last:?}, the history with {newest}")),
    }
}

/// An output: it is new, and what it says that it holds was in its inputs, without a gap.
pub fn created(object: &LtxObject, inputs: &[Object], bucket: &Bucket) -> Result<(), Violation> {
    let name = &object.name;
    if bucket.objects.contains_key(name) {
        return Err(format!("{name} was replaced"));
    }
    let Some(first) = inputs.first() else { return Err(format!("{name} is made of nothing")) };
    let begins = first.ltx.min_txid == object.min_txid || object.min_txid == Txid::FIRST && first.is_image;
    let continues = |pair: &[Object]| pair[1].ltx.min_txid <= pair[0].ltx.max_txid.next().expect("small");
    if !begins || !inputs.windows(2).all(continues) {
        return Err(format!("{name} has a gap"));
    }
    match inputs.iter().find(|input| !input.is_sound) {
        Some(input) => Err(format!("{name} rests on {}, which is not sound", input.ltx.name)),
        None => Ok(()),
    }
}
