//! What a listing means for the copy.

use super::continuity::{contradiction, witnesses};
use super::lead::CHECK_EVERY;
use super::route::{Route, route};
use super::{Core, Doubt, Effect, Known, Notice, Position, Proof, Suspicion};
use crate::clock::Now;
use crate::ltx::{Header, Txid};
use crate::remote::{Level, Listing, LtxObject};

/// So many files are installed at once at most.
const FILES_MAX: usize = 256;

impl Core {
    pub(super) fn listed(&mut self, listing: &Listing, now: Now, effects: &mut Vec<Effect>) {
        self.avoided.retain(|_, until| *until > now.instant);
        match self.known {
            Known::At(at) => self.listed_at(at, listing, now, effects),
            Known::Doubt(reached) => self.listed_in_doubt(reached, listing, now, effects),
            _ => {}
        }
    }

    fn listed_at(&mut self, at: Position, listing: &Listing, now: Now, effects: &mut Vec<Effect>) {
        let newest = listing.newest_txid();
        if newest < Some(at.txid) {
            if !self.asked_whole {
                self.wants_whole = true;
            } else if self.is_confirmed(Suspicion::EndsBefore(newest), now) {
                let ends = newest.map_or_else(|| "nowhere".into(), |newest| format!("with TXID {newest}"));
                self.doubts(
                    Doubt::OtherHistory(format!("it ends {ends}, before TXID {} of the copy", at.txid)),
                    effects,
                );
            }
            return;
        }
        let found = l0(listing, at.txid);
        let is_proved = match (&self.proof, found) {
            (Proof::Object(end), Some(found)) => end == found,
            // Nothing is to be installed.
            (_, None) => newest == Some(at.txid),
            (Proof::Nothing | Proof::Pushed, Some(_)) => false,
        };
        if is_proved {
            return self.go_on(at, listing, now, effects);
        }
        if let (Proof::Pushed, Some(found), false) = (&self.proof, found, self.asked_whole) {
            let asked = vec![found.clone()];
            self.pending = Some(listing.clone());
            return self.at_once(Effect::Check(asked), effects);
        }
        if !self.asked_whole {
            self.wants_whole = true;
            return;
        }
        match witnesses(listing, at) {
            asked if asked.is_empty() => self.go_on(at, listing, now, effects),
            asked => {
                self.pending = Some(listing.clone());
                self.at_once(Effect::Check(asked), effects);
            }
        }
    }

    fn go_on(&mut self, at: Position, listing: &Listing, now: Now, effects: &mut Vec<Effect>) {
        let mut way = route(listing, Some(at.txid), |o| !self.avoided.contains_key(&o.name));
        if let (Route::Files(files), false) = (&way, self.asked_whole)
            && files.last().map(|o| o.max_txid) < listing.newest_txid()
        {
            // There is a gap behind them: look at everything first, it may be cheaper.
            way = Route::Gap(files[0].clone());
        }
        match way {
            Route::AtEnd => {
                (self.wants_whole, self.suspicion) = (false, None);
                // What is done without for a while is not installed.
                let has_all = listing.newest_txid() <= Some(at.txid);
                if has_all {
                    self.caught_up = self.asked_for;
                    self.current.is_at_end();
                }
                self.follows(at, now, effects);
                let pause = self.pause_at_end(at);
                if !has_all || self.caught_up == self.wanted {
                    self.later(pause, now);
                }
            }
            Route::Gap(_) if !self.asked_whole => self.wants_whole = true,
            Route::Gap(beyond) => {
                if self.is_confirmed(Suspicion::Gap(beyond.name.clone()), now) && self.said.gap != Some(at.txid) {
                    self.said.gap = Some(at.txid);
                    effects.push(Effect::Say(Notice::Gap { reached: Some(at.txid), beyond: Some(beyond) }));
                }
            }
            Route::Files(_) if self.lead.follows(at) => {
                if self.caught_up == self.wanted {
                    self.later(CHECK_EVERY, now);
                }
                if let Some(effect) = self.install_pushed(now) {
                    effects.push(effect);
                }
            }
            Route::Files(mut files) => {
                files.truncate(FILES_MAX);
                let is_all = files.last().map(|o| o.max_txid) >= listing.newest_txid();
                self.current.installs(is_all, true);
                if files[0].min_txid == Txid::FIRST {
                    let to = files[files.len() - 1].max_txid;
                    effects.push(Effect::Say(Notice::Overtaken { from: at.txid, to }));
                }
                self.install(Some(at), files, effects);
            }
        }
    }

    fn listed_in_doubt(&mut self, reached: Option<Txid>, listing: &Listing, now: Now, effects: &mut Vec<Effect>) {
        match route(listing, None, |o| !self.avoided.contains_key(&o.name)) {
            Route::Files(files) => {
                let to = files[files.len() - 1].max_txid;
                self.current.installs(Some(to) >= listing.newest_txid(), false);
                if Some(to) >= reached || self.is_confirmed(Suspicion::EndsBefore(Some(to)), now) {
                    self.install(None, files, effects);
                }
            }
            way => {
                let beyond = match way {
                    Route::Gap(beyond) => Some(beyond),
                    _ => None,
                };
                if self.said.gap != Some(Txid::FIRST) {
                    self.said.gap = Some(Txid::FIRST);
                    effects.push(Effect::Say(Notice::Gap { reached: None, beyond }));
                }
                self.after_a_pause(now);
            }
        }
    }

    fn install(&mut self, onto: Option<Position>, files: Vec<LtxObject>, effects: &mut Vec<Effect>) {
        self.wants_whole = false;
        let end = files.last().filter(|o| o.level == Level::L0).cloned();
        self.proof = end.map_or(Proof::Nothing, Proof::Object);
        self.at_once(Effect::Install { onto, files }, effects);
    }

    pub(super) fn checked(&mut self, headers: &[(LtxObject, Header)], now: Now, effects: &mut Vec<Effect>) {
        let (Known::At(at), Some(listing)) = (self.known, self.pending.take()) else { return };
        match contradiction(at, headers) {
            Some(why) => self.doubts(Doubt::OtherHistory(why), effects),
            None => {
                self.proof = l0(&listing, at.txid).cloned().map_or(Proof::Nothing, Proof::Object);
                self.go_on(at, &listing, now, effects);
            }
        }
    }

    fn doubts(&mut self, doubt: Doubt, effects: &mut Vec<Effect>) {
        effects.push(Effect::Say(Notice::Doubts(doubt)));
        (self.known, self.suspicion, self.proof, self.caught_up) = (Known::Doubt(None), None, Proof::Nothing, 0);
    }

    /// Whether the listing before showed the same. If not, the next one comes soon.
    fn is_confirmed(&mut self, suspicion: Suspicion, now: Now) -> bool {
        self.wants_whole = true;
        let pause = self.pace.quiet();
        self.later(pause, now);
        self.suspicion.replace(suspicion.clone()) == Some(suspicion)
    }
}

/// The level-0 object of a TXID.
fn l0(listing: &Listing, txid: Txid) -> Option<&LtxObject> {
    listing.level(Level::L0).iter().find(|o| o.max_txid == txid && o.min_txid == txid)
}
