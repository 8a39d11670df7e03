//! The HTTP client for `skip-verify`: any certificate of the endpoint will do. Proxies are obeyed
//! as elsewhere, and theirs are verified.

use std::path::Path;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connect, HttpConnector as TcpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::super::{Result, StoreError};
use super::proxy::{BadProxy, Proxy};
use super::route::{Detour, routed};
use super::tls::{self, CONNECT_TIMEOUT, POOL_IDLE_TIMEOUT, Ways};

pub(super) fn client(ca_bundle: Option<&Path>, ways: &Ways) -> Result<SharedHttpClient> {
    let any = any_certificate()?;
    let direct = over(HttpsConnector::from((tcp(), any.clone())));
    let proxies = [&ways.proxies.http, &ways.proxies.https];
    let speaks_tls = proxies.into_iter().flatten().any(|proxy| proxy.url.starts_with("https:"));
    let roots = if speaks_tls { tls::roots(ca_bundle)? } else { Vec::new() };
    let http = match &ways.proxies.http {
        // What is asked for without TLS has no certificate.
        Some(proxy) => Some(tls::through(&tls::context(&roots)?, proxy)),
        None => None,
    };
    let https = match &ways.proxies.https {
        Some(proxy) => Some(tunnel(proxy, verified(&roots)?, any)),
        None => None,
    };
    Ok(routed(direct, Detour { http, https, bypass: ways.bypass.clone() }, ways.assumed.clone()))
}

/// The client whose connections are tunnels through this proxy.
fn tunnel(
    proxy: &Proxy,
    to_proxy: ClientConfig,
    to_server: ClientConfig,
) -> std::result::Result<SharedHttpClient, BadProxy> {
    tls::usable(proxy)?;
    let matcher = Matcher::builder().all(proxy.url.clone()).build();
    let intercept = "https://any".parse().ok().and_then(|any| matcher.intercept(&any));
    let intercept = intercept.ok_or_else(|| tls::no_address(proxy))?;
    let tunnel = Tunnel::new(intercept.uri().clone(), HttpsConnector::from((tcp(), to_proxy)));
    let tunnel = match intercept.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    };
    Ok(over(HttpsConnector::from((tunnel, to_server))))
}

pub(super) fn tcp() -> TcpConnector {
    let mut tcp = TcpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.enforce_http(false);
    tcp
}

fn over<C: Connect + Clone + Send + Sync + 'static>(connector: C) -> SharedHttpClient {
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .build(connector);
    let connector = SharedHttpConnector::new(Unverified(client));
    http_client_fn(move |_, _| connector.clone())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn any_certificate() -> Result<ClientConfig> {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = config.map_err(|e| StoreError::Permanent { detail: format!("TLS: {e}") })?;
    let any = Arc::new(AnyCertificate(provider));
    Ok(config.dangerous().with_custom_certificate_verifier(any).with_no_client_auth())
}

pub(super) fn verified(roots: &[CertificateDer<'static>]) -> Result<ClientConfig> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = config.map_err(|e| StoreError::Permanent { detail: format!("TLS: {e}") })?;
    Ok(config.with_root_certificates(store).with_no_client_auth())
}

/// The SDK's way to hyper for connections that are not verified.
struct Unverified<C>(legacy::Client<C, SdkBody>);

impl<C> std::fmt::Debug for Unverified<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unverified")
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> HttpConnector for Unverified<C> {
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
