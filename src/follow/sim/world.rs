//! Time, what happens, and how a history ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use super::broken::Broken;
use super::copy::{Copy, Killed};
use super::lead::Line;
use super::replica::{Pages, Replica};
use crate::clock::{Dice, Now};
use crate::follow::core::{Core, Event, Position};
use crate::remote::LtxObject;

pub static START: OnceLock<Instant> = OnceLock::new();

const TURNS: u64 = 60;
const PEACE_MS: u64 = 150_000;
const START_MS: u64 = 1_000_000;

pub enum Due {
    Timer(u32),
    Done(u32, Event),
    /// Comes while something is done.
    Told(u32, Event),
}

/// A request to catch up, and what there was then.
#[derive(Clone, Copy, Default)]
pub struct Asked {
    pub number: u64,
    pub newest: u64,
    /// When the history began.
    pub history: i64,
    /// A listing may have shown less than there was.
    pub is_void: bool,
}

#[derive(Default)]
pub struct World {
    dice: Option<Dice>,
    pub broken: Option<Broken>,
    pub now_ms: u64,
    due: BTreeMap<(u64, u64), Due>,
    serial: u64,
    pub replica: Replica,
    /// As a stale listing shows it.
    pub earlier: Replica,
    /// Every state of every history by TXID and moment.
    all: BTreeMap<(u64, i64), Pages>,
    pub copy: Copy,
    pub line: Line,
    pub core: Option<Core>,
    pub life: u32,
    /// An effect of the core is under way.
    is_busy: bool,
    /// Another program has written while the lock was not held.
    pub has_slipped_in: bool,
    /// How many requests of a hundred go wrong.
    faults: u64,
    /// Nothing goes wrong, and nothing is done to the copy.
    pub is_calm: bool,
    pub is_peace: bool,
    pub lie: Option<(LtxObject, LtxObject)>,
    /// The last request to catch up.
    pub asked: Asked,
    /// When a listing showed less than there was.
    pub shown_less: BTreeSet<u64>,
    pub counts: BTreeMap<&'static str, u32>,
    pub trace: Vec<String>,
    is_traced: bool,
}

impl World {
    pub fn of_seed(seed: u64, broken: Option<Broken>, is_traced: bool) -> World {
        let dice = Some(Dice::of(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(11)));
        let mut world = World { dice, broken, is_traced, now_ms: START_MS, ..World::default() };
        world.replica.begin(4096);
        world.commit();
        world
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.dice.as_mut().expect("thrown").roll(sides)
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_insert(0) += 1;
    }

    pub fn goes_wrong(&mut self) -> bool {
        self.roll(100) < self.faults
    }

    pub fn passed_ms(&self) -> u64 {
        self.now_ms - START_MS
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if self.is_traced {
            self.trace.push(format!("{:>9} {}", self.now_ms, what()));
        }
    }

    fn now(&self) -> Now {
        let passed = Duration::from_millis(self.now_ms);
        Now { instant: *START.get_or_init(Instant::now) + passed, boot: passed }
    }

    pub fn run(&mut self) -> Result<(), String> {
        self.start()?;
        for _ in 0..TURNS {
            if self.is_calm {
                self.happen_calmly()
            } else {
                self.happen()?
            }
            if self.roll(6) == 0 {
                self.ask_to_catch_up()?;
            }
            self.push_somehow();
            let pause = 1 << self.roll(13);
            self.go_on_for(pause)?;
            self.is_not_far_behind()?;
        }
        self.say(|| "peace".into());
        (self.faults, self.is_peace) = (0, true);
        self.replica.files.values_mut().for_each(|file| file.is_damaged = false);
        if !self.is_calm {
            self.replica.snapshot();
        }
        if self.core.is_none() {
            self.start()?;
        }
        self.ask_to_catch_up()?;
        self.go_on_for(PEACE_MS)?;
        if self.core.as_ref().map(Core::caught_up) != Some(self.asked.number) {
            return Err("it was asked to catch up, and does not say that it has".into());
        }
        self.check_end()
    }

    fn ask_to_catch_up(&mut self) -> Result<(), String> {
        if self.core.is_none() {
            return Ok(());
        }
        let history = self.replica.states.first().map_or(0, |(_, timestamp_ms)| *timestamp_ms);
        let number = self.asked.number + 1;
        self.asked = Asked { number, newest: self.replica.newest(), history, is_void: false };
        self.count("catches up");
        self.tell(Event::CatchUp(number))
    }

    /// Less may have been shown than there was.
    pub fn is_shown_less(&mut self) {
        self.asked.is_void = true;
        self.shown_less.insert(self.now_ms);
    }

    fn happen_calmly(&mut self) {
        match self.roll(6) {
            0..4 => (0..self.roll(8)).for_each(|_| self.commit()),
            4 => self.replica.compact(1),
            _ => self.replica.retain_l0(),
        }
    }

    fn happen(&mut self) -> Result<(), String> {
        match self.roll(24) {
            0..7 => (0..self.roll(6)).for_each(|_| self.commit()),
            7 => (0..self.roll(15)).for_each(|_| self.commit()),
            8 | 9 => self.replica.compact(1),
            10 => self.replica.compact(2),
            11 => self.replica.snapshot(),
            12 | 22 => {
                self.say(|| "retention".into());
                let mut dice = Dice::of(self.roll(1 << 30));
                self.replica.retain(&mut dice);
            }
            13 => self.faults = 0,
            14 => self.faults = self.roll(60),
            15 if self.roll(4) == 0 => self.faults = 100,
            16 | 17 => self.kill(),
            18 if self.core.is_none() => self.write_foreign(),
            18 if !self.copy.is_held => {
                self.write_foreign();
            }
            19 if self.core.is_none() && self.roll(4) == 0 => {
                self.say(|| "the note is lost".into());
                self.copy.note = None;
            }
            20 if !self.is_busy && self.roll(5) == 0 => self.begin_another_history(),
            21 if self.roll(3) == 0 => self.damage_one(),
            23 if self.core.is_none() && self.roll(8) == 0 => {
                self.say(|| "the copy is deleted".into());
                self.copy.pages = None;
            }
            _ => self.earlier = self.replica.clone(),
        }
        if self.core.is_none() && self.roll(3) == 0 {
            self.start()?;
        }
        Ok(())
    }

    fn commit(&mut self) {
        if self.broken == Some(Broken::PushesWhatIsNotConfirmed) {
            self.push_what_is_in_no_history(self.line.epoch);
        }
        let mut dice = Dice::of(self.roll(1 << 30));
        // No two commits are captured in one moment.
        self.now_ms += 1;
        self.replica.commit(&mut dice, self.now_ms as i64);
        let (pages, timestamp_ms) = self.replica.states.last().cloned().expect("one more");
        self.all.insert((self.replica.newest(), timestamp_ms), pages);
        self.push_newest();
    }

    fn begin_another_history(&mut self) {
        let page_size = if self.roll(3) == 0 { 8192 } else { self.replica.page_size };
        self.say(|| format!("another history begins, with pages of {page_size} bytes"));
        self.count("other histories");
        self.replica.begin(page_size);
        (0..1 + self.roll(30)).for_each(|_| self.commit());
        self.earlier = self.replica.clone();
    }

    fn damage_one(&mut self) {
        let count = self.replica.files.len() as u64;
        let at = self.roll(count.max(1)) as usize;
        if let Some(file) = self.replica.files.values_mut().nth(at) {
            file.is_damaged = true;
            self.count("damaged files");
        }
    }

    pub fn write_foreign(&mut self) {
        let Some(mut pages) = self.copy.pages.clone() else { return };
        let (at, content) = (self.roll(pages.len() as u64) as usize, 0x4000_0000 + self.serial as u32);
        pages[at] = content;
        if self.roll(3) == 0 {
            pages.push(content);
        }
        self.say(|| "another program writes to the copy".into());
        self.count("foreign writes");
        (self.copy.pages, self.copy.is_tainted, self.has_slipped_in) = (Some(pages), true, true);
    }

    fn kill(&mut self) {
        if self.core.take().is_some() {
            self.say(|| "killed".into());
        }
        (self.is_busy, self.copy.is_held, self.has_slipped_in) = (false, false, false);
        self.asked = Asked::default();
    }

    fn start(&mut self) -> Result<(), String> {
        self.say(|| "starts".into());
        self.life += 1;
        let seed = self.roll(1 << 30);
        self.core = Some(Core::new(Duration::from_millis([500, 2000][self.roll(2) as usize]), seed));
        self.tell_of_line();
        self.tell(Event::Timer)
    }

    pub fn later(&mut self, pause_ms: u64, due: Due) {
        self.serial += 1;
        self.due.insert((self.now_ms + pause_ms, self.serial), due);
    }

    fn go_on_for(&mut self, time_ms: u64) -> Result<(), String> {
        let until = self.now_ms + time_ms;
        let mut steps = 0;
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), due) = entry.remove_entry();
            self.now_ms = self.now_ms.max(at);
            steps += 1;
            if steps > 40_000 {
                return Err("something is done again and again without a pause".into());
            }
            match due {
                Due::Timer(life) if life == self.life => {
                    let wake_at = self.core.as_ref().and_then(Core::wake_at);
                    if wake_at.is_some_and(|at| at <= self.now().instant) {
                        self.tell(Event::Timer)?;
                    }
                }
                Due::Done(life, event) if life == self.life && self.core.is_some() => {
                    self.is_busy = false;
                    self.tell(event)?;
                }
                Due::Told(life, event) if life == self.life && self.core.is_some() => {
                    let event = match event {
                        Event::Pushed(pushed) => Event::Pushed(self.as_pushed(pushed)),
                        event => event,
                    };
                    self.tell(event)?
                }
                Due::Timer(_) | Due::Done(..) | Due::Told(..) => {}
            }
        }
        self.now_ms = self.now_ms.max(until);
        Ok(())
    }

    fn tell(&mut self, event: Event) -> Result<(), String> {
        self.say(|| format!("<- {}", shown(&event)));
        let now = self.now();
        let Some(core) = &mut self.core else { return Ok(()) };
        let effects = core.on_event(event, now);
        if let Some(end) = core.ended() {
            return Err(format!("it ended: {end:?}"));
        }
        self.has_caught_up()?;
        self.is_current()?;
        let Some(core) = &mut self.core else { return Ok(()) };
        if let Some(at) = core.wake_at() {
            let pause = at.saturating_duration_since(now.instant).as_nanos().div_ceil(1_000_000);
            self.later(u64::try_from(pause).expect("not that long"), Due::Timer(self.life));
        }
        for effect in effects {
            self.say(|| format!("-> {effect:?}"));
            let is_short = matches!(effect, crate::follow::core::Effect::Check(_));
            match self.carry_out(effect)? {
                None => {}
                Some(Err(Killed)) => {
                    self.kill();
                    return Ok(());
                }
                Some(Ok(event)) => {
                    self.is_busy = true;
                    let pause = if is_short { 1 } else { 1 + self.roll(40) };
                    self.later(pause, Due::Done(self.life, event));
                }
            }
        }
        Ok(())
    }

    /// What the core takes the copy for must be what it is.
    pub fn is_state(&self, position: Position, pages: &Pages) -> Result<(), String> {
        let Position { txid, timestamp_ms } = position;
        match self.all.get(&(txid.get(), timestamp_ms)) {
            Some(state) if state == pages => Ok(()),
            Some(_) => Err(format!("the copy is taken for TXID {txid}, and has other pages")),
            None => Err(format!("there was never a TXID {txid} of {timestamp_ms}")),
        }
    }

    /// Readers see a state of a history, unless another program has written.
    pub fn readers_look(&self) -> Result<(), String> {
        let Some(pages) = &self.copy.pages else { return Ok(()) };
        match self.copy.is_tainted || self.all.values().any(|state| state == pages) {
            true => Ok(()),
            false => Err("readers see what was never a state".into()),
        }
    }

    fn check_end(&mut self) -> Result<(), String> {
        let newest = self.replica.states.last().map(|(pages, _)| pages.clone());
        match self.copy.pages == newest && self.copy.page_size == self.replica.page_size {
            true => Ok(()),
            false => {
                let position = self.core.as_ref().and_then(Core::position);
                Err(format!("in the end the copy is at {position:?}, not at {}", self.replica.newest()))
            }
        }
    }
}

/// A listing is long.
fn shown(event: &Event) -> String {
    match event {
        Event::Listed(Ok(listing)) => format!("Listed({:?})", listing.objects().map(|o| &o.name).collect::<Vec<_>>()),
        event => format!("{event:?}"),
    }
}
