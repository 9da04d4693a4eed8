//! One service's transport: signing, endpoint, timeouts and HTTP, put together from AWS's runtime crates.
//!
//! The orchestrator's own retries are off; ours are on the caller's clock.

use super::service::Service;
use ambient::Clock;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::recursion_detection::RecursionDetectionInterceptor;
use aws_runtime::service_clock_skew::ServiceClockSkewInterceptor;
use aws_runtime::user_agent::{ApiMetadata, UserAgentInterceptor};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime::client::http::connection_poisoning::ConnectionPoisoningInterceptor;
use aws_smithy_runtime::client::orchestrator::AuthSchemeAndEndpointOrchestrationV2;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::sdk_feature::SmithySdkFeature;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::AuthSchemeOptionResolverParams;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::endpoint::{EndpointFuture, EndpointResolverParams, ResolveEndpoint, SharedEndpointResolver};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::identity::SharedIdentityCache;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::{RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::{ConfigBag, Layer, Storable, StoreReplace};
use aws_smithy_types::endpoint::Endpoint;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::app_name::AppName;
use aws_types::region::{Region, SigningRegion};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, SystemTime};

/// A try is given up after this long. Source: `A/pkg/operator/operator.go`.
const LONGEST_TRY: Duration = Duration::from_secs(4 * 60);

/// Who calls, from where, through what.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub region: String,
    pub credentials: SharedCredentialsProvider,
    pub identity_cache: SharedIdentityCache,
    pub http: SharedHttpClient,
    pub clock: Clock,
    /// Endpoints that stand in for the public ones.
    pub endpoints: BTreeMap<Service, String>,
    pub fips: bool,
    pub dual_stack: bool,
}

/// A request before it is signed.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub method: &'static str,
    /// Path, escaped.
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// Headers that are added after the signature, as AWS's clients add those that count tries.
    pub unsigned: Vec<(&'static str, String)>,
}

/// What came back, whatever its status.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
}

pub(super) type Transport = Operation<Outgoing, Incoming, Infallible>;

pub(super) fn build(service: Service, surroundings: &Surroundings) -> Transport {
    let url = surroundings
        .endpoints
        .get(&service)
        .cloned()
        .unwrap_or_else(|| service.endpoint(&surroundings.region, surroundings.fips, surroundings.dual_stack));
    let mut layer = Layer::new("cloud");
    layer.store_put(AuthSchemeAndEndpointOrchestrationV2);
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(EndpointResolverParams::new(()));
    layer.store_put(SigV4OperationSigningConfig::default());
    layer.store_put(SigningName::from_static(service.signing_name()));
    layer.store_put(SigningRegion::from(Region::new(service.signing_region(&surroundings.region))));
    layer.store_put(Region::new(surroundings.region.clone()));
    layer.store_put(ApiMetadata::new(service.client_name(), env!("CARGO_PKG_VERSION")));
    layer.store_put(AppName::new("dryfit").expect("letters only"));
    // Said in the user agent. The orchestrator's retries are off, but ours are of that mode.
    layer.store_append(SmithySdkFeature::RetryModeStandard);
    let mut components = RuntimeComponentsBuilder::new("cloud");
    components.set_endpoint_resolver(Some(SharedEndpointResolver::new(Fixed(url))));
    components.set_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID])));
    components.push_auth_scheme(SigV4AuthScheme::new());
    components.set_identity_resolver(SCHEME_ID, surroundings.credentials.clone());
    components.set_identity_cache(Some(surroundings.identity_cache.clone()));
    components.push_interceptor(OfOneTry);
    components.push_interceptor(ConnectionPoisoningInterceptor::new());
    components.push_interceptor(ServiceClockSkewInterceptor::new());
    components.push_interceptor(UserAgentInterceptor::new());
    components.push_interceptor(RecursionDetectionInterceptor::new());
    Operation::builder()
        .service_name(service.id())
        .operation_name("call")
        .behavior_version(BehaviorVersion::latest())
        .http_client(surroundings.http.clone())
        .time_source(Wall(surroundings.clock.clone()))
        .sleep_impl(TokioSleep::new())
        .no_retry()
        .timeout_config(
            TimeoutConfig::builder().connect_timeout(Duration::from_millis(3_100)).operation_attempt_timeout(LONGEST_TRY).build(),
        )
        .serializer(serialize)
        .deserializer(deserialize)
        .runtime_plugin(StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components))
        .build()
}

fn serialize(outgoing: Outgoing) -> Result<HttpRequest, BoxError> {
    let mut request = http::Request::builder().method(outgoing.method).uri(outgoing.path);
    if !outgoing.body.is_empty() {
        request = request.header(http::header::CONTENT_LENGTH, outgoing.body.len());
    }
    for (name, value) in outgoing.headers {
        request = request.header(name, value);
    }
    Ok(request.body(SdkBody::from(outgoing.body))?.try_into()?)
}

fn deserialize(response: &HttpResponse) -> Result<Incoming, OrchestratorError<Infallible>> {
    Ok(Incoming {
        status: response.status().as_u16(),
        headers: response.headers().iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        body: response.body().bytes().map(Bytes::copy_from_slice).unwrap_or_default(),
    })
}

/// The room's clock as the SDK's.
#[derive(Debug)]
struct Wall(Clock);

impl TimeSource for Wall {
    fn now(&self) -> SystemTime {
        self.0.now().into()
    }
}

#[derive(Debug)]
struct Fixed(String);

impl ResolveEndpoint for Fixed {
    fn resolve_endpoint<'a>(&'a self, _: &'a EndpointResolverParams) -> EndpointFuture<'a> {
        EndpointFuture::ready(Ok(Endpoint::builder().url(self.0.clone()).build()))
    }
}

/// What is one try's own: its unsigned headers, and endpoint parameters, which the orchestrator wants to change, so that they must be
/// in its own state and not in the shared layer alone.
#[derive(Debug)]
struct OfOneTry;

#[derive(Debug)]
struct Unsigned(Vec<(&'static str, String)>);

impl Storable for Unsigned {
    type Storer = StoreReplace<Self>;
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for OfOneTry {
    fn name(&self) -> &'static str {
        "OfOneTry"
    }

    fn read_before_execution(&self, context: &BeforeSerializationInterceptorContextRef<'_>, state: &mut ConfigBag) -> Result<(), BoxError> {
        let outgoing = context.input().downcast_ref::<Outgoing>().ok_or("no request was handed to the operation")?;
        let unsigned = Unsigned(outgoing.unsigned.clone());
        state.interceptor_state().store_put(EndpointResolverParams::new(())).store_put(unsigned);
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        for (name, value) in state.load::<Unsigned>().into_iter().flat_map(|unsigned| &unsigned.0) {
            context.request_mut().headers_mut().try_insert(*name, value.clone())?;
        }
        Ok(())
    }
}
