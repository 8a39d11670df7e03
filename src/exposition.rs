//! Prometheus' text format, version 0.0.4.

use std::fmt::Write;

/// As `Content-Type` says it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// The page, written family by family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// One family, until its first sample nothing of it is written.
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    has_begun: bool,
}

impl Exposition {
    /// `help` is one line without backslashes.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Family<'_> {
        Family { text: &mut self.text, name, kind, help, has_begun: false }
    }

    pub fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.suffixed("", labels, value);
    }

    pub fn number(&mut self, labels: &[(&str, &str)], value: u64) {
        self.begin("", labels);
        // As an integer, so that large numbers keep all digits.
        self.end(format_args!("{value}"));
    }

    /// Milliseconds, shown in seconds.
    pub fn milliseconds(&mut self, labels: &[(&str, &str)], ms: i64) {
        let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
        self.begin("", labels);
        self.end(format_args!("{sign}{}.{:03}", ms / 1000, ms % 1000));
    }

    /// Of a histogram: `_bucket`, `_sum`, `_count`.
    pub fn suffixed(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.begin(suffix, labels);
        self.end(format_args!("{value}"));
    }

    fn begin(&mut self, suffix: &str, labels: &[(&str, &str)]) {
        let (name, kind) = (self.name, self.kind.name());
        if !std::mem::replace(&mut self.has_begun, true) {
            let _ = writeln!(self.text, "# HELP {name} {}\n# TYPE {name} {kind}", self.help);
        }
        self.text.push_str(name);
        self.text.push_str(suffix);
        for (at, (label, value)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{label}=\"");
            escape(value, self.text);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
    }

    fn end(&mut self, value: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, " {value}");
    }
}

fn escape(value: &str, text: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_numbers_keep_their_digits() {
        let mut page = Exposition::default();
        let mut family = page.family("x_bytes", Kind::Gauge, "How many.");
        family.number(&[("db", "a\\b\"c\nd"), ("e", "")], u64::MAX);
        family.sample(&[], 0.25);
        family.milliseconds(&[], -1_005);
        page.family("never", Kind::Counter, "Has no samples.");
        assert_eq!(
            page.finish(),
            "# HELP x_bytes How many.\n# TYPE x_bytes gauge\nx_bytes{db=\"a\\\\b\\\"c\\nd\",e=\"\"} 18446744073709551615\n\
             x_bytes 0.25\nx_bytes -1.005\n"
        );
    }
}
