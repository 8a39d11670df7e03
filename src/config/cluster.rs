//! Several nodes with the same databases, one of which writes: `cluster: {node, advertise, listen,
//! secret, candidate, failover, ttl, claims}`.

use std::time::Duration;

use super::monitoring::Addr;
use super::section::Section;
use crate::endpoint::Endpoint;
use crate::secret::Secret;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// As others name this node; `None`: its host name.
    pub node: Option<String>,
    /// Where other nodes are listened to.
    pub listen: Option<Addr>,
    /// Where others reach it: the listener, if there is one.
    pub advertise: Option<String>,
    /// What the nodes prove themselves to each other with.
    pub secret: Option<Secret>,
    /// It may be the primary.
    pub candidate: bool,
    pub failover: Failover,
    /// A command that is run when this node gets another role.
    pub on_role_change: Option<String>,
    /// How long a primary counts that does not renew its claim.
    pub ttl: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// A primary that shows no life is replaced.
    Auto,
    /// Only when a person says so.
    Manual,
}

const TTL: Duration = Duration::from_secs(15);
/// Requests have to fit in several times.
const TTL_MIN: Duration = Duration::from_secs(2);
const TTL_MAX: Duration = Duration::from_secs(600);

/// What the file says, if it has such a section.
pub fn of_root(root: &Section) -> Result<Option<Cluster>, String> {
    let Some(section) = root.section("cluster") else { return Ok(None) };
    let failover = match section.text("failover") {
        None | Some("auto") => Failover::Auto,
        Some("manual") => Failover::Manual,
        Some(other) => return Err(format!("cluster.failover: {other:?} is neither auto nor manual")),
    };
    let ttl = section.positive("cluster", "ttl", TTL)?;
    if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
        return Err(format!("cluster.ttl: {ttl:?} is not between {TTL_MIN:?} and {TTL_MAX:?}"));
    }
    let node = section.text("node").map(str::to_owned);
    let is_name = |name: &String| {
        name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    if let Some(name) = node.as_ref().filter(|name| !is_name(name)) {
        return Err(format!("cluster.node: {name:?} must be letters, digits, `-`, `_` and `.`, 64 of them at most"));
    }
    let secret =
        section.text("secret").map(Secret::parse).transpose().map_err(|why| format!("cluster.secret: {why}"))?;
    let advertise = section.text("advertise").map(str::to_owned);
    Ok(Some(Cluster {
        node,
        listen: listen(section, advertise.as_deref(), secret.is_some())?,
        advertise,
        secret,
        candidate: section.bool("candidate").unwrap_or(true),
        failover,
        on_role_change: section.text("on-role-change").map(str::to_owned),
        ttl,
    }))
}

fn listen(section: &Section, advertise: Option<&str>, has_secret: bool) -> Result<Option<Addr>, String> {
    let Some(text) = section.text("listen") else { return Ok(None) };
    let listen = Addr::parse(text).map_err(|why| format!("cluster.listen: {why}"))?;
    let Some(advertise) = advertise else {
        return Err(
            "cluster.listen: other nodes need to know where that is: `cluster.advertise` is missing, for example \
                    http://10.0.0.1:4000"
                .into(),
        );
    };
    Endpoint::parse(advertise).map_err(|why| format!("cluster.advertise: {why}"))?;
    let is_loopback = matches!(listen.host.as_deref(), Some("127.0.0.1" | "::1" | "localhost"));
    match has_secret || is_loopback {
        true => Ok(Some(listen)),
        false => {
            Err("cluster.listen: whoever reaches it gets every commit, so nodes prove themselves to each other by \
                      `cluster.secret`, which is missing: the same on every node, for example of `openssl rand -hex 32`"
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn read(text: &str) -> Result<Option<Cluster>, String> {
        of_root(&yaml::parse("f", text)?.root)
    }

    #[test]
    fn a_section_makes_a_cluster() {
        assert_eq!(read(""), Ok(None));
        let plain = Cluster {
            node: None,
            listen: None,
            advertise: None,
            secret: None,
            candidate: true,
            failover: Failover::Auto,
            on_role_change: None,
            ttl: TTL,
        };
        assert_eq!(read("cluster: {}"), Ok(Some(plain.clone())));
        let text = "cluster: {node: fra-1, advertise: 'http://10.0.0.1:8080', candidate: no, failover: manual, ttl: 5s, \
             on-role-change: notify me}";
        let all = Cluster {
            node: Some("fra-1".into()),
            listen: None,
            advertise: Some("http://10.0.0.1:8080".into()),
            secret: None,
            candidate: false,
            failover: Failover::Manual,
            on_role_change: Some("notify me".into()),
            ttl: Duration::from_secs(5),
        };
        assert_eq!(read(text), Ok(Some(all)));
    }

    #[test]
    fn nodes_listen_to_each_other_where_they_can_prove_who_they_are() {
        for text in [
            "cluster: {listen: ':4000', advertise: 'http://a:4000', secret: 0123456789abcdef}",
            "cluster: {listen: '127.0.0.1:4000', advertise: 'http://localhost:4000'}",
            "cluster: {listen: 4000, advertise: 'localhost:4000'}",
        ] {
            let read = read(text).expect(text).expect("a cluster");
            assert_eq!(read.listen.map(|listen| listen.port), Some(4000), "{text}");
            assert!(!format!("{:?}", read.secret).contains("0123"));
        }
    }

    #[test]
    fn what_makes_no_sense_or_is_not_there_yet_is_refused_by_its_name() {
        let cases = [
            ("cluster: on", "cluster"),
            ("cluster: {ttl: 0}", "cluster.ttl must be greater than zero"),
            ("cluster: {ttl: 1s}", "cluster.ttl: 1s is not between"),
            ("cluster: {failover: never}", "cluster.failover"),
            ("cluster: {node: 'a b'}", "cluster.node"),
            ("cluster: {nodes: a}", "did you mean `node`?"),
            ("cluster: {listen: ':4000'}", "`cluster.advertise` is missing"),
            ("cluster: {listen: ':4000', advertise: 'https://x'}", "cluster.advertise: "),
            ("cluster: {listen: '::4000', advertise: 'http://x:1'}", "cluster.listen: "),
            ("cluster: {listen: ':4000', advertise: 'http://x:1'}", "`cluster.secret`, which is missing"),
            ("cluster: {secret: x}", "cluster.secret: it is shorter"),
            ("cluster: {claims: 's3://b/p'}", "claims"),
        ];
        for (text, part) in cases {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
