//! The one way to read and to write a note.
//!
//! A note is one line of JSON: the version of its format, the replica that it speaks of (if it is
//! about one), a checksum, and what it says. It is filled up with spaces.
//!
//! [`NoteFile::replace`] writes a temporary file, fsyncs it, renames it over the note and fsyncs
//! the directory: whoever reads sees the old note or the new one, after a power loss too. That
//! takes two waits for the disk (11 ms where it was measured), so a note that is written with every
//! upload goes on with [`NoteFile::overwrite`] once it exists: one `write` of one page, which a
//! killed process cannot tear, into a file whose blocks and length a power loss cannot take. If the
//! disk tears it nevertheless, the checksum tells.
//!
//! What cannot be read is not known: [`NoteFile::load`] has no error.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ownership;
use crate::fsx::{self, Context};

const VERSION: u64 = 1;
/// Notes are filled up to a multiple of this with spaces.
const LEN_STEP: usize = 1024;

/// The file of one note.
#[derive(Clone, Debug)]
pub(super) struct NoteFile {
    path: PathBuf,
    /// Where earlier builds have it; read only, and only while there is no newer one.
    earlier: Option<PathBuf>,
    /// The replica that it has to speak of.
    replica: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replica: Option<String>,
    /// 16 hex digits.
    checksum: String,
    note: Value,
}

impl Envelope {
    fn around(replica: Option<String>, note: Value) -> Envelope {
        Envelope { version: VERSION, checksum: checksum(replica.as_deref(), &note), replica, note }
    }
}

fn checksum(replica: Option<&str>, note: &Value) -> String {
    format!("{:016x}", fsx::hash(format!("{} {note}", replica.unwrap_or_default()).as_bytes()))
}

impl NoteFile {
    pub fn of_database(path: PathBuf) -> NoteFile {
        NoteFile { path, earlier: None, replica: None }
    }

    pub fn of_replica(path: PathBuf, address: &str) -> NoteFile {
        NoteFile { path, earlier: None, replica: Some(address.to_owned()) }
    }

    pub fn or_earlier(self, path: PathBuf) -> NoteFile {
        NoteFile { earlier: Some(path), ..self }
    }

    /// What it says; `None` when that is not known.
    pub fn load<T: DeserializeOwned>(&self) -> Option<T> {
        let (path, text) = self.read()?;
        match self.parse(&text) {
            Ok(note) => note,
            Err(why) => {
                tracing::debug!("{} is not used: {why}", path.display());
                None
            }
        }
    }

    fn read(&self) -> Option<(&Path, Vec<u8>)> {
        for path in std::iter::once(&self.path).chain(&self.earlier) {
            match read(path) {
                Ok(text) => return Some((path, text)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::debug!("{} is not used: {error}", path.display());
                    return None;
                }
            }
        }
        None
    }

    /// An inner `None`: it speaks of another replica.
    fn parse<T: DeserializeOwned>(&self, text: &[u8]) -> Result<Option<T>, String> {
        // What a longer note left behind this one does not count.
        let first = serde_json::Deserializer::from_slice(text).into_iter::<Value>().next();
        let value = first.ok_or("it is empty")?.map_err(|error| error.to_string())?;
        let (replica, note) = match value.get("version") {
            // Of an earlier build: the note alone, with the replica in it.
            None => (value.get("replica").and_then(Value::as_str).map(str::to_owned), value),
            Some(version) if version.as_u64() == Some(VERSION) => {
                let envelope: Envelope = serde_json::from_value(value).map_err(|error| error.to_string())?;
                if envelope.checksum != checksum(envelope.replica.as_deref(), &envelope.note) {
                    return Err("its checksum does not match".into());
                }
                (envelope.replica, envelope.note)
            }
            Some(version) => return Err(format!("it has version {version}, and this build knows version {VERSION}")),
        };
        if self.replica.is_some() && replica != self.replica {
            return Ok(None);
        }
        serde_json::from_value(note).map(Some).map_err(|error| error.to_string())
    }

    /// Writes it as a whole, and durably. A note that says the same already stays: most starts and
    /// ends find it so, and need not wait for the disk.
    pub fn replace(&self, note: &impl Serialize) -> fsx::Result<()> {
        let text = self.encode(note)?;
        if read(&self.path).is_ok_and(|found| found == text) {
            return Ok(());
        }
        let directory = fsx::parent(&self.path);
        // The directory of a replica is in another one that may be missing.
        if self.replica.is_some() {
            ownership::create_dir_within(fsx::parent(directory))?;
        }
        ownership::create_dir_within(directory)?;
        let temporary = fsx::with_suffix(&self.path, ".tmp");
        fsx::remove_file_if_exists(&temporary)?;
        let mut file = ownership::create_new(&temporary)?;
        file.write_all(&text).on("write", &temporary)?;
        fsx::sync_file(&file, &temporary)?;
        fsx::rename(&temporary, &self.path)?;
        fsx::sync_dir(directory)
    }

    /// Writes it in place if it exists, for a note that is written with every upload; else as a
    /// whole.
    pub fn overwrite(&self, note: &impl Serialize) -> fsx::Result<()> {
        match open(&self.path, File::options().write(true)) {
            Err(error) if error.kind() == ErrorKind::NotFound => self.replace(note),
            Err(error) => Err(error).on("open", &self.path),
            Ok(file) => file.write_all_at(&self.encode(note)?, 0).on("write", &self.path),
        }
    }

    /// Removes it, and what earlier builds left of it.
    pub fn remove(&self) -> fsx::Result<()> {
        for path in self.paths_there()? {
            fsx::remove_file_if_exists(&path)?;
        }
        Ok(())
    }

    /// Where there is something to remove.
    pub fn paths_there(&self) -> fsx::Result<Vec<PathBuf>> {
        let mut there = Vec::new();
        for path in std::iter::once(&self.path).chain(&self.earlier) {
            if fsx::metadata_if_exists(path)?.is_some() {
                there.push(path.clone());
            }
        }
        Ok(there)
    }

    fn encode(&self, note: &impl Serialize) -> fsx::Result<Vec<u8>> {
        let envelope = |note| serde_json::to_vec(&Envelope::around(self.replica.clone(), note));
        let text = serde_json::to_value(note).and_then(envelope);
        let mut text = text.map_err(io::Error::other).on("encode", &self.path)?;
        // Always as long, so that one that is written in place changes neither length nor blocks.
        text.resize((text.len() + 1).next_multiple_of(LEN_STEP) - 1, b' ');
        text.push(b'\n');
        Ok(text)
    }
}

/// Behind no link, and a FIFO is nothing to wait for.
fn open(path: &Path, options: &mut std::fs::OpenOptions) -> io::Result<File> {
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// A note is short: whatever is longer is none.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    const LEN_MAX: u64 = 64 * 1024;
    let mut text = Vec::new();
    open(path, File::options().read(true))?.take(LEN_MAX).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Said {
        number: u64,
        #[serde(default)]
        text: String,
    }

    fn said(number: u64, text: &str) -> Said {
        Said { number, text: text.into() }
    }

    fn of(directory: &Path, replica: &str) -> NoteFile {
        NoteFile::of_replica(directory.join("replicas/x/note.json"), replica).or_earlier(directory.join("old.json"))
    }

    #[test]
    fn a_note_is_read_as_it_was_written_by_the_replica_that_it_speaks_of() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (note, other) = (of(dir.path(), "r"), of(dir.path(), "other"));
        assert_eq!(note.load::<Said>(), None);
        note.overwrite(&said(1, "as there was none, as a whole")).expect("write");
        assert_eq!(note.load(), Some(said(1, "as there was none, as a whole")));
        note.overwrite(&said(2, "")).expect("write");
        assert_eq!((note.load(), other.load::<Said>()), (Some(said(2, "")), None));
        note.replace(&said(u64::MAX, "é\n")).expect("write");
        assert_eq!(note.load(), Some(said(u64::MAX, "é\n")));
        let inode = || std::fs::metadata(&note.path).expect("stat").ino();
        let before = inode();
        note.replace(&said(u64::MAX, "é\n")).expect("it says so already");
        assert_eq!(inode(), before);
        assert!(!dir.path().join("replicas/x/note.json.tmp").exists());
        note.remove().expect("remove");
        assert_eq!((note.load::<Said>(), note.paths_there().expect("stat").len()), (None, 0));
    }

    #[test]
    fn a_crash_in_the_middle_of_writing_leaves_the_old_note_or_none() {
        let dir = tempfile::tempdir().expect("tempdir");
        let note = of(dir.path(), "r");
        note.replace(&said(1, "old")).expect("write");
        let old = std::fs::read(&note.path).expect("read");
        note.replace(&said(2, "new")).expect("write");
        let new = std::fs::read(&note.path).expect("read");
        assert_eq!((old.len(), new.len()), (LEN_STEP, LEN_STEP));
        let said_len = 1 + new.iter().rposition(|byte| *byte == b'}').expect("JSON");
        let temporary = fsx::with_suffix(&note.path, ".tmp");
        for len in 0..=said_len + 1 {
            // Killed before the rename.
            std::fs::write(&note.path, &old).expect("write");
            std::fs::write(&temporary, &new[..len]).expect("write");
            assert_eq!(note.load(), Some(said(1, "old")), "{len} bytes");
            // Torn in place: so many bytes of the new note reached the disk.
            let torn = [&new[..len], &old[len.min(old.len())..]].concat();
            std::fs::write(&note.path, &torn).expect("write");
            let found = note.load::<Said>();
            assert!(
                found.is_none() || found == Some(said(1, "old")) || found == Some(said(2, "new")),
                "{len}: {found:?}"
            );
            std::fs::write(&note.path, &new[..len]).expect("write");
            let is_whole = len >= said_len;
            assert_eq!(note.load::<Said>(), is_whole.then(|| said(2, "new")), "cut to {len} bytes");
        }
        note.replace(&said(3, "")).expect("a temporary file of an earlier run is in the way of nothing");
        assert_eq!((note.load(), temporary.exists()), (Some(said(3, "")), false));
    }

    #[test]
    fn a_note_of_any_length_is_filled_up() {
        let dir = tempfile::tempdir().expect("tempdir");
        let note = of(dir.path(), "r");
        for len in LEN_STEP - 200..=LEN_STEP {
            let text = "x".repeat(len);
            note.overwrite(&said(1, &text)).expect("write");
            assert_eq!(note.load(), Some(said(1, &text)), "{len}");
            assert_eq!(std::fs::metadata(&note.path).expect("stat").len() % LEN_STEP as u64, 0);
        }
    }

    #[test]
    fn what_is_no_note_is_not_known() {
        let dir = tempfile::tempdir().expect("tempdir");
        let note = of(dir.path(), "r");
        note.replace(&said(1, "text")).expect("write");
        let whole = std::fs::read_to_string(&note.path).expect("read");
        for damaged in [
            String::new(),
            "\0".repeat(whole.len()),
            "no JSON".into(),
            "[1]".into(),
            "{}".into(),
            whole.replace("text", "test"),
            whole.replace("\"version\":1", "\"version\":2"),
            whole.replace("\"version\":1", "\"version\":\"1\""),
            whole.replace("\"checksum\"", "\"sum\""),
            whole.replace("\"r\"", "\"s\""),
        ] {
            assert_ne!(damaged, whole);
            std::fs::write(&note.path, &damaged).expect("write");
            assert_eq!(note.load::<Said>(), None, "{damaged}");
        }
        std::fs::remove_file(&note.path).and_then(|()| std::fs::create_dir(&note.path)).expect("a directory");
        assert_eq!(note.load::<Said>(), None);
        assert!(note.replace(&said(2, "")).is_err() && note.overwrite(&said(2, "")).is_err());
    }

    #[test]
    fn no_link_is_followed_to_read_or_to_write() {
        let dir = tempfile::tempdir().expect("tempdir");
        let note = of(dir.path(), "r");
        note.replace(&said(1, "")).expect("write");
        let elsewhere = dir.path().join("elsewhere");
        std::fs::rename(&note.path, &elsewhere).expect("move");
        std::os::unix::fs::symlink(&elsewhere, &note.path).expect("link");
        assert_eq!(note.load::<Said>(), None);
        assert!(note.overwrite(&said(2, "")).is_err());
        note.replace(&said(3, "")).expect("in place of the link");
        assert_eq!(NoteFile { path: elsewhere, ..note.clone() }.load(), Some(said(1, "")));
        assert_eq!(note.load(), Some(said(3, "")));
    }

    #[test]
    fn a_note_of_an_earlier_build_counts_until_there_is_a_newer_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        let note = of(dir.path(), "r");
        std::fs::write(dir.path().join("old.json"), "{\n  \"replica\": \"r\",\n  \"number\": 7\n}\nrest")
            .expect("write");
        assert_eq!((note.load(), of(dir.path(), "other").load::<Said>()), (Some(said(7, "")), None));
        note.overwrite(&said(8, "")).expect("write");
        assert_eq!(note.load(), Some(said(8, "")));
        std::fs::write(&note.path, "torn").expect("write");
        assert_eq!(note.load::<Said>(), None, "what it said before that is out of date");
        note.remove().expect("remove");
        assert_eq!(note.load::<Said>(), None);
    }
}
