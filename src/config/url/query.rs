//! The query of an `s3://` URL: every parameter that either of Litestream's parsers knows, in both
//! spellings.
//!
//! Pure. No error quotes a value.

use url::form_urlencoded;

use super::S3Location;
use crate::config::scalar;
use crate::config::suggestion::nearest;
use crate::store::s3::endpoint_url;

/// Canonical names of the query parameters; the camel case spellings are made from them.
const PARAMETERS: [&str; 13] = [
    "endpoint",
    "region",
    "force-path-style",
    "skip-verify",
    "sign-payload",
    "require-content-md5",
    "storage-class",
    "part-size",
    "concurrency",
    "sse-customer-algorithm",
    "sse-customer-key",
    "sse-customer-key-md5",
    "sse-kms-key-id",
];

pub fn apply(location: &mut S3Location, query: &str) -> Result<(), String> {
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let Some(parameter) = canonical(&name) else {
            // A question mark in a password makes a parameter of what stands behind it.
            let is_word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if !is_word || query.contains('@') {
                return Err("the url has an unknown parameter; in names and passwords write %3F for ?".into());
            }
            let meant = nearest(&dashed(&name), PARAMETERS.into_iter());
            let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            return Err(format!("the url has an unknown parameter `{name}`{meant}"));
        };
        // The first one counts, an empty one does not, as in Go.
        if value.is_empty() || seen.contains(&parameter) {
            continue;
        }
        seen.push(parameter);
        set_parameter(location, parameter, &value)
            .map_err(|why| format!("the url's parameter `{parameter}`: {why}"))?;
    }
    // An endpoint in the query is a server of one's own: bucket in the path unless the URL says
    // otherwise.
    if seen.contains(&"endpoint") && !seen.contains(&"force-path-style") {
        location.force_path_style = Some(true);
    }
    Ok(())
}

fn set_parameter(location: &mut S3Location, parameter: &str, value: &str) -> Result<(), String> {
    let text = || Some(value.to_owned());
    match parameter {
        "endpoint" => {
            location.endpoint = Some(endpoint_url(value));
            location.scheme_is_assumed = !value.contains("://");
        }
        "region" => location.region = text(),
        "force-path-style" => {
            location.force_path_style = Some(scalar::parse_go_bool(value)?);
            location.path_style_is_explicit = true;
        }
        "skip-verify" => location.skip_verify = Some(scalar::parse_go_bool(value)?),
        "sign-payload" => location.sign_payload = Some(scalar::parse_go_bool(value)?),
        "require-content-md5" => location.require_content_md5 = Some(scalar::parse_go_bool(value)?),
        "storage-class" => location.storage_class = text(),
        "part-size" => location.part_size = Some(scalar::parse_size(value)?),
        "concurrency" => location.concurrency = Some(scalar::parse_count(value)?),
        "sse-customer-algorithm" => location.sse_customer_algorithm = text(),
        "sse-customer-key" => location.sse_customer_key = text(),
        "sse-kms-key-id" => location.sse_kms_key_id = text(),
        // The key's MD5 is computed from the key.
        _ => {}
    }
    Ok(())
}

/// `forcePathStyle`, `force-path-style` → the name in [`PARAMETERS`].
pub fn canonical(name: &str) -> Option<&'static str> {
    let dashed = dashed(name);
    PARAMETERS.into_iter().find(|parameter| **parameter == dashed)
}

/// Camel case to dashes: `requireContentMD5` → `require-content-md5`.
fn dashed(name: &str) -> String {
    let mut dashed = String::with_capacity(name.len() + 4);
    let mut after_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_lower {
            dashed.push('-');
        }
        after_lower = c.is_ascii_lowercase();
        dashed.push(if c == '_' { '-' } else { c.to_ascii_lowercase() });
    }
    dashed
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::tests::s3;

    fn error(text: &str) -> String {
        parse(text).err().unwrap_or_else(|| panic!("{text} was read"))
    }

    #[test]
    fn parameters_in_both_spellings() {
        let camel = "s3://b/p?endpoint=localhost:9000&region=r&forcePathStyle=false&skipVerify=true&signPayload=0\
                     &requireContentMD5=false&storageClass=COLD&partSize=5242880&concurrency=3\
                     &sseCustomerAlgorithm=AES256&sseCustomerKey=k&sseKmsKeyId=i&sseCustomerKeyMD5=m";
        let dashed = "s3://b/p?endpoint=localhost:9000&region=r&force-path-style=false&skip-verify=true&sign-payload=0\
                      &require-content-md5=false&storage-class=COLD&part-size=5MiB&concurrency=3\
                      &sse-customer-algorithm=AES256&sse-customer-key=k&sse-kms-key-id=i&sse-customer-key-md5=m";
        let location = s3(camel);
        assert!(location == s3(dashed));
        assert_eq!(location.endpoint.as_deref(), Some("http://localhost:9000"));
        assert_eq!(location.region.as_deref(), Some("r"));
        assert_eq!(location.force_path_style, Some(false));
        assert_eq!(location.skip_verify, Some(true));
        assert_eq!((location.sign_payload, location.require_content_md5), (Some(false), Some(false)));
        assert_eq!(location.storage_class.as_deref(), Some("COLD"));
        assert_eq!((location.part_size, location.concurrency), (Some(5 << 20), Some(3)));
        assert_eq!(location.sse_customer_key.as_deref(), Some("k"));
        assert_eq!(location.sse_kms_key_id.as_deref(), Some("i"));
        let plain = s3("s3://b/p?endpoint=https%3A%2F%2Fs3.example.com");
        assert_eq!((plain.endpoint.as_deref(), plain.force_path_style), (Some("https://s3.example.com"), Some(true)));
        assert_eq!(s3("s3://b/p?endpoint=s3.example.com").endpoint.as_deref(), Some("https://s3.example.com"));
    }

    #[test]
    fn wrong_parameters_are_named_without_their_value() {
        assert_eq!(
            error("s3://b?endpont=hunter2"),
            "the url has an unknown parameter `endpont`; did you mean `endpoint`?"
        );
        assert!(error("s3://b?skip-verify=perhaps").contains("`skip-verify`"));
        assert!(error("s3://b?concurrency=many").contains("`concurrency`"));
    }
}
