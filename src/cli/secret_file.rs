//! `NAME_FILE`: the file that holds the value of the environment variable NAME, as Docker and
//! Kubernetes hand out secrets.
//!
//! Pure but for the reading: the environment is a function. Nothing of the value is in any error.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// No secret and no URL is longer.
const BYTES_MAX: u64 = 64 * 1024;
/// Names that mean something else, and are set in every process.
const NEVER: [&str; 4] = ["HOME", "PATH", "PID", "TZ"];
/// Of such a variable it is a mistake when both are set.
const SECRETS: [&str; 9] = ["KEY", "KEY_ID", "TOKEN", "SECRET", "PASSWORD", "PASS", "PASSPHRASE", "CREDENTIALS", "URL"];

/// The value of a variable that may be given as a file. `env` is the environment as it is.
pub fn value(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    let own = env(name);
    if NEVER.contains(&name) || name.ends_with("_FILE") {
        return Ok(own);
    }
    let by_file = format!("{name}_FILE");
    let path = env(&by_file).filter(|path| !path.is_empty());
    match (own.filter(|own| path.is_none() || !own.is_empty()), path) {
        (own, None) => Ok(own),
        (Some(_), Some(_)) if is_secret(name) => {
            Err(format!("the environment variables {name} and {by_file} are both set: unset one of them"))
        }
        (Some(own), Some(_)) => Ok(Some(own)),
        (None, Some(path)) => read(&by_file, Path::new(&path)).map(Some),
    }
}

/// By the words at its end.
fn is_secret(name: &str) -> bool {
    let ends = |word: &&str| name.strip_suffix(*word).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'));
    SECRETS.iter().any(ends)
}

fn read(variable: &str, path: &Path) -> Result<String, String> {
    let failed = |why: String| format!("{variable}: cannot read {}: {why}", path.display());
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    // A FIFO or a device could keep us waiting for ever, or have no end.
    if !file.metadata().map_err(|error| failed(error.to_string()))?.is_file() {
        return Err(failed("it is not a regular file".into()));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(failed(format!("it is longer than {BYTES_MAX} bytes, so it is no secret and no URL")));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed("it is not text".into()))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn a_value_is_read_from_its_file_without_the_line_break_at_its_end() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("secret");
        let shown = path.display().to_string();
        for (content, wanted) in
            [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), ("a\n\n", "a\n"), (" x ", " x "), ("", "")]
        {
            std::fs::write(&path, content).expect("write");
            for own in ["AWS_SECRET_ACCESS_KEY", "REPLICA_URL", "WHATEVER"] {
                let by_file = format!("{own}_FILE");
                let set = [(by_file.as_str(), shown.as_str()), ("UNRELATED", "1")];
                assert_eq!(value(own, &with(&set)), Ok(Some(wanted.into())), "{own} {content:?}");
                let empty = [set.as_slice(), &[(own, "")]].concat();
                assert_eq!(value(own, &with(&empty)), Ok(Some(wanted.into())), "empty is not set");
            }
        }
        assert_eq!(value("X", &with(&[("X", "y")])), Ok(Some("y".into())));
        assert_eq!(value("X", &with(&[("X", "")])), Ok(Some(String::new())));
        assert_eq!(value("X", &with(&[("X_FILE", "")])), Ok(None));
        assert_eq!(value("X_FILE", &with(&[("X_FILE_FILE", &shown)])), Ok(None));
    }

    #[test]
    fn mistakes_are_named_and_show_nothing() {
        let set = [("AWS_SECRET_ACCESS_KEY", "hunter2"), ("AWS_SECRET_ACCESS_KEY_FILE", "/run/secrets/x")];
        let error = value("AWS_SECRET_ACCESS_KEY", &with(&set)).expect_err("both");
        assert!(error.contains("AWS_SECRET_ACCESS_KEY and AWS_SECRET_ACCESS_KEY_FILE are both set"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        for name in ["PASSWORD", "DB_PASS", "REPLICA_URL", "LITESTREAM_ACCESS_KEY_ID"] {
            let by_file = format!("{name}_FILE");
            value(name, &with(&[(name, "x"), (by_file.as_str(), "/x")])).expect_err(name);
        }
        assert_eq!(value("MONKEY", &with(&[("MONKEY", "x"), ("MONKEY_FILE", "/x")])), Ok(Some("x".into())));
        assert_eq!(value("LOG", &with(&[("LOG", "debug"), ("LOG_FILE", "/var/log/app")])), Ok(Some("debug".into())));
        for path in ["/nonexistent/secret", "/", "/dev/zero"] {
            let error = value("REPLICA_URL", &with(&[("REPLICA_URL_FILE", path)])).expect_err(path);
            assert!(error.starts_with(&format!("REPLICA_URL_FILE: cannot read {path}: ")), "{error}");
        }
    }
}
