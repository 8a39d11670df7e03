//! Which files the processes below this one have open.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use super::group;
use super::sys;

/// The names of the files. Files that another user has open cannot be seen.
pub fn files_of_descendants() -> HashSet<PathBuf> {
    let processes = group::scan().unwrap_or_default();
    let mut family = vec![sys::own_pid()];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(processes.iter().filter(|process| process.parent == parent).map(|process| process.pid));
        at += 1;
    }
    let mut files = HashSet::new();
    for pid in &family[1..] {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        files.extend(descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok()));
    }
    files
}
