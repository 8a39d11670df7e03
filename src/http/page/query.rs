//! What the address of the page asks for. Pure.

use url::form_urlencoded;

/// Longer values are cut off: a path has no more bytes.
const VALUE_MAX: usize = 4096;

/// The query of `/` and `/status.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The path of the one database that is to be shown.
    pub database: Option<String>,
    /// The moment that is to be restored, as it was typed.
    pub at: Option<String>,
    /// Part of the paths that are to be shown.
    pub search: Option<String>,
    /// Counted from 1.
    pub page: usize,
    /// The script renews the page: it was not opened by a person.
    pub is_renewal: bool,
}

impl Asked {
    pub fn parse(query: &str) -> Asked {
        let mut asked = Asked { page: 1, ..Asked::default() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value: String = value.trim().chars().take(VALUE_MAX).collect();
            let some = Some(value.clone()).filter(|value| !value.is_empty());
            match &*name {
                "db" => asked.database = some,
                "at" => asked.at = some,
                "q" => asked.search = some,
                "page" => asked.page = value.parse().unwrap_or(1).max(1),
                "renew" => asked.is_renewal = true,
                _ => {}
            }
        }
        asked
    }

    /// The query that asks for another page of the same search.
    pub fn of_page(&self, page: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(search) = &self.search {
            query.append_pair("q", search);
        }
        if page > 1 {
            query.append_pair("page", &page.to_string());
        }
        format!("?{}", query.finish())
    }
}

/// The query that asks for one database.
pub fn of_database(path: &str) -> String {
    format!("?{}", form_urlencoded::Serializer::new(String::new()).append_pair("db", path).finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_comes_back_from_a_link() {
        let path = "/data/a b&c=\"<d>\"\u{fc}.db";
        assert_eq!(Asked::parse(&of_database(path)[1..]).database.as_deref(), Some(path));
        let asked = Asked::parse("q=%2Ftenants%2F&page=3&at=&renew=1&x=y&q=t+1");
        assert_eq!((asked.search.as_deref(), asked.page, asked.at.as_deref()), (Some("t 1"), 3, None));
        assert!(asked.is_renewal && asked.of_page(2) == "?q=t+1&page=2" && asked.of_page(1) == "?q=t+1");
        assert_eq!(Asked::parse("page=0&q=%ff%00").page, 1);
        assert_eq!(Asked::parse("page=18446744073709551616&&=&%").page, 1);
        assert!(Asked::parse(&format!("db={}", "x".repeat(9999))).database.is_some_and(|db| db.len() == VALUE_MAX));
    }
}
