//! What this process says on stderr, without ever waiting for whoever should read it.
//!
//! A log driver that does not read, or a terminal that is stopped, keeps a write for as long as it likes, and nothing that
//! supervises or replicates may wait for that. So a line goes to a bounded backlog, and one thread writes:
//!
//! ```text
//!   log lines, errors, panics ──▶ Backlog ──▶ one thread ──▶ file descriptor 2
//! ```
//!
//! When the backlog is full its oldest lines are dropped, because the newest say how things stand now. How many were dropped is
//! said before the first line that comes after them. At the end of the process what is left is written if somebody reads it.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

use crate::clock::MACHINE;

use backlog::{Backlog, Next};

mod backlog;

/// Lines that wait for a reader, in bytes.
const CAPACITY: usize = 512 * 1024;
/// At the end: for so long at most what is left is written, and for so long a reader who takes nothing is waited for.
const FLUSH_MAX: Duration = Duration::from_secs(1);
const STALL_MAX: Duration = Duration::from_millis(100);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The stderr of this process, with its thread.
static STDERR: OnceLock<Arc<Outlet>> = OnceLock::new();

thread_local! {
    /// The thread that writes may wait, and says at once what it has to say.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

fn stderr() -> &'static Outlet {
    STDERR.get_or_init(|| {
        let say = |dropped| tracing::warn!("{dropped} log lines were dropped because stderr was not read");
        Outlet::start(io::stderr(), CAPACITY, say)
    })
}

/// Says one line, or several that belong together.
pub fn say(text: &str) {
    let mut line = text.trim_end_matches('\n').as_bytes().to_vec();
    line.push(b'\n');
    stderr().push(line);
}

/// Writes what is left, for as long as somebody reads it and a second at most.
pub fn flush() {
    if let Some(stderr) = STDERR.get() {
        stderr.flush();
    }
}

/// For the logger: what is written at once is one line.
#[derive(Clone, Copy, Debug)]
pub struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        stderr().push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Outlet {
    backlog: Mutex<Backlog>,
    changed: Condvar,
    out: Box<dyn Descriptor>,
}

trait Descriptor: AsFd + Send + Sync {}
impl<T: AsFd + Send + Sync> Descriptor for T {}

impl Outlet {
    /// Starts the thread; `say_dropped` is called there, before the lines that were kept.
    fn start(
        out: impl Descriptor + 'static,
        capacity: usize,
        say_dropped: impl Fn(u64) + Send + 'static,
    ) -> Arc<Outlet> {
        let backlog = Mutex::new(Backlog::new(capacity));
        let outlet = Arc::new(Outlet { backlog, changed: Condvar::new(), out: Box::new(out) });
        let write = {
            let outlet = Arc::clone(&outlet);
            move || {
                WRITES.set(true);
                outlet.write_for_ever(say_dropped);
            }
        };
        let thread = std::thread::Builder::new().name("stderr".to_owned()).stack_size(256 * 1024).spawn(write);
        if thread.is_err() {
            outlet.backlog().has_no_writer = true;
        }
        outlet
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        // A list of lines is whole after each step, whoever panicked.
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Vec<u8>) {
        if WRITES.get() {
            return self.write_out(&line);
        }
        let mut backlog = self.backlog();
        if backlog.has_no_writer {
            // Too many threads. The smallest write that a pipe with room takes does not wait.
            return line.chunks(libc::PIPE_BUF).take_while(|_| self.takes_more()).for_each(|part| self.write_out(part));
        }
        backlog.push(line);
        self.changed.notify_all();
    }

    fn write_for_ever(&self, say_dropped: impl Fn(u64)) {
        let mut backlog = self.backlog();
        loop {
            match backlog.next() {
                Some(next) => {
                    drop(backlog);
                    match next {
                        Next::Dropped(count) => say_dropped(count),
                        Next::Line(line) => self.write_out(&line),
                    }
                    backlog = self.backlog();
                    backlog.written();
                    self.changed.notify_all();
                }
                None => backlog = self.changed.wait(backlog).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Writes all of it, however long that takes. What a closed pipe or a full disk does not take is lost.
    fn write_out(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match nix::unistd::write(self.out.as_fd(), bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EINTR) => {}
                // Somebody who shares the file description has made it non-blocking.
                Err(Errno::EAGAIN) => drop(poll_for_writing(self.out.as_fd(), -1)),
                Err(_) => return,
            }
        }
    }

    /// Whether a write would find room at this moment.
    fn takes_more(&self) -> bool {
        poll_for_writing(self.out.as_fd(), 0)
    }

    fn flush(&self) {
        if WRITES.get() {
            return;
        }
        let began = MACHINE.blocking_instant();
        let mut stalled_since = None;
        let mut backlog = self.backlog();
        while !backlog.is_written() && MACHINE.blocking_instant() - began < FLUSH_MAX {
            let now = MACHINE.blocking_instant();
            // A thread that only waits for its turn on a busy machine does not stall.
            if self.takes_more() {
                stalled_since = None;
            } else if now - *stalled_since.get_or_insert(now) >= STALL_MAX {
                return;
            }
            backlog = match self.changed.wait_timeout(backlog, LOOK_AGAIN) {
                Ok((backlog, _)) => backlog,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// Whether there is room, or an error to meet, within so many milliseconds (-1: whenever that is).
fn poll_for_writing(out: BorrowedFd<'_>, patience_ms: libc::c_int) -> bool {
    let mut poll = libc::pollfd { fd: out.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid, writable pollfd.
    unsafe { libc::poll(&mut poll, 1, patience_ms) > 0 }
}

/// Whether stderr is a terminal and colours are welcome there.
pub fn has_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::sync::mpsc;

    use super::*;

    /// An outlet into a pipe, and what it has to say of dropped lines.
    fn piped(capacity: usize) -> (Arc<Outlet>, io::PipeReader, mpsc::Receiver<u64>) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let (tell, told) = mpsc::channel();
        (Outlet::start(writer, capacity, move |count| tell.send(count).expect("the test listens")), reader, told)
    }

    #[test]
    fn lines_come_in_order_and_flush_waits_for_them() {
        let (outlet, mut reader, told) = piped(CAPACITY);
        for number in 0..1_000 {
            outlet.push(format!("line {number}\n").into_bytes());
        }
        outlet.flush();
        let mut text = vec![0; (0..1_000).map(|number| format!("line {number}\n").len()).sum()];
        reader.read_exact(&mut text).expect("all is there");
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.lines().eq((0..1_000).map(|number| format!("line {number}"))));
        assert!(told.try_recv().is_err(), "nothing was dropped");
    }

    #[test]
    fn a_pipe_that_nobody_reads_keeps_nobody_waiting() {
        let (outlet, reader, told) = piped(64 * 1024);
        let line = |number: u64| format!("{number:0>99}\n").into_bytes();
        // Far more than pipe and backlog hold. A test that waits here for ever has found the defect.
        let count = 20_000;
        (0..count).for_each(|number| outlet.push(line(number)));
        outlet.flush();
        // Now somebody reads.
        let mut numbers =
            BufReader::new(reader).lines().map(|line| line.expect("a line").parse::<u64>().expect("a number"));
        let mut seen = vec![numbers.next().expect("the first line")];
        while seen.last() != Some(&(count - 1)) {
            seen.push(numbers.next().expect("another line"));
        }
        assert!(seen.is_sorted_by(|a, b| a < b), "in order, none twice");
        let dropped: u64 = told.try_iter().sum();
        assert!(dropped > 0);
        assert_eq!(seen.len() as u64 + dropped, count, "every line was written or counted");
    }

    #[test]
    fn a_reader_that_goes_away_is_no_obstacle() {
        let (outlet, reader, _told) = piped(CAPACITY);
        drop(reader);
        (0..100).for_each(|_| outlet.push(b"nobody hears this\n".to_vec()));
        outlet.flush();
        assert!(outlet.backlog().is_written());
    }
}
