use super::*;

fn txid(number: u64) -> Txid {
    Txid::new(number).expect("not zero")
}

fn answers(plan: &Plan) -> Vec<(u64, Result<Option<u64>, SyncError>)> {
    let answer = |effect: &Effect| match effect {
        Effect::Synced(id, answer) => (id.0, answer.clone().map(|txid| txid.map(Txid::get))),
        other => panic!("{other:?}"),
    };
    plan.effects.iter().map(answer).collect()
}

#[test]
fn a_look_that_began_before_the_request_does_not_count() {
    let (mut positions, mut plan, by) = (PositionRequests::default(), Plan::default(), Instant::now());
    positions.ask(SyncId(1), by);
    positions.look_begins();
    positions.ask(SyncId(2), by);
    positions.looked(Some(txid(7)), false, &mut plan);
    assert_eq!(answers(&plan), [(1, Ok(Some(7)))]);
    assert!(positions.is_look_wanted());
    positions.look_begins();
    positions.looked(Some(txid(7)), true, &mut plan);
    assert_eq!(answers(&plan)[1..], [(2, Ok(Some(8)))], "frames wait, which are the next TXID");
}

#[test]
fn without_any_history_the_first_txid_is_next_or_none() {
    let by = Instant::now();
    for (is_ahead, answer) in [(true, Some(1)), (false, None)] {
        let (mut positions, mut plan) = (PositionRequests::default(), Plan::default());
        positions.ask(SyncId(1), by);
        positions.look_begins();
        positions.looked(None, is_ahead, &mut plan);
        assert_eq!(answers(&plan), [(1, Ok(answer))]);
    }
}

#[test]
fn a_look_that_fails_is_made_again() {
    let (mut positions, mut plan) = (PositionRequests::default(), Plan::default());
    positions.ask(SyncId(1), Instant::now());
    positions.look_begins();
    positions.look_again();
    assert!(positions.is_look_wanted() && !positions.is_looking());
    positions.looked(Some(txid(7)), false, &mut plan);
    assert!(plan.effects.is_empty());
    positions.answer_without_a_look(Some(txid(7)), &mut plan);
    assert_eq!(answers(&plan), [(1, Ok(Some(8)))]);
}
