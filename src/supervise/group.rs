//! The processes that a command has started, found in `/proc`.
//!
//! A process group is not enough: a daemon leaves it with `setsid`. But its parent dies sooner or
//! later, and then it becomes a child of the nearest subreaper, which is us. So everything that the
//! command ever started is either in its group or among our descendants. Direct children in our own
//! process group are not the command's (whose group is its own): they are helpers of other parts of
//! this process, and must not be touched from here.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;

use libc::pid_t;

/// One line of `/proc/<pid>/stat`, the part that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: pid_t,
    pub parent: pid_t,
    pub group: pid_t,
    pub session: pid_t,
    pub zombie: bool,
}

/// Whose processes are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Family<'a> {
    pub supervisor: pid_t,
    pub supervisor_group: pid_t,
    /// The group of the command.
    pub group: pid_t,
    /// Other children of the supervisor, which are still wanted.
    pub spared: &'a [pid_t],
}

/// The living members, each once.
pub fn members(processes: &[Process], family: Family) -> Vec<pid_t> {
    let is_root = |process: &&Process| {
        process.group == family.group
            || (process.parent == family.supervisor
                && process.group != family.supervisor_group
                && !family.spared.contains(&process.pid))
    };
    let mut children: HashMap<pid_t, Vec<&Process>> = HashMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found: Vec<&Process> = processes.iter().filter(is_root).collect();
    let mut known: HashSet<pid_t> = found.iter().map(|process| process.pid).collect();
    let mut at = 0;
    while at < found.len() {
        let of_this = children.remove(&found[at].pid).unwrap_or_default();
        found.extend(of_this.into_iter().filter(|process| known.insert(process.pid)));
        at += 1;
    }
    let alive = |process: &&Process| !process.zombie && process.pid != family.supervisor;
    found.into_iter().filter(alive).map(|process| process.pid).collect()
}

/// Every visible process. It is an error if `/proc` cannot be read, because a process that is
/// missed could go on writing.
pub fn scan() -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        match read_stat(pid) {
            Ok(process) => processes.extend(process),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => {
                return Err(error);
            }
            // It is gone, or hidden from us.
            Err(_) => {}
        }
    }
    Ok(processes)
}

fn read_stat(pid: pid_t) -> io::Result<Option<Process>> {
    Ok(parse_stat(&fs::read(format!("/proc/{pid}/stat"))?))
}

/// `None` if it is gone.
pub fn read_process(pid: pid_t) -> Option<Process> {
    read_stat(pid).ok()?
}

/// `12 (any ) name) S 1 12 12 …`: the name may hold anything, so the fields are counted from its
/// last parenthesis.
fn parse_stat(stat: &[u8]) -> Option<Process> {
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let head = std::str::from_utf8(stat.get(..stat.iter().position(|byte| *byte == b' ')?)?).ok()?;
    let mut fields = std::str::from_utf8(stat.get(name_ends + 1..)?).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = || fields.next()?.parse::<pid_t>().ok();
    let (parent, group, session) = (number()?, number()?, number()?);
    Some(Process { pid: head.parse().ok()?, parent, group, session, zombie: matches!(state, "Z" | "X" | "x") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: pid_t, parent: pid_t, group: pid_t) -> Process {
        Process { pid, parent, group, session: group, zombie: false }
    }

    #[test]
    fn names_cannot_confuse_the_parser() {
        let expected = Process { pid: 7, parent: 1, group: 6, session: 5, zombie: false };
        for name in ["sh", "a b", "x) R 9 9 9", "", "\u{fc}"] {
            assert_eq!(parse_stat(format!("7 ({name}) S 1 6 5 0 -1").as_bytes()), Some(expected), "{name:?}");
        }
        assert_eq!(parse_stat(b"7 (\xff\xfe) S 1 6 5 0"), Some(expected));
        assert!(parse_stat(b"7 (sh) Z 1 6 5 0").is_some_and(|process| process.zombie));
        for broken in [&b""[..], b"7", b"7 (sh", b"7 (sh)", b"7 (sh) S 1", b"x (sh) S 1 2 3"] {
            assert_eq!(parse_stat(broken), None);
        }
    }

    #[test]
    fn the_family_is_the_group_and_every_descendant() {
        let mut dead = process(16, 10, 11);
        dead.zombie = true;
        let processes = [
            process(1, 0, 1),
            process(10, 1, 10),  // the supervisor
            process(11, 10, 11), // the command (or what is left of its group)
            process(12, 11, 11),
            process(13, 10, 13), // escaped by setsid, then adopted
            process(14, 13, 13),
            process(15, 1, 11), // in the group, but adopted by another subreaper
            dead,
            process(20, 10, 10), // a helper of another part of the supervisor
            process(21, 20, 10),
            process(30, 10, 30), // another command
            process(31, 30, 30),
            process(40, 1, 40), // a stranger
        ];
        let family = Family { supervisor: 10, supervisor_group: 10, group: 11, spared: &[30] };
        let mut found = members(&processes, family);
        found.sort_unstable();
        assert_eq!(found, [11, 12, 13, 14, 15]);
    }

    #[test]
    fn we_are_in_proc_ourselves() {
        let own = pid_t::try_from(std::process::id()).expect("a pid");
        let processes = scan().expect("proc");
        let us = processes.iter().find(|process| process.pid == own).expect("this process");
        assert!(!us.zombie);
        assert_eq!(Some(us.group), super::super::sys::group_of(own).ok());
    }
}
