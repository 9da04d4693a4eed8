//! The two ways in: an operator's environment, and a simulation.

use super::AwsCloud;
use crate::port::CloudError;
use crate::settings::Settings;
use crate::wire::Service;
use crate::wire::transport::Surroundings;
use ambient::{Clock, Entropy};
use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use std::collections::BTreeMap;

/// Who calls in a simulation; AWS's own example of a key, valid nowhere.
pub const SIMULATED_ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SIMULATED_SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

impl AwsCloud {
    /// Real credentials and real endpoints: the default chain (environment, profile, web identity, pod identity, instance), region
    /// included, and `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_<SERVICE>`. `Err` when no region or credentials are configured.
    pub async fn from_environment(settings: Settings, clock: Clock, entropy: &Entropy) -> Result<Self, CloudError> {
        let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone()).load().await;
        Self::from_config(settings, &config, http, clock, entropy)
    }

    /// As [`Self::from_environment`], from parts that were loaded before.
    pub fn from_config(
        settings: Settings,
        config: &SdkConfig,
        http: SharedHttpClient,
        clock: Clock,
        entropy: &Entropy,
    ) -> Result<Self, CloudError> {
        Ok(Self::new(settings, &surroundings(config, http, clock)?, entropy))
    }

    /// No socket, no clock and no chance but those that are given: static credentials, and a client that answers in the process.
    /// Must be called on the thread that runs the simulation, inside its runtime.
    #[expect(clippy::disallowed_methods, reason = "the SDK draws from the thread's stream; this makes its draws the seed's")]
    pub fn simulated(settings: Settings, region: &str, http: SharedHttpClient, clock: Clock, entropy: &Entropy) -> Self {
        // The SDK's own chance is a thread's.
        fastrand::seed(entropy.stream("sdk").next_u64());
        let credentials = Credentials::new(SIMULATED_ACCESS_KEY, SIMULATED_SECRET_KEY, None, None, "simulation");
        let surroundings = Surroundings {
            region: region.to_owned(),
            credentials: SharedCredentialsProvider::new(credentials),
            identity_cache: IdentityCache::no_cache(),
            http,
            clock,
            endpoints: BTreeMap::new(),
            fips: false,
            dual_stack: false,
        };
        Self::new(settings, &surroundings, entropy)
    }
}

/// `AWS_ENDPOINT_URL_<SERVICE>` and the profile's `services` section before `AWS_ENDPOINT_URL`.
/// What a client of single operations needs, from a configuration that was loaded. `Err` when it has no region or no credentials.
pub fn surroundings(config: &SdkConfig, http: SharedHttpClient, clock: Clock) -> Result<Surroundings, CloudError> {
    let missing = |what: &str| CloudError {
        operation: "configuration".to_owned(),
        code: "NotConfigured".to_owned(),
        message: format!("no {what} is configured"),
        status: 0,
        request_id: None,
    };
    let region = config.region().ok_or_else(|| missing("AWS region"))?.to_string();
    let credentials = config.credentials_provider().ok_or_else(|| missing("AWS credentials provider"))?;
    Ok(Surroundings {
        region,
        credentials,
        identity_cache: config.identity_cache().unwrap_or_else(|| IdentityCache::lazy().build()),
        http,
        clock,
        endpoints: Service::ALL.into_iter().filter_map(|service| Some((service, endpoint(config, service)?))).collect(),
        fips: config.use_fips().unwrap_or(false),
        dual_stack: config.use_dual_stack().unwrap_or(false),
    })
}

fn endpoint(config: &SdkConfig, service: Service) -> Option<String> {
    let own = config.service_config().and_then(|services| {
        let key = ServiceConfigKey::builder().service_id(service.id()).env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok()?;
        services.load_config(key)
    });
    own.or_else(|| config.endpoint_url().map(str::to_owned))
}
