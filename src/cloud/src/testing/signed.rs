//! Whole signed requests, byte for byte as AWS's own SDK for Rust makes them of the same calls.
//!
//! `sdk-requests.json` is written by `ci/generate/sdk-goldens`, which says how; clock, credentials, region and invocation id are fixed
//! there, and taken from there here.

use super::goldens::{calls, read, written};
use crate::aws::{SIMULATED_ACCESS_KEY, SIMULATED_SECRET_KEY};
use crate::wire::client::Call;
use crate::wire::transport::Surroundings;
use crate::wire::{Client, Service};
use ambient::{Clock, Entropy};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use jiff::Timestamp;
use rstest::rstest;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Headers whose values are ours and not the SDK's, why, and what may differ in them. The list may only get shorter: an entry that no
/// request needs any more fails the test.
const OURS: [(&str, &str, Comparison); 3] = [
    ("user-agent", "names the release of the service's SDK and the machine", Comparison::Products),
    ("x-amz-user-agent", "names the release of the service's SDK, the system and the compiler", Comparison::Products),
    ("authorization", "x-amz-user-agent is signed; all but the signature is equal, and the signature is right", Comparison::Scope),
];

#[derive(Clone, Copy)]
enum Comparison {
    /// The same products in the same order; versions may differ where the product is the API, the system or the compiler.
    Products,
    /// Key, scope and signed headers.
    Scope,
}

impl Comparison {
    fn part(self, value: &str) -> String {
        match self {
            Comparison::Products => value.split(' ').map(product).collect::<Vec<_>>().join(" "),
            Comparison::Scope => value.split("Signature=").next().unwrap_or_default().to_owned(),
        }
    }
}

/// `api/ec2/1.274.0` is `api/ec2`, `os/linux` is `os`; other words stay.
fn product(word: &str) -> &str {
    match word.split_once('/') {
        Some((name @ ("os" | "lang"), _)) => name,
        Some(("api", _)) => word.rsplit_once('/').map_or(word, |(product, _)| product),
        _ => word,
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Signed {
    method: String,
    uri: String,
    /// In canonical order.
    headers: BTreeMap<String, String>,
    body: String,
}

#[derive(Deserialize)]
struct Goldens {
    fixed: Fixed,
    requests: Vec<Golden>,
}

#[derive(Deserialize)]
struct Fixed {
    now: Timestamp,
    region: String,
    access_key: String,
    invocation_id: String,
}

#[derive(Deserialize)]
struct Golden {
    service: String,
    operation: String,
    attempts: u32,
    parameters: serde_json::Value,
    #[serde(flatten)]
    signed: Signed,
}

fn goldens() -> Goldens {
    serde_json::from_value(read("sdk-requests.json")).unwrap()
}

/// Keeps what goes out.
#[derive(Clone, Debug, Default)]
struct Net(Arc<Mutex<Vec<Signed>>>);

impl HttpConnector for Net {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let pairs: Vec<_> = request.headers().iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let headers: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(headers.len(), pairs.len(), "a header is there twice: {pairs:?}");
        let body = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
        self.0.lock().unwrap().push(Signed { method: request.method().to_owned(), uri: request.uri().to_owned(), headers, body });
        HttpConnectorFuture::ready(Ok(HttpResponse::new(200u16.try_into().unwrap(), SdkBody::from("{}"))))
    }
}

/// The request that the room makes of a call.
async fn ours(call: &Call, fixed: &Fixed) -> Signed {
    assert_eq!(fixed.access_key, SIMULATED_ACCESS_KEY);
    let net = Net::default();
    let connector = SharedHttpConnector::new(net.clone());
    let credentials = Credentials::new(SIMULATED_ACCESS_KEY, SIMULATED_SECRET_KEY, None, None, "goldens");
    let surroundings = Surroundings {
        region: fixed.region.clone(),
        credentials: SharedCredentialsProvider::new(credentials),
        identity_cache: IdentityCache::no_cache(),
        http: http_client_fn(move |_, _| connector.clone()),
        clock: Clock::virtual_from(fixed.now),
        endpoints: BTreeMap::new(),
        fips: false,
        dual_stack: false,
    };
    // An empty answer is no XML, and none matters.
    let _ = Client::new(&surroundings, &Entropy::from_seed(7)).attempt(call, &fixed.invocation_id, 1).await;
    let mut caught = net.0.lock().unwrap();
    assert_eq!(caught.len(), 1);
    caught.remove(0)
}

/// The request with its signature made anew by AWS's signer, over the headers that it says are signed.
fn signed_anew(request: &Signed, fixed: &Fixed) -> Signed {
    let authorization = &request.headers["authorization"];
    let after = |key: &str| authorization.split_once(key).and_then(|(_, rest)| rest.split([',', ' ']).next()).unwrap();
    let names: BTreeSet<&str> = after("SignedHeaders=").split(';').collect();
    let scope: Vec<&str> = after("Credential=").split('/').collect();
    let identity = Credentials::new(SIMULATED_ACCESS_KEY, SIMULATED_SECRET_KEY, None, None, "goldens").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope[2])
        .name(scope[3])
        .time(fixed.now.into())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    // Host and date are added by the signer.
    let given =
        request.headers.iter().filter(|(name, _)| names.contains(name.as_str()) && !["host", "x-amz-date"].contains(&name.as_str()));
    let given = given.map(|(name, value)| (name.as_str(), value.as_str()));
    let body = SignableBody::Bytes(request.body.as_bytes());
    let signable = SignableRequest::new(&request.method, request.uri.as_str(), given, body).unwrap();
    let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
    let mut anew = request.clone();
    anew.headers.extend(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())));
    anew
}

/// What differs, in words, and the entries of [`OURS`] that were needed.
fn differences(ours: &Signed, theirs: &Signed, fixed: &Fixed) -> (Vec<String>, BTreeSet<&'static str>) {
    let (mut found, mut needed) = (Vec::new(), BTreeSet::new());
    let mut compare = |what: &str, ours: Option<&str>, theirs: Option<&str>| {
        if ours != theirs {
            found.push(format!("{what}\n  ours   {}\n  theirs {}", ours.unwrap_or("-"), theirs.unwrap_or("-")));
        }
    };
    compare("method", Some(&ours.method), Some(&theirs.method));
    compare("URI", Some(&ours.uri), Some(&theirs.uri));
    compare("body", Some(&ours.body), Some(&theirs.body));
    // What the SDK would have sent, had its user agent been ours.
    let mut theirs_with_ours = theirs.clone();
    for name in ours.headers.keys().chain(theirs.headers.keys()).collect::<BTreeSet<_>>() {
        let (mine, their) = (ours.headers.get(name).map(String::as_str), theirs.headers.get(name).map(String::as_str));
        match OURS.iter().find(|(listed, _, _)| listed == name) {
            Some((listed, _, comparison)) if mine != their => {
                needed.insert(*listed);
                let part = |value: Option<&str>| value.map(|value| comparison.part(value));
                compare(name, part(mine).as_deref(), part(their).as_deref());
                theirs_with_ours.headers.extend(mine.map(|mine| (name.clone(), mine.to_owned())));
            }
            _ => compare(name, mine, their),
        }
    }
    compare(
        "signature",
        ours.headers.get("authorization").map(String::as_str),
        signed_anew(&theirs_with_ours, fixed).headers.get("authorization").map(String::as_str),
    );
    (found, needed)
}

#[tokio::test(start_paused = true)]
async fn every_signed_request_is_the_official_sdks() {
    let (calls, goldens) = (calls().await, goldens());
    assert_eq!(calls.len(), goldens.requests.len(), "write the goldens anew: ci/generate/sdk-goldens");
    let (mut needed, mut operations) = (BTreeSet::new(), BTreeSet::new());
    for (call, golden) in calls.iter().zip(&goldens.requests) {
        let name = format!("{}:{}", golden.service, golden.operation);
        let of = written(call);
        let same = (&of["service"], &of["operation"], &of["attempts"])
            == (&golden.service.as_str().into(), &golden.operation.as_str().into(), &golden.attempts.into());
        assert!(same && of["parameters"] == golden.parameters, "{name}: write the goldens anew: ci/generate/sdk-goldens");
        // The signer that judges is judged by what the SDK signed.
        assert_eq!(signed_anew(&golden.signed, &goldens.fixed), golden.signed, "{name}");
        let (found, listed) = differences(&ours(call, &goldens.fixed).await, &golden.signed, &goldens.fixed);
        assert!(found.is_empty(), "{name} is not as the SDK sends it:\n{}", found.join("\n"));
        needed.extend(listed);
        operations.insert(name);
    }
    let listed: BTreeSet<&str> = OURS.iter().map(|(name, _, _)| *name).collect();
    assert_eq!(needed, listed, "a header need not be listed any more");
    assert_eq!(operations.len(), 30, "{operations:?}");
    let recorded = operations.iter().filter_map(|name| name.split(':').next());
    let services: BTreeSet<&str> = recorded.collect();
    assert_eq!(services, Service::ALL.into_iter().map(Service::signing_name).collect());
}

/// Nothing in a request may be changed unnoticed, not even where values may differ.
#[rstest]
#[case::method(|request: &mut Signed| request.method = "PUT".to_owned())]
#[case::host(|request: &mut Signed| request.uri = request.uri.replace("us-west-2", "us-west-1"))]
#[case::path(|request: &mut Signed| request.uri.push('x'))]
#[case::body(|request: &mut Signed| request.body.push_str("&MaxResults=7"))]
#[case::content_type(|request: &mut Signed| edit(request, "content-type", |value| value.to_ascii_uppercase()))]
#[case::date(|request: &mut Signed| edit(request, "x-amz-date", |value| value.replace("17", "18")))]
#[case::another_header(|request: &mut Signed| drop(request.headers.insert("accept".to_owned(), "*/*".to_owned())))]
#[case::a_header_less(|request: &mut Signed| drop(request.headers.remove("amz-sdk-request")))]
#[case::invocation(|request: &mut Signed| edit(request, "amz-sdk-invocation-id", |value| value.replace('8', "9")))]
#[case::scope(|request: &mut Signed| edit(request, "authorization", |value| value.replace("/ec2/", "/eks/")))]
#[case::signed_headers(|request: &mut Signed| edit(request, "authorization", |value| value.replace("content-type;", "")))]
#[case::signature(|request: &mut Signed| edit(request, "authorization", |value| format!("{value}0")))]
#[case::a_product_more(|request: &mut Signed| edit(request, "x-amz-user-agent", |value| format!("{value} md/other")))]
#[case::another_service(|request: &mut Signed| edit(request, "x-amz-user-agent", |value| value.replace("api/ec2", "api/eks")))]
#[tokio::test(start_paused = true)]
async fn a_changed_request_is_found(#[case] change: fn(&mut Signed)) {
    let goldens = goldens();
    let at = goldens.requests.iter().position(|golden| golden.operation == "DescribeSubnets").unwrap();
    let call = calls().await.swap_remove(at);
    let mut request = ours(&call, &goldens.fixed).await;
    assert_eq!(differences(&request, &goldens.requests[at].signed, &goldens.fixed).0, Vec::<String>::new());
    let before = request.clone();
    change(&mut request);
    assert_ne!(request, before);
    assert_ne!(differences(&request, &goldens.requests[at].signed, &goldens.fixed).0, Vec::<String>::new());
}

fn edit(request: &mut Signed, name: &str, change: impl FnOnce(&str) -> String) {
    let value = change(&request.headers[name]);
    request.headers.insert(name.to_owned(), value);
}
