//! What a person is told that a value should be.

use crate::config::keys::Kind;

impl Kind {
    pub(super) fn expected(self) -> &'static str {
        match self {
            Kind::Text | Kind::Place => "a single value",
            Kind::Bool => "true or false",
            Kind::Count => "a whole number",
            Kind::Size => "a size, for example 5MiB",
            Kind::Duration => "a duration, for example 10s",
            Kind::Section(_) => "a group of `key: value` lines",
            Kind::Switched(_) => "a group of `key: value` lines, or off",
            Kind::Texts | Kind::Sections(_) => "a list (lines that begin with `- `)",
            Kind::Command(_) => "a command line, or `{cmd: …, if: …}`",
            Kind::Commands(_) => "a command line, or a list of `{cmd: …, if: …}`",
        }
    }
}
