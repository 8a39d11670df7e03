//! Keys, certificates and credentials.

use super::*;

#[tokio::test]
async fn customer_keys_travel_with_every_request_for_bytes() {
    let stub = Stub::start(|_, _| Reply::ok()).await;
    let mut settings = stub.settings();
    settings.sse.customer_key = Some(Secret::new(format!("{}=", "A".repeat(43))));
    let store = S3Store::connect(settings, &mut Clients::default()).await.expect("connect");
    store.put(&key("k"), create()).await.expect("put");
    store.head(&key("k")).await.expect("head");
    // Nothing is in it, so there is no range.
    drop(store.get(&key("k"), Range::WHOLE).await);
    for request in stub.requests() {
        assert_eq!(request.header("x-amz-server-side-encryption-customer-algorithm"), Some("AES256"));
        // MD5 of 32 zero bytes.
        let md5 = request.header("x-amz-server-side-encryption-customer-key-md5");
        assert_eq!(md5, Some("cLyPS3KoaSFGi/joRB3OUQ=="), "{request:?}");
    }
}

#[tokio::test]
async fn certificates_are_verified_unless_told_otherwise() {
    let stub = Stub::start_tls(|_, _| Reply::ok()).await;
    let ca = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/s3/testdata/ca.pem");
    let with_bundle = tls::verifying(Some(ca.as_ref()), &tls::Ways::default()).expect("a good bundle");
    let (client, _) =
        client::build_over(&stub.settings(), with_bundle, &plain::Assumed::default()).await.expect("client");
    S3Store::over(client, stub.settings().into()).put(&key("k"), create()).await.expect("the bundle's CA is trusted");

    let settings = Settings { skip_verify: true, ..stub.settings() };
    S3Store::connect(settings, &mut Clients::default())
        .await
        .expect("connect")
        .put(&key("k"), create())
        .await
        .expect("anyone is trusted");
    assert_eq!(stub.requests().len(), 2);

    let built_in =
        tls::verifying_with(webpki_root_certs::TLS_SERVER_ROOT_CERTS, &tls::Ways::default()).expect("client");
    let (client, _) = client::build_over(&stub.settings(), built_in, &plain::Assumed::default()).await.expect("client");
    let error = S3Store::over(client, stub.settings().into()).put(&key("k"), create()).await.expect_err("a stranger");
    assert!(matches!(error, StoreError::Permanent { .. }) && error.to_string().contains("AWS_CA_BUNDLE"), "{error:?}");
    assert_eq!(stub.requests().len(), 2, "nothing was said to a stranger");
}

#[tokio::test]
async fn missing_credentials_are_a_matter_for_a_person() {
    let stub = Stub::start(|_, _| Reply::ok()).await;
    let nobody = aws_sdk_s3::config::SharedCredentialsProvider::new(
        aws_config::meta::credentials::CredentialsProviderChain::first_try("file", NoCredentials),
    );
    let config = stub.store().await.client.config().to_builder().credentials_provider(nobody).build();
    let store = S3Store::over(Client::from_conf(config), stub.settings().into());
    let error = store.put(&key("k"), create()).await.expect_err("nobody to sign as");
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("access-key-id") && !error.to_string().contains('\n'), "{error}");
}

#[derive(Debug)]
struct NoCredentials;

impl aws_sdk_s3::config::ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let error = aws_credential_types::provider::error::CredentialsError::not_loaded("no keys here");
        aws_credential_types::provider::future::ProvideCredentials::ready(Err(error))
    }
}
