//! The litestream.yml that does what a litefs.yml did. Pure: a text into a text, in which whatever
//! has no equal is named, with the reason.
//!
//! Variables are left as they are, since both files expand them alike.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_yaml::Value;

use super::monitoring::Addr;

/// What becomes of a key.
#[derive(Clone, Copy)]
enum Fate {
    /// It has an equal.
    Taken,
    /// Why it has none.
    Left(&'static str),
}

use Fate::{Left, Taken};

const CONSUL: &str = "the bucket takes the place of Consul";
const NO_COPY: &str = "there is no second copy of the data on the disk: the bucket holds the history";
const BACKUP: &str = "the replica in the bucket is the backup";
const TRACE: &str = "no file operation passes through millstream; `logging: {level: debug}` shows what it does";
const FUSE: &str = "there is no FUSE";
const WHOLE_TIME: &str = "how long a request takes is between client and application";

/// Every key of LiteFS's.
const KEYS: &[(&str, Fate)] = &[
    ("exit-on-error", Left("a start that fails ends with an exit code and a sentence")),
    ("skip-sync", Left("the application starts when its databases are there")),
    ("strict-verify", Left("`verify: {interval: 24h}` restores the replica, and compares it")),
    ("exec", Taken),
    ("data.dir", Left(NO_COPY)),
    ("data.compress", Left("what is uploaded is always compressed")),
    ("data.retention", Left("`snapshot: {retention: …}` says how far back a restore goes")),
    ("data.retention-monitor-interval", Left(NO_COPY)),
    ("fuse.dir", Taken),
    ("fuse.allow-other", Left("the database is an ordinary file: `mode` and `owner` under `dbs`")),
    ("fuse.debug", Left(FUSE)),
    ("http.addr", Taken),
    ("http.snapshot-timeout", Left("nodes get what they need from the bucket")),
    ("proxy.addr", Taken),
    ("proxy.target", Taken),
    ("proxy.db", Taken),
    ("proxy.max-lag", Left("a read waits until its client's own writes are there, and goes to the primary otherwise")),
    ("proxy.debug", Left("`logging: {level: debug}` shows it")),
    ("proxy.passthrough", Taken),
    ("proxy.always-forward", Taken),
    ("proxy.primary-redirect-timeout", Taken),
    ("proxy.read-timeout", Left(WHOLE_TIME)),
    ("proxy.read-header-timeout", Taken),
    ("proxy.write-timeout", Left(WHOLE_TIME)),
    ("proxy.idle-timeout", Taken),
    ("lease.type", Taken),
    ("lease.hostname", Taken),
    ("lease.advertise-url", Taken),
    ("lease.candidate", Taken),
    ("lease.promote", Left("`millstream promote`, or POST /promote, when the node is to be the primary")),
    ("lease.reconnect-delay", Left("a follower needs no connection")),
    ("lease.demote-delay", Left("a node that was demoted does not claim again while its successor lives")),
    ("lease.databases", Left("each node has all databases of its `dbs`: leave out what it is not to have")),
    ("lease.consul.url", Left(CONSUL)),
    ("lease.consul.key", Left("the claims lie beside the first replica")),
    ("lease.consul.ttl", Taken),
    ("lease.consul.lock-delay", Left(CONSUL)),
    ("backup.type", Left(BACKUP)),
    ("backup.path", Left(BACKUP)),
    ("backup.url", Left(BACKUP)),
    ("backup.cluster", Left(BACKUP)),
    ("backup.auth-token", Left(BACKUP)),
    ("log.format", Taken),
    ("log.timestamp", Left("log lines always have their time")),
    ("log.debug", Taken),
    ("tracing.enabled", Left(TRACE)),
    ("tracing.path", Left(TRACE)),
    ("tracing.max-size", Left(TRACE)),
    ("tracing.max-count", Left(TRACE)),
    ("tracing.compress", Left(TRACE)),
];

const HEAD: &str = "# Made of a litefs.yml. Look at each line with TODO before the first start.\n";

/// `Err`: it is no such file.
pub fn translate(text: &str) -> Result<String, String> {
    let root: Value = serde_yaml::from_str(text).map_err(|error| format!("it cannot be read as YAML: {error}"))?;
    let mut keys = BTreeMap::new();
    match &root {
        Value::Null => {}
        Value::Mapping(_) => flatten("", &root, &mut keys),
        _ => return Err("it has no keys".into()),
    }
    let commands = commands(keys.get("exec"))?;
    let given = Given { keys };
    let mut out = String::from(HEAD);
    given.exec(&commands, &mut out);
    given.logging(&mut out);
    given.cluster(&mut out);
    given.litefs(&mut out);
    given.proxy(&mut out);
    given.databases(&mut out);
    given.left_out(&mut out);
    Ok(out)
}

/// Values that are no mapping, by their keys from the top on.
fn flatten(place: &str, value: &Value, keys: &mut BTreeMap<String, Value>) {
    let Value::Mapping(entries) = value else {
        if !value.is_null() {
            keys.insert(place.to_owned(), value.clone());
        }
        return;
    };
    for (key, value) in entries {
        let key = plain(key);
        let place = if place.is_empty() { key } else { format!("{place}.{key}") };
        flatten(&place, value, keys);
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        other => serde_yaml::to_string(other).unwrap_or_default().trim().to_owned(),
    }
}

/// As a value of YAML, whatever is in it.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    match !text.is_empty()
        && text.chars().all(is_plain)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
    {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

/// The command lines of `exec`, in their order.
fn commands(exec: Option<&Value>) -> Result<Vec<(String, bool)>, String> {
    match exec {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![(one.clone(), false)]),
        Some(Value::Sequence(several)) => {
            let each = several.iter().map(|entry| {
                let cmd = entry.get("cmd").ok_or("exec: an entry has no `cmd`")?;
                let if_candidate = entry.get("if-candidate").is_some_and(|value| plain(value) != "false");
                Ok((plain(cmd), if_candidate))
            });
            each.collect()
        }
        Some(_) => Err("exec: it is neither a command line nor a list of them".into()),
    }
}

/// A command of a list, and on which nodes it is run, if not on all.
fn entry(command: &str, on: Option<&str>) -> String {
    match on {
        Some(on) => format!("{{cmd: {}, if: {on}}}", quoted(command)),
        None => quoted(command),
    }
}

struct Given {
    keys: BTreeMap<String, Value>,
}

/// Writing to a String cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{ let _ = writeln!($out, $($arg)*); }};
}

impl Given {
    fn text(&self, key: &str) -> Option<String> {
        self.keys.get(key).map(plain).filter(|text| !text.is_empty())
    }

    fn is(&self, key: &str) -> bool {
        self.text(key).is_some_and(|text| text == "true")
    }

    /// All but the last one run to their end before it. A candidate of LiteFS makes itself the
    /// primary before it runs commands.
    fn exec(&self, commands: &[(String, bool)], out: &mut String) {
        let Some(((last, is_of_candidates), before)) = commands.split_last() else { return };
        if before.is_empty() && !is_of_candidates {
            return line!(out, "exec: {}", quoted(last));
        }
        line!(out, "exec:");
        for (command, if_candidate) in before {
            line!(out, "- {}", entry(command, if_candidate.then_some("primary")));
        }
        line!(out, "- {}", entry(last, is_of_candidates.then_some("candidate")));
    }

    fn logging(&self, out: &mut String) {
        let format = self.text("log.format").map(|format| format!("type: {}", quoted(&format)));
        let level = self.is("log.debug").then(|| "level: debug".to_owned());
        let all: Vec<String> = format.into_iter().chain(level).collect();
        if !all.is_empty() {
            line!(out, "logging: {{{}}}", all.join(", "));
        }
    }

    fn cluster(&self, out: &mut String) {
        line!(out, "cluster:");
        match self.text("lease.hostname") {
            Some(name) => line!(out, "  node: {}", quoted(&name)),
            None => line!(out, "  # The name of the node is its host name."),
        }
        if let Some(ttl) = self.text("lease.consul.ttl") {
            line!(out, "  ttl: {}", quoted(&ttl));
        }
        if let Some(candidate) = self.text("lease.candidate") {
            // `${REGION == PRIMARY_REGION}` is expanded here, too.
            line!(out, "  candidate: {candidate}");
        }
        match self.text("lease.type").as_deref() {
            Some("static") => line!(out, "  failover: manual"),
            _ => line!(out, "  failover: auto"),
        }
    }

    fn litefs(&self, out: &mut String) {
        let addr = self.text("http.addr").unwrap_or_else(|| ":20202".into());
        line!(out, "litefs:");
        match Addr::parse(&addr) {
            // Nodes do not meet there any more, and programs of this machine do.
            Ok(addr) => line!(out, "  listen: \"127.0.0.1:{}\"", addr.port),
            Err(_) => line!(out, "  listen: {}  # TODO: the port on this machine", quoted(&addr)),
        }
    }

    fn proxy(&self, out: &mut String) {
        if !self.keys.keys().any(|key| key.starts_with("proxy.")) {
            return;
        }
        line!(out, "proxy:");
        for (from, to) in [("addr", "listen"), ("target", "target")] {
            if let Some(text) = self.text(&format!("proxy.{from}")) {
                line!(out, "  {to}: {}", quoted(&text));
            }
        }
        for key in ["primary-redirect-timeout", "read-header-timeout", "idle-timeout"] {
            if let Some(text) = self.text(&format!("proxy.{key}")) {
                line!(out, "  {key}: {}", quoted(&text));
            }
        }
        for key in ["passthrough", "always-forward"] {
            if let Some(Value::Sequence(globs)) = self.keys.get(&format!("proxy.{key}")) {
                let globs: Vec<String> = globs.iter().map(|glob| quoted(&plain(glob))).collect();
                line!(out, "  {key}: [{}]", globs.join(", "));
            }
        }
        let port = self.text("proxy.addr").and_then(|addr| Addr::parse(&addr).ok()).map(|addr| addr.port);
        let host = self.text("lease.advertise-url").and_then(|url| Some(url.rsplit_once("://")?.1.to_owned()));
        let host = host.map(|host| host.rsplit_once(':').map_or(host.clone(), |(host, _)| host.to_owned()));
        if let (Some(host), Some(port)) = (host, port) {
            line!(
                out,
                "  advertise: {}  # where the other nodes reach this proxy",
                quoted(&format!("http://{host}:{port}"))
            );
            line!(
                out,
                "  secret: ${{PROXY_SECRET}}  # TODO: the same on every node, for example of `openssl rand -hex 32`"
            );
        }
    }

    fn databases(&self, out: &mut String) {
        let dir = self.text("fuse.dir").unwrap_or_else(|| "/litefs".into());
        let name = self.text("proxy.db");
        line!(out, "dbs:");
        if name.is_none() {
            line!(out, "  # TODO: one entry for each database: LiteFS replicated whatever was in the directory.");
        }
        let name = name.unwrap_or_else(|| "app.db".into());
        line!(out, "  - path: {}", quoted(&format!("{}/{name}", dir.trim_end_matches('/'))));
        line!(out, "    replica:");
        line!(out, "      url: {}  # TODO: your bucket", quoted(&format!("s3://bucket/{name}")));
    }

    fn left_out(&self, out: &mut String) {
        let why = |key: &str| match KEYS.iter().find(|(name, _)| *name == key) {
            Some((_, Taken)) => None,
            Some((_, Left(why))) => Some(*why),
            None => Some("LiteFS does not know it either"),
        };
        let left: Vec<(&String, &str)> = self.keys.keys().filter_map(|key| Some((key, why(key)?))).collect();
        if left.is_empty() {
            return;
        }
        line!(out, "\n# Without an equal:");
        left.iter().for_each(|(key, why)| line!(out, "#   {key}: {why}"));
        if self.text("lease.type").as_deref() == Some("static") {
            line!(out, "#   lease.type: static: the first candidate that starts is the primary, and keeps it");
        }
    }
}

#[cfg(test)]
mod tests;
