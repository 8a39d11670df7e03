//! To whom the directory of the notes belongs, and what is in it.
//!
//! A restore may run as root and the replication as the application's user, or the other way round.
//! So nothing here is left to the user that happens to create it: as root the directory is given to
//! the owner of the database (while there is none of his own: to the owner of its directory), and
//! whoever may read or write the database may do the same with the notes. A new file takes owner,
//! group and mode from the directory that it is created in.
//!
//! The directory may be where another user can put links in our way: none is followed.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown, lchown};
use std::path::Path;

use nix::unistd::geteuid;

use crate::fsx::{self, Context};

/// Whom notes belong to, and the mode of a directory of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ownership {
    uid: u32,
    gid: u32,
    dir_mode: u32,
}

impl Ownership {
    /// By the database, if it is there, and the directory that it is in.
    fn of(database: Option<&Metadata>, beside: &Metadata) -> Ownership {
        let mode = database.map_or(0o600, Metadata::mode) & 0o666;
        // Who may read a file needs to get into its directory.
        let dir_mode = 0o700 | mode | (mode & 0o444) >> 2;
        // What root has made itself does not say who will use it.
        let uid = database.map(Metadata::uid).filter(|uid| *uid != 0).unwrap_or(beside.uid());
        let gid = database.map(Metadata::gid).filter(|gid| *gid != 0).unwrap_or(beside.gid());
        Ownership { uid, gid, dir_mode }
    }

    /// Of what is created in this directory.
    fn within(directory: &Metadata) -> Ownership {
        Ownership { uid: directory.uid(), gid: directory.gid(), dir_mode: 0o700 | directory.mode() & 0o777 }
    }

    fn file_mode(self) -> u32 {
        self.dir_mode & 0o666
    }
}

/// Creates the directory if it is missing, and gives it, and what is in it, to whom it has to
/// belong.
pub(super) fn prepare(database: &Path, directory: &Path) -> fsx::Result<()> {
    if let Err(error) = DirBuilder::new().mode(0o700).create(directory) {
        match error.kind() {
            ErrorKind::AlreadyExists => {}
            _ => fsx::create_dir_all(directory)?,
        }
    }
    let beside = fsx::metadata(fsx::parent(database))?;
    let ownership = Ownership::of(fsx::metadata_if_exists(database)?.as_ref(), &beside);
    // Through no link that another user may have put here.
    give(directory, ownership);
    Ok(())
}

/// Best effort: what is not ours to give is usable as it is, or the next step names what is in the
/// way.
fn give(path: &Path, ownership: Ownership) {
    let Ok(found) = fs::symlink_metadata(path) else { return };
    let (is_root, is_ours) = (geteuid().is_root(), found.uid() == geteuid().as_raw());
    // A second name could be that of a file which is none of ours.
    let is_note = found.is_dir() || found.is_file() && found.nlink() == 1;
    if !is_note || !(is_ours || is_root) {
        return;
    }
    let uid = is_root.then_some(ownership.uid);
    let (owner_differs, group_differs) = (is_root && found.uid() != ownership.uid, found.gid() != ownership.gid);
    if owner_differs || group_differs {
        let _ = lchown(path, uid, Some(ownership.gid));
    }
    let mode = if found.is_dir() { ownership.dir_mode } else { ownership.file_mode() };
    if found.mode() & 0o777 != mode {
        let _ = fs::set_permissions(path, Permissions::from_mode(mode));
    }
    if found.is_dir() {
        fs::read_dir(path).into_iter().flatten().flatten().for_each(|entry| give(&entry.path(), ownership));
    }
}

/// Creates a directory below that of the notes, if it is missing.
pub(super) fn create_dir_within(directory: &Path) -> fsx::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        // The directory of the notes is gone.
        Err(error) if error.kind() == ErrorKind::NotFound => fsx::create_dir_all(directory)?,
        created => created.on("create directory", directory)?,
    }
    if let Ok(above) = fs::metadata(fsx::parent(directory)) {
        give(directory, Ownership::within(&above));
    }
    fsx::sync_dir(fsx::parent(directory))
}

/// Gives a file that was just created in a directory of the notes what it has to have.
pub(super) fn settle(file: &File, path: &Path) {
    let (Ok(above), Ok(found)) = (fs::metadata(fsx::parent(path)), file.metadata()) else { return };
    let ownership = Ownership::within(&above);
    let uid = geteuid().is_root().then_some(ownership.uid);
    // Best effort, as for all of them.
    if (uid.unwrap_or(found.uid()), ownership.gid) != (found.uid(), found.gid()) {
        let _ = fchown(file, uid, Some(ownership.gid));
    }
    if found.mode() & 0o777 != ownership.file_mode() {
        let _ = file.set_permissions(Permissions::from_mode(ownership.file_mode()));
    }
}

/// Creates a file in a directory of the notes, which must not exist yet.
pub(super) fn create_new(path: &Path) -> fsx::Result<File> {
    let file = fsx::create_new(path, 0o600)?;
    settle(&file, path);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::state::note_file::NoteFile;

    /// A note in that directory.
    fn write(directory: &Path, name: &str) -> fsx::Result<()> {
        NoteFile::of_database(directory.join(name)).replace(&1)
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("stat").mode() & 0o777
    }

    #[test]
    fn who_may_use_the_database_may_use_the_notes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (database, notes) = (dir.path().join("app.db"), dir.path().join("above/notes"));
        prepare(&database, &notes).expect("prepared");
        assert_eq!(mode(&notes), 0o700, "before there is a database");
        write(&notes, "a.json").expect("written");
        assert_eq!(mode(&notes.join("a.json")), 0o600);
        for (of_database, of_notes, of_files) in [(0o660, 0o770, 0o660), (0o644, 0o755, 0o644), (0o600, 0o700, 0o600)] {
            fs::write(&database, "x").expect("write");
            fs::set_permissions(&database, Permissions::from_mode(of_database)).expect("chmod");
            prepare(&database, &notes).expect("prepared");
            create_dir_within(&notes.join("spill")).expect("created");
            write(&notes, "b.json").expect("written");
            assert_eq!((mode(&notes), mode(&notes.join("spill"))), (of_notes, of_notes));
            assert_eq!((mode(&notes.join("a.json")), mode(&notes.join("b.json"))), (of_files, of_files));
        }
    }

    #[test]
    fn root_gives_them_to_the_owner_of_the_database() {
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("tempdir");
        let (database, notes) = (dir.path().join("app.db"), dir.path().join("notes"));
        let owner = |path: &Path| {
            let found = fs::symlink_metadata(path).expect("stat");
            (found.uid(), found.gid())
        };
        lchown(dir.path(), Some(4711), Some(4712)).expect("chown");
        prepare(&database, &notes).expect("prepared");
        assert_eq!(owner(&notes), (4711, 4712), "as the directory that the database will be in");
        write(&notes, "a.json").expect("written");
        symlink(&database, notes.join("link")).expect("link");
        fs::write(&database, "x").expect("write");
        prepare(&database, &notes).expect("prepared");
        assert_eq!(owner(&notes), (4711, 4712), "root's own database tells nothing");
        lchown(&database, Some(815), Some(816)).expect("chown");
        prepare(&database, &notes).expect("prepared");
        write(&notes, "b.json").expect("written");
        for name in ["", "a.json", "b.json"] {
            assert_eq!(owner(&notes.join(name)), (815, 816), "{name}");
        }
        assert_eq!(owner(&notes.join("link")), (0, 0), "a link is not followed, and not ours");
    }
}
