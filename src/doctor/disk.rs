//! Tries a directory: writes a small file there, makes it durable, links, renames and removes it.
//!
//! It is done in the nearest directory that exists: nothing is created that would stay.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::mounts::mount_of;
use super::volume::Volume;
use crate::clock::Clock;
use crate::fsx::weak::{Ability, link, rename_new};

/// More than a file system keeps beside its own records.
const BYTES: usize = 64 << 10;

/// Tries the directory of a file that need not exist. Blocks.
pub fn try_directory(dir: &Path, clock: Clock) -> Volume {
    let nearest = dir.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"));
    let real = fs::canonicalize(nearest).unwrap_or_else(|_| nearest.to_owned());
    let mut volume = Volume { dir: real.clone(), ..Volume::default() };
    if let Ok(mountinfo) = fs::read_to_string("/proc/self/mountinfo") {
        volume.mount = mount_of(&mountinfo, &real);
    }
    if let Ok(free) = statvfs(&real) {
        #[expect(clippy::useless_conversion, reason = "these types differ between systems")]
        let (blocks, size) = (u64::from(free.blocks_available()), u64::from(free.fragment_size()));
        volume.free_bytes = Some(blocks.saturating_mul(size));
        #[expect(clippy::useless_conversion, reason = "these types differ between systems")]
        let (inodes, left) = (u64::from(free.files()), u64::from(free.files_available()));
        // File systems without a fixed number of them say 0.
        volume.files_left = (inodes > 0).then_some(left);
    }
    let name = format!(".millstream-doctor-{:016x}", clock.random_u64());
    let trial =
        Trial { file: real.join(&name), second: real.join(format!("{name}-2")), third: real.join(format!("{name}-3")) };
    volume.written = trial.run(&real, &mut volume.lacks);
    volume
}

/// Files of ours, removed when it is dropped.
struct Trial {
    file: PathBuf,
    second: PathBuf,
    third: PathBuf,
}

impl Trial {
    /// What failed first, as a verb; what the file system does not have is no failure.
    fn run(&self, dir: &Path, lacks: &mut Vec<Ability>) -> Result<(), (&'static str, io::Error)> {
        let mut without = |ability: Ability, verb, done: io::Result<()>| match done {
            Err(error) if ability.is_lacking(&error) => {
                lacks.push(ability);
                Ok(())
            }
            done => done.map_err(|error| (verb, error)),
        };
        let mut file =
            File::options().write(true).create_new(true).open(&self.file).map_err(|e| ("create a file", e))?;
        file.write_all(&[0x6d; BYTES]).map_err(|error| ("write", error))?;
        without(Ability::SyncFile, "make a file durable", Ability::SyncFile.attempt(|| file.sync_all()))?;
        without(Ability::Link, "link a file", link(&self.file, &self.second))?;
        without(Ability::RenameNew, "rename a file", rename_new(&self.file, &self.third))?;
        let synced = Ability::SyncDir.attempt(|| File::open(dir).and_then(|dir| dir.sync_all()));
        without(Ability::SyncDir, "make a name durable", synced)?;
        without(Ability::Flock, "lock a file", Ability::Flock.attempt(|| file.lock()))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        for path in [&self.file, &self.second, &self.third] {
            // Most of them are not there.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MACHINE;

    #[test]
    fn nothing_stays_and_what_does_not_exist_is_not_made() {
        let dir = tempfile::tempdir().expect("tempdir");
        let volume = try_directory(&dir.path().join("not/yet/there"), MACHINE);
        assert!(volume.written.is_ok() && volume.free_bytes.is_some_and(|free| free > 0), "{volume:?}");
        assert_eq!(volume.dir, fs::canonicalize(dir.path()).expect("there"));
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 0);
    }

    #[test]
    fn what_a_file_system_lacks_is_noted_and_what_fails_is_an_error() {
        use crate::fsx::weak::testing::weaken;
        let dir = tempfile::tempdir().expect("tempdir");
        {
            let _weak = weaken(&[(Ability::Link, libc::EPERM), (Ability::SyncDir, libc::EINVAL)]);
            let volume = try_directory(dir.path(), MACHINE);
            assert!(volume.written.is_ok());
            assert_eq!(volume.lacks, [Ability::Link, Ability::SyncDir]);
        }
        let _weak = weaken(&[(Ability::SyncFile, libc::ENOSPC)]);
        let (verb, error) = try_directory(dir.path(), MACHINE).written.expect_err("no space");
        assert_eq!((verb, error.raw_os_error()), ("make a file durable", Some(libc::ENOSPC)));
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 0, "also when a step fails");
    }
}
