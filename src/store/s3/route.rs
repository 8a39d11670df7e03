//! One request's way: directly or through a proxy; and what it means when the server does not speak
//! TLS.

use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;

use super::causes::one_line;
use super::plain::{Assumed, SpeaksPlainly};
use super::proxy::{BadProxy, Bypass};

/// A client for one scheme, or why there is none.
pub(super) type Proxied = Option<Result<SharedHttpClient, BadProxy>>;

/// The clients of the environment's proxies, by the scheme of what is asked for, and which hosts go
/// without.
#[derive(Clone, Debug, Default)]
pub(super) struct Detour {
    pub http: Proxied,
    pub https: Proxied,
    pub bypass: Bypass,
}

/// The client that goes `direct` where there is no proxy or the bypass covers the host.
pub(super) fn routed(direct: SharedHttpClient, detour: Detour, assumed: Arc<Assumed>) -> SharedHttpClient {
    http_client_fn(move |settings, components| {
        let connector = |client: &SharedHttpClient| client.http_connector(settings, components);
        let proxied = |client: &Proxied| Some(client.as_ref()?.as_ref().map(connector).map_err(Clone::clone));
        SharedHttpConnector::new(Route {
            direct: connector(&direct),
            http: proxied(&detour.http),
            https: proxied(&detour.https),
            bypass: detour.bypass.clone(),
            assumed: assumed.clone(),
        })
    })
}

#[derive(Debug)]
struct Route {
    direct: SharedHttpConnector,
    http: Option<Result<SharedHttpConnector, BadProxy>>,
    https: Option<Result<SharedHttpConnector, BadProxy>>,
    bypass: Bypass,
    assumed: Arc<Assumed>,
}

impl Route {
    /// The proxy for this address. `None`: directly.
    fn proxy(&self, uri: &str) -> Option<&Result<SharedHttpConnector, BadProxy>> {
        let by_scheme = if uri.starts_with("https:") { &self.https } else { &self.http };
        let proxy = by_scheme.as_ref()?;
        let goes_directly = ::url::Url::parse(uri).is_ok_and(|url| {
            let port = url.port_or_known_default().unwrap_or_default();
            url.host_str().is_some_and(|host| self.bypass.covers(host, port))
        });
        (!goes_directly).then_some(proxy)
    }
}

impl HttpConnector for Route {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (answer, server) = match self.proxy(request.uri()) {
            None => {
                let server = self.assumed.server_of(request.uri());
                (self.direct.call(request), server)
            }
            Some(Ok(proxied)) => (proxied.call(request), None),
            Some(Err(bad)) => return HttpConnectorFuture::ready(Err(ConnectorError::user(bad.clone().into()))),
        };
        let assumed = self.assumed.clone();
        HttpConnectorFuture::new(async move {
            let answer = match server {
                Some(server) => assumed.watch(server, answer).await,
                None => answer.await,
            };
            answer.map_err(|error| match is_no_tls(&error) {
                true => ConnectorError::other(SpeaksPlainly { address: None }.into(), None),
                false => error,
            })
        })
    }
}

fn is_no_tls(error: &ConnectorError) -> bool {
    // hyper buries rustls' error in `io::Error`s, whose payload is no `source`: its words are all
    // that comes through.
    one_line(error).contains("InvalidContentType")
}
