//! The page. Pure: a document in, HTML out.
//!
//! Every text goes through [`Text`], whoever it comes from: a path or an error may hold anything.

use std::fmt::{self, Write};

use super::command::Place;
use super::document::{DatabaseEntry, Document, Level};
use super::policy::{SCRIPT, STYLE};
use super::query::Asked;
use super::text::{Live, Text};
use super::{detail, list};

/// The whole page. `config` is the configuration file of the process.
pub fn render(document: &Document, asked: &Asked, config: Option<&str>, now_ms: i64) -> String {
    let mut out = String::with_capacity(16 << 10);
    // Writing into a String cannot fail.
    let _ = head(document, asked, &mut out);
    let _ = match (asked.database.is_some(), document.databases.as_slice()) {
        (true, []) => writeln!(out, "<p>There is no such database here. <a href=\"?\">All databases</a></p>"),
        (false, []) => writeln!(out, "<p>No database has this in its path.</p>"),
        (_, some) if some.iter().all(|database| !database.lag_ms.is_empty()) => some
            .iter()
            .try_for_each(|database| detail::write(database, &place(database, config), asked, now_ms, &mut out)),
        (_, some) => list::write(document, some, asked, &mut out),
    };
    let _ = foot(document, &mut out);
    out
}

fn place<'a>(database: &'a DatabaseEntry, config: Option<&'a str>) -> Place<'a> {
    let address = database.replicas.first().map_or("", |replica| replica.address.as_str());
    Place { config, database: &database.path, address }
}

fn head(document: &Document, asked: &Asked, out: &mut String) -> fmt::Result {
    let title = match document.level {
        Level::Problem => "Not safe",
        Level::Note => "Note",
        Level::Safe => "Safe",
    };
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}: millstream</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>millstream</h1>\n"
    )?;
    if asked.database.is_some() {
        writeln!(out, "<nav><a href=\"?\">All databases</a></nav>")?;
    } else if document.all > 1 {
        let search = asked.search.as_deref().unwrap_or("");
        writeln!(
            out,
            "<form role=\"search\" method=\"get\" action=\"./\"><label for=\"q\">Path contains</label> \
             <input id=\"q\" name=\"q\" type=\"search\" value=\"{}\"> <button>Search</button></form>",
            Text(search)
        )?;
    }
    writeln!(
        out,
        "</header>\n<p id=\"gone\" role=\"alert\" hidden></p>\n<main id=\"main\" data-structure=\"{}\">\n\
         <p class=\"verdict {}\">{}</p>",
        Text(&document.structure),
        document.level.class(),
        Live("sentence", &document.shown)
    )
}

fn foot(document: &Document, out: &mut String) -> fmt::Result {
    let shown = &document.shown;
    writeln!(out, "<footer>")?;
    for (at, store) in document.stores.iter().enumerate() {
        writeln!(
            out,
            "<p>Requests to {}: {} a month at the rate since the start ({}), at S3\u{2019}s list prices; storage is not in \
             it.</p>",
            Text(if store.store.is_empty() { "the store" } else { &store.store }),
            Live(&format!("store{at}"), shown),
            Live(&format!("requests{at}"), shown)
        )?;
    }
    writeln!(
        out,
        "<p>As of {}. millstream {}, up for {}. <span id=\"live\">Reload the page for newer figures.</span></p>\n</footer>\n\
         </main>\n<script>{SCRIPT}</script>\n</body>\n</html>",
        Live("at", shown),
        Text(&document.version),
        Live("up", shown)
    )
}
