//! The grace time against the time after which the platform kills.

use std::time::Duration;

use super::check::Check;

const WHAT: &str = "grace";

/// What can be seen of where this process runs.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The names of the environment variables that are set.
    pub variables: Vec<String>,
    /// `/proc/self/cgroup`.
    pub cgroup: String,
    /// There is a `/.dockerenv` or a `/run/.containerenv`.
    pub in_container: bool,
}

/// What kills, after which time by default, and where that is set.
struct Platform {
    name: &'static str,
    kills_after: Duration,
    /// `None`: it cannot be changed.
    setting: Option<&'static str>,
}

impl Platform {
    fn of(around: &Surroundings) -> Option<Platform> {
        let has = |name: &str| around.variables.iter().any(|variable| variable == name);
        let platform = |name, seconds, setting| {
            let setting = Some(setting).filter(|setting: &&str| !setting.is_empty());
            Some(Platform { name, kills_after: Duration::from_secs(seconds), setting })
        };
        match () {
            () if has("FLY_APP_NAME") => platform("Fly", 5, "`kill_timeout` in fly.toml"),
            () if has("KUBERNETES_SERVICE_HOST") => {
                platform("Kubernetes", 30, "`terminationGracePeriodSeconds` of the pod")
            }
            () if has("ECS_CONTAINER_METADATA_URI_V4") => platform("ECS", 30, "`stopTimeout` of the container"),
            () if has("NOMAD_ALLOC_ID") => platform("Nomad", 5, "`kill_timeout` of the task"),
            () if has("K_SERVICE") => platform("Cloud Run", 10, ""),
            () if has("DYNO") => platform("Heroku", 30, ""),
            () if around.in_container || around.cgroup.contains("docker") => {
                platform("Docker", 10, "`docker stop -t`, or `stop_grace_period` in compose.yaml")
            }
            () if has("INVOCATION_ID") && around.cgroup.contains(".service") => {
                platform("systemd", 90, "`TimeoutStopSec=` of the unit")
            }
            () => None,
        }
    }
}

/// `grace` is how long this program may take to end.
pub fn judge(grace: Duration, around: &Surroundings) -> Check {
    let Some(Platform { name, kills_after, setting }) = Platform::of(around) else {
        return Check::ok(
            WHAT,
            format!("{grace:?}; this is no platform that is known, so make sure that whatever stops it waits as long"),
        );
    };
    let default = setting.map_or("", |_| " unless told otherwise");
    let found = format!("{grace:?}; {name} kills after {kills_after:?}{default}");
    if grace <= kills_after {
        return Check::ok(WHAT, found);
    }
    let lost = "or this program may be killed before the last commits are in the bucket";
    let advice = match setting {
        Some(setting) => {
            format!("make sure that {setting} is longer than {grace:?}, {lost}; it cannot be seen from here")
        }
        None => format!("set `grace: {kills_after:?}`, {lost}"),
    };
    Check::warning(WHAT, found, advice)
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn what_kills_earlier_than_the_grace_time_is_named() {
        let around = |variables: &[&str], cgroup: &str, in_container| Surroundings {
            variables: variables.iter().map(ToString::to_string).collect(),
            cgroup: cgroup.into(),
            in_container,
        };
        let ten = Duration::from_secs(10);
        for (grace, around, verdict, says) in [
            (ten, around(&["FLY_APP_NAME"], "", true), Verdict::Warning, "Fly kills after 5s"),
            (ten, around(&["KUBERNETES_SERVICE_HOST"], "", true), Verdict::Ok, "Kubernetes"),
            (ten * 4, around(&["KUBERNETES_SERVICE_HOST"], "", true), Verdict::Warning, "30s"),
            (ten, around(&[], "0::/docker/0123", false), Verdict::Ok, "Docker kills after 10s"),
            (ten * 2, around(&[], "0::/", true), Verdict::Warning, "Docker"),
            (ten, around(&["INVOCATION_ID"], "0::/system.slice/app.service", false), Verdict::Ok, "systemd"),
            (ten * 100, around(&["INVOCATION_ID"], "0::/user.slice/session.scope", false), Verdict::Ok, "no platform"),
        ] {
            let check = judge(grace, &around);
            assert_eq!(check.verdict, verdict, "{around:?}");
            assert!(check.found.contains(says), "{check:?}");
        }
    }
}
