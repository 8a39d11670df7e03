//! What is new in a directory, and what is gone. Pure: two pictures in, a list of steps out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::scan::{Found, Scan};

/// What was made of a directory so far; all paths are relative to it.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// They are replicated, or were taken over otherwise.
    pub registered: BTreeSet<PathBuf>,
    /// They are gone, and their last commits are being uploaded: nothing at their path is opened.
    pub leaving: BTreeSet<PathBuf>,
    /// They are not replicated; why has been said.
    pub refused: BTreeMap<PathBuf, Refusal>,
}

/// Why a database is not replicated, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its file is not fit for it: until a scan finds it to be.
    Unfit(String),
    /// It could not be registered: until another file lies there.
    Rejected(String),
    /// Its backup could not be restored: what is written there now must not become the newest state
    /// of that history while this process runs.
    LeftOut,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Databases to register.
    pub appeared: Vec<PathBuf>,
    /// Databases to remove, after a last upload.
    pub gone: Vec<PathBuf>,
    /// Files that are not fit, and why, as far as it is news.
    pub unfit: Vec<(PathBuf, String)>,
    /// What was refused about these is over.
    pub forgiven: Vec<PathBuf>,
    /// Something is about to become a database, or must be waited for.
    pub look_again: bool,
}

/// What follows from a scan. Nothing is gone because it could not be looked at.
pub fn changes(known: &Known, root: &Path, scan: &Scan) -> Changes {
    let mut changes = Changes::default();
    for (path, found) in &scan.files {
        if known.leaving.contains(path) {
            changes.look_again = true;
            continue;
        }
        if known.registered.contains(path) {
            continue;
        }
        match found {
            Found::Database => match known.refused.get(path) {
                None | Some(Refusal::Unfit(_)) => changes.appeared.push(path.clone()),
                Some(Refusal::Rejected(_) | Refusal::LeftOut) => {}
            },
            Found::Empty => changes.look_again = true,
            Found::SameAs(other) => match is_going(known, root, scan, other) {
                true => changes.look_again = true,
                false => {
                    let why =
                        format!("it is the same file as {}, which is replicated under that name", other.display());
                    changes.refuse(known, path, why);
                }
            },
            Found::Unreadable(why) => changes.refuse(known, path, format!("it cannot be read: {why}")),
            // It was registered by a command.
            Found::Held | Found::Other => {}
        }
    }
    let is_unknown = |path: &Path| path.ancestors().skip(1).any(|above| scan.unread.contains_key(above));
    let is_missing = |path: &&PathBuf| !scan.files.contains_key(*path) && !is_unknown(path);
    changes.gone = known.registered.iter().filter(is_missing).cloned().collect();
    let is_over = |(path, refusal): &(&PathBuf, &Refusal)| match (refusal, scan.files.get(*path)) {
        (Refusal::LeftOut, _) => false,
        (_, None) => !is_unknown(path),
        (Refusal::Unfit(_), Some(found)) => !matches!(found, Found::Unreadable(_) | Found::SameAs(_)),
        (Refusal::Rejected(_), Some(found)) => matches!(found, Found::Empty | Found::Other),
    };
    changes.forgiven = known.refused.iter().filter(is_over).map(|(path, _)| path.clone()).collect();
    changes
}

impl Changes {
    fn refuse(&mut self, known: &Known, path: &Path, why: String) {
        let is_news = match known.refused.get(path) {
            None => true,
            Some(Refusal::Unfit(said)) => *said != why,
            Some(Refusal::Rejected(_) | Refusal::LeftOut) => false,
        };
        if is_news {
            self.unfit.push((path.to_owned(), why));
        }
    }
}

/// Whether the file at this absolute path is one that is about to be let go: it was renamed.
fn is_going(known: &Known, root: &Path, scan: &Scan, other: &Path) -> bool {
    other.strip_prefix(root).is_ok_and(|other| known.leaving.contains(other) || !scan.files.contains_key(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "/data";

    fn known(registered: &[&str], leaving: &[&str], refused: &[(&str, &str)]) -> Known {
        let set = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        let unfit = |(path, why): &(&str, &str)| (PathBuf::from(path), Refusal::Unfit((*why).to_owned()));
        let refused = refused.iter().map(unfit).collect();
        Known { registered: set(registered), leaving: set(leaving), refused }
    }

    fn scan(files: &[(&str, Found)]) -> Scan {
        let files = files.iter().map(|(path, found)| (PathBuf::from(path), found.clone())).collect();
        Scan { files, ..Scan::default() }
    }

    fn paths(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    fn changes(known: &Known, scan: &Scan) -> Changes {
        super::changes(known, Path::new(ROOT), scan)
    }

    const DATABASE: Found = Found::Database;

    #[test]
    fn what_appears_is_registered_and_what_disappears_is_removed() {
        let found = scan(&[("a.db", Found::Held), ("b.db", DATABASE), ("c.db", Found::Other), ("sub/d.db", DATABASE)]);
        let steps = changes(&known(&["a.db", "gone.db"], &[], &[]), &found);
        assert_eq!(steps.appeared, paths(&["b.db", "sub/d.db"]));
        assert_eq!((steps.gone, steps.look_again), (paths(&["gone.db"]), false));
        assert_eq!(changes(&known(&["a.db"], &[], &[]), &scan(&[("a.db", Found::Held)])), Changes::default());
    }

    #[test]
    fn everything_is_gone_with_its_directory_and_nothing_because_it_could_not_be_read() {
        let all = known(&["a.db", "sub/b.db", "sub/deep/c.db", "subway/d.db"], &[], &[]);
        assert_eq!(changes(&all, &Scan { is_missing: true, ..Scan::default() }).gone.len(), 4);
        let mut found = scan(&[("a.db", Found::Held)]);
        found.unread.insert("sub".into(), "permission denied".into());
        assert_eq!(changes(&all, &found).gone, paths(&["subway/d.db"]));
        found.unread.insert("".into(), "permission denied".into());
        assert_eq!(changes(&all, &found).gone, paths(&[]));
    }

    #[test]
    fn a_new_file_becomes_a_database_only_when_something_was_written() {
        let empty = changes(&Known::default(), &scan(&[("a.db", Found::Empty)]));
        assert_eq!(empty, Changes { look_again: true, ..Changes::default() });
    }

    #[test]
    fn a_renamed_database_waits_until_the_old_name_is_let_go() {
        let old = || Found::SameAs("/data/a.db".into());
        let first = changes(&known(&["a.db"], &[], &[]), &scan(&[("b.db", old())]));
        assert_eq!((first.gone, first.appeared, first.look_again), (paths(&["a.db"]), paths(&[]), true));
        let then = changes(&known(&[], &["a.db"], &[]), &scan(&[("b.db", old())]));
        assert_eq!(then, Changes { look_again: true, ..Changes::default() });
        let last = changes(&Known::default(), &scan(&[("b.db", DATABASE)]));
        assert_eq!(last.appeared, paths(&["b.db"]));
        // A file that came back under its own name waits, too.
        assert!(changes(&known(&[], &["a.db"], &[]), &scan(&[("a.db", DATABASE)])).appeared.is_empty());
    }

    #[test]
    fn two_names_of_one_file_are_one_database_and_that_is_said_once() {
        let found = scan(&[("a.db", Found::Held), ("b.db", Found::SameAs("/data/a.db".into()))]);
        let first = changes(&known(&["a.db"], &[], &[]), &found);
        let [(path, why)] = first.unfit.as_slice() else { panic!("{first:?}") };
        assert!(path == Path::new("b.db") && why.contains("same file as /data/a.db"), "{why}");
        assert_eq!(changes(&known(&["a.db"], &[], &[("b.db", why)]), &found), Changes::default());
        let elsewhere = scan(&[("b.db", Found::SameAs("/other/x.db".into()))]);
        assert_eq!(changes(&Known::default(), &elsewhere).unfit.len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_said_once_and_taken_when_it_can() {
        let unreadable = scan(&[("a.db", Found::Unreadable("permission denied".into()))]);
        let first = changes(&Known::default(), &unreadable);
        let [(_, why)] = first.unfit.as_slice() else { panic!("{first:?}") };
        let refused = known(&[], &[], &[("a.db", why)]);
        assert_eq!(changes(&refused, &unreadable), Changes::default());
        assert_eq!(changes(&refused, &Scan::default()).forgiven, paths(&["a.db"]));
        let healed = changes(&refused, &scan(&[("a.db", DATABASE)]));
        assert_eq!((healed.appeared, healed.forgiven), (paths(&["a.db"]), paths(&["a.db"])));
    }

    #[test]
    fn what_was_rejected_waits_for_another_file_and_what_was_left_out_for_another_start() {
        let with = |refusal: Refusal| Known { refused: [("a.db".into(), refusal)].into(), ..Known::default() };
        let rejected = with(Refusal::Rejected("it collides".into()));
        assert_eq!(changes(&rejected, &scan(&[("a.db", DATABASE)])), Changes::default());
        assert_eq!(changes(&rejected, &Scan::default()).forgiven, paths(&["a.db"]));
        for found in [scan(&[("a.db", DATABASE)]), Scan::default()] {
            assert_eq!(changes(&with(Refusal::LeftOut), &found), Changes::default());
        }
    }
}
