//! Starting a command: fork and exec, such that the command cannot tell that it was not executed
//! directly.
//!
//! `std::process::Command` is not used because it hands our blocked signals on to the child,
//! forgets duplicate environment entries, lets a shell run files that are no programs, and waits
//! for children by itself. What is different from a direct exec, and all of it: a process group of
//! its own (in the foreground of the terminal if we were), a parent-death signal, `LISTEN_PID`, and
//! the environment changes that were asked for. Our descriptors are all close-on-exec.
//!
//! Invariant: between fork and exec only async-signal-safe calls are made, on memory that was
//! prepared before.

use std::ffi::{CString, OsString, c_char, c_int};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use libc::pid_t;

use super::image::Image;
use super::inherited;
use super::limits;
use super::signal::{self, Signal};
use super::sys;
use super::tty;
pub use error::SpawnError;

mod error;

/// A child that runs its program.
#[derive(Clone, Copy, Debug)]
pub struct Spawned {
    pub pid: pid_t,
    /// A terminal controls us: job control has to be passed on.
    pub terminal: bool,
}

/// Starts the command and returns when its exec has succeeded or failed. The death signal fires
/// when the *calling thread* ends, so that must be one that lives as long as the process.
pub fn spawn(image: &Image) -> Result<Spawned, SpawnError> {
    let failed = |verb| {
        let program = image.program.clone();
        move |source| SpawnError::System { program, verb, source }
    };
    let (mut reader, writer) = pipe().map_err(failed("create a pipe"))?;
    let terminal = tty::controls_us();
    let mut prepared = Prepared::new(image, terminal && tty::is_ours(), writer.as_raw_fd());

    let everything = sys::signal_set(|_| true);
    let pid = sys::with_blocked(&everything, || {
        // SAFETY: the child calls nothing but `in_child`, which is async-signal-safe and never
        // returns. All signals are blocked, so none of our handlers runs in the child.
        match unsafe { libc::fork() } {
            // SAFETY: this is the child, right after the fork, on memory that was prepared before
            // it.
            0 => unsafe { prepared.in_child() },
            -1 => Err(io::Error::last_os_error()),
            pid => Ok(pid),
        }
    });
    drop(writer);
    let pid = pid.map_err(failed("fork"))?;

    let mut report = Vec::new();
    let read = reader.read_to_end(&mut report);
    match (read, <[u8; 8]>::try_from(report)) {
        (Ok(0), _) => Ok(Spawned { pid, terminal }),
        (Ok(_), Ok(report)) => {
            sys::collect_blocking(pid);
            tty::take_back(pid);
            Err(explain(image, Failure::from_bytes(report)))
        }
        // Without a message from the child it is unknown whether the program runs, so it is killed.
        (Ok(_), Err(_)) | (Err(_), _) => {
            drop(sys::kill(pid, Signal::KILL));
            sys::collect_blocking(pid);
            tty::take_back(pid);
            Err(failed("learn whether it started")(io::Error::from(io::ErrorKind::UnexpectedEof)))
        }
    }
}

/// Pointers into an image, and what else the child needs; made in the parent because the child may
/// not allocate.
struct Prepared<'a> {
    image: &'a Image,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    listen_pid: [u8; 32],
    foreground: bool,
    parent: pid_t,
    report: c_int,
    mask: libc::sigset_t,
    descriptors: Option<libc::rlimit>,
}

const LISTEN_PID: &[u8] = b"LISTEN_PID=";

impl<'a> Prepared<'a> {
    fn new(image: &'a Image, foreground: bool, report: c_int) -> Prepared<'a> {
        let pointers = |words: &[CString]| {
            let mut pointers = Vec::with_capacity(words.len() + 2);
            pointers.extend(words.iter().map(|word| word.as_ptr()));
            pointers
        };
        let mut argv = pointers(&image.argv);
        argv.push(std::ptr::null());
        let mut envp = pointers(&image.env);
        if image.listen {
            // Its place; the child knows its pid, and the final address.
            envp.push(std::ptr::null());
        }
        envp.push(std::ptr::null());
        let mut listen_pid = [0; 32];
        listen_pid[..LISTEN_PID.len()].copy_from_slice(LISTEN_PID);
        let mask = sys::signal_set(inherited::blocked);
        Prepared {
            image,
            argv,
            envp,
            listen_pid,
            foreground,
            parent: sys::own_pid(),
            report,
            mask,
            descriptors: limits::at_start(),
        }
    }

    /// The child's way from fork to exec.
    ///
    /// # Safety
    /// Only in a forked child, with all signals blocked. Makes async-signal-safe calls only, and
    /// allocates nothing.
    unsafe fn in_child(&mut self) -> ! {
        // SAFETY: all pointers are to memory of `self` and its image, prepared before the fork;
        // every call is on the list of async-signal-safe functions or a bare system call.
        unsafe {
            libc::setpgid(0, 0);
            if self.foreground {
                tty::grab_in_child();
            }
            if let Some(signal) = self.image.death_signal {
                libc::prctl(libc::PR_SET_PDEATHSIG, signal.number(), 0, 0, 0);
                if libc::getppid() != self.parent {
                    // It died before it could be watched.
                    libc::_exit(c_int::from(signal.exit_code()));
                }
            }
            if self.image.listen {
                write_decimal(&mut self.listen_pid[LISTEN_PID.len()..], libc::getpid().unsigned_abs());
                let place = self.envp.len() - 2;
                self.envp[place] = self.listen_pid.as_ptr().cast();
            }
            if let Some(limit) = &self.descriptors {
                // The same limits as before are always allowed.
                libc::setrlimit(libc::RLIMIT_NOFILE, limit);
            }
            restore_dispositions();
            libc::sigprocmask(libc::SIG_SETMASK, &self.mask, std::ptr::null_mut());
            let failure = self.exec().to_bytes();
            libc::write(self.report, failure.as_ptr().cast(), failure.len());
            libc::_exit(127)
        }
    }

    /// Tries the candidates in order, as a shell does; returns only if none could be executed.
    unsafe fn exec(&self) -> Failure {
        let mut failure = Failure { errno: libc::ENOENT, candidate: 0 };
        for (at, candidate) in (0u32..).zip(&self.image.candidates) {
            // SAFETY: NUL-terminated strings and null-terminated arrays of them, all alive.
            unsafe { libc::execve(candidate.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
            // SAFETY: the address of this thread's errno is always valid.
            let errno = unsafe { *libc::__errno_location() };
            match errno {
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                libc::EACCES if failure.errno == libc::EACCES => {}
                libc::EACCES => failure = Failure { errno, candidate: at },
                _ => return Failure { errno, candidate: at },
            }
        }
        failure
    }
}

/// Gives every signal the disposition that this process was started with.
///
/// # Safety
/// Async-signal-safe; for the child between fork and exec only.
unsafe fn restore_dispositions() {
    for number in 1..=signal::MAX {
        let Some(signal) = Signal::from_raw(number) else { continue };
        let handler = if inherited::ignored(signal) { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: all-zero bytes are a valid sigaction with an empty mask and no flags. KILL, STOP
        // and the C library's own signals are refused without effect.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler;
            libc::sigaction(number, &action, std::ptr::null_mut());
        }
    }
}

/// Writes the digits and a NUL. Async-signal-safe; the buffer has room for any `u32`.
fn write_decimal(buffer: &mut [u8], number: u32) {
    let mut digits = 1;
    let mut rest = number / 10;
    while rest > 0 {
        digits += 1;
        rest /= 10;
    }
    let mut rest = number;
    for place in (0..digits).rev() {
        buffer[place] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    buffer[digits] = 0;
}

/// Why exec failed, as the child reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failure {
    errno: c_int,
    candidate: u32,
}

impl Failure {
    fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.candidate.to_ne_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; 8]) -> Failure {
        let [a, b, c, d, e, f, g, h] = bytes;
        Failure { errno: c_int::from_ne_bytes([a, b, c, d]), candidate: u32::from_ne_bytes([e, f, g, h]) }
    }
}

fn explain(image: &Image, failure: Failure) -> SpawnError {
    let as_path = |candidate: &CString| PathBuf::from(OsString::from_vec(candidate.to_bytes().to_vec()));
    let source = io::Error::from_raw_os_error(failure.errno);
    let not_executable = |candidate: &CString, hint| {
        let path = as_path(candidate);
        let hint = if path.is_dir() { " (it is a directory)" } else { hint };
        SpawnError::NotExecutable { path, hint, source: io::Error::from_raw_os_error(failure.errno) }
    };
    if failure.errno == libc::ENOENT {
        // A file that is there and yet not found: what it names on its first line, or its loader,
        // is not.
        if let Some(present) = image.candidates.iter().find(|candidate| as_path(candidate).is_file()) {
            let path = as_path(present);
            return SpawnError::NotFound {
                program: path.display().to_string(),
                hint: " (the file is there, but the interpreter or loader that it names is not)".to_owned(),
            };
        }
        let hint = if image.program.contains(char::is_whitespace) {
            " (it contains blanks: was a whole command line given as one word?)"
        } else if image.program.contains('/') {
            ""
        } else {
            " (not in any directory of PATH)"
        };
        return SpawnError::NotFound { program: image.program.clone(), hint: hint.to_owned() };
    }
    if matches!(failure.errno, libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN) {
        // Nothing is wrong with the file: the machine or its limits are.
        return SpawnError::System { program: image.program.clone(), verb: "execute", source };
    }
    let candidate = usize::try_from(failure.candidate).ok().and_then(|at| image.candidates.get(at));
    let hint = match failure.errno {
        libc::ENOEXEC => " (not a program for this machine; a script must start with a line such as #!/bin/sh)",
        libc::EACCES => " (is it executable, and its file system not mounted noexec?)",
        _ => "",
    };
    match candidate {
        Some(candidate) => not_executable(candidate, hint),
        None => SpawnError::System { program: image.program.clone(), verb: "execute", source },
    }
}

fn pipe() -> io::Result<(std::fs::File, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors; on success both are open and ours alone.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok((std::fs::File::from(OwnedFd::from_raw_fd(ends[0])), OwnedFd::from_raw_fd(ends[1])))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn pids_are_written_without_allocating() {
        for number in [0, 7, 10, 4_194_304, u32::MAX] {
            let mut buffer = [b'x'; 16];
            write_decimal(&mut buffer, number);
            let text = CStr::from_bytes_until_nul(&buffer).expect("terminated");
            assert_eq!(text.to_str(), Ok(number.to_string().as_str()));
        }
    }
}
