//! The database's file and the programs that have it open, seen from outside: nothing here opens
//! the database as one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::{Blame, Check};
use crate::clock::Clock;
use crate::db::Surroundings;
use crate::fsx;
use crate::sqlite::{
    Holder, Journal, Locked, Presence, check_access, has_wal_reset_bug, look_at_file, look_at_locks, programs,
    version_in_process,
};

/// How often it is looked whether a program is alone with the database, and how long it takes.
const LOOKS: u32 = 8;
/// Of so many databases nearby it is looked who has them open.
const NEIGHBOURS: usize = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(125);

/// What was found at a database's path.
#[derive(Debug)]
pub struct Application {
    pub presence: Result<Presence, String>,
    /// Why this process could not open the database without harm.
    pub refused: Option<String>,
    /// Who was alone with it at every look.
    pub alone: Option<Holder>,
    pub programs: Vec<Running>,
    /// While only we have the database open: another one nearby, and a program that has that open.
    pub elsewhere: Option<(PathBuf, String)>,
}

/// A program that has the database open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Name and process id.
    pub name: String,
    /// Of its SQLite, if that could be seen.
    pub sqlite: Option<String>,
    /// It is one of ours.
    pub is_ours: bool,
}

/// Looks for a second. Blocks. Only for a process that has no connection to the database.
pub fn look(database: &Path, clock: Clock) -> Application {
    let path = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let presence = look_at_file(&path).map_err(|error| error.to_string());
    let is_database = matches!(presence, Ok(Presence::Database(_)));
    let own = own_program();
    let running = |program: crate::sqlite::Program| Running {
        is_ours: own.is_some() && std::fs::read_link(format!("/proc/{}/exe", program.pid)).ok() == own,
        sqlite: version_in_process(program.pid),
        name: program.name,
    };
    let programs: Vec<Running> =
        if is_database { programs(&path).into_iter().map(running).collect() } else { Vec::new() };
    let is_ours_alone = !programs.is_empty() && programs.iter().all(|program| program.is_ours);
    Application {
        elsewhere: is_ours_alone.then(|| elsewhere(&path, running)).flatten(),
        refused: is_database.then(|| check_access(&path).err().map(|error| error.to_string())).flatten(),
        alone: is_database.then(|| alone(&path, clock)).flatten(),
        programs,
        presence,
    }
}

/// The database nearby that was written last and is open in a program that is not ours.
fn elsewhere(path: &Path, running: impl Fn(crate::sqlite::Program) -> Running) -> Option<(PathBuf, String)> {
    let neighbours = Surroundings::look(path, &[path.to_owned()]).neighbours;
    neighbours.into_iter().take(NEIGHBOURS).find_map(|neighbour| {
        let others = programs(&neighbour.path).into_iter().map(&running);
        let other = others.into_iter().find(|program| !program.is_ours)?;
        Some((neighbour.path, other.name))
    })
}

fn own_program() -> Option<PathBuf> {
    std::fs::read_link("/proc/self/exe").ok()
}

/// Who is alone with the database at each look. A transaction may be, for a moment.
fn alone(path: &Path, clock: Clock) -> Option<Holder> {
    let mut newest = None;
    for look in 0..LOOKS {
        if look > 0 {
            clock.block_for(BETWEEN_LOOKS);
        }
        match look_at_locks(path) {
            Ok(Locked::Exclusively(holder)) if holder.is_wal => return Some(holder),
            Ok(Locked::Exclusively(holder)) => newest = Some(holder),
            Ok(Locked::No) | Err(_) => return None,
        }
    }
    newest
}

/// Size of what is there.
pub fn size(database: &Path) -> u64 {
    fsx::metadata_if_exists(database).ok().flatten().map_or(0, |found| found.len())
}

/// `is_restored`: a missing database is brought back at the start.
pub fn judge(found: &Application, is_restored: bool) -> Vec<Check> {
    let mut checks = vec![database(found, is_restored)];
    if !matches!(found.presence, Ok(Presence::Database(_))) {
        return checks;
    }
    checks.push(locking(found));
    checks.push(users(found));
    checks.extend(found.programs.iter().filter(|program| !program.is_ours).map(library));
    checks
}

/// Who uses the database.
fn users(found: &Application) -> Check {
    const WHAT: &str = "application";
    let names: Vec<&str> = found.programs.iter().map(|program| program.name.as_str()).collect();
    match &found.elsewhere {
        Some((path, program)) => Check::warning(
            WHAT,
            format!("only millstream has the database open; {program} has {} open", path.display()),
            "if that is the application's database, correct `path`",
        ),
        None if names.is_empty() => {
            Check::not_checked(WHAT, "no other program has the database open, as far as can be seen from here")
        }
        None => Check::ok(WHAT, format!("the database is open in {}", names.join(", "))),
    }
}

fn database(found: &Application, is_restored: bool) -> Check {
    const WHAT: &str = "database";
    let header = match &found.presence {
        Ok(Presence::Database(header)) => header,
        Ok(Presence::Missing | Presence::Empty) => {
            let then = match is_restored {
                true => "it is restored at the start, or created by the application",
                false => "`millstream run` restores it at the start; with `replicate` the application has to create it",
            };
            return Check::ok(WHAT, format!("not there yet: {then}"));
        }
        Ok(Presence::NoDatabase(content)) => {
            let advice = "correct `path`, or move the file away: it is never replaced";
            return Check::problem(WHAT, Blame::Local, format!("the file is no SQLite database: {content}"), advice);
        }
        Err(error) => {
            return Check::problem(WHAT, Blame::Local, error.clone(), "correct `path`, or let this user read the file");
        }
    };
    match (&found.refused, header.is_wal) {
        (Some(why), _) => Check::problem(
            WHAT,
            Blame::Local,
            why.clone(),
            "run as the user whom the database belongs to, on a disk that can be written to",
        ),
        (None, true) => Check::ok(WHAT, format!("in WAL mode, pages of {} bytes", header.page_size.get())),
        (None, false) => Check::warning(
            WHAT,
            "in a rollback mode: it is switched to WAL when it is replicated",
            "let the application say PRAGMA journal_mode=WAL itself, and never switch back",
        ),
    }
}

fn locking(found: &Application) -> Check {
    const WHAT: &str = "locking mode";
    let Some(holder) = &found.alone else { return Check::ok(WHAT, "no program has the database to itself") };
    let name = &holder.name;
    let what = match (holder.is_wal, holder.journal) {
        (true, _) => format!("{name} has the database to itself (PRAGMA locking_mode=EXCLUSIVE)"),
        (false, Journal::Hot) => {
            format!("{name} has been alone with the database for a second: a long transaction writes to it")
        }
        (false, _) => {
            format!(
                "{name} has been alone with the database for a second: PRAGMA locking_mode=EXCLUSIVE, or a long transaction"
            )
        }
    };
    match (holder.is_wal, holder.journal) {
        (false, Journal::Hot) => Check::warning(WHAT, what, "look again when that transaction has ended"),
        _ => Check::problem(
            WHAT,
            Blame::Local,
            format!("{what}: no other program can read it, so it cannot be replicated"),
            "remove PRAGMA locking_mode=EXCLUSIVE (or the driver's setting of that name) from the application, and restart it",
        ),
    }
}

fn library(program: &Running) -> Check {
    const WHAT: &str = "SQLite";
    match &program.sqlite {
        None => Check::not_checked(WHAT, format!("the version in {} is not known", program.name)),
        Some(version) if has_wal_reset_bug(version) => Check::warning(
            WHAT,
            format!(
                "{} runs on SQLite {version}, which has the WAL-reset bug: its checkpoints can lose pages",
                program.name
            ),
            "update the application's SQLite to 3.51.3 or later (or 3.50.7, 3.44.6), or set PRAGMA wal_autocheckpoint=0 there: \
             millstream checkpoints",
        ),
        Some(version) => Check::ok(WHAT, format!("{} runs on SQLite {version}", program.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;
    use crate::clock::MACHINE;
    use crate::page::PageSize;
    use crate::sqlite::DbHeader;

    fn verdict(found: &Application, what: &str) -> Verdict {
        judge(found, true).into_iter().find(|check| check.what == what).expect("a check").verdict
    }

    fn found(is_wal: bool, alone: Option<Journal>) -> Application {
        let header = DbHeader { page_size: PageSize::new(4096).expect("a size"), is_wal };
        let holder = |journal| Holder { name: "app (pid 7)".into(), is_wal, journal, size_and_time: (0, 0, 0) };
        Application {
            presence: Ok(Presence::Database(header)),
            refused: None,
            alone: alone.map(holder),
            programs: Vec::new(),
            elsewhere: None,
        }
    }

    #[test]
    fn locking_and_journal_modes_are_judged() {
        let blank = Journal::Blank((0, 0, 0));
        let exclusive = Verdict::Problem(Blame::Local);
        for (is_wal, alone, expected) in [
            (true, None, (Verdict::Ok, Verdict::Ok)),
            (false, None, (Verdict::Warning, Verdict::Ok)),
            (true, Some(Journal::Missing), (Verdict::Ok, exclusive)),
            (false, Some(blank), (Verdict::Warning, exclusive)),
            (false, Some(Journal::Hot), (Verdict::Warning, Verdict::Warning)),
        ] {
            let found = found(is_wal, alone);
            assert_eq!((verdict(&found, "database"), verdict(&found, "locking mode")), expected, "{found:?}");
        }
        let refused = Application { refused: Some("read-only".into()), ..found(true, None) };
        assert_eq!(verdict(&refused, "database"), Verdict::Problem(Blame::Local));
    }

    #[test]
    fn what_is_no_database_is_a_problem_and_what_is_missing_is_none() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("app.db");
        assert_eq!(verdict(&look(&path, MACHINE), "database"), Verdict::Ok);
        std::fs::write(&path, "some text that is no database").expect("write");
        assert_eq!(verdict(&look(&path, MACHINE), "database"), Verdict::Problem(Blame::Local));
    }

    #[test]
    fn an_application_that_uses_another_file_is_seen() {
        let dir = tempfile::tempdir().expect("tempdir");
        let make = |name: &str| {
            let made = rusqlite::Connection::open(dir.path().join(name)).expect("open");
            made.execute_batch("CREATE TABLE t (x)").expect("write");
        };
        make("app.db");
        make("other.db");
        let other_db = std::fs::File::options().read(true).write(true).open(dir.path().join("other.db")).expect("open");
        let mut user = std::process::Command::new("sleep").arg("60").stdin(other_db).spawn().expect("spawn");
        let other = |program: crate::sqlite::Program| Running { name: program.name, sqlite: None, is_ours: false };
        let ours = |program: crate::sqlite::Program| Running { is_ours: true, ..other(program) };
        let seen = elsewhere(&dir.path().join("app.db"), other);
        let unseen = elsewhere(&dir.path().join("app.db"), ours);
        user.kill().expect("kill");
        user.wait().expect("reap");
        let (path, name) = seen.expect("other.db is open");
        assert!(path.ends_with("other.db") && name.starts_with("sleep (pid "), "{path:?} {name}");
        assert_eq!(unseen, None);
        let found = Application { elsewhere: Some((path, name)), ..found(true, None) };
        assert_eq!(verdict(&found, "application"), Verdict::Warning);
    }

    #[test]
    fn an_old_sqlite_is_named_with_what_to_do() {
        let of = |version: Option<&str>| {
            library(&Running { name: "app (pid 7)".into(), sqlite: version.map(str::to_owned), is_ours: false })
        };
        assert_eq!(of(None).verdict, Verdict::NotChecked);
        assert_eq!(of(Some("3.51.3")).verdict, Verdict::Ok);
        let old = of(Some("3.40.1"));
        assert!(
            old.verdict == Verdict::Warning && old.found.contains("3.40.1") && old.found.contains("app (pid 7)"),
            "{old:?}"
        );
    }
}
