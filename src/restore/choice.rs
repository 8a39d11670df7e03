//! Which of several replicas of a database is restored from. Pure.
//!
//! The replicas of a database hold one history, so the one that goes on furthest is the newest
//! state. What cannot be asked may hold more than those that answer. The first replica owns the
//! history: without its answer nothing is chosen here, a person may. A mirror is only said to be
//! missing, unless all the others are empty: "cannot tell" is never "no backup".

use super::format::{self, Format};
use crate::ltx::Txid;

/// What one replica says about the state that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It can be restored; this is what comes out.
    State(State),
    /// There is no backup.
    Empty,
    /// There is one, and it does not hold what was asked for.
    Without,
    /// There is one, and it cannot be used. By its names it goes up to this transaction.
    Damaged { newest: Option<Txid> },
    /// It could not be found out.
    Silent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ltx {
        txid: Txid,
        time_ms: i64,
    },
    /// Of Litestream 0.3, which has no TXIDs.
    Old {
        time_ms: i64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// These have the state that is wanted, in the order in which they are tried; never empty.
    From(Vec<usize>),
    /// The answer of this one decides: nothing is restored. The others can be restored from by
    /// name.
    Refused { because: usize, others: Vec<usize> },
    /// All of them say that there is no backup.
    Nothing,
}

/// Chooses by the answers, in the order of the configuration. `exact` when one transaction is
/// wanted, and no newer one.
pub fn choose(answers: &[Answer], exact: bool) -> Choice {
    let with = |wanted: fn(&Answer) -> bool| answers.iter().position(wanted);
    let usable = || answers.iter().enumerate().filter(|(_, a)| matches!(a, Answer::State(_))).map(|(at, _)| at);
    let refused = |because| Choice::Refused { because, others: usable().collect() };
    if answers.first() == Some(&Answer::Silent) {
        return refused(0);
    }
    let Some(best) = best(answers) else {
        let decisive = with(|a| *a == Answer::Silent)
            .or_else(|| with(|a| matches!(a, Answer::Damaged { .. })))
            .or_else(|| with(|a| *a == Answer::Without));
        return decisive.map_or(Choice::Nothing, refused);
    };
    let may_be_newer = |(at, answer): (usize, &Answer)| match answer {
        Answer::Damaged { newest: Some(newest) } => best.txid() < Some(*newest),
        Answer::Damaged { newest: None } => at == 0,
        _ => false,
    };
    if let Some(damaged) = answers.iter().enumerate().position(|(at, answer)| !exact && may_be_newer((at, answer))) {
        return refused(damaged);
    }
    Choice::From(usable().filter(|at| answers[*at].state().is_some_and(|state| state.is_same(&best))).collect())
}

fn best(answers: &[Answer]) -> Option<State> {
    let states = || answers.iter().filter_map(Answer::state);
    let ltx = states().filter(|state| state.txid().is_some()).max_by_key(State::txid);
    let old = states().filter(|state| state.txid().is_none()).max_by_key(State::time_ms);
    match format::choose(ltx.map(|state| state.time_ms()), old.map(|state| state.time_ms())) {
        Format::Ltx => ltx,
        Format::Old => old,
    }
}

impl Answer {
    fn state(&self) -> Option<State> {
        if let Answer::State(state) = self { Some(*state) } else { None }
    }
}

impl State {
    pub fn txid(&self) -> Option<Txid> {
        if let State::Ltx { txid, .. } = self { Some(*txid) } else { None }
    }

    fn time_ms(&self) -> i64 {
        match self {
            State::Ltx { time_ms, .. } | State::Old { time_ms } => *time_ms,
        }
    }

    /// A snapshot of a transaction may carry another time than the transaction.
    fn is_same(&self, other: &State) -> bool {
        match (self.txid(), other.txid()) {
            (None, None) => self == other,
            (one, another) => one == another,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txid(number: u64) -> Txid {
        Txid::new(number).expect("not zero")
    }

    fn at(number: u64) -> Answer {
        Answer::State(State::Ltx { txid: txid(number), time_ms: number as i64 * 1000 })
    }

    fn old(time_ms: i64) -> Answer {
        Answer::State(State::Old { time_ms })
    }

    fn damaged(newest: u64) -> Answer {
        Answer::Damaged { newest: Txid::new(newest) }
    }

    fn refused(because: usize, others: &[usize]) -> Choice {
        Choice::Refused { because, others: others.to_vec() }
    }

    fn from(chosen: &[usize]) -> Choice {
        Choice::From(chosen.to_vec())
    }

    #[test]
    fn the_newest_state_wins_and_of_equals_the_first() {
        use Answer::{Empty, Without};
        for (answers, wanted) in [
            (vec![at(3)], from(&[0])),
            (vec![at(3), at(3)], from(&[0, 1])),
            (vec![at(3), at(5), at(5), at(4)], from(&[1, 2])),
            (vec![at(5), at(3)], from(&[0])),
            (vec![Empty, at(1)], from(&[1])),
            (vec![Without, at(1)], from(&[1])),
            (vec![at(1), Empty], from(&[0])),
            (vec![Empty, Empty], Choice::Nothing),
            (vec![Empty, Without, Empty], refused(1, &[])),
        ] {
            assert_eq!(choose(&answers, false), wanted, "{answers:?}");
        }
    }

    #[test]
    fn silence_of_the_first_decides_and_that_of_a_mirror_only_where_nothing_else_is() {
        use Answer::{Empty, Silent, Without};
        for (answers, wanted) in [
            (vec![Silent, at(9), Empty], refused(0, &[1])),
            (vec![Silent, Empty], refused(0, &[])),
            (vec![at(1), Silent], from(&[0])),
            (vec![Empty, Silent, at(2)], from(&[2])),
            (vec![Empty, Silent], refused(1, &[])),
            (vec![Without, Empty, Silent], refused(2, &[])),
        ] {
            assert_eq!(choose(&answers, false), wanted, "{answers:?}");
        }
    }

    #[test]
    fn a_damaged_replica_is_left_out_only_if_another_has_at_least_as_much() {
        for (answers, wanted) in [
            (vec![damaged(8), at(8)], from(&[1])),
            (vec![damaged(8), at(7)], refused(0, &[1])),
            (vec![at(7), damaged(8)], refused(1, &[0])),
            (vec![at(8), damaged(8)], from(&[0])),
            (vec![Answer::Damaged { newest: None }, at(7)], refused(0, &[1])),
            (vec![at(7), Answer::Damaged { newest: None }], from(&[0])),
            (vec![damaged(1), Answer::Empty], refused(0, &[])),
            (vec![damaged(1), old(99)], refused(0, &[1])),
        ] {
            assert_eq!(choose(&answers, false), wanted, "{answers:?}");
        }
        assert_eq!(choose(&[damaged(8), at(5)], true), from(&[1]), "exactly what was asked for");
    }

    #[test]
    fn between_the_formats_time_decides() {
        assert_eq!(choose(&[old(2000), at(1)], false), from(&[0]));
        assert_eq!(choose(&[old(1000), at(1)], false), from(&[1]));
        assert_eq!(choose(&[old(5), old(7), old(7)], false), from(&[1, 2]));
    }
}
