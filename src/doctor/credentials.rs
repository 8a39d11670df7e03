//! Where the keys for the bucket come from. Their values do not matter here.

use super::check::Check;

const WHAT: &str = "credentials";

/// What can be seen of the sources, in the order in which they are asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs {
    /// Keys that the configuration holds; the variable that they come from, if it is one of the
    /// known.
    pub configured: Option<Option<&'static str>>,
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` are set.
    pub environment: bool,
    /// `AWS_PROFILE` is set, or there is a file of profiles.
    pub profile: bool,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` is set.
    pub web_identity: bool,
    /// `AWS_CONTAINER_CREDENTIALS_…` is set.
    pub container: bool,
}

/// Says which source is used. Whether it is any good, the bucket tells.
pub fn source(signs: &Signs) -> Check {
    let found = match signs {
        Signs { configured: Some(Some(variable)), .. } => {
            return Check::ok(WHAT, format!("from the environment ({variable} and its secret)"));
        }
        Signs { configured: Some(None), .. } => "from the configuration file or the URL",
        Signs { environment: true, .. } => "from the environment (AWS_ACCESS_KEY_ID and its secret)",
        Signs { profile: true, .. } => "from a profile (AWS_PROFILE, ~/.aws/credentials, ~/.aws/config)",
        Signs { web_identity: true, .. } => "from a web identity (AWS_WEB_IDENTITY_TOKEN_FILE)",
        Signs { container: true, .. } => "from the container's service (AWS_CONTAINER_CREDENTIALS_…)",
        _ => {
            return Check::warning(
                WHAT,
                "none are set: the instance's metadata service is asked",
                "set access-key-id and secret-access-key (or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), unless this machine has \
                 a role",
            );
        }
    };
    Check::ok(WHAT, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_source_in_the_order_of_the_chain_is_named() {
        let all = Signs { environment: true, profile: true, web_identity: true, container: true, configured: None };
        for (signs, says) in [
            (Signs { configured: Some(None), ..all }, "configuration file or the URL"),
            (Signs { configured: Some(Some("LITESTREAM_ACCESS_KEY_ID")), ..all }, "LITESTREAM_ACCESS_KEY_ID"),
            (all, "AWS_ACCESS_KEY_ID"),
            (Signs { environment: false, ..all }, "profile"),
            (Signs { web_identity: true, ..Signs::default() }, "web identity"),
            (Signs { container: true, ..Signs::default() }, "container"),
            (Signs::default(), "metadata service"),
        ] {
            assert!(source(&signs).found.contains(says), "{signs:?}");
        }
    }
}
