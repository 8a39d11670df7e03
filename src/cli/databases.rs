//! `millstream databases`: what the configuration file names, and what lies in its directories, in Litestream's two shapes.

use std::io::{self, Write};

use serde::Serialize;

use crate::config::{Database, Options};

#[derive(Serialize)]
struct Row {
    path: String,
    /// The kind of replica: `s3`, `file`. Of several the names, as 0.3 shows them.
    replica: String,
}

/// Writes a table, or a JSON array.
pub fn print(options: &Options, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let databases = options.with_those_in_directories();
    let rows: Vec<Row> =
        databases.iter().map(|db| Row { path: db.path.display().to_string(), replica: replicas(db) }).collect();
    if json {
        serde_json::to_writer_pretty(&mut *out, &rows)?;
        return writeln!(out);
    }
    let width = rows.iter().map(|row| row.path.chars().count()).chain(["path".len()]).max().unwrap_or_default();
    writeln!(out, "{:width$}  replica", "path")?;
    for row in &rows {
        writeln!(out, "{:width$}  {}", row.path, row.replica)?;
    }
    Ok(())
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

    fn shown(text: &str, json: bool) -> String {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("litestream.yml");
        std::fs::write(&path, text).expect("write");
        let env = |_: &str| None;
        let sources = Sources { config_path: Some(path), ..Sources::new(&env, "/".into()) };
        let options = Options::load(&sources).expect("valid").options;
        let mut out = Vec::new();
        print(&options, json, &mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn tables_and_json_have_litestreams_shape() {
        assert_eq!(shown(ONE_EACH, false), "path        replica\n/data/a.db  s3\n/b          file\n");
        let json = "[\n  {\n    \"path\": \"/data/a.db\",\n    \"replica\": \"s3\"\n  },\n  {\n    \"path\": \"/b\",\n    \"replica\": \"file\"\n  }\n]\n";
        assert_eq!(shown(ONE_EACH, true), json);
    }

    #[test]
    fn several_replicas_are_joined_as_in_03() {
        let text = "dbs: [{path: /a, replicas: [{url: 's3://b/p'}, {path: /x}, {path: /y, name: nas}]}]\n";
        assert_eq!(shown(text, false), "path  replica\n/a    s3,file,nas\n");
        assert!(shown(text, true).contains("\"replica\": \"s3,file,nas\""));
    }
}
