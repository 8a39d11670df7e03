//! The configuration as it was read, and what can be seen of this machine and its environment.

use std::path::Path;

use crate::cli::variable;
use crate::config::Loaded;
use crate::doctor::{Blame, Check, Signs, Surroundings, judge_grace, judge_limits};
use crate::run::Failure;
use crate::run::exit::{BACKUP, CANNOT_WRITE, DENIED, UNAVAILABLE};
use crate::store::s3::Credentials;
use crate::supervise;

/// What could not even be begun with.
pub fn refused(what: &'static str, failure: &Failure) -> Check {
    let (blame, advice) = match failure.code {
        UNAVAILABLE => (Blame::Unreachable, "check the endpoint and the network, and try again"),
        DENIED => (Blame::Denied, "check the keys and what they are permitted to do"),
        CANNOT_WRITE => (Blame::Local, "correct the path, or its permissions"),
        BACKUP => (Blame::Backup, "look at the replica with `millstream verify`"),
        _ => (Blame::Configuration, "correct it as the sentence says, and ask again"),
    };
    Check::problem(what, blame, failure.sentence(), advice)
}

pub fn judge(loaded: &Loaded) -> Vec<Check> {
    const WHAT: &str = "configuration";
    let options = &loaded.options;
    let replicas: usize = options.databases.iter().map(|database| database.replicas.iter().count()).sum();
    let mut checks = vec![match options.databases.len() {
        0 => Check::warning(
            WHAT,
            "no database is configured, so nothing is replicated",
            "add one under `dbs:`, with its `path` and a `replica`",
        ),
        databases => Check::ok(WHAT, format!("{} and {}", count(databases, "database"), count(replicas, "replica"))),
    }];
    let warned = |warning: &String| {
        Check::warning(WHAT, warning.clone(), "change it in the configuration, or in what it refers to")
    };
    checks.extend(loaded.warnings.iter().map(warned));
    match loaded.refuse_shared_fate() {
        Ok(warnings) => checks.extend(warnings.iter().map(warned)),
        Err(error) => {
            let advice = "give the replica a place that does not share the database's fate";
            checks.push(Check::problem(WHAT, Blame::Configuration, format!("{error:#}"), advice));
        }
    }
    checks.push(judge_limits(options.databases.len(), supervise::open_files()));
    checks.push(judge_grace(options.shutdown.grace, &surroundings()));
    checks
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn surroundings() -> Surroundings {
    // Names only.
    let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    Surroundings {
        variables,
        cgroup: std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        in_container: ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists()),
    }
}

/// Which sources of keys there are. Values are compared here, and go no further.
pub fn signs(configured: Option<&Credentials>) -> Signs {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.trim().is_empty());
    let from = |credentials: &Credentials| {
        let is_it = |name: &&str| variable(name).is_some_and(|value| value.trim() == credentials.access_key_id);
        ["LITESTREAM_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"].into_iter().find(is_it)
    };
    let home = variable("HOME").unwrap_or_default();
    let has_profiles = ["credentials", "config"].iter().any(|name| Path::new(&home).join(".aws").join(name).exists());
    Signs {
        configured: configured.map(from),
        environment: is_set("AWS_ACCESS_KEY_ID") && is_set("AWS_SECRET_ACCESS_KEY"),
        profile: is_set("AWS_PROFILE") || has_profiles,
        web_identity: is_set("AWS_WEB_IDENTITY_TOKEN_FILE"),
        container: is_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") || is_set("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    }
}
