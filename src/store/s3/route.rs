//! One request's way: directly or through the proxy; and what it means when the server does not speak TLS.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;

use super::proxy::Bypass;

/// The server answered a TLS greeting with something else. Trying again would not help.
#[derive(Debug, thiserror::Error)]
#[error("the server does not speak TLS")]
pub(super) struct SpeaksPlainly;

/// The client that goes `direct` where the bypass covers the host, and `proxied` elsewhere.
pub(super) fn routed(direct: SharedHttpClient, proxied: Option<(SharedHttpClient, Bypass)>) -> SharedHttpClient {
    http_client_fn(move |settings, components| {
        let connector = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(Route {
            direct: connector(&direct),
            proxied: proxied.as_ref().map(|(client, bypass)| (connector(client), bypass.clone())),
        })
    })
}

#[derive(Debug)]
struct Route {
    direct: SharedHttpConnector,
    proxied: Option<(SharedHttpConnector, Bypass)>,
}

impl HttpConnector for Route {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let goes_directly = |bypass: &Bypass| {
            ::url::Url::parse(request.uri()).is_ok_and(|url| {
                let port = url.port_or_known_default().unwrap_or_default();
                url.host_str().is_some_and(|host| bypass.covers(host, port))
            })
        };
        let connector = match &self.proxied {
            Some((proxied, bypass)) if !goes_directly(bypass) => proxied,
            _ => &self.direct,
        };
        let answer = connector.call(request);
        HttpConnectorFuture::new(async move {
            answer.await.map_err(|error| match is_no_tls(&error) {
                true => ConnectorError::other(SpeaksPlainly.into(), None),
                false => error,
            })
        })
    }
}

fn is_no_tls(error: &ConnectorError) -> bool {
    // hyper buries rustls' error in `io::Error`s, whose payload is no `source`: its words are all that comes through.
    super::error::chain(error).contains("InvalidContentType")
}
