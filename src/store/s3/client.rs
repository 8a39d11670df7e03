//! From [`Settings`] to a ready SDK client: credentials, region, endpoint, checksums, time-outs, retries.
//!
//! Nothing here asks the network, with one exception: the region of an AWS bucket that nobody named (one anonymous HEAD,
//! which needs no permission). Credentials are loaded by the first request.

use std::path::PathBuf;
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

use super::super::Result;
use super::settings::{Credentials, Settings, endpoint_url};
use super::{error, provider, tls};

const DEFAULT_REGION: &str = "us-east-1";
/// For one try of a request without a body, until the answer begins.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// The slowest upload we wait for; slower ones are cut off and tried again.
const SLOWEST_BYTES_PER_S: u64 = 32 * 1024;

/// A client and what the environment added to the settings.
pub(super) async fn build(settings: &Settings) -> Result<Client> {
    let http = http_client(settings)?;
    let sdk = load(settings, &http).await;
    let endpoint = endpoint(settings, &sdk);
    let region = region(settings, endpoint.as_deref(), &http, &sdk).await?;
    Ok(Client::from_conf(config(settings, &sdk, endpoint.as_deref(), region).build()))
}

fn http_client(settings: &Settings) -> Result<SharedHttpClient> {
    if settings.skip_verify {
        return tls::unverified();
    }
    let ca_bundle = std::env::var_os("AWS_CA_BUNDLE").filter(|v| !v.is_empty()).map(PathBuf::from);
    tls::verifying(ca_bundle.as_deref())
}

/// What the environment and the profile say. The region is looked up without the instance metadata service: where this
/// machine stands says little about where the bucket is.
async fn load(settings: &Settings, http: &SharedHttpClient) -> SdkConfig {
    let given = settings.region.clone().map(Region::new);
    let provider_config = ProviderConfig::default().with_http_client(http.clone());
    let region = RegionProviderChain::first_try(given)
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::builder().configure(&provider_config).build());
    let region = region.region().await;
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone()).region(region);
    if let Some(credentials) = &settings.credentials {
        loader = loader.credentials_provider(sdk_credentials(credentials));
    }
    loader.load().await
}

fn sdk_credentials(given: &Credentials) -> SdkCredentials {
    let token = given.session_token.as_ref().map(|t| t.expose().to_owned());
    SdkCredentials::new(&given.access_key_id, given.secret_access_key.expose(), token, None, "configuration")
}

/// The endpoint, also when only the environment names one. `None`: AWS.
fn endpoint(settings: &Settings, sdk: &SdkConfig) -> Option<String> {
    let from_env = || std::env::var("AWS_ENDPOINT_URL_S3").ok().filter(|v| !v.is_empty());
    let given = settings.endpoint.clone().filter(|e| !e.is_empty());
    let endpoint = given.or_else(from_env).or_else(|| sdk.endpoint_url().map(str::to_owned))?;
    Some(endpoint_url(&endpoint))
}

/// What the configuration says; then what the endpoint's host says, which is never wrong; then the environment. For AWS the
/// environment is only asked where to ask: an application and its bucket need not live in the same region.
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
        None => match look_up_region(settings, http, sdk).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Ok(ambient.unwrap_or(Region::from_static(DEFAULT_REGION))),
            Err(error) => ambient.ok_or(error),
        },
    }
}

/// S3 names a bucket's region in every answer about it, even to strangers.
async fn look_up_region(settings: &Settings, http: &SharedHttpClient, sdk: &SdkConfig) -> Result<Option<Region>> {
    let ask_in = sdk.region().cloned().unwrap_or(Region::from_static(DEFAULT_REGION));
    let anonymous = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http.clone())
        .region(ask_in)
        .timeout_config(timeouts())
        .allow_no_auth()
        .build();
    let answer = Client::from_conf(anonymous).head_bucket().bucket(&settings.bucket).send().await;
    let named = match &answer {
        Ok(output) => output.bucket_region(),
        Err(error) => error.raw_response().and_then(|r| r.headers().get("x-amz-bucket-region")),
    };
    if let Some(region) = named {
        return Ok(Some(Region::new(region.to_owned())));
    }
    let what = format!("look up the region of s3://{} (set region to avoid this)", settings.bucket);
    answer.map(|_| None).map_err(|e| error::map(error::Asked::Other, &what, e))
}

fn config(settings: &Settings, sdk: &SdkConfig, endpoint: Option<&str>, region: Region) -> Builder {
    let mut config = aws_sdk_s3::config::Builder::from(sdk)
        .region(region)
        .retry_config(RetryConfig::standard())
        .timeout_config(timeouts())
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().build());
    if let Some(endpoint) = endpoint {
        // Compatible stores differ most in their handling of checksums: none unless the operation demands one.
        // Nobody could say how to address an endpoint that only the environment knows.
        let unforeseen = settings.endpoint.is_none() && provider::defaults(endpoint).force_path_style;
        config = config
            .endpoint_url(endpoint)
            .force_path_style(settings.force_path_style || unforeseen)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if provider::wants_consistency_header(endpoint) {
            config = config.interceptor(Consistent);
        }
    } else if settings.force_path_style {
        config = config.force_path_style(true);
    }
    config
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(tls::CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build()
}

/// One try only, with time for a body of this size. For requests whose lost reply must be seen by the caller: a hidden
/// second try of a create would meet the first one's object and call it somebody else's.
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
