//! The table of every key of litestream.yml, of both of Litestream's generations and our own: its
//! kind and what we do with it.
//!
//! This is the whole vocabulary: a key that is not in here is an error, and no other file spells
//! out which keys exist. The parser (`yaml.rs`) walks it; `load.rs` and `replica.rs` only read the
//! values of keys that are `Supported`.

/// The kinds of section a key can stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Root,
    Db,
    Replica,
    Logging,
    Socket,
    Compaction,
    Snapshot,
    Validation,
    Retention,
    Verify,
    Handover,
    Proxy,
    Hold,
    Cluster,
    Litefs,
    /// An entry of `exec` or `migrate`.
    Command,
    Age,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// A path, URL or bucket: with a part of it missing it would name another place.
    Place,
    Bool,
    /// A whole number.
    Count,
    /// Bytes, plain or with a unit.
    Size,
    Duration,
    /// A list of texts.
    Texts,
    Section(Level),
    /// A section, or `on` or `off` for its key `off`.
    Switched(Level),
    /// A list of sections.
    Sections(Level),
    /// A section, or a text for its key `cmd`.
    Command(Level),
    /// A list of those, or one text.
    Commands(Level),
}

/// What is done with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Supported,
    /// Read, checked and ignored; the text says why.
    NoEffect(&'static str),
    /// An error unless it is switched off; the text names the feature.
    NotYet(&'static str),
}

#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub class: Class,
}

const fn key(name: &'static str, kind: Kind, class: Class) -> Key {
    Key { name, kind, class }
}

use Class::{NoEffect, NotYet, Supported};
use Kind::{Bool, Commands, Count, Duration, Place, Section, Sections, Size, Switched, Text, Texts};

const MCP: &str = "the MCP server";
const CLAIMS: &str = "a place of its own for the claims of a `cluster` (they lie beside the first replica)";
const AGE: &str = "age encryption";
const AZURE: &str = "an Azure Blob Storage (`abs`) replica";
const SFTP: &str = "an SFTP (`sftp`) replica";
const WEBDAV: &str = "a WebDAV (`webdav`) replica";
const NATS: &str = "a NATS (`nats`) replica";

const WHOLE_TIME: &str = "a limit for a whole request or response";

const ONLY_WITH_IT: &str = "it belongs to a feature that is switched off";

static ROOT: &[Key] = &[
    key("dbs", Sections(Level::Db), Supported),
    key("exec", Commands(Level::Command), Supported),
    key("logging", Section(Level::Logging), Supported),
    key("levels", Sections(Level::Compaction), Supported),
    key("snapshot", Section(Level::Snapshot), Supported),
    key("retention", Section(Level::Retention), Supported),
    key("validation", Section(Level::Validation), Supported),
    key("l0-retention", Duration, Supported),
    key("l0-retention-check-interval", Duration, Supported),
    key("verify-compaction", Bool, NoEffect("every compacted file is verified before what it was made of may go")),
    key("shutdown-sync-timeout", Duration, Supported),
    key("shutdown-sync-interval", Duration, Supported),
    key("addr", Text, Supported),
    key("mcp-addr", Text, NotYet(MCP)),
    key("socket", Section(Level::Socket), Supported),
    key("heartbeat-url", Text, Supported),
    key("heartbeat-interval", Duration, Supported),
    // Ours.
    key("migrate", Commands(Level::Command), Supported),
    key("mark-before-migration", Bool, Supported),
    key("grace", Duration, Supported),
    key("require-backup", Bool, Supported),
    key("strip-env", Texts, Supported),
    key("verify", Section(Level::Verify), Supported),
    key("max-lag", Duration, Supported),
    key("on-replication-end", Text, Supported),
    key("on-database-failure", Text, Supported),
    key("handover", Switched(Level::Handover), Supported),
    key("proxy", Section(Level::Proxy), Supported),
    key("cluster", Section(Level::Cluster), Supported),
    key("litefs", Switched(Level::Litefs), Supported),
];

static DB: &[Key] = &[
    key("path", Place, Supported),
    key("meta-path", Place, Supported),
    key("monitor-interval", Duration, Supported),
    key("checkpoint-interval", Duration, Supported),
    key("busy-timeout", Duration, Supported),
    key("min-checkpoint-page-count", Count, Supported),
    key("truncate-page-n", Count, Supported),
    key("max-sync-wal-bytes", Size, Supported),
    key("restore-if-db-not-exists", Bool, Supported),
    key("snapshot", Section(Level::Snapshot), Supported),
    key("replica", Section(Level::Replica), Supported),
    key("replicas", Sections(Level::Replica), Supported),
    key("dir", Place, Supported),
    key("pattern", Place, Supported),
    key("recursive", Bool, Supported),
    key("watch", Bool, Supported),
    key("meta-dir", Place, Supported),
    key("max-checkpoint-page-count", Count, NoEffect("checkpoints that restart the log are never forced")),
    // Ours.
    key("mode", Text, Supported),
    key("owner", Text, Supported),
    key("optional", Bool, Supported),
    key("verify", Section(Level::Verify), Supported),
];

/// Keys of a replica, which the root can preset for every replica.
static REPLICA_SHARED: &[Key] = &[
    key("sync-interval", Duration, Supported),
    key("validation-interval", Duration, Supported),
    key("access-key-id", Text, Supported),
    key("secret-access-key", Text, Supported),
    key("region", Text, Supported),
    key("bucket", Place, Supported),
    key("endpoint", Place, Supported),
    key("force-path-style", Bool, Supported),
    key("sign-payload", Bool, Supported),
    key("require-content-md5", Bool, Supported),
    key("skip-verify", Bool, Supported),
    key("storage-class", Text, Supported),
    key("part-size", Size, Supported),
    key("concurrency", Count, Supported),
    key("sse-customer-algorithm", Text, Supported),
    key("sse-customer-key", Place, Supported),
    key("sse-customer-key-path", Place, Supported),
    key("sse-kms-key-id", Place, Supported),
    key("max-sync-ltx-files", Count, NoEffect("commits that wait are sent as one file, there is no queue of files")),
    key("auto-recover", Bool, NoEffect("there are no local LTX files that could break")),
    key("account-name", Text, NotYet(AZURE)),
    key("account-key", Text, NotYet(AZURE)),
    key("sas-token", Text, NotYet(AZURE)),
    key("host", Place, NotYet(SFTP)),
    key("user", Text, NotYet(SFTP)),
    key("password", Text, NotYet(SFTP)),
    key("key-path", Text, NotYet(SFTP)),
    key("concurrent-writes", Bool, NoEffect(ONLY_WITH_IT)),
    key("host-key", Text, NotYet(SFTP)),
    key("webdav-url", Place, NotYet(WEBDAV)),
    key("webdav-username", Text, NotYet(WEBDAV)),
    key("webdav-password", Text, NotYet(WEBDAV)),
    key("jwt", Text, NotYet(NATS)),
    key("seed", Text, NotYet(NATS)),
    key("creds", Text, NotYet(NATS)),
    key("nkey", Text, NotYet(NATS)),
    key("username", Text, NotYet(NATS)),
    key("token", Text, NotYet(NATS)),
    key("tls", Bool, NotYet(NATS)),
    key("root-cas", Texts, NotYet(NATS)),
    key("client-cert", Text, NotYet(NATS)),
    key("client-key", Text, NotYet(NATS)),
    key("max-reconnects", Count, NotYet(NATS)),
    key("reconnect-wait", Duration, NotYet(NATS)),
    key("timeout", Duration, NotYet(NATS)),
    key("age", Section(Level::Age), Supported),
    // Ours.
    key("session-token", Text, Supported),
];

static REPLICA: &[Key] = &[
    key("type", Place, Supported),
    key("path", Place, Supported),
    key("url", Place, Supported),
    key("name", Text, Supported),
    // Litestream 0.3; newer versions ignore them silently.
    key("retention", Duration, Supported),
    key("retention-check-interval", Duration, Supported),
    key("snapshot-interval", Duration, Supported),
];

static LOGGING: &[Key] = &[
    key("level", Text, Supported),
    key("type", Text, Supported),
    key("stderr", Bool, NoEffect("logs always go to stderr")),
    key("source", Bool, NoEffect("log lines do not name source lines")),
];

static SOCKET: &[Key] = &[
    key("enabled", Bool, Supported),
    key("path", Place, Supported),
    key("permissions", Text, Supported),
    key("registrations", Place, Supported),
];

static COMPACTION: &[Key] = &[key("interval", Duration, Supported)];

static SNAPSHOT: &[Key] = &[key("interval", Duration, Supported), key("retention", Duration, Supported)];

static VALIDATION: &[Key] = &[key("interval", Duration, Supported)];

static RETENTION: &[Key] = &[key("enabled", Bool, Supported)];

/// Ours, as the next one.
static VERIFY: &[Key] = &[
    key("interval", Duration, Supported),
    key("deep", Bool, Supported),
    key("rate", Size, Supported),
    key("dir", Place, Supported),
];
static HANDOVER: &[Key] = &[
    key("wait", Duration, Supported),
    key("look", Duration, Supported),
    key("instance", Text, Supported),
    key("off", Bool, Supported),
];
static PROXY: &[Key] = &[
    // LiteFS's.
    key("addr", Text, Supported),
    key("target", Text, Supported),
    key("passthrough", Texts, Supported),
    key("always-forward", Texts, Supported),
    key("primary-redirect-timeout", Duration, Supported),
    key("read-header-timeout", Duration, Supported),
    key("idle-timeout", Duration, Supported),
    key("read-timeout", Duration, NotYet(WHOLE_TIME)),
    key("write-timeout", Duration, NotYet(WHOLE_TIME)),
    key("debug", Bool, NoEffect("`logging: {level: debug}` shows it")),
    // Ours.
    key("listen", Text, Supported),
    key("hold", Section(Level::Hold), Supported),
    key("ack", Text, Supported),
    key("ack-uploaded", Texts, Supported),
    key("ack-timeout", Duration, Supported),
    key("position-wait", Duration, Supported),
    key("primary", Place, Supported),
    key("advertise", Place, Supported),
    key("secret", Place, Supported),
    key("forward", Text, Supported),
    key("connect-timeout", Duration, Supported),
    key("max-header-bytes", Size, Supported),
    key("max-connections", Count, Supported),
    key("shutdown-delay", Duration, Supported),
];
static HOLD: &[Key] =
    &[key("requests", Count, Supported), key("bytes", Size, Supported), key("wait", Duration, Supported)];
static CLUSTER: &[Key] = &[
    key("node", Text, Supported),
    key("advertise", Text, Supported),
    key("candidate", Bool, Supported),
    key("failover", Text, Supported),
    key("ttl", Duration, Supported),
    key("listen", Text, Supported),
    key("secret", Text, Supported),
    key("on-role-change", Text, Supported),
    key("claims", Place, NotYet(CLAIMS)),
];
static LITEFS: &[Key] = &[
    key("dir", Place, Supported),
    key("listen", Text, Supported),
    key("secret", Place, Supported),
    key("off", Bool, Supported),
];
static COMMAND: &[Key] =
    &[key("cmd", Text, Supported), key("if", Text, Supported), key("if-candidate", Bool, Supported)];
static AGE_KEYS: &[Key] = &[key("identities", Texts, NotYet(AGE)), key("recipients", Texts, NotYet(AGE))];

/// In the order in which a misplaced key is looked for.
pub(super) const LEVELS: [Level; 17] = [
    Level::Replica,
    Level::Db,
    Level::Root,
    Level::Logging,
    Level::Socket,
    Level::Compaction,
    Level::Snapshot,
    Level::Validation,
    Level::Retention,
    Level::Verify,
    Level::Handover,
    Level::Proxy,
    Level::Hold,
    Level::Cluster,
    Level::Litefs,
    Level::Command,
    Level::Age,
];

impl Level {
    pub fn keys(self) -> impl Iterator<Item = &'static Key> {
        let (own, shared): (&'static [Key], &'static [Key]) = match self {
            Level::Root => (ROOT, REPLICA_SHARED),
            Level::Db => (DB, &[]),
            Level::Replica => (REPLICA, REPLICA_SHARED),
            Level::Logging => (LOGGING, &[]),
            Level::Socket => (SOCKET, &[]),
            Level::Compaction => (COMPACTION, &[]),
            Level::Snapshot => (SNAPSHOT, &[]),
            Level::Validation => (VALIDATION, &[]),
            Level::Retention => (RETENTION, &[]),
            Level::Verify => (VERIFY, &[]),
            Level::Handover => (HANDOVER, &[]),
            Level::Proxy => (PROXY, &[]),
            Level::Hold => (HOLD, &[]),
            Level::Cluster => (CLUSTER, &[]),
            Level::Litefs => (LITEFS, &[]),
            Level::Command => (COMMAND, &[]),
            Level::Age => (AGE_KEYS, &[]),
        };
        own.iter().chain(shared)
    }

    pub fn key(self, name: &str) -> Option<&'static Key> {
        self.keys().find(|k| k.name == name)
    }

    /// Where a section of this kind stands, for "belongs under …".
    pub(super) const fn place(self) -> &'static str {
        match self {
            Level::Root => "the top level of the file",
            Level::Db => "dbs[]",
            Level::Replica => "dbs[].replica",
            Level::Logging => "logging",
            Level::Socket => "socket",
            Level::Compaction => "levels[]",
            Level::Snapshot => "snapshot",
            Level::Validation => "validation",
            Level::Retention => "retention",
            Level::Verify => "verify",
            Level::Handover => "handover",
            Level::Proxy => "proxy",
            Level::Hold => "proxy.hold",
            Level::Cluster => "cluster",
            Level::Litefs => "litefs",
            Level::Command => "an entry of exec or migrate",
            Level::Age => "age",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_level_knows_a_key_twice() {
        for level in LEVELS {
            let mut names: Vec<_> = level.keys().map(|k| k.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{level:?}");
        }
    }
}
