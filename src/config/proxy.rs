//! The proxy in front of the application: `proxy: {listen, target, hold: {…}, …}`. LiteFS's keys
//! mean what they mean there.

use super::monitoring::Addr;
use super::section::Section;
use crate::proxy::{AckRoutes, Endpoint, Forwarding, Glob, HoldBounds, Routes, Secret, Settings};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The application's public face, so it may be open to every network.
    pub listen: Addr,
    /// Where other nodes reach it.
    pub advertise: Option<String>,
    /// The proxy of the node to which writes always go.
    pub primary: Option<String>,
    pub settings: Settings,
}

/// What the file says; `None`: there is no proxy.
pub fn of_root(root: &Section) -> Result<Option<Proxy>, String> {
    let Some(section) = root.section("proxy").filter(|section| !section.entries.is_empty()) else { return Ok(None) };
    let listen = match one_of(section, "listen", "addr")? {
        Some((name, text)) => Addr::parse(text).map_err(|why| format!("proxy.{name}: {why}"))?,
        None => return Err("proxy: `listen` is missing: where requests come in, for example \":8080\"".into()),
    };
    let target = section.text("target").ok_or("proxy: `target` is missing: where the application listens")?;
    let target = Endpoint::parse(target).map_err(|why| format!("proxy.target: {why}"))?;
    if listen.port == target.name().1 && reaches_this_machine(&target) && is_on_this_machine(&listen) {
        return Err(format!(
            "proxy.target: {target} is where the proxy itself listens; the application needs another port"
        ));
    }
    let [advertise, primary] = ["advertise", "primary"].map(|name| node(section, name));
    let (advertise, primary) = (advertise?, primary?);
    let secret = section.text("secret").map(Secret::parse).transpose().map_err(|why| format!("proxy.secret: {why}"))?;
    if let (Some(name), None) =
        (primary.as_ref().map(|_| "primary").or(advertise.as_ref().map(|_| "advertise")), &secret)
    {
        return Err(format!(
            "proxy.{name}: nodes prove themselves to each other by `proxy.secret`, which is missing: the same on every node, for \
             example of `openssl rand -hex 32`"
        ));
    }
    let defaults = Settings::of_target(target);
    let positive = |name, default| section.positive("proxy", name, default);
    Ok(Some(Proxy {
        listen,
        advertise,
        primary,
        settings: Settings {
            routes: Routes {
                passthrough: globs(section, "passthrough")?,
                always_forward: globs(section, "always-forward")?,
                acks: AckRoutes { all_writes: acks(section)?, paths: globs(section, "ack-uploaded")? },
            },
            secret,
            forwarding: forwarding(section)?,
            hold: hold(section, &defaults.hold)?,
            ack_timeout: positive("ack-timeout", defaults.ack_timeout)?,
            position_wait: section.duration("position-wait").unwrap_or(defaults.position_wait),
            connect_timeout: positive("connect-timeout", defaults.connect_timeout)?,
            head_timeout: positive("read-header-timeout", defaults.head_timeout)?,
            idle_timeout: positive("idle-timeout", defaults.idle_timeout)?,
            head_bytes: number(section, "proxy", "max-header-bytes", 4096..=1 << 20, defaults.head_bytes)?,
            connections: number(section, "proxy", "max-connections", 1..=1 << 20, defaults.connections)?,
            shutdown_delay: section.duration("shutdown-delay").unwrap_or(defaults.shutdown_delay),
            ..defaults
        },
    }))
}

/// The URL of a node's proxy.
fn node(section: &Section, name: &'static str) -> Result<Option<String>, String> {
    let Some(url) = section.text(name) else { return Ok(None) };
    Endpoint::parse(url).map_err(|why| format!("proxy.{name}: {why}"))?;
    Ok(Some(url.to_owned()))
}

/// How requests get to the primary.
fn forwarding(section: &Section) -> Result<Forwarding, String> {
    match section.text("forward") {
        None | Some("stream") => Ok(Forwarding::Streamed),
        Some("fly-replay") => Ok(Forwarding::FlyReplay),
        Some(other) => Err(format!("proxy.forward: {other:?} is neither stream nor fly-replay")),
    }
}

/// Whether every write is acknowledged when the bucket has it.
fn acks(section: &Section) -> Result<bool, String> {
    match section.text("ack") {
        None | Some("local") => Ok(false),
        Some("uploaded") => Ok(true),
        Some(other) => Err(format!("proxy.ack: {other:?} is neither local nor uploaded")),
    }
}

fn globs(section: &Section, name: &'static str) -> Result<Vec<Glob>, String> {
    let texts = section.texts(name).unwrap_or_default().iter();
    texts.map(|text| Glob::parse(text).map_err(|why| format!("proxy.{name}: {why}"))).collect()
}

fn hold(section: &Section, defaults: &HoldBounds) -> Result<HoldBounds, String> {
    let empty = Section::default();
    let hold = section.section("hold").unwrap_or(&empty);
    let wait = match (hold.duration("wait"), section.duration("primary-redirect-timeout")) {
        (Some(_), Some(_)) => {
            return Err("proxy: `primary-redirect-timeout` is LiteFS's name of `hold.wait`: keep one of them".into());
        }
        (one, other) => one.or(other),
    };
    let most = usize::MAX >> 1;
    Ok(HoldBounds {
        requests: number(hold, "proxy.hold", "requests", 0..=1 << 20, defaults.requests)?,
        bytes: number(hold, "proxy.hold", "bytes", 0..=most, defaults.bytes)?,
        wait: wait.unwrap_or(defaults.wait),
    })
}

/// The value of a key that has two names.
fn one_of<'a>(
    section: &'a Section,
    name: &'static str,
    other: &'static str,
) -> Result<Option<(&'static str, &'a str)>, String> {
    match (section.text(name), section.text(other)) {
        (Some(_), Some(_)) => Err(format!("proxy: `{other}` is another name of `{name}`: keep one of them")),
        (Some(text), None) => Ok(Some((name, text))),
        (None, text) => Ok(text.map(|text| (other, text))),
    }
}

fn number(
    section: &Section,
    place: &str,
    name: &'static str,
    range: std::ops::RangeInclusive<usize>,
    default: usize,
) -> Result<usize, String> {
    let Some(number) = section.number(name) else { return Ok(default) };
    let found = usize::try_from(number).ok().filter(|number| range.contains(number));
    found.ok_or_else(|| format!("{place}.{name}: {number} is not between {} and {}", range.start(), range.end()))
}

fn reaches_this_machine(target: &Endpoint) -> bool {
    target.addresses().is_some_and(|found| found.iter().any(|address| address.ip().is_loopback()))
}

fn is_on_this_machine(listen: &Addr) -> bool {
    matches!(listen.host.as_deref(), None | Some("0.0.0.0" | "::" | "127.0.0.1" | "::1" | "localhost"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::yaml;
    use super::*;

    fn read(text: &str) -> Result<Option<Proxy>, String> {
        of_root(&yaml::parse("f", text)?.root)
    }

    fn accept(text: &str) -> Proxy {
        read(text).unwrap_or_else(|why| panic!("{text}: {why}")).expect("a proxy")
    }

    #[test]
    fn two_keys_are_enough() {
        assert_eq!(read("").expect("none"), None);
        assert_eq!(read("proxy:").expect("none"), None);
        let proxy = accept("proxy: {listen: ':8080', target: 'localhost:3000'}");
        assert_eq!(proxy.listen, Addr { host: None, port: 8080 });
        assert_eq!(proxy.settings, Settings::of_target(Endpoint::parse("localhost:3000").expect("valid")));
    }

    #[test]
    fn every_setting_arrives() {
        let proxy = accept(
            "proxy:\n  listen: 127.0.0.1:80\n  target: h2c://app:81\n  hold: {requests: 7, bytes: 1MiB, wait: 9s}\n  \
             connect-timeout: 1s\n  read-header-timeout: 2s\n  idle-timeout: 3s\n  max-header-bytes: 8KiB\n  \
             max-connections: 5\n  shutdown-delay: 4s\n  secret: 0123456789abcdef\n  advertise: http://me:80\n  \
             primary: http://other:80\n  passthrough: ['*.png']\n  always-forward: [/live/*]\n  \
             ack: uploaded\n  ack-uploaded: [/orders/*]\n  ack-timeout: 6s\n  position-wait: 8s\n  \
             forward: fly-replay\n",
        );
        let glob = |text: &str| vec![Glob::parse(text).expect(text)];
        assert_eq!(
            (proxy.advertise.as_deref(), proxy.primary.as_deref()),
            (Some("http://me:80"), Some("http://other:80"))
        );
        let secs = Duration::from_secs;
        let expected = Settings {
            target: Endpoint::parse("h2c://app:81").expect("valid"),
            routes: Routes {
                passthrough: glob("*.png"),
                always_forward: glob("/live/*"),
                acks: AckRoutes { all_writes: true, paths: glob("/orders/*") },
            },
            secret: Some(Secret::parse("0123456789abcdef").expect("valid")),
            forwarding: Forwarding::FlyReplay,
            hold: HoldBounds { requests: 7, bytes: 1 << 20, wait: secs(9) },
            ack_timeout: secs(6),
            tells_position: false,
            position_wait: secs(8),
            connect_timeout: secs(1),
            head_timeout: secs(2),
            idle_timeout: secs(3),
            head_bytes: 8 << 10,
            connections: 5,
            shutdown_delay: secs(4),
        };
        assert_eq!(proxy.settings, expected);
    }

    #[test]
    fn litefs_names_are_understood() {
        let proxy =
            accept("proxy: {addr: ':8080', target: 'localhost:8081', primary-redirect-timeout: 7s, read-timeout: 0}");
        assert_eq!((proxy.listen.port, proxy.settings.hold.wait), (8080, Duration::from_secs(7)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        for (text, part) in [
            ("proxy: {listen: ':80'}", "`target` is missing"),
            ("proxy: {target: ':80'}", "`listen` is missing"),
            ("proxy: {listen: ':80', addr: ':81', target: ':82'}", "another name of `listen`"),
            ("proxy: {listen: ':80', target: 'localhost:80'}", "where the proxy itself listens"),
            ("proxy: {listen: x, target: ':80'}", "proxy.listen: "),
            ("proxy: {listen: ':80', target: 'x'}", "proxy.target: "),
            ("proxy: {listen: ':80', target: ':81', idle-timeout: 0}", "proxy.idle-timeout must be greater than zero"),
            ("proxy: {listen: ':80', target: ':81', max-connections: 0}", "proxy.max-connections: 0 is not between"),
            (
                "proxy: {listen: ':80', target: ':81', primary-redirect-timeout: 1s, hold: {wait: 1s}}",
                "keep one of them",
            ),
            ("proxy: {listen: ':80', target: ':81', write-timeout: 1s}", "write-timeout"),
            ("proxy: {listen: ':80', target: ':81', primary: 'http://x:1'}", "proxy.primary: nodes prove themselves"),
            ("proxy: {listen: ':80', target: ':81', advertise: 'http://x:1'}", "proxy.advertise: nodes prove"),
            ("proxy: {listen: ':80', target: ':81', advertise: x, secret: 0123456789abcdef}", "proxy.advertise: \"x\""),
            ("proxy: {listen: ':80', target: ':81', ack: remote}", "neither local nor uploaded"),
            ("proxy: {listen: ':80', target: ':81', secret: short}", "proxy.secret: it is shorter"),
            ("proxy: {listen: ':80', target: ':81', passthrough: [x]}", "proxy.passthrough: \"x\" is not a path"),
            ("proxy: {listens: ':80'}", "did you mean `listen`?"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
