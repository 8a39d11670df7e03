//! From [`Settings`] to a ready SDK client: credentials, region, endpoint, checksums, time-outs,
//! retries.
//!
//! Nothing here asks the network, with one exception: the region of an AWS bucket that was not
//! given (one anonymous HEAD, which needs no permission). Credentials are loaded by the first
//! request.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, ConfigBag, Credentials as SdkCredentials, Intercept, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_types::service_config::ServiceConfigKey;

use super::super::{Result, StoreError, Traffic};
use super::answer::Suspicious;
use super::condition::Habits;
use super::counting::Counting;
use super::endpoint::endpoint_url;
use super::plain::Assumed;
use super::provider::DEFAULT_REGION;
use super::settings::{Credentials, Settings};
use super::tls::Ways;
use super::{chain, error, provider, tls, unverified, value};

/// For one try of a request without a body, until the answer begins.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// The slowest upload we wait for; slower ones are cut off and tried again.
const SLOWEST_BYTES_PER_S: u64 = 32 * 1024;

/// Clients made so far. Replicas in the same place with the same keys share one, and with it
/// connections, credentials and trusted roots: a thousand databases need not hold them a thousand
/// times.
#[derive(Default)]
pub struct Clients(Vec<(Settings, Connected)>);

/// A client, what is learned about its store, whether that is AWS, and what is asked of it.
pub(super) type Connected = (Client, Arc<Habits>, bool, Arc<Traffic>);

impl Clients {
    pub(super) async fn get(&mut self, settings: &Settings) -> Result<Connected> {
        let key = settings.of_client();
        if let Some((_, connected)) = self.0.iter().find(|(other, _)| *other == key) {
            return Ok(connected.clone());
        }
        if let Some(name) = unreadable_variable() {
            let detail = format!("the environment variable {name} is not valid UTF-8");
            return Err(StoreError::Permanent { detail });
        }
        let ways = Ways::of_environment();
        let (client, is_aws) = build_over(settings, http_client(settings, &ways)?, &ways.assumed).await?;
        let traffic = Arc::new(Traffic::new("s3", format!("s3://{}", settings.bucket)));
        let counting = client.config().to_builder().interceptor(Counting(traffic.clone())).build();
        let connected = (Client::from_conf(counting), Arc::default(), is_aws, traffic);
        self.0.push((key, connected.clone()));
        Ok(connected)
    }
}

/// A variable that we or the SDK ask for and that is no text: it would count as unset.
fn unreadable_variable() -> Option<String> {
    let is_asked_for = |name: &str| name.starts_with("AWS_") || name.to_ascii_uppercase().ends_with("_PROXY");
    let names = std::env::vars_os().filter(|(_, value)| value.to_str().is_none());
    names.filter_map(|(name, _)| name.into_string().ok()).find(|name| is_asked_for(name))
}

/// The client over a given HTTP client, and whether it speaks to AWS.
pub(super) async fn build_over(
    settings: &Settings,
    http: SharedHttpClient,
    assumed: &Assumed,
) -> Result<(Client, bool)> {
    let sdk = load(settings, &http).await;
    let as_written = endpoint(settings, &sdk);
    let endpoint = as_written.as_deref().map(endpoint_url);
    if let Some(endpoint) = &endpoint
        && (settings.scheme_is_assumed || as_written.is_some_and(|written| !written.contains("://")))
    {
        assumed.of(endpoint);
    }
    let problem = endpoint.as_deref().and_then(value::endpoint_problem);
    // What the configuration says has been checked; this is what the environment and the profile
    // say.
    let problem = problem.or_else(|| sdk.region().and_then(|region| value::region_problem(region.as_ref())));
    if let Some(problem) = problem {
        return Err(StoreError::Permanent { detail: format!("the AWS settings of the environment: {problem}") });
    }
    let region = region(settings, endpoint.as_deref(), &http, &sdk).await?;
    let is_aws = endpoint.as_deref().is_none_or(provider::is_aws);
    Ok((Client::from_conf(config(settings, &sdk, endpoint.as_deref(), region).build()), is_aws))
}

fn http_client(settings: &Settings, ways: &Ways) -> Result<SharedHttpClient> {
    let ca_bundle = std::env::var_os("AWS_CA_BUNDLE").filter(|v| !v.is_empty()).map(PathBuf::from);
    if settings.skip_verify {
        return unverified::client(ca_bundle.as_deref(), ways);
    }
    match speaks_plainly(settings, ways) {
        true => tls::verifying_with(&[], ways),
        false => tls::verifying(ca_bundle.as_deref(), ways),
    }
}

/// Whether no TLS connection will ever be made, so that loading the roots can be spared at
/// start-up.
fn speaks_plainly(settings: &Settings, ways: &Ways) -> bool {
    let endpoint = settings.endpoint.as_deref().map(endpoint_url);
    // Without keys at hand, credentials may have to be fetched from somewhere that speaks TLS.
    endpoint.is_some_and(|e| e.starts_with("http://")) && settings.credentials.is_some() && ways.proxies.is_empty()
}

/// What the environment and the profile say. The region is looked up without the instance metadata
/// service: where this machine stands says little about where the bucket is.
async fn load(settings: &Settings, http: &SharedHttpClient) -> SdkConfig {
    let given = settings.region.clone().map(Region::new);
    let provider_config = ProviderConfig::default().with_http_client(http.clone());
    let region = RegionProviderChain::first_try(given)
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::builder().configure(&provider_config).build());
    let region =
        region.region().await.and_then(|region| Some(Region::new(value::trimmed(region.as_ref())?.to_owned())));
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone()).region(region.clone());
    let loader = match &settings.credentials {
        Some(credentials) => loader.credentials_provider(sdk_credentials(credentials)),
        None => loader.credentials_provider(chain::Checked::new(provider_config.with_region(region)).await),
    };
    loader.load().await
}

fn sdk_credentials(given: &Credentials) -> SdkCredentials {
    let token = given.session_token.as_ref().map(|t| t.expose().to_owned());
    SdkCredentials::new(&given.access_key_id, given.secret_access_key.expose(), token, None, "configuration")
}

/// The endpoint as it is written, also when only the environment or the profile names one. `None`:
/// AWS.
fn endpoint(settings: &Settings, sdk: &SdkConfig) -> Option<String> {
    let of_s3 = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let for_s3 = || sdk.service_config()?.load_config(of_s3.ok()?);
    let given = [settings.endpoint.clone(), for_s3(), sdk.endpoint_url().map(str::to_owned)];
    given.iter().flatten().find_map(|endpoint| value::trimmed(endpoint)).map(str::to_owned)
}

/// What the configuration says; then what the endpoint's host says, which is never wrong; then the
/// environment. For AWS the environment is only asked where to ask: an application and its bucket
/// need not live in the same region.
async fn region(
    settings: &Settings,
    endpoint: Option<&str>,
    http: &SharedHttpClient,
    sdk: &SdkConfig,
) -> Result<Region> {
    if let Some(given) = &settings.region {
        return Ok(Region::new(given.clone()));
    }
    let ambient = sdk.region().cloned();
    match endpoint {
        Some(endpoint) => {
            let by_host = provider::region_of(endpoint).map(Region::new);
            Ok(by_host.or(ambient).unwrap_or(Region::from_static(DEFAULT_REGION)))
        }
        // The ARN of an access point carries its region.
        None if settings.bucket.starts_with("arn:") => {
            let in_arn = settings.bucket.split(':').nth(3).filter(|r| !r.is_empty());
            Ok(in_arn.map(|r| Region::new(r.to_owned())).or(ambient).unwrap_or(Region::from_static(DEFAULT_REGION)))
        }
        None => match look_up_region(&settings.bucket, http, ambient.clone()).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Ok(ambient.unwrap_or(Region::from_static(DEFAULT_REGION))),
            Err(error) => ambient.ok_or(error),
        },
    }
}

/// S3 names a bucket's region in every answer about it, even without a signature.
async fn look_up_region(bucket: &str, http: &SharedHttpClient, ambient: Option<Region>) -> Result<Option<Region>> {
    let ask_in = ambient.unwrap_or(Region::from_static(DEFAULT_REGION));
    let anonymous = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http.clone())
        .region(ask_in)
        .timeout_config(timeouts())
        .allow_no_auth()
        .build();
    let answer = Client::from_conf(anonymous).head_bucket().bucket(bucket).send().await;
    let named = match &answer {
        Ok(output) => output.bucket_region(),
        Err(error) => error.raw_response().and_then(|r| r.headers().get("x-amz-bucket-region")),
    };
    if let Some(region) = named {
        return Ok(Some(Region::new(region.to_owned())));
    }
    let what = format!("look up the region of s3://{bucket} (set region to avoid this)");
    answer.map(|_| None).map_err(|e| error::map(error::Asked::Other, &what, e))
}

fn config(settings: &Settings, sdk: &SdkConfig, endpoint: Option<&str>, region: Region) -> Builder {
    let mut config = aws_sdk_s3::config::Builder::from(sdk)
        .region(region)
        .retry_config(RetryConfig::standard())
        .timeout_config(timeouts())
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().build())
        .interceptor(Suspicious);
    if let Some(endpoint) = endpoint {
        // Compatible stores differ most in their handling of checksums: none unless the operation
        // demands one. Nothing says how to address an endpoint that only the environment knows.
        let unforeseen = settings.endpoint.is_none() && provider::defaults(endpoint).force_path_style;
        config = config
            .endpoint_url(with_its_path_ended(endpoint))
            .force_path_style(settings.force_path_style || unforeseen)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if provider::wants_consistency_header(endpoint) {
            config = config.interceptor(Consistent);
        }
    } else {
        // An empty variable would be taken for one.
        config.set_endpoint_url(None);
        if settings.force_path_style {
            config = config.force_path_style(true);
        }
    }
    config
}

/// The SDK puts the bucket right behind the path of an endpoint, where it has one (Supabase:
/// `/storage/v1/s3`).
fn with_its_path_ended(endpoint: &str) -> String {
    let has_path = endpoint.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if has_path && !endpoint.ends_with('/') { format!("{endpoint}/") } else { endpoint.to_owned() }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(tls::CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build()
}

/// One try only, with time for a body of this size. For requests whose lost reply must be seen by
/// the caller: a hidden second try of a create would meet the first one's object and take it for
/// another writer's.
pub(super) fn once(body_len: usize) -> Builder {
    uploading(body_len).retry_config(RetryConfig::disabled())
}

/// Tries that leave time for a body of this size.
pub(super) fn uploading(body_len: usize) -> Builder {
    let for_body = Duration::from_secs(body_len as u64 / SLOWEST_BYTES_PER_S);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(tls::CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT + for_body)
        .build();
    Builder::new().timeout_config(timeouts)
}

/// Asks Tigris for the newest version from every region.
#[derive(Debug)]
struct Consistent;

#[dyn_dispatch_hint]
impl Intercept for Consistent {
    fn name(&self) -> &'static str {
        "Consistent"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        context.request_mut().headers_mut().insert("x-tigris-consistent", "true");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::config::http::HttpResponse;
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    /// Answers every request with this status and, if given, the bucket's region.
    #[derive(Clone, Debug)]
    struct Canned(u16, Option<&'static str>);

    impl HttpConnector for Canned {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            assert_eq!(request.headers().get("authorization"), None, "strangers ask without a signature");
            let status = self.0.try_into().expect("a valid status");
            let mut response = HttpResponse::new(status, SdkBody::empty());
            if let Some(region) = self.1 {
                response.headers_mut().insert("x-amz-bucket-region", region);
            }
            HttpConnectorFuture::ready(Ok(response))
        }
    }

    #[tokio::test]
    async fn the_region_of_a_bucket_is_learned_from_any_answer() {
        for (status, named) in [(200, "eu-west-1"), (301, "eu-west-1"), (403, "ap-south-1"), (400, "us-east-2")] {
            let canned = SharedHttpConnector::new(Canned(status, Some(named)));
            let http = http_client_fn(move |_, _| canned.clone());
            let found = look_up_region("bucket", &http, None).await.expect("an answer");
            assert_eq!(found, Some(Region::from_static(named)), "{status}");
        }
        let canned = SharedHttpConnector::new(Canned(404, None));
        let http = http_client_fn(move |_, _| canned.clone());
        let error = look_up_region("bucket", &http, None).await.expect_err("no such bucket");
        assert!(error.to_string().contains("s3://bucket") && error.to_string().contains("set region"), "{error}");
    }

    #[tokio::test]
    async fn configuration_beats_the_host_beats_the_environment() {
        let http = http_client_fn(|_, _| unreachable!("nobody needs to be asked"));
        let sdk = SdkConfig::builder().region(Region::from_static("ambient")).build();
        let mut settings = Settings::new("bucket", "");
        let region_for = async |settings: &Settings, endpoint| {
            region(settings, endpoint, &http, &sdk).await.expect("known").to_string()
        };
        assert_eq!(region_for(&settings, Some("https://s3.us-west-004.backblazeb2.com")).await, "us-west-004");
        assert_eq!(region_for(&settings, Some("http://127.0.0.1:9000")).await, "ambient");
        let nothing = SdkConfig::builder().build();
        let plain = region(&settings, Some("http://127.0.0.1:9000"), &http, &nothing).await.expect("known");
        assert_eq!(plain.to_string(), DEFAULT_REGION);
        settings.bucket = "arn:aws:s3:eu-north-1:123456789012:accesspoint/x".into();
        assert_eq!(region_for(&settings, None).await, "eu-north-1");
        settings.region = Some("given".into());
        assert_eq!(region_for(&settings, Some("https://s3.us-west-004.backblazeb2.com")).await, "given");
    }

    /// What the environment or a profile says about the service S3.
    #[derive(Debug)]
    struct ForS3(&'static str);

    impl aws_types::service_config::LoadServiceConfig for ForS3 {
        fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
            let asked = (key.service_id(), key.env(), key.profile());
            (asked == ("S3", "AWS_ENDPOINT_URL", "endpoint_url")).then(|| self.0.to_owned())
        }
    }

    #[test]
    fn the_endpoint_is_found_wherever_it_is_named() {
        let mut settings = Settings::new("bucket", "");
        let sdk = |general: &str, for_s3: Option<&'static str>| {
            let mut sdk = SdkConfig::builder();
            sdk.set_endpoint_url(Some(general.to_owned()).filter(|url| !url.is_empty()));
            sdk.set_service_config(for_s3.map(ForS3));
            sdk.build()
        };
        let found = |settings: &Settings, sdk: SdkConfig| endpoint(settings, &sdk).unwrap_or_default();
        assert_eq!(found(&settings, sdk("", None)), "");
        assert_eq!(found(&settings, sdk("http://general", None)), "http://general");
        assert_eq!(found(&settings, sdk("http://general", Some("minio:9000\n"))), "minio:9000");
        assert_eq!(found(&settings, sdk("http://general", Some(""))), "http://general");
        settings.endpoint = Some("http://configured".into());
        assert_eq!(found(&settings, sdk("http://general", Some("http://of-s3"))), "http://configured");
    }
}
