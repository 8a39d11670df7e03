//! Fuzzing with nothing but the stable compiler: inputs that follow from a corpus and a seed.
//!
//! A target is a test named `fuzz` beside the code that it is about; its corpus lies in
//! `tests/corpus/TARGET`. It gets every file of the corpus as it is, and then inputs that are made
//! of them: bits flipped, numbers at their limits, parts cut out, doubled, or taken from another
//! file. What must hold is said by the target with assertions. Here it is seen to that no input
//! panics, takes much memory, or never comes to an end.
//!
//! ```text
//! cargo test                   the corpus, and the same few thousand seeds every time
//! scripts/fuzz TARGET 10m      new seeds for so long, as many as there is time for
//! scripts/fuzz TARGET 4711     one seed: what `cargo test` and the line above print when something is wrong
//! ```

pub mod seeds;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::clock::{Dice, MACHINE};

/// Inputs in an ordinary test run.
const ORDINARY: u64 = 2000;
/// No input is longer.
const LEN_MAX: usize = 64 << 10;
/// What one input may have allocated at the same time.
const MEMORY_MAX: isize = 64 << 20;
/// An input that takes longer never ends, on whatever machine.
const TIME_MAX: Duration = Duration::from_secs(60);

/// What means something to one parser or another.
const SIGNS: &[u8] = b"\0\n\r\t \"'%&*/:;<>?@[]{}|\\\x7f\xff";

/// Runs `check` with every input that is asked for by the environment (see `scripts/fuzz`). It
/// panics if something is wrong.
pub fn fuzz(target: &str, check: impl Fn(&[u8])) {
    let (corpus, watch) = (Corpus::of(target), Watch::begin());
    let seeded = |seed: u64| corpus.attempt(&watch, &check, &corpus.input(seed), &seed.to_string());
    let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().expect("a whole number"));
    if let Some(seed) = number("MILLSTREAM_FUZZ_SEED") {
        return seeded(seed);
    }
    for (file, name) in corpus.files.iter().zip(&corpus.names) {
        corpus.attempt(&watch, &check, file, name);
    }
    let Some(seconds) = number("MILLSTREAM_FUZZ_SECONDS") else { return (0..ORDINARY).for_each(seeded) };
    let (end, first) = (Instant::now() + Duration::from_secs(seconds), MACHINE.random_u64() >> 24);
    let mut seed = first;
    while Instant::now() < end {
        seeded(seed);
        seed += 1;
    }
    println!("{target}: {} inputs, seeds {first} to {seed}", seed - first);
}

/// Asserts that `check`, which has something broken in it, is caught by an ordinary test run.
pub fn must_catch(target: &str, check: impl Fn(&[u8])) {
    let corpus = Corpus::of(target);
    let is_caught = |input: Vec<u8>| catch_unwind(AssertUnwindSafe(|| check(&input))).is_err();
    let caught = corpus.files.iter().cloned().any(is_caught) || (0..ORDINARY).map(|s| corpus.input(s)).any(is_caught);
    assert!(caught, "nothing in the corpus of {target} shows that this is broken");
}

/// Real files, from which inputs are made.
struct Corpus {
    target: String,
    names: Vec<String>,
    files: Vec<Vec<u8>>,
}

impl Corpus {
    fn of(target: &str) -> Corpus {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(&dir).expect("a corpus").map(|e| e.expect("entry").path()).collect();
        // The order is part of what a seed means.
        paths.sort();
        assert!(!paths.is_empty(), "the corpus of {target} is empty");
        let files = paths.iter().map(|path| std::fs::read(path).expect("read")).collect();
        let names = paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
        Corpus { target: target.to_owned(), names, files }
    }

    /// The input that belongs to a seed.
    fn input(&self, seed: u64) -> Vec<u8> {
        let mut dice = Dice::of(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.roll(2);
        let mut input = self.any(&mut dice).to_vec();
        for _ in 0..=dice.roll(8) {
            self.change(&mut input, &mut dice);
        }
        input.truncate(LEN_MAX);
        input
    }

    fn any(&self, dice: &mut Dice) -> &[u8] {
        &self.files[dice.roll(self.files.len() as u64) as usize]
    }

    fn change(&self, input: &mut Vec<u8>, dice: &mut Dice) {
        let (at, end) = range(input.len(), dice);
        match dice.roll(9) {
            0 | 1 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << dice.roll(8)),
            2 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte = dice.roll(256) as u8),
            3 => {
                let number = number(dice);
                input.iter_mut().skip(at).zip(number).for_each(|(byte, new)| *byte = new);
            }
            4 => drop(input.drain(at..end)),
            5 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            6 => input.truncate(at),
            7 => {
                let other = self.any(dice);
                let (from, to) = range(other.len(), dice);
                input.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let sign = SIGNS[dice.roll(SIGNS.len() as u64) as usize];
                input.splice(at..at, std::iter::repeat_n(sign, 1 + dice.roll(3) as usize));
            }
        }
    }

    /// One input; what is wrong is said with its name, and the input is kept.
    fn attempt(&self, watch: &Watch, check: &impl Fn(&[u8]), input: &[u8], name: &str) {
        watch.set(Some((Instant::now(), format!("fuzz {} {name}", self.target))));
        let before = memory::begin();
        let outcome = catch_unwind(AssertUnwindSafe(|| check(input)));
        let taken = memory::peak() - before;
        watch.set(None);
        let wrong = match outcome {
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
            }
            Ok(()) if taken > MEMORY_MAX => format!("it took {taken} bytes of memory"),
            Ok(()) => return,
        };
        let target = &self.target;
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/fuzz-{target}-{name}"));
        std::fs::write(&kept, input).expect("keep the input");
        let again = match name.parse::<u64>() {
            Ok(seed) => format!("scripts/fuzz {target} {seed} tries it again"),
            Err(_) => format!("{name} is in its corpus"),
        };
        panic!("{target}: {wrong}\n{again}; the input is kept in {}", kept.display());
    }
}

/// A part of so many bytes: mostly a short one.
fn range(len: usize, dice: &mut Dice) -> (usize, usize) {
    let at = dice.roll(len as u64 + 1) as usize;
    let longest = if dice.roll(4) == 0 { len } else { 16 };
    (at, at + dice.roll((len - at).min(longest) as u64 + 1) as usize)
}

/// A number at a limit of its type, in either byte order.
fn number(dice: &mut Dice) -> Vec<u8> {
    let limits = [
        0,
        1,
        2,
        0x7f,
        0x80,
        0xff,
        0x100,
        0x7fff,
        0xffff,
        0x1_0000,
        0x7fff_ffff,
        0xffff_ffff,
        i64::MAX as u64,
        u64::MAX,
    ];
    let number = limits[dice.roll(limits.len() as u64) as usize];
    let len = [2, 4, 8][dice.roll(3) as usize];
    let mut bytes = number.to_be_bytes()[8 - len..].to_vec();
    if dice.roll(2) == 0 {
        bytes.reverse();
    }
    bytes
}

/// Ends the process if an input is not done in time: a test cannot be ended from within.
struct Watch {
    now: Arc<Mutex<Option<(Instant, String)>>>,
    _end: Sender<()>,
}

impl Watch {
    fn begin() -> Watch {
        let (sender, receiver) = channel::<()>();
        let now: Arc<Mutex<Option<(Instant, String)>>> = Arc::default();
        let seen = now.clone();
        std::thread::spawn(move || {
            while receiver.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let now = seen.lock().expect("no panic while it is held");
                if let Some((began, what)) = &*now
                    && began.elapsed() > TIME_MAX
                {
                    #[expect(clippy::print_stderr, reason = "the last words of this process")]
                    {
                        eprintln!("{what}: not done after {TIME_MAX:?}");
                    }
                    std::process::abort();
                }
            }
        });
        Watch { now, _end: sender }
    }

    fn set(&self, what: Option<(Instant, String)>) {
        *self.now.lock().expect("no panic while it is held") = what;
    }
}

/// How much memory this thread has allocated.
mod memory {
    use super::*;

    thread_local! {
        static NOW: Cell<isize> = const { Cell::new(0) };
        static PEAK: Cell<isize> = const { Cell::new(0) };
    }

    struct Counting;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    fn count(bytes: isize) {
        // A thread that ends has no counters any more.
        let _ = NOW.try_with(|now| {
            now.set(now.get() + bytes);
            let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
        });
    }

    // SAFETY: everything is passed on to the system's allocator as it is; the counters allocate
    // nothing.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(layout.size() as isize);
            // SAFETY: the caller's promise is the one that is asked for.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            count(-(layout.size() as isize));
            // SAFETY: as above.
            unsafe { System.dealloc(at, layout) }
        }

        unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            count(size as isize - layout.size() as isize);
            // SAFETY: as above.
            unsafe { System.realloc(at, layout, size) }
        }
    }

    /// What is allocated now; the peak begins anew.
    pub fn begin() -> isize {
        let now = NOW.get();
        PEAK.set(now);
        now
    }

    pub fn peak() -> isize {
        PEAK.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_input_every_time() {
        let corpus = Corpus::of("ltx");
        let again = Corpus::of("ltx");
        let inputs: Vec<Vec<u8>> = (0..50).map(|seed| corpus.input(seed)).collect();
        assert!((0..50).all(|seed| again.input(seed) == inputs[seed as usize]));
        assert!(inputs.iter().collect::<std::collections::BTreeSet<_>>().len() > 45, "they differ");
    }

    #[test]
    fn memory_and_panics_are_noticed() {
        must_catch("url", |_| panic!("always"));
        let watch = Watch::begin();
        let corpus = Corpus::of("url");
        let hungry = |_: &[u8]| drop(std::hint::black_box(vec![1u8; MEMORY_MAX as usize + 1]));
        let noticed = catch_unwind(AssertUnwindSafe(|| corpus.attempt(&watch, &hungry, b"", "memory"))).is_err();
        assert!(noticed);
    }
}
