//! The lines of `/events`: what has changed from one moment to the next, as LiteFS says it. Pure.
//!
//! LiteFS tells of each transaction. Here those that became visible together are told as one, by
//! the newest.

use serde::Serialize;

use super::view::{Shared, View};
use crate::ltx::Txid;
use crate::primary::Primary;

#[derive(Debug, Serialize)]
struct Line<'a, D> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    db: Option<&'a str>,
    data: D,
}

/// For `init` and `primaryChange`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Role<'a> {
    is_primary: bool,
    /// Only of another node.
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    #[serde(rename = "txID")]
    txid: String,
    post_apply_checksum: String,
    page_size: u32,
    commit: u32,
    timestamp: String,
}

/// What a database is like, for the event of its transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub page_size: u32,
    pub pages: u32,
}

/// To begin with.
pub fn first(view: &View) -> String {
    line("init", None, role(view))
}

/// Everything that has changed; `size` is asked for a database of which a transaction is told.
pub fn changes(
    databases: &[Shared],
    before: &View,
    now: &View,
    now_ms: i64,
    mut size: impl FnMut(&Shared) -> Size,
) -> Vec<String> {
    let mut lines = Vec::new();
    if before.primary != now.primary {
        lines.push(line("primaryChange", None, role(now)));
    }
    for (at, database) in databases.iter().enumerate() {
        let txid = |view: &View| view.txids.get(at).copied().flatten();
        if let (was, Some(txid)) = (txid(before), txid(now))
            && was != Some(txid)
        {
            lines.push(line("tx", Some(&database.name), transaction(txid, size(database), now_ms)));
        }
    }
    lines
}

fn role(view: &View) -> Role<'_> {
    let hostname = match &view.primary {
        Primary::At(peer) => Some(peer.name.as_str()),
        Primary::Here | Primary::Unknown => None,
    };
    Role { is_primary: view.is_primary(), hostname }
}

fn transaction(txid: Txid, size: Size, now_ms: i64) -> Transaction {
    let timestamp = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    Transaction {
        txid: txid.to_string(),
        post_apply_checksum: format!("{:016x}", 0),
        page_size: size.page_size,
        commit: size.pages,
        timestamp: timestamp.to_string(),
    }
}

fn line<D: Serialize>(r#type: &'static str, db: Option<&str>, data: D) -> String {
    let mut text = serde_json::to_string(&Line { r#type, db, data }).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::view::testing::{at, txid};
    use super::*;

    fn view(primary: Primary, txids: &[Option<u64>]) -> View {
        View { primary, txids: txids.iter().map(|number| number.map(txid)).collect(), current_at: None }
    }

    #[test]
    fn the_lines_are_litefs() {
        assert_eq!(first(&view(Primary::Here, &[])), "{\"type\":\"init\",\"data\":{\"isPrimary\":true}}\n");
        assert_eq!(first(&view(Primary::Unknown, &[])), "{\"type\":\"init\",\"data\":{\"isPrimary\":false}}\n");
        let web_2 = "{\"type\":\"init\",\"data\":{\"isPrimary\":false,\"hostname\":\"web-2\"}}\n";
        assert_eq!(first(&view(at("web-2"), &[])), web_2);
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let databases = ["a.db", "b.db"].map(|name| Shared::new(&Path::new("/data").join(name), None));
        let size = |shared: &Shared| Size { page_size: 4096, pages: if shared.name == "b.db" { 7 } else { 1 } };
        let told = |before: &View, now: &View| changes(&databases, before, now, 1_700_000_000_250, size).concat();
        let follows = view(at("web-2"), &[Some(1), None]);
        assert_eq!(told(&follows, &follows.clone()), "");
        let more = view(at("web-2"), &[Some(1), Some(26)]);
        let tx = "{\"type\":\"tx\",\"db\":\"b.db\",\"data\":{\"txID\":\"000000000000001a\",\"postApplyChecksum\":\
                  \"0000000000000000\",\"pageSize\":4096,\"commit\":7,\"timestamp\":\"2023-11-14T22:13:20.25Z\"}}\n";
        assert_eq!(told(&follows, &more), tx);
        let gone = view(Primary::Unknown, &[Some(1), Some(26)]);
        assert_eq!(told(&more, &gone), "{\"type\":\"primaryChange\",\"data\":{\"isPrimary\":false}}\n");
        let here = view(Primary::Here, &[Some(2), Some(26)]);
        let both = told(&gone, &here);
        assert!(
            both.starts_with("{\"type\":\"primaryChange\",\"data\":{\"isPrimary\":true}}\n{\"type\":\"tx\""),
            "{both}"
        );
        assert_eq!(both.lines().count(), 2);
        let renamed = told(&follows, &view(at("web-3"), &[Some(1), None]));
        assert_eq!(renamed, "{\"type\":\"primaryChange\",\"data\":{\"isPrimary\":false,\"hostname\":\"web-3\"}}\n");
    }
}
