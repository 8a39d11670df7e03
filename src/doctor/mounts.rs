//! On which file system a path is, by the lines of `/proc/self/mountinfo`. Pure.

use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub at: PathBuf,
    /// As the kernel calls it: `ext4`, `nfs4`, `fuse.sshfs`.
    pub kind: String,
    pub is_read_only: bool,
}

/// The one that a path without links is on. Of those at the same place the last one counts.
pub fn mount_of(mountinfo: &str, path: &Path) -> Option<Mount> {
    let found = mountinfo.lines().filter_map(parse).filter(|mount| path.starts_with(&mount.at));
    found.max_by_key(|mount| mount.at.components().count())
}

/// `36 35 98:0 /root /at rw,noatime master:1 - ext4 /dev/sda1 rw,errors=continue`
fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(4);
    let (at, options) = (fields.next()?, fields.next()?);
    let mut after = after.split(' ');
    let (kind, super_options) = (after.next()?, after.nth(1).unwrap_or_default());
    let is_read_only = [options, super_options].iter().any(|options| options.split(',').any(|option| option == "ro"));
    Some(Mount { at: PathBuf::from(unescaped(at)), kind: kind.to_owned(), is_read_only })
}

/// Blanks and backslashes stand there as `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let octal = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(&part[3..]);
            }
            None => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

impl Mount {
    /// What it means for a database that its file system is in the network, or otherwise special;
    /// with what to do.
    pub fn concern(&self) -> Option<(String, &'static str)> {
        let kind = self.kind.as_str();
        let network = [
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "smbfs",
            "ceph",
            "glusterfs",
            "afs",
            "9p",
            "lustre",
            "gpfs",
            "beegfs",
            "ocfs2",
            "gfs2",
        ];
        let is_fuse = kind == "fuse" || kind.starts_with("fuse.");
        match kind {
            _ if network.contains(&kind) || is_fuse || matches!(kind, "virtiofs" | "vboxsf" | "prl_fs" | "vmhgfs") => {
                Some((
                    format!(
                        "{kind}: SQLite's locks may not be seen by every program there, and the WAL's shared memory (-shm) works only \
                     between programs of one machine"
                    ),
                    "put the database on a local disk; the bucket brings it back when that is lost. If it must stay, see to it that one \
                 machine only ever opens it",
                ))
            }
            "overlay" | "aufs" => Some((
                format!("{kind}: this is the container's own layer, which is gone when the container is replaced"),
                "mount a volume there if the database is large: without one every new container restores it from the bucket",
            )),
            "tmpfs" | "ramfs" => Some((
                format!("{kind}: this is memory, which is gone when the machine stops"),
                "put the database on a disk, unless it is meant to be restored from the bucket at each start",
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n\
        40 22 0:45 / /srv/my\\040data rw - nfs4 server:/x rw,vers=4.2\n\
        41 22 8:2 / /srv/ro ro,relatime - xfs /dev/sdb rw\n\
        42 22 0:50 / /srv/ro rw - tmpfs none ro,size=1k\n\
        nonsense\n";

    #[test]
    fn the_deepest_and_last_mount_counts() {
        let of = |path: &str| mount_of(INFO, Path::new(path)).map(|mount| (mount.kind, mount.is_read_only));
        assert_eq!(of("/srv/other"), Some(("ext4".into(), false)));
        assert_eq!(of("/srv/my data/app"), Some(("nfs4".into(), false)));
        assert_eq!(of("/srv/ro/x"), Some(("tmpfs".into(), true)));
        assert_eq!(of("/srv/ronaldo"), Some(("ext4".into(), false)));
        assert_eq!(mount_of("", Path::new("/")), None);
    }

    #[test]
    fn file_systems_that_are_not_local_disks_are_explained() {
        let concern = |kind: &str| {
            let mount = Mount { at: "/".into(), kind: kind.into(), is_read_only: false };
            mount.concern().map(|(found, _)| found)
        };
        for kind in ["nfs4", "cifs", "fuse.sshfs", "9p", "virtiofs"] {
            assert!(concern(kind).is_some_and(|found| found.contains(kind) && found.contains("-shm")), "{kind}");
        }
        assert!(concern("overlay").is_some_and(|found| found.contains("container")));
        for kind in ["ext4", "xfs", "btrfs", "zfs", "fuseblk"] {
            assert_eq!(concern(kind), None, "{kind}");
        }
    }
}
