//! What is the same for every request, and the net that catches it.

use aws_credential_types::Credentials;
use aws_runtime::invocation_id::{InvocationId, InvocationIdGenerator};
use aws_smithy_async::time::StaticTimeSource;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

/// AWS's own example of a key, valid nowhere.
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub const REGION: &str = "us-west-2";
/// Where upstream asks for the prices of that region (`A/pkg/providers/pricing/pricing.go`, NewAPI).
pub const PRICING_REGION: &str = "us-east-1";
const NOW: &str = "2026-11-20T17:00:00Z";
const NOW_SECONDS: u64 = 1_795_194_000;
const INVOCATION: &str = "8a4f2f9e-0d3b-4c55-9d0e-3f6b1c2d7e80";
/// What a client would fill in where the call has no token. The adapter's calls have theirs.
#[cfg(feature = "ec2")]
pub const TOKEN: &str = "00000000-0000-4000-8000-000000000000";

/// One call's surroundings.
pub struct Fixed {
    attempts: u32,
    net: Net,
}

/// A request as it would have gone out.
pub struct Caught {
    method: String,
    uri: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Fixed {
    pub fn new(attempts: u32) -> Self {
        Fixed { attempts, net: Net::default() }
    }

    /// For the head of the goldens.
    pub fn described() -> Value {
        json!({ "now": NOW, "region": REGION, "access_key": ACCESS_KEY, "invocation_id": INVOCATION })
    }

    pub fn credentials(&self) -> Credentials {
        Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "goldens")
    }

    pub fn clock(&self) -> StaticTimeSource {
        StaticTimeSource::new(UNIX_EPOCH + Duration::from_secs(NOW_SECONDS))
    }

    pub fn retries(&self) -> RetryConfig {
        RetryConfig::standard().with_max_attempts(self.attempts)
    }

    pub fn invocations(&self) -> Invocations {
        Invocations
    }

    pub fn http(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.net.clone());
        http_client_fn(move |_, _| connector.clone())
    }

    /// The one request of the call.
    pub fn caught(&self, service: &str, operation: &str) -> Caught {
        let mut caught = std::mem::take(&mut *self.net.0.lock().expect("one thread"));
        assert_eq!(caught.len(), 1, "{service}:{operation} made another number of requests");
        caught.remove(0)
    }
}

impl Caught {
    pub fn entry(&self, request: &Value) -> Value {
        json!({
            "service": request["service"],
            "operation": request["operation"],
            "attempts": request["attempts"],
            "parameters": request["parameters"],
            "method": self.method,
            "uri": self.uri,
            "headers": self.headers,
            "body": self.body,
        })
    }
}

pub fn same_call(entry: &Value, request: &Value) -> bool {
    ["service", "operation", "attempts", "parameters"].iter().all(|key| entry[key] == request[key])
}

#[derive(Debug)]
pub struct Invocations;

impl InvocationIdGenerator for Invocations {
    fn generate(&self) -> Result<Option<InvocationId>, BoxError> {
        Ok(Some(InvocationId::new(INVOCATION.to_owned())))
    }
}

#[derive(Clone, Default)]
struct Net(Arc<Mutex<Vec<Caught>>>);

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Net")
    }
}

impl HttpConnector for Net {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut headers = BTreeMap::new();
        for (name, value) in request.headers().iter() {
            let twice = headers.insert(name.to_ascii_lowercase(), value.to_owned());
            assert!(twice.is_none(), "{name} is there twice");
        }
        let body = request.body().bytes().expect("no request streams");
        self.0.lock().expect("one thread").push(Caught {
            method: request.method().to_owned(),
            uri: request.uri().to_owned(),
            headers,
            body: String::from_utf8(body.to_vec()).expect("requests are text"),
        });
        let status = 200u16.try_into().expect("a status");
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::empty())))
    }
}

/// A client of one service under what is fixed.
macro_rules! client {
    ($sdk:ident, $fixed:expr, $region:expr $(, $more:ident = $value:expr)*) => {{
        let fixed: &$crate::catch::Fixed = $fixed;
        let config = $sdk::Config::builder()
            .behavior_version($sdk::config::BehaviorVersion::latest())
            .region($sdk::config::Region::new($region))
            .credentials_provider(fixed.credentials())
            .identity_cache($sdk::config::IdentityCache::no_cache())
            .time_source(fixed.clock())
            .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
            .retry_config(fixed.retries())
            .invocation_id_generator(fixed.invocations())
            .app_name(aws_types::app_name::AppName::new("dryfit").expect("letters only"))
            .http_client(fixed.http())
            $(.$more($value))*
            .build();
        $sdk::Client::from_conf(config)
    }};
}
pub(crate) use client;
