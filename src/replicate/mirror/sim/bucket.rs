//! The mirror's bucket: what its requests come to, and what a restore from it gives.

use super::*;

impl World {
    /// The newest TXID that lies there, whether a restore gets there or not.
    pub(super) fn end(&self) -> Option<(u64, Branch)> {
        let l0 = self.l0.last_key_value().map(|(number, branch)| (*number, *branch));
        l0.max(self.snapshots.last().copied())
    }

    pub(super) fn goes_wrong(&mut self) -> bool {
        self.roll(100) < self.faults
    }

    pub(super) fn look(&mut self) -> Result<Found, Trouble> {
        if self.goes_wrong() {
            return Err(passing());
        }
        let Some((end, branch)) = self.end() else { return Ok(Found::Empty) };
        if self.broken == Some(Broken::TakesAnyHistory) {
            return Ok(Found::Same(txid(end)));
        }
        if end > self.newest {
            return Ok(Found::Foreign("it is longer".into()));
        }
        if self.noted == Some(end) {
            return Ok(Found::Same(txid(end)));
        }
        if !self.at_hand.contains(&end) && self.first_is_down {
            return Err(passing());
        }
        if self.at_hand.contains(&end) || end >= self.oldest {
            return Ok(if branch == 0 { Found::Same(txid(end)) } else { Found::Foreign("other bytes".into()) });
        }
        // Compacted files of both sometimes end with the same TXID.
        match self.roll(2) {
            0 if branch == 0 => Ok(Found::SameBefore(txid(end))),
            _ => Ok(Found::Foreign("it cannot be compared".into())),
        }
    }

    pub(super) fn copy(&mut self, number: u64) -> Result<Result<Txid, Trouble>, String> {
        let is_at_hand = self.at_hand.contains(&number);
        if !is_at_hand && self.first_is_down {
            return Ok(Err(passing()));
        }
        let mut number = number;
        if !is_at_hand && number < self.oldest {
            if self.broken != Some(Broken::SkipsAGap) {
                return Ok(Err(Trouble::Gone));
            }
            number = self.oldest;
        }
        if number > self.newest {
            return Err(format!("TXID {number} is copied, and is not final"));
        }
        let fate = if self.goes_wrong() { 1 + self.roll(2) } else { 0 };
        let counts = self.broken == Some(Broken::ConfirmsFailures);
        if fate == 1 {
            return Ok(if counts { Ok(txid(number)) } else { Err(passing()) });
        }
        match self.l0.get(&number) {
            Some(branch) if *branch != 0 && self.broken == Some(Broken::Overwrites) => {
                return Err(format!("TXID {number} was replaced"));
            }
            Some(branch) if *branch != 0 => return Ok(Err(Trouble::Foreign("other bytes".into()))),
            _ => drop(self.l0.insert(number, 0)),
        }
        if fate == 2 {
            return Ok(Err(passing()));
        }
        self.in_step(number);
        Ok(Ok(txid(number)))
    }

    pub(super) fn begin_anew(&mut self, after: u64) -> Result<Txid, Trouble> {
        if self.first_is_down || self.goes_wrong() {
            return Err(passing());
        }
        // What one merge takes in may end before the newest.
        let reaches = self.newest - self.roll(3).min(self.newest - 1);
        if reaches <= after {
            return Err(Trouble::Gone);
        }
        if self.broken != Some(Broken::BeginsWithNothing) {
            self.snapshots.insert((reaches, 0));
        }
        if self.goes_wrong() {
            return Err(passing());
        }
        self.in_step(reaches);
        Ok(txid(reaches))
    }

    pub(super) fn in_step(&mut self, number: u64) {
        self.at_hand = self.at_hand.split_off(&(number + 1));
        self.noted = Some(number);
    }

    /// What a restore of the mirror gives.
    pub(super) fn restored(&self) -> Option<(u64, Branch)> {
        let snapshot = self.snapshots.last().copied();
        let (mut end, branch) = match (snapshot, self.l0.get(&1)) {
            (Some(snapshot), _) => snapshot,
            (None, Some(branch)) => (0, *branch),
            (None, None) => return None,
        };
        while self.l0.get(&(end + 1)) == Some(&branch) {
            end += 1;
        }
        Some((end, branch))
    }

    pub(super) fn is_confirmed(&mut self, number: u64) -> Result<(), String> {
        self.confirmed = number;
        match self.restored() {
            Some((end, 0)) if end >= number => Ok(()),
            restored => Err(format!("TXID {number} is confirmed, and a restore gives {restored:?}")),
        }
    }

    pub(super) fn check_end(&self) -> Result<(), String> {
        match (self.newest, self.confirmed) {
            (0, _) => Ok(()),
            (newest, confirmed) if newest == confirmed => Ok(()),
            // It cannot be told apart from another history once nothing can be compared any more.
            _ if self.is_refused => Ok(()),
            (newest, confirmed) => Err(format!("the mirror has TXID {confirmed} of {newest} in the end")),
        }
    }
}
