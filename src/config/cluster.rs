//! Several nodes with the same databases, one of which writes: `cluster: {node, advertise, listen,
//! secret, candidate, failover, ttl, claims}`.

use std::time::Duration;

use super::section::Section;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// As others name this node; `None`: its host name.
    pub node: Option<String>,
    /// Where others reach it.
    pub advertise: Option<String>,
    /// It may be the primary.
    pub candidate: bool,
    pub failover: Failover,
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
    Ok(Some(Cluster {
        node,
        advertise: section.text("advertise").map(str::to_owned),
        candidate: section.bool("candidate").unwrap_or(true),
        failover,
        ttl,
    }))
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
        let plain = Cluster { node: None, advertise: None, candidate: true, failover: Failover::Auto, ttl: TTL };
        assert_eq!(read("cluster: {}"), Ok(Some(plain.clone())));
        let text =
            "cluster: {node: fra-1, advertise: 'http://10.0.0.1:8080', candidate: no, failover: manual, ttl: 5s}";
        let all = Cluster {
            node: Some("fra-1".into()),
            advertise: Some("http://10.0.0.1:8080".into()),
            candidate: false,
            failover: Failover::Manual,
            ttl: Duration::from_secs(5),
        };
        assert_eq!(read(text), Ok(Some(all)));
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
            ("cluster: {listen: ':4000'}", "listen"),
            ("cluster: {secret: x}", "secret"),
            ("cluster: {claims: 's3://b/p'}", "claims"),
        ];
        for (text, part) in cases {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
