//! What a browser may do with the page: run the one script and use the one style sheet that are in
//! it, ask this server, and nothing else.

use std::sync::LazyLock;

use aws_smithy_types::base64;
use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

pub const STYLE: &str = include_str!("page.css");
pub const SCRIPT: &str = include_str!("page.js");

/// The header `Content-Security-Policy`.
pub static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; form-action 'self'; img-src data:; \
         base-uri 'none'; frame-ancestors 'none'",
        source(STYLE),
        source(SCRIPT)
    )
});

/// Names a text by its hash. Of a text without a hash `'none'` is allowed: it would not run.
fn source(text: &str) -> String {
    match sha256(text.as_bytes()) {
        Some(hash) => format!("'sha256-{}'", base64::encode(hash)),
        None => "'none'".into(),
    }
}

/// As TLS has it.
fn sha256(bytes: &[u8]) -> Option<Vec<u8>> {
    match TLS13_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls13(suite) => Some(suite.common.hash_provider.hash(bytes).as_ref().to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_script_and_the_style_of_the_page_are_allowed() {
        assert_eq!(source("abc"), "'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0='");
        assert!(CONTENT_SECURITY_POLICY.contains(&source(SCRIPT)) && !CONTENT_SECURITY_POLICY.contains("unsafe"));
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</") && !text.contains("<!--"), "it would end its element");
            assert!(!text.contains("://"), "nothing comes from another host");
        }
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval("));
    }
}
