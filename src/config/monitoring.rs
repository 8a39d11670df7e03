//! The keys of monitoring: `addr`, `max-lag`, `heartbeat-url`, `on-replication-end`.

use std::fmt;
use std::time::Duration;

use ::url::Url;

use super::section::Section;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitoring {
    /// Address of metrics and health; `None` is off.
    pub addr: Option<Addr>,
    /// Maximum age of the oldest commit that is in no replica; beyond it the application is not
    /// ready. `None` is no limit.
    pub max_lag: Option<Duration>,
    pub heartbeat: Option<Heartbeat>,
    pub on_replication_end: OnReplicationEnd,
}

impl Monitoring {
    /// Long enough for a short outage of the store: to take the application away then would be a
    /// second outage. Short enough to alert a person within the hour.
    pub const MAX_LAG: Duration = Duration::from_secs(5 * 60);
}

impl Default for Monitoring {
    fn default() -> Monitoring {
        Monitoring {
            addr: None,
            max_lag: Some(Monitoring::MAX_LAG),
            heartbeat: None,
            on_replication_end: OnReplicationEnd::default(),
        }
    }
}

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addr {
    /// `None`: every interface, as Litestream understands `:9090`.
    pub host: Option<String>,
    pub port: u16,
}

impl Addr {
    /// Reads `:9090`, `127.0.0.1:9090`, `[::1]:9090`, and `9090`, which is loopback.
    pub fn parse(text: &str) -> Result<Addr, String> {
        let bad = || {
            format!(
                "{text:?} is not an address to listen at; write for example 127.0.0.1:9090, or :9090 for every interface"
            )
        };
        let port = |port: &str| match port.bytes().all(|b| b.is_ascii_digit()) {
            true => port.parse::<u16>().map_err(|_| bad()),
            false => Err(bad()),
        };
        let Some((host, port_text)) = text.rsplit_once(':') else {
            return Ok(Addr { host: Some("127.0.0.1".into()), port: port(text)? });
        };
        let port = port(port_text)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_name = |host: &str| !host.contains([':', '/', '[', ']', '@']) && !host.contains(char::is_whitespace);
        match (host, bare) {
            ("", _) => Ok(Addr { host: None, port }),
            (_, Some(address)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                Ok(Addr { host: Some(address.to_owned()), port })
            }
            (name, None) if is_name(name) => Ok(Addr { host: Some(name.to_owned()), port }),
            _ => Err(bad()),
        }
    }

    /// The URL for processes of this machine; `None` if the port is 0, which only the listener
    /// knows.
    pub fn url(&self) -> Option<String> {
        let host = match self.host.as_deref() {
            None | Some("0.0.0.0" | "::") => "127.0.0.1".to_owned(),
            Some(address) if address.contains(':') => format!("[{address}]"),
            Some(name) => name.to_owned(),
        };
        (self.port != 0).then(|| format!("http://{host}:{}", self.port))
    }
}

/// Litestream's `heartbeat-url` and `heartbeat-interval`.
#[derive(Clone, PartialEq, Eq)]
pub struct Heartbeat {
    pub url: Url,
    pub interval: Duration,
}

impl Heartbeat {
    pub const INTERVAL: Duration = Duration::from_secs(5 * 60);
    pub const INTERVAL_MIN: Duration = Duration::from_secs(60);
}

/// The URL of a heartbeat is a secret: it identifies the sender.
impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("url", &self.url.host_str()).field("interval", &self.interval).finish()
    }
}

/// What happens to the application when a replication has ended by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReplicationEnd {
    /// It runs on, and is not ready.
    #[default]
    Continue,
    /// It is stopped.
    Stop,
}

/// What becomes of the others, and of the application, when a database cannot be restored or
/// replicated at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDatabaseFailure {
    /// Nothing is started.
    Stop,
    /// The others are replicated, and the application is started.
    Continue,
}

/// `None`: the file says nothing.
pub fn on_database_failure(root: &Section) -> Result<Option<OnDatabaseFailure>, String> {
    match root.text("on-database-failure") {
        None => Ok(None),
        Some("stop") => Ok(Some(OnDatabaseFailure::Stop)),
        Some("continue") => Ok(Some(OnDatabaseFailure::Continue)),
        Some(other) => Err(format!("on-database-failure: {other:?} is neither stop nor continue")),
    }
}

pub fn of_root(root: &Section) -> Result<Monitoring, String> {
    let addr = root.text("addr").map(Addr::parse).transpose().map_err(|why| format!("addr: {why}"))?;
    let on_end = match root.text("on-replication-end") {
        None | Some("continue") => OnReplicationEnd::Continue,
        Some("stop") => OnReplicationEnd::Stop,
        Some(other) => return Err(format!("on-replication-end: {other:?} is neither stop nor continue")),
    };
    Ok(Monitoring {
        addr,
        max_lag: match root.duration("max-lag") {
            None => Some(Monitoring::MAX_LAG),
            some => some.filter(|max_lag| !max_lag.is_zero()),
        },
        heartbeat: heartbeat(root)?,
        on_replication_end: on_end,
    })
}

fn heartbeat(root: &Section) -> Result<Option<Heartbeat>, String> {
    let Some(text) = root.text("heartbeat-url") else { return Ok(None) };
    // Not quoted: there may be a secret in it.
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or("heartbeat-url: it is not a URL that begins with https:// or http://")?;
    let interval = root.duration("heartbeat-interval").unwrap_or(Heartbeat::INTERVAL);
    if interval < Heartbeat::INTERVAL_MIN {
        return Err(format!("heartbeat-interval: it must be at least {} s", Heartbeat::INTERVAL_MIN.as_secs()));
    }
    Ok(Some(Heartbeat { url, interval }))
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn read(text: &str) -> Result<Monitoring, String> {
        of_root(&yaml::parse("f", text)?.root)
    }

    #[test]
    fn addresses_are_litestreams_and_a_port_alone_is_loopback() {
        for (text, host, port, url) in [
            (":9090", None, 9090, Some("http://127.0.0.1:9090")),
            ("9090", Some("127.0.0.1"), 9090, Some("http://127.0.0.1:9090")),
            ("0.0.0.0:80", Some("0.0.0.0"), 80, Some("http://127.0.0.1:80")),
            ("[::]:80", Some("::"), 80, Some("http://127.0.0.1:80")),
            ("[::1]:9090", Some("::1"), 9090, Some("http://[::1]:9090")),
            ("metrics.internal:9090", Some("metrics.internal"), 9090, Some("http://metrics.internal:9090")),
            ("localhost:0", Some("localhost"), 0, None),
        ] {
            let addr = Addr::parse(text).expect(text);
            assert_eq!((addr.host.as_deref(), addr.port, addr.url().as_deref()), (host, port, url), "{text}");
        }
        for bad in [
            "",
            ":",
            "localhost",
            "localhost:",
            ":http",
            ":70000",
            ":-1",
            ":+1",
            "::1:9090",
            "[x]:1",
            "http://x:1",
            "a b:1",
        ] {
            assert!(Addr::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn everything_has_a_default() {
        assert_eq!(read("").expect("empty"), Monitoring::default());
        assert_eq!(read("addr: ''\nheartbeat-url:\nheartbeat-interval: 1s\n").expect("empty"), Monitoring::default());
        assert_eq!(read("max-lag: 0\n").expect("off").max_lag, None);
        assert_eq!(read("max-lag: 30s\n").expect("short").max_lag, Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_heartbeat_is_checked_and_never_shown() {
        let heartbeat =
            read("heartbeat-url: https://hc.example/ping/s3cret\n").expect("valid").heartbeat.expect("some");
        assert_eq!((heartbeat.interval, heartbeat.url.path()), (Heartbeat::INTERVAL, "/ping/s3cret"));
        assert!(!format!("{heartbeat:?}").contains("s3cret"));
        for (text, part) in [
            ("heartbeat-url: 'ftp://s3cret'\n", "heartbeat-url: "),
            ("heartbeat-url: s3cret\n", "https://"),
            ("heartbeat-url: 'https://x/s3cret'\nheartbeat-interval: 59s\n", "at least 60 s"),
        ] {
            let why = read(text).expect_err(text);
            assert!(why.contains(part) && !why.contains("s3cret"), "{why}");
        }
    }

    #[test]
    fn what_follows_an_end_is_one_of_two() {
        assert_eq!(read("on-replication-end: stop\n").expect("valid").on_replication_end, OnReplicationEnd::Stop);
        assert_eq!(
            read("on-replication-end: continue\n").expect("valid").on_replication_end,
            OnReplicationEnd::Continue
        );
        assert!(read("on-replication-end: restart\n").expect_err("no such").contains("neither stop nor continue"));
    }
}
