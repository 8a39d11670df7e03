//! `millstream mark`: names for moments of the history.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::args::Mark as Command;
use super::source::Source;
use super::target::target;
use super::{Environment, Style, each_said, heading, install, logger, printed, replica_at, source, variable};
use crate::clock::MACHINE;
use crate::config::{Database, Replica, Socket};
use crate::control::{Client, ClientError};
use crate::remote::{Mark, Remote};
use crate::restore::{RestoreError, Target};
use crate::run::exit::{BACKUP, CONFIG, UNSYNCED};
use crate::run::mark::{self as marking, NewMark, State, rfc3339};
use crate::run::{Failure, connect, restore_failure, store_failure, unless_signalled};

/// How long a running process may take to upload what is committed now.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);

/// The replicas of one database, or of a URL.
struct Subject {
    /// The database, if it is one of the configuration.
    database: Option<PathBuf>,
    replicas: Vec<Replica>,
}

struct Looked {
    subjects: Vec<Subject>,
    all: Vec<Database>,
    socket: Option<Socket>,
}

pub async fn mark(command: Command) -> Result<u8, Failure> {
    let (mut signals, _reaper) = install()?;
    let looked = look(&command)?;
    let work = async |cancel: CancellationToken| match &command.drop {
        Some(name) => drop_mark(&looked, name).await,
        None if command.list => list(&command, &looked).await,
        None => make(&command, &looked, &cancel).await,
    };
    // Nothing is half-done: a mark is there or not.
    let work = async |cancel: CancellationToken| cancel.run_until_cancelled(work(cancel.clone())).await;
    unless_signalled(&mut signals, work).await?.unwrap_or_else(|| Err(restore_failure(RestoreError::Cancelled)))
}

fn look(command: &Command) -> Result<Looked, Failure> {
    if let Some(Source::Url(url)) = command.source() {
        logger::start_as_told(&command.sources(&variable, PathBuf::new()));
        let subject = Subject { database: None, replicas: vec![replica_at(&url)?] };
        return Ok(Looked { subjects: vec![subject], all: Vec::new(), socket: None });
    }
    let configuration = |error: anyhow::Error| Failure::new(CONFIG, error);
    let environment = Environment::of_process()?;
    let wanted = match command.source() {
        Some(Source::Database(path)) => {
            let sources = command.sources(&variable, environment.cwd.clone());
            Some(sources.absolute(&path).map_err(configuration)?)
        }
        _ => None,
    };
    let loaded = environment.load(|env, cwd| command.sources(env, cwd))?;
    logger::start(&loaded.options.logging);
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let subject = |database: &Database| {
        let replicas = source::picked(database, command.replica())?.into_iter().cloned().collect();
        Ok(Subject { database: Some(database.path.clone()), replicas })
    };
    let subjects = match wanted {
        Some(path) => {
            vec![subject(&loaded.database(&path).map_err(configuration)?)?]
        }
        None => {
            loaded.require_databases().map_err(configuration)?;
            let databases = loaded.options.with_those_in_directories();
            databases.iter().map(subject).collect::<Result<Vec<Subject>, Failure>>()?
        }
    };
    Ok(Looked { subjects, all: loaded.options.databases, socket: loaded.options.socket })
}

impl Looked {
    async fn remotes<'a>(&self, subject: &'a Subject) -> Vec<(&'a Replica, Result<Remote, Failure>)> {
        let mut remotes = Vec::new();
        for replica in &subject.replicas {
            remotes.push((replica, connect(replica, &self.all).await));
        }
        remotes
    }

    fn are_several(&self) -> bool {
        self.subjects.len() > 1 || self.subjects.iter().any(|subject| subject.replicas.len() > 1)
    }

    /// How a replica is called in what is shown.
    fn title(&self, subject: &Subject, replica: &Replica) -> String {
        match &subject.database {
            Some(database) if self.subjects.len() > 1 => format!("{} of {}", replica.name, database.display()),
            _ => replica.name.clone(),
        }
    }
}

type Failures = Vec<(String, Failure)>;
/// The marks of one replica, and what it is called.
type Listed<'a> = (String, &'a Replica, &'a Subject, Vec<Mark>);

async fn make(command: &Command, looked: &Looked, cancel: &CancellationToken) -> Result<u8, Failure> {
    let target = target(command.txid, command.timestamp.as_ref())?;
    let new = NewMark { name: command.name().to_owned(), keep: command.keep, note: command.note.clone() };
    let (mut made, mut failures): (Vec<(&Replica, &Subject, Mark)>, Failures) = (Vec::new(), Vec::new());
    for subject in &looked.subjects {
        if target == Target::Latest
            && let Err(failure) = sync(subject, looked.socket.as_ref(), &new.name).await
        {
            let title = |replica| looked.title(subject, replica);
            failures.push((subject.replicas.first().map_or_else(String::new, title), failure));
            continue;
        }
        let mut chosen: Option<State> = None;
        for (replica, remote) in looked.remotes(subject).await {
            let marked = match remote {
                Ok(remote) => mark_one(&remote, &new, target, &mut chosen, cancel).await,
                Err(failure) => Err(failure),
            };
            match marked {
                Ok(mark) => made.push((replica, subject, mark)),
                Err(failure) => failures.push((looked.title(subject, replica), failure)),
            }
        }
    }
    let style = Style::of_stdout(&command.output);
    let out = &mut io::stdout();
    printed(match command.output.json {
        true => {
            let shown = made.iter().map(|(replica, subject, mark)| json_of(mark, replica, subject));
            writeln!(out, "{:#}", shown.collect::<Value>())
        }
        false => made.iter().try_for_each(|(replica, subject, mark)| {
            write!(out, "{} marks TXID {} of {}", mark.name, mark.txid, style.time(mark.timestamp_ms))?;
            if looked.are_several() {
                write!(out, " in {}", looked.title(subject, replica))?;
            }
            match mark.expires_ms {
                Some(at) => writeln!(out, ", kept until {}", style.time(at)),
                None => writeln!(out, ", kept until it is dropped"),
            }
        }),
    })?;
    each_said(failures, looked.are_several())
}

/// Marks the state in one replica: that of `chosen`, or else what the target says there, which
/// becomes the chosen one.
async fn mark_one(
    remote: &Remote,
    new: &NewMark,
    target: Target,
    chosen: &mut Option<State>,
    cancel: &CancellationToken,
) -> Result<Mark, Failure> {
    let wanted = chosen.map_or(target, |(txid, _)| Target::Txid(txid));
    let state = match marking::state(remote, wanted, cancel).await {
        Ok(state) => chosen.map_or(state, |chosen| chosen),
        // A replica that is behind gets it soon, and finds the mark there.
        Err(RestoreError::NotReached { above: None, below, wanted }) if chosen.is_some() && below < Some(wanted) => {
            tracing::warn!("{} does not hold TXID {wanted} yet: it is marked there all the same", remote.address());
            (*chosen).unwrap_or((wanted, MACHINE.unix_ms()))
        }
        Err(error) => return Err(restore_failure(error)),
    };
    *chosen = Some(state);
    match target {
        Target::Latest => marking::create(remote, new, state).await,
        Target::Txid(_) | Target::Before(_) => marking::create_older(remote, new, state, cancel).await,
    }
}

/// Has a running process upload what is committed now, so that it is marked. Where none replicates
/// the database, what the replica has is the newest state.
async fn sync(subject: &Subject, socket: Option<&Socket>, name: &str) -> Result<(), Failure> {
    let (Some(socket), Some(database)) = (socket, &subject.database) else { return Ok(()) };
    let Some(path) = database.to_str() else { return Ok(()) };
    let client = Client::new(socket.path.clone(), SYNC_PATIENCE);
    let is_replicated = match client.list().await {
        Ok(listed) => Ok(listed.databases.iter().any(|listed| listed.path == path)),
        Err(ClientError::Unreachable { .. }) => Ok(false),
        Err(error) => Err(error),
    };
    let synced = match is_replicated {
        Ok(false) => {
            let socket = socket.path.display();
            tracing::info!("no process that answers on {socket} replicates {path}: marking what the replica has");
            return Ok(());
        }
        Ok(true) => client.sync(path.to_owned(), true).await,
        Err(error) => Err(error),
    };
    match synced {
        Ok(synced) => {
            tracing::debug!("{path} is synced up to TXID {}", synced.replicated_txid);
            Ok(())
        }
        Err(error) => Err(Failure::new(
            UNSYNCED,
            anyhow!(
                "{name} is not made: what is committed now is not known to be in the replica: {error}; to mark what the \
                 replica has, give its URL instead of the database"
            ),
        )),
    }
}

async fn list(command: &Command, looked: &Looked) -> Result<u8, Failure> {
    let (mut shown, mut failures): (Vec<Listed<'_>>, Failures) = (Vec::new(), Vec::new());
    for subject in &looked.subjects {
        for (replica, remote) in looked.remotes(subject).await {
            let title = looked.title(subject, replica);
            match marks_of(remote).await {
                Ok(marks) => shown.push((title, replica, subject, marks)),
                Err(failure) => failures.push((title, failure)),
            }
        }
    }
    let style = Style::of_stdout(&command.output);
    let out = &mut io::stdout();
    printed(match command.output.json {
        true => {
            let marks = shown
                .iter()
                .flat_map(|(_, replica, subject, marks)| marks.iter().map(move |mark| json_of(mark, replica, subject)));
            writeln!(out, "{:#}", marks.collect::<Value>())
        }
        false => shown.iter().enumerate().try_for_each(|(at, (title, _, _, marks))| {
            heading(looked.are_several().then_some(title), at == 0, out)?;
            table(marks, &style, out)
        }),
    })?;
    each_said(failures, looked.are_several())
}

async fn marks_of(remote: Result<Remote, Failure>) -> Result<Vec<Mark>, Failure> {
    let remote = remote?;
    let found = remote.marks().await.map_err(marking::read_failure)?;
    for (name, why) in &found.unreadable {
        tracing::warn!("ignoring {name} in {}: it is no mark, and keeps nothing: {why}", remote.address());
    }
    Ok(found.marks)
}

fn table(marks: &[Mark], style: &Style, out: &mut dyn Write) -> io::Result<()> {
    if marks.is_empty() {
        return writeln!(out, "no marks");
    }
    marks.iter().try_for_each(|mark| print(mark, style, out))
}

/// One line about a mark, as `points` shows it, too.
pub fn print(mark: &Mark, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let expired = if mark.has_expired(MACHINE.unix_ms()) { "expired" } else { "until" };
    let until = mark.expires_ms.map_or_else(String::new, |at| format!("  {expired} {}", style.time(at)));
    let note = mark.note.as_deref().map_or_else(String::new, |note| format!("  {}", note.escape_debug()));
    writeln!(out, "mark    {}  TXID {}  {}{until}{note}", style.time(mark.timestamp_ms), mark.txid, mark.name)
}

pub fn as_json(mark: &Mark) -> Value {
    json!({
        "name": mark.name,
        "txid": mark.txid.to_string(),
        "timestamp": rfc3339(mark.timestamp_ms),
        "created": rfc3339(mark.created_ms),
        "expires": mark.expires_ms.map(rfc3339),
        "expired": mark.has_expired(MACHINE.unix_ms()),
        "note": mark.note,
        "by": mark.by,
    })
}

/// The same, with the place where it is.
fn json_of(mark: &Mark, replica: &Replica, subject: &Subject) -> Value {
    let mut shown = as_json(mark);
    shown["replica"] = json!(replica.name);
    shown["db"] = json!(subject.database);
    shown
}

async fn drop_mark(looked: &Looked, name: &str) -> Result<u8, Failure> {
    let (mut asked, mut dropped, mut failures): (BTreeSet<String>, usize, Failures) = Default::default();
    for subject in &looked.subjects {
        for (replica, remote) in looked.remotes(subject).await {
            let done = match remote {
                Ok(remote) => drop_one(&remote, name).await.map(|there| (remote.address().to_owned(), there)),
                Err(failure) => Err(failure),
            };
            match done {
                Ok((_, true)) => dropped += 1,
                Ok((address, false)) => drop(asked.insert(address)),
                Err(failure) => failures.push((looked.title(subject, replica), failure)),
            }
        }
    }
    if dropped == 0 && failures.is_empty() {
        let places: Vec<String> = asked.into_iter().collect();
        return Err(Failure::new(BACKUP, anyhow!("there is no mark {name} in {}", places.join(" and in "))));
    }
    if dropped > 0 {
        printed(writeln!(io::stdout(), "{name} is dropped: retention applies to its moment again"))?;
    }
    each_said(failures, looked.are_several())
}

/// Whether there was one.
async fn drop_one(remote: &Remote, name: &str) -> Result<bool, Failure> {
    // Also what is no mark: dropping it frees the name.
    let listed = remote.list_marks().await.map_err(|error| store_failure(&error))?;
    let is_there = listed.iter().any(|listed| crate::remote::mark_name(&listed.name) == Some(name));
    if is_there {
        remote.drop_mark(name).await.map_err(|error| store_failure(&error))?;
    }
    Ok(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ltx::Txid;

    #[test]
    fn a_mark_is_one_line_whatever_its_note_says() {
        let mark = Mark {
            name: "before-import".into(),
            txid: Txid::new(42).expect("not zero"),
            timestamp_ms: 1_795_300_220_500,
            created_ms: 1_795_300_230_000,
            expires_ms: Some(32_503_680_000_000),
            note: Some("two\nlines".into()),
            by: "millstream".into(),
        };
        let mut out = Vec::new();
        print(&mark, &Style::default(), &mut out).expect("memory");
        let wanted = "mark    2026-11-21T22:30:20Z  TXID 000000000000002a  before-import  until 3000-01-01T00:00:00Z  two\\nlines\n";
        assert_eq!(String::from_utf8(out).expect("text"), wanted);
        let shown = as_json(&mark);
        assert_eq!((&shown["txid"], &shown["expired"]), (&json!("000000000000002a"), &json!(false)));
        assert_eq!(shown["timestamp"], "2026-11-21T22:30:20.5Z");
    }
}
