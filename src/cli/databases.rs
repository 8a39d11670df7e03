//! `millstream databases`: what the configuration file names, and what lies in its directories, in
//! Litestream's two shapes.

use std::io::{self, Write};

use serde::Serialize;

use super::table;
use crate::config::{Database, Options, Replica};

#[derive(Serialize)]
struct Row {
    path: String,
    /// The kind of replica: `s3`, `file`. Of several the names, as 0.3 shows them.
    replica: String,
    /// Of each replica, without secrets. Litestream does not have it.
    urls: Vec<String>,
}

/// Writes a table, or a JSON array. With `width` the table is for a terminal of so many columns,
/// and has the URLs.
pub fn print(options: &Options, json: bool, width: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    let row = |db: &Database| Row {
        path: db.path.display().to_string(),
        replica: replicas(db),
        urls: db.replicas.iter().map(url).collect(),
    };
    let rows: Vec<Row> = options.with_those_in_directories().iter().map(row).collect();
    if json {
        serde_json::to_writer_pretty(&mut *out, &rows)?;
        return writeln!(out);
    }
    let heads = ["path", "replica", "url"].map(str::to_owned).to_vec();
    let mut lines: Vec<Vec<String>> = vec![heads];
    lines.extend(rows.into_iter().map(|row| vec![row.path, row.replica, row.urls.join(", ")]));
    if width.is_none() {
        lines.iter_mut().for_each(|line| line.truncate(2));
    }
    table::write(&lines, &[0, 2], width, out)
}

/// In full also where only a path is configured.
fn url(replica: &Replica) -> String {
    if replica.url.starts_with('/') { format!("file://{}", replica.url) } else { replica.url.clone() }
}

fn replicas(database: &Database) -> String {
    match database.replicas.are_several() {
        false => database.replicas.first.kind().to_owned(),
        true => database.replicas.iter().map(|replica| replica.name.as_str()).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    const ONE_EACH: &str =
        "dbs:\n  - {path: /data/a.db, replica: {url: 's3://b/p'}}\n  - {path: /b, replica: {path: /backup}}\n";

    fn shown(text: &str, json: bool, width: Option<usize>) -> String {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("litestream.yml");
        std::fs::write(&path, text).expect("write");
        let env = |_: &str| None;
        let sources = Sources { config_path: Some(path), ..Sources::new(&env, "/".into()) };
        let options = Options::load(&sources).expect("valid").options;
        let mut out = Vec::new();
        print(&options, json, width, &mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn tables_and_json_have_litestreams_shape() {
        assert_eq!(shown(ONE_EACH, false, None), "path        replica\n/data/a.db  s3\n/b          file\n");
        let json = "[\n  {\n    \"path\": \"/data/a.db\",\n    \"replica\": \"s3\",\n    \"urls\": [\n      \
                    \"s3://b/p\"\n    ]\n  },\n  {\n    \"path\": \"/b\",\n    \"replica\": \"file\",\n    \
                    \"urls\": [\n      \"file:///backup\"\n    ]\n  }\n]\n";
        assert_eq!(shown(ONE_EACH, true, None), json);
        assert_eq!(
            shown(ONE_EACH, false, Some(80)),
            "path        replica  url\n/data/a.db  s3       s3://b/p\n/b          file     file:///backup\n"
        );
    }

    #[test]
    fn several_replicas_are_joined_as_in_03() {
        let text = "dbs: [{path: /a, replicas: [{url: 's3://b/p'}, {path: /x}, {path: /y, name: nas}]}]\n";
        assert_eq!(shown(text, false, None), "path  replica\n/a    s3,file,nas\n");
        assert!(shown(text, true, None).contains("\"replica\": \"s3,file,nas\""));
    }
}
