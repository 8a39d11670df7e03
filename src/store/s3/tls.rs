//! The HTTP client under the SDK: TLS roots and proxies. (`unverified.rs` is the one for
//! `skip-verify`.)
//!
//! Roots come from the first of: `AWS_CA_BUNDLE`, the system (`SSL_CERT_FILE` and `SSL_CERT_DIR`
//! included), the roots of Mozilla built into this binary, so that an image made from scratch
//! works. Every certificate is checked here, because the SDK panics on one it cannot parse.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::super::{Result, StoreError};
use super::plain::Assumed;
use super::proxy::{self, BadProxy, Bypass, Proxies, Proxy};
use super::route::{Detour, routed};

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shorter than the minute after which common load balancers drop an idle connection.
pub(super) const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// How the HTTP client is to be made.
#[derive(Clone, Default)]
pub(super) struct Ways {
    pub proxies: Proxies,
    pub bypass: Bypass,
    /// Of an endpoint without a scheme.
    pub assumed: Arc<Assumed>,
}

impl Ways {
    pub fn of_environment() -> Ways {
        let env = |name: &str| std::env::var(name).ok();
        Ways { proxies: Proxies::of(env), bypass: Bypass::parse(&proxy::no_proxy(env)), assumed: Arc::default() }
    }
}

/// The client that verifies certificates and obeys `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
pub(super) fn verifying(ca_bundle: Option<&Path>, ways: &Ways) -> Result<SharedHttpClient> {
    verifying_with(&roots(ca_bundle)?, ways)
}

/// The same with these roots alone; every one of them must be parsable.
pub(super) fn verifying_with(roots: &[CertificateDer<'_>], ways: &Ways) -> Result<SharedHttpClient> {
    let context = context(roots)?;
    let proxies = &ways.proxies;
    let through = |proxy: &Option<Proxy>| proxy.as_ref().map(|proxy| through(&context, proxy));
    let http = through(&proxies.http);
    // A client of its own only where it differs: it costs memory.
    let same = proxies.http.as_ref().map(|p| &p.url) == proxies.https.as_ref().map(|p| &p.url);
    let https = if same { http.clone() } else { through(&proxies.https) };
    let detour = Detour { http, https, bypass: ways.bypass.clone() };
    Ok(routed(client(context.clone(), ProxyConfig::disabled()), detour, ways.assumed.clone()))
}

pub(super) fn context(roots: &[CertificateDer<'_>]) -> Result<TlsContext> {
    let mut trust = TrustStore::empty();
    for certificate in roots {
        trust.add_pem_certificate(pem(certificate));
    }
    let context = TlsContext::builder().with_trust_store(trust).build();
    context.map_err(|e| StoreError::Permanent { detail: format!("TLS: {e}") })
}

/// The client whose connections all go through this proxy.
pub(super) fn through(context: &TlsContext, proxy: &Proxy) -> std::result::Result<SharedHttpClient, BadProxy> {
    usable(proxy)?;
    let config = ProxyConfig::all(proxy.url.as_str()).map_err(|_| no_address(proxy))?;
    Ok(client(context.clone(), config))
}

pub(super) fn usable(proxy: &Proxy) -> std::result::Result<(), BadProxy> {
    match ::url::Url::parse(&proxy.url) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            Err(BadProxy { variable: proxy.variable, why: "only http:// and https:// are supported" })
        }
        Ok(url) if url.has_host() => Ok(()),
        _ => Err(no_address(proxy)),
    }
}

pub(super) fn no_address(proxy: &Proxy) -> BadProxy {
    BadProxy { variable: proxy.variable, why: "its value is not the address of a server" }
}

fn client(context: TlsContext, proxy: ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder();
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|c| c.sleep_impl()));
        connector
            .proxy_config(proxy.clone())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context.clone())
            .build()
    })
}

/// The certificates to trust, every one of them parsable.
pub(super) fn roots(ca_bundle: Option<&Path>) -> Result<Vec<CertificateDer<'static>>> {
    if let Some(path) = ca_bundle {
        return bundle(path);
    }
    let native: Vec<_> = rustls_native_certs::load_native_certs().certs.into_iter().filter(is_root).collect();
    if !native.is_empty() {
        return Ok(native);
    }
    tracing::debug!("no system certificates found; using the built-in ones");
    Ok(webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec())
}

fn bundle(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let refuse = |why: String| StoreError::Permanent { detail: format!("AWS_CA_BUNDLE={}: {why}", path.display()) };
    let bytes = crate::fsx::read(path).map_err(|e| refuse(e.source.to_string()))?;
    let all: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|e| refuse(format!("not a PEM file of certificates: {e}")))?;
    let count = all.len();
    let usable: Vec<_> = all.into_iter().filter(is_root).collect();
    if usable.is_empty() {
        return Err(refuse(format!("none of its {count} PEM blocks is a usable certificate")));
    }
    if usable.len() < count {
        tracing::warn!(path = %path.display(), "AWS_CA_BUNDLE: {} unusable certificates ignored", count - usable.len());
    }
    Ok(usable)
}

fn is_root(certificate: &CertificateDer<'static>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let body = aws_smithy_types::base64::encode(certificate);
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 64);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|b| char::from(*b)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_ca_bundle_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().expect("tempdir");
        for (name, content) in [
            ("missing.pem", None),
            ("empty.pem", Some("")),
            ("broken.pem", Some("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n")),
            ("nonsense.pem", Some("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n")),
        ] {
            let path = dir.path().join(name);
            if let Some(content) = content {
                std::fs::write(&path, content).expect("write");
            }
            let error = verifying(Some(&path), &Ways::default()).expect_err(name).to_string();
            assert!(error.contains("AWS_CA_BUNDLE") && error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_bundle_is_used_alone_and_garbage_in_it_is_left_out() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("ca.pem");
        let good = pem(&webpki_root_certs::TLS_SERVER_ROOT_CERTS[0]);
        let nonsense = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, format!("# our own CA\n{good}{nonsense}")).expect("write");
        assert_eq!(roots(Some(&path)).expect("one is enough"), webpki_root_certs::TLS_SERVER_ROOT_CERTS[..1]);
        verifying(Some(&path), &Ways::default()).expect("usable");
    }

    #[test]
    fn built_in_roots_are_all_parsable() {
        assert!(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().all(is_root));
    }
}
