//! Many databases: a table with a row for each. Pure.

use std::fmt::{self, Write};

use super::document::{DatabaseEntry, Document};
use super::figures::count;
use super::query::{Asked, of_database};
use super::text::{Live, Text};

pub fn write(document: &Document, databases: &[DatabaseEntry], asked: &Asked, out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "<table class=\"list\">\n<caption>{}</caption>\n<thead><tr><th scope=\"col\">Database</th><th scope=\"col\">State</th>\
         <th scope=\"col\" class=\"number\">Lag</th><th scope=\"col\" class=\"number\">Longest in an hour</th>\
         <th scope=\"col\" class=\"number\">Size</th><th scope=\"col\" class=\"number\">WAL</th></tr></thead>\n<tbody>",
        caption(document, databases.len())
    )?;
    databases.iter().try_for_each(|database| row(database, out))?;
    writeln!(out, "</tbody>\n</table>")?;
    pages(document, asked, out)
}

fn caption(document: &Document, shown: usize) -> String {
    let found = count(document.found, "database");
    match (document.found == document.all, document.pages) {
        (true, 1) => found,
        (false, 1) => format!("{found} of {}", document.all),
        (_, pages) => format!("{shown} of {found}, page {} of {pages}; problems come first", document.page),
    }
}

fn row(database: &DatabaseEntry, out: &mut String) -> fmt::Result {
    let shown = &database.shown;
    writeln!(
        out,
        "<tr id=\"db-{}\" class=\"{}\"><th scope=\"row\"><a class=\"path\" href=\"{}\">{}</a></th><td><span class=\"badge {}\">{}\
         </span> {}</td><td class=\"number\" data-label=\"Lag\">{}</td><td class=\"number\" data-label=\"Longest in an hour\">{}</td>\
         <td class=\"number\" data-label=\"Size\">{}</td><td class=\"number\" data-label=\"WAL\">{}</td></tr>",
        database.id,
        database.level.class(),
        Text(&of_database(&database.path)),
        Text(&database.path),
        database.level.class(),
        database.level.word(),
        Live("sentence", shown),
        Live("lag", shown),
        Live("longest", shown),
        Live("size", shown),
        Live("wal", shown)
    )
}

fn pages(document: &Document, asked: &Asked, out: &mut String) -> fmt::Result {
    if document.pages < 2 {
        return Ok(());
    }
    let link = |page: usize, word: &str, out: &mut String| {
        write!(out, "<a href=\"{}\">{word}</a> ", Text(&asked.of_page(page)))
    };
    write!(out, "<nav aria-label=\"Pages\">")?;
    if document.page > 1 {
        link(1, "First page", out)?;
        link(document.page - 1, "Previous page", out)?;
    }
    if document.page < document.pages {
        link(document.page + 1, "Next page", out)?;
        link(document.pages, "Last page", out)?;
    }
    writeln!(out, "</nav>")
}
