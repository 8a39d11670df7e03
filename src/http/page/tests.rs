//! The page as a whole.

use super::super::facts::testing::{self, database};
use super::super::facts::{DatabaseFacts, Facts, Phase, State};
use super::policy::{SCRIPT, STYLE};
use super::*;

/// The document and the page of these facts.
fn page(mut facts: Facts, query: &str) -> (Document, String) {
    let asked = Asked::parse(query);
    let selected = select(&mut facts, &asked);
    let recorded = Recorded { lag_ms: vec![0, 0, 2500], points: None, is_listing: false };
    let each = selected.databases.iter().map(|(database, _)| (database.clone(), recorded.clone())).collect();
    let document = document(&facts, selected, each);
    let html = render(&document, &asked, Some("/etc/app.yml"), facts.now_ms);
    (document, html)
}

fn running(databases: Vec<DatabaseFacts>) -> Facts {
    Facts { phase: Phase::Running, databases, now_ms: 1_795_300_223_000, ..Facts::default() }
}

/// What is neither script nor style.
fn markup(html: &str) -> String {
    html.replace(SCRIPT, "").replace(STYLE, "")
}

#[test]
fn nothing_that_a_path_or_an_error_holds_becomes_markup() {
    let evil = "</script><img src=x onerror=\"alert('1')\">\n&amp;\u{202e}\0.db";
    let halted = DatabaseFacts { state: State::Halted(evil.into()), ..database(evil) };
    let mut facts = running(vec![halted.clone(), database("/data/app.db")]);
    facts.databases[0].replicas[0].name = evil.into();
    facts.databases[0].replicas[0].address = evil.into();
    let query = format!(
        "q=&db={}&at=%3Cimg%20src%3E",
        url::form_urlencoded::byte_serialize(evil.as_bytes()).collect::<String>()
    );
    let many = running((0..20).map(|_| halted.clone()).collect());
    for html in [page(facts.clone(), "").1, page(facts, &query).1, page(many, "q=%22%3E%3Cimg").1] {
        let markup = markup(&html);
        assert!(!markup.contains("<img") && !markup.contains("alert('") && !markup.contains('\0'), "{markup}");
        assert!(!markup.contains('\u{202e}') && !markup.contains("&amp;amp;amp"), "{markup}");
        assert_eq!(markup.matches("<script>").count(), 1, "{markup}");
        assert!(!markup.contains(" style=") && !markup.contains(" onclick="), "the policy forbids them");
    }
}

#[test]
fn every_fact_is_there_without_a_script() {
    let mut facts = testing::facts();
    facts.databases[0].disk_full = true;
    let (document, html) = page(facts, "");
    let text = markup(&html);
    for part in [
        "2 of 3 databases are not safe",
        "another writer owns the history",
        "the file is gone",
        "Make room on it",
        "The replica nas has not taken uploads for 1 min.",
        "The replica nas is damaged: a gap.",
        "Lag over the last 1 min 30 s: at most 2.5 s, now.",
        "role=\"img\"",
        "000000000000000c",
        "millstream restore -config /etc/app.yml -o /data/app.db.restored /data/app.db",
        "Requests to s3://backups",
        "$0.01 a month",
    ] {
        assert!(text.replace("<span data-k=\"store0\">", "").replace("</span>", "").contains(part), "{part}:\n{text}");
    }
    assert_eq!(document.databases[0].level, Level::Problem);
    // What the script replaces has a text in the document.
    let keys = text.split("data-k=\"").skip(1).filter_map(|rest| rest.split('"').next());
    for key in keys {
        let known = document.shown.contains_key(key) || document.databases.iter().any(|db| db.shown.contains_key(key));
        assert!(known, "{key}");
    }
}

#[test]
fn headings_tables_and_fields_are_named() {
    for (facts, query) in [
        (testing::facts(), ""),
        (running((0..300).map(|n| database(&format!("/{n}.db"))).collect()), "page=2"),
        (running(vec![database("/a.db")]), "db=%2Fa.db&at=nonsense"),
    ] {
        let text = markup(&page(facts, query).1);
        assert_eq!(text.matches("<h1").count(), 1);
        for (open, named) in [("<svg", "aria-label="), ("<th", "scope="), ("<section", "aria-labelledby=")] {
            let elements = text.split(open).skip(1).filter(|rest| !rest.starts_with("ead"));
            for rest in elements {
                assert!(rest.split('>').next().is_some_and(|attributes| attributes.contains(named)), "{open}: {rest}");
            }
        }
        for element in
            ["section", "table", "tr", "td", "th", "p", "span", "figure", "form", "main", "li", "ul", "dl", "a"]
        {
            let (opened, closed) = (format!("<{element}"), format!("</{element}>"));
            let opened = text.matches(&format!("{opened}>")).count() + text.matches(&format!("{opened} ")).count();
            assert_eq!(opened, text.matches(&closed).count(), "{element}:\n{text}");
        }
    }
}

#[test]
fn many_databases_are_rows_with_links_and_no_plots() {
    let mut many = running((0..1000).map(|n| database(&format!("/tenants/{n:04}/app.db"))).collect());
    many.databases[777].state = State::Fenced;
    let (document, html) = page(many, "");
    assert_eq!((document.databases.len(), document.databases[0].path.as_str()), (200, "/tenants/0777/app.db"));
    assert!(html.contains("200 of 1000 databases, page 1 of 5; problems come first"));
    assert!(html.contains("href=\"?db=%2Ftenants%2F0777%2Fapp.db\"") && html.contains("href=\"?page=2\""));
    assert!(!html.contains("<svg") && html.len() < 300_000, "{}", html.len());
}

#[test]
fn the_structure_changes_with_more_than_texts() {
    let of = |databases| page(running(databases), "").0.structure;
    let fine = || database("/a.db");
    let mut later = fine();
    later.replicas[0].uploaded = Some(99);
    assert_eq!(of(vec![fine()]), of(vec![later]));
    let fenced = DatabaseFacts { state: State::Fenced, ..fine() };
    assert_ne!(of(vec![fine()]), of(vec![fenced]));
    assert_ne!(of(vec![fine()]), of(vec![fine(), fine()]));
}

#[test]
fn a_program_reads_back_what_it_is_told() {
    let (document, _) = page(testing::facts(), "");
    let text = serde_json::to_string(&document).expect("JSON");
    assert_eq!(serde_json::from_str::<Document>(&text).expect("the same"), document);
}
