//! Everything that is known of one database. Pure.

use std::fmt::{self, Write};

use super::command::{Place, command, moment, remark};
use super::document::{DatabaseEntry, PointsEntry};
use super::figures::{count, dollars, size, time};
use super::plot::{HEIGHT, WIDTH, timeline};
use super::query::Asked;
use super::text::{Live, Prose, Text};

pub fn write(database: &DatabaseEntry, place: &Place<'_>, asked: &Asked, now_ms: i64, out: &mut String) -> fmt::Result {
    let id = database.id;
    let (class, word) = (database.level.class(), database.level.word());
    writeln!(
        out,
        "<section id=\"db-{id}\" class=\"database {class}\" aria-labelledby=\"name-{id}\">\n<h2 id=\"name-{id}\" class=\"path\">{}</h2>\n\
         <p><span class=\"badge {class}\">{word}</span> {}</p>",
        Text(&database.path),
        Live("sentence", &database.shown)
    )?;
    problems(database, out)?;
    figures(database, out)?;
    lag(database, out)?;
    replicas(database, out)?;
    points(database, out)?;
    restoring(database, place, asked, now_ms, out)?;
    writeln!(out, "</section>")
}

fn problems(database: &DatabaseEntry, out: &mut String) -> fmt::Result {
    if database.problems.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h3>What is wrong, and what to do</h3>\n<ul class=\"problems\">")?;
    for (at, problem) in database.problems.iter().enumerate() {
        write!(out, "<li>")?;
        // What the sentence above has said is not said twice.
        if problem.what != database.sentence {
            write!(out, "<strong>{}</strong> ", Live(&format!("p{at}"), &database.shown))?;
        }
        writeln!(out, "{}</li>", Prose(&problem.what_to_do))?;
    }
    writeln!(out, "</ul>")
}

fn figures(database: &DatabaseEntry, out: &mut String) -> fmt::Result {
    writeln!(out, "<dl>")?;
    for (name, key) in [
        ("Lag", "lag"),
        ("Longest in an hour", "longest"),
        ("Newest TXID", "txid"),
        ("Uploaded", "uploaded"),
        ("Database", "size"),
        ("WAL", "wal"),
        ("Waits on this disk", "spill"),
    ] {
        writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Live(key, &database.shown))?;
    }
    writeln!(out, "</dl>")
}

fn lag(database: &DatabaseEntry, out: &mut String) -> fmt::Result {
    let shown = |key: &str| database.shown.get(key).map_or("", String::as_str);
    writeln!(
        out,
        "<h3>Lag over the last hour</h3>\n<figure>\n<div class=\"scale\">{}</div>\n<svg class=\"lag\" role=\"img\" aria-label=\"{}\" \
         data-a=\"plot-label aria-label\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\">\
         <rect class=\"unknown\" width=\"{}\" data-a=\"plot-begins width\" height=\"{HEIGHT}\"></rect>\
         <path class=\"area\" d=\"{}\" data-a=\"plot-area d\"></path></svg>\n\
         <div class=\"axis\"><span>1 h ago</span><span>now</span></div>\n<figcaption>{}</figcaption>\n</figure>",
        Live("plot-top", &database.shown),
        Text(shown("plot-label")),
        Text(shown("plot-begins")),
        Text(shown("plot-area")),
        Live("plot-label", &database.shown)
    )
}

fn replicas(database: &DatabaseEntry, out: &mut String) -> fmt::Result {
    if database.replicas.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<h3>{}</h3>\n<table>\n<thead><tr><th scope=\"col\">Name</th><th scope=\"col\">State</th><th scope=\"col\">Newest TXID</th>\
         <th scope=\"col\">Uploaded</th><th scope=\"col\">Proved to restore</th></tr></thead>\n<tbody>",
        if database.replicas.len() > 1 { "Replicas" } else { "Replica" }
    )?;
    for (at, replica) in database.replicas.iter().enumerate() {
        let live = |name: &str| Live(&format!("r{at}-{name}"), &database.shown).to_string();
        writeln!(
            out,
            "<tr><th scope=\"row\">{} <span class=\"path\">{}</span></th><td data-label=\"State\">{}</td>\
             <td class=\"id\" data-label=\"Newest TXID\">{}</td><td data-label=\"Uploaded\">{}</td><td data-label=\"Proved to restore\">{}</td></tr>",
            Text(&replica.name),
            Text(&replica.address),
            live("state"),
            live("txid"),
            live("at"),
            live("proof")
        )?;
    }
    writeln!(out, "</tbody>\n</table>")
}

fn points(database: &DatabaseEntry, out: &mut String) -> fmt::Result {
    writeln!(out, "<h3>What can be brought back</h3>")?;
    let Some(points) = &database.points else {
        let is_listing = database.shown.contains_key("listing");
        return writeln!(
            out,
            "<p>{}</p>",
            if is_listing {
                "The replica is being listed; reload the page in a moment."
            } else {
                "The replica is listed when this page is opened with one database."
            }
        );
    };
    if let Some(error) = &points.error {
        return writeln!(
            out,
            "<p>The replica {} could not be listed at {}: {}.</p>",
            Text(&points.replica),
            time(points.listed_at_ms),
            Text(error.trim_end_matches('.'))
        );
    }
    if points.ranges.is_empty() {
        writeln!(out, "<p>Nothing yet: the replica {} holds no state.</p>", Text(&points.replica))?;
    } else {
        ranges(points, out)?;
    }
    for hole in &points.holes {
        writeln!(out, "<p><strong>{}</strong></p>", Text(hole))?;
    }
    let month = points
        .month_dollars
        .map(|month| format!(", about {} a month at the rate at which it is written", dollars(month)));
    writeln!(
        out,
        "<p>{} with {} in the replica {}{}. Listed at {}.</p>",
        count(points.objects, "file"),
        size(points.stored_bytes),
        Text(&points.replica),
        month.unwrap_or_default(),
        time(points.listed_at_ms)
    )
}

fn ranges(points: &PointsEntry, out: &mut String) -> fmt::Result {
    let ranges = &points.ranges;
    let oldest = ranges.iter().map(|range| range.from_ms).min().unwrap_or(0);
    let newest = ranges.iter().map(|range| range.to_ms).max().unwrap_or(0);
    let label = format!("Moments that can be brought back, from {} to {}.", time(oldest), time(newest));
    write!(
        out,
        "<figure>\n<svg class=\"timeline\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {WIDTH} 16\" preserveAspectRatio=\"none\">",
        Text(&label)
    )?;
    for (range, bar) in ranges.iter().zip(timeline(ranges)) {
        let class = if range.is_every_commit { "every" } else { "some" };
        write!(out, "<rect class=\"{class}\" x=\"{}\" width=\"{}\" height=\"16\"></rect>", bar.x, bar.width)?;
    }
    writeln!(
        out,
        "</svg>\n<div class=\"axis\"><span>{}</span><span>{}</span></div>\n</figure>\n<table>\n<thead><tr>\
         <th scope=\"col\">From</th><th scope=\"col\">To</th><th scope=\"col\">What is there</th>\
         <th scope=\"col\" class=\"number\">States</th></tr></thead>\n<tbody>",
        Text(&time(oldest)),
        Text(&time(newest))
    )?;
    if points.more_ranges > 0 {
        let more = count(points.more_ranges, "older range");
        writeln!(
            out,
            "<tr><td colspan=\"4\">{more} not shown; <code>millstream points</code> has all of them</td></tr>"
        )?;
    }
    for range in ranges {
        writeln!(
            out,
            "<tr><td data-label=\"From\">{}</td><td data-label=\"To\">{}</td><td data-label=\"What is there\">{}</td>\
             <td class=\"number\" data-label=\"States\">{}</td></tr>",
            Text(&time(range.from_ms)),
            Text(&time(range.to_ms)),
            Text(&range.density),
            range.points
        )?;
    }
    writeln!(out, "</tbody>\n</table>")
}

fn restoring(database: &DatabaseEntry, place: &Place<'_>, asked: &Asked, now_ms: i64, out: &mut String) -> fmt::Result {
    let id = database.id;
    let typed = asked.at.as_deref().filter(|_| asked.database.is_some());
    let chosen = typed.map(moment);
    writeln!(
        out,
        "<h3>Bring a state back</h3>\n<form method=\"get\" action=\"./\"><input type=\"hidden\" name=\"db\" value=\"{}\">\
         <label for=\"at-{id}\">Moment (UTC)</label> <input id=\"at-{id}\" name=\"at\" type=\"datetime-local\" step=\"1\" value=\"{}\"> \
         <button>Show the command</button></form>",
        Text(&database.path),
        Text(&chosen.clone().and_then(Result::ok).map(field).unwrap_or_default())
    )?;
    let at = match chosen {
        None => None,
        Some(Ok(at)) => Some(at),
        Some(Err(why)) => return writeln!(out, "<p><strong>{}</strong></p>", Text(&why)),
    };
    let what = match at {
        Some(at) => format!("The state of {}", time(at.as_millisecond())),
        None => "The newest state".into(),
    };
    writeln!(
        out,
        "<p>{what}, restored beside the database:</p>\n<div class=\"command\"><pre><code>{}</code></pre>\
         <button type=\"button\" class=\"copy\" hidden>Copy</button></div>",
        Text(&command(place, at))
    )?;
    if place.config.is_none() {
        writeln!(out, "<p>Run it with the environment of this process: keys, region and endpoint.</p>")?;
    }
    match at.and_then(|at| remark(at, database.points.as_ref(), now_ms)) {
        Some(remark) => writeln!(out, "<p>{}</p>", Text(&remark)),
        None => Ok(()),
    }
}

/// As a field for date and time has it.
fn field(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}
