//! The primary that pushes, and the connection to it: it is lost and made again, what was pushed
//! comes again or not at all, and an earlier primary pushes on.

use std::collections::BTreeMap;

use super::broken::Broken;
use super::copy::Transacted;
use super::replica::{File, Pages};
use super::world::{Due, World};
use crate::follow::core::{Core, Event, Grip, Position, Trouble};
use crate::ltx::Txid;
use crate::remote::{Epoch, Pushed};
use bytes::Bytes;

/// A connection that was lost without a word is noticed after this.
const SILENCE_MS: u64 = 5_000;
/// A copy that nothing is done to is behind by no more than a pause between two listings.
const FAR_BEHIND_MS: i64 = 13_000;

#[derive(Default)]
pub struct Line {
    pub epoch: u64,
    /// What is sent arrives.
    is_up: bool,
    /// The follower takes it for up, or will when it has heard.
    is_told: bool,
    /// It is up from the beginning to the end.
    pub is_steady: bool,
    last: Option<Position>,
    sent: Vec<Pushed>,
    files: BTreeMap<(u64, i64), File>,
    /// Nothing overtakes.
    arrives_ms: u64,
}

impl World {
    /// What happens to it in a turn.
    pub fn push_somehow(&mut self) {
        if self.line.is_steady || self.is_peace {
            if !self.line.is_up {
                self.connect();
            }
            return;
        }
        match self.roll(12) {
            0..2 if !self.line.is_told => self.connect(),
            2 if self.line.is_up => self.lose(),
            3 if self.line.is_up => self.push_again(),
            4 if self.roll(3) == 0 => {
                // Another primary: the connection to the old one is given up.
                self.lose();
                self.line.epoch += 1;
                self.line.last = None;
            }
            5 | 6 if self.line.epoch > 1 => {
                self.count("pushes of a superseded primary");
                self.push_what_is_in_no_history(self.line.epoch - 1);
            }
            _ => {}
        }
    }

    fn connect(&mut self) {
        self.say(|| "the primary pushes".into());
        self.count("connections");
        self.line.epoch = self.line.epoch.max(1);
        (self.line.is_up, self.line.is_told) = (true, true);
        self.tell_of_line();
        if self.roll(2) == 0 {
            self.push_again();
        }
    }

    fn lose(&mut self) {
        self.say(|| "the connection to the primary is lost".into());
        self.count("lost connections");
        self.line.is_up = false;
        if self.broken == Some(Broken::MissesALostConnection) {
            return;
        }
        let pause = [1, SILENCE_MS][self.roll(2) as usize];
        if std::mem::take(&mut self.line.is_told) {
            self.arrive_after(pause, Event::Lead(None));
        }
    }

    /// Also when the follower begins.
    pub fn tell_of_line(&mut self) {
        if self.line.is_told {
            let epoch = Epoch::new(self.line.epoch);
            self.arrive_after(1, Event::Lead(epoch));
        }
    }

    fn arrive_after(&mut self, pause: u64, event: Event) {
        self.line.arrives_ms = self.line.arrives_ms.max(self.now_ms + pause);
        self.later(self.line.arrives_ms - self.now_ms, Due::Told(self.life, event));
    }

    fn send(&mut self, pushed: Pushed) {
        if self.line.is_up && self.core.is_some() {
            let pause = 1 + self.roll(30);
            self.arrive_after(pause, Event::Pushed(pushed));
        }
    }

    /// The newest state was confirmed.
    pub fn push_newest(&mut self) {
        let Some(epoch) = Epoch::new(self.line.epoch) else { return };
        let newest = self.replica.newest();
        let (_, timestamp_ms) = self.replica.states.last().cloned().expect("not empty");
        let position = Position { txid: Txid::new(newest).expect("not zero"), timestamp_ms };
        let onto = self.line.last.replace(position).filter(|last| last.txid.next() == Some(position.txid));
        let file = self.replica.files[&(0, newest, newest)].clone();
        self.line.files.insert((newest, timestamp_ms), file);
        // What is large is not sent.
        let bytes = (self.line.is_steady || self.roll(8) > 0).then(|| Bytes::from_static(b"a file"));
        let pushed = Pushed { epoch, onto, position, bytes };
        self.line.sent.push(pushed.clone());
        // A reader that was too slow is told of what comes after.
        if self.roll(20) > 0 || self.is_calm {
            self.send(pushed);
        }
    }

    /// What it had pushed before.
    fn push_again(&mut self) {
        self.count("pushes again");
        let last = self.line.sent.len().saturating_sub(1 + self.roll(6) as usize);
        for pushed in self.line.sent.split_off(last) {
            let pushed = Pushed { epoch: Epoch::new(self.line.epoch).expect("not zero"), ..pushed };
            self.line.sent.push(pushed.clone());
            self.send(pushed);
        }
    }

    /// A state that will never be one.
    pub fn push_what_is_in_no_history(&mut self, epoch: u64) {
        let Some((epoch, at)) = Epoch::new(epoch).zip(self.core.as_ref().and_then(Core::position)) else { return };
        let (pages, timestamp_ms) = self.replica.states.last().cloned().expect("not empty");
        let content = BTreeMap::from([(0, 0x2000_0000 + self.roll(1 << 20) as u32)]);
        let position = Position { txid: at.txid.next().expect("not the last"), timestamp_ms: timestamp_ms + 1 };
        let file = File {
            pages: content,
            commit: pages.len(),
            timestamp_ms: position.timestamp_ms,
            page_size: self.replica.page_size,
            is_damaged: false,
        };
        self.line.files.insert((position.txid.get(), position.timestamp_ms), file);
        let epoch = match self.broken {
            Some(Broken::BelievesASupersededPrimary) => Epoch::new(self.line.epoch).expect("a later one"),
            _ => epoch,
        };
        self.send(Pushed { epoch, onto: Some(at), position, bytes: Some(Bytes::from_static(b"a file")) });
    }

    /// As it arrives.
    pub fn as_pushed(&self, pushed: Pushed) -> Pushed {
        let at = self.core.as_ref().and_then(Core::position);
        match self.broken {
            Some(Broken::TakesAnyPushForTheNext) => Pushed { onto: at, ..pushed },
            _ => pushed,
        }
    }

    pub fn install_pushed(&mut self, onto: Position, files: Vec<(Position, Bytes)>) -> Transacted {
        let old = self.copy.pages.clone().expect("it is open");
        let mut pages = old.clone();
        for (position, _) in &files {
            if self.goes_wrong() && self.roll(4) == 0 {
                return Ok(Ok((Err(Trouble::Gone), Grip::Held)));
            }
            let file = self.line.files[&(position.txid.get(), position.timestamp_ms)].clone();
            if file.page_size != self.copy.page_size {
                return Ok(Ok((Err(Trouble::OtherPageSize("8192".into())), Grip::Held)));
            }
            if pages.len() < file.commit && (pages.len()..file.commit).any(|page| !file.pages.contains_key(&page)) {
                return Ok(Ok((Err(Trouble::Incomplete("a page".into())), self.hold_again())));
            }
            pages.resize(file.commit, 0);
            for (page, content) in file.pages.iter().filter(|(page, _)| **page < file.commit) {
                pages[*page] = *content;
            }
        }
        let (position, _) = *files.last().expect("one at least");
        self.count("installs of pushes");
        self.commit_install(Some(onto), position, old, pages)
    }

    /// While nothing is done to the copy, and nothing goes wrong.
    pub fn is_not_far_behind(&self) -> Result<(), String> {
        let Some(at) = self.core.as_ref().and_then(Core::position).filter(|_| self.is_calm) else { return Ok(()) };
        let is_old = |(_, timestamp_ms): &&(Pages, i64)| *timestamp_ms < self.now_ms as i64 - FAR_BEHIND_MS;
        let old = self.replica.states.iter().take_while(is_old).count() as u64;
        match at.txid.get() < old {
            true => Err(format!("the copy is at {}, and {old} is there for {FAR_BEHIND_MS} ms", at.txid)),
            false => Ok(()),
        }
    }
}
