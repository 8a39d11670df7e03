//! The checked contents of litestream.yml: what the parser writes and the resolver reads.
//!
//! A section only ever holds keys of the table, each with a value of the kind the table asks for; a
//! getter for another kind finds nothing.

use std::fmt;
use std::time::Duration;

/// A mapping whose keys are all known and whose values all have the kind the table asks for.
#[derive(Clone, Debug, Default)]
pub struct Section {
    pub entries: Vec<(&'static str, Value)>,
}

#[derive(Clone)]
pub enum Value {
    Text(String),
    Bool(bool),
    Number(u64),
    Duration(Duration),
    Texts(Vec<String>),
    Section(Section),
    Sections(Vec<Section>),
}

/// Shows no texts: they may be secrets.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(_) | Value::Texts(_) => f.write_str("(text)"),
            Value::Bool(value) => value.fmt(f),
            Value::Number(value) => value.fmt(f),
            Value::Duration(value) => value.fmt(f),
            Value::Section(section) => section.fmt(f),
            Value::Sections(sections) => sections.fmt(f),
        }
    }
}

impl Section {
    /// `on` or `off` in place of a section.
    pub fn switched(on: bool) -> Section {
        Section { entries: vec![("off", Value::Bool(!on))] }
    }

    /// A command line in place of its section.
    pub fn command(line: &str) -> Section {
        Section { entries: vec![("cmd", Value::Text(line.to_owned()))] }
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A text that is not empty: Litestream treats an empty value as one that is not there.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    pub fn texts(&self, name: &str) -> Option<&[String]> {
        if let Value::Texts(texts) = self.get(name)? { Some(texts) } else { None }
    }

    pub fn bool(&self, name: &str) -> Option<bool> {
        if let Value::Bool(value) = self.get(name)? { Some(*value) } else { None }
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        if let Value::Number(value) = self.get(name)? { Some(*value) } else { None }
    }

    pub fn duration(&self, name: &str) -> Option<Duration> {
        if let Value::Duration(value) = self.get(name)? { Some(*value) } else { None }
    }

    /// A duration that cannot be zero.
    pub fn positive(&self, place: &str, name: &str, default: Duration) -> Result<Duration, String> {
        match self.duration(name) {
            Some(Duration::ZERO) => {
                let dot = if place.is_empty() { "" } else { "." };
                Err(format!("{place}{dot}{name} must be greater than zero"))
            }
            Some(duration) => Ok(duration),
            None => Ok(default),
        }
    }

    pub fn section(&self, name: &str) -> Option<&Section> {
        if let Value::Section(section) = self.get(name)? { Some(section) } else { None }
    }

    pub fn sections(&self, name: &str) -> Option<&[Section]> {
        if let Value::Sections(sections) = self.get(name)? { Some(sections) } else { None }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.entries.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}
