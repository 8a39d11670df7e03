//! Writes to stderr without ever waiting for its reader.
//!
//! A log driver that does not read, or a stopped terminal, can block a write without limit, and
//! neither supervision nor replication may wait for that. So each line goes to a bounded backlog,
//! and one thread writes:
//!
//! ```text
//!   log lines, errors, panics ──▶ Backlog ──▶ one thread ──▶ file descriptor 2
//! ```
//!
//! When the backlog is full its oldest lines are dropped, because the newest show the current
//! state. Their number is logged before the next line. At the end of the process the rest is
//! written, if stderr is read.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

use super::terminal::colours_are_welcome;
use crate::clock::MACHINE;

use backlog::{Backlog, Next};

mod backlog;

/// Lines that wait for a reader, in bytes.
const CAPACITY: usize = 512 * 1024;
/// Limits at the end: for writing the rest, and for a reader that accepts nothing.
const FLUSH_MAX: Duration = Duration::from_secs(1);
const STALL_MAX: Duration = Duration::from_millis(100);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The stderr of this process, with its thread.
static STDERR: OnceLock<Arc<Outlet>> = OnceLock::new();

thread_local! {
    /// Set in the writing thread: its own lines are written directly.
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

/// Writes the rest while stderr is read, for a second at most.
pub fn flush() {
    if let Some(stderr) = STDERR.get() {
        stderr.flush();
    }
}

/// For the logger: each write is one line.
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
        // The list is consistent after each step, also if a thread panicked.
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Vec<u8>) {
        if WRITES.get() {
            return self.write_out(&line);
        }
        let mut backlog = self.backlog();
        if backlog.has_no_writer {
            // The thread could not be started. A small write to a pipe with room does not block.
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

    /// Writes all of it, however long that takes. It is lost if the pipe is closed or the disk is
    /// full.
    fn write_out(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match nix::unistd::write(self.out.as_fd(), bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EINTR) => {}
                // Another process that shares the file description has made it non-blocking.
                Err(Errno::EAGAIN) => drop(poll_for_writing(self.out.as_fd(), -1)),
                Err(_) => return,
            }
        }
    }

    /// Whether a write would not block at this moment.
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
            // If stderr accepts data, the thread only waits for the processor.
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

/// Whether a write would make progress or fail within so many milliseconds; -1 waits without limit.
fn poll_for_writing(out: BorrowedFd<'_>, patience_ms: libc::c_int) -> bool {
    let mut poll = libc::pollfd { fd: out.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid, writable pollfd.
    unsafe { libc::poll(&mut poll, 1, patience_ms) > 0 }
}

/// Whether stderr is a terminal and colours are welcome there.
pub fn has_colours() -> bool {
    io::stderr().is_terminal() && colours_are_welcome()
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
        // Far more than pipe and backlog hold. A test that waits here for ever has found the
        // defect.
        let count = 20_000;
        (0..count).for_each(|number| outlet.push(line(number)));
        outlet.flush();
        // Now the pipe is read.
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
