//! `NAME-lock`: the file on whose byte 72 LiteFS's clients take the HALT lock.
//!
//! With it a follower may write in LiteFS: its transaction is sent to the primary. Here no follower
//! writes, so there the lock is taken already, and who asks for it waits until the node is the
//! primary. On the primary it means nothing, as in LiteFS.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, fcntl};

use crate::fsx::{self, FsError};

const BYTE: libc::off_t = 72;
/// Whoever runs the application must be able to lock it.
const MODE: u32 = 0o666;

pub struct HaltLock {
    path: PathBuf,
    file: Option<File>,
    is_held: bool,
}

impl HaltLock {
    pub fn new(path: PathBuf) -> HaltLock {
        HaltLock { path, file: None, is_held: false }
    }

    /// Takes it, or lets it go; `false`: another program has it.
    pub fn hold(&mut self, wanted: bool) -> Result<bool, FsError> {
        if wanted == self.is_held && self.file.is_some() {
            return Ok(true);
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        self.is_held = ask(&file, if wanted { libc::F_WRLCK } else { libc::F_UNLCK }) && wanted;
        self.file = Some(file);
        Ok(self.is_held == wanted)
    }
}

fn open(path: &Path) -> Result<File, FsError> {
    match fsx::create_new(path, MODE) {
        Ok(file) => {
            fsx::set_mode(&file, path, MODE)?;
            Ok(file)
        }
        Err(_) => fsx::open_to_write(path),
    }
}

/// By the open file, not by the process, as its clients do.
fn ask(file: &File, kind: libc::c_int) -> bool {
    let range = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: BYTE,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&range)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_it_on_the_primary_alone() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db-lock");
        let mut ours = HaltLock::new(path.clone());
        assert!(ours.hold(true).expect("made"));
        let client = open(&path).expect("it is there");
        assert!(!ask(&client, libc::F_WRLCK), "a follower writes nothing");
        assert!(ours.hold(true).expect("held") && ours.hold(false).expect("let go"));
        assert!(ask(&client, libc::F_WRLCK), "on the primary it is free");
        assert!(!ours.hold(true).expect("asked"), "it is in use");
        assert!(ask(&client, libc::F_UNLCK));
        assert!(ours.hold(true).expect("asked"), "and is had when it is free again");
        drop(ours);
        assert!(ask(&client, libc::F_WRLCK));
    }
}
