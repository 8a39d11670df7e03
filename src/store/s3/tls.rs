//! The HTTP client under the SDK: TLS roots, proxies, and the choice not to verify.
//!
//! Roots come from the first of: `AWS_CA_BUNDLE`, the system (`SSL_CERT_FILE` and `SSL_CERT_DIR` included), the roots of
//! Mozilla built into this binary, so that an image made from scratch works. Every certificate is checked here, because
//! the SDK panics on one it cannot parse.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::super::{Result, StoreError};
use super::proxy::{self, Bypass};
use super::route::routed;

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shorter than the minute after which common load balancers drop an idle connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The client that verifies certificates and obeys `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
pub(super) fn verifying(ca_bundle: Option<&Path>) -> Result<SharedHttpClient> {
    verifying_with(&roots(ca_bundle)?)
}

/// The same with these roots alone; every one of them must be parsable.
pub(super) fn verifying_with(roots: &[CertificateDer<'_>]) -> Result<SharedHttpClient> {
    let mut trust = TrustStore::empty();
    for certificate in roots {
        trust.add_pem_certificate(pem(certificate));
    }
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|e| StoreError::Permanent { detail: format!("TLS: {e}") })?;
    let client = |proxy: ProxyConfig| client(context.clone(), proxy);
    let env = |name: &str| std::env::var(name).ok();
    // A second client only where there is a proxy: it costs memory.
    let proxied = proxy::is_set(env).then(|| (client(ProxyConfig::from_env()), Bypass::parse(&proxy::no_proxy(env))));
    Ok(routed(client(ProxyConfig::disabled()), proxied))
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

/// The client for `skip-verify`: any certificate will do. It knows no proxies.
pub(super) fn unverified() -> Result<SharedHttpClient> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| StoreError::Permanent { detail: format!("TLS: {e}") })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let mut tcp = TcpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.enforce_http(false);
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .build(HttpsConnector::from((tcp, config)));
    let connector = SharedHttpConnector::new(Unverified(client));
    Ok(routed(http_client_fn(move |_, _| connector.clone()), None))
}

/// The certificates to trust, every one of them parsable.
fn roots(ca_bundle: Option<&Path>) -> Result<Vec<CertificateDer<'static>>> {
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

/// The SDK's way to hyper for connections that are not verified.
#[derive(Debug)]
struct Unverified(legacy::Client<HttpsConnector<TcpConnector>, SdkBody>);

impl HttpConnector for Unverified {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        let response = self.0.request(request);
        HttpConnectorFuture::new(async move {
            let response = response.await.map_err(|e| ConnectorError::io(e.into()))?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|e| ConnectorError::other(e.into(), None))
        })
    }
}

/// Accepts whoever answers, but still insists that they own the key of the certificate they show.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
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
            let error = verifying(Some(&path)).expect_err(name).to_string();
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
        verifying(Some(&path)).expect("usable");
    }

    #[test]
    fn built_in_roots_are_all_parsable() {
        assert!(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().all(is_root));
    }
}
