//! What to write where a damaged object has the name. Pure, as `schedule.rs`, whose steps it
//! changes.
//!
//! Nothing is ever replaced, and what is damaged is not deleted. So an output whose name is taken
//! by an object that is not what its name says would be refused at every attempt: level 0 would
//! grow for ever behind it. Another range or another level has another name, and every planner
//! takes either.

use super::Policy;
use super::schedule::{self, MAX_INPUTS, Step, View};
use crate::ltx::Txid;
use crate::remote::{Level, Listing, LtxObject, plan};

/// Whether a damaged object has the name of this level and these TXIDs.
type IsTaken<'a> = dyn Fn(Level, Txid, Txid) -> bool + 'a;

/// What is due and can be written.
pub fn next(view: &View<'_>, policy: &Policy, now_ms: i64, is_taken: &IsTaken<'_>) -> Step {
    let mut blocked = view.blocked.to_vec();
    loop {
        let step = schedule::next(&View { blocked: &blocked, ..*view }, policy, now_ms);
        match around(step, view.listing, view.newest, policy.levels.len(), is_taken) {
            Ok(step) => return step,
            Err(level) => blocked.push(level),
        }
    }
}

/// `Err`: nothing of this level can be written for now.
fn around(step: Step, listing: &Listing, newest: Txid, levels: usize, is_taken: &IsTaken<'_>) -> Result<Step, Level> {
    let ends = |inputs: &[LtxObject]| Some((inputs.first()?.min_txid, inputs.last()?.max_txid));
    let is_taken = |level, inputs: &[LtxObject]| ends(inputs).is_some_and(|(min, max)| is_taken(level, min, max));
    match step {
        Step::Compact { level: wanted, mut inputs } => {
            let mut level = wanted;
            while is_taken(level, &inputs) {
                match u8::try_from(level.index() + 1).ok().and_then(Level::new) {
                    _ if inputs.len() > 1 => drop(inputs.pop()),
                    Some(above) if above.index() <= levels => level = above,
                    _ => return Err(wanted),
                }
            }
            Ok(Step::Compact { level, inputs })
        }
        Step::Snapshot { inputs } => {
            let is_taken = |inputs: &[LtxObject]| {
                let whole = inputs.last().map(|last| LtxObject { min_txid: Txid::FIRST, ..last.clone() });
                is_taken(Level::SNAPSHOT, whole.as_slice())
            };
            if !is_taken(&inputs) {
                return Ok(Step::Snapshot { inputs });
            }
            // One that ends later holds the same; until there is something later, there is nothing
            // to do.
            let files: Vec<LtxObject> =
                plan::files_up_to(listing, newest).into_iter().take(MAX_INPUTS).cloned().collect();
            let is_later = files.last().map(|o| o.max_txid) > inputs.last().map(|o| o.max_txid);
            if is_later && !is_taken(&files) { Ok(Step::Snapshot { inputs: files }) } else { Err(Level::SNAPSHOT) }
        }
        step => Ok(step),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{listing, names, object, txid};
    use super::*;

    /// Level, first and last TXID of each input.
    type Inputs = Vec<(u8, u64, u64)>;

    fn written(step: Result<Step, Level>) -> Option<(u8, Inputs)> {
        match step.ok()? {
            Step::Compact { level, inputs } => Some((level.get(), names(&inputs))),
            Step::Snapshot { inputs } => Some((9, names(&inputs))),
            _ => None,
        }
    }

    #[test]
    fn another_range_or_another_level_is_written_where_the_name_is_taken() {
        let all = listing(&[(9, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 0)]);
        let inputs = vec![object((0, 2, 2, 0)), object((0, 3, 3, 0))];
        let level = Level::new(1).expect("a level");
        let around = |inputs: &[LtxObject], taken: &[(u8, u64, u64)]| {
            let is_taken = |level: Level, min: Txid, max: Txid| taken.contains(&(level.get(), min.get(), max.get()));
            written(around(Step::Compact { level, inputs: inputs.to_vec() }, &all, txid(3), 2, &is_taken))
        };
        assert_eq!(around(&inputs, &[]), Some((1, vec![(0, 2, 2), (0, 3, 3)])));
        assert_eq!(around(&inputs, &[(1, 2, 3)]), Some((1, vec![(0, 2, 2)])));
        assert_eq!(around(&inputs, &[(1, 2, 3), (1, 2, 2)]), Some((2, vec![(0, 2, 2)])));
        assert_eq!(around(&inputs, &[(1, 2, 3), (1, 2, 2), (2, 2, 2)]), None);
    }

    #[test]
    fn a_snapshot_whose_name_is_taken_waits_for_a_later_one() {
        let all = listing(&[(9, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 0)]);
        let image = || Step::Snapshot { inputs: vec![object((0, 2, 2, 0))] };
        let is_taken = |level: Level, min: Txid, max: Txid| (level.get(), min.get(), max.get()) == (9, 1, 2);
        assert_eq!(written(around(image(), &all, txid(2), 2, &is_taken)), None);
        assert_eq!(
            written(around(image(), &all, txid(3), 2, &is_taken)),
            Some((9, vec![(9, 1, 1), (0, 2, 2), (0, 3, 3)]))
        );
    }
}
