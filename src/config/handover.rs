//! How the application is handed over from one container to the next: `handover: {wait, look,
//! instance, off}`, or `handover: off`. It is on where the proxies of the containers reach each
//! other (`proxy.advertise`), because a deploy is to fail no request there.

use std::time::Duration;

use super::section::Section;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// How long the holder of the claim may take to answer.
    pub wait: Duration,
    /// How often a holder looks for a later claim.
    pub look: Duration,
    /// What tells this container from others and is the same after a restart, where the host name
    /// does not.
    pub instance: Option<String>,
}

impl Default for Handover {
    fn default() -> Handover {
        Handover { wait: Duration::from_secs(30), look: Duration::from_secs(5), instance: None }
    }
}

/// What the file says; `None` is off. `by_default`: it is on if the file does not say.
pub fn of_root(root: &Section, by_default: bool) -> Result<Option<Handover>, String> {
    let defaults = Handover::default();
    let Some(section) = root.section("handover") else { return Ok(by_default.then_some(defaults)) };
    let wait = section.positive("handover", "wait", defaults.wait)?;
    let look = section.positive("handover", "look", defaults.look.min(wait / 2))?;
    if section.bool("off").unwrap_or(false) {
        return Ok(None);
    }
    // A holder that looks more rarely would be taken for dead before it has seen the newcomer.
    if look.saturating_mul(2) > wait {
        return Err(format!("handover.look: {look:?} is more than half of handover.wait, which is {wait:?}"));
    }
    let instance = section.text("instance").map(str::to_owned);
    Ok(Some(Handover { wait, look, instance }))
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn read(text: &str) -> Result<Option<Handover>, String> {
        of_root(&yaml::parse("f", text)?.root, false)
    }

    fn secs(wait: u64, look: u64) -> Option<Handover> {
        let [wait, look] = [wait, look].map(Duration::from_secs);
        Some(Handover { wait, look, instance: None })
    }

    #[test]
    fn where_nodes_reach_each_other_it_is_on_unless_the_file_says_otherwise() {
        for (text, expected) in
            [("addr: ':9090'", secs(30, 5)), ("handover: off", None), ("handover: {wait: 1m}", secs(60, 5))]
        {
            let root = yaml::parse("f", text).expect("valid").root;
            assert_eq!(of_root(&root, true), Ok(expected), "{text}");
        }
    }

    #[test]
    fn it_is_a_group_or_a_word() {
        let cases = [
            ("", None),
            ("handover:", None),
            ("handover: off", None),
            ("handover: false", None),
            ("handover: no", None),
            ("handover: 'off'", None),
            ("handover: {off: true, wait: 1m}", None),
            ("handover: on", secs(30, 5)),
            ("handover: true", secs(30, 5)),
            ("handover: {}", secs(30, 5)),
            ("handover: {off: no}", secs(30, 5)),
            ("handover: {wait: 1m}", secs(60, 5)),
            ("handover: {wait: 4s}", secs(4, 2)),
            ("handover:\n  wait: 1m\n  look: 10s\n", secs(60, 10)),
        ];
        for (text, handover) in cases {
            assert_eq!(read(text), Ok(handover), "{text}");
        }
    }

    #[test]
    fn an_instance_may_have_a_name() {
        let read = read("handover: {instance: web-3}").expect("valid").expect("on");
        assert_eq!(read.instance.as_deref(), Some("web-3"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        let cases = [
            ("handover: maybe", "handover"),
            ("handover: 30s", "handover"),
            ("handover: [off]", "handover"),
            ("handover: {wait: 0}", "handover.wait must be greater than zero"),
            ("handover: {look: 0}", "handover.look must be greater than zero"),
            ("handover: {wait: 8s, look: 5s}", "handover.look: 5s is more than half of handover.wait, which is 8s"),
            ("handover: {waits: 8s}", "did you mean `wait`?"),
            ("look: 5s", "`look` belongs under handover"),
        ];
        for (text, part) in cases {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
