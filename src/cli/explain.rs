//! `millstream explain`: what the configuration does, what can be brought back, what it costs, what
//! a crash can lose.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::args::Explain as Command;
use super::source::{Source, picked};
use super::{Environment, install, logger, printed, replica_at, variable};
use crate::config::{Database, Loaded, LogFormat, LogLevel, Logging, Replica, Target};
use crate::doctor::human;
use crate::remote::{Monthly, Rates, ceiling, month, rates};
use crate::restore::{Points, nothing_in, points};
use crate::run::exit::CONFIG;
use crate::run::{self, Failure, unless_signalled};

mod words;

/// What its listing says about a replica.
struct Seen {
    points: Points,
    /// `None`: it is too new to say.
    rates: Option<Rates>,
}

/// One replica, and what came of looking at it.
struct Place {
    name: Option<String>,
    replica: Replica,
    seen: Result<Seen, String>,
}

struct Explained {
    /// The database's path, or the URL.
    subject: String,
    told: Vec<(&'static str, String)>,
    places: Vec<Place>,
}

pub async fn explain(command: Command) -> Result<u8, Failure> {
    let (mut signals, _reaper) = install()?;
    logger::start(&Logging { level: LogLevel::Error, format: LogFormat::default() });
    let mut explained = Vec::new();
    if let Some(Source::Url(url)) = command.look.operand() {
        let replica = replica_at(&url)?;
        let look = async |_| look(None, &replica, &[]).await;
        let place = unless_signalled(&mut signals, look).await?;
        explained.push(Explained { subject: replica.url.clone(), told: Vec::new(), places: vec![place] });
    } else {
        let (loaded, named) = load(&command)?;
        explained.push(Explained {
            subject: loaded.origin.clone(),
            told: words::program(&loaded.options),
            places: Vec::new(),
        });
        for database in &named {
            let mut places = Vec::new();
            for replica in picked(database, command.look.replica())? {
                let name = database.replicas.are_several().then(|| replica.name.clone());
                let look = async |_| look(name.clone(), replica, &loaded.options.databases).await;
                places.push(unless_signalled(&mut signals, look).await?);
            }
            let told = words::database(&loaded.options, database);
            explained.push(Explained { subject: database.path.display().to_string(), told, places });
        }
    }
    let out = &mut io::stdout();
    match command.json {
        true => printed(writeln!(out, "{:#}", explained.iter().map(as_json).collect::<Value>())),
        false => printed(explained.iter().enumerate().try_for_each(|(at, explained)| print(explained, at == 0, out))),
    }
}

/// The configuration, and the databases of it that are meant.
fn load(command: &Command) -> Result<(Loaded, Vec<Database>), Failure> {
    let configuration = |error: anyhow::Error| Failure::new(CONFIG, error);
    let environment = Environment::of_process()?;
    let path = match command.look.operand() {
        Some(Source::Database(path)) => {
            let sources = command.look.sources(&variable, environment.cwd.clone());
            Some(sources.absolute(&path).map_err(configuration)?)
        }
        _ => None,
    };
    let loaded = environment.load(|env, cwd| command.look.sources(env, cwd))?;
    let Some(path) = path else {
        let databases = loaded.options.with_those_in_directories();
        return Ok((loaded, databases));
    };
    let database = loaded.database(&path).map_err(configuration)?;
    Ok((loaded, vec![database]))
}

async fn look(name: Option<String>, replica: &Replica, all: &[Database]) -> Place {
    let seen = async {
        let remote = run::connect(replica, all).await.map_err(|failure| failure.sentence())?;
        let listing = remote.listing_with_old().await.map_err(|error| error.to_string())?;
        let points = points(&listing);
        match points.is_empty() {
            true => Err(nothing_in(&remote, &listing).to_string()),
            false => Ok(Seen { points, rates: rates(&listing, remote.clock().unix_ms()) }),
        }
    };
    Place { name, replica: replica.clone(), seen: seen.await }
}

fn is_paid_for(replica: &Replica) -> bool {
    matches!(replica.target, Target::S3(_))
}

fn print(explained: &Explained, is_first: bool, out: &mut dyn Write) -> io::Result<()> {
    if !is_first {
        writeln!(out)?;
    }
    writeln!(out, "{}", explained.subject)?;
    for (topic, text) in &explained.told {
        writeln!(out, "  {topic:<10}  {text}")?;
    }
    for place in &explained.places {
        let name = place.name.as_ref().map(|name| format!(" (replica {name})")).unwrap_or_default();
        writeln!(out, "\n  {}{name}", place.replica.url)?;
        match &place.seen {
            Err(why) => writeln!(out, "    moments     {why}")?,
            Ok(seen) => {
                writeln!(out, "    moments     these can be brought back now:")?;
                let mut ranges = Vec::new();
                super::points::print_ranges(&seen.points, &mut ranges)?;
                for line in String::from_utf8_lossy(&ranges).lines().filter(|line| !line.is_empty()) {
                    writeln!(out, "                {line}")?;
                }
                print_cost(&place.replica, seen.rates.as_ref(), out)?;
            }
        }
    }
    Ok(())
}

fn print_cost(replica: &Replica, rates: Option<&Rates>, out: &mut dyn Write) -> io::Result<()> {
    let Some(rates) = rates else {
        return writeln!(out, "    writes      the replica is too new to say how much is written");
    };
    writeln!(out, "    writes      {}", words::rates(rates))?;
    if !is_paid_for(replica) {
        return writeln!(out, "    cost        a directory costs its space: {}", human(rates.stored_bytes));
    }
    let month = month(rates);
    writeln!(out, "    cost        about ${:.2} a month, if it goes on like that:", month.dollars())?;
    for line in &month.lines {
        match line.requests {
            0.0 if line.dollars == 0.0 => {}
            0.0 => writeln!(
                out,
                "                  {:<18} {:>12}  ${:.2}",
                line.kind,
                human(rates.stored_bytes),
                line.dollars
            )?,
            requests => writeln!(out, "                  {:<18} {requests:>12.0}  ${:.2}", line.kind, line.dollars)?,
        }
    }
    if let Some(ceiling) = ceiling(replica.sync_interval) {
        writeln!(
            out,
            "                a writer that never rests: about ${ceiling:.2} for its uploads (`sync-interval`)"
        )?;
    }
    writeln!(out, "                {}", words::ASSUMED)
}

fn as_json(explained: &Explained) -> Value {
    let told: serde_json::Map<String, Value> =
        explained.told.iter().map(|(topic, text)| ((*topic).to_owned(), json!(text))).collect();
    json!({
        "subject": explained.subject,
        "told": told,
        "replicas": explained.places.iter().map(place_json).collect::<Vec<_>>(),
    })
}

fn place_json(place: &Place) -> Value {
    let mut shown = json!({ "url": place.replica.url, "name": place.replica.name });
    match &place.seen {
        Err(why) => shown["error"] = json!(why),
        Ok(seen) => {
            shown["points"] = super::points::ranges_json(&seen.points);
            shown["rates"] = seen.rates.as_ref().map_or(Value::Null, |rates| {
                json!({
                    "measured_hours": rates.hours,
                    "uploads_per_hour": rates.uploads,
                    "compactions_per_hour": rates.compactions,
                    "bytes_per_hour": rates.bytes,
                    "stored_bytes": rates.stored_bytes,
                })
            });
            let month = seen.rates.as_ref().filter(|_| is_paid_for(&place.replica)).map(month);
            shown["month"] = month.as_ref().map_or(Value::Null, |month| month_json(month, &place.replica));
        }
    }
    shown
}

fn month_json(month: &Monthly, replica: &Replica) -> Value {
    let line =
        |line: &crate::remote::Line| json!({ "kind": line.kind, "requests": line.requests, "dollars": line.dollars });
    json!({
        "dollars": month.dollars(),
        "lines": month.lines.iter().map(line).collect::<Vec<_>>(),
        "ceiling_of_uploads_dollars": ceiling(replica.sync_interval),
        "assumed": words::ASSUMED,
    })
}
