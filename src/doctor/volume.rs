//! What was found of a directory's file system, judged. Pure.

use std::io;
use std::path::PathBuf;

use super::check::{Blame, Check};
use super::mounts::Mount;
use crate::fsx::weak::Ability;

/// Below this a disk counts as full.
const FULL_BYTES: u64 = 1 << 20;
/// What stays free for everything else.
const RESERVE_BYTES: u64 = 64 << 20;

/// A directory and what it can do.
#[derive(Debug)]
pub struct Volume {
    /// The one that was tried.
    pub dir: PathBuf,
    pub mount: Option<Mount>,
    pub free_bytes: Option<u64>,
    pub files_left: Option<u64>,
    pub lacks: Vec<Ability>,
    /// What was tried when it failed, and why.
    pub written: Result<(), (&'static str, io::Error)>,
}

impl Default for Volume {
    fn default() -> Volume {
        Volume {
            dir: PathBuf::new(),
            mount: None,
            free_bytes: None,
            files_left: None,
            lacks: Vec::new(),
            written: Ok(()),
        }
    }
}

/// `database_bytes` is the size of the largest database that is there, or is to be restored there.
pub fn judge(volume: &Volume, database_bytes: u64) -> Vec<Check> {
    let mut checks = vec![writing(volume), space(volume, database_bytes)];
    if let Some((found, advice)) = volume.mount.as_ref().and_then(Mount::concern) {
        checks.push(Check::warning("file system", found, advice));
    } else if let Some(mount) = &volume.mount {
        checks.push(Check::ok("file system", format!("{} at {}", mount.kind, mount.at.display())));
    } else {
        checks.push(Check::not_checked("file system", "/proc/self/mountinfo does not say which one it is"));
    }
    let lacking = volume.lacks.iter().map(|lacking| {
        Check::warning(
            "file system",
            format!("it {}", lacking.consequence()),
            "use a local file system such as ext4 or xfs if that matters",
        )
    });
    checks.extend(lacking);
    checks
}

fn writing(volume: &Volume) -> Check {
    const WHAT: &str = "writing";
    let dir = volume.dir.display();
    let Err((verb, error)) = &volume.written else {
        return Check::ok(WHAT, format!("a file could be written to {dir}, made durable, renamed and removed"));
    };
    let is_read_only = volume.mount.as_ref().is_some_and(|mount| mount.is_read_only);
    let advice = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount it for writing: SQLite needs it too, for the WAL beside the database"
        }
        io::ErrorKind::PermissionDenied if is_read_only => "mount it for writing",
        io::ErrorKind::PermissionDenied => {
            "run as the user whom the directory belongs to, or let that user write there (in Kubernetes: `fsGroup`)"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or enlarge the volume: the application cannot commit there either"
        }
        _ => "look at the disk and the kernel's log (dmesg)",
    };
    Check::problem(WHAT, Blame::Local, format!("cannot {verb} in {dir}: {error}"), advice)
}

fn space(volume: &Volume, database_bytes: u64) -> Check {
    const WHAT: &str = "free space";
    let Some(free) = volume.free_bytes else { return Check::not_checked(WHAT, "the file system does not say") };
    let found = format!("{} in {}", human(free), volume.dir.display());
    let wanted = database_bytes.saturating_add(RESERVE_BYTES);
    match volume.files_left {
        _ if free < FULL_BYTES => Check::problem(
            WHAT,
            Blame::Local,
            found,
            "free some space, or enlarge the volume: the application cannot commit there either",
        ),
        Some(0) => Check::problem(
            WHAT,
            Blame::Local,
            format!("{found}, and no inode is left"),
            "remove files that are not needed",
        ),
        _ if free < wanted => Check::warning(
            WHAT,
            found,
            format!(
                "keep {} free: a restore needs as much as the database once more, and so may commits that wait for a bucket that is away",
                human(wanted)
            ),
        ),
        _ => Check::ok(WHAT, found),
    }
}

/// A size for people.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut size = bytes as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, next);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    fn verdict(volume: &Volume, what: &str) -> Verdict {
        judge(volume, 1 << 30).into_iter().find(|check| check.what == what).expect("a check").verdict
    }

    #[test]
    fn space_is_judged_by_the_database() {
        for (free, files_left, expected) in [
            (0, Some(9), Verdict::Problem(Blame::Local)),
            (1 << 29, Some(9), Verdict::Warning),
            (1 << 31, Some(9), Verdict::Ok),
            (1 << 31, None, Verdict::Ok),
            (1 << 31, Some(0), Verdict::Problem(Blame::Local)),
        ] {
            let volume = Volume { free_bytes: Some(free), files_left, ..Volume::default() };
            assert_eq!(verdict(&volume, "free space"), expected, "{free} {files_left:?}");
        }
        assert_eq!(verdict(&Volume::default(), "free space"), Verdict::NotChecked);
    }

    #[test]
    fn what_cannot_be_written_to_says_why_and_what_to_do() {
        for (errno, says) in [
            (libc::ENOSPC, "free some space"),
            (libc::EROFS, "mount it"),
            (libc::EACCES, "run as the user"),
            (libc::EIO, "dmesg"),
        ] {
            let written = Err(("write", io::Error::from_raw_os_error(errno)));
            let check = writing(&Volume { written, ..Volume::default() });
            assert_eq!(check.verdict, Verdict::Problem(Blame::Local));
            assert!(check.advice.as_ref().is_some_and(|advice| advice.contains(says)), "{check:?}");
        }
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(
            [human(0), human(1023), human(1536), human(u64::MAX)].join(" "),
            "0 bytes 1023 bytes 1.5 KiB 16384.0 PiB"
        );
    }
}
