//! Everything that an exec needs, prepared before the fork: files to try, arguments, environment.
//!
//! Invariant: the environment is ours byte for byte, with duplicates and in order, except for what
//! [`SpawnOptions`] names and `LISTEN_PID`.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use libc::pid_t;

use super::command::CommandLine;
use super::signal::Signal;
use super::spawn::SpawnError;
use super::sys;

/// What is different from a direct exec.
#[derive(Clone, Debug)]
pub struct SpawnOptions {
    /// Names of environment variables that the command must not see.
    pub strip_env: Vec<OsString>,
    /// Variables to set; each replaces those of the same name.
    pub extra_env: Vec<(OsString, OsString)>,
    /// What the kernel sends the command when the supervisor dies without having stopped it
    /// (SIGKILL, out of memory). TERM unless told otherwise: the command may finish what it has
    /// begun, and should not go on unwatched. Has no meaning as PID 1, where the kernel kills
    /// everything anyway; does not reach commands that gain privileges by their exec.
    pub death_signal: Option<Signal>,
}

impl Default for SpawnOptions {
    fn default() -> SpawnOptions {
        SpawnOptions { strip_env: Vec::new(), extra_env: Vec::new(), death_signal: Some(Signal::TERM) }
    }
}

/// Everything that exec needs, prepared before the fork.
pub struct Image {
    pub program: String,
    pub argv: Vec<CString>,
    pub env: Vec<CString>,
    /// The files to try, in the order of PATH.
    pub candidates: Vec<CString>,
    /// `LISTEN_PID` was ours and must become the child's: descriptors from a service manager are
    /// passed on.
    pub listen: bool,
    pub death_signal: Option<Signal>,
}

impl Image {
    pub fn prepare(command: &CommandLine, options: &SpawnOptions) -> Result<Image, SpawnError> {
        let program = command.program();
        let mut env = sys::environment();
        let listen = take_listen_pid(&mut env, sys::own_pid());
        env.retain(|entry| !options.strip_env.iter().any(|name| is_named(entry, name)));
        for (name, value) in &options.extra_env {
            env.retain(|entry| !is_named(entry, name));
            env.push(assignment(name, value).ok_or_else(|| SpawnError::Environment {
                program: program.clone(),
                name: name.to_string_lossy().into_owned(),
            })?);
        }
        let path = env.iter().find(|entry| is_named(entry, OsStr::new("PATH"))).map(|entry| &entry.to_bytes()[5..]);
        let candidates = candidates(&command.argv()[0], path);
        let death_signal = options.death_signal.filter(|_| sys::own_pid() != 1);
        Ok(Image { program, argv: command.argv().to_vec(), env, candidates, listen, death_signal })
    }
}

/// The files that a name stands for: itself if it has a slash, else one per directory of PATH.
fn candidates(program: &CStr, path: Option<&[u8]>) -> Vec<CString> {
    let program = program.to_bytes();
    if program.contains(&b'/') {
        return CString::new(program).into_iter().collect();
    }
    let path = path.unwrap_or(b"/bin:/usr/bin");
    let file = |dir: &[u8]| {
        let mut file = dir.to_vec();
        if !dir.is_empty() {
            file.push(b'/');
        }
        file.extend_from_slice(program);
        CString::new(file).ok()
    };
    path.split(|byte| *byte == b':').filter_map(file).collect()
}

fn is_named(entry: &CStr, name: &OsStr) -> bool {
    entry.to_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
}

fn assignment(name: &OsStr, value: &OsStr) -> Option<CString> {
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return None;
    }
    let mut entry = name.to_owned();
    entry.push("=");
    entry.push(value);
    CString::new(entry.into_vec()).ok()
}

/// Removes `LISTEN_PID` if it names us (and the newer id of the same process, which would
/// contradict).
fn take_listen_pid(env: &mut Vec<CString>, own_pid: pid_t) -> bool {
    let ours = format!("LISTEN_PID={own_pid}");
    let before = env.len();
    env.retain(|entry| entry.to_bytes() != ours.as_bytes());
    let taken = env.len() < before;
    if taken {
        env.retain(|entry| !is_named(entry, OsStr::new("LISTEN_PIDFDID")));
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<CString> {
        words.iter().map(|word| CString::new(*word).expect("no NUL")).collect()
    }

    #[test]
    fn names_are_looked_up_in_path_and_paths_are_not() {
        let find = |program: &str, path: Option<&[u8]>| candidates(&strings(&[program])[0], path);
        assert_eq!(find("app", Some(b"/a:/b/c")), strings(&["/a/app", "/b/c/app"]));
        assert_eq!(find("app", Some(b":/b:")), strings(&["app", "/b/app", "app"]), "empty means here");
        assert_eq!(find("app", None), strings(&["/bin/app", "/usr/bin/app"]));
        for path in ["./app", "/x/app", "x/app"] {
            assert_eq!(find(path, Some(b"/a")), strings(&[path]));
        }
    }

    #[test]
    fn listen_pid_is_taken_only_if_it_is_ours() {
        let mut env = strings(&["A=1", "LISTEN_PID=77", "LISTEN_PIDFDID=5", "LISTEN_FDS=2"]);
        assert!(!take_listen_pid(&mut env, 7));
        assert_eq!(env.len(), 4);
        assert!(take_listen_pid(&mut env, 77));
        assert_eq!(env, strings(&["A=1", "LISTEN_FDS=2"]));
    }

    #[test]
    fn environment_entries_are_matched_by_their_whole_name() {
        let entry = &strings(&["FOO_BAR=1"])[0];
        assert!(is_named(entry, OsStr::new("FOO_BAR")));
        assert!(!is_named(entry, OsStr::new("FOO")) && !is_named(entry, OsStr::new("FOO_BAR=1")));
        assert_eq!(assignment(OsStr::new("A=B"), OsStr::new("c")), None);
        assert_eq!(assignment(OsStr::new("A"), OsStr::new("b=c")), strings(&["A=b=c"]).pop());
    }
}
