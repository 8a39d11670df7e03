//! From the text of litestream.yml to checked sections, led by the table of keys.
//!
//! The table says what stands where, so every scalar is read as the text that was written (a
//! numeric password keeps its zeros), and every complaint is one sentence with file, line and
//! place. It never quotes a value that could be a secret.
//!
//! serde_yaml knows positions only while it reads, and tells them only through errors. So
//! everything that can be wrong with a single value is found during the reading: the sentence is
//! left in [`Reader::problem`], the error carries the line.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

use super::expand::MARK;
use super::keys::{Class, Key, Kind, Level};
use super::scalar;
use super::section::{Section, Value};

mod document;
mod expected;
mod merge;

#[cfg(test)]
mod tests;

use merge::MergeSeed;

/// A wrong value is quoted up to this many characters.
const SHOWN_MAX: usize = 32;

#[derive(Debug)]
pub struct Parsed {
    pub root: Section,
    /// Keys that were put aside, and why.
    pub notes: Vec<String>,
}

/// Where a [`MARK`] stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Marked {
    /// `dbs[0].replica.access-key-id`.
    pub place: String,
    /// The value is nothing but the mark.
    pub is_whole: bool,
}

/// The text of the file, if it is one that YAML is written in; the error completes "FILE: ".
pub fn decode(bytes: Vec<u8>) -> Result<String, String> {
    document::decode(bytes)
}

/// Reads the whole text. The error is a sentence that begins with `file:line`.
pub fn parse(file: &str, text: &str) -> Result<Parsed, String> {
    let reader = Reader::new(text, None);
    match reader.read() {
        Ok(root) => Ok(Parsed { root, notes: reader.notes.take() }),
        Err(error) => Err(reader.sentence(file, &error)),
    }
}

/// Reads a text with marks in it. In a value that says where something lies a mark is an error, for
/// the reason `why`; all others are found. Whatever else is wrong with the text is left to
/// [`parse`] of the text without marks.
pub fn find_marks(file: &str, text: &str, why: &str) -> Result<Vec<Marked>, String> {
    let reader = Reader::new(text, Some(why));
    match reader.read() {
        Err(error) if reader.is_refused.get() => Err(reader.sentence(file, &error)),
        _ => Ok(reader.marked.take()),
    }
}

/// The usual ways to break a file that looks right: a secret with a colon in it, put in by
/// `${NAME}`, and a tab.
fn hint(error: &serde_yaml::Error) -> &'static str {
    let error = error.to_string();
    if error.contains("mapping values are not allowed") {
        "; a value with special characters needs quotes, also around a variable: \"${SECRET}\""
    } else if error.contains("cannot start any token") {
        "; lines are indented with spaces, not with tabs, and a value with special characters needs quotes"
    } else {
        ""
    }
}

/// What the reading needs, and what it leaves behind besides values.
struct Reader<'t> {
    text: &'t str,
    /// Why a [`MARK`] must not stand in a place.
    why: Option<&'t str>,
    problem: RefCell<Option<String>>,
    notes: RefCell<Vec<String>>,
    marked: RefCell<Vec<Marked>>,
    /// The problem is a mark.
    is_refused: Cell<bool>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, why: Option<&'t str>) -> Reader<'t> {
        Reader {
            text: document::first(text),
            why,
            problem: RefCell::default(),
            notes: RefCell::default(),
            marked: RefCell::default(),
            is_refused: Cell::default(),
        }
    }

    fn read(&self) -> Result<Section, serde_yaml::Error> {
        if document::is_empty(self.text) {
            return Ok(Section::default());
        }
        let seed = ValueSeed { reader: self, kind: Kind::Section(Level::Root), class: Class::Supported, place: "" };
        let value = seed.deserialize(serde_yaml::Deserializer::from_str(self.text))?;
        Ok(if let Some(Value::Section(root)) = value { root } else { Section::default() })
    }

    fn sentence(&self, file: &str, error: &serde_yaml::Error) -> String {
        match (self.problem.take(), error.location(), document::second(self.text)) {
            (Some(problem), Some(at), _) => format!("{file}:{}: {problem}", at.line()),
            (Some(problem), None, _) => format!("{file}: {problem}"),
            (None, _, Some(line)) if error.to_string().contains("more than one document") => format!(
                "{file}:{line}: a second document begins here; Litestream reads the first one only: write all settings into one, without `---`"
            ),
            (None, ..) => format!("{file}: not valid YAML: {error}{}", hint(error)),
        }
    }

    /// Leaves the sentence, keeping an earlier one, and makes the error that carries the position.
    fn fail<E: serde::de::Error>(&self, problem: String) -> E {
        self.problem.borrow_mut().get_or_insert(problem);
        E::custom("see problem")
    }

    /// A value of the wrong shape is often that of a key with the same name elsewhere: 0.3's
    /// `retention: 24h`.
    fn belongs_elsewhere(&self, seed: &ValueSeed<'_>, belongs: Option<String>) {
        let shape = format!("{} must be {}", seed.place, seed.kind.expected());
        if let (Some(problem), Some(belongs)) = (self.problem.borrow_mut().as_mut(), belongs)
            && *problem == shape
        {
            problem.push_str(&format!("; another {belongs}"));
        }
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
    reader: &'a Reader<'a>,
    kind: Kind,
    class: Class,
    /// `dbs[0].replica.url`; empty for the file as a whole.
    place: &'a str,
}

impl ValueSeed<'_> {
    fn scalar<E: serde::de::Error>(&self, text: &str) -> Result<Value, E> {
        let value = match self.kind {
            Kind::Bool => scalar::parse_yaml_bool(text).map(Value::Bool),
            Kind::Count => scalar::parse_count(text).map(Value::Number),
            Kind::Size => scalar::parse_size(text).map(Value::Number),
            Kind::Duration => scalar::parse_duration(text).map(Value::Duration),
            Kind::Switched(_) => scalar::parse_yaml_bool(text).map(|on| Value::Section(Section::switched(on))),
            Kind::Command(_) => Ok(Value::Section(Section::command(text))),
            Kind::Commands(_) if text.is_empty() => Ok(Value::Sections(Vec::new())),
            Kind::Commands(_) => Ok(Value::Sections(vec![Section::command(text)])),
            _ => Ok(Value::Text(text.to_owned())),
        };
        let value = value.map_err(|why| {
            // Where a quote is missing, the value has the lines below in it, and their secrets.
            let len = text.chars().count();
            let why =
                if len > SHOWN_MAX { format!("the value has {len} characters; is a quote missing?") } else { why };
            self.reader.fail(format!("{}: {why}", self.place))
        })?;
        self.admit(&value).map_err(|why| self.reader.fail(why))?;
        Ok(value)
    }

    /// A variable without a value: refused where it would name another place, else as if nothing
    /// were written.
    fn marked<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        if let (Some(why), Kind::Place, Class::Supported | Class::NotYet(_)) = (self.reader.why, self.kind, self.class)
        {
            self.reader.is_refused.set(true);
            return Err(self.reader.fail(format!("{}: {why}", self.place)));
        }
        self.reader.marked.borrow_mut().push(Marked { place: self.place.to_owned(), is_whole: text == MARK });
        Ok(())
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
        f.write_str(self.kind.expected())
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
            Kind::Switched(_) | Kind::Command(_) | Kind::Commands(_) => deserializer.deserialize_any(self),
            Kind::Texts | Kind::Sections(_) => deserializer.deserialize_seq(self),
            _ => deserializer.deserialize_str(self),
        };
        read.map_err(|error| self.reader.shape(error, self.place, self.kind.expected()))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if self.reader.why.is_some() && text.contains(MARK) {
            return self.marked(text).map(|()| None);
        }
        self.scalar(text).map(Some)
    }

    fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Self::Value, E> {
        self.scalar(if on { "true" } else { "false" }).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        if let Kind::Switched(_) | Kind::Command(_) = self.kind {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let kind = match self.kind {
            Kind::Sections(level) => Kind::Section(level),
            Kind::Commands(level) => Kind::Command(level),
            _ => Kind::Text,
        };
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
        let (Kind::Section(level) | Kind::Switched(level) | Kind::Command(level)) = self.kind else {
            return Err(A::Error::custom("not a section"));
        };
        let mut section = Section::default();
        let mut merged: Vec<Section> = Vec::new();
        let mut seen: Vec<&'static str> = Vec::new();
        while let Some(word) =
            entries.next_key_seed(KeySeed { reader: self.reader, level, place: self.place, seen: &seen })?
        {
            let key = match word {
                Word::Key(key) => key,
                Word::Merge => {
                    // Merged keys give way to those written out, so they are added at the end.
                    merged.extend(entries.next_value_seed(MergeSeed { value: self })?);
                    continue;
                }
                Word::Holder => {
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            seen.push(key.name);
            let place =
                if self.place.is_empty() { key.name.to_owned() } else { format!("{}.{}", self.place, key.name) };
            let seed = ValueSeed { reader: self.reader, kind: key.kind, class: key.class, place: &place };
            let read = entries.next_value_seed(seed);
            if read.is_err() {
                self.reader.belongs_elsewhere(&seed, level.other_meaning(key));
            }
            match read? {
                Some(value) => section.entries.push((key.name, value)),
                // What `url: ${NOT_SET}` becomes: written, but empty.
                None if matches!(key.kind, Kind::Text | Kind::Place) => {
                    section.entries.push((key.name, Value::Text(String::new())))
                }
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
    /// A name of the user's own for what is used elsewhere by an alias; its value counts only
    /// there.
    Holder,
}

/// Reads one key of a section, refusing unknown and repeated ones.
struct KeySeed<'a> {
    reader: &'a Reader<'a>,
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
        let name = name.replace(MARK, "");
        let Some(key) = self.level.key(&name) else {
            let holds_anchor = || self.level == Level::Root && document::holds_anchor(self.reader.text, &name);
            if name.starts_with("x-") || name.starts_with('.') || holds_anchor() {
                return Ok(Word::Holder);
            }
            let suggestion = self.level.suggestion(&name).unwrap_or_default();
            return Err(self.reader.fail(format!("unknown key `{name}`{place}{suggestion}")));
        };
        if self.seen.contains(&key.name) {
            return Err(self.reader.fail(format!("`{name}` stands twice{place}")));
        }
        Ok(Word::Key(key))
    }
}
