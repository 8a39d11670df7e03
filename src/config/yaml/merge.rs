//! YAML's merge key: `<<: *defaults`, or a list of aliases, of which the earlier ones win.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::super::section::{Section, Value};
use super::ValueSeed;

/// Reads the value of `<<`: one section of the same kind, or a list of them.
pub struct MergeSeed<'a> {
    pub value: ValueSeed<'a>,
}

impl<'de> DeserializeSeed<'de> for MergeSeed<'_> {
    type Value = Vec<Section>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let (reader, place) = (self.value.reader, format!("{}.<<", self.value.place));
        let read = deserializer.deserialize_any(self);
        read.map_err(|error| {
            reader.shape(error, place.trim_start_matches('.'), "an alias of a group, for example *defaults")
        })
    }
}

impl<'de> Visitor<'de> for MergeSeed<'_> {
    type Value = Vec<Section>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an alias of a group of settings")
    }

    /// What `<<: ${NOT_SET}` becomes, and an alias of an empty group.
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
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
