//! What a key that is not known was probably meant to be.

use super::keys::{Key, LEVELS, Level};

impl Level {
    /// The key that was probably meant; completes "unknown key `x` in y".
    pub fn suggestion(self, unknown: &str) -> Option<String> {
        let normal = dashed(unknown);
        if let Some(key) = self.key(&normal) {
            return Some(format!("; did you mean `{}`?", key.name));
        }
        if let Some(belongs) = self.elsewhere(&normal) {
            return Some(format!("; {belongs}"));
        }
        nearest(&normal, self.keys().map(|k| k.name)).map(|name| format!("; did you mean `{name}`?"))
    }

    /// A place where a key of the same name takes another kind of value.
    pub fn other_meaning(self, key: &Key) -> Option<String> {
        let differs = |level: Level| level.key(key.name).is_some_and(|other| other.kind != key.kind);
        if LEVELS.into_iter().any(differs) { self.elsewhere(key.name) } else { None }
    }

    /// The section that a misplaced key belongs to.
    fn elsewhere(self, name: &str) -> Option<String> {
        let places: Vec<&str> = LEVELS
            .into_iter()
            .filter(|level| *level != self && level.key(name).is_some())
            .map(|level| level.place())
            .collect();
        let (last, others) = places.split_last()?;
        let places = if others.is_empty() { (*last).to_owned() } else { format!("{} or {last}", others.join(", ")) };
        let for_all = match (self, name) {
            (Level::Root, "snapshot-interval") => "; for all databases write `snapshot: {interval: …}`",
            (Level::Root, "retention") => "; for all databases write `snapshot: {retention: …}`",
            (Level::Db, "retention" | "snapshot-interval") => "; for this database write `snapshot: {…}`",
            _ => "",
        };
        Some(format!("`{name}` belongs under {places}{for_all}"))
    }
}

/// `accessKeyId`, `ACCESS_KEY_ID`, `AccessKeyID` → `access-key-id`.
fn dashed(word: &str) -> String {
    let mut dashed = String::with_capacity(word.len() + 4);
    let mut after_lower = false;
    for c in word.chars() {
        if c.is_ascii_uppercase() && after_lower {
            dashed.push('-');
        }
        after_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        dashed.push(if matches!(c, '_' | ' ' | '.') { '-' } else { c.to_ascii_lowercase() });
    }
    dashed
}

/// The name most like `word`, if any is like it at all.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_know_typos_spellings_and_other_levels() {
        let cases = [
            (Level::Replica, "urll", "did you mean `url`?"),
            (Level::Replica, "access_key_id", "did you mean `access-key-id`?"),
            (Level::Replica, "Path", "did you mean `path`?"),
            (Level::Db, "url", "`url` belongs under dbs[].replica"),
            (Level::Db, "checkpoint-intervall", "did you mean `checkpoint-interval`?"),
            (Level::Replica, "monitor-interval", "`monitor-interval` belongs under dbs[]"),
            (Level::Db, "bucket", "`bucket` belongs under dbs[].replica"),
            (Level::Root, "meta-path", "`meta-path` belongs under dbs[]"),
            (Level::Db, "dbs", "belongs under the top level of the file"),
            (Level::Db, "levels", "`levels` belongs under the top level of the file"),
            (Level::Replica, "levels", "`levels` belongs under the top level of the file"),
            (Level::Db, "l0-retention", "belongs under the top level of the file"),
            (
                Level::Root,
                "snapshot-interval",
                "belongs under dbs[].replica; for all databases write `snapshot: {interv",
            ),
            (Level::Root, "retention-check-interval", "`retention-check-interval` belongs under dbs[].replica"),
            (Level::Root, "monitor-interval", "`monitor-interval` belongs under dbs[]"),
            (Level::Root, "path", "belongs under dbs[].replica, dbs[]"),
            (Level::Db, "sync_interval", "`sync-interval` belongs under dbs[].replica"),
            (Level::Db, "secretAccessKey", "`secret-access-key` belongs under dbs[].replica"),
            (Level::Replica, "accessKeyID", "did you mean `access-key-id`?"),
            (Level::Replica, "SECRET_ACCESS_KEY", "did you mean `secret-access-key`?"),
            (Level::Replica, "forcePathStyle", "did you mean `force-path-style`?"),
            (Level::Root, "l0Retention", "did you mean `l0-retention`?"),
        ];
        for (level, word, part) in cases {
            let suggestion = level.suggestion(word).expect(word);
            assert!(suggestion.contains(part), "{word}: {suggestion}");
        }
        assert_eq!(Level::Retention.suggestion("zzz"), None);
    }
}
