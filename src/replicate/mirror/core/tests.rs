use super::*;
use crate::clock::MACHINE;

fn txid(number: u64) -> Txid {
    Txid::new(number).expect("not zero")
}

/// What a mirror has of the end of the first replica proves that it goes on from there.
#[test]
fn a_mirror_that_leads_is_not_maintained() {
    let second = Duration::from_secs(1);
    let config = Config { sync_interval: second, final_retry_interval: second, proof_lasts: 3600 * second };
    let (mut core, now) = (Core::new(config, 1), MACHINE.now());
    let mut maintains = |event| -> Option<bool> {
        let last = |effect: &Effect| if let Effect::Maintain(is_on) = effect { Some(*is_on) } else { None };
        core.on_event(event, now).iter().filter_map(last).next_back()
    };
    assert_eq!(maintains(Event::Final(txid(3))), None);
    assert_eq!(maintains(Event::Looked(Ok(Found::Same(txid(3))))), Some(true));
    assert_eq!(maintains(Event::FirstIsAway(true)), Some(false));
    assert_eq!(maintains(Event::Final(txid(5))), None);
    assert_eq!(maintains(Event::Copied(Ok(txid(4)))), None);
    assert_eq!(maintains(Event::FirstIsAway(false)), Some(false), "it lacks two TXIDs");
    assert_eq!(maintains(Event::Final(txid(4))), None);
    assert_eq!(maintains(Event::Final(txid(5))), Some(true));
}

#[test]
fn it_is_not_maintained_either_when_it_is_met_while_the_first_is_away() {
    let second = Duration::from_secs(1);
    let config = Config { sync_interval: second, final_retry_interval: second, proof_lasts: 3600 * second };
    let (mut core, now) = (Core::new(config, 1), MACHINE.now());
    core.on_event(Event::FirstIsAway(true), now);
    core.on_event(Event::Final(txid(3)), now);
    let effects = core.on_event(Event::Looked(Ok(Found::Same(txid(2)))), now);
    assert!(!effects.contains(&Effect::Maintain(true)), "{effects:?}");
}
