//! Processes: built with a clean environment, watched through files, and never left behind.
//!
//! Output goes to files and not to pipes: an orphan that holds a pipe must not be able to hang a test. Every process of a
//! test carries a mark in its environment, and whatever carries it when the test ends is killed, also what left its session.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::unistd::Pid;

/// Longer than anything a test waits for on a loaded machine; meeting it is a failure, not a measurement.
pub const PATIENCE: Duration = Duration::from_secs(60);

const MARK: &str = "MILLSTREAM_TEST_MARK";

static NEXT_MARK: AtomicU64 = AtomicU64::new(0);

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("MILLSTREAM_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_millstream").into(), PathBuf::from)
}

/// A setting that `scripts/test` makes; its absence fails the test with the way to get it.
pub fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with scripts/test"))
}

/// A command line that has not been started yet.
pub struct Invocation {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    stdin: Option<Vec<u8>>,
    stderr: Option<OwnedFd>,
    logs: PathBuf,
}

impl Invocation {
    /// Runs in `home`, which also becomes HOME and holds the captured output.
    pub fn new(program: impl Into<OsString>, home: impl Into<PathBuf>) -> Invocation {
        let home = home.into();
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let env = vec![("PATH".into(), path), ("HOME".into(), home.clone().into())];
        Invocation {
            program: program.into(),
            args: Vec::new(),
            env,
            cwd: home.clone(),
            stdin: None,
            stderr: None,
            logs: home,
        }
    }

    pub fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = dir.into();
        self
    }

    /// What the process reads from its standard input before it meets the end; without this it is /dev/null.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Where stderr goes instead of the file that the test reads.
    pub fn stderr(mut self, fd: OwnedFd) -> Self {
        self.stderr = Some(fd);
        self
    }

    /// Starts `program ARGS… <this command>` instead, with the same environment: a shell, unshare, a pty.
    pub fn under<I: IntoIterator<Item: Into<OsString>>>(mut self, program: impl Into<OsString>, args: I) -> Self {
        let inner = std::mem::replace(&mut self.program, program.into());
        let mut outer: Vec<OsString> = args.into_iter().map(Into::into).collect();
        outer.push(inner);
        outer.append(&mut self.args);
        self.args = outer;
        self
    }

    pub fn spawn(self) -> Running {
        let mark = format!("{}-{}", std::process::id(), NEXT_MARK.fetch_add(1, Ordering::Relaxed));
        let log = |stream: &str| self.logs.join(format!("process-{mark}.{stream}"));
        let (stdout, stderr) = (log("out"), log("err"));
        let create =
            |path: &PathBuf| File::options().create_new(true).append(true).open(path).expect("create a log file");
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env)
            .env(MARK, &mark)
            .current_dir(&self.cwd)
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(create(&stdout))
            .stderr(self.stderr.map_or_else(|| create(&stderr).into(), Stdio::from));
        with_default_signals(&mut command);
        let what = describe(&self.program, &self.args);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        if let (Some(bytes), Some(mut pipe)) = (self.stdin, child.stdin.take()) {
            // A process that does not read its input is a finding of the test, not of this line.
            let _ = pipe.write_all(&bytes);
        }
        Running { child, mark, what, stdout, stderr }
    }

    /// Runs to the end, which must come within [`PATIENCE`].
    pub fn finish(self) -> Finished {
        self.spawn().wait()
    }
}

/// A shell that starts the tests in the background has SIGINT and SIGQUIT ignored; what is tested must not inherit that.
fn with_default_signals(command: &mut Command) {
    let reset = || {
        for number in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
            // SAFETY: the default action runs no code of ours.
            unsafe { signal(number, SigHandler::SigDfl) }?;
        }
        Ok(SigSet::empty().thread_set_mask()?)
    };
    // SAFETY: the closure makes async-signal-safe calls and allocates nothing.
    unsafe { command.pre_exec(reset) };
}

fn describe(program: &OsStr, args: &[OsString]) -> String {
    let words = std::iter::once(program).chain(args.iter().map(OsString::as_os_str));
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A started process; dropping it kills everything that it started.
pub struct Running {
    child: Child,
    mark: String,
    what: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("the process stands until it is waited for");
    }

    /// For a process that may have ended by itself already.
    pub fn signal_if_running(&mut self, signal: Signal) {
        if self.is_running() {
            self.signal(signal);
        }
    }

    /// How much was said on stderr so far: what comes after it is news.
    pub fn said(&self) -> usize {
        read(&self.stderr).len()
    }

    /// Waits until some line of stderr, after `said` bytes of it, has all the words.
    pub fn wait_until_says(&mut self, said: usize, words: &[&str]) {
        let log = self.stderr.clone();
        let what = format!("stderr says {words:?}");
        self.wait_until(&what, || read(&log).get(said..).is_some_and(|news| says(news, words)));
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// Waits until the condition holds; the process ending first, or patience ending, is a failure.
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            let ended = self.child.try_wait().expect("wait");
            // The last thing a process does may be what is waited for.
            if condition() {
                return;
            }
            assert!(ended.is_none(), "ended with {ended:?} before {what}\n{self}");
            assert!(Instant::now() < deadline, "gave up waiting: {what}\n{self}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn wait(self) -> Finished {
        self.wait_at_most(PATIENCE)
    }

    pub fn wait_at_most(mut self, patience: Duration) -> Finished {
        let deadline = Instant::now() + patience;
        let status = loop {
            match self.child.try_wait().expect("wait") {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("still running after {patience:?}\n{self}"),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        Finished { status, what: self.what.clone(), stdout: read(&self.stdout), stderr: read(&self.stderr) }
    }

    /// SIGKILL for the process and everything it started, as when the machine goes away. Stopped first, so that nobody
    /// sees anybody else die.
    pub fn kill_everything(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill_marked(&self.mark);
        // Also when its environment could not be read.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        report(f, &self.what, &read(&self.stdout), &read(&self.stderr))
    }
}

/// A process that ended, with everything it wrote.
pub struct Finished {
    pub status: ExitStatus,
    what: String,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// The exit code; a death by signal is none.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    #[track_caller]
    pub fn assert_code(&self, expected: i32) -> &Finished {
        assert_eq!(self.code(), Some(expected), "exit code (signal {:?})\n{self}", self.status.signal());
        self
    }

    /// Some line of stderr contains all of `words`, upper or lower case.
    #[track_caller]
    pub fn assert_says(&self, words: &[&str]) -> &Finished {
        let said = says(&self.stderr, words);
        assert!(said, "no line of stderr has all of {words:?}\n{self}");
        self
    }
}

/// Whether some line contains all the words, upper or lower case.
fn says(text: &str, words: &[&str]) -> bool {
    text.lines().any(|line| {
        let line = line.to_lowercase();
        words.iter().all(|word| line.contains(&word.to_lowercase()))
    })
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        report(f, &self.what, &self.stdout, &self.stderr)
    }
}

fn report(f: &mut fmt::Formatter<'_>, what: &str, stdout: &str, stderr: &str) -> fmt::Result {
    write!(f, "--- {what}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
}

fn read(path: &PathBuf) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Kills every process that carries the mark, until there is none; a fork between two looks is met by the next one.
fn kill_marked(mark: &str) {
    let entry = format!("{MARK}={mark}");
    loop {
        let marked: Vec<Pid> = fs::read_dir("/proc")
            .expect("list /proc")
            .filter_map(|found| found.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid: &i32| {
                let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environ.split(|byte| *byte == 0).any(|variable| variable == entry.as_bytes())
            })
            .map(Pid::from_raw)
            .collect();
        if marked.is_empty() {
            return;
        }
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            for pid in &marked {
                // Gone already is as good.
                let _ = kill(*pid, signal);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
