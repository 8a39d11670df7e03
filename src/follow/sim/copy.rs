//! What the core wants done, on a model of the copy.

use super::broken::Broken;
use super::replica::{Pages, name_of};
use super::world::World;
use crate::follow::core::{Doubt, Effect, Event, Found, Grip, Installed, Notice, Position, Trouble};
use crate::ltx::Txid;
use crate::remote::LtxObject;

/// A state of the copy as it is noted: its pages stand for their checksum.
pub type Noted = (Position, Pages);

#[derive(Clone, Debug, Default)]
pub struct Copy {
    /// None: there is no file.
    pub pages: Option<Pages>,
    pub page_size: u32,
    /// None: the note is there and cannot be read.
    pub note: Option<Vec<Noted>>,
    /// Another program has written to it since it was last in order.
    pub is_tainted: bool,
    /// The write lock is held by the follower.
    pub is_held: bool,
}

fn passing() -> Trouble {
    Trouble::Passing("503".into())
}

/// The follower was killed: nothing comes back.
pub struct Killed;

/// The answer of an install, or a kill, or what does not hold.
pub type Transacted = Result<Result<(Result<Installed, Trouble>, Grip), Killed>, String>;

impl World {
    /// What the effect comes to, an event that arrives later; `Err` is what does not hold.
    pub fn carry_out(&mut self, effect: Effect) -> Result<Option<Result<Event, Killed>>, String> {
        let event = match effect {
            Effect::Say(notice) => {
                if matches!(notice, Notice::Replaced) {
                    self.count("replaced");
                }
                return Ok(None);
            }
            Effect::Look => Event::Looked(self.look()?),
            Effect::Restore => Event::Restored(self.restore()),
            // Sometimes a reader has it open.
            Effect::Replace if self.roll(3) > 0 && !self.is_peace => Event::Replaced(Err(passing())),
            Effect::Replace => Event::Replaced(self.restore()),
            Effect::List { whole } => Event::Listed(self.list(whole).map(Box::new)),
            Effect::Check(objects) if self.broken == Some(Broken::TakesAnyHistory) => {
                drop(objects);
                Event::Checked(Ok(Vec::new()))
            }
            Effect::Check(_) if self.goes_wrong() => Event::Checked(Err(passing())),
            Effect::Check(objects) => {
                let header = |object: LtxObject| Some((object.clone(), self.replica.header(&object)?));
                Event::Checked(Ok(objects.into_iter().filter_map(header).collect()))
            }
            Effect::Hold => Event::Held(Ok(self.hold())),
            Effect::Close => {
                self.copy.is_held = false;
                Event::Closed
            }
            Effect::InstallPushed { onto, files } => match self.install_pushed(onto, files)? {
                Ok((installed, grip)) => Event::Installed(installed, grip),
                Err(killed) => return Ok(Some(Err(killed))),
            },
            Effect::Install { onto, files } => match self.install(onto, files)? {
                Ok((installed, grip)) => Event::Installed(installed, grip),
                Err(killed) => return Ok(Some(Err(killed))),
            },
        };
        Ok(Some(Ok(event)))
    }

    fn look(&mut self) -> Result<Result<Found, Trouble>, String> {
        let Some(pages) = self.copy.pages.clone() else { return Ok(Ok(Found::Missing)) };
        if self.roll(10) == 0 && !self.is_calm {
            return Ok(Err(passing()));
        }
        self.copy.is_held = true;
        self.has_slipped_in = false;
        let noted = self.copy.note.clone().unwrap_or_default();
        let found = match self.broken {
            Some(Broken::TrustsTheNote) => noted.last(),
            _ => noted.iter().find(|(_, noted)| *noted == pages),
        };
        Ok(Ok(match found {
            Some((position, _)) => {
                self.is_state(*position, &pages)?;
                self.copy.is_tainted = false;
                Found::At(*position)
            }
            None if noted.is_empty() => Found::Doubt(Doubt::NotNoted),
            None => Found::Doubt(Doubt::Changed),
        }))
    }

    fn restore(&mut self) -> Result<(), Trouble> {
        if self.goes_wrong() || self.replica.states.is_empty() {
            return Err(passing());
        }
        let (pages, timestamp_ms) = self.replica.states.last().cloned().expect("not empty");
        let position = Position { txid: Txid::new(self.replica.newest()).expect("not zero"), timestamp_ms };
        self.count("restores");
        let page_size = self.replica.page_size;
        self.copy.note = Some(vec![(position, pages.clone())]);
        // Killed before it gets its name.
        if self.roll(20) == 0 && !self.is_calm {
            return Err(passing());
        }
        (self.copy.pages, self.copy.page_size, self.copy.is_tainted) = (Some(pages), page_size, false);
        Ok(())
    }

    fn list(&mut self, whole: bool) -> Result<crate::remote::Listing, Trouble> {
        self.count("lists");
        if self.goes_wrong() {
            return Err(passing());
        }
        let is_stale = self.roll(8) == 0 && !self.is_calm && !self.is_peace;
        let is_secret = self.broken == Some(Broken::ListsWhatWasEarlier);
        if is_stale && !is_secret {
            self.is_shown_less();
        }
        let replica = if is_stale || is_secret && !self.is_peace { &self.earlier } else { &self.replica };
        let mut listing = replica.listing(whole);
        if self.broken == Some(Broken::TakesAnyHistory) {
            let objects: Vec<LtxObject> = listing.objects().cloned().collect();
            for object in objects {
                listing.insert(LtxObject { size: 500, modified_ms: 1, ..object });
            }
        }
        if self.broken == Some(Broken::TakesAnyFileForTheNext)
            && let Some(at) = self.core.as_ref().and_then(|core| core.position())
        {
            let behind = listing.objects().filter(|o| o.min_txid > at.txid).min_by_key(|o| o.min_txid).cloned();
            if let (Some(behind), Some(next)) = (behind, at.txid.next()) {
                self.lie = Some((behind.clone(), LtxObject { min_txid: next, ..behind.clone() }));
                listing.insert(LtxObject { min_txid: next, ..behind });
            }
        }
        Ok(listing)
    }

    fn hold(&mut self) -> Grip {
        if self.roll(12) == 0 && !self.is_calm && !self.is_peace {
            return Grip::Busy;
        }
        self.copy.is_held = true;
        match std::mem::take(&mut self.has_slipped_in) && self.broken != Some(Broken::MissesForeignWrites) {
            true => Grip::Foreign,
            false => Grip::Held,
        }
    }

    /// The lock is let go for a moment, and another program may write in it.
    pub fn hold_again(&mut self) -> Grip {
        self.copy.is_held = false;
        if self.roll(25) == 0 && !self.is_calm && !self.is_peace {
            self.write_foreign();
        }
        self.hold()
    }

    fn install(&mut self, onto: Option<Position>, files: Vec<LtxObject>) -> Transacted {
        let give_up = |trouble| Ok(Ok((Err(trouble), Grip::Held)));
        let mut files: Vec<LtxObject> = files.into_iter().map(|object| self.true_name(object)).collect();
        if self.broken == Some(Broken::SkipsAFile) && files.len() > 1 {
            files.remove(0);
        }
        let old = self.copy.pages.clone().expect("it is open");
        let mut pages: Vec<Option<u32>> = match onto {
            Some(_) => old.iter().copied().map(Some).collect(),
            None => vec![None; old.len()],
        };
        let mut is_damaged = None;
        let (mut commit, mut timestamp_ms) = (0, 0);
        for object in &files {
            if self.goes_wrong() {
                return match self.roll(2) {
                    0 => Ok(Ok((Err(passing()), self.hold_again()))),
                    _ => give_up(Trouble::Gone),
                };
            }
            let Some(file) = self.replica.files.get(&name_of(object)) else { return give_up(Trouble::Gone) };
            if file.page_size != self.copy.page_size {
                return give_up(Trouble::OtherPageSize("8192".into()));
            }
            if file.is_damaged {
                is_damaged = Some(object.name.clone());
            }
            (commit, timestamp_ms) = (file.commit, file.timestamp_ms);
            pages.resize(pages.len().max(commit), None);
            for (page, content) in &file.pages {
                pages[*page] = Some(if file.is_damaged { content ^ 0x8000_0000 } else { *content });
            }
        }
        if let Some(name) = is_damaged.filter(|_| self.broken != Some(Broken::CommitsUnverified)) {
            return give_up(Trouble::Damaged { name, why: "checksum".into() });
        }
        if self.broken != Some(Broken::ForgetsToCut) {
            pages.truncate(commit);
        }
        if let Some(missing) = pages[..commit].iter().position(Option::is_none) {
            return Ok(Ok((Err(Trouble::Incomplete(format!("page {missing}"))), self.hold_again())));
        }
        let pages: Pages = pages.into_iter().flatten().collect();
        let position = Position { txid: files[files.len() - 1].max_txid, timestamp_ms };
        self.count(if onto.is_none() { "installs of whole images" } else { "installs" });
        self.commit_install(onto, position, old, pages)
    }

    /// In steps that a kill can part.
    pub fn commit_install(
        &mut self,
        onto: Option<Position>,
        position: Position,
        old: Pages,
        pages: Pages,
    ) -> Transacted {
        let killed_at = if self.roll(30) == 0 && !self.is_calm && !self.is_peace { self.roll(4) } else { 9 };
        if killed_at < 9 {
            self.count("kills in an install");
        }
        if killed_at == 0 {
            return Ok(Err(Killed));
        }
        let before: Vec<Noted> = onto.into_iter().map(|onto| (onto, old.clone())).collect();
        self.copy.note = Some([before.as_slice(), &[(position, pages.clone())]].concat());
        if killed_at == 1 {
            return Ok(Err(Killed));
        }
        if self.broken == Some(Broken::InstallsInTwoHalves) {
            let half = pages.len() / 2;
            let torn = [&pages[..half], old.get(half..).unwrap_or_default()].concat();
            self.copy.pages = Some(torn);
            self.readers_look()?;
        }
        let changed = pages.len() as u64;
        self.copy.pages = Some(pages.clone());
        self.copy.is_tainted &= onto.is_some();
        self.is_state(position, &pages)?;
        self.readers_look()?;
        if killed_at == 2 {
            return Ok(Err(Killed));
        }
        self.copy.note = Some(vec![(position, pages)]);
        if killed_at == 3 {
            return Ok(Err(Killed));
        }
        let grip = self.hold_again();
        Ok(Ok((Ok(Installed { position, pages: changed }), grip)))
    }

    /// The file that the executor has listed under another beginning.
    fn true_name(&self, object: LtxObject) -> LtxObject {
        match &self.lie {
            Some((real, shown)) if *shown == object => real.clone(),
            _ => object,
        }
    }
}
