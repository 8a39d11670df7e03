//! Variables of litestream.yml that have no value: what that means where they stand.
//!
//! Inside a value that says where something lies it is an error: `${REPLICA_URL}/data` would become
//! a directory on the very disk that is to be backed up. In a key or a secret it means "not given",
//! as in Litestream. Elsewhere it is a warning.
//!
//! The text is read once more for each such name, with a mark in its place, which shows what the
//! name is part of.

use super::expand::{self, Missing};
use super::yaml::{self, Marked};

/// Access keys; without them the AWS chain is used.
const CREDENTIALS: [&str; 3] = ["access-key-id", "secret-access-key", "session-token"];

/// The warnings about names without a value, or the sentence about the first one that must have
/// one.
pub fn judge(
    file: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    missing: &[Missing],
) -> Result<Vec<String>, String> {
    let mut warnings = Vec::new();
    let mut credentials = Vec::new();
    for name in missing {
        let marked = expand::mark(text, env, &name.name);
        let places = yaml::find_marks(file, &marked, &refusal(name))?;
        if !places.is_empty() && places.iter().all(is_credential) {
            credentials.push((name, places));
        } else if !name.is_set {
            warnings.push(format!("{file}: {} is not set in the environment, its value is empty", written(name)));
        }
    }
    if !credentials.is_empty() {
        warnings.push(without_credentials(file, &credentials));
    }
    Ok(warnings)
}

/// `${NAME}`, or `$(NAME)` as Kubernetes leaves it: a variable of the command line that should have
/// been replaced.
pub fn unreplaced(operand: &str) -> Option<&str> {
    [("${", '}'), ("$(", ')')].into_iter().find_map(|(opening, closing)| {
        let begins = operand.find(opening)?;
        let len = operand[begins..].find(closing)? + 1;
        let name = &operand[begins + 2..begins + len - 1];
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        is_name.then(|| &operand[begins..begins + len])
    })
}

/// Completes "FILE:LINE: PLACE: ".
fn refusal(missing: &Missing) -> String {
    let written = written(missing);
    let Missing { name, is_set } = missing;
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') || name.starts_with(|c: char| c.is_ascii_digit()) {
        return format!(
            "{written} stands for nothing here: only $NAME, ${{NAME}} and ${{NAME:-default}} are replaced; a dollar sign \
             that means itself needs the flag -no-expand-env"
        );
    }
    let state = if *is_set { "is empty in the environment" } else { "is not set in the environment" };
    format!("{written} {state}; give it a value, or write a default: ${{{name}:-value}}")
}

/// As it can be written in the file.
fn written(missing: &Missing) -> String {
    match missing.name.as_str() {
        one if one.len() == 1 && !one.bytes().all(|b| b.is_ascii_alphabetic()) => format!("${one}"),
        name => format!("${{{name}}}"),
    }
}

fn is_credential(marked: &Marked) -> bool {
    marked.is_whole && CREDENTIALS.iter().any(|key| marked.place.rsplit('.').next() == Some(key))
}

/// One line for all of them.
fn without_credentials(file: &str, credentials: &[(&Missing, Vec<Marked>)]) -> String {
    let names: Vec<String> = credentials.iter().map(|(name, _)| written(name)).collect();
    let places: Vec<&str> =
        credentials.iter().flat_map(|(_, places)| places).map(|marked| marked.place.as_str()).collect();
    let (places, more) = places.split_at(places.len().min(4));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    let verb = if names.len() == 1 { "has" } else { "have" };
    format!(
        "{file}: {} {verb} no value in the environment, so {}{more} count as not given: a key of the url, \
         of AWS's own chain (environment, profile, role) or of LITESTREAM_* is used",
        names.join(", "),
        places.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "SET" => Some("set".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn verdict(text: &str) -> Result<Vec<String>, String> {
        judge("f", text, &env, &expand::expand(text, &env).missing)
    }

    #[test]
    fn what_says_where_something_lies_must_have_a_value() {
        let db = |line: &str| format!("dbs:\n  - path: /data/app.db\n    {line}\n");
        for (text, place, name) in [
            (db("replica: {url: \"${NOPE}/data\"}"), "f:3: dbs[0].replica.url", "${NOPE} is not set"),
            (db("replica: {url: $EMPTY/data}"), "f:3: dbs[0].replica.url", "${EMPTY} is empty"),
            (db("replicas:\n      - url: s3://b/${NOPE}/x?endpoint=${SET}"), "f:4: dbs[0].replicas[0].url", "${NOPE}"),
            (db("replicas:\n      - url: ${NOPE}"), "f:4: dbs[0].replicas[0].url", "${NOPE} is not set"),
            (db("replica: {path: '/backup/${NOPE}'}"), "dbs[0].replica.path", "${NOPE}"),
            (db("replica: {type: s3, bucket: b-${NOPE}}"), "dbs[0].replica.bucket", "${NOPE}"),
            (db("replica: {url: 's3://b', endpoint: '${EMPTY}'}"), "dbs[0].replica.endpoint", "${EMPTY} is empty"),
            ("endpoint: https://$NOPE\n".into(), "f:1: endpoint", "${NOPE}"),
            ("dbs:\n  - path: ${NOPE}/app.db\n".into(), "f:2: dbs[0].path", "${NOPE}"),
            (
                "x-r: &r\n  url: s3://${NOPE}/x\ndbs: [{path: /a, replica: *r}]\n".into(),
                "dbs[0].replica.url",
                "${NOPE}",
            ),
            (
                "dbs: [{path: /a, replica: {url: 's3://b/a$$b'}}]\n".into(),
                "dbs[0].replica.url",
                "$$ stands for nothing",
            ),
            ("dbs: [{path: '/a/${NOPE-x}'}]\n".into(), "dbs[0].path", "${NOPE-x} stands for nothing"),
            (
                "dbs: [{path: /a, replica: {url: 's3://b', sse-customer-key: $NOPE}}]\n".into(),
                "sse-customer-key",
                "NOPE",
            ),
        ] {
            let problem = verdict(&text).expect_err(&text);
            assert!(problem.contains(place) && problem.contains(name), "{text}: {problem}");
        }
    }

    #[test]
    fn a_default_or_a_value_is_enough() {
        for text in [
            "dbs: [{path: '${NOPE:-/data}/app.db', replica: {url: 's3://b/${EMPTY:-x}'}}]\n",
            "dbs: [{path: '/data${NOPE:-}/app.db', replica: {url: 's3://${SET}/x'}}]\n",
            "# ${NOPE}\ndbs: [{path: /a}] # $NOPE\n",
        ] {
            assert_eq!(verdict(text), Ok(Vec::new()), "{text}");
        }
    }

    #[test]
    fn keys_without_a_value_are_not_given_and_one_line_says_so() {
        let text =
            "access-key-id: ${KEY}\nsecret-access-key: \"$EMPTY\"\ndbs: [{path: /a, replica: {url: 's3://b'}}]\n";
        let warnings = verdict(text).expect("valid");
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert!(
            warning.starts_with("f: ${KEY}, ${EMPTY} have no value in the environment, so access-key-id"),
            "{warning}"
        );
        assert!(warning.contains("AWS's own chain"), "{warning}");
    }

    #[test]
    fn variables_that_no_shell_has_replaced() {
        assert_eq!(unreplaced("s3://b/$(POD)/x"), Some("$(POD)"));
        assert_eq!(unreplaced("/data/${NAME}.db"), Some("${NAME}"));
        for plain in ["/data/a$b.db", "s3://b/${a b}", "$()", "${X", "$(X"] {
            assert_eq!(unreplaced(plain), None, "{plain}");
        }
    }

    #[test]
    fn elsewhere_it_is_a_warning() {
        let unset = |name: &str| format!("f: ${{{name}}} is not set in the environment, its value is empty");
        assert_eq!(verdict("exec: app $NOPE ${EMPTY}\n"), Ok(vec![unset("NOPE")]));
        assert_eq!(verdict("grace: ${NOPE}\n${MORE}\ndbs: []\n"), Ok(vec![unset("NOPE"), unset("MORE")]));
        assert_eq!(verdict("dbs: ${NOPE}\n"), Ok(vec![unset("NOPE")]));
        assert_eq!(verdict("not: [valid\nurl: ${NOPE}\n"), Ok(vec![unset("NOPE")]), "that is said by the parser");
    }
}
