//! From the text of litestream.yml to checked sections, led by the table of keys.
//!
//! The table says what stands where, so every scalar is read as the text that was written (a numeric password keeps its
//! zeros), and every complaint is one sentence with file, line and place. It never quotes a value that could be a secret.
//!
//! serde_yaml knows positions only while it reads, and tells them only through errors. So everything that can be wrong with
//! a single value is found during the reading: the sentence is left in [`Reader::problem`], the error carries the line.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::keys::{Class, Key, Kind, Level};
use super::scalar;
use super::section::{Section, Value};

#[derive(Debug)]
pub struct Parsed {
    pub root: Section,
    /// Keys that were put aside, and why.
    pub notes: Vec<String>,
}

/// Reads the whole text. The error is a sentence that begins with `file:line`.
pub fn parse(file: &str, text: &str) -> Result<Parsed, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.lines().all(|line| matches!(line.trim(), "" | "---") || line.trim_start().starts_with('#')) {
        return Ok(Parsed { root: Section::default(), notes: Vec::new() });
    }
    let reader = Reader::default();
    let seed = ValueSeed { reader: &reader, kind: Kind::Section(Level::Root), class: Class::Supported, place: "" };
    match seed.deserialize(serde_yaml::Deserializer::from_str(text)) {
        Ok(value) => {
            let root = if let Some(Value::Section(root)) = value { root } else { Section::default() };
            Ok(Parsed { root, notes: reader.notes.take() })
        }
        Err(error) => Err(match (reader.problem.take(), error.location()) {
            (Some(problem), Some(at)) => format!("{file}:{}: {problem}", at.line()),
            (Some(problem), None) => format!("{file}: {problem}"),
            (None, _) => format!("{file}: not valid YAML: {error}{}", quoting_hint(&error)),
        }),
    }
}

/// A secret with a colon in it, put in by `${NAME}`, is the usual way to break a file that looks right.
fn quoting_hint(error: &serde_yaml::Error) -> &'static str {
    if error.to_string().contains("mapping values are not allowed") {
        "; a value with special characters needs quotes, also around a variable: \"${SECRET}\""
    } else {
        ""
    }
}

/// What the reading leaves behind besides values.
#[derive(Default)]
struct Reader {
    problem: RefCell<Option<String>>,
    notes: RefCell<Vec<String>>,
}

impl Reader {
    /// Leaves the sentence, keeping an earlier one, and makes the error that carries the position.
    fn fail<E: serde::de::Error>(&self, problem: String) -> E {
        self.problem.borrow_mut().get_or_insert(problem);
        E::custom("see problem")
    }

    /// Replaces serde's complaint about a shape, which would quote the value.
    fn shape<E: serde::de::Error>(&self, error: E, place: &str, expected: &str) -> E {
        if error.to_string().contains("invalid type") {
            let place = if place.is_empty() { "the file" } else { place };
            self.problem.borrow_mut().get_or_insert(format!("{place} must be {expected}"));
        }
        error
    }
}

/// Reads one value of a known kind; `None` is YAML's null.
#[derive(Clone, Copy)]
struct ValueSeed<'a> {
    reader: &'a Reader,
    kind: Kind,
    class: Class,
    /// `dbs[0].replica.url`; empty for the file as a whole.
    place: &'a str,
}

impl ValueSeed<'_> {
    const fn expected(&self) -> &'static str {
        match self.kind {
            Kind::Text => "a single value",
            Kind::Bool => "true or false",
            Kind::Count => "a whole number",
            Kind::Size => "a size, for example 5MiB",
            Kind::Duration => "a duration, for example 10s",
            Kind::Section(_) => "a group of `key: value` lines",
            Kind::Texts | Kind::Sections(_) => "a list (lines that begin with `- `)",
        }
    }

    fn scalar<E: serde::de::Error>(&self, text: &str) -> Result<Value, E> {
        let value = match self.kind {
            Kind::Bool => scalar::parse_yaml_bool(text).map(Value::Bool),
            Kind::Count => scalar::parse_count(text).map(Value::Number),
            Kind::Size => scalar::parse_size(text).map(Value::Number),
            Kind::Duration => scalar::parse_duration(text).map(Value::Duration),
            _ => Ok(Value::Text(text.to_owned())),
        };
        let value = value.map_err(|why| self.reader.fail(format!("{}: {why}", self.place)))?;
        self.admit(&value).map_err(|why| self.reader.fail(why))?;
        Ok(value)
    }

    /// Refuses what is switched on and not there, notes what is put aside.
    fn admit(&self, value: &Value) -> Result<(), String> {
        let off = match value {
            Value::Text(text) => text.is_empty(),
            Value::Bool(on) => !on,
            Value::Number(number) => *number == 0,
            Value::Duration(duration) => duration.is_zero(),
            Value::Texts(texts) => texts.is_empty(),
            Value::Section(_) | Value::Sections(_) => false,
        };
        match self.class {
            Class::NotYet(feature) if !off => Err(format!("{}: {feature} is not supported yet", self.place)),
            Class::NoEffect(why) => {
                self.reader.notes.borrow_mut().push(format!("{} has no effect: {why}", self.place));
                Ok(())
            }
            Class::NotYet(_) | Class::Supported => Ok(()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected())
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let read = match self.kind {
            Kind::Section(_) => deserializer.deserialize_map(self),
            Kind::Texts | Kind::Sections(_) => deserializer.deserialize_seq(self),
            _ => deserializer.deserialize_str(self),
        };
        read.map_err(|error| self.reader.shape(error, self.place, self.expected()))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.scalar(text).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let kind = if let Kind::Sections(level) = self.kind { Kind::Section(level) } else { Kind::Text };
        let mut texts = Vec::new();
        let mut sections = Vec::new();
        loop {
            let place = format!("{}[{}]", self.place, texts.len() + sections.len());
            let seed = ValueSeed { kind, class: Class::Supported, place: &place, ..self };
            match items.next_element_seed(seed)? {
                None => break,
                Some(Some(Value::Section(section))) => sections.push(section),
                Some(Some(Value::Text(text))) => texts.push(text),
                Some(_) => return Err(self.reader.fail(format!("{place} is empty"))),
            }
        }
        let value = if self.kind == Kind::Texts { Value::Texts(texts) } else { Value::Sections(sections) };
        self.admit(&value).map_err(|why| self.reader.fail(why))?;
        Ok(Some(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let Kind::Section(level) = self.kind else { return Err(A::Error::custom("not a section")) };
        let mut section = Section::default();
        let mut merged: Vec<Section> = Vec::new();
        let mut seen: Vec<&'static str> = Vec::new();
        while let Some(word) =
            entries.next_key_seed(KeySeed { reader: self.reader, level, place: self.place, seen: &seen })?
        {
            let Word::Key(key) = word else {
                // Merged keys give way to those written out, so they are added at the end.
                merged.extend(entries.next_value_seed(MergeSeed { value: self })?);
                continue;
            };
            seen.push(key.name);
            let place =
                if self.place.is_empty() { key.name.to_owned() } else { format!("{}.{}", self.place, key.name) };
            let seed = ValueSeed { reader: self.reader, kind: key.kind, class: key.class, place: &place };
            match entries.next_value_seed(seed)? {
                Some(value) => section.entries.push((key.name, value)),
                // What `url: ${NOT_SET}` becomes: written, but empty.
                None if key.kind == Kind::Text => section.entries.push((key.name, Value::Text(String::new()))),
                None => {}
            }
        }
        for (name, value) in merged.into_iter().flat_map(|m| m.entries) {
            if !section.has(name) {
                section.entries.push((name, value));
            }
        }
        Ok(Some(Value::Section(section)))
    }
}

/// What stands left of a colon.
enum Word {
    Key(&'static Key),
    /// `<<`, YAML's merge of an alias.
    Merge,
}

/// Reads one key of a section, refusing unknown and repeated ones.
struct KeySeed<'a> {
    reader: &'a Reader,
    level: Level,
    place: &'a str,
    seen: &'a [&'static str],
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Word;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Word, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_> {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a setting")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Word, E> {
        if name == "<<" {
            return Ok(Word::Merge);
        }
        let place = if self.place.is_empty() { String::new() } else { format!(" in {}", self.place) };
        let Some(key) = self.level.key(name) else {
            let suggestion = self.level.suggestion(name).unwrap_or_default();
            return Err(self.reader.fail(format!("unknown key `{name}`{place}{suggestion}")));
        };
        if self.seen.contains(&key.name) {
            return Err(self.reader.fail(format!("`{name}` stands twice{place}")));
        }
        Ok(Word::Key(key))
    }
}

/// Reads the value of `<<`: one section of the same kind, or a list of them.
struct MergeSeed<'a> {
    value: ValueSeed<'a>,
}

impl<'de> DeserializeSeed<'de> for MergeSeed<'_> {
    type Value = Vec<Section>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MergeSeed<'_> {
    type Value = Vec<Section>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an alias of a group of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        Ok(match self.value.visit_map(entries)? {
            Some(Value::Section(section)) => vec![section],
            _ => Vec::new(),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut sections = Vec::new();
        while let Some(value) = items.next_element_seed(self.value)? {
            if let Some(Value::Section(section)) = value {
                sections.push(section);
            }
        }
        Ok(sections)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::keys::LEVELS;
    use super::*;

    fn root(text: &str) -> Section {
        parse("f.yml", text).expect(text).root
    }

    fn problem(text: &str) -> String {
        parse("f.yml", text).expect_err(text)
    }

    #[test]
    fn values_keep_the_text_that_was_written() {
        let section = root("access-key-id: 007\nsecret-access-key: 1e5\nregion: 'yes'\nexec: ~\nmigrate:\n");
        assert_eq!(section.text("access-key-id"), Some("007"));
        assert_eq!(section.text("secret-access-key"), Some("1e5"));
        assert_eq!(section.text("region"), Some("yes"));
        assert_eq!((section.text("exec"), section.text("migrate")), (None, None), "null and nothing are empty");
        assert!(section.has("exec") && section.has("migrate") && !section.has("bucket"));
    }

    #[test]
    fn kinds_are_checked_and_the_line_is_named() {
        assert_eq!(root("skip-verify: on\n").bool("skip-verify"), Some(true));
        assert_eq!(root("part-size: 5MiB\n").number("part-size"), Some(5 << 20));
        assert_eq!(root("grace: 1m\n").duration("grace"), Some(Duration::from_secs(60)));
        let text = "dbs:\n  - path: /a\n    replica:\n      sync-interval: 10\n";
        assert_eq!(problem(text), "f.yml:4: dbs[0].replica.sync-interval: \"10\" has no unit; write for example 10s");
        assert_eq!(problem("skip-verify: 2\n"), "f.yml:1: skip-verify: \"2\" is neither true nor false");
    }

    #[test]
    fn unknown_keys_name_place_line_and_the_likely_key() {
        let text = "dbs:\n  - path: /a\n    replica:\n      urll: s3://b/x\n";
        assert_eq!(problem(text), "f.yml:4: unknown key `urll` in dbs[0].replica; did you mean `url`?");
        let text = "dbs:\n  - path: /a\n    url: s3://b/x\n";
        assert_eq!(problem(text), "f.yml:3: unknown key `url` in dbs[0]; `url` belongs under dbs[].replica");
        assert_eq!(problem("\n\nfoo: 1\n"), "f.yml:3: unknown key `foo`");
    }

    #[test]
    fn duplicates_and_wrong_shapes_are_errors_that_quote_no_value() {
        let text = "dbs:\n  - path: /a\n    path: /b\n";
        assert_eq!(problem(text), "f.yml:3: `path` stands twice in dbs[0]");
        let shape = problem("dbs: hunter2\n");
        assert_eq!(shape, "f.yml:1: dbs must be a list (lines that begin with `- `)");
        let shape = problem("dbs:\n  - hunter2\n");
        assert_eq!(shape, "f.yml:2: dbs[0] must be a group of `key: value` lines");
        let shape = problem("secret-access-key: [hunter2]\n");
        assert_eq!(shape, "f.yml:1: secret-access-key must be a single value");
        assert_eq!(problem("- a\n"), "f.yml:1: the file must be a group of `key: value` lines");
        assert!(problem("region: b: c\n").starts_with("f.yml: not valid YAML: "));
        assert_eq!(problem("dbs:\n  -\n"), "f.yml:2: dbs[0] is empty");
    }

    #[test]
    fn empty_files_are_empty_sections() {
        for text in ["", "\n", "# only this\n", "---\n", "\u{feff}"] {
            assert!(!root(text).has("dbs"), "{text:?}");
        }
        assert!(!root("dbs:\n").has("dbs"));
        assert_eq!(root("dbs: []\n").sections("dbs").map(<[_]>::len), Some(0));
    }

    #[test]
    fn aliases_merge_below_what_is_written_out() {
        let text = "dbs:\n  - path: /a\n    replica: &r\n      region: one\n      bucket: b\n  - path: /c\n    replica:\n      <<: *r\n      region: two\n";
        let root = root(text);
        let second = root.sections("dbs").and_then(|dbs| dbs[1].section("replica")).expect("replica");
        assert_eq!((second.text("region"), second.text("bucket")), (Some("two"), Some("b")));
    }

    #[test]
    fn what_is_not_supported_is_named_unless_it_is_off() {
        assert_eq!(problem("addr: \":9090\"\n"), "f.yml:1: addr: the metrics endpoint is not supported yet");
        assert_eq!(
            problem("socket:\n  enabled: true\n"),
            "f.yml:2: socket.enabled: the control socket is not supported yet"
        );
        assert_eq!(
            problem("age:\n  recipients: [age1x]\n"),
            "f.yml:2: age.recipients: age encryption is not supported yet"
        );
        root("addr: ''\nmcp-addr:\nsocket: {enabled: false, path: /x}\nage: {identities: []}\nheartbeat-url: ''\n");
    }

    #[test]
    fn a_note_says_what_has_no_effect() {
        let notes = parse("f.yml", "logging: {stderr: true}\n").expect("valid").notes;
        assert_eq!(notes, ["logging.stderr has no effect: logs always go to stderr"]);
    }

    /// One value of each kind, as a person would write it, switched off where that is possible.
    fn sample(kind: Kind, on: bool) -> &'static str {
        match (kind, on) {
            (Kind::Text, true) => "word",
            (Kind::Text, false) => "''",
            (Kind::Bool, true) => "yes",
            (Kind::Bool, false) => "no",
            (Kind::Count | Kind::Size, true) => "7",
            (Kind::Count | Kind::Size, false) => "0",
            (Kind::Duration, true) => "1h30m",
            (Kind::Duration, false) => "0s",
            (Kind::Texts, true) => "[a, b]",
            (Kind::Texts, false) => "[]",
            (Kind::Section(_), _) => "{}",
            (Kind::Sections(_), _) => "[]",
        }
    }

    /// The text of a file in which `line` stands where keys of this level stand.
    fn wrap(level: Level, line: &str) -> String {
        match level {
            Level::Root => format!("{line}\n"),
            Level::Db => format!("dbs:\n  - {line}\n"),
            Level::Replica => format!("dbs:\n  - replicas:\n      - {line}\n"),
            Level::Logging => format!("logging:\n  {line}\n"),
            Level::Socket => format!("socket:\n  {line}\n"),
            Level::Compaction => format!("levels:\n  - {line}\n"),
            Level::Snapshot => format!("snapshot:\n  {line}\n"),
            Level::Validation => format!("validation:\n  {line}\n"),
            Level::Retention => format!("retention:\n  {line}\n"),
            Level::Verify => format!("verify:\n  {line}\n"),
            Level::Age => format!("dbs:\n  - replica:\n      age:\n        {line}\n"),
        }
    }

    #[test]
    fn every_key_of_the_table_does_what_its_class_says() {
        for level in LEVELS {
            for key in level.keys() {
                let line = |on| wrap(level, &format!("{}: {}", key.name, sample(key.kind, on)));
                let off = parse("f", &line(false));
                assert!(off.is_ok(), "{level:?} {}: {off:?}", key.name);
                match (parse("f", &line(true)), key.class) {
                    (Err(error), Class::NotYet(feature)) => {
                        assert!(error.contains(key.name) && error.contains(feature), "{error}");
                    }
                    (Ok(parsed), Class::NoEffect(why)) => {
                        assert!(parsed.notes.iter().any(|n| n.contains(key.name) && n.contains(why)), "{}", key.name);
                    }
                    (Ok(parsed), Class::Supported) => assert!(parsed.notes.is_empty(), "{}", key.name),
                    (result, class) => panic!("{level:?} {} is {class:?} but {result:?}", key.name),
                }
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_text_breaks_the_reader(text in "(dbs|path|replica|age|[a-z<&*!'\"]|: |- |\n|  |[{}\\[\\],#~|>é0-9]){0,30}") {
            let _ = parse("f", &text);
        }
    }
}
